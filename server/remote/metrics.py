"""What is counted, in Prometheus' format. Only the HTTP server imports this.

No label has a caller's name, a file's, or any other text that callers choose.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import InputRequiredToolResult, ToolResult
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from kernels.memory import of_families, own
from kernels.registry import Registry
from kernels.result import State, Status
from kernels.session import SessionState
from server.remote.refusals import REASONS

if TYPE_CHECKING:
    from kernels.run import Run
    from kernels.steps import Work
    from kernels.watch import Kind

CONTENT_TYPE = CONTENT_TYPE_LATEST
# They would double the figures, and say no more than when the server was started.
disable_created_metrics()  # type: ignore[no-untyped-call]
#: Seconds of a run: from a round trip to what RMI_MAX_TIMEOUT is at first.
_RUN = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
_START = (0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)
_ROLLED_BACK = (State.RESTORED, State.LOST)
_REASONS = tuple(dict.fromkeys(REASONS.values()))


class Metrics(Middleware):
    """Counts. It is told of runs as a `Watcher` of the registry, and of calls as a middleware."""

    def __init__(self) -> None:
        self._all = every = CollectorRegistry()
        self._watched: Registry | None = None
        #: The names that tools have; what callers call besides is one.
        self._tools: frozenset[str] | None = None
        self._runs = Counter("rmi_runs", "Runs that are over.", ["status"], registry=every)
        self._durations = Histogram(
            "rmi_run_duration_seconds",
            "What runs took, without their wait for a turn.",
            buckets=_RUN,
            registry=every,
        )
        self._output = Counter(
            "rmi_output_bytes", "Text that programs have written, as UTF-8.", registry=every
        )
        self._starts = Counter(
            "rmi_kernel_starts", "Fresh kernels that sessions have got.", ["kind"], registry=every
        )
        self._start_seconds = Histogram(
            "rmi_kernel_start_seconds",
            "What sessions waited for a kernel.",
            ["kind"],
            buckets=_START,
            registry=every,
        )
        self._calls = Counter("rmi_calls", "Tool calls.", ["tool", "outcome"], registry=every)
        self._refused = Counter(
            "rmi_refused", "Requests that were not let in.", ["reason"], registry=every
        )
        self._kernels = Gauge("rmi_kernels", "Kernels that live.", registry=every)
        self._memory = Gauge(
            "rmi_kernel_memory_bytes",
            "Resident memory of all kernels and what they have started.",
            registry=every,
        )
        self._own_memory = Gauge(
            "rmi_server_memory_bytes", "Resident memory of the server's process.", registry=every
        )
        self._checkpoints = Gauge("rmi_checkpoints", "Checkpoints of sessions.", registry=every)
        self._checkpoint_memory = Gauge(
            "rmi_checkpoint_memory_bytes",
            "Memory that checkpoints have for themselves, which is free when they are given up.",
            registry=every,
        )
        self._rollbacks = Counter(
            "rmi_rollbacks",
            "Runs that told that the session's variables are as after an earlier run, or gone.",
            ["outcome"],
            registry=every,
        )
        self._waiting = Gauge("rmi_runs_waiting", "Runs that wait for their turn.", registry=every)
        self._running = Gauge("rmi_runs_running", "Runs that have begun.", registry=every)
        self._sessions = Gauge("rmi_sessions", "Sessions.", ["state"], registry=every)
        # So that they are there, as 0, before the first of them.
        for status in Status:
            if status is not Status.RUNNING:
                self._runs.labels(str(status))
        for kind in ("ready", "cold", "kernelspec"):
            self._starts.labels(kind)
        for state in _ROLLED_BACK:
            self._rollbacks.labels(str(state))
        for reason in _REASONS:
            self._refused.labels(reason)

    def watch(self, registry: Registry) -> None:
        """Have the sessions and kernels of `registry` counted, too."""
        self._watched = registry

    async def text(self) -> bytes:
        """All of it, as it is now."""
        pids: list[int | None] = []
        if self._watched is not None:
            sessions = self._watched.everyones()
            pids = self._watched.pids()
            states = Tally(session.state for session in sessions)
            for state in SessionState:
                if state is not SessionState.CLOSED:
                    self._sessions.labels(str(state)).set(states[state])
            runs = [run for session in sessions for run in session.runs]
            begun = sum(run.began is not None for run in runs)
            self._running.set(begun)
            self._waiting.set(len(runs) - begun)
            self._kernels.set(len(pids))
            keepers = [each.keeper for each in sessions if each.checkpoint is not None]
            await asyncio.gather(*(keeper.measure() for keeper in keepers))
            self._checkpoints.set(len(keepers))
            self._checkpoint_memory.set(sum(keeper.cost for keeper in keepers))
        memory, mine = await asyncio.to_thread(_measured, pids)
        self._memory.set(memory)
        self._own_memory.set(mine)
        return generate_latest(self._all)

    def refused(self, reason: str) -> None:
        """Count a request that was not let in: see `refusals.REASONS`."""
        self._refused.labels(reason if reason in _REASONS else "other").inc()

    # -- runs

    def run_queued(self, owner: str, run: Run, work: Work) -> None:
        """Nothing is to be counted: those that wait are, when it is asked."""

    def run_ended(self, owner: str, run: Run) -> None:
        """Count it, and what it wrote."""
        self._runs.labels(str(run.status)).inc()
        if run.began is not None and run.summary is not None:
            self._durations.observe(run.summary.duration)
        if run.summary is not None and run.summary.state in _ROLLED_BACK:
            self._rollbacks.labels(str(run.summary.state)).inc()
        self._output.inc(run.recording.size)

    def kernel_started(self, kind: Kind, seconds: float) -> None:
        """Count it."""
        self._starts.labels(kind).inc()
        self._start_seconds.labels(kind).observe(seconds)

    # -- calls

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        """Count a client's call by what came of it."""
        fastmcp = context.fastmcp_context
        if fastmcp is None or fastmcp.request_context is None:
            # The server warms itself up.
            return await call_next(context)
        if self._tools is None:
            tools = await fastmcp.fastmcp.list_tools(run_middleware=False)
            self._tools = frozenset(tool.name for tool in tools)
        name = context.message.name
        tool = name if name in self._tools else "other"
        outcome = "error"
        try:
            result = await call_next(context)
            outcome = _outcome(result)
            return result
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._calls.labels(tool, outcome).inc()


def _outcome(result: Any) -> str:
    if isinstance(result, InputRequiredToolResult):
        return "asks"
    if isinstance(result, ToolResult):
        return "error" if result.is_error else "ok"
    return "task"


def _measured(pids: Iterable[int | None]) -> tuple[int, int]:
    """Bytes of memory of the kernels, and of this process."""
    return sum(of_families(pids).values()), own()
