"""The page in a real browser, before a real server with real kernels. Without a browser these
tests are skipped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from fastmcp import Client

from tests.conftest import ROOT
from tests.e2e.http_process import HttpProcess

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page, Request, Response, WebError

from tests.page.canary import Canary

#: Milliseconds that anything may take on a machine with a lot to do.
PATIENCE = 60_000
TOKENS = {"alice": "alice-" + "a" * 40, "bob": "bob-" + "b" * 40}
#: A picture of each look is kept in the folder that this names, or else in build/page.
SHOTS = "PAGE_SHOTS"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Headless Chromium: the system's, or else Playwright's own."""
    api = pytest.importorskip("playwright.async_api", reason="Playwright is not installed")
    async with api.async_playwright() as playwright:
        system = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
        own = playwright.chromium.executable_path
        if system is None and not os.path.exists(own):  # noqa: ASYNC240
            pytest.skip("no Chromium is installed")
        # Chromium's own sandbox does not work for root; nothing here comes from outside.
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        browser = await playwright.chromium.launch(
            executable_path=system, args=["--no-sandbox"] if is_root else []
        )
        api.expect.set_options(timeout=PATIENCE)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[HttpProcess]:
    """One without tokens, for all tests; each has sessions of its own names."""
    process = HttpProcess(tmp_path_factory.mktemp("page"), RMI_MAX_SESSIONS="60")
    try:
        yield process.wait()
    finally:
        process.end()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guarded(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[HttpProcess]:
    """One with two tokens in its settings; others can be made."""
    tokens = ",".join(f"{name}:{token}" for name, token in TOKENS.items())
    process = HttpProcess(tmp_path_factory.mktemp("guarded"), RMI_TOKENS=tokens)
    try:
        yield process.wait()
    finally:
        process.end()


@pytest_asyncio.fixture(loop_scope="session")
async def client(server: HttpProcess) -> AsyncIterator[Client[Any]]:
    """A client of MCP, whose runs the page shows."""
    async with server.client("newer") as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def canary() -> AsyncIterator[Canary]:
    """Another server of this machine, to which nobody ought to speak."""
    async with Canary() as canary:
        yield canary


#: What becomes of requests that did not leave the browser.
_FORBIDDEN = ("csp", "origin", "net::ERR_BLOCKED_BY_CSP", "net::ERR_BLOCKED_BY_CLIENT")


class Watch:
    """A browser's context: all of its windows and frames, and what it asked for, said and tried.

    `quiet()` at the end of a test: it spoke to nobody but the server, showed no dialog, opened no
    window, and the page's own scripts had no trouble.
    """

    def __init__(self, context: BrowserContext, home: str) -> None:
        self.context, self.home = context, home
        self.elsewhere: list[str] = []
        self.dialogs: list[str] = []
        self.windows: list[Page] = []
        self.troubles: list[str] = []
        self.console: list[str] = []
        self.asked: list[str] = []
        context.on("request", self._request)
        context.on("response", self._response)
        context.on("dialog", self._dialog)
        context.on("page", lambda page: self.windows.append(page))
        context.on("requestfailed", self._failed)
        context.on("weberror", self._error)
        context.on("console", lambda each: self.console.append(f"{each.type}: {each.text}"))

    def _request(self, request: Request) -> None:
        self.asked.append(f"{request.method} {request.url}")

    def _is_elsewhere(self, request: Request) -> bool:
        return not request.url.startswith((self.home + "/", "data:", "blob:" + self.home))

    def _response(self, response: Response) -> None:
        if self._is_elsewhere(response.request):
            self.elsewhere.append(response.url)
        if response.status >= 500:
            self.troubles.append(f"{response.status} {response.url}")

    def _failed(self, request: Request) -> None:
        # What a policy forbade was asked of the browser, which asked nobody.
        if self._is_elsewhere(request) and request.failure not in _FORBIDDEN:
            self.elsewhere.append(f"{request.url}: {request.failure}")

    def _error(self, each: WebError) -> None:
        # Scripts in frames have whatever trouble they like.
        if "/page/static/" in (each.error.stack or ""):
            self.troubles.append(str(each.error))

    async def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        await dialog.dismiss()

    async def open(self, at: str = "/") -> Page:
        page = await self.context.new_page()
        page.set_default_timeout(PATIENCE)
        await page.goto(self.home + at)
        await page.locator("body:not([data-state=loading])").wait_for()
        return page

    def quiet(self) -> None:
        assert self.elsewhere == []
        assert self.dialogs == []
        assert self.troubles == []


@contextlib.asynccontextmanager
async def watching(browser: Browser, home: str, **options: Any) -> AsyncIterator[Watch]:
    context = await browser.new_context(**options)
    try:
        yield Watch(context, home)
    finally:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def watch(browser: Browser, server: HttpProcess) -> AsyncIterator[Watch]:
    """A browser of its own for each test, before the server without tokens."""
    async with watching(browser, server.url) as watch:
        yield watch
        watch.quiet()


@pytest_asyncio.fixture(loop_scope="session")
async def page(watch: Watch) -> Page:
    return await watch.open()


async def run(client: Client[Any], code: str, session: str, **arguments: Any) -> str:
    """Run it by MCP; the text of the answer."""
    arguments = {"code": code, "session": session, **arguments}
    answer = await client.call_tool_mcp("run_code", arguments)
    return "\n".join(getattr(block, "text", "") for block in answer.content)


def begin(client: Client[Any], code: str, session: str, **arguments: Any) -> asyncio.Task[str]:
    """The same, while the test goes on."""
    return asyncio.create_task(run(client, code, session, **arguments))


def runs(page: Page) -> Any:
    """The runs on the page, newest first."""
    return page.locator("li.run")


async def look(page: Page, session: str) -> Any:
    """Go to the view of a session, by its link; its newest run, unfolded."""
    await page.locator("#session-list a", has=page.get_by_text(session, exact=True)).first.click()
    # Until then the runs are those of the view before.
    head = page.locator(".view.one > .session-head").get_by_role("heading", level=1)
    await head.filter(has_text=session).wait_for()
    card = runs(page).first
    await card.locator(".body").wait_for()
    return card


async def shot(page: Page, name: str) -> None:
    """Keep a picture of what is in the window."""
    folder = Path(os.environ.get(SHOTS) or ROOT / "build" / "page")
    await page.screenshot(path=folder / f"{name}.png")
