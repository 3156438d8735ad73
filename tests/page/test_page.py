"""The page, as somebody uses it while programs run: what it shows, and what it does."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastmcp import Client

from server.remote.tokens import Tokens
from tests.e2e.http_process import HttpProcess
from tests.page.conftest import TOKENS, Watch, begin, look, run, runs, shot, watching
from tests.page.relay import Relay

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Route

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: Goes on when a file is there.
GATE = """
import pathlib, time
def until(name):
    while not pathlib.Path(name).exists(): time.sleep(0.02)
"""


def text(card: Any) -> Any:
    """What a run has written."""
    return card.locator(".output")


class TestShowing:
    async def test_nothing_yet_is_said(self, browser: Browser, tmp_path: Path) -> None:
        process = HttpProcess(tmp_path)
        try:
            process.wait()
            async with watching(browser, process.url) as watch:
                page = await watch.open()
                await page.get_by_text("No runs yet", exact=False).wait_for()
                await shot(page, "empty")
                async with process.client("newer") as client:
                    await run(client, "print('first')", "one")
                await runs(page).get_by_text("first", exact=True).first.wait_for()
                watch.quiet()
        finally:
            await asyncio.to_thread(process.end)

    async def test_a_run_as_it_happens(
        self, page: Page, client: Client[Any], server: HttpProcess
    ) -> None:
        """A new session and run appear by themselves; output grows while the program runs."""
        code = (
            f"{GATE}\nprint('begun', flush=True); until('live 1')\nprint('more'); until('live 2')"
        )
        call = begin(client, code, "live")
        card = runs(page).filter(has_text="live").first
        await text(card).get_by_text("begun").wait_for()
        await card.locator(".badge", has_text="running").wait_for()
        link = page.locator("#session-list a", has_text="live")
        await link.locator(".state", has_text="running").wait_for()
        assert "more" not in await text(card).inner_text()
        await shot(page, "running")
        (server.projects / "live 1").touch()
        await text(card).get_by_text("more").wait_for()
        (server.projects / "live 2").touch()
        await call
        await card.locator(".badge", has_text="done").wait_for()
        await link.locator(".state", has_text="idle").wait_for()

    async def test_a_progress_bar_is_one_line(
        self, page: Page, client: Client[Any], server: HttpProcess
    ) -> None:
        code = (
            f"{GATE}\nfor n in range(50): print(f'\\rstep {{n}}', end='', flush=True)\n"
            "until('bar')\nprint()\nprint('end')"
        )
        call = begin(client, code, "bar")
        card = await look(page, "bar")
        await text(card).get_by_text("step 49").wait_for()
        assert len(re.findall("step", await text(card).inner_text())) == 1
        (server.projects / "bar").touch()
        await call
        await text(card).get_by_text("end", exact=False).first.wait_for()
        assert len(re.findall("step", await text(card).inner_text())) == 1

    async def test_an_error_is_marked(self, page: Page, client: Client[Any]) -> None:
        await run(client, "x = 1\n\n1/0\n", "failing")
        card = await look(page, "failing")
        await card.locator(".badge", has_text="failed").wait_for()
        failed = card.locator(".source .line.failed")
        await failed.wait_for()
        assert (await failed.inner_text()).startswith("1/0")
        await card.locator("p.error", has_text="ZeroDivisionError").wait_for()
        assert "exit code 1" in await card.inner_text()

    async def test_a_traceback_as_it_happens(
        self, page: Page, client: Client[Any], server: HttpProcess
    ) -> None:
        """What was written as text is marked once the run has failed, and stands there once."""
        code = f"{GATE}\nprint('before', flush=True); until('raise')\ndef f(): 1/0\nf()\n"
        call = begin(client, code, "raising")
        card = runs(page).filter(has_text="raising").first
        await text(card).get_by_text("before").wait_for()
        (server.projects / "raise").touch()
        await call
        await text(card).locator(".traceback .line.failing").first.wait_for()
        await text(card).locator(".traceback .line.error", has_text="ZeroDivisionError").wait_for()
        shown = await text(card).inner_text()
        assert shown.startswith("before") and shown.count("Traceback (most recent") == 1
        assert shown.count("ZeroDivisionError") == 1

    async def test_figures_and_pages(self, page: Page, client: Client[Any]) -> None:
        """An image, a table, HTML, LaTeX, Markdown and SVG, each as what it is."""
        code = """
