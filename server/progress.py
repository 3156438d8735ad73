"""Waiting for a run while its caller is told how it gets on."""

from __future__ import annotations

import asyncio
import time

from fastmcp import Context

from kernels.result import RunResult
from kernels.session import Run
from server.render import clean

#: Seconds between two notifications when there are new lines, and the most without any.
_NEWS, _HEARTBEAT = 1.0, 5.0


async def follow(ctx: Context, run: Run) -> RunResult:
    """Its result. Until then notifications have its new lines, or words on how long it takes.

    When the caller goes away, the run is stopped.
    """
    begun = said = time.monotonic()
    try:
        while True:
            done, _ = await asyncio.wait({run.done}, timeout=_NEWS)
            if done:
                return await run.result()
            now = time.monotonic()
            news = clean(run.take_news()).strip("\n")
            if news or now - said >= _HEARTBEAT - _NEWS:
                said = now
                waiting = "" if run.execution else "waiting for its turn; "
                message = news or f"{waiting}{now - begun:.0f} s"
                await ctx.report_progress(round(now - begun, 3), message=message)
    finally:
        if not run.done.done():
            run.stop()
