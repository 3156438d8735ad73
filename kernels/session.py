"""A session: a named kernel, its state, and the queue of its runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from kernels.archive import Archive
from kernels.attached import Attached, how_it_ended, note_session
from kernels.errors import SessionError
from kernels.execution import note_late, tells_death
from kernels.imported import imported_of
from kernels.kernel import Kernel, Message
from kernels.recording import Recording
from kernels.result import RunResult, State, Status
from kernels.run import Run
from kernels.steps import Work, steps_of
from kernels.textlog import Log
from kernels.turn import Policy, Turn
from kernels.variables import Variables, variables_of
from kernels.verdict import KEPT
from kernels.visits import Enrolment, Visits

if TYPE_CHECKING:
    from kernels.environments.environment import Chosen
    from kernels.kernelspecs import Kernelspec

#: Seconds that a kernel has to run its atexit handlers.
_EXIT_GRACE = 1.0
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
        self._kernel: Kernel | None = None
        #: The other clients of that kernel.
        self._attached: Attached | None = None
        self._died = False
        self._runs_in_kernel = 0
        self._late = Log(_ASIDE, _ASIDE)
        #: What the next result has to say about the session, and whether variables went with it.
        self._news: list[str] = []
        self._lost = False
        self._visits = Visits(self, archive, policy.grace, enrolment)

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
        return self._runs_in_kernel > 0

    @property
    def _closed(self) -> bool:
        return self._ends == "closed"

    @property
    def kernel_lives(self) -> bool:
        """Whether it has a kernel, which can take a run."""
        kernel = self._kernel
        return kernel is not None and not kernel.exited.is_set() and not self._died

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
        self._news.append(news)
        self._lost = self._lost or lost

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
        if self._closed:
            raise SessionError(f"Session {self.name!r} has just been closed. Run it again.")
        recording = Recording(self._archive.open(self, self.owner))
        run = Run(run_id, self, steps_of(work), timeout, recording, notes)
        run.steps.queued(run_id)
        self.runs.append(run)
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

    async def _run(self, run: Run, restart: bool) -> RunResult:
        if not (self._ends or run.stopping):
            await self._prepare_kernel(restart)
            while self._attached is not None and self._attached.busy and self.kernel_lives:
                # What is not sent yet can be stopped without a word to the kernel.
                await self._attached.rest(run.stopped)
                if self._ends or run.stopping:
                    break
                await self._prepare_kernel(restart=False)
        kernel = self._kernel
        if self._ends or run.stopping or kernel is None:
            return self._not_run(run)
        self.count += 1
        self._runs_in_kernel += 1
        late, self._late = self._late, Log(_ASIDE, _ASIDE)
        ends = lambda: self._ends  # noqa: E731
        turn = Turn(kernel, run, self._policy, late, ends, self._end_kernel, self._attached)
        try:
            result = await turn.take()
        finally:
            kernel.on_message = self._between_runs
        notes = dict.fromkeys((*self._news, *run.notes, *result.notes))
        lost_now = result.state is State.LOST
        lost = self._lost or lost_now
        if lost:
            # This run's are kept perhaps, but not those of the runs before it.
            notes.pop(KEPT, None)
        self._news, self._lost = [], False
        if lost_now and not self._ends:
            await self._end_kernel()
            self.announce("in a fresh kernel")
        state = State.LOST if lost else State.KEPT
        return replace(
            result,
            state=state,
            notes=tuple(notes),
            late=late.text(),
            environment=self._told_environment,
        )

    @property
    def _told_environment(self) -> Chosen | None:
        told = self.environment
        return None if told is None or told.is_unsaid else told

    async def _prepare_kernel(self, restart: bool) -> None:
        """Have a kernel that lives, a fresh one if `restart`."""
        if self._kernel is not None and (restart or not self.kernel_lives):
            if self.has_variables:
                since = "" if restart else how_it_ended(self._kernel, self._attached)
                self.announce(f"{since}session restarted: its variables are gone", lost=True)
            await self._end_kernel(gracefully=True)
        if self._kernel is None:
            kernel = self._kernel = await self._start_kernel(self.kernelspec)
            self._attached = self._visits.of(kernel)
            kernel.on_message = self._between_runs
            note_session(kernel.connection_file, self.name, self.owner)

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

    def note_visit(self) -> None:
        """An attached client's run has begun: the kernel has variables of it."""
        self.count += 1
        self._runs_in_kernel += 1

    def _between_runs(self, message: Message) -> None:
        if tells_death(message):
            self._died = True
        self._note_late(message, self._late)

    def _note_late(self, message: Message, late: Log) -> None:
        if self._attached is None or not self._attached.take(message):
            note_late(message, late)

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
                printed = await self._end_kernel(gracefully=True)
                self._news, self._lost = [], False
                if lost and self.runs:
                    # These were asked for before, perhaps by others, who are to know.
                    self.announce("session restarted: its variables are gone", lost=True)
        finally:
            if not self._closed:
                self._ends = ""
                if self._attached is not None:
                    # It was given up before the kernel was.
                    self._attached.ended = ""
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
            return await self._end_kernel(gracefully=True)

    def _leave_kernel(self) -> None:
        """It is to end: what attached clients run in it, too."""
        if self._attached is not None:
            self._attached.end(self._ends or "restarted")

    async def _end_kernel(self, gracefully: bool = False) -> str:
        """End the kernel, if there is one; `gracefully`: its atexit handlers run first."""
        lives = self.kernel_lives
        kernel, self._kernel = self._kernel, None
        self._runs_in_kernel, self._died = 0, False
        if kernel is None:
            return ""
        self._leave_kernel()
        printed = Log(_ASIDE, _ASIDE)
        try:
            if gracefully and kernel.scripted and lives:
                kernel.on_message = lambda message: self._note_late(message, printed)
                content = {"code": "", "silent": True, "store_history": False}
                kernel.send("shell", "execute_request", content, {"rmi": {"mode": "exit"}})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_EXIT_GRACE):
                        await kernel.exited.wait()
        finally:
            await asyncio.shield(kernel.close())
            await self._visits.ended()
        return printed.text()
