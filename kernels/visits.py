"""What attached clients execute in a session's kernel, as runs of the session."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kernels.archive import Archive
from kernels.attached import Attached, first, note_session
from kernels.collector import Collector
from kernels.execution import CodeRequest, Ending
from kernels.kernel import Kernel
from kernels.news import restored
from kernels.questions import Questions
from kernels.recording import Recording
from kernels.result import RunResult, State
from kernels.run import Run
from kernels.steps import Once, Work
from kernels.verdict import End, judge, outcome_of

if TYPE_CHECKING:
    from kernels.session import Session

#: What a result says of such a run.
NOTE = "run by an attached client"


class Visit:
    """An execution that another client has asked for: what a `Run` has in place of `Execution`."""

    #: It waits for nobody else, and asks its own client what it wants to know.
    delayed = 0.0

    def __init__(
        self, kernel: Kernel, request: str, recording: Recording, attached: Attached
    ) -> None:
        self.collector = Collector(request, recording)
        self.questions = Questions(kernel, lambda: None)
        self._kernel, self._attached = kernel, attached
        self._stopped, self._over = asyncio.Event(), asyncio.Event()
        self._grace: float | None = None

    @property
    def session_ends(self) -> bool:
        """Whether it was the session that ended the kernel."""
        return bool(self._attached.ended)

    def stop(self, grace: float | None = None) -> None:
        """Ask for its end, as `Execution.stop`."""
        self._grace = self._grace if grace is None else grace
        self._stopped.set()

    def end(self) -> None:
        """The kernel says that it is over."""
        self._over.set()

    async def result(self, run_id: str, session: str, grace: float) -> RunResult:
        """Wait for its end, however long that takes. When it is stopped, it is interrupted; a
        kernel that does not obey for `grace` seconds is closed."""
        begun, kernel, attached = time.monotonic(), self._kernel, self._attached
        ending, stack = Ending.DONE, ""
        await first(self._over, kernel.exited, self._stopped)
        if not (self._over.is_set() or kernel.exited.is_set()):
            ending = Ending.STOPPED
            kernel.interrupt()
            patience = grace if self._grace is None else self._grace
            await first(self._over, kernel.exited, seconds=patience)
            if not (self._over.is_set() or kernel.exited.is_set()):
                stack = await kernel.stack()
                attached.given_up = True
                await asyncio.shield(kernel.close())
        obeyed = self._over.is_set()
        exit = kernel.exit
        if ending is Ending.STOPPED or (not obeyed and attached.ended):
            # The signal that then ended it was ours.
            ending, exit = Ending.STOPPED, None
        elif not obeyed:
            ending = Ending.DIED
        self.collector.finish()
        outcome = outcome_of({"status": "ok"}, self.collector.error)
        verdict = judge(
            End(ending, obeyed, outcome if obeyed else {}, exit, stack, attached.ended),
            timeout=math.inf,
            keep_after_timeout=True,
        )
        return RunResult(
            run_id,
            session,
            verdict.status,
            exit_code=verdict.exit_code,
            duration=time.monotonic() - begun,
            state=State.LOST if verdict.lost else State.KEPT,
            signal=exit.signal if exit is not None else None,
            error=outcome.get("error"),
            execution_count=self.collector.execution_count,
            notes=(NOTE, *verdict.notes),
            explanation=verdict.explanation,
        )


@dataclass(frozen=True)
class Enrolment:
    """How such an execution becomes a run that others know: its id, and who is told of it."""

    new_id: Callable[[], str]
    enrol: Callable[[Run, Work], None]


class Visits:
    """Makes a run of each execution. Those of a session without `enrolment` are runs of nobody's,
    and only keep apart what is not the session's own."""

    def __init__(
        self, session: Session, archive: Archive, grace: float, enrolment: Enrolment | None
    ) -> None:
        self._session, self._archive, self._grace = session, archive, grace
        self._enrolment = enrolment
        self._following: set[asyncio.Task[None]] = set()

    def of(self, kernel: Kernel) -> Attached:
        """What follows the other clients of a kernel of the session's, which they find."""
        note_session(kernel.connection_file, self._session.name, self._session.owner)
        attached = Attached(
            kernel, lambda request, code: self._begin(kernel, attached, request, code)
        )
        return attached

    async def ended(self) -> None:
        """Their kernel is closed: wait until their results say so."""
        if self._following:
            await asyncio.wait(self._following)

    def _begin(self, kernel: Kernel, attached: Attached, request: str, code: str) -> Visit:
        session, work = self._session, CodeRequest(code)
        recording = Recording(self._archive.open(session, session.owner))
        visit = Visit(kernel, request, recording, attached)
        if self._enrolment is not None:
            run = Run(self._enrolment.new_id(), session, Once(work), math.inf, recording)
            session.visit(run)
            run.begin(visit)
            # Not in the context of the call that has started the kernel, which is that of whatever
            # is read from it.
            context, follow = Context(), self._follow(run, visit, kernel)
            run.done = asyncio.create_task(follow, name=f"run {run.id}", context=context)
            self._following.add(run.done)
            run.done.add_done_callback(self._following.discard)
            context.run(self._enrolment.enrol, run, work)
        return visit

    async def _follow(self, run: Run, visit: Visit, kernel: Kernel) -> None:
        session, summary = self._session, None
        try:
            summary = await visit.result(run.id, session.name, self._grace)
            kept = session.keeper.kept
            if summary.state is State.LOST and not visit.session_ends and kept is not None:
                # So the next run finds them.
                summary = restored(summary, kept.run_id, kept.words)
        finally:
            run.finish(summary)
            session.visited(run, kernel)
