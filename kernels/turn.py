"""A run's turn: its executions one after another on one kernel, each to its end."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from kernels.attached import Attached
from kernels.collector import KEPT
from kernels.execution import Execution
from kernels.kernel import Kernel
from kernels.result import RunResult, State, Status
from kernels.run import Run
from kernels.steps import Once
from kernels.textlog import Log
from kernels.verdict import End, judge, outcome_of

#: As `collector.KEPT`, where a run has several executions.
_KEPT_OF_MANY = 5_000
#: After these there is no kernel, or no wish, to go on with.
_LAST = (Status.TIMEOUT, Status.INTERRUPTED, Status.DIED)


@dataclass(frozen=True)
class Policy:
    """How runs that do not end are treated: seconds between interrupt and kill, whether a kernel
    that obeyed the interrupt after a timeout keeps its state, the most seconds that a run may
    take with all its executions and the answers to its questions, and whether checkpoints are
    kept, from which a session goes on whose kernel has ended."""

    grace: float = 2.0
    keep_after_timeout: bool = False
    longest: float = 3600.0
    checkpoints: bool = True


class Turn:
    """Carries out `run` on `kernel`.

    `late`: takes the text of earlier runs' threads. `ends`: says "closed" or "restarted" when the
    session is to end meanwhile. `end_kernel`: ends a kernel that does not obey. `others`: the
    kernel's other clients.
    """

    def __init__(
        self,
        kernel: Kernel,
        run: Run,
        policy: Policy,
        late: Log,
        ends: Callable[[], str],
        end_kernel: Callable[[], Awaitable[object]],
        others: Attached | None = None,
    ) -> None:
        self._kernel, self._run, self._policy, self._late = kernel, run, policy, late
        self._ends, self._end_kernel, self._others = ends, end_kernel, others

    async def take(self) -> RunResult:
        """The run's result. Its state is that of this run alone."""
        run, steps = self._run, self._run.steps
        begun = time.monotonic()
        result = RunResult(run.id, run.session.name, Status.OK, exit_code=0)
        while (request := steps.next(run.recording)) is not None:
            kept = KEPT if isinstance(steps, Once) else _KEPT_OF_MANY
            execution = Execution(
                self._kernel,
                request,
                self._late,
                run.recording,
                steps.receive,
                kept,
                self._others,
            )
            steps.began(execution.collector.request, partial(self._kernel.send, "shell"))
            run.begin(execution)
            since = time.monotonic()
            left = max(0.1, max(run.timeout, self._policy.longest) - (since - begun))
            result = await self._follow(execution, min(run.timeout, left), left)
            run.executed()
            duration = time.monotonic() - since - execution.delayed
            result = steps.ended(replace(result, duration=duration))
            if result.status in _LAST or result.state is State.LOST:
                break
        return await steps.close(replace(result, duration=run.seconds))

    async def _follow(self, execution: Execution, timeout: float, longest: float) -> RunResult:
        policy, kernel = self._policy, self._kernel
        ending = await execution.follow(timeout, policy.grace, longest)
        exit = kernel.exit
        if not execution.obeyed:
            # What it had printed and not sent comes with its end.
            await self._end_kernel()
        collector = execution.collector
        outcome = outcome_of(collector.reply, collector.error)
        end = End(ending, execution.obeyed, outcome, exit, execution.stack, self._ends())
        verdict = judge(end, timeout, policy.keep_after_timeout)
        return RunResult(
            run_id=self._run.id,
            session=self._run.session.name,
            status=verdict.status,
            exit_code=verdict.exit_code,
            state=State.LOST if verdict.lost else State.KEPT,
            signal=exit.signal if exit is not None else None,
            error=outcome.get("error"),
            execution_count=collector.execution_count,
            notes=verdict.notes,
            explanation=verdict.explanation,
        )
