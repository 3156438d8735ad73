"""The real server process over stdio, with raw messages and with a real client."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport

from tests.conftest import ROOT
from tests.e2e.raw import SERVER, RawServer, gone_within
from tests.notebooks.files import file_of

# Starts a child in a session of its own, a daemon with an emptied environment, and then stays in
# a loop that no interrupt reaches.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                         start_new_session=True)
daemon = "import os,time\\nif os.fork(): os._exit(0)\\nos.setsid()\\n"
daemon += "open('daemon.pid','w').write(str(os.getpid()))\\ntime.sleep(600)"
subprocess.run([sys.executable, "-c", daemon], env={})
while not os.path.exists("daemon.pid") or not open("daemon.pid").read(): time.sleep(0.01)
open("pids.tmp", "w").write(f"{os.getpid()} {child.pid} {open('daemon.pid').read()}")
os.rename("pids.tmp", "pids")
if len(sys.argv) > 1:
    sum(range(10**12))
"""


@pytest.fixture
def server(projects: Path) -> Iterator[RawServer]:
    server = RawServer(projects, RMI_GRACE="1")
    yield server
    server.end()


def read_pids(projects: Path) -> list[int]:
    deadline = time.monotonic() + 20
    while not (projects / "pids").exists():
        assert time.monotonic() < deadline, "the script did not get that far"
        time.sleep(0.01)
    return [int(word) for word in (projects / "pids").read_text().split()]


def run_directory(pid: int) -> Path:
    """The directory of the sockets of the server's kernels, from a kernel's command line."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return Path(words[words.index("-f") + 1]).parent.parent


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in a C loop"])
@pytest.mark.parametrize("ending", ["end of input", "SIGTERM", "SIGINT", "SIGKILL"])
def test_nothing_is_left_when_the_server_ends(
    server: RawServer, projects: Path, ending: str, busy: bool
) -> None:
    """No kernel, no child of one (not even a daemon), no socket directory, 2 s later."""
    (projects / "family.py").write_text(FAMILY)
    server.initialize()
    arguments = {"file_name": "family.py", "args": ["loop"] if busy else []}
    request = server.ask("tools/call", name="run_python", arguments=arguments)
    pids = read_pids(projects)
    if not busy:
        server.answer(request)
    directory = run_directory(pids[0])
    family = {*pids, *server.family()}
    if ending == "end of input":
        assert server.process.stdin is not None
        server.process.stdin.close()
    else:
        server.process.send_signal(getattr(signal, ending))
    begun = time.monotonic()
    assert gone_within([*family, server.process.pid], 2.0) == []
    while directory.exists():
        assert time.monotonic() - begun < 2.0, f"{directory} is still there"
        time.sleep(0.01)


def test_nothing_but_mcp_is_written_to_stdout(server: RawServer) -> None:
    """Whatever a program does to its descriptors, each line of the server is a message."""
    server.initialize()
    code = (
        "import os, sys, subprocess\n"
        "os.write(1, b'raw 1\\n'); os.write(2, b'raw 2\\n')\n"
        "subprocess.run(['echo', 'child']); subprocess.run(['echo', 'given'], stdout=sys.stdout)\n"
        "print('dunder', file=sys.__stdout__); os.system('echo shell')\n"
        "print('warn', file=sys.stderr)"
    )
    result = server.call("run_code", code=code)
    text = result["content"][0]["text"]
    for word in ("raw 1", "raw 2", "child", "given", "dunder", "shell", "warn"):
        assert word in text
    server.call("run_code", code="import os; os.close(1); os.close(2); os._exit(3)")
    assert "2" in server.call("run_code", code="1+1")["content"][0]["text"]
    for line in server.lines:
        assert json.loads(line)["jsonrpc"] == "2.0"


def test_the_first_kernel_starts_before_it_is_asked_for(server: RawServer) -> None:
    """A kernel process stands below the warden before any tool is called."""
    import psutil

    server.initialize()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        words = []
        for pid in server.family():
            with contextlib.suppress(psutil.Error):
                words.append(" ".join(psutil.Process(pid).cmdline()))
        if any("launch.py -f " in line for line in words):
            return
    pytest.fail(f"no kernel among {words}")


def test_a_wrong_setting_is_one_line_and_exit_code_2(projects: Path) -> None:
    server = RawServer(projects, PYTHON_TIMEOUT="soon")
    try:
        assert server.process.wait(10) == 2
        assert server.process.stderr is not None
        message = server.process.stderr.read().decode()
        assert message.count("\n") == 1
        assert "PYTHON_TIMEOUT" in message
    finally:
        server.end()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_real_client_in_both_eras(projects: Path, mode: Literal["auto", "legacy"]) -> None:
    """State stays from run to run, plots arrive as images, exit codes are told."""
    for name in ("hello_world.py", "error_test.py", "plot_sine.py"):
        (projects / name).write_text((ROOT / "tests" / "test_samples" / name).read_text())
    transport = StdioTransport(SERVER[0], SERVER[1:], env={"PYTHON_PROJECTS_DIR": str(projects)})
    async with Client(transport, mode=mode) as client:
        hello = await client.call_tool("run_python", {"file_name": "hello_world.py"})
        assert "exit code 0" in hello.content[-1].text
        assert hello.structured_content is None
        failed = await client.call_tool(
            "run_python", {"file_name": "error_test.py"}, raise_on_error=False
        )
        assert failed.is_error
        assert "ZeroDivisionError" in failed.content[0].text
        assert failed.meta is not None
        assert failed.meta["rmi-agent/run"]["exit_code"] == 1
        plot = await client.call_tool("run_python", {"file_name": "plot_sine.py"})
        assert any(block.type == "image" for block in plot.content)
        await client.call_tool("run_code", {"code": "kept = 41"})
        kept = await client.call_tool("run_code", {"code": "kept + 1"})
        assert kept.content[0].text.strip() == "42"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_is_large_long_or_asks(projects: Path, mode: Literal["auto", "legacy"]) -> None:
    """A run outlives its call, its text is read in pages, its program asks, its displays are
    resources, and all of it is in the session's notebook."""

    async def user(message: str, *_: object) -> dict[str, str]:
        return {"answer": f"answer to {message}"}

    transport = StdioTransport(SERVER[0], SERVER[1:], env={"PYTHON_PROJECTS_DIR": str(projects)})
    async with Client(transport, mode=mode, elicitation_handler=user) as client:
        lines = "for number in range(100_000): print('line', number)"
        await client.call_tool("run_code", {"code": lines, "background": True})
        facts = {"status": "running"}
        while facts["status"] == "running":
            result = await client.call_tool("get_output", {"run_id": "1", "wait": 20})
            facts = (result.meta or {})["rmi-agent/run"]
        assert facts["truncated"]
        page = await client.call_tool("get_output", {"run_id": "1", "offset": 1_088_890 - 11})
        assert page.content[0].text == "line 99999\n"
        asked = await client.call_tool("run_code", {"code": "x = input('Name? ')\nx"})
        assert "'answer to Name?'" in asked.content[0].text
        table = "import pandas as pd\npd.DataFrame({'a': range(3)})"
        shown = await client.call_tool("run_code", {"code": table})
        (link,) = (block for block in shown.content if block.type == "resource_link")
        (page_of_table,) = await client.read_resource(str(link.uri))
        assert "<table" in page_of_table.text
        variables = await client.call_tool("list_variables")
        assert "number: int" in variables.content[0].text
        (notebook,) = await client.read_resource("session://default/notebook")
        assert [cell["execution_count"] for cell in json.loads(notebook.text)["cells"]] == [1, 2, 3]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_notebook_shares_the_state_of_a_script(
    projects: Path, mode: Literal["auto", "legacy"]
) -> None:
    (projects / "load.py").write_text("data = [1, 2, 3]")
    (projects / "sum.ipynb").write_bytes(file_of({"source": "total = sum(data)\ntotal"}))
    transport = StdioTransport(SERVER[0], SERVER[1:], env={"PYTHON_PROJECTS_DIR": str(projects)})
    async with Client(transport, mode=mode) as client:
        await client.call_tool("run_python", {"file_name": "load.py", "session": "work"})
        await client.call_tool("run_notebook", {"file_name": "sum.ipynb", "session": "work"})
        result = await client.call_tool("run_code", {"code": "total", "session": "work"})
    assert result.content[0].text == "6\n"
    (cell,) = json.loads((projects / "sum.ipynb").read_text())["cells"]
    assert cell["outputs"][0]["data"] == {"text/plain": ["6"]}


