"""For everyone: axe finds nothing serious in any state and look, and no mouse is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest
from fastmcp import Client

from tests.e2e.http_process import HttpProcess
from tests.page.conftest import begin, look, run, runs, shot, watching

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

Scheme = Literal["light", "dark"]
SIZES: dict[str, Any] = {
    "desk": {"width": 1280, "height": 800},
    "phone": {"width": 375, "height": 700},
}
CODE = """
import sys
from IPython.display import Markdown, HTML, display
print('some output'); print('some trouble', file=sys.stderr)
display(Markdown('# title\\n\\n**bold** [link](https://example.org) `code`'))
display(HTML('<p>a page</p>'))
def function(x): return {'text': "string", 'n': 1.5}  # a comment
1/0
"""


async def findings(page: Page) -> list[str]:
    """What axe says that is serious."""
    axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="no axe-core")
    # axe runs in the page by Playwright's hand, to which the page's policy does not apply.
    found = await axe.Axe().run(page)
    return [
        f"{each['id']}: {[node['target'] for node in each['nodes']][:4]}"
        for each in found.response["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
async def test_axe_finds_nothing_serious(
    browser: Browser, server: HttpProcess, client: Client[Any], scheme: Scheme, size: str
) -> None:
    """All sessions, one of them, a run that goes on, and a question before something is lost."""
    name = f"axe {scheme} {size}"
    await run(client, CODE, name)
    options = {"color_scheme": scheme, "viewport": SIZES[size], "reduced_motion": "reduce"}
    async with watching(browser, server.url, **options) as watch:
        page = await watch.open()
        await runs(page).first.wait_for()
        assert await findings(page) == []
        call = begin(client, "print('x', flush=True)\nimport time\ntime.sleep(600)", name)
        if size == "phone":
            await page.get_by_role("button", name="Sessions").click()
            assert await findings(page) == []
        card = await look(page, name)
        await card.locator(".output").get_by_text("x", exact=True).first.wait_for()
        await runs(page).nth(1).locator("figure").first.wait_for()
        await shot(page, f"session-{scheme}-{size}")
        assert await findings(page) == []
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await page.evaluate(width) <= 0, "nothing has to be scrolled sideways"
        await card.get_by_role("button", name="Stop run").click()
        await page.get_by_role("dialog").wait_for()
        await shot(page, f"question-{scheme}-{size}")
        assert await findings(page) == []
        await page.get_by_role("dialog").get_by_role("button", name="Stop it").click()
        await call
        watch.quiet()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_login_too(browser: Browser, guarded: HttpProcess, scheme: Scheme) -> None:
    async with watching(browser, guarded.url, color_scheme=scheme) as watch:
        page = await watch.open()
        await page.get_by_label("Token").wait_for()
        assert await findings(page) == []
        assert await page.evaluate("document.activeElement.id") == "token"
        await shot(page, f"login-{scheme}")


async def test_without_a_mouse(page: Page, client: Client[Any]) -> None:
    """To a session by Tab and arrows, to its runs, and through a question and back."""
    await run(client, "print('by keys')", "keys one")
    call = begin(client, "print('y', flush=True)\nimport time\ntime.sleep(600)", "keys two")
    link = page.locator("#session-list a", has_text="keys two")
    await link.wait_for()
    await page.keyboard.press("Tab")
    assert "Skip" in await page.evaluate("document.activeElement.textContent")
    for _ in range(10):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.closest('#session-list') !== null"):
            break
    await page.keyboard.press("End")
    for _ in range(60):
        if "keys two" in await page.evaluate("document.activeElement.textContent"):
            break
        await page.keyboard.press("ArrowUp")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="keys two", level=1).wait_for()
    stop = page.get_by_role("button", name="Stop run").first
    await stop.focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    await dialog.wait_for()
    assert await page.evaluate("document.activeElement.closest('dialog') !== null")
    await page.keyboard.press("Escape")
    await dialog.wait_for(state="detached")
    assert await stop.evaluate("(one) => one === document.activeElement")
    await page.keyboard.press("Enter")
    await dialog.get_by_role("button", name="Stop it").focus()
    await page.keyboard.press("Enter")
    await call


async def test_changes_are_told(page: Page, client: Client[Any]) -> None:
    """A screen reader hears when a run begins and how it ends."""
    await run(client, "1/0", "told")
    await page.locator("#said[aria-live=polite]", has_text="failed").wait_for(state="attached")
