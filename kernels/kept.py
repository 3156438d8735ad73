"""A checkpoint that a session has, and what there is to be told of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from kernels import memory
from kernels.kernel import Checkpoint, Kernel

#: Seconds in which a kernel that executes nothing comes to it, at most.
_PATIENCE = 10.0


@dataclass(frozen=True)
class CheckpointFacts:
    """The checkpoint of a session. `run_id`: the run after which it was taken, whose state it is;
    `age_s`: seconds since then. `warnings`: what that state depends on and a checkpoint does not
    bring back, each in a few words. `pid`: its process."""

    run_id: str
    age_s: float
    warnings: tuple[str, ...] = ()
    pid: int | None = None

    def private_memory(self) -> int:
        """Bytes that it costs. Takes milliseconds for each gigabyte: call it in a thread."""
        return memory.private(self.pid)


@dataclass(frozen=True)
class Origin:
    """Where the state of a branch is from: the session of this name, after the run of this id."""

    session: str
    run_id: str


@dataclass(frozen=True)
class Rewound:
    """A session has gone back to its checkpoint. `run_id`, `age_s` and `warnings`: as in
    `CheckpointFacts`; `words`: the same, for users."""

    run_id: str
    age_s: float
    warnings: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class Moment:
    """A kernel after a run: `runs` are those of which it has variables, that of `run_id` last."""

    kernel: Kernel
    run_id: str
    runs: int


@dataclass(frozen=True)
class Kept:
    """A checkpoint, and what it is of (see `Moment`). `since`: monotonic time in seconds."""

    checkpoint: Checkpoint
    run_id: str
    runs: int
    since: float

    @property
    def words(self) -> str:
        """What a result says when a session goes on from it."""
        words = (
            f"variables are back to what they were after run {self.run_id}; "
            "files, databases and the network are not undone"
        )
        warnings = ", ".join(self.checkpoint.warnings)
        return f"{words}; not restored: {warnings}" if warnings else words

    @property
    def facts(self) -> CheckpointFacts:
        """For those who ask."""
        checkpoint, age = self.checkpoint, time.monotonic() - self.since
        return CheckpointFacts(self.run_id, age, checkpoint.warnings, checkpoint.pid)

    @property
    def rewound(self) -> Rewound:
        """When a session has gone back to it."""
        return Rewound(self.run_id, self.facts.age_s, self.checkpoint.warnings, self.words)


async def take(moment: Moment) -> Kept | None:
    """A checkpoint, which is the caller's to close; None: kernels of this kind have none. Raises
    `CheckpointError`."""
    since = time.monotonic()
    checkpoint = await moment.kernel.checkpoint(_PATIENCE)
    if checkpoint is None:
        return None
    return Kept(checkpoint, moment.run_id, moment.runs, since)
