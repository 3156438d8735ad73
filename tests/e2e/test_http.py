"""The real server over HTTP: transports, clients that come back or go away, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp_tasks.client import TasksClientExtension
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent

from tests.conftest import ROOT
from tests.e2e.http_process import SCRIPT, HttpProcess, Way
from tests.e2e.raw import gone_within
from tests.server.test_tasks import begin

WAYS: tuple[Way, ...] = ("newer", "older", "sse")
#: Runs that wait for a file that nobody makes; obedient to an interrupt, and not.
WAITS = "import time\nprint('it runs', flush=True)\nwhile True: time.sleep(0.05)"
STUBBORN = (
    "import time\nprint('it runs', flush=True)\n"
    "while True:\n    try:\n        while True: time.sleep(0.05)\n"
    "    except KeyboardInterrupt: pass"
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpProcess]:
    """One server for all tests that leave it as it was."""
    process = HttpProcess(tmp_path_factory.mktemp("http"), RMI_MAX_SESSIONS="40")
    try:
        yield process.wait()
    finally:
        process.end()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[HttpProcess]:
    """A server for one test."""
    process = HttpProcess(tmp_path)
    try:
        yield process.wait()
    finally:
        process.end()


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture
async def client(shared: HttpProcess, way: Way) -> AsyncIterator[Client[Any]]:
    async with shared.client(way) as client:
        yield client


def text(result: Any) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


async def run(client: Client[Any], code: str, **arguments: Any) -> CallToolResult:
    return await client.call_tool_mcp("run_code", {"code": code, **arguments})


class Begun:
    """Progress that tells when a run has begun to print."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    async def __call__(self, done: float, total: float | None, message: str | None) -> None:
        if message and "it runs" in message:
            self.event.set()


async def start(client: Client[Any], code: str, **arguments: Any) -> asyncio.Task[Any]:
    """A call under way, whose program has begun."""
    begun = Begun()
    call = asyncio.create_task(
        client.call_tool_mcp("run_code", {"code": code, **arguments}, progress_handler=begun)
    )
    async with asyncio.timeout(30):
        await begun.event.wait()
    return call


class TestTransports:
    async def test_every_tool_is_there_by_every_way(self, shared: HttpProcess) -> None:
        found = []
        for way in WAYS:
            async with shared.client(way) as client:
                tools = await client.list_tools()
                found.append({tool.name: tool.input_schema for tool in tools})
        assert len(found[0]) == 17
        assert "install_packages" not in found[0]
        assert found[0] == found[1] == found[2]

    async def test_a_script_a_plot_and_an_error(self, client: Client[Any], way: Way) -> None:
        session = f"kinds {way}"
        code = "from IPython.display import Image\nimport sys\nprint('out')\n1/0"
        failed = await run(client, code, session=session)
        assert failed.is_error
        assert "ZeroDivisionError" in text(failed)
        picture = (
            "import io\nfrom PIL import Image as I\nb = io.BytesIO()\n"
            "I.new('RGB', (8, 8), 'red').save(b, 'png')\nImage(b.getvalue())"
        )
        shown = await run(client, picture, session=session)
        assert [block.type for block in shown.content] == ["text", "image", "text"]

    async def test_a_session_outlives_its_connection_and_is_everybodys(
        self, shared: HttpProcess, way: Way
    ) -> None:
        session = f"kept {way}"
        async with shared.client(way) as first:
            await run(first, "x = 41", session=session)
        for other in WAYS:
            async with shared.client(other) as second:
                assert "42" in text(await run(second, "x + 1", session=session))

    async def test_the_largest_results_arrive(self, client: Client[Any], way: Way) -> None:
        """Events of more than 1 MiB end the connection of some clients."""
        code = (
            "import os, io, sys\nfrom PIL import Image as I\nfrom IPython.display import Image\n"
            "print('\\x01\\U0001f600' * 30_000)\n"
            "for n in range(3):\n    b = io.BytesIO()\n"
            "    I.frombytes('RGB', (900, 900), os.urandom(2_430_000)).save(b, 'png')\n"
            "    display(Image(b.getvalue()))"
        )
        result = await run(client, code, session=f"large {way}")
        assert not result.is_error
        assert len(result.model_dump_json(by_alias=True)) < 1_000_000
        run_id = (result.meta or {})["rmi-agent/run"]["run_id"]
        (whole,) = await client.read_resource(f"run://{run_id}/text")
        assert "\U0001f600" in whole.text

    async def test_an_output_that_no_event_holds_is_refused_in_a_sentence(
        self, client: Client[Any], way: Way
    ) -> None:
        """In the newer era the answer is no event."""
        code = "from IPython.display import HTML, display\ndisplay(HTML('<b>' + 'x' * 2_000_000))"
        result = await run(client, code, session=f"html {way}")
        run_id = (result.meta or {})["rmi-agent/run"]["run_id"]
        if way == "newer":
            (whole,) = await client.read_resource(f"run://{run_id}/outputs/1")
            assert len(whole.text) == 2_000_086
        else:
            with pytest.raises(MCPError, match=r"This has 2,000,086 bytes, more than"):
                await client.read_resource(f"run://{run_id}/outputs/1")
        assert "2" in text(await run(client, "1 + 1", session=f"html {way}")), "it lives"

    async def test_the_command_line_client_talks_to_each(self, shared: HttpProcess) -> None:
        for path in ("/sse", "/mcp"):
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                str(ROOT / "client" / "mcp_client.py"),
                "--server",
                shared.url + path,
                stdout=subprocess.PIPE,
            )
            printed, _ = await child.communicate()
            assert child.returncode == 0
            assert b"run_python" in printed


