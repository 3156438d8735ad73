"""A run of a session, from the moment it is asked for until its output is forgotten."""

from __future__ import annotations

import asyncio
import time
from asyncio import FIRST_COMPLETED
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from kernels.collector import Collector
from kernels.outputs import Output
from kernels.questions import Question, Questions
from kernels.recording import Recording
from kernels.result import RunResult, Status
from kernels.steps import Steps

if TYPE_CHECKING:
    from kernels.session import Session


class Executing(Protocol):
    """What a run needs of an execution while it goes on."""

    collector: Collector
    questions: Questions

    @property
    def delayed(self) -> float:
        """Seconds in which its kernel has executed something else."""

    def stop(self, grace: float | None = None) -> None:
        """Ask for its end."""


class Run:
    """One run. Its session carries it out and gives it its `summary`; anybody may look on."""

    def __init__(
        self,
        run_id: str,
        session: Session,
        steps: Steps,
        timeout: float,
        recording: Recording,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.id = run_id
        self.session = session
        #: What its result has to say besides, in phrases.
        self.notes = notes
        #: What it executes; once it is over without source and input.
        self.steps = steps
        self.title = steps.title
        #: Seconds that each of its executions may take.
        self.timeout = timeout
        #: What it wrote, while it goes on and afterwards.
        self.recording = recording
        #: While something is executed.
        self.execution: Executing | None = None
        self._outputs: tuple[Output, ...] = ()
        #: When it began, in seconds since the epoch, and monotonic; None while it waits.
        self.began: float | None = None
        self._has_begun = asyncio.Event()
        self._begun: float | None = None
        #: Its result but for the outputs, once it is over.
        self.summary: RunResult | None = None
        self.done: asyncio.Task[None]
        #: How far it has been read by who asks for news without saying so.
        self.seen = 0
        #: Set when its end is asked for.
        self.stopped = asyncio.Event()
        self._delayed = 0.0

    # -- for its session

    def begin(self, execution: Executing) -> None:
        """It has its turn, or goes on with its next execution."""
        self.execution = execution
        if self._begun is None:
            self.began, self._begun = time.time(), time.monotonic()
            self._has_begun.set()
        if self.stopping:
            execution.stop()

    def executed(self) -> None:
        """Its execution is over."""
        if self.execution is not None:
            self.execution.collector.finish()
            self._outputs += self.execution.collector.outputs()
            self._delayed += self.execution.delayed
            self.execution = None

    def finish(self, summary: RunResult | None) -> None:
        """It is over; what only a running one needs is let go. `summary` None: it failed."""
        self.executed()
        self.recording.finish(self._outputs, self.steps.source)
        self._outputs = ()
        self.steps.release()
        self.summary = summary

    # -- for everybody

    @property
    def stopping(self) -> bool:
        """Whether its end has been asked for."""
        return self.stopped.is_set()

    @property
    def place(self) -> int:
        """How many runs of its session come before it: 0 when it is its turn, or it is over."""
        runs = list(self.session.runs)
        return runs.index(self) if self in runs else 0

    @property
    def seconds(self) -> float:
        """How long it has taken so far, without what others have executed in its kernel
        meanwhile; 0 while it waits."""
        if self.summary is not None:
            return self.summary.duration
        if self._begun is None:
            return 0.0
        delayed = self._delayed + (self.execution.delayed if self.execution else 0.0)
        return time.monotonic() - self._begun - delayed

    @property
    def status(self) -> Status:
        """What became of it; a waiting one is running. One without a kernel has died."""
        if not self.done.done():
            return Status.RUNNING
        return Status.DIED if self.summary is None else self.summary.status

    def stop(self, grace: float | None = None) -> None:
        """Ask for its end, running or still waiting. Its result tells what came of it.

        `grace`: seconds between interrupt and kill, where not the policy's.
        """
        self.stopped.set()
        if self.execution is not None:
            self.execution.stop(grace)

    async def result(self) -> RunResult:
        """Its result when it is over. Cancelling the waiter does not touch the run.

        Raises what kept it from starting, and `OutputGone`.
        """
        await asyncio.shield(self.done)
        assert self.summary is not None
        explanation = self.summary.explanation
        if self.recording.trouble:
            trouble = f"Its whole output could not be kept: {self.recording.trouble}."
            explanation = f"{explanation}\n{trouble}" if explanation else trouble
        outputs = self.recording.outputs()
        return replace(self.summary, outputs=outputs, explanation=explanation)

    @property
    def question(self) -> Question | None:
        """What its program waits to be told."""
        return self.execution.questions.open if self.execution is not None else None

    def answer(self, serial: int, text: str | None) -> None:
        """Answer its question of that number, if it is open; None refuses to."""
        if self.execution is not None:
            self.execution.questions.answer(serial, text)

    async def asks(self, after: int, seconds: float) -> Question | None:
        """Its open question with a number above `after`. None: it is over, or there is none within
        `seconds`."""
        if not self.steps.ask:
            await asyncio.wait({self.done}, timeout=seconds)
            return None
        asking = asyncio.ensure_future(self._next_question(after))
        try:
            await asyncio.wait({asking, self.done}, timeout=seconds, return_when=FIRST_COMPLETED)
            return asking.result() if asking.done() else None
        finally:
            asking.cancel()

    async def _next_question(self, after: int) -> Question | None:
        await self._has_begun.wait()
        # Only what is a single execution asks.
        return await self.execution.questions.after(after) if self.execution else None

    async def news(self, extent: int, seconds: float) -> None:
        """Wait, at most `seconds`, until it is over, asks something, or its recording is more than
        `extent`."""
        grown = self.recording.grown
        asking = asyncio.ensure_future(self.asks(0, seconds))
        try:
            async with asyncio.timeout(seconds):
                while self.recording.extent <= extent and not asking.done():
                    grown.clear()
                    waiting = asyncio.ensure_future(grown.wait())
                    try:
                        await asyncio.wait({waiting, asking}, return_when=FIRST_COMPLETED)
                    finally:
                        waiting.cancel()
        except TimeoutError:
            pass
        finally:
            asking.cancel()

    @property
    def characters(self) -> int:
        """Characters of text written so far."""
        return self.recording.length + len(self.line)

    @property
    def line(self) -> str:
        """The line that it is writing, which is not among its text yet."""
        return self.execution.collector.line if self.execution else ""

    def take_news(self) -> str:
        """The text written since the last call, or the end of it, for progress."""
        return self.execution.collector.take_news() if self.execution else ""

    @property
    def source(self) -> str:
        """What was run. Raises `OutputGone`."""
        kept = self.recording.source
        return self.steps.source if kept is None else kept
