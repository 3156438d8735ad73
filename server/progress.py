"""Waiting for a run while its caller is told how it gets on, and asked what its program asks."""

from __future__ import annotations

import asyncio
import time

from fastmcp import Context

from kernels.questions import Question
from kernels.result import RunResult
from kernels.run import Run
from kernels.transcript import clean
from server import questions
from server.principal import gone

#: Seconds between two notifications when there are new lines, and the most without any.
_NEWS, _HEARTBEAT = 1.0, 5.0
_PAUSE = _HEARTBEAT - _NEWS


async def follow(ctx: Context, run: Run, seen: int = 0) -> RunResult | Question:
    """Its result. Until then notifications have its new lines, or words on how long it takes.

    A question of its program later than number `seen` is put to the caller; in the newer protocol
    that takes a call of its own, so there it is returned. When the caller goes away, the run is
    stopped.
    """
    news, left = _News(ctx, run), gone()
    stays = False
    try:
        if run.place:
            # At once, so that the caller knows whose run it is that goes on.
            await ctx.report_progress(0, message=_words(run, 0))
        while True:
            question = await run.asks(seen, _NEWS)
            if run.done.done():
                return await run.result()
            if left is not None and left.is_set():
                run.stop()
                left = None
            if question is not None:
                if not questions.can_ask(ctx):
                    pass  # somebody else is asked, on the page
                elif questions.asks_by_result(ctx):
                    stays = True
                    return question
                else:
                    await ask(ctx, run, question)
                seen = question.serial
            await news.tell()
    finally:
        if not (stays or run.done.done()):
            run.stop()


async def ask(ctx: Context, run: Run, question: Question) -> None:
    """Put a question of a run to the caller, and pass the answer on. In the older protocol."""
    news = _News(ctx, run)
    asking = asyncio.create_task(questions.ask_now(ctx, question))
    try:
        while run.question == question and not asking.done():
            await asyncio.wait({asking, run.done}, timeout=_NEWS, return_when=_FIRST)
            await news.tell()
        if asking.done():
            run.answer(question.serial, asking.result())
    finally:
        asking.cancel()


_FIRST = asyncio.FIRST_COMPLETED


async def wait_for_news(ctx: Context, run: Run, seconds: float, extent: int) -> None:
    """Until it is over, asks something, or its recording is more than `extent`, at most `seconds`.

    Whoever waits is told at times that somebody works on it. The run is not touched.
    """
    begun = time.monotonic()
    while run.recording.extent <= extent and run.question is None and not run.done.done():
        passed = time.monotonic() - begun
        if passed >= seconds:
            return
        if passed:
            await ctx.report_progress(round(passed, 3), message=_words(run, run.seconds))
        await run.news(extent, min(_PAUSE, seconds - passed))


class _News:
    """Tells a caller the news of a run, at the times that the constants above name."""

    def __init__(self, ctx: Context, run: Run) -> None:
        self._ctx, self._run = ctx, run
        self._begun = self._said = time.monotonic()
        self._done = 0

    async def tell(self) -> None:
        now = time.monotonic()
        if now - self._said < _NEWS:
            return
        news = clean(self._run.take_news()).strip("\n")
        doing = self._run.steps.doing
        if not (news or (doing and int(doing.done) > self._done) or now - self._said >= _PAUSE):
            return
        self._said = now
        if doing is None:
            message = news or _words(self._run, now - self._begun)
            await self._ctx.report_progress(round(now - self._begun, 3), message=message)
            return
        self._done = int(doing.done)
        message = f"{clean(doing.words)}\n{news}".rstrip("\n")
        await self._ctx.report_progress(round(doing.done, 4), doing.total, message)


def _words(run: Run, seconds: float) -> str:
    if run.place:
        return f"waiting for its turn, place {run.place + 1}; {seconds:.0f} s"
    return clean(run.steps.doing.words) if run.steps.doing else f"{seconds:.0f} s"
