"""What the page shows does not depend on the order in which it hears of it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from fastmcp import Client

from tests.e2e.http_process import HttpProcess
from tests.page.conftest import begin, runs

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

pytestmark = pytest.mark.asyncio(loop_scope="session")

WAIT = """
import pathlib, time
from IPython.display import Markdown, display
def until(name):
    while not pathlib.Path(name).exists(): time.sleep(0.02)
"""


@pytest.mark.parametrize("text", ["", "before"], ids=["alone", "after text"])
async def test_an_output_that_is_told_before_its_run_is_there(
    page: Page, client: Client[Any], server: HttpProcess, text: str
) -> None:
    """The news of an output come while the page still waits for the run itself."""
    told = asyncio.Event()

    async def hold(route: Route) -> None:
        await told.wait()
        await route.continue_()

    await page.route(re.compile(r"/page/runs/\d+$"), hold)
    name = f"early {text}".strip()
    printing = f"print({text!r}); " if text else ""
    code = f"{WAIT}until('{name} 1')\n{printing}display(Markdown('**early**'))\nuntil('{name} 2')"
    call = begin(client, code, name)
    card = runs(page).filter(has_text=name).first
    await card.locator(".badge", has_text="running").wait_for()
    (server.projects / f"{name} 1").touch()
    await card.locator("p.facts", has_text="1 output").wait_for()
    told.set()
    await card.locator("figure strong", has_text="early").wait_for()
    (server.projects / f"{name} 2").touch()
    await call
