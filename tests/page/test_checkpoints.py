"""Checkpoints on the page: what a session would go back to, going back to it, and branches."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from fastmcp import Client

from tests.page.conftest import begin, look, run, runs, shot
from tests.page.test_accessibility import findings
from tests.page.test_page import GATE, text

if TYPE_CHECKING:
    from playwright.async_api import Locator, Page

    from tests.e2e.http_process import HttpProcess

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone"),
]

#: Worth a checkpoint, because it has taken its time.
WORTH = "import time\ntime.sleep(0.5)\nx = [1, 2, 3]"


def fact(page: Page, name: str) -> Locator:
    """The value of a fact in the head of a session."""
    return page.locator(".session-head dl.facts > div", has_text=name).locator("dd")


async def kept(page: Page, client: Client[Any], name: str, code: str = WORTH) -> None:
    """Look at a session that has a checkpoint."""
    await run(client, code, name)
    await look(page, name)
    await fact(page, "Checkpoint").filter(has_text="after run").wait_for()


async def test_a_session_tells_what_it_would_go_back_to(page: Page, client: Client[Any]) -> None:
    """After which run, how long ago, and what it costs."""
    await kept(page, client, "told of")
    await (
        fact(page, "Checkpoint")
        .filter(has_text="MB")
        .or_(fact(page, "Checkpoint").filter(has_text="kB"))
        .wait_for()
    )
    words = await fact(page, "Checkpoint").inner_text()
    assert words.startswith("after run ") and " s ago" in words


async def test_why_there_is_none_is_told(page: Page, client: Client[Any]) -> None:
    """And then there is no button for going back to it; that it is too early needs no words."""
    await run(client, "1 / 0", "too early")
    await look(page, "too early")
    assert await fact(page, "Checkpoint").count() == 0 or await fact(page, "Checkpoint").is_hidden()
    await run(
        client,
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,), name='lasting', daemon=True).start()\n"
        "time.sleep(0.5)",
        "refused",
    )
    await look(page, "refused")
    await fact(page, "Checkpoint").filter(has_text="none: threads are running (lasting)").wait_for()
    assert await page.get_by_role("button", name="Go back…").is_hidden()


async def test_going_back(page: Page, client: Client[Any]) -> None:
    """After a question, which says to what, and can be answered no."""
    await kept(page, client, "taken back", WORTH + "\nlog = open('back.log', 'w')")
    await run(client, "del x; 1 / 0", "taken back")
    button = page.get_by_role("button", name="Go back…")
    await button.click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_text("Its variables go back to what they were after run").wait_for()
    await dialog.get_by_text("Files, databases and the network are not undone.").wait_for()
    await dialog.get_by_text("files open for writing (back.log).").wait_for()
    assert await findings(page) == []
    await shot(page, "dialog-back")
    await dialog.get_by_role("button", name="Cancel").click()
    await dialog.wait_for(state="detached")
    assert "NameError" in await run(client, "x", "taken back")
    await button.click()
    await dialog.get_by_role("button", name="Go back").click()
    await page.locator("#toast", has_text="is back to what it was after run").wait_for()
    assert "[1, 2, 3]" in await run(client, "x", "taken back")


async def test_branching(page: Page, client: Client[Any]) -> None:
    """The page goes to the new session, which has the variables and no runs yet; both go on
    apart."""
    await kept(page, client, "stem")
    button = page.get_by_role("button", name="Branch…")
    await button.click()
    dialog = page.get_by_role("dialog")
    name = dialog.get_by_label("Name of the new session")
    assert await name.evaluate("(one) => one === document.activeElement")
    assert await findings(page) == []
    await shot(page, "dialog-branch")
    await name.fill("stem")
    await dialog.get_by_role("button", name="Branch", exact=True).click()
    await (
        dialog.get_by_role("alert").filter(has_text="There is a session 'stem' already").wait_for()
    )
    await name.fill("twig/1")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="twig/1", level=1).wait_for()
    await page.locator(".session-head .badge", has_text="idle").wait_for()
    assert await runs(page).count() == 0
    assert "[1, 2, 3, 4]" in await run(client, "x + [4]", "twig/1")
    await run(client, "x.clear()", "twig/1")
    assert "[1, 2, 3]" in await run(client, "x", "stem")


async def test_without_a_mouse(page: Page, client: Client[Any]) -> None:
    """Both buttons are reached by Tab and pressed by Enter; Escape leads back to them."""
    await kept(page, client, "by keys alone")
    await page.get_by_role("link", name="Download .ipynb").focus()
    dialog = page.get_by_role("dialog")
    for words in ("Go back…", "Branch…"):
        await page.keyboard.press("Tab")
        button = page.get_by_role("button", name=words)
        assert await button.evaluate("(one) => one === document.activeElement")
        await page.keyboard.press("Enter")
        await dialog.wait_for()
        await page.keyboard.press("Escape")
        await dialog.wait_for(state="detached")
        assert await button.evaluate("(one) => one === document.activeElement")


async def test_a_busy_session_is_branched_in_its_turn(
    page: Page, client: Client[Any], server: HttpProcess
) -> None:
    await kept(page, client, "busy stem", WORTH + GATE)
    call = begin(client, "print('begun', flush=True); until('stem'); x.append(4)", "busy stem")
    await text(runs(page).first).get_by_text("begun").wait_for()
    await page.get_by_role("button", name="Branch…").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_text("when the run that is going on is over").wait_for()
    await dialog.get_by_label("Name of the new session").fill("busy twig")
    await dialog.get_by_role("button", name="Branch", exact=True).click()
    (server.projects / "stem").touch()
    await call
    await page.get_by_role("heading", name="busy twig", level=1).wait_for()
    assert "[1, 2, 3, 4]" in await run(client, "x", "busy twig")


async def test_a_run_after_which_variables_were_restored_is_marked(
    page: Page, client: Client[Any]
) -> None:
    """As one is with which they were lost: on the card, and in words below its output."""
    await kept(page, client, "restored")
    await run(client, "import os; os.kill(os.getpid(), 9)", "restored")
    card = runs(page).first
    await card.locator(".badge", has_text="process ended").wait_for()
    facts = card.locator("p.facts", has_text="the session's variables are as after run")
    await facts.wait_for()
    await card.locator(".outcome").get_by_text("variables are back to what they were").wait_for()
    await shot(page, "restored")
    assert "[1, 2, 3]" in await run(client, "x", "restored")
