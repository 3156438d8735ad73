"""What attached clients run, as the tools and the page tell of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kernels.registry import Registry
from kernels.session import Session
from server.app import build_server
from server.page.feeds import Feeds
from server.settings import Settings
from tests.conftest import until
from tests.kernels.visitor import Visitor, attached
from tests.server.caller import Caller, Mode

SESSIONS = "rmi-agent/sessions"


@pytest.fixture
def mode() -> Mode:
    return "auto"


@pytest.fixture
async def session(caller: Caller, registry: Registry) -> Session:
    """One with a kernel, of which the tools know."""
    await caller.run("run_code", code="x = 1")
    return registry.find("", "default")


@pytest.fixture
async def visitor(session: Session) -> AsyncIterator[Visitor]:
    async with attached(session) as visitor:
        yield visitor


class TestTheList:
    async def test_tells_clients_where_to_attach_and_the_model_nothing(
        self, caller: Caller, session: Session
    ) -> None:
        """The path is in `_meta`; the key in the file is nowhere."""
        result = await caller.call("list_sessions")
        file = session.connection_file
        assert file is not None
        told = (result.meta or {})[SESSIONS]
        assert [(each["name"], each["connection_file"]) for each in told] == [
            ("default", str(file))
        ]
        assert str(file.parent) not in str(result.content)
        await caller.call("restart_session")
        (told,) = ((await caller.call("list_sessions")).meta or {})[SESSIONS]
        assert told["connection_file"] is None

    async def test_says_who_runs_something_and_what_waits_behind_it(
        self, caller: Caller, session: Session, visitor: Visitor, tmp_path: Path
    ) -> None:
        there = tmp_path / "there"
        code = f"import os, time\nwhile not os.path.exists({str(there)!r}): time.sleep(0.01)"
        visiting = asyncio.ensure_future(visitor.run(code))
        await until(lambda: session.runs)
        ours = asyncio.ensure_future(caller.run("run_code", code="2"))
        await until(lambda: len(session.runs) == 2)
        line = await caller.text("list_sessions")
        assert line.startswith("default: busy · age ")
        waits = "running: import os, time (run 2) · an attached client runs it · 1 waiting (run 3)"
        assert waits in line
        there.touch()
        texts, facts = await ours
        assert (texts[0], facts["status"]) == ("2\n", "ok")
        await visiting


class TestARun:
    async def test_is_read_by_its_id(
        self, caller: Caller, registry: Registry, visitor: Visitor
    ) -> None:
        await visitor.run("print('theirs')")
        # The client knows of the end when the server does, or a little earlier.
        await until(lambda: [run.done.done() for run in registry.history("")] == [True, True])
        texts, facts = await caller.run("get_output", run_id="2")
        assert texts[0] == "theirs\n"
        assert texts[-1].endswith("session default · run 2 · run by an attached client]")
        assert (facts["status"], facts["state"], facts["exit_code"]) == ("ok", "kept", 0)

    async def test_is_stopped_by_its_session(
        self, caller: Caller, session: Session, visitor: Visitor
    ) -> None:
        visitor.client.execute("import time\ntime.sleep(600)")
        await until(lambda: session.runs)
        told = await caller.text("stop_run")
        assert told.startswith("Run 2 has ended.\n[exit code 130 · ")
        assert "the session's variables are kept" in told

    async def test_is_told_to_the_page(self, registry: Registry, session: Session) -> None:
        """As any run: when it begins, and when it ends."""
        feeds = Feeds("/the/python", Path("/"))
        feeds.watch(registry)
        registry._watchers = (feeds,)
        feed = feeds.of("")
        reader = feed.enter(feed.catch_up())
        news = b""
        async with attached(session) as visitor:
            await visitor.run("print('theirs')")
        while b'"state":"ended"' not in news:
            await asyncio.wait_for(reader.wake.wait(), 20)
            news += feed.take(reader)
        feed.leave(reader)
        assert b'"title":"print(\'theirs\')"' in news
        assert b"theirs\\n" in news


async def test_another_owners_session_is_not_told(settings: Settings, registry: Registry) -> None:
    from fastmcp import Client

    from kernels.execution import CodeRequest

    await registry.submit("somebody", "theirs", CodeRequest("1"), 20).result()
    async with Client(build_server(settings, registry), mode="auto") as client:
        result = await client.call_tool_mcp("list_sessions", {})
    assert (result.meta or {})[SESSIONS] == []