class TestTheCommandLine:
    async def test_a_request_that_is_too_large_is_one_sentence(self, shared: HttpProcess) -> None:
        """Over SSE no answer comes to a request that is refused."""
        for path in ("/sse", "/mcp"):
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, str(ROOT / "client" / "mcp_client.py")),
                *("--server", shared.url + path, "code", "-"),
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            _, said = await asyncio.wait_for(child.communicate(b"#" * 5_000_000), 60)
            assert child.returncode == 2
            assert b"413" in said or b"more than 4 MiB" in said
            assert said.count(b"\n") == 1


class TestClientsThatGo:
    async def test_the_run_of_one_that_disappears_is_stopped(
        self, shared: HttpProcess, way: Way
    ) -> None:
        """Within a second or two; its session is free then, and its variables are kept."""
        session = f"left {way}"
        code = (
            "import asyncio, sys\nfrom fastmcp import Client\n"
            "from fastmcp.client.transports import SSETransport, StreamableHttpTransport\n"
            "async def told(*_): print('told', flush=True)\n"
            "async def main():\n"
            "    url, way, session, code = sys.argv[1:]\n"
            "    sse = way == 'sse'\n"
            "    t = SSETransport(url + '/sse') if sse else StreamableHttpTransport(url + '/mcp')\n"
            "    async with Client(t, mode='auto' if way == 'newer' else 'legacy') as c:\n"
            "        await c.call_tool('run_code', {'code': code, 'session': session},\n"
            "                          progress_handler=told)\n"
            "asyncio.run(main())"
        )
        async with shared.client("newer") as watcher:
            await run(watcher, "x = 1", session=session)
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", code, shared.url, way, session, WAITS),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert child.stdout is not None
            assert await child.stdout.readline() == b"told\n"
            child.kill()
            await child.wait()
            async with asyncio.timeout(10):
                assert "1" in text(await run(watcher, "x", session=session))

    async def test_a_cancelled_call_stops_its_run(self, client: Client[Any], way: Way) -> None:
        session = f"cancelled {way}"
        call = await start(client, WAITS, session=session)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        async with asyncio.timeout(10):
            assert "3" in text(await run(client, "1 + 2", session=session))

    async def test_a_task_goes_on_when_its_call_has_been_answered(
        self, shared: HttpProcess
    ) -> None:
        async with shared.client("newer", extensions=[TasksClientExtension()]) as first:
            task = await begin(first, "run_code", code=WAITS, session="task", timeout=60)
            run_id = None
            while run_id is None:
                found = re.search(r"\(run (\d+)\)", text(await first.call_tool("list_sessions")))
                run_id = found[1] if found else None
        # Longer than it takes to look whether the client is there, with its connection closed.
        async with shared.client("older") as second:
            news = await second.call_tool_mcp("get_output", {"run_id": run_id, "wait": 3})
            assert (news.meta or {})["rmi-agent/run"]["status"] == "running", text(news)
            news = await second.call_tool_mcp("get_output", {"run_id": run_id, "wait": 3})
            assert (news.meta or {})["rmi-agent/run"]["status"] == "running", text(news)
            await second.call_tool("stop_run", {"run_id": run_id})
        assert task.task_id

    async def test_a_run_in_the_background_goes_on(self, shared: HttpProcess, way: Way) -> None:
        session = f"background {way}"
        async with shared.client(way) as first:
            begun = await run(first, WAITS, session=session, background=True, timeout=60)
        run_id = (begun.meta or {})["rmi-agent/run"]["run_id"]
        async with shared.client(way) as second:
            listed = text(await second.call_tool_mcp("list_sessions", {}))
            assert f"(run {run_id})" in listed
            await second.call_tool("stop_run", {"run_id": run_id})