import io
from IPython.display import HTML, Image, Latex, Markdown, SVG, display
from PIL import Image as Picture
file = io.BytesIO(); Picture.new("RGB", (30, 20), "red").save(file, "png")
display(Image(file.getvalue()))
display(SVG('<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"><g/></svg>'))
display(Markdown("**bold**"))
display(Latex(r"$\\frac{1}{2}$"))
display(HTML("<h1>in a frame</h1>"))
"""
        await run(client, code, "figures")
        card = await look(page, "figures")
        for number in range(5):
            await card.locator("figure").nth(number).scroll_into_view_if_needed()
            await card.locator("figure").nth(number).locator("figcaption").wait_for()
        for number in range(2):
            picture = card.locator("figure img").nth(number)
            assert (
                await picture.evaluate("(one) => one.decode().then(() => one.naturalWidth)") == 30
            )
        await card.locator("figure strong", has_text="bold").wait_for()
        await card.locator("figure math").wait_for(state="attached")
        frame = card.frame_locator("figure.frame > iframe")
        await frame.get_by_role("heading", name="in a frame").wait_for()
        await shot(page, "figures")

    async def test_a_link_to_a_run_can_be_kept(
        self, page: Page, client: Client[Any], watch: Watch
    ) -> None:
        await run(client, "print('kept for later')", "links")
        card = await look(page, "links")
        link = str(await card.locator("a.self").get_attribute("href"))
        other = await watch.open(f"/{link}")
        await runs(other).get_by_text("kept for later", exact=True).first.wait_for()
        assert await other.evaluate("document.activeElement.classList.contains('run')")

    async def test_the_history_is_searched(self, page: Page, client: Client[Any]) -> None:
        for word in ("apple", "pear", "plum"):
            await run(client, f"print('{word}' * 2)", "history")
        await look(page, "history")
        await page.get_by_role("searchbox").fill("pear")
        await page.get_by_text("1 run with “pear”").wait_for()
        assert await runs(page).count() == 1
        await page.get_by_role("searchbox").fill("cherry")
        await page.get_by_text("No run of this session has these words.").wait_for()

    async def test_large_output_is_bounded(self, page: Page, client: Client[Any]) -> None:
        """The page holds a part of it, says so, and has the rest in pieces."""
        code = "for n in range(400_000): print('line', n)"
        assert "timed out" not in await run(client, code, "large", timeout=600)
        card = await look(page, "large")
        await card.get_by_text("line 399999").wait_for()
        await card.locator(".gap").wait_for()
        assert await page.evaluate("document.body.innerText.length") < 3_000_000
        await card.get_by_role("button", name="Show all in pieces").click()
        await page.get_by_role("dialog").get_by_text("Characters", exact=False).wait_for()
        await page.get_by_role("dialog").get_by_role("button", name="Close").click()
        await page.get_by_role("dialog").wait_for(state="detached")

    async def test_only_the_beginning_stands_before_what_is_left_out(
        self, page: Page, client: Client[Any], tmp_path: Path
    ) -> None:
        """However short it is: of what comes all at once, the end stands behind."""
        code = (
            "import os, time\n"
            "print('begins', flush=True)\n"
            f"while not os.path.exists({str(tmp_path / 'seen')!r}): time.sleep(0.01)\n"
            "os.write(1, '\\n'.join(map(str, range(60_000))).encode())"
        )
        call = begin(client, code, "leaping")
        card = await look(page, "leaping")
        await text(card).get_by_text("begins").wait_for()
        (tmp_path / "seen").touch()
        await card.get_by_text("59999").wait_for()
        await call
        before = "nodes => nodes.map((node) => node.textContent).join('')"
        shown = await card.locator(".flow > :has(~ .gap)").evaluate_all(before)
        assert "\n".join(["begins", *map(str, range(60_000))]).startswith(shown)


class TestControls:
    async def test_stopping_a_run(self, page: Page, client: Client[Any]) -> None:
        """After a question, which can be answered no."""
        call = begin(
            client, "import time\nprint('it runs', flush=True)\ntime.sleep(600)", "stopped"
        )
        card = await look(page, "stopped")
        await text(card).get_by_text("it runs").wait_for()
        await card.get_by_role("button", name="Stop run").click()
        await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
        await page.get_by_role("dialog").wait_for(state="detached")
        assert not call.done()
        await card.get_by_role("button", name="Stop run").click()
        await page.get_by_role("dialog").get_by_role("button", name="Stop it").click()
        await card.locator(".badge", has_text="stopped").wait_for()
        await call

    async def test_running_code_and_answering(self, page: Page, client: Client[Any]) -> None:
        """A line in a session, whose question is answered on the page."""
        await run(client, "who = 'nobody'", "asking")
        await look(page, "asking")
        await page.get_by_label("Run code in asking").fill("who = input('Your name? ')")
        await page.get_by_role("button", name="Run", exact=True).click()
        form = page.locator("form.question")
        await form.get_by_text("Your name?").wait_for()
        await shot(page, "asking")
        await form.get_by_role("textbox").fill("<b>Ada</b>")
        await form.get_by_role("button", name="Answer").click()
        await form.wait_for(state="detached")
        assert "<b>Ada</b>" in await run(client, "print(who)", "asking")

    async def test_restarting_and_closing(self, page: Page, client: Client[Any]) -> None:
        await run(client, "x = 1", "ended")
        await look(page, "ended")
        await page.get_by_role("button", name="Restart…").click()
        await page.get_by_role("dialog").get_by_role("button", name="Restart").click()
        await page.get_by_role("dialog").wait_for(state="detached")
        assert "NameError" in await run(client, "x", "ended")
        await page.get_by_role("button", name="Close…").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("button", name="Close the session").click()
        await page.locator("#session-list a", has_text="ended").wait_for(state="detached")

    @pytest.mark.parametrize("name", ["down/loaded", "..", "a/.."])
    async def test_a_session_is_downloaded(
        self, page: Page, client: Client[Any], name: str
    ) -> None:
        """Also one whose name browsers would take for a way through folders."""
        await run(client, "print('in the notebook')", name)
        await look(page, name)
        async with page.expect_download() as saved:
            await page.get_by_role("link", name="Download .ipynb").click()
        download = await saved.value
        assert download.suggested_filename.endswith(".ipynb")
        content = await asyncio.to_thread(Path(await download.path()).read_text)
        assert "in the notebook" in json.dumps(json.loads(content))


class TestConnection:
    async def test_more_windows_than_a_browser_has_connections(
        self, watch: Watch, client: Client[Any]
    ) -> None:
        """Each of eight shows what happens, also after others have been closed."""
        pages = [await watch.open() for _ in range(8)]
        await run(client, "print('seen by all')", "many")
        for page in pages:
            await runs(page).get_by_text("seen by all", exact=True).first.wait_for()
        for page in pages[:5]:
            await page.close()
        await run(client, "print('seen by the rest')", "many")
        for page in pages[5:]:
            await runs(page).get_by_text("seen by the rest", exact=True).first.wait_for()
            assert await page.locator("#connection").is_hidden()

    async def test_what_was_missed_is_caught_up(
        self, page: Page, client: Client[Any], watch: Watch
    ) -> None:
        """The page says that it is not connected, and misses nothing."""
        await run(client, "print('before')", "away")
        card = await look(page, "away")
        await text(card).get_by_text("before").wait_for()
        await watch.context.set_offline(True)
        await page.evaluate("dispatchEvent(new Event('offline'))")
        await run(client, "print('meanwhile')", "away")
        await watch.context.set_offline(False)
        await runs(page).get_by_text("meanwhile", exact=True).first.wait_for()
        assert await runs(page).count() == 2

    async def test_what_could_not_be_fetched_is_asked_for_again(
        self, page: Page, client: Client[Any], watch: Watch
    ) -> None:
        """The code, and the output."""
        refused: list[str] = []

        async def answer(route: Route) -> None:
            if len(refused) < 2 or ("/text" in route.request.url and len(refused) < 3):
                refused.append(route.request.url)
                await route.abort()
            else:
                await route.continue_()

        await watch.context.route(re.compile("/page/runs/"), answer)
        await run(client, "print('fetched')", "refused")
        card = await look(page, "refused")
        await card.get_by_text("The server cannot be reached.").first.wait_for()
        await text(card).get_by_text("fetched").wait_for()
        await card.locator(".source").get_by_text("print").wait_for()
        assert await card.get_by_text("The server cannot be reached.").count() == 0
        assert len(refused) == 3

    async def test_a_connection_that_is_dead_and_looks_open_is_given_up(
        self, browser: Browser, server: HttpProcess, client: Client[Any]
    ) -> None:
        """As after the machine has slept."""
        async with Relay(server.url) as relay, watching(browser, relay.url) as watch:
            await watch.context.clock.install()
            page = await watch.open()
            await run(client, "print('before')", "dead")
            await runs(page).get_by_text("before", exact=True).first.wait_for()
            relay.fall_silent()
            await run(client, "print('meanwhile')", "dead")
            await watch.context.clock.fast_forward(36_000)
            await runs(page).get_by_text("meanwhile", exact=True).first.wait_for()

    async def test_a_server_that_ends_and_comes_back(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        first = HttpProcess(tmp_path)
        second = None
        try:
            first.wait()
            async with watching(browser, first.url) as watch:
                page = await watch.open()
                port = first.port
                await asyncio.to_thread(first.end)
                await page.locator("#connection", has_text="Not connected").wait_for()
                await shot(page, "disconnected")
                second = HttpProcess(tmp_path, RMI_PORT=str(port))
                second.wait()
                await page.locator("#connection").wait_for(state="hidden")
                async with second.client("newer") as client:
                    await run(client, "print('again')", "new")
                await runs(page).get_by_text("again", exact=True).first.wait_for()
        finally:
            await asyncio.to_thread(first.end)
            if second is not None:
                await asyncio.to_thread(second.end)


class TestLogin:
    async def test_a_token_once(self, browser: Browser, guarded: HttpProcess) -> None:
        """Then a cookie that no script reads; after logging out nothing is left."""
        async with watching(browser, guarded.url) as watch:
            page = await watch.open()
            field = page.get_by_label("Token")
            await field.fill("wrong")
            await page.get_by_role("button", name="Log in").click()
            await page.get_by_text("not known").wait_for()
            await shot(page, "login")
            await field.fill(TOKENS["alice"])
            await page.get_by_role("button", name="Log in").click()
            await page.locator("#me", has_text="alice").wait_for()
            assert await page.evaluate("document.cookie") == ""
            stored = "JSON.stringify([localStorage, sessionStorage])"
            assert await page.evaluate(stored) == "[{},{}]"
            (cookie,) = await watch.context.cookies()
            assert cookie.get("httpOnly") and cookie.get("sameSite") == "Strict"
            await page.reload()
            await page.locator("#me", has_text="alice").wait_for()
            await page.get_by_role("button", name="Log out").click()
            await page.get_by_label("Token").wait_for()
            assert await watch.context.cookies() == []
            answer = await watch.context.request.get(f"{watch.home}/page/state")
            assert answer.status == 401
            assert not any(TOKENS["alice"] in each for each in watch.asked)
            watch.quiet()

    async def test_each_sees_their_own(self, browser: Browser, guarded: HttpProcess) -> None:
        async with (
            guarded.client("newer", TOKENS["alice"]) as alice,
            guarded.client("newer", TOKENS["bob"]) as bob,
            watching(browser, guarded.url) as watch,
        ):
            await run(bob, "print('secret of bob')", "of bob")
            page = await log_in(watch, TOKENS["alice"])
            await run(alice, "print('of alice herself')", "of alice")
            await runs(page).get_by_text("of alice herself", exact=True).first.wait_for()
            await run(bob, "print('another secret')", "of bob")
            await run(alice, "print('the end')", "of alice")
            await runs(page).get_by_text("the end", exact=True).first.wait_for()
            assert "bob" not in await page.locator("body").inner_text()
            assert "secret" not in await page.locator("body").inner_text()
            for path in ("runs/1", "runs/1/text", "notebook?session=of%20bob"):
                answer = await watch.context.request.get(f"{watch.home}/page/{path}")
                assert "secret" not in await answer.text(), path
            forged = await page.evaluate(
                """async () => (await fetch("/page/do", {method: "POST", body:
                JSON.stringify({do: "close", session: "of bob"}), headers:
                {"Content-Type": "application/json", "X-Rmi-Page": "1"}})).status"""
            )
            assert forged == 404
            watch.quiet()

    async def test_a_revoked_token_ends_the_page(
        self, browser: Browser, guarded: HttpProcess
    ) -> None:
        tokens = Tokens(guarded.projects.parent / "state" / "tokens")
        async with watching(browser, guarded.url) as watch:
            page = await log_in(watch, tokens.new("carol"))
            await page.locator("#me", has_text="carol").wait_for()
            tokens.revoke("carol")
            await page.get_by_label("Token").wait_for()
            watch.quiet()


async def log_in(watch: Watch, token: str) -> Page:
    page = await watch.open()
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Log in").click()
    await page.locator("#me").filter(has_text=re.compile(".")).wait_for()
    return page
