"""A session: a named kernel, its state, and the queue of its runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from kernels.archive import Archive
from kernels.attached import how_it_ended, note_session
from kernels.errors import CheckpointError, SessionError
from kernels.execution import note_late
from kernels.imported import imported_of
from kernels.keeping import CheckpointFacts, Keeper, Kept, Moment, Rewound
from kernels.kernel import Kernel, Message
from kernels.news import News, restored
from kernels.recording import Recording
from kernels.result import RunResult, State, Status
from kernels.run import Run
from kernels.steps import Work, steps_of
from kernels.tenure import Tenure
from kernels.textlog import Log
from kernels.turn import Policy, Turn
from kernels.variables import Variables, variables_of
from kernels.verdict import GONE
from kernels.visits import Enrolment, Visits

if TYPE_CHECKING:
    from kernels.environments.environment import Chosen
    from kernels.kernelspecs import Kernelspec

#: Characters kept from the start and the end of what is printed between runs.
_ASIDE = 2000


class SessionState(StrEnum):
    """What a session is doing."""

    #: No kernel yet, or the last one has ended; the next run starts one.
    COLD = "cold"
    #: A kernel waits for a run.
    IDLE = "idle"
    #: A run is under way.
    BUSY = "busy"
    #: Ended for good; takes no run.
    CLOSED = "closed"


class Session:
    """One kernel at a time and what was run in it. Made and ended by the `Registry`.

    Every step of its life (run, restart, close) holds `_turn`, so that they never overlap. Runs
    get it in the order in which they came; a restart or close comes before the waiting ones.
    """

    def __init__(
        self,
        name: str,
        start_kernel: Callable[[Kernelspec | None], Awaitable[Kernel]],
        policy: Policy,
        archive: Archive,
        environment: Chosen | None = None,
        owner: str = "",
        enrolment: Enrolment | None = None,
    ) -> None:
        self.name, self.owner = name, owner
        #: Where its kernels run, for as long as it lives; None: where the server's usual ones do.
        self.environment = environment
        self._archive = archive
        #: Monotonic time of the last use, in seconds.
        self.used = self._made = time.monotonic()
        #: Runs that have begun.
        self.count = 0
        #: Runs that wait or run, in order.
        self.runs: list[Run] = []
        self._start_kernel = start_kernel
        self._policy = policy
        self._queue = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._current: Run | None = None
        #: "closed" or "restarted" from the moment that this is asked for; closed is for good.
        self._ends = ""
        self._tenure: Tenure | None = None
        self._last_run = ""
        self._late = Log(_ASIDE, _ASIDE)
        self._news = News()
        self._visits = Visits(self, archive, policy.grace, enrolment)
        self.keeper = Keeper(policy.checkpoints, lambda: bool(self.runs))

    @property
    def kernelspec(self) -> Kernelspec | None:
        """What its kernels are; None: the server's usual ones."""
        return self.environment.kernelspec if self.environment is not None else None

    @property
    def state(self) -> SessionState:
        """What it is doing now."""
        if self._closed:
            return SessionState.CLOSED
        if self.runs:
            return SessionState.BUSY
        return SessionState.IDLE if self.kernel_lives else SessionState.COLD

    @property
    def has_variables(self) -> bool:
        """Whether something was run in its kernel, so that ending it loses something."""
        return self._tenure is not None and self._tenure.runs > 0

    @property
    def _closed(self) -> bool:
        return self._ends == "closed"

    @property
    def kernel_lives(self) -> bool:
        """Whether it has a kernel, which can take a run."""
        return self._tenure is not None and self._tenure.lives

    @property
    def _kernel(self) -> Kernel | None:
        return self._tenure.kernel if self._tenure is not None else None

    @property
    def pid(self) -> int | None:
        """The process of its kernel, if there is one here."""
        return self._kernel.pid if self._kernel is not None else None

    @property
    def connection_file(self) -> Path | None:
        """Where other clients of this machine read how to connect to its kernel, if they can."""
        return self._kernel.connection_file if self._kernel and self.kernel_lives else None

    @property
    def idle_seconds(self) -> float:
        """Seconds since it was last used; 0 while a run is under way."""
        return 0.0 if self.runs else time.monotonic() - self.used

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._made

    @property
    def checkpoint(self) -> CheckpointFacts | None:
        """The state that it goes on from when its kernel ends, or on request."""
        return self.keeper.facts

    @property
    def no_checkpoint(self) -> tuple[str, ...]:
        """Why there is no checkpoint, or no newer one, in users' words; empty: there is one."""
        return self.keeper.reasons

    async def variables(self) -> Variables:
        """What its programs have defined, also while a run is going on. Raises `KernelError`."""
        if self._kernel is None:
            return Variables()
        return await variables_of(self._kernel)

    async def imported(self, modules: Collection[str]) -> frozenset[str]:
        """Which of these modules its programs have imported, also while a run is going on. Raises
        `KernelError`."""
        if not self.kernel_lives or self._kernel is None:
            return frozenset()
        return await imported_of(self._kernel, modules)

    def announce(self, news: str, lost: bool = False) -> None:
        """Have the next result say `news`; `lost`: they tell that its variables are gone."""
        self._news.add(news, lost)

    def submit(
        self,
        run_id: str,
        work: Work,
        timeout: float,
        restart: bool = False,
        notes: tuple[str, ...] = (),
    ) -> Run:
        """Queue a run, each execution of which takes at most `timeout` seconds once it has begun.

        The run goes on when its caller goes away; `Run.stop` ends it. `restart`: in a fresh
        kernel. `notes`: what its result says besides. Raises `SessionError` when the session has
        been closed.
        """
        self._refuse_when_closed()
        recording = Recording(self._archive.open(self, self.owner))
        run = Run(run_id, self, steps_of(work), timeout, recording, notes)
        run.steps.queued(run_id)
        self.runs.append(run)
        self.keeper.stand_aside()
        run.done = asyncio.create_task(self._take_turn(run, restart), name=f"run {run_id}")
        # A failure to start a kernel is told to whoever waits; there may be nobody any more.
        run.done.add_done_callback(lambda task: task.cancelled() or task.exception())
        return run

    async def _take_turn(self, run: Run, restart: bool) -> None:
        summary = None
        try:
            async with self._queue, self._turn:
                self._current = run
                summary = await self._run(run, restart)
        finally:
            run.finish(summary)
            self._current = None
            self.runs.remove(run)
            self.used = time.monotonic()
            self.keeper.rest()

    async def _run(self, run: Run, restart: bool) -> RunResult:
        if not (self._ends or run.stopping):
            await self._prepare_kernel(restart)
            while (tenure := self._tenure) and tenure.attached.busy and tenure.lives:
                # What is not sent yet can be stopped without a word to the kernel.
                await tenure.attached.rest(run.stopped)
                if self._ends or run.stopping:
                    break
                await self._prepare_kernel(restart=False)
        tenure = self._tenure
        if self._ends or run.stopping or tenure is None:
            return self._not_run(run)
        self._begin(run.id)
        late, self._late = self._late, Log(_ASIDE, _ASIDE)
        ends = lambda: self._ends  # noqa: E731
        kernel = tenure.kernel
        turn = Turn(kernel, run, self._policy, late, ends, self._end_kernel, tenure.attached)
        try:
            result = await turn.take()
        finally:
            tenure.listen()
        lost = result.state is State.LOST and not self._ends
        if lost:
            await self._end_kernel()
            if kept := await self._resume():
                result = restored(result, kept.run_id, kept.words)
        elif result.status is Status.OK:
            self.keeper.succeeded(Moment(kernel, run.id, tenure.runs), result.duration)
        result = self._news.tell(result, run.notes)
        if lost and result.state is State.LOST:
            self.announce("in a fresh kernel")
        return replace(result, late=late.text(), environment=self._told_environment)

    @property
    def _told_environment(self) -> Chosen | None:
        told = self.environment
        return None if told is None or told.is_unsaid else told

    async def _prepare_kernel(self, restart: bool) -> None:
        """Have a kernel that lives, a fresh one if `restart`."""
        tenure = self._tenure
        if restart:
            await self.keeper.drop()
        if tenure is not None and (restart or not tenure.lives):
            lost = self.has_variables
            since = "" if restart else how_it_ended(tenure.kernel, tenure.attached)
            await self._end_kernel(gracefully=True)
            kept = await self._resume() if lost else None
            if kept is not None:
                self._news.add(f"{since}{kept.words}", restored_to=kept.run_id)
            elif lost:
                self.announce(f"{since}{GONE}", lost=True)
        if self._tenure is None:
            self._adopt(await self._start_kernel(self.kernelspec), 0)

    def _adopt(self, kernel: Kernel, runs: int) -> None:
        """Have this kernel, with the variables of so many runs."""
        self._tenure = Tenure(kernel, self._visits.of(kernel), runs, self._note_late)
        self.keeper.begin(kernel)
        note_session(kernel.connection_file, self.name, self.owner)

    async def _resume(self) -> Kept | None:
        """Go on from the checkpoint, if there is one, when there is no kernel."""
        found = await self.keeper.resume()
        if found is None:
            return None
        kept, kernel = found
        self._adopt(kernel, kept.runs)
        self._last_run = kept.run_id
        return kept

    def _not_run(self, run: Run) -> RunResult:
        why = f"the session was {self._ends}" if self._ends else "it was stopped before it began"
        lost = self._closed and self.count > 0
        return RunResult(
            run.id,
            self.name,
            Status.INTERRUPTED,
            state=State.LOST if lost else State.KEPT,
            notes=("session closed: its variables are gone",) if lost else (),
            explanation=f"Not run: {why}.",
            environment=self._told_environment,
        )

    def _begin(self, run_id: str) -> None:
        """Something is executed in its kernel, which has variables of it then."""
        self.count += 1
        self._last_run = run_id
        if self._tenure is not None:
            self._tenure.runs += 1

    def visit(self, run: Run) -> None:
        """An attached client's run has begun."""
        self.keeper.stand_aside(for_others=True)
        # It goes on already: whatever waits comes after it.
        self.runs.insert(0, run)
        self._begin(run.id)

    def visited(self, run: Run, kernel: Kernel) -> None:
        """It is over."""
        self.runs.remove(run)
        self.used = time.monotonic()
        if run.summary is not None and run.summary.status is Status.OK and kernel is self._kernel:
            runs = self._tenure.runs if self._tenure is not None else 1
            self.keeper.succeeded(Moment(kernel, run.id, runs), run.summary.duration)
        self.keeper.rest()

    def _note_late(self, message: Message) -> None:
        note_late(message, self._late)

    async def rewind(self) -> Rewound:
        """Go back to the checkpoint, when its turn comes: what was run since is undone, as far as
        it is memory. Raises `SessionError` when there is none; the session is as it was then."""
        async with self._queue, self._turn:
            self._refuse_when_closed()
            found = await self.keeper.resume()
            if found is None:
                why = "; ".join(self.no_checkpoint)
                raise SessionError(
                    f"Session {self.name!r} has no checkpoint to go back to: {why}. "
                    "Its variables are as they were."
                )
            kept, kernel = found
            await self._end_kernel()
            self._adopt(kernel, kept.runs)
            self._last_run = kept.run_id
            if self.runs:
                # These were asked for before, perhaps by others, who are to know.
                self._news.add(kept.words, restored_to=kept.run_id)
        self.used = time.monotonic()
        return kept.rewound

    async def split(self) -> Kept:
        """A checkpoint of its state as it is when its turn comes, which is the caller's to close.
        Raises `SessionError`."""
        async with self._queue, self._turn:
            self._refuse_when_closed()
            if self._tenure is not None:
                await self._prepare_kernel(restart=False)
            tenure = self._tenure
            if tenure is None or not tenure.runs:
                raise SessionError(
                    f"Session {self.name!r} has no variables, so there is nothing to branch. "
                    "Run something in it first."
                )
            try:
                return await self.keeper.take_another(
                    Moment(tenure.kernel, self._last_run, tenure.runs)
                )
            except CheckpointError as error:
                why = "; ".join(error.reasons) or "its kernel did not come to it in time"
                raise SessionError(
                    f"Session {self.name!r} cannot be branched now: {why}."
                ) from None

    async def begin_from(self, kept: Kept) -> None:
        """Have the state of a checkpoint, which is its own from now on. For a session that was
        just made. Raises `SessionError`."""
        async with self._turn:
            self.keeper.own(kept)
            if await self._resume() is None:
                why = "; ".join(self.no_checkpoint)
                raise SessionError(f"Session {self.name!r} could not be made: {why}. Try again.")

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise SessionError(f"Session {self.name!r} has just been closed. Run it again.")

    async def restart(self) -> str:
        """End the kernel; the next run starts a fresh one. Ends the run that is under way.

        Returns what atexit handlers printed.
        """
        if not self._closed:
            self._ends = "restarted"
        self._leave_kernel()
        if self._current is not None:
            self._current.stop()
        try:
            async with self._turn:
                lost = self.has_variables
                printed = await self._end_for_good()
                self._news.clear()
                if lost and self.runs:
                    # These were asked for before, perhaps by others, who are to know.
                    self.announce(GONE, lost=True)
        finally:
            if not self._closed:
                self._ends = ""
                if self._tenure is not None:
                    # It was given up before the kernel was.
                    self._tenure.attached.ended = ""
        self.used = time.monotonic()
        return printed

    async def close(self, grace: float | None = None) -> str:
        """End the session for good, its waiting runs unrun. Returns as `restart`.

        `grace`: as in `Run.stop`.
        """
        self._ends = "closed"
        self._leave_kernel()
        for run in self.runs:
            run.stop(grace)
        async with self._turn:
            return await self._end_for_good()

    def _leave_kernel(self) -> None:
        """It is to end: what attached clients run in it, too."""
        if self._tenure is not None:
            self._tenure.attached.end(self._ends or "restarted")

    async def _end_for_good(self) -> str:
        """End the kernel, and the checkpoint that could replace it."""
        printed, _ = await asyncio.gather(self._end_kernel(gracefully=True), self.keeper.drop())
        return printed

    async def _end_kernel(self, gracefully: bool = False) -> str:
        """End the kernel, if there is one; `gracefully`: its atexit handlers run first. Returns
        what they print."""
        if self._tenure is None:
            return ""
        self._leave_kernel()
        tenure, self._tenure = self._tenure, None
        printed = Log(_ASIDE, _ASIDE)
        try:
            await tenure.end(gracefully, lambda message: note_late(message, printed))
        finally:
            await self._visits.ended()
        return printed.text()
