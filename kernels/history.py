"""Every run that is remembered, with its owner."""

from __future__ import annotations

from collections import Counter

from kernels.errors import RunNotFound
from kernels.run import Run

#: Runs remembered, those that wait or run included.
_RUNS = 2000


class History:
    """Runs in the order in which they were asked for. The oldest are forgotten, of the owner who
    has most."""

    def __init__(self) -> None:
        self._runs: dict[str, tuple[str, Run]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, owner: str, run: Run) -> None:
        """Remember it; older ones may be forgotten for it, with their output."""
        self._runs[run.id] = owner, run
        self._counts[owner] += 1
        while len(self._runs) > _RUNS:
            ((most, _),) = self._counts.most_common(1)
            old = next((run for run in self.of(most) if run.done.done()), None)
            if old is None:
                return
            del self._runs[old.id]
            self._counts[most] -= 1
            old.recording.drop()

    def find(self, owner: str, run_id: str) -> Run:
        """The run of that id, ended or not. Raises `RunNotFound`."""
        whose, run = self._runs.get(run_id, (None, None))
        if run is None or whose != owner:
            raise RunNotFound(
                f"There is no run {run_id[:40]!r}, or it is no longer remembered. The last line "
                "of a result names its run."
            )
        return run

    def of(self, owner: str) -> list[Run]:
        """All of the owner's, oldest first."""
        return [run for who, run in self._runs.values() if who == owner]

    def all(self) -> list[Run]:
        """Everyone's, oldest first."""
        return [run for _, run in self._runs.values()]
