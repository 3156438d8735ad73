"""What programs ask when nobody but those before the page can answer."""

from __future__ import annotations

import asyncio

from server.page.answering import refuse_in_time
from tests.server.page.conftest import House

ASKS = "try:\n    print('got', input('Name? '))\nexcept EOFError:\n    print('nobody')"


async def test_whoever_looks_may_answer(house: House) -> None:
    browser = house.browser()
    async with browser.watching() as page:
        run = house.submit(ASKS, ask=True)
        await page.until(lambda: (page.runs.get(run.id) or {}).get("question"))
        await browser.do(do="answer", run=run.id, serial=1, text="Ann")
        await page.end_of(run.id)
        assert page.texts[run.id].endswith("got Ann\n")


async def test_without_anybody_it_is_refused_after_a_while(house: House) -> None:
    """A page that has lost its connection may come back within it."""
    run = house.submit(ASKS, ask=True)
    looks = 0

    def is_there() -> bool:
        nonlocal looks
        looks += 1
        return False

    await asyncio.wait_for(refuse_in_time(run, is_there, away=0.0), 30)
    assert looks and "nobody" in (await run.result()).outputs[-1].text


async def test_nobody_is_waited_for_for_ever(house: House) -> None:
    run = house.submit(ASKS, ask=True)
    await asyncio.wait_for(refuse_in_time(run, lambda: True, patience=0.0), 30)
    assert "nobody" in (await run.result()).outputs[-1].text


async def test_a_run_that_asks_nothing_is_left_alone(house: House) -> None:
    run = house.submit("print(1)", ask=True)
    await asyncio.wait_for(refuse_in_time(run, lambda: False, patience=0.0), 30)
    assert (await run.result()).status == "ok"
