"""The page of a real registry, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from kernels.execution import CodeRequest
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.run import Run
from server.audit import Audit
from server.page.feeds import Feeds
from server.page.login import COOKIE, Logins
from server.page.pages import Page
from server.remote.tokens import Tokens
from server.settings import Settings, load
from tests.server.remote.test_authentication import serving

CONTROL = {"x-rmi-page": "1"}
#: Seconds for anything to happen.
SOON = 30


class Watching:
    """The news that a page gets, put together as a page does it."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.mark = ""
        self.events: list[dict[str, Any]] = []
        self.sessions: dict[str, dict[str, Any]] = {}
        self.closed: list[str] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.texts: dict[str, str] = {}
        self.gaps: list[tuple[str, int]] = []
        self.outputs: list[tuple[str, int, int]] = []
        self.cleared: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        """The next event."""
        async with asyncio.timeout(SOON):
            async for line in self._lines:
                if line.startswith("id: "):
                    self.mark = line[4:]
                # What is no object is a sign of life.
                elif line.startswith("data: {"):
                    event: dict[str, Any] = json.loads(line[6:])
                    self._take(event)
                    return event
        raise AssertionError("the stream has ended")

    async def until(self, condition: Callable[[], object]) -> None:
        """Take events until it holds."""
        while not condition():
            await self.next()

    async def end_of(self, run: str) -> dict[str, Any]:
        """Take events until the run has ended; what is said of it then."""
        await self.until(lambda: self.runs.get(run, {}).get("state") == "ended")
        return self.runs[run]

    def _take(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if event.get("reset"):
            return
        for cleared in event["cleared"]:
            self.cleared.append(cleared)
            self.texts[cleared["run"]] = self.texts.get(cleared["run"], "")[: cleared["at"]]
        self.runs |= {run["id"]: run for run in event["runs"]}
        self.sessions |= {each["name"]: each for each in event["sessions"]}
        for name in event["closed"]:
            self.closed.append(name)
            self.sessions.pop(name)
        self.outputs += [(each["run"], each["n"], each["at"]) for each in event["outputs"]]
        for item in event["text"]:
            there = self.texts.get(item["run"], "")
            if item["at"] > len(there):
                self.gaps.append((item["run"], item["at"]))
            self.texts[item["run"]] = there[: item["at"]] + item["text"]


class Browser:
    """One who looks at the page of `feeds`."""

    def __init__(self, url: str, client: httpx2.AsyncClient) -> None:
        self.url, self.client = url, client

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        """The JSON there."""
        answer = await self.client.get(path, params=query or None)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def do(self, status: int = 200, **asked: Any) -> Any:
        """Have something done."""
        headers = {**CONTROL, "content-type": "application/json"}
        answer = await self.client.post("/page/do", content=json.dumps(asked), headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    @asynccontextmanager
    async def watching(
        self, mark: str | None = None, *, last: str | None = None
    ) -> AsyncIterator[Watching]:
        """The news from `mark` on, or from now; `last`: as a browser says it that comes again."""
        if mark is None and last is None:
            mark = (await self.get("/page/state"))["mark"]
        headers = {"last-event-id": last} if last is not None else {}
        query = {"mark": mark} if mark is not None else {}
        events = self.client.stream("GET", "/page/events", params=query, headers=headers)
        async with events as answer:
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield Watching(answer.aiter_lines())


class House:
    """A registry with its page, and who looks at it."""

    def __init__(self, registry: Registry, feeds: Feeds, url: str, tokens: Tokens | None) -> None:
        self.registry, self.feeds, self.url, self._tokens = registry, feeds, url, tokens
        self._clients: list[httpx2.AsyncClient] = []

    def submit(self, code: str, session: str = "a", owner: str = "", ask: bool = False) -> Run:
        """Run code as a client of MCP would."""
        return self.registry.submit(owner, session, CodeRequest(code, ask=ask), 60)

    async def result(self, code: str, session: str = "a", owner: str = "") -> Run:
        """Run it to its end."""
        run = self.submit(code, session, owner)
        await run.result()
        return run

    def browser(self) -> Browser:
        """One that has no cookie."""
        client = httpx2.AsyncClient(base_url=self.url, timeout=SOON, trust_env=False)
        self._clients.append(client)
        return Browser(self.url, client)

    async def logged_in(self, name: str) -> Browser:
        """One of the owner of that name, whose token is made."""
        assert self._tokens is not None
        browser = self.browser()
        token = self._tokens.new(name)
        answer = await browser.client.post("/page/login", json={"token": token}, headers=CONTROL)
        assert answer.status_code == 204, answer.text
        assert any(name.startswith(COOKIE) for name in browser.client.cookies)
        return browser

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()
        self.feeds.close()


@pytest.fixture
def settings(projects: Path, tmp_path: Path) -> Settings:
    """Those of the server."""
    return load({"PYTHON_PROJECTS_DIR": str(projects), "RMI_STATE_DIR": str(tmp_path / "state")})


@asynccontextmanager
async def house_of(
    projects: Path,
    limits: Limits,
    settings: Settings,
    tokens: Tokens | None = None,
    audits: Sequence[Audit] = (),
    calls: int = 6000,
) -> AsyncIterator[House]:
    """A server with the page alone."""
    backend = LocalBackend(LocalSpec(server_python(), str(projects), kernel_environment()))
    feeds = Feeds(settings.python, projects)
    async with Registry(backend, limits, [feeds, *audits]) as registry:
        feeds.watch(registry)
        page = Page(registry, feeds, settings, Logins(tokens), calls, audits)
        async with serving(page.app()) as url:
            house = House(registry, feeds, url, tokens)
            try:
                yield house
            finally:
                await house.close()


@pytest.fixture
async def house(projects: Path, limits: Limits, settings: Settings) -> AsyncIterator[House]:
    """One that everybody on the machine may look at."""
    async with house_of(projects, limits, settings) as house:
        yield house


@pytest.fixture
async def guarded(
    projects: Path, limits: Limits, settings: Settings, tmp_path: Path
) -> AsyncIterator[House]:
    """One that wants a login."""
    tokens = Tokens(tmp_path / "tokens", {})
    async with house_of(projects, limits, settings, tokens) as house:
        yield house