class TestTheEnd:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_who_waits_is_answered_and_nothing_is_left(
        self, own: HttpProcess, number: int
    ) -> None:
        async with contextlib.AsyncExitStack() as stack:
            calls = []
            for way in WAYS:
                client = await stack.enter_async_context(own.client(way))
                calls.append(await start(client, WAITS, session=way))
            stubborn = await stack.enter_async_context(own.client("newer"))
            calls.append(await start(stubborn, STUBBORN, session="stubborn"))
            family = own.family()
            assert len(family) > 4
            begun = time.monotonic()
            own.process.send_signal(number)
            results = await asyncio.gather(*calls)
            assert await asyncio.to_thread(own.process.wait, 20) == 0
            assert time.monotonic() - begun < 15  # five, on a machine that does nothing else
        for result in results:
            assert result.is_error
            assert "it runs" in text(result)
            assert "session closed: its variables are gone" in text(result)
        assert gone_within(family, 5) == []

    async def test_what_is_nearly_done_is_not_disturbed(self, own: HttpProcess) -> None:
        async with own.client("newer") as client:
            await client.list_tools()  # which it would do after its first call
            code = (
                "import os, time\nprint('it runs', flush=True)\n"
                "while not os.path.exists('go'): time.sleep(0.01)\nprint('done')"
            )
            call = await start(client, code)
            own.process.send_signal(signal.SIGTERM)
            (own.projects / "go").touch()
            result = await call
            assert not result.is_error
            assert "done" in text(result)
        assert await asyncio.to_thread(own.process.wait, 20) == 0

    async def test_new_calls_are_refused_meanwhile(self, own: HttpProcess) -> None:
        async with own.client("newer") as first, own.client("sse") as second:
            call = await start(first, WAITS)
            own.process.send_signal(signal.SIGTERM)
            refused = None
            while refused is None:
                result = await second.call_tool_mcp("list_sessions", {})
                refused = text(result) if result.is_error else None
            assert refused.startswith("The server is ending")
            await call

    async def test_a_killed_server_leaves_nothing(self, own: HttpProcess) -> None:
        async with own.client("older") as client:
            call = await start(client, WAITS)
            family = own.family()
            own.process.kill()
            with pytest.raises(Exception):  # noqa: B017
                await asyncio.wait_for(call, 20)
        assert gone_within(family, 10) == []


def serve(folder: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A server that is not expected to serve."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RMI_")}
    return subprocess.run(
        [*SCRIPT, *options],
        env={**own, "RMI_STATE_DIR": str(folder), "PYTHON_PROJECTS_DIR": str(folder), **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )


class TestAServerThatCannotServe:
    def test_a_taken_port_is_one_line(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            ended = serve(tmp_path, RMI_PORT=port)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == (
            f"rmi-agent-mcp-server: Port {port} of 127.0.0.1 is taken, perhaps by a server that "
            "runs already. End that one, or set RMI_PORT.\n"
        )

    @pytest.mark.parametrize(
        ("options", "settings", "why"),
        [
            ((), {"RMI_HOST": "0.0.0.0"}, "RMI_HOST is '0.0.0.0', where others can reach it"),
            ((), {"RMI_HOST": "::"}, "RMI_HOST is '::', where others can reach it"),
            ((), {"RMI_ALLOWED_HOSTS": "x.example"}, "RMI_ALLOWED_HOSTS lets others reach"),
            (("--tunnel",), {}, "A tunnel would let the whole internet run code here"),
        ],
    )
    def test_others_are_not_served_without_tokens(
        self, tmp_path: Path, options: tuple[str, ...], settings: dict[str, str], why: str
    ) -> None:
        ended = serve(tmp_path, *options, **settings)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith(f"rmi-agent-mcp-server: {why}")
        assert "token new NAME" in ended.stderr
        assert ended.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("RMI_PORT", "x"),
            ("RMI_PORT", "65536"),
            ("RMI_HOST", "http://x"),
            ("RMI_TOKENS", "me"),
            ("RMI_TOKENS", "me:short"),
            ("RMI_ALLOWED_HOSTS", "https://x.example"),
            ("RMI_ALLOWED_ORIGINS", "x.example"),
            ("RMI_ALLOWED_ORIGINS", "https://x.example/path"),
            ("RMI_TOKEN_CALLS", "0"),
        ],
    )
    def test_a_wrong_setting_is_one_line(self, tmp_path: Path, name: str, value: str) -> None:
        ended = serve(tmp_path, **{name: value})
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith(f"rmi-agent-mcp-server: {name}")
        assert ended.stderr.count("\n") == 1
        assert "short" not in ended.stderr

    def test_an_unknown_option_is_one_line(self, tmp_path: Path) -> None:
        ended = serve(tmp_path, "--htpp")
        assert ended.returncode == 2
        assert "unknown argument '--htpp'" in ended.stderr
