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
_WAITING = "waiting for its turn; {:.0f} s"


async def follow(ctx: Context, run: Run) -> RunResult:
    """Its result. Until then notifications have its new lines, or words on how long it takes.

    When the caller goes away, the run is stopped.
    """
    begun = said = time.monotonic()
    try:
        if run in run.session.runs[1:]:
            # At once, so that the caller knows whose run it is that goes on.
            await ctx.report_progress(0, message=_WAITING.format(0))
        while True:
            done, _ = await asyncio.wait({run.done}, timeout=_NEWS)
            if done:
                return await run.result()
            now = time.monotonic()
            news = clean(run.take_news()).strip("\n")
            if news or now - said >= _HEARTBEAT - _NEWS:
                said = now
                words = "{:.0f} s" if run.execution else _WAITING
                message = news or words.format(now - begun)
                await ctx.report_progress(round(now - begun, 3), message=message)
    finally:
        if not run.done.done():
            run.stop()
