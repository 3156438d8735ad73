"""How much there may be of sessions and runs, for all and for each owner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kernels.errors import TooManyRuns, TooManySessions
from kernels.turn import Policy

if TYPE_CHECKING:
    from kernels.session import Session

#: Idle sessions that a refusal names.
_NAMED = 8


@dataclass(frozen=True)
class Limits:
    """Sessions at once, seconds after which an unused one ends, and how runs are ended.

    `owner_sessions` and `owner_runs` (those that wait included) are what one owner may have; they
    do not hold for "", which stands for everybody. `pool`: kernels of each kind that stand ready
    for sessions to come, beside those.
    """

    sessions: int = 16
    idle_timeout: float = 3600.0
    policy: Policy = field(default_factory=Policy)
    owner_sessions: int | None = None
    owner_runs: int | None = None
    pool: int = 1

    def check_session(self, owner: str, total: int, own: Sequence[Session]) -> None:
        """Whether `owner`, whose sessions are `own`, may have one more; `total`: those of all.
        Raises `TooManySessions`."""
        most = self.owner_sessions
        if owner and most is not None and len(own) >= most:
            raise TooManySessions(
                f"You have {len(own)} sessions already, the most that RMI_TOKEN_SESSIONS allows. "
                f"{_advice(own)}"
            )
        if total >= self.sessions:
            raise TooManySessions(
                f"There are {total} sessions already, the most that RMI_MAX_SESSIONS allows. "
                f"{_advice(own)}"
            )

    def check_run(self, owner: str, own: Sequence[Session]) -> None:
        """Whether `owner` may have one more run. Raises `TooManyRuns`."""
        runs = sum(len(session.runs) for session in own)
        if owner and self.owner_runs is not None and runs >= self.owner_runs:
            raise TooManyRuns(
                f"{runs} of your runs wait or run already, the most that RMI_TOKEN_RUNS allows. "
                "Wait for one to end, or stop one with stop_run."
            )


def _advice(own: Sequence[Session]) -> str:
    idle = [
        f"{session.name} (idle {session.idle_seconds:.0f} s)"
        for session in sorted(own, key=lambda session: -session.idle_seconds)
        if not session.runs
    ]
    return f"Close one first: {', '.join(idle[:_NAMED])}." if idle else "Wait for one to end."
