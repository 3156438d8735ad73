"""Every state of the page in light, in dark and on a phone: its words and controls are there, and
nothing runs over an edge. A picture of each is kept (see `shot`)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pytest
import pytest_asyncio

from server.remote.tokens import Tokens
from tests.e2e.http_process import HttpProcess
from tests.page import scenes
from tests.page.conftest import Watch, begin, look, run, runs, shot, watching

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator, Page, Route

pytestmark = pytest.mark.asyncio(loop_scope="session")

DESK = {"width": 1280, "height": 800}
PHONE: Any = {"width": 390, "height": 844}
Scheme = Literal["light", "dark"]
LOOKS: dict[str, tuple[Scheme, Any]] = {
    "dark": ("dark", DESK),
    "phone": ("light", PHONE),
    "light": ("light", DESK),
}

#: Texts of which something lies beyond the left or right edge of the window, where nothing
#: that can be scrolled, and nothing that ends in an ellipsis, holds them.
OVER_THE_EDGE = """() => {
  const found = [];
  const isOver = (one) => one.left < -1 || one.right > innerWidth + 1;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const at = node.parentElement;
    const isSeen = at.checkVisibility({visibilityProperty: true}) && !at.closest('.unseen, .skip');
    if (!isSeen || !node.data.trim()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    let box = at;
    while (box !== document.body && getComputedStyle(box).overflowX === 'visible')
      box = box.parentElement;
    const boxes = box === document.body ? range.getClientRects() : [box.getBoundingClientRect()];
    if ([...boxes].some(isOver)) found.push(node.data.trim().slice(0, 60));
  }
  return found;
}"""
PAINTED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
#: Buttons whose own words do not fit into them.
CRAMPED = """() => [...document.querySelectorAll('button:not(.fold, .picture), a.button')]
  .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1)
  .map((one) => one.textContent)"""


async def keep(
    page: Page, state: str, top: Locator | None = None, looks: Sequence[str] = tuple(LOOKS)
) -> None:
    """Take the pictures of a state, with `top` at the top of the window; in all of them everything
    has to fit."""
    for name in looks:
        scheme, size = LOOKS[name]
        await page.emulate_media(color_scheme=scheme)
        await page.set_viewport_size(size)
        if top is not None:
            await top.evaluate("(one) => one.scrollIntoView({block: 'start'})")
        await page.evaluate(PAINTED)
        await shot(page, f"{state}-{name}")
        assert await page.evaluate(SIDEWAYS) <= 0, f"{name}: the document is too wide"
        assert await page.evaluate(OVER_THE_EDGE) == [], name
        assert await page.evaluate(CRAMPED) == [], name


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
                lasting.append(begin(other, scenes.FIT, "decay", timeout=900))

            async def imports() -> None:
                await run(client, scenes.UNTIL, "nightly import")
                lasting.append(begin(other, scenes.GROWS, "nightly import", timeout=900))

            async def named() -> None:
                await call("run_python", file_name=scenes.LONG_FILE, session=scenes.LONG_NAME)
                await run(client, scenes.LONG_LINE, scenes.LONG_NAME)

            arguments = {"file_name": "report.ipynb", "allow_errors": True, "timeout": 900}
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


@pytest_asyncio.fixture(loop_scope="session")
async def eye(browser: Browser, scene: HttpProcess) -> AsyncIterator[Watch]:
    """A browser before the server at which a good deal happens."""
    async with watching(browser, scene.url, reduced_motion="reduce", viewport=DESK) as watch:
        yield watch
        watch.quiet()


@pytest_asyncio.fixture(loop_scope="session")
async def stranger(browser: Browser, guarded: HttpProcess) -> AsyncIterator[Watch]:
    """A browser before a server that asks for a token."""
    async with watching(browser, guarded.url, reduced_motion="reduce", viewport=DESK) as watch:
        yield watch
        watch.quiet()


async def of(watch: Watch, session: str) -> tuple[Page, Any]:
    """The page at a session, and its newest run."""
    page = await watch.open()
    return page, await look(page, session)


async def wait(page: Page, words: str) -> None:
    await page.get_by_text(words, exact=False).first.wait_for()


class TestWithoutRuns:
    async def test_what_the_first_paint_needs_is_small(self, eye: Watch) -> None:
        page = await eye.open()
        size = await page.evaluate(
            """performance.getEntriesByType('navigation')[0].decodedBodySize
            + performance.getEntriesByType('resource')
              .filter((one) => ['link', 'script', 'css'].includes(one.initiatorType))
              .reduce((sum, one) => sum + one.decodedBodySize, 0)"""
        )
        assert 20_000 < size < 100_000

    async def test_empty(self, stranger: Watch, guarded: HttpProcess) -> None:
        token = Tokens(guarded.projects.parent / "state" / "tokens").new("newcomer")
        page = await stranger.open()
        await page.get_by_label("Token").fill(token)
        await page.get_by_role("button", name="Log in").click()
        await wait(page, "No runs yet")
        await wait(page, "None yet.")
        await page.get_by_role("button", name="Log out").wait_for()
        await keep(page, "empty")

    async def test_login_and_refusal(self, stranger: Watch) -> None:
        page = await stranger.open()
        field = page.get_by_label("Token")
        await field.wait_for()
        assert await page.evaluate("document.activeElement.id") == "token"
        await keep(page, "login")
        await page.set_viewport_size(PHONE)
        assert not await page.get_by_role("button", name="Sessions").is_visible()
        await field.fill("not-a-token")
        await page.get_by_role("button", name="Log in").click()
        await page.get_by_role("alert").filter(has_text="not known").wait_for()
        await keep(page, "login-refused")

    async def test_loading_and_an_error_of_the_server(self, eye: Watch) -> None:
        """What is there meanwhile; then what went wrong, and a way to try again."""
        page = await eye.context.new_page()
        answered = asyncio.Event()

        async def late(route: Route) -> None:
            await answered.wait()
            body = json.dumps({"error": "The server has no room for another page."})
            await route.fulfill(status=409, content_type="application/json", body=body)

        await page.route("**/page/state", late)
        await page.goto(eye.home)
        await page.get_by_text("Loading…").wait_for()
        await finished(page)
        await keep(page, "loading")
        answered.set()
        alert = page.get_by_role("alert")
        await alert.get_by_text("The server has no room").wait_for()
        await keep(page, "error")
        await page.unroute("**/page/state")
        # The page tries by itself, too, and then the button is another one or gone.
        await page.evaluate("document.querySelector('.error-state button')?.click()")
        await runs(page).first.wait_for()

    async def test_disconnected(self, eye: Watch) -> None:
        """What was there stays, and the page says that it is out of date."""
        page = await eye.context.new_page()
        await page.route("**/page/events*", lambda route: route.abort())
        await page.goto(eye.home)
        await runs(page).first.wait_for()
        await page.locator("#connection", has_text="Not connected").wait_for()
        await keep(page, "disconnected")


async def finished(page: Page) -> None:
    """All that fades in is there."""
    await page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")


class TestRuns:
    async def test_everything_at_once(self, eye: Watch) -> None:
        """Some run and some have ended: the first look."""
        page = await eye.open()
        await runs(page).nth(4).wait_for()
        await wait(page, "bootstrap: 640 of 1000")
        assert await page.locator(".run[data-state=running]").count() == 3
        await keep(page, "all")
        await page.set_viewport_size(PHONE)
        await page.get_by_role("button", name="Sessions").click()
        await page.locator("#session-list a", has_text="orders").wait_for()
        await keep(page, "all-menu", looks=["phone"])

    async def test_a_busy_session_with_a_progress_bar(self, eye: Watch) -> None:
        page, card = await of(eye, "nightly import")
        await card.locator(".live", has_text="63 %").wait_for()
        await card.get_by_role("button", name="Stop run").wait_for()
        await page.get_by_label("Run code in nightly import").wait_for()
        await keep(page, "busy")

    async def test_figure_and_table(self, eye: Watch) -> None:
        page, card = await of(eye, "decay")
        await card.locator("figure img").wait_for()
        await drawn(card.locator("figure img"))
        table = card.get_by_role("table")
        await table.wait_for()
        await card.locator(".live", has_text="640 of 1000").wait_for()
        await keep(page, "fit", card)

    async def test_every_form_of_output(self, eye: Watch) -> None:
        page, card = await of(eye, "decay")
        card = runs(page).nth(1)
        figures = card.locator("figure")
        for number, found in enumerate(("img", "table", "img", "math", "h3", "iframe")):
            await figures.nth(number).scroll_into_view_if_needed()
            await figures.nth(number).locator(found).first.wait_for(state="attached")
            await figures.nth(number).locator("figcaption").wait_for()
        for number in (0, 2):
            await drawn(figures.nth(number).locator("img"))
        await card.frame_locator("iframe").get_by_role("button", name="Press").wait_for()
        # It takes the height of what is in it.
        await card.locator("iframe").evaluate(
            """(one) => new Promise((done) => {
              const look = () => one.clientHeight < 300 ? done() : requestAnimationFrame(look);
              look();
            })"""
        )
        for number in (0, 2, 5):
            await keep(page, f"figures-{number}", figures.nth(number))
        await figures.nth(0).get_by_role("button", name="Enlarge").click()
        await page.get_by_role("dialog").get_by_role("button", name="Close").wait_for()
        await keep(page, "figure-large")

    async def test_a_failed_run(self, eye: Watch) -> None:
        """The failing line is marked in the code and in the traceback."""
        page, card = await of(eye, "orders")
        await card.locator(".badge", has_text="failed").wait_for()
        await card.locator(".error", has_text="GBP").first.wait_for()
        await card.locator(".source .line.failed").wait_for()
        failing = card.locator(".output .traceback .line.failing").first
        await failing.wait_for()
        assert "RATES[currency]" in await failing.inner_text()
        assert (await card.locator(".output").inner_text()).count("Traceback (most recent") == 1
        await keep(page, "failed")
        await keep(page, "failed-traceback", card.locator(".output"))

    async def test_a_notebook_cell_by_cell(self, eye: Watch) -> None:
        page, card = await of(eye, "notebook report.ipynb")
        parts = card.locator(".parts li")
        await card.locator(".parts li.error").wait_for()
        await card.locator(".parts li.running").wait_for()
        assert await parts.count() >= 5
        await card.get_by_role("progressbar").wait_for()
        await keep(page, "notebook", card)

    async def test_a_question(self, eye: Watch) -> None:
        page, _ = await of(eye, "orders")
        await page.get_by_label("Run code in orders").fill(
            "currency = input('Which currency do the orders without one have? ')"
        )
        await page.get_by_role("button", name="Run", exact=True).click()
        form = page.locator("form.question")
        await form.get_by_text("Which currency").wait_for()
        await form.get_by_role("button", name="Answer").wait_for()
        await page.get_by_role("link", name="A program asks").wait_for()
        await keep(page, "question")
        await form.get_by_role("button", name="Refuse").click()
        await form.wait_for(state="detached")

    async def test_dialogs_before_something_is_lost(self, eye: Watch) -> None:
        page, card = await of(eye, "nightly import")
        dialog = page.get_by_role("dialog")
        buttons: dict[str, tuple[Locator, str]] = {
            "stop": (card.get_by_role("button", name="Stop run"), "Stop it"),
            "branch": (page.get_by_role("button", name="Branch…"), "Branch"),
            "restart": (page.get_by_role("button", name="Restart…"), "Restart"),
            "close": (page.get_by_role("button", name="Close…"), "Close the session"),
        }
        for name, (button, yes) in buttons.items():
            await button.click()
            await dialog.get_by_role("button", name=yes, exact=True).wait_for()
            await keep(page, f"dialog-{name}")
            await dialog.get_by_role("button", name="Cancel").click()
            await dialog.wait_for(state="detached")

    async def test_a_search(self, eye: Watch) -> None:
        page, _ = await of(eye, "decay")
        await page.get_by_role("searchbox").fill("half-life")
        await page.get_by_text("with “half-life”").wait_for()
        await keep(page, "search")
        await page.get_by_role("searchbox").fill("no such words")
        await wait(page, "No run of this session has these words.")
        await keep(page, "search-none")

    async def test_100_megabytes(self, eye: Watch) -> None:
        """A part of them, and how much is left out."""
        page, card = await of(eye, "station")
        gap = card.locator(".gap")
        await gap.wait_for()
        await card.get_by_text("station 1199999", exact=False).wait_for()
        characters = re.search(r"([\d,]+) characters", await gap.inner_text())
        assert characters and int(characters[1].replace(",", "")) > 95_000_000
        await keep(page, "large", gap)
        await card.get_by_role("button", name="Show all in pieces").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_text("Characters", exact=False).wait_for()
        await keep(page, "large-pieces")


class TestExtremes:
    async def test_long_names(self, eye: Watch) -> None:
        """Of a session, a file and a title; nothing is pushed out of the window."""
        page, _ = await of(eye, scenes.LONG_NAME)
        await page.get_by_role("heading", level=1, name=scenes.LONG_NAME).wait_for()
        await runs(page).nth(1).get_by_text("NameError").first.wait_for()
        await keep(page, "long-names")
        await keep(page, "long-names-run", runs(page).nth(1))

    async def test_twenty_sessions(self, eye: Watch) -> None:
        page = await eye.context.new_page()

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
        await page.goto(eye.home)
        await runs(page).first.wait_for()
        await page.set_viewport_size(PHONE)
        await page.get_by_role("button", name="Sessions").click()
        links = page.locator("#session-list a")
        assert await links.count() == 21
        await links.last.scroll_into_view_if_needed()
        await keep(page, "sessions")


async def drawn(picture: Locator) -> None:
    await picture.evaluate("(one) => one.decode()")