async def test_a_client_that_goes_away_stops_its_run(projects: Path) -> None:
    """The server ends with its client, in the middle of a run, and leaves nothing."""
    (projects / "family.py").write_text(FAMILY)
    server = RawServer(projects)
    try:
        server.initialize()
        server.ask(
            "tools/call", name="run_python", arguments={"file_name": "family.py", "args": ["x"]}
        )
        pids = read_pids(projects)
        assert server.process.stdin is not None and server.process.stdout is not None
        server.process.stdin.close()
        server.process.stdout.close()
        assert gone_within([*pids, server.process.pid], 3.0) == []
    finally:
        server.end()


def test_a_cancelled_call_stops_its_run(server: RawServer) -> None:
    """After the cancellation the session takes the next run at once, its state kept."""
    server.initialize()
    server.call("run_code", code="x = 5")
    request = server.ask(
        "tools/call", name="run_code", arguments={"code": "import time\ntime.sleep(600)"}
    )
    deadline = time.monotonic() + 10
    while "running" not in server.call("list_sessions")["content"][0]["text"]:
        assert time.monotonic() < deadline
    server.send({"method": "notifications/cancelled", "params": {"requestId": request}})
    begun = time.monotonic()
    assert server.call("run_code", code="x")["content"][0]["text"] == "5\n"
    assert time.monotonic() - begun < 10


def test_the_server_runs_from_any_directory_by_path() -> None:
    """`--help` works without a project's folder as the working directory."""
    import subprocess

    done = subprocess.run(
        [sys.executable, SERVER[1], "--help"], cwd="/", capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0
    assert "usage" in done.stdout
