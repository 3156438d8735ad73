"""When a checkpoint of a session is worth what it costs. Pure: the session asks, and acts.

What it saves is the time to come to the same state again, if the next run fails; what it costs is
time in which the kernel stands still, and the memory that the kernel changes while it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: Seconds that taking one costs, before it has been measured in the session: the fork takes 3 to
#: 14 ms up to 500 MB of state.
_FIRST_COST = 0.01
#: Of the time that has been computed since the last one, this part at most goes into the next.
_SHARE = 0.05
#: Bytes of state, and runs, for which the next is worth it however little time they have taken:
#: what a checkpoint of nothing takes itself (6 to 8 MB); and whoever has written the runs would
#: have to send them again. Measured with runs of 6 ms, 8 ms apart, and no wait for quiet: they take
#: 2.7 times as long with one after each run, 1.4 times after three.
_GROWTH, _RUNS = 8_000_000, 3
#: After so many refusals in a row it is tried as many times less often, up to the last of these.
_PATIENCE, _LONGEST = 3, 16
#: Seconds without a run after which one is taken that is due for no more than runs and growth: it
#: takes 18 ms, within which the next run comes if a program sends one after another; a model takes
#: longer. Measured with the same runs: 8 ms apart they take 1.7 times as long as without
#: checkpoints if it waits for 5 ms; 30 ms apart 1.06 times with 5 ms and 1.5 times with 20 ms; with
#: 100 ms, as long as without in both.
_QUIET = 0.1
#: A checkpoint that has this part of the memory that is left is given up.
_PART_OF_MEMORY = 0.25


@dataclass(frozen=True)
class Worth:
    """What has happened in a session since its last checkpoint, or since it began.

    `seconds`: of successful runs. `growth`: bytes. `cost`: seconds in which the kernel stood still
    for the last one. `refusals`: in a row, and `runs_since_refusal`.
    """

    seconds: float = 0.0
    growth: int = 0
    runs: int = 0
    cost: float = _FIRST_COST
    refusals: int = 0
    runs_since_refusal: int = 0

    def after_run(self, seconds: float, growth: int) -> Worth:
        """A run has succeeded, and the kernel's memory has grown by so many bytes."""
        return replace(
            self,
            seconds=self.seconds + seconds,
            growth=self.growth + max(growth, 0),
            runs=self.runs + 1,
            runs_since_refusal=self.runs_since_refusal + 1,
        )

    def after_checkpoint(self, cost: float, of: Worth | None = None) -> Worth:
        """One was taken. `of`: what had happened when it was asked for, if not all of this."""
        since = of or self
        return Worth(
            seconds=self.seconds - since.seconds,
            growth=self.growth - since.growth,
            runs=self.runs - since.runs,
            cost=cost,
        )

    def after_refusal(self) -> Worth:
        """There could be none; the reason will often be there after the next run, too."""
        return replace(self, refusals=self.refusals + 1, runs_since_refusal=0)

    @property
    def is_due(self) -> bool:
        """Whether one is worth it, as soon as nothing runs."""
        enough = self._is_earned or self.growth >= _GROWTH or self.runs >= _RUNS
        return self.runs > 0 and enough and self.runs_since_refusal >= self._pause

    @property
    def quiet(self) -> float:
        """Seconds without a run after which one that is due is taken."""
        return 0.0 if self._is_earned else _QUIET

    @property
    def _is_earned(self) -> bool:
        """Whether its cost is little to what has been computed."""
        return self.seconds * _SHARE >= self.cost

    @property
    def _pause(self) -> int:
        """Runs to let go by."""
        if not self.refusals:
            return 0
        return int(min(2 ** (self.refusals // _PATIENCE), _LONGEST))


def is_too_dear(private: int, left: int) -> bool:
    """Whether a checkpoint is to be given up that has so much memory for itself, when so much is
    left to all."""
    return private > _PART_OF_MEMORY * (left + private)
