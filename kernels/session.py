"""A session: a named kernel, its state, and the queue of its runs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kernels.errors import SessionError
from kernels.execution import Ending, Execution, Request
from kernels.kernel import Exit, Kernel, Message
from kernels.outputs import Text
from kernels.result import RunResult, State, Status, crash_trace, explain_exit
from kernels.textlog import Log

#: Seconds that a kernel has to run its atexit handlers.
_EXIT_GRACE = 1.0


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


@dataclass(frozen=True)
class Policy:
    """How runs that do not end are treated: seconds between interrupt and kill, and whether a
    kernel that obeyed the interrupt after a timeout keeps its state."""

    grace: float = 2.0
    keep_after_timeout: bool = False


class Run:
    """A run of a session, from the moment it is asked for. Owned by its session."""

    def __init__(self, run_id: str, session: Session, request: Request, timeout: float) -> None:
        self.id = run_id
        self.session = session
        self.request = request
        self.timeout = timeout
        self.execution: Execution | None = None
        self.done: asyncio.Task[RunResult]
        self.stopping = False

    def stop(self, grace: float | None = None) -> None:
        """Ask for its end, running or still waiting. Its result tells what came of it.

        `grace`: seconds between interrupt and kill, where not the policy's.
        """
        self.stopping = True
        if self.execution is not None:
            self.execution.stop(grace)

    async def result(self) -> RunResult:
        """Its result when it is over. Cancelling the waiter does not touch the run."""
        return await asyncio.shield(self.done)

    @property
    def characters(self) -> int:
        """Characters of text written so far."""
        return self.execution.collector.characters if self.execution else 0

    def last_line(self) -> str:
        """The last line of its output so far, for progress."""
        return self.execution.collector.last_line() if self.execution else ""


class Session:
    """One kernel at a time and what was run in it. Made and ended by the `Registry`.

    Every step of its life (run, restart, close) holds `_turn`, so that they never overlap; runs
    get it in the order in which they came.
    """

    def __init__(
        self, name: str, start_kernel: Callable[[], Awaitable[Kernel]], policy: Policy
    ) -> None:
        self.name = name
        #: Monotonic time of the last use, in seconds.
        self.used = self._made = time.monotonic()
        #: Runs that have begun.
        self.count = 0
        #: Runs that wait or run, in order.
        self.runs: list[Run] = []
        self._start_kernel = start_kernel
        self._policy = policy
        self._turn = asyncio.Lock()
        self._closed = False
        self._kernel: Kernel | None = None
        self._runs_in_kernel = 0
        self._late = Log(2000, 2000)
        #: What the next run has to say about the session.
        self._news: list[str] = []

    @property
    def state(self) -> SessionState:
        """What it is doing now."""
        if self._closed:
            return SessionState.CLOSED
        if self.runs:
            return SessionState.BUSY
        alive = self._kernel is not None and not self._kernel.exited.is_set()
        return SessionState.IDLE if alive else SessionState.COLD

    @property
    def pid(self) -> int | None:
        """The process of its kernel, if there is one here."""
        return self._kernel.pid if self._kernel is not None else None

    @property
    def idle_seconds(self) -> float:
        """Seconds since it was last used; 0 while a run is under way."""
        return 0.0 if self.runs else time.monotonic() - self.used

    @property
    def age(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._made

    def announce(self, news: str) -> None:
        """Have the next result say `news`."""
        self._news.append(news)

    def submit(self, run_id: str, request: Request, timeout: float, restart: bool = False) -> Run:
        """Queue a run, at most `timeout` seconds long once it has begun.

        The run goes on when its caller goes away; `Run.stop` ends it. `restart`: in a fresh
        kernel. Raises `SessionError` when the session has been closed.
        """
        if self._closed:
            raise SessionError(f"Session {self.name!r} has just been closed. Run it again.")
        run = Run(run_id, self, request, timeout)
        self.runs.append(run)
        run.done = asyncio.create_task(self._take_turn(run, restart), name=f"run {run_id}")
        return run

    async def _take_turn(self, run: Run, restart: bool) -> RunResult:
        try:
            async with self._turn:
                return await self._run(run, restart)
        finally:
            self.runs.remove(run)
            self.used = time.monotonic()

    async def _run(self, run: Run, restart: bool) -> RunResult:
        if self._closed or run.stopping:
            why = "the session was closed" if self._closed else "stopped before it began"
            return RunResult(
                run.id, self.name, Status.INTERRUPTED, (), None, 0.0, explanation=f"Not run: {why}."
            )
        state = State.KEPT
        if restart and self._kernel is not None:
            if self._runs_in_kernel:
                self.announce("session restarted: its variables are gone")
                state = State.LOST
            await self._end_kernel(gracefully=True)
        elif self._kernel is not None and self._kernel.exited.is_set():
            why = explain_exit(self._kernel.exit or Exit())
            if self._runs_in_kernel:
                self.announce(f"since the last run: {why} The session's variables were gone")
                state = State.LOST
            await self._end_kernel()
        if self._kernel is None:
            self._kernel = await self._start_kernel()
        self.count += 1
        self._runs_in_kernel += 1
        begun = time.monotonic()
        late, self._late = self._late, Log(2000, 2000)
        kernel = self._kernel
        execution = run.execution = Execution(kernel, run.request, late)
        if run.stopping:
            execution.stop()
        try:
            ending = await execution.follow(run.timeout, self._policy.grace)
            exit = kernel.exit or Exit()
            if not execution.obeyed:
                # What it had printed and not sent comes with its end.
                await self._end_kernel()
        finally:
            kernel.on_message = self._between_runs
        duration = time.monotonic() - begun
        news, self._news = self._news, []
        facts = _Facts(run, execution, duration, state, news, exit)
        result = facts.result(ending, self._policy)
        if result.state is State.LOST and (ending is not Ending.DONE):
            await self._end_kernel()
            self.announce("in a fresh kernel")
        return result

    def _between_runs(self, message: Message) -> None:
        if message.type == "stream":
            self._late.write("stdout", str(message.content.get("text", "")))

    async def restart(self) -> str:
        """End the kernel; the next run starts a fresh one. Ends the run that is under way.

        Returns what atexit handlers printed.
        """
        self._stop_current()
        async with self._turn:
            self._news.clear()
            printed = await self._end_kernel(gracefully=True)
            self.used = time.monotonic()
            return printed

    async def close(self, grace: float | None = None) -> str:
        """End the session for good, its waiting runs unrun. Returns as `restart`.

        `grace`: as in `Run.stop`.
        """
        self._closed = True
        self._stop_current(grace)
        async with self._turn:
            return await self._end_kernel(gracefully=True)

    def _stop_current(self, grace: float | None = None) -> None:
        for run in self.runs:
            if run.execution is not None or self._closed:
                run.stop(grace)

    async def _end_kernel(self, gracefully: bool = False) -> str:
        """End the kernel, if there is one; `gracefully`: its atexit handlers run first."""
        kernel, self._kernel = self._kernel, None
        self._runs_in_kernel = 0
        if kernel is None:
            return ""
        printed = Log(2000, 2000)
        try:
            if gracefully and kernel.scripted and not kernel.exited.is_set():
                kernel.on_message = lambda m: (
                    printed.write("stdout", str(m.content.get("text", "")))
                    if m.type == "stream"
                    else None
                )
                content = {"code": "", "silent": True, "store_history": False}
                kernel.send("shell", "execute_request", content, {"rmi": {"mode": "exit"}})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_EXIT_GRACE):
                        await kernel.exited.wait()
        finally:
            await asyncio.shield(kernel.close())
        return "".join(o.text for o in printed.finished(()) if isinstance(o, Text))


@dataclass(frozen=True)
class _Facts:
    """All that decides what the result of a run says. Pure."""

    run: Run
    execution: Execution
    duration: float
    state: State
    news: list[str]
    exit: Exit

    def result(self, ending: Ending, policy: Policy) -> RunResult:
        """The result."""
        status, state, exit_code, explanation = Status.OK, self.state, None, ""
        notes = list(self.news)
        reply = self.execution.collector.reply or {}
        outcome = reply.get("rmi") or _outcome_of(reply)
        if ending is Ending.DONE:
            exit_code = outcome["exit_code"]
            status = Status.OK if exit_code == 0 else Status.ERROR
        elif ending is Ending.DIED:
            status, state, exit_code = Status.DIED, State.LOST, self.exit.code
            explanation = "\n".join(filter(None, [explain_exit(self.exit), self._trace()]))
        else:
            stopped = ending is Ending.STOPPED
            status = Status.INTERRUPTED if stopped else Status.TIMEOUT
            kept = self.execution.obeyed and (stopped or policy.keep_after_timeout)
            if stopped and self.execution.obeyed:
                exit_code = outcome["exit_code"]
            if not kept:
                state = State.LOST
            if not self.execution.obeyed:
                explanation = "\n".join(
                    filter(None, ["It did not obey the interrupt.", self._trace()])
                )
            if not stopped:
                notes.insert(0, f"timed out after {self.run.timeout:g} s")
            else:
                notes.insert(0, "stopped")
            if kept:
                notes.append("the session's variables are kept")
        if state is State.LOST and ending is not Ending.DONE:
            notes.append("session restarted: its variables are gone")
        late = "".join(o.text for o in self.execution.late.finished(()) if isinstance(o, Text))
        return RunResult(
            run_id=self.run.id,
            session=self.run.session.name,
            status=status,
            outputs=self.execution.collector.outputs(),
            exit_code=exit_code,
            duration=self.duration,
            state=state,
            signal=self.exit.signal if ending is Ending.DIED else None,
            error=outcome.get("error"),
            execution_count=self.execution.collector.execution_count,
            notes=tuple(notes),
            explanation=explanation,
            late=late,
        )

    def _trace(self) -> str:
        return crash_trace(self.execution.stack or self.exit.trace)


def _outcome_of(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """The outcome as an ordinary kernel's reply tells it."""
    if reply.get("status") == "ok":
        return {"exit_code": 0}
    error = {"name": reply.get("ename"), "value": reply.get("evalue"), "line": None, "file": None}
    return {"exit_code": 1, "error": error if reply else None}
