"""Questions of programs that nobody but those who look at the page can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastmcp.server.dependencies import get_context

from kernels.run import Run
from server import questions

#: Seconds that a question waits for somebody at the page, because many clients give a call up after
#: 60; and for a page that has lost its connection.
PATIENCE, AWAY = 45.0, 10.0
#: Seconds between two looks.
_LOOK = 1.0


def client_is_asked() -> bool:
    """Whether the client of the call under way is asked itself."""
    try:
        return questions.can_ask(get_context())
    except RuntimeError:
        return False  # there is none


async def refuse_in_time(
    run: Run, is_there: Callable[[], bool], patience: float = PATIENCE, away: float = AWAY
) -> None:
    """Refuse what the run's program asks when nobody answers for `patience` seconds, or nobody
    looks for `away` seconds. Until the run is over."""
    loop = asyncio.get_running_loop()
    serial, since, seen = 0, 0.0, 0.0
    while not run.done.done():
        question = run.question
        if question is None:
            await run.asks(serial, 60)
            continue
        now = loop.time()
        if question.serial != serial:
            serial, since, seen = question.serial, now, now
        if is_there():
            seen = now
        if now - since >= patience or now - seen >= away:
            run.answer(serial, None)
        await asyncio.wait({run.done}, timeout=_LOOK)
