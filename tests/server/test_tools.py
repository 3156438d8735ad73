"""The tools as a client in memory sees them; in both eras what the protocol may change."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.exceptions import ToolError
from mcp_types import CallToolResult, ImageContent, TextContent

from kernels.kernel import Exit
from kernels.registry import Registry
from kernels.session import SessionState
from server import progress
from server.app import build_server, warm_up
from server.settings import Settings
from tests.conftest import until
from tests.kernels.fake_kernel import FakeBackend, FakeKernel
from tests.notebooks.files import file_of
from tests.server.caller import NAMES, Caller, Mode, both_eras

GONE = "session restarted: its variables are gone"


@pytest.fixture
def mode() -> Mode:
    """The newer era, except where a test asks for both."""
    return "auto"


@both_eras
async def test_every_tool_answers(caller: Caller, projects: Path) -> None:
    """The least of each of them, on a real kernel."""
    (projects / "n.ipynb").write_bytes(file_of({"source": "y = x + 1\ny"}))
    answers: dict[str, str] = {}

    async def ask(tool: str, **arguments: Any) -> None:
        result = await caller.call(tool, **arguments)
        assert not result.is_error
        assert isinstance(result.content[0], TextContent)
        answers[tool] = result.content[0].text

    await ask("write_file", file_name="a.py", content="x = 41\nprint(x)")
    await ask("list_files")
    await ask("read_file", file_name="a.py")
    await ask("run_python", file_name="a.py")
    await ask("run_notebook", file_name="n.ipynb", session="default")
    await ask("run_code", code="y")
    await ask("get_output", run_id="1")
    await ask("read_notebook", file_name="n.ipynb", cell=0)
    await ask("edit_notebook", file_name="n.ipynb", operations=[{"op": "delete", "cell": 0}])
    await ask("list_variables")
    await ask("list_sessions")
    await ask("list_environments")
    await ask("stop_run")
    await ask("branch_session", new_session="b")
    await ask("rewind_session", session="b")
    await ask("restart_session")
    await ask("close_session")
    assert answers.keys() == NAMES
    assert answers["write_file"] == "Wrote a.py (2 lines)."
    assert answers["list_files"].startswith("a.py (15 bytes)\nn.ipynb (")
    assert answers["read_file"] == "x = 41\nprint(x)"
    assert (answers["run_python"], answers["get_output"]) == ("41\n", "41\n")
    assert answers["run_code"] == "42\n"
    assert answers["run_notebook"].startswith("n.ipynb: 1 of 1 cells run.")
    assert "42" in answers["read_notebook"]
    assert answers["edit_notebook"].startswith("n.ipynb changed.")
    assert answers["list_variables"].startswith("x: int")
    assert answers["list_sessions"].startswith("default: idle")
    assert answers["stop_run"] == "Nothing is running in session 'default'."
    assert answers["branch_session"].startswith(
        "Session 'b' has the variables of session 'default'"
    )
    assert answers["rewind_session"].startswith("Session 'b' is back to what it was after run 3, ")
    assert answers["restart_session"].startswith("Session 'default' restarted")
    assert answers["close_session"].startswith("Session 'default' closed")


@both_eras
class TestTheList:
    async def test_all_tools_are_there_and_described(self, quick: Caller) -> None:
        tools = await quick.client.list_tools()
        assert {tool.name for tool in tools} == NAMES
        for tool in tools:
            assert tool.description
            assert len(tool.description) < 1500
            assert tool.output_schema is None
            for name, parameter in tool.input_schema["properties"].items():
                assert parameter.get("description"), f"{tool.name}: {name}"
            assert tool.input_schema["additionalProperties"] is False

    async def test_all_four_hints_are_set(self, quick: Caller) -> None:
        hints = {}
        for tool in await quick.client.list_tools():
            assert tool.annotations is not None
            found = tool.annotations
            assert found.title == tool.name.replace("_", " ").capitalize()
            hints[tool.name] = (
                found.read_only_hint,
                found.destructive_hint,
                found.idempotent_hint,
                found.open_world_hint,
            )
        run, look, change = (
            (False, True, False, True), (True, False, True, False), (False, True, True, False)
        )  # fmt: skip
        assert hints == {
            "run_python": run,
            "run_code": run,
            "get_output": look,
            "stop_run": change,
            "list_sessions": look,
            "list_variables": look,
            "list_environments": look,
            "restart_session": change,
            "close_session": change,
            "rewind_session": change,
            "branch_session": (False, False, False, False),
            "list_files": look,
            "read_file": look,
            "write_file": change,
            "run_notebook": run,
            "read_notebook": look,
            "edit_notebook": (False, True, False, False),
        }

    async def test_the_limits_of_isolation_are_told(self, quick: Caller) -> None:
        words = quick.client.instructions or ""
        assert "can do anything your account can" in words

    async def test_the_context_is_no_parameter(self, quick: Caller) -> None:
        for tool in await quick.client.list_tools():
            assert "ctx" not in tool.input_schema["properties"]


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("run_code", {}, "The argument code is missing."),
    ("run_code", {"code": 1}, "The argument code should be a valid string; it is 1."),
    ("run_code", {"code": None}, "The argument code should be a valid string; it is None."),
    ("run_code", {"code": "1", "bogus": 1}, "There is no argument bogus"),
    ("run_code", {"code": "1", "b\nogus" * 99: 1}, "There is no argument 'b\\nogus"),
    ("run_code", {"code": "1", "session": "a\nb"}, "A session's name is 1 to 100 letters"),
    ("run_code", {"code": "1", "session": ""}, "A session's name is 1 to 100 letters"),
    ("run_code", {"code": "1", "session": "x" * 5000}, "A session's name is 1 to 100 letters"),
    ("run_code", {"code": "1", "session": 5}, "The argument session should be a valid string"),
    ("run_code", {"code": "1", "restart": "yes"}, "The argument restart should be a valid bool"),
    ("run_code", {"code": "1", "stdin": ["a"]}, "The argument stdin should be a valid string"),
    ("run_code", {"code": "1", "timeout": 0}, "timeout is 0; it must be above 0 and at most 3600"),
    ("run_code", {"code": "1", "timeout": -1}, "timeout is -1; it must be above 0"),
    ("run_code", {"code": "1", "timeout": -0.0}, "timeout is -0; it must be above 0"),
    ("run_code", {"code": "1", "timeout": 3600.1}, "timeout is 3600.1; it must be above 0"),
    ("run_code", {"code": "1", "timeout": 1e308}, "timeout is 1e+308; it must be above 0"),
    ("run_code", {"code": "1", "timeout": 10**30}, "timeout is 1e+30; it must be above 0"),
    ("run_code", {"code": "1", "timeout": "5"}, "The argument timeout should be a valid number"),
    ("run_code", {"code": "1", "timeout": "soon"}, "The argument timeout should be a valid number"),
    ("run_code", {"code": "1", "timeout": True}, "The argument timeout should be a valid number"),
    ("run_code", {"code": "1", "timeout": [1]}, "The argument timeout should be a valid number"),
    ("run_python", {}, "The argument file_name is missing."),
    ("run_python", {"file_name": "no.py"}, "'no.py' does not exist"),
    ("run_python", {"file_name": "no.py", "timeout": 0}, "'no.py' does not exist"),
    ("run_python", {"file_name": "."}, "is a directory, not a file"),
    ("run_python", {"file_name": "n.txt"}, "is not a .py file"),
    ("run_python", {"file_name": "../a.py"}, "is outside the projects directory"),
    ("run_python", {"file_name": "/proc/self/root/etc/passwd"}, "is outside the projects"),
    ("run_python", {"file_name": "a\0.py"}, "NUL character"),
    ("run_python", {"file_name": ""}, "The file name is empty"),
    ("run_python", {"file_name": "x" * 5000}, "is too long a name"),
    ("run_python", {"file_name": "a.py", "args": "x"}, "The argument args should be a valid array"),
    ("run_python", {"file_name": "a.py", "args": [1]}, "The argument args.0 should be a valid str"),
    ("run_python", {"file_name": "a.py", "args": ["a\0"]}, "args contains a NUL character"),
    ("run_code", {"code": "1", "background": "yes"}, "The argument background should be a valid"),
    ("get_output", {}, "The argument run_id is missing."),
    ("get_output", {"run_id": "7"}, "There is no run '7', or it is no longer remembered."),
    ("get_output", {"run_id": "7", "wait": -1}, "wait is -1; it must be from 0 to 50 seconds"),
    ("get_output", {"run_id": "7", "wait": 51}, "wait is 51; it must be from 0 to 50 seconds"),
    ("get_output", {"run_id": "7", "wait": "1"}, "The argument wait should be a valid number"),
    ("get_output", {"run_id": "7", "offset": -1}, "offset is -1; it must be 0 or more characters."),
    ("get_output", {"run_id": "7", "offset": 1.5}, "The argument offset should be a valid integer"),
    ("get_output", {"run_id": "7", "image": "1"}, "The argument image should be a valid integer"),
    ("stop_run", {"session": "none"}, "There is no session 'none'. Sessions now: none."),
    ("stop_run", {}, "There is no session 'default'."),
    ("stop_run", {"session": ""}, "A session's name is 1 to 100 letters"),
    (
        "stop_run",
        {"run_id": "7"},
        "There is no run '7', or it is no longer",
    ),
    ("stop_run", {"run_id": 7}, "The argument run_id should be a valid string"),
    ("list_variables", {"session": "none"}, "There is no session 'none'."),
    ("list_variables", {"session": 1}, "The argument session should be a valid string"),
    ("restart_session", {"session": "none"}, "There is no session 'none'."),
    ("close_session", {"session": "none"}, "There is no session 'none'."),
    ("branch_session", {"new_session": "b", "session": "none"}, "There is no session 'none'."),
    ("branch_session", {}, "The argument new_session is missing."),
    ("branch_session", {"new_session": "a\nb"}, "There is no session 'default'."),
    ("rewind_session", {"session": "none"}, "There is no session 'none'."),
    ("rewind_session", {"session": ""}, "A session's name is 1 to 100 letters"),
    ("list_files", {"directory": ".."}, "is outside the projects directory"),
    ("list_files", {"directory": "no"}, "does not exist"),
    ("read_file", {"file_name": "no"}, "does not exist"),
    ("read_file", {"file_name": "n.txt", "offset": -1}, "offset must be 0 or more"),
    ("read_file", {"file_name": "n.txt", "limit": 0}, "limit 1 or more"),
    ("read_file", {"file_name": "n.txt", "limit": 1.5}, "The argument limit should be a valid int"),
    ("write_file", {"file_name": "n.txt", "content": "x"}, "exists already; set overwrite"),
    ("write_file", {"file_name": "n.txt"}, "The argument content is missing."),
    ("write_file", {"file_name": "../x", "content": ""}, "is outside the projects directory"),
    ("list_sessions", {"session": "x"}, "There is no argument session"),
    ("no_such_tool", {}, "no_such_tool"),
]


def contents(folder: Path) -> dict[str, str]:
    """Names and texts of the files in a folder."""
    return {path.name: path.read_text() for path in folder.iterdir()}


class TestBadArguments:
    @pytest.mark.parametrize(("tool", "arguments", "words"), BAD)
    async def test_each_is_refused_in_one_sentence_and_changes_nothing(
        self,
        quick: Caller,
        fakes: Registry,
        backend: FakeBackend,
        projects: Path,
        tool: str,
        arguments: dict[str, Any],
        words: str,
    ) -> None:
        (projects / "a.py").write_text("1")
        (projects / "n.txt").write_text("text")
        assert words in await quick.refusal(tool, **arguments)
        assert fakes.sessions("") == []
        assert backend.kernels == []
        assert contents(projects) == {"a.py": "1", "n.txt": "text"}

    @pytest.mark.parametrize("mode", ["legacy"])
    async def test_all_are_refused_alike_in_the_older_era(
        self, quick: Caller, fakes: Registry, backend: FakeBackend, projects: Path
    ) -> None:
        (projects / "a.py").write_text("1")
        (projects / "n.txt").write_text("text")
        for tool, arguments, words in BAD:
            assert words in await quick.refusal(tool, **arguments)
        assert fakes.sessions("") == []
        assert backend.kernels == []
        assert contents(projects) == {"a.py": "1", "n.txt": "text"}

    @pytest.mark.parametrize("timeout", [math.nan, math.inf, -math.inf])
    async def test_numbers_that_json_has_not(
        self, settings: Settings, fakes: Registry, timeout: float
    ) -> None:
        """Clients replace them or send them as they are, which is not JSON."""
        server = build_server(settings, fakes)
        with pytest.raises(ToolError, match="must be a finite number; it is"):
            await server.call_tool("run_code", {"code": "1", "timeout": timeout})
        assert fakes.sessions("") == []

    async def test_text_that_json_has_not(self, settings: Settings, fakes: Registry) -> None:
        server = build_server(settings, fakes)
        for name, value in (("code", "\ud800"), ("stdin", "a\udfff")):
            with pytest.raises(ToolError, match=f"argument {name} has characters that UTF-8"):
                await server.call_tool("run_code", {"code": "1", name: value})
        with pytest.raises(ToolError, match="argument args has characters"):
            await server.call_tool("run_python", {"file_name": "a.py", "args": ["\ud800"]})

    @both_eras
    async def test_more_sessions_than_allowed(self, quick: Caller, fakes: Registry) -> None:
        for name in "abc":
            await quick.run("run_code", code="1", session=name)
        before = fakes.sessions("")
        words = await quick.refusal("run_code", code="1", session="d")
        assert "There are 3 sessions already" in words
        assert re.search(r"Close one first: a \(idle \d+ s\), b \(.*\), c \(.*\)\.$", words)
        assert fakes.sessions("") == before

    @both_eras
    async def test_a_kernel_that_does_not_start(self, quick: Caller, backend: FakeBackend) -> None:
        backend.failures = ["/the/python has no ipykernel, so it cannot run kernels."]
        assert "has no ipykernel" in await quick.refusal("run_code", code="1")
        assert (await quick.run("run_code", code="1"))[1]["status"] == "ok"

    async def test_the_warm_up_runs_nothing(
        self, settings: Settings, fakes: Registry, backend: FakeBackend, projects: Path
    ) -> None:
        await warm_up(build_server(settings, fakes))
        assert (backend.kernels, fakes.sessions(""), contents(projects)) == ([], [], {})


class TestRuns:
    """On real kernels."""

    async def test_code_and_a_script_share_one_state(self, caller: Caller, projects: Path) -> None:
        texts, facts = await caller.run("run_code", code="x = 41\nprint('out')\nx + 1")
        assert texts[:-1] == ["out\n42\n"]
        assert texts[-1].startswith("[exit code 0 · ")
        assert texts[-1].endswith(" s · session default · run 1]")
        duration = facts.pop("duration_s")
        assert isinstance(duration, float)
        assert facts == {
            "run_id": "1",
            "session": "default",
            "status": "ok",
            "exit_code": 0,
            "execution_count": 1,
            "state": "kept",
            "truncated": False,
            "error": None,
        }
        (projects / "a.py").write_text("import sys\nprint(sys.argv[1:], input(), x)\ny = 7\n")
        texts, facts = await caller.run(
            "run_python", file_name="a.py", args=["-v", "a b"], stdin="line\n"
        )
        assert texts[0] == "['-v', 'a b'] line 41\n"
        texts, facts = await caller.run("run_code", code="y")
        assert (texts[0], facts["run_id"]) == ("7\n", "3")

    @both_eras
    async def test_a_failing_program_is_a_result(self, caller: Caller, projects: Path) -> None:
        (projects / "bad.py").write_text("print('before')\n1/0\n")
        texts, facts = await caller.run("run_python", file_name="bad.py")
        assert texts[0].startswith("before\n[stderr]\nTraceback (most recent call last):\n")
        assert texts[0].endswith("ZeroDivisionError: division by zero\n")
        assert (facts["status"], facts["exit_code"], facts["state"]) == ("error", 1, "kept")
        error = facts["error"]
        assert (error["name"], error["value"], error["line"]) == (
            "ZeroDivisionError", "division by zero", 2,
        )  # fmt: skip
        assert error["file"].endswith("bad.py")
        texts, facts = await caller.run("run_code", code="import sys; sys.exit(3)")
        assert texts == ["(No output)", texts[-1]]
        assert texts[-1].startswith("[exit code 3 · ")
        assert facts["exit_code"] == 3

    @both_eras
    async def test_images_come_with_their_description(self, caller: Caller) -> None:
        code = (
            "import base64, IPython.display as d\n"
            "d.display(d.Image(data=base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
            "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==')))"
        )
        result = await caller.call("run_code", code=code)
        label, image, last = result.content
        assert isinstance(label, TextContent)
        assert isinstance(image, ImageContent)
        assert isinstance(last, TextContent)
        assert label.text.startswith("[image 1: PNG 1 × 1, ")
        assert image.mime_type == "image/png"

    async def test_two_calls_at_once_to_one_session_take_turns(self, caller: Caller) -> None:
        calls = [
            caller.run("run_code", code=f"import time\ntime.sleep(0.2)\nprint({number})")
            for number in range(3)
        ]
        results = await asyncio.gather(*calls)
        assert sorted(texts[0] for texts, _ in results) == ["0\n", "1\n", "2\n"]
        assert sorted(facts["execution_count"] for _, facts in results) == [1, 2, 3]
        assert len({facts["run_id"] for _, facts in results}) == 3

    @both_eras
    async def test_a_cancelled_call_stops_its_run(self, caller: Caller, registry: Registry) -> None:
        await caller.run("run_code", code="x = 1")
        session = registry.find("", "default")
        call = asyncio.create_task(caller.call("run_code", code="print(1)\nwhile True: pass"))
        await until(lambda: session.runs and session.runs[0].characters)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: session.state is SessionState.IDLE)
        texts, facts = await caller.run("run_code", code="x")
        assert (texts[0], facts["state"]) == ("1\n", "kept")

    @both_eras
    async def test_a_client_that_goes_away_stops_its_run(
        self, settings: Settings, registry: Registry, mode: Mode
    ) -> None:
        async with Client(build_server(settings, registry), mode=mode) as client:
            call = asyncio.create_task(
                client.call_tool_mcp("run_code", {"code": "while True: pass"})
            )
            await until(lambda: registry.sessions("") and registry.sessions("")[0].count)
        session = registry.find("", "default")
        await until(lambda: session.state is SessionState.IDLE, 10)
        # It may still have been answered.
        await asyncio.gather(call, return_exceptions=True)


class TestEndings:
    """On fake kernels: what of a result depends on how its run ended."""

    @both_eras
    async def test_a_timeout_and_what_follows(self, quick: Caller, backend: FakeBackend) -> None:
        def answer(kernel: FakeKernel) -> None:
            kernel.obey = FakeKernel.fail
            if kernel.content["code"] == "wait":
                kernel.print("on\n")
            else:
                kernel.succeed()

        backend.answer = answer
        texts, facts = await quick.run("run_code", code="wait", timeout=0.05)
        assert texts[0] == "on\n[stderr]\nTraceback\nKeyboardInterrupt\n"
        assert texts[-1].endswith(f" · timed out after 0.05 s · {GONE}]")
        assert (facts["status"], facts["exit_code"], facts["state"]) == ("timeout", None, "lost")
        texts, facts = await quick.run("run_code", code="1")
        assert texts[-1].endswith(" · in a fresh kernel]")
        assert facts["state"] == "kept"

    @both_eras
    async def test_a_death(self, quick: Caller, backend: FakeBackend) -> None:
        backend.answer = lambda kernel: kernel.end(Exit(signal=9))
        texts, facts = await quick.run("run_code", code="1")
        assert texts[0] == "The kernel was killed from outside (SIGKILL)."
        assert texts[-1].startswith("[kernel died · ")
        assert (facts["status"], facts["exit_code"], facts["signal"]) == ("died", None, 9)

    async def test_a_fresh_kernel_on_request(self, quick: Caller, backend: FakeBackend) -> None:
        await quick.run("run_code", code="1")
        texts, facts = await quick.run("run_code", code="1", restart=True)
        assert texts[-1].endswith(f" · {GONE}]")
        assert facts["state"] == "lost"
        assert len(backend.kernels) == 2

    async def test_a_kernel_that_ended_long_ago(self, quick: Caller, backend: FakeBackend) -> None:
        await quick.run("run_code", code="1")
        backend.kernels[0].end(Exit(signal=9, out_of_memory=True))
        assert "default: cold" in await quick.text("list_sessions")
        texts, facts = await quick.run("run_code", code="1")
        assert "since the last run the kernel was killed because the machine ran" in texts[-1]
        assert facts["state"] == "lost"

    @both_eras
    async def test_a_call_that_is_cancelled_while_it_waits_never_runs(
        self, quick: Caller, fakes: Registry, backend: FakeBackend
    ) -> None:
        first = asyncio.create_task(quick.run("run_code", code="wait"))
        await until(lambda: fakes.sessions("") and fakes.sessions("")[0].count)
        session = fakes.find("", "default")
        second = asyncio.create_task(quick.call("run_code", code="never"))
        await until(lambda: len(session.runs) == 2)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await until(lambda: session.runs[1].stopping)
        backend.kernels[0].succeed()
        assert (await first)[1]["status"] == "ok"
        await until(lambda: not session.runs)
        assert backend.kernels[0].requests == 1

    @both_eras
    async def test_everything_said_can_travel_as_json(
        self, quick: Caller, backend: FakeBackend
    ) -> None:
        """What a kernel sends may have text that JSON has not."""

        def answer(kernel: FakeKernel) -> None:
            kernel.print("a\ud800\0b")
            kernel.reply(rmi={"exit_code": 1, "error": {"name": "E", "value": "\udfff" * 5000}})
            kernel.idle()

        backend.answer = answer
        result = await quick.call("run_code", code="x")
        assert isinstance(result.content[0], TextContent)
        assert result.content[0].text == "a\\ud800\0b"
        json.dumps(result.model_dump(), ensure_ascii=False).encode()


class TestSessions:
    async def test_they_are_listed(self, caller: Caller, registry: Registry) -> None:
        assert await caller.text("list_sessions") == (
            "There is no session yet. The first run makes one."
        )
        await caller.run("run_code", code="1", session="a b")
        line = await caller.text("list_sessions")
        name, _, facts = line.partition(": ")
        state, age, idle, memory, python, runs = facts.split(" · ")[:6]
        assert (name, state, python, runs) == ("a b", "idle", "/the/python", "1 runs")
        assert age.startswith("age ")
        assert idle.startswith("idle ")
        assert memory.endswith(" MB")
        assert int(memory.removesuffix(" MB")) > 10

    async def test_a_busy_one_tells_what_it_runs(self, quick: Caller, fakes: Registry) -> None:
        calls = [asyncio.create_task(quick.call("run_code", code="wait")) for _ in range(3)]
        await until(lambda: fakes.sessions("") and len(fakes.sessions("")[0].runs) == 3)
        line = await quick.text("list_sessions")
        assert line.startswith("default: busy · age ")
        assert " · running: wait (run 1) · 2 waiting (run 2, 3) · " in line
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)

    @both_eras
    async def test_stopping(self, caller: Caller, registry: Registry) -> None:
        await caller.run("run_code", code="x = 1")
        assert await caller.text("stop_run") == "Nothing is running in session 'default'."
        call = asyncio.create_task(caller.run("run_code", code="print(1)\nwhile True: pass"))
        session = registry.find("", "default")
        await until(lambda: session.runs and session.runs[0].characters)
        said = await caller.text("stop_run", run_id="2")
        assert said.startswith("Run 2 has ended.\n[exit code 130 · ")
        assert said.endswith(" · stopped · the session's variables are kept]")
        texts, facts = await call
        assert (facts["status"], facts["state"]) == ("interrupted", "kept")
        assert texts[-1] in said

    async def test_stopping_what_waits(self, quick: Caller, fakes: Registry) -> None:
        first = asyncio.create_task(quick.call("run_code", code="wait"))
        await until(lambda: fakes.sessions("") and fakes.sessions("")[0].count)
        second = asyncio.create_task(quick.run("run_code", code="never"))
        await until(lambda: len(fakes.find("", "default").runs) == 2)
        stop = asyncio.create_task(quick.text("stop_run", run_id="2"))
        await until(lambda: fakes.find("", "default").runs[1].stopping)
        first.cancel()
        assert (await stop).startswith(
            "Run 2 has ended.\nNot run: it was stopped before it began.\n[0.00 s · "
        )
        texts, facts = await second
        assert texts[0] == "Not run: it was stopped before it began."
        assert (facts["status"], facts["exit_code"]) == ("interrupted", None)

    @both_eras
    async def test_restarting_and_closing(self, caller: Caller) -> None:
        leave = "import atexit\natexit.register(print, 'at exit')"
        await caller.run("run_code", code=leave)
        said = await caller.text("restart_session")
        assert said.startswith("Session 'default' restarted: its variables are gone.\n")
        assert said.endswith("\nAt its end it printed:\nat exit\n")
        texts, _ = await caller.run("run_code", code="1")
        assert texts[-1].endswith(" s · session default · run 2]")
        assert await caller.text("close_session") == (
            "Session 'default' closed: its variables are gone."
        )
        assert "There is no session 'default'" in await caller.refusal("close_session")
        texts, _ = await caller.run("run_code", code="1")
        assert "new session: the earlier one of this name was closed" in texts[-1]


class TestVariables:
    async def test_names_types_sizes_and_beginnings(self, caller: Caller) -> None:
        code = (
            "import math, numpy as np\nnumbers = list(range(1000))\ntext = 'abc'\n"
            "array = np.zeros((3, 4))\ndef f(): pass\nclass Own: pass\nown = Own()"
        )
        await caller.run("run_code", code=code)
        lines = (await caller.text("list_variables")).split("\n")
        assert lines[0].startswith("numbers: list · 1000 · [0, 1, 2")
        assert lines[1].startswith("text: str · 3 · 'abc'")
        assert lines[2].startswith("array: numpy.ndarray · (3, 4) · float64")
        assert lines[3].startswith("own: ") and "Own" in lines[3]
        assert "[1 functions: f]" in lines
        assert any(line.startswith("[2 modules: ") for line in lines)

    async def test_while_a_run_is_going_on(self, caller: Caller, registry: Registry) -> None:
        code = "step = 1\nprint('begun', flush=True)\nwhile True: pass"
        await caller.call("run_code", code=code, background=True)
        await caller.call("get_output", run_id="1", wait=20)
        assert (await caller.text("list_variables")).startswith("step: int")
        await caller.text("stop_run", run_id="1")
        assert len(registry.runs("", "default")) == 1

    async def test_of_a_session_without_any(self, caller: Caller) -> None:
        await caller.run("run_code", code="pass")
        assert await caller.text("list_variables") == "Session 'default' has no variables."
        await caller.text("restart_session")
        assert await caller.text("list_variables") == "Session 'default' has no variables."


class TestFiles:
    async def test_writing_reading_and_listing(self, quick: Caller, projects: Path) -> None:
        assert await quick.text("list_files") == f"No file matches '*' in {projects}."
        said = await quick.text("write_file", file_name="d/a.py", content="x = 1\ny = 2")
        assert said == "Wrote d/a.py (2 lines)."
        assert await quick.text("read_file", file_name="d/a.py") == "x = 1\ny = 2"
        said = await quick.text("write_file", file_name="d/a.py", content="", overwrite=True)
        assert said == "Replaced d/a.py (0 lines)."
        assert await quick.text("read_file", file_name="d/a.py") == (
            "[d/a.py has 0 lines; none of them after line 0]"
        )
        assert await quick.text("list_files") == "d/a.py (0 bytes)"
        assert await quick.text("list_files", directory="d", pattern="*.py") == "d/a.py (0 bytes)"

    async def test_reading_in_parts(self, quick: Caller, projects: Path) -> None:
        (projects / "n.txt").write_text("".join(f"{n}\n" for n in range(3000)))
        text = await quick.text("read_file", file_name="n.txt")
        assert text.endswith("\n999\n[lines 1 to 1,000 of 3,000]")
        text = await quick.text("read_file", file_name="n.txt", offset=2998, limit=9)
        assert text == "2998\n2999\n[lines 2,999 to 3,000 of 3,000]"
        text = await quick.text("read_file", file_name="n.txt", offset=3000)
        assert text == "[n.txt has 3,000 lines; none of them after line 3,000]"
        (projects / "long.txt").write_text("x" * 50_000)
        text = await quick.text("read_file", file_name="long.txt")
        assert text == "x" * 20_000 + "\n[lines 1 to 1 of 1; the last one is cut]"

    async def test_a_long_list_is_cut(self, quick: Caller, projects: Path) -> None:
        for number in range(310):
            (projects / f"f{number:03}").touch()
        lines = (await quick.text("list_files")).split("\n")
        assert lines[299] == "f299 (0 bytes)"
        assert lines[300:] == ["[10 more; narrow it with directory or pattern]"]


class TestProgress:
    @pytest.fixture(autouse=True)
    def quick_progress(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(progress, "_NEWS", 0.05)
        monkeypatch.setattr(progress, "_HEARTBEAT", 0.15)

    async def test_it_is_what_clients_rely_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        assert (progress._NEWS, progress._HEARTBEAT) == (1.0, 5.0)
        assert progress._PAUSE == progress._HEARTBEAT - progress._NEWS

    async def follow(
        self, caller: Caller, fakes: Registry, backend: FakeBackend
    ) -> tuple[asyncio.Task[CallToolResult], list[tuple[float, str | None]], FakeKernel]:
        """A call whose kernel waits for what the test has it say, and its progress."""
        told: list[tuple[float, str | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            assert total is None
            told.append((progress, message))

        call = asyncio.create_task(
            caller.client.call_tool_mcp("run_code", {"code": "wait"}, progress_handler=note)
        )
        await until(lambda: fakes.sessions("") and fakes.sessions("")[0].count)
        return call, told, backend.kernels[0]

    @both_eras
    async def test_new_lines_are_told_once(
        self, quick: Caller, fakes: Registry, backend: FakeBackend
    ) -> None:
        call, told, kernel = await self.follow(quick, fakes, backend)
        kernel.print("one\n\x1b[31mtwo\x1b[0m\n")
        await until(lambda: told)
        kernel.print("three\n", "stderr")
        await until(lambda: len(told) > 1 and told[-1][1] == "three")
        kernel.succeed("last\n")
        result = await call
        assert [m for _, m in told if m and not m.endswith(" s")] == ["one\ntwo", "three"]
        times = [time for time, _ in told]
        assert times == sorted(set(times)), "progress must grow"
        assert not result.is_error

    async def test_much_output_is_told_by_its_end(
        self, quick: Caller, fakes: Registry, backend: FakeBackend
    ) -> None:
        call, told, kernel = await self.follow(quick, fakes, backend)
        kernel.print("x\n" * 1_000_000)
        kernel.print("the end\n")
        await until(lambda: told)
        kernel.succeed()
        await call
        message = told[0][1] or ""
        assert message.endswith("x\nthe end")
        assert len(message) < 2200

    @both_eras
    async def test_a_silent_run_has_a_heartbeat(
        self,
        quick: Caller,
        fakes: Registry,
        backend: FakeBackend,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(progress, "_PAUSE", 0.1)
        call, told, kernel = await self.follow(quick, fakes, backend)
        await until(lambda: len(told) == 3)
        kernel.succeed()
        await call
        assert all(re.fullmatch(r"\d+ s", message or "") for _, message in told)
        for (earlier, _), (later, _) in itertools.pairwise(told):
            assert later - earlier > 0.09, "not with every look"

    @both_eras
    async def test_a_waiting_run_says_that_it_waits(
        self, quick: Caller, fakes: Registry, backend: FakeBackend
    ) -> None:
        call, _, kernel = await self.follow(quick, fakes, backend)
        told: list[str | None] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            told.append(message)

        second = asyncio.create_task(
            quick.client.call_tool_mcp("run_code", {"code": "1"}, progress_handler=note)
        )
        await until(lambda: told)
        assert re.fullmatch(r"waiting for its turn, place 2; \d+ s", told[0] or "")
        kernel.succeed()
        await asyncio.gather(call, second)

    @both_eras
    async def test_who_does_not_ask_is_not_told(
        self, quick: Caller, fakes: Registry, backend: FakeBackend
    ) -> None:
        call = asyncio.create_task(quick.call("run_code", code="wait"))
        await until(lambda: fakes.sessions("") and fakes.sessions("")[0].count)
        backend.kernels[0].print("news")
        await asyncio.sleep(0.3)
        backend.kernels[0].succeed()
        assert not (await call).is_error

    async def test_trouble_with_telling_it_stops_the_run(
        self, settings: Settings, fakes: Registry, backend: FakeBackend,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        async def fail(*_: object, **__: object) -> None:
            raise ConnectionError("nobody there")

        monkeypatch.setattr("fastmcp.Context.report_progress", fail)
        server: FastMCP[Any] = build_server(settings, fakes)
        call = asyncio.create_task(server.call_tool("run_code", {"code": "wait"}))
        await until(lambda: fakes.sessions("") and fakes.sessions("")[0].count)
        backend.kernels[0].obey = FakeKernel.fail
        backend.kernels[0].print("news")
        with pytest.raises(ToolError):
            await call
        await until(lambda: backend.kernels[0].interrupts)
