"""A session: a named kernel, its state, and the queue of its runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kernels.archive import Archive
from kernels.errors import SessionError
from kernels.imported import imported_of
from kernels.keeping import Keeper
from kernels.kept import CheckpointFacts, Kept, Origin, Rewound
from kernels.kernel import Kernel
from kernels.news import News, restored
from kernels.recording import Recording
from kernels.result import RunResult, State, Status
from kernels.run import Run
from kernels.steps import Work, steps_of
from kernels.succession import Succession
from kernels.turn import Policy, Turn
from kernels.variables import Variables, variables_of
from kernels.verdict import GONE
from kernels.visits import Enrolment, Visits

if TYPE_CHECKING:
    from kernels.environments.environment import Chosen
    from kernels.kernelspecs import Kernelspec

Value = TypeVar("Value")


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
        #: Where its state is from, if it has not begun with nothing.
        self.origin: Origin | None = None
        #: Where it went back, by the run that was the last to have begun then.
        self.rewinds: dict[str, Rewound] = {}
        self._latest = ""
        self._archive = archive
        #: Monotonic time of the last use, in seconds.
        self.used = self._made = time.monotonic()
        #: Runs that have begun.
        self.count = 0
        #: Runs that wait or run, in order.
        self.runs: list[Run] = []
        self._policy = policy
        self._queue = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._current: Run | None = None
        #: "closed" or "restarted" from the moment that this is asked for; closed is for good.
        self._ends = ""
        self._news = News()
        #: Its checkpoint.
        self.keeper = Keeper(policy.checkpoints, lambda: bool(self.runs))
        self._kernels = Succession(
            name,
            lambda: start_kernel(self.kernelspec),
            Visits(self, archive, policy.grace, enrolment),
            self._news,
            self.keeper,
        )

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
        return self._kernels.has_variables

    @property
    def _closed(self) -> bool:
        return self._ends == "closed"

    @property
    def kernel_lives(self) -> bool:
        """Whether it has a kernel, which can take a run."""
        return self._kernels.lives

    @property
    def _kernel(self) -> Kernel | None:
        return self._kernels.kernel

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
        kernels = self._kernels
        if not (self._ends or run.stopping):
            await kernels.prepare(restart)
            # What is not sent yet can be stopped without a word to the kernel.
            while await kernels.rest(run.stopped):
                if self._ends or run.stopping:
                    break
                await kernels.prepare(restart=False)
        tenure = kernels.tenure
        if self._ends or run.stopping or tenure is None:
            return self._not_run(run)
        self._begin(run)
        late, ends = kernels.take_late(), lambda: self._ends
        turn = Turn(tenure.kernel, run, self._policy, late, ends, kernels.end, tenure.attached)
        try:
            result = await turn.take()
        finally:
            tenure.listen()
        ended = result.state is State.LOST and not self._ends
        if ended:
            await kernels.end()
            if kept := await kernels.resume():
                # What threads of the run that is undone have still printed.
                kernels.take_late()
                result = restored(result, kept.run_id, kept.words)
            elif why := self.keeper.excuse:
                result = replace(result, notes=(*result.notes, why))
        elif result.status is Status.OK:
            kernels.succeeded(tenure.kernel, run.id, result.duration)
        result = self._news.tell(result, run.notes)
        if ended and result.state is State.LOST:
            self.announce("in a fresh kernel")
        return replace(result, late=late.text(), environment=self._told_environment)

    def _begin(self, run: Run) -> None:
        self.count += 1
        self._latest = run.id
        self._kernels.begin(run.id)

    @property
    def _told_environment(self) -> Chosen | None:
        told = self.environment
        return None if told is None or told.is_unsaid else told

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

    def visit(self, run: Run) -> None:
        """An attached client's run has begun."""
        self.keeper.stand_aside(for_others=True)
        # It goes on already: whatever waits comes after it.
        self.runs.insert(0, run)
        self._begin(run)

    def visited(self, run: Run, kernel: Kernel) -> None:
        """It is over."""
        self.runs.remove(run)
        self.used = time.monotonic()
        if run.summary is not None and run.summary.status is Status.OK:
            self._kernels.succeeded(kernel, run.id, run.summary.duration)
        self.keeper.rest()

    async def rewind(self) -> Rewound:
        """Go back to the checkpoint, when its turn comes: what was run since is undone, as far as
        it is memory. Raises `SessionError` when there is none; the session is as it was then."""
        return await self.in_turn(self._rewind)

    async def _rewind(self) -> Rewound:
        kept = await self._kernels.go_back()
        if self.runs:
            # These were asked for before, perhaps by others, who are to know.
            self._news.add(kept.words, restored_to=kept.run_id)
        self.rewinds[self._latest] = kept.rewound
        return kept.rewound

    async def split(self) -> Kept:
        """A checkpoint of its state as it is, which is the caller's to close. To be called in its
        turn. Raises `SessionError`."""
        return await self._kernels.split()

    async def begin_from(self, kept: Kept) -> None:
        """Have the state of a checkpoint, which is its own from now on. For a session that was
        just made. Raises `SessionError`."""
        async with self._turn:
            await self._kernels.begin_from(kept)

    async def in_turn(self, step: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """What `step` returns, which is called when its turn comes: as that of a run does, after
        what attached clients run. Who waits for it may give up before that; once begun, it goes on
        to its end. Raises `SessionError` when the session ends before."""
        async with self._queue, self._turn:
            # What attached clients run ends, when the session does.
            await self._kernels.rest(asyncio.Event())
            if self._closed:
                raise SessionError(f"Session {self.name!r} has just been closed.")
            doing = asyncio.create_task(step())
            try:
                return await asyncio.shield(doing)
            finally:
                while not doing.done():
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait({doing})
                self.used = time.monotonic()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise SessionError(f"Session {self.name!r} has just been closed. Run it again.")

    async def restart(self) -> str:
        """End the kernel; the next run starts a fresh one. Ends the run that is under way.

        Returns what atexit handlers printed.
        """
        if not self._closed:
            self._ends = "restarted"
        self._kernels.leave(self._ends)
        if self._current is not None:
            self._current.stop()
        try:
            async with self._turn:
                lost = self.has_variables
                printed = await self._kernels.end_for_good()
                self._news.clear()
                if lost and self.runs:
                    # These were asked for before, perhaps by others, who are to know.
                    self.announce(GONE, lost=True)
        finally:
            if not self._closed:
                self._ends = ""
                # It may have been given up before the kernel was.
                self._kernels.leave("")
        self.used = time.monotonic()
        return printed

    async def close(self, grace: float | None = None) -> str:
        """End the session for good, its waiting runs unrun. Returns as `restart`.

        `grace`: as in `Run.stop`.
        """
        self._ends = "closed"
        self._kernels.leave(self._ends)
        for run in self.runs:
            run.stop(grace)
        async with self._turn:
            return await self._kernels.end_for_good()
