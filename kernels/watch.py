"""Onlookers: who is told of every run and every start of a kernel, and has no part in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from kernels.run import Run
    from kernels.steps import Work

#: Prepared beforehand; started when it was needed; started for a kernelspec.
Kind = Literal["ready", "cold", "kernelspec"]


class Watcher(Protocol):
    """Looks on. Its methods are called in the event loop; they must neither block nor raise."""

    def run_queued(self, owner: str, run: Run, work: Work) -> None:
        """The run waits for its turn, which may come at once; `work` is what was asked for.

        Called in the context of whoever asks for the run.
        """

    def run_ended(self, owner: str, run: Run) -> None:
        """The run is over, however it ended; told once for each, before those who wait for it go
        on.

        `run.status` and `run.summary` say what became of it. There is no summary when its kernel
        could not start, or the server's end overtook it.
        """

    def kernel_started(self, kind: Kind, seconds: float) -> None:
        """A session has got a kernel, for which it waited so long. Starts that fail are not
        told: the run ends without a summary."""
