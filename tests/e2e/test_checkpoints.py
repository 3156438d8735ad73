"""Checkpoints of the real server's sessions, over stdio and HTTP."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client

from tests.e2e.http_process import HttpProcess, Way
from tests.e2e.raw import RawServer, gone_within
from tests.e2e.test_http import WAYS, run, text
from tests.notebooks.files import file_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")

#: Worth a checkpoint, because it has taken its time.
WORTH = "import time\ntime.sleep(0.5)\nx = [1, 2, 3]"
DIES = "import os; os.kill(os.getpid(), 11)"
#: A notebook of which two cells have run when the kernel is gone.
NOTEBOOK = file_of({"source": "x.append(4)"}, {"source": f"print(x)\n{DIES}"}, {"source": "x"})
UNDONE = "Not run: cell 2.\nWhat cell 0 left in variables is gone with the kernel."
MINE, YOURS = "m" * 40, "y" * 40


def said(result: dict[str, Any]) -> str:
    return "\n".join(block["text"] for block in result["content"])


def kept(server: RawServer, code: str = WORTH) -> str:
    """Have a session with a checkpoint; after which run it is."""
    result = server.call("run_code", code=code)
    deadline = time.monotonic() + 20
    while "checkpoint after run" not in said(server.call("list_sessions")):
        assert time.monotonic() < deadline
    found: str = result["_meta"]["rmi-agent/run"]["run_id"]
    return found


@pytest.fixture
def server(projects: Path) -> Iterator[RawServer]:
    server = RawServer(projects, RMI_GRACE="1")
    server.initialize()
    yield server
    server.end()


class TestOverStdio:
    def test_a_crash_does_not_cost_the_session(self, server: RawServer, projects: Path) -> None:
        """Nor does a loop in a script that no interrupt reaches; and again."""
        after = kept(server)
        (projects / "loop.py").write_text("sum(range(10**12))")
        deaths: list[tuple[str, dict[str, Any]]] = [
            ("run_code", {"code": DIES}),
            ("run_python", {"file_name": "loop.py", "timeout": 0.5}),
            ("run_code", {"code": "import os; os._exit(3)"}),
        ]
        for tool, arguments in deaths:
            result = server.call(tool, **arguments)
            facts = result["_meta"]["rmi-agent/run"]
            assert (facts["state"], facts["restored_to"]) == ("restored", after)
            assert said(result).count("variables are back to what they were after run ") == 1
            # One that succeeds might have a checkpoint of its own.
            assert said(server.call("run_code", code="print(x); 1 / 0")).startswith("[1, 2, 3]\n")

    def test_nor_does_a_notebook(self, server: RawServer, projects: Path) -> None:
        """It is one run; what its cells have put out is in the file; and again."""
        after = kept(server)
        path = projects / "a.ipynb"
        path.write_bytes(NOTEBOOK)
        for _ in range(2):
            result = server.call("run_notebook", file_name="a.ipynb", session="default")
            facts = result["_meta"]["rmi-agent/run"]
            assert (facts["status"], facts["restored_to"]) == ("died", after)
            assert UNDONE in said(result)
            assert (
                said(result).count(f"variables are back to what they were after run {after}") == 1
            )
            cells = json.loads(path.read_text())["cells"]
            printed, error = cells[1]["outputs"]
            assert "".join(printed["text"]) == "[1, 2, 3, 4]\n"
            assert error["evalue"] == "The kernel crashed with a segmentation fault (SIGSEGV)."
            assert said(server.call("run_code", code="print(x); 1 / 0")).startswith("[1, 2, 3]\n")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_nothing_is_left_when_the_server_ends(self, server: RawServer, number: int) -> None:
        """Checkpoints, and kernels that were made of them, end with it."""
        kept(server)
        server.call("run_code", code=DIES)
        server.call("branch_session", new_session="b")
        server.call("rewind_session", session="b")
        family = server.family()
        assert len(family) >= 4
        server.process.send_signal(number)
        assert gone_within([*family, server.process.pid], 2.0) == []

    def test_they_can_be_turned_off(self, projects: Path) -> None:
        server = RawServer(projects, RMI_CHECKPOINT="off")
        try:
            server.initialize()
            server.call("run_code", code=WORTH)
            listed = said(server.call("list_sessions"))
            assert listed.endswith("no checkpoint: checkpoints are off (RMI_CHECKPOINT=off)")
            result = server.call("run_code", code=DIES)
            assert result["_meta"]["rmi-agent/run"]["state"] == "lost"
            assert "session restarted: its variables are gone" in said(result)
        finally:
            server.end()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpProcess]:
    """One for two who do not see each other, with room for two sessions each."""
    process = HttpProcess(
        tmp_path_factory.mktemp("guarded"),
        RMI_TOKENS=f"me:{MINE},you:{YOURS}",
        RMI_TOKEN_SESSIONS="2",
    )
    try:
        yield process.wait()
    finally:
        process.end()


@pytest.mark.parametrize("way", WAYS)
class TestOverHttp:
    async def test_branching_and_going_back(self, guarded: HttpProcess, way: Way) -> None:
        """The branch is its owner's, and no more than its owner may have."""
        async with guarded.client(way, MINE) as client:
            await run(client, WORTH, session="stem")
            words = text(await branch(client, "stem", "twig"))
            assert words.startswith("Session 'twig' has the variables of session 'stem' after run")
            # One that succeeds might have a checkpoint of its own.
            changed = await run(client, "x.append(4); print(x); 1 / 0", session="twig")
            assert "[1, 2, 3, 4]" in text(changed)
            assert "[1, 2, 3]" in text(await run(client, "x", session="stem"))
            refused = text(await branch(client, "stem", "third"))
            assert refused.startswith("You have 2 sessions already, the most that RMI_TOKEN_SESS")
            words = text(await client.call_tool_mcp("rewind_session", {"session": "twig"}))
            assert re.match(
                r"Session 'twig' is back to what it was after run \d+, \d+ s ago;", words
            )
            assert "[1, 2, 3]" in text(await run(client, "x", session="twig"))
            result = await run(client, DIES, session="twig")
            assert (result.meta or {})["rmi-agent/run"]["state"] == "restored"
            for name in ("stem", "twig"):
                await client.call_tool("close_session", {"session": name})

    async def test_a_notebook(self, guarded: HttpProcess, way: Way) -> None:
        """Like any other run."""
        (guarded.projects / "a.ipynb").write_bytes(NOTEBOOK)
        async with guarded.client(way, MINE) as client:
            result = await run(client, WORTH, session="book")
            after = (result.meta or {})["rmi-agent/run"]["run_id"]
            async with asyncio.timeout(20):
                listed = ""
                while "checkpoint after run" not in listed:
                    listed = text(await client.call_tool_mcp("list_sessions", {}))
            arguments = {"file_name": "a.ipynb", "session": "book"}
            result = await client.call_tool_mcp("run_notebook", arguments)
            facts = (result.meta or {})["rmi-agent/run"]
            assert (facts["state"], facts["restored_to"]) == ("restored", after)
            assert UNDONE in text(result)
            assert "[1, 2, 3]" in text(await run(client, "x", session="book"))
            await client.call_tool("close_session", {"session": "book"})

    async def test_a_strangers_session_is_not_there(self, guarded: HttpProcess, way: Way) -> None:
        """Nor are names taken by others."""
        async with guarded.client(way, MINE) as me, guarded.client(way, YOURS) as you:
            await run(me, "x = 'hidden'", session="mine")
            for tool, more in (("rewind_session", {}), ("branch_session", {"new_session": "b"})):
                refused = await you.call_tool_mcp(tool, {"session": "mine", **more})
                assert refused.is_error
                assert text(refused) == "There is no session 'mine'. Sessions now: none."
            await run(you, "x = 'other'", session="own")
            assert not (await branch(you, "own", "mine")).is_error
            assert "other" in text(await run(you, "x", session="mine"))
            assert "hidden" in text(await run(me, "x", session="mine"))
            listed = await me.call_tool_mcp("list_sessions", {})
            names = [each["name"] for each in (listed.meta or {})["rmi-agent/sessions"]]
            assert names == ["mine"]
            await me.call_tool("close_session", {"session": "mine"})
            for name in ("own", "mine"):
                await you.call_tool("close_session", {"session": name})


async def branch(client: Client[Any], session: str, new: str) -> Any:
    return await client.call_tool_mcp("branch_session", {"session": session, "new_session": new})
