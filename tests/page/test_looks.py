"""Every state of the page in light, in dark and on a phone: its words and controls are there, and
nothing runs over an edge. A picture of each is kept (see `shot`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from fastmcp import Client

from server.remote.tokens import Tokens
from tests.e2e.http_process import HttpProcess
from tests.page import scenes
from tests.page.conftest import Watch, begin, look, run, runs, shot, watching

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator, Page, Route

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
DESK = {"viewport": {"width": 1280, "height": 800}}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", **DESK},
    "dark": {"color_scheme": "dark", **DESK},
    "phone": {"color_scheme": "light", **PHONE},
    "phone-dark": {"color_scheme": "dark", **PHONE},
}

#: Texts of which something lies beyond the left or right edge of the window, where nothing
#: that can be scrolled, and nothing that ends in an ellipsis, holds them.
OVER_THE_EDGE = """() => {
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const at = node.parentElement;
    if (!node.data.trim() || !at.checkVisibility({visibilityProperty: true}) || at.closest('.unseen, .skip')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    let [left, right] = [0, innerWidth];
    let clipped = false;
    for (let box = at; box && box !== document.body; box = box.parentElement) {
      if (getComputedStyle(box).overflowX === 'visible') continue;
      const around = box.getBoundingClientRect();
      if (around.left < -1 || around.right > innerWidth + 1) found.push(`box of ${node.data.trim().slice(0, 40)}`);
      clipped = true;
      break;
    }
    if (clipped) continue;
    for (const one of range.getClientRects())
      if (one.left < left - 1 || one.right > right + 1) { found.push(node.data.trim().slice(0, 60)); break; }
  }
  return found;
}"""
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
#: Buttons whose own words do not fit into them.
CRAMPED = """() => [...document.querySelectorAll('button:not(.fold, .picture), a.button')].filter(
  (one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1).map((one) => one.textContent)"""


class Look:
    """One way to look at the page."""

    def __init__(self, name: str, watch: Watch) -> None:
        self.name, self.watch = name, watch
        self.is_phone = name.startswith("phone")

    async def page(self) -> Page:
        return await self.watch.open()

    async def session(self, name: str) -> tuple[Page, Any]:
        """The page at a session, and its newest run."""
        page = await self.page()
        if self.is_phone:
            await page.get_by_role("button", name="Sessions").click()
        return page, await look(page, name)

    async def keep(self, page: Page, state: str) -> None:
        """Take the picture of a state, in which all has to fit."""
        await shot(page, f"{state}-{self.name}")
        assert await page.evaluate(SIDEWAYS) <= 0, "the document has to be scrolled sideways"
        assert await page.evaluate(OVER_THE_EDGE) == []
        assert await page.evaluate(CRAMPED) == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scene(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[HttpProcess]:
    """A server at which a good deal happens."""
    pytest.importorskip("matplotlib", reason="the samples draw with it")
    pytest.importorskip("pandas", reason="the samples have tables")
    process = HttpProcess(tmp_path_factory.mktemp("looks"))
    projects = process.projects
    (projects / "report.ipynb").write_text(json.dumps(scenes.CELLS), encoding="utf-8")
    (projects / "orders.py").write_text(scenes.FAILS, encoding="utf-8")
    long = projects / scenes.LONG_FILE
    long.parent.mkdir(parents=True)
    long.write_text(scenes.LONG_LINE + "\nundefined", encoding="utf-8")
    lasting: list[asyncio.Task[str]] = []
    try:
        process.wait()
        async with process.client("newer") as client, process.client("newer") as other:

            async def call(tool: str, **arguments: Any) -> None:
                await client.call_tool_mcp(tool, arguments)

            async def decay() -> None:
                code = "import numpy as np, pandas as pd, matplotlib.pyplot as plt\n"
                await run(client, code + scenes.DECAY + scenes.UNTIL, "decay")
                await run(client, scenes.FORMS, "decay")
                lasting.append(begin(other, scenes.FIT, "decay"))

            async def imports() -> None:
                await run(client, scenes.UNTIL, "nightly import")
                lasting.append(begin(other, scenes.GROWS, "nightly import"))

            async def named() -> None:
                await call("run_python", file_name=scenes.LONG_FILE, session=scenes.LONG_NAME)
                await run(client, scenes.LONG_LINE, scenes.LONG_NAME)

            arguments = {"file_name": "report.ipynb", "allow_errors": True}
            lasting.append(asyncio.create_task(call("run_notebook", **arguments)))  # type: ignore[arg-type]
            await asyncio.gather(
                decay(),
                imports(),
                named(),
                call("run_python", file_name="orders.py", session="orders"),
                run(client, scenes.LARGE, "station"),
            )
            yield process
            for name in ("fit", "grows", "cells"):
                (projects / name).touch()
            await asyncio.gather(*lasting)
    finally:
        process.end()


@contextlib.asynccontextmanager
async def seen(browser: Browser, name: str, home: str) -> AsyncIterator[Look]:
    async with watching(browser, home, reduced_motion="reduce", **LOOKS[name]) as watch:
        yield Look(name, watch)
        watch.quiet()


@pytest_asyncio.fixture(loop_scope="session", params=LOOKS)
async def eye(
    request: pytest.FixtureRequest, browser: Browser, scene: HttpProcess
) -> AsyncIterator[Look]:
    """On the server at which a good deal happens."""
    async with seen(browser, request.param, scene.url) as look:
        yield look


@pytest_asyncio.fixture(loop_scope="session", params=LOOKS)
async def stranger(
    request: pytest.FixtureRequest, browser: Browser, guarded: HttpProcess
) -> AsyncIterator[Look]:
    """On a server that asks for a token."""
    async with seen(browser, request.param, guarded.url) as look:
        yield look


async def wait(page: Page, words: str) -> None:
    await page.get_by_text(words, exact=False).first.wait_for()


class TestWithoutRuns:
    async def test_empty(self, stranger: Look, guarded: HttpProcess) -> None:
        name = f"new-{stranger.name}"
        token = Tokens(guarded.projects.parent / "state" / "tokens").new(name)
        page = await stranger.page()
        await page.get_by_label("Token").fill(token)
        await page.get_by_role("button", name="Log in").click()
        await wait(page, "No runs yet")
        if not stranger.is_phone:
            await page.get_by_text("None yet.", exact=False).wait_for()
        await page.get_by_role("button", name="Log out").wait_for()
        await stranger.keep(page, "empty")

    async def test_login_and_refusal(self, stranger: Look) -> None:
        page = await stranger.page()
        field = page.get_by_label("Token")
        await field.wait_for()
        assert await page.evaluate("document.activeElement.id") == "token"
        await stranger.keep(page, "login")
        await field.fill("not-a-token")
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_role("alert").filter(has_text="not known").wait_for()
        await stranger.keep(page, "login-refused")

    async def test_loading_and_an_error_of_the_server(self, eye: Look) -> None:
        """What is there meanwhile; then what went wrong, and a way to try again."""
        page = await eye.watch.context.new_page()
        answered = asyncio.Event()

        async def late(route: Route) -> None:
            await answered.wait()
            body = json.dumps({"error": "The server has no room for another page."})
            await route.fulfill(status=409, content_type="application/json", body=body)

        await page.route("**/page/state", late)
        await page.goto(eye.watch.home)
        await page.get_by_text("Loading…").wait_for()
        await finished(page)
        await eye.keep(page, "loading")
        answered.set()
        alert = page.get_by_role("alert")
        await alert.get_by_text("The server has no room").wait_for()
        await page.locator("#connection:not([hidden])").wait_for()
        await eye.keep(page, "error")
        await page.unroute("**/page/state")
        await page.get_by_role("button", name="Try now").click()
        await runs(page).first.wait_for()

    async def test_disconnected(self, eye: Look) -> None:
        """What was there stays, and the page says that it is out of date."""
        page = await eye.watch.context.new_page()
        await page.route("**/page/events*", lambda route: route.abort())
        await page.goto(eye.watch.home)
        await runs(page).first.wait_for()
        await page.locator("#connection", has_text="Not connected").wait_for()
        await eye.keep(page, "disconnected")


async def finished(page: Page) -> None:
    """All that fades in is there."""
    await page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")


class TestRuns:
    async def test_everything_at_once(self, eye: Look) -> None:
        """Some run and some have ended: the first look."""
        page = await eye.page()
        await runs(page).nth(4).wait_for()
        await wait(page, "bootstrap: 640 of 1000")
        assert await page.locator(".run[data-state=running]").count() == 3
        await eye.keep(page, "all")
        if eye.is_phone:
            await page.get_by_role("button", name="Sessions").click()
            await page.locator("#session-list a", has_text="orders").wait_for()
            await eye.keep(page, "all-menu")

    async def test_a_busy_session_with_a_progress_bar(self, eye: Look) -> None:
        page, card = await eye.session("nightly import")
        await card.locator(".live", has_text="63 %").wait_for()
        await card.get_by_role("button", name="Stop run").wait_for()
        await page.get_by_label("Run code in nightly import").wait_for()
        await eye.keep(page, "busy")

    async def test_figure_and_table(self, eye: Look) -> None:
        page, card = await eye.session("decay")
        await card.locator("figure img").wait_for()
        await drawn(card.locator("figure img"))
        table = card.get_by_role("table")
        await table.scroll_into_view_if_needed()
        await card.locator(".live", has_text="640 of 1000").wait_for()
        await eye.keep(page, "fit")

    async def test_every_form_of_output(self, eye: Look) -> None:
        page, card = await eye.session("decay")
        card = runs(page).nth(1)
        figures = card.locator("figure")
        for number, found in enumerate(("img", "table", "img", "math", "h3", "iframe")):
            await figures.nth(number).scroll_into_view_if_needed()
            await figures.nth(number).locator(found).first.wait_for(state="attached")
            await figures.nth(number).locator("figcaption").wait_for()
        for number in (0, 2):
            await drawn(figures.nth(number).locator("img"))
        await card.frame_locator("iframe").get_by_role("button", name="Press").wait_for()
        for number, name in ((0, "figures-1"), (2, "figures-2"), (4, "figures-3"), (6, "figures-4")):
            await figures.nth(number).evaluate("(one) => one.scrollIntoView({block: 'start'})")
            await eye.keep(page, name)
        await figures.nth(0).get_by_role("button", name="Enlarge").click()
        await page.get_by_role("dialog").get_by_role("button", name="Close").wait_for()
        await eye.keep(page, "figure-large")

    async def test_a_failed_run(self, eye: Look) -> None:
        """The failing line is marked in the code and in the traceback."""
        page, card = await eye.session("orders")
        await card.locator(".badge", has_text="failed").wait_for()
        await card.locator(".error", has_text="GBP").first.wait_for()
        await card.locator(".source .line.failed").wait_for()
        failing = card.locator(".output .traceback .line.failing").first
        await failing.wait_for()
        assert "RATES[currency]" in await failing.inner_text()
        assert (await card.locator(".output").inner_text()).count("Traceback (most recent") == 1
        await eye.keep(page, "failed")

    async def test_a_notebook_cell_by_cell(self, eye: Look) -> None:
        page, card = await eye.session("report.ipynb")
        parts = card.locator(".parts li")
        await card.locator(".parts li.error").wait_for()
        await card.locator(".parts li.running").wait_for()
        assert await parts.count() >= 5
        await card.get_by_role("progressbar").wait_for()
        await eye.keep(page, "notebook")

    async def test_a_question(self, eye: Look) -> None:
        page, _ = await eye.session("orders")
        await page.get_by_label("Run code in orders").fill(
            "currency = input('Which currency do the orders without one have? ')"
        )
        await page.get_by_role("button", name="Run", exact=True).click()
        form = page.locator("form.question")
        await form.get_by_text("Which currency").wait_for()
        await form.get_by_role("button", name="Answer").wait_for()
        await page.get_by_role("link", name="A program asks").wait_for()
        await eye.keep(page, "question")
        await form.get_by_role("button", name="Refuse").click()
        await form.wait_for(state="detached")

    async def test_dialogs_before_something_is_lost(self, eye: Look) -> None:
        page, card = await eye.session("nightly import")
        dialog = page.get_by_role("dialog")
        buttons: dict[str, tuple[Locator, str]] = {
            "stop": (card.get_by_role("button", name="Stop run"), "Stop it"),
            "restart": (page.get_by_role("button", name="Restart…"), "Restart"),
            "close": (page.get_by_role("button", name="Close…"), "Close the session"),
        }
        for name, (button, yes) in buttons.items():
            await button.click()
            await dialog.get_by_role("button", name=yes, exact=True).wait_for()
            await eye.keep(page, f"dialog-{name}")
            await dialog.get_by_role("button", name="Cancel").click()
            await dialog.wait_for(state="detached")

    async def test_a_search(self, eye: Look) -> None:
        page, _ = await eye.session("decay")
        await page.get_by_role("searchbox").fill("half-life")
        await page.get_by_text("with “half-life”").wait_for()
        await eye.keep(page, "search")
        await page.get_by_role("searchbox").fill("no such words")
        await wait(page, "No run of this session has these words.")
        await eye.keep(page, "search-none")

    async def test_100_megabytes(self, eye: Look) -> None:
        """A part of them, and how much is left out."""
        page, card = await eye.session("station")
        gap = card.locator(".gap")
        await gap.wait_for()
        await card.get_by_text("station 1199999", exact=False).wait_for()
        characters = re.search(r"([\d,]+) characters", await gap.inner_text())
        assert characters and int(characters[1].replace(",", "")) > 95_000_000
        await eye.keep(page, "large")
        await gap.scroll_into_view_if_needed()
        await eye.keep(page, "large-gap")
        await card.get_by_role("button", name="Show all in pieces").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_text("Characters", exact=False).wait_for()
        await eye.keep(page, "large-pieces")


class TestExtremes:
    async def test_long_names(self, eye: Look) -> None:
        """Of a session, a file and a title; nothing is pushed out of the window."""
        page, _ = await eye.session(scenes.LONG_NAME)
        await page.get_by_role("heading", level=1, name=scenes.LONG_NAME).wait_for()
        await runs(page).nth(1).get_by_text("NameError").first.wait_for()
        await eye.keep(page, "long-names")
        await runs(page).nth(1).scroll_into_view_if_needed()
        await eye.keep(page, "long-names-2")

    async def test_twenty_sessions(self, eye: Look) -> None:
        page = await eye.watch.context.new_page()

        async def more(route: Route) -> None:
            answer = await route.fetch()
            state = await answer.json()
            first, states = state["sessions"][0], ("idle", "cold", "busy")
            state["sessions"] += [
                {**first, "name": f"team {n}/experiment {n * 7}", "state": states[n % 3]}
                for n in range(20 - len(state["sessions"]))
            ]
            await route.fulfill(response=answer, json=state)

        await page.route("**/page/state", more)
        await page.goto(eye.watch.home)
        await runs(page).first.wait_for()
        if eye.is_phone:
            await page.get_by_role("button", name="Sessions").click()
        links = page.locator("#session-list a")
        assert await links.count() == 21
        await links.last.scroll_into_view_if_needed()
        await eye.keep(page, "sessions")


async def drawn(picture: Locator) -> None:
    await picture.evaluate("(one) => one.decode()")
