"""Telling the caller how something gets on that is no run of a kernel."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastmcp import Context

from server.principal import gone

Result = TypeVar("Result")
#: Seconds between two notifications when there are new lines, and the most without any; lines of
#: one.
_NEWS, _HEARTBEAT, _LINES = 1.0, 5.0, 8


async def told(
    ctx: Context, begin: Callable[[Callable[[str], None]], Coroutine[Any, Any, Result]]
) -> Result:
    """The result of `begin(tell)`, while the caller hears what `tell` is told, or the time that it
    has taken. Ends with its caller, over HTTP, too."""
    lines: deque[str] = deque(maxlen=_LINES)
    task = asyncio.create_task(begin(lines.append))
    try:
        await _follow(ctx, task, lines)
        return await task
    finally:
        task.cancel()
        # What is cancelled ends its processes first.
        await asyncio.wait({task})


async def _follow(ctx: Context, task: asyncio.Task[Any], lines: deque[str]) -> None:
    begun = said = time.monotonic()
    left = gone()
    while not task.done():
        await asyncio.wait({task}, timeout=_NEWS)
        if left is not None and left.is_set():
            task.cancel()
            left = None
        now = time.monotonic()
        if not task.done() and (lines or now - said >= _HEARTBEAT - _NEWS):
            said = now
            message = "\n".join(lines) or f"{now - begun:.0f} s"
            lines.clear()
            await ctx.report_progress(round(now - begun, 3), message=message)
