"""The result of a run, and the words that explain how it ended. Pure."""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from kernels.kernel import Exit
from kernels.outputs import Output

if TYPE_CHECKING:
    from kernels.environments.environment import Chosen


class Status(StrEnum):
    """What became of a run."""

    #: It ended with exit code 0.
    OK = "ok"
    #: It ended with another exit code or an exception.
    ERROR = "error"
    #: Its time was up.
    TIMEOUT = "timeout"
    #: It was stopped by request.
    INTERRUPTED = "interrupted"
    #: Its kernel ended.
    DIED = "died"
    #: It waits or runs.
    RUNNING = "running"


class State(StrEnum):
    """What became of the session's variables."""

    KEPT = "kept"
    LOST = "lost"
    #: They are as after an earlier run.
    RESTORED = "restored"


@dataclass(frozen=True)
class RunResult:
    """A finished run. `duration` in seconds; `exit_code` None when there was none (a timeout, a
    death by `signal`); `error` has `name`, `value`, `line`, `file`; `notes` are phrases for
    the line of facts, each there only when it is so; `explanation` says why the run was ended,
    with the traceback of where it stood, or is ""."""

    run_id: str
    session: str
    status: Status
    outputs: tuple[Output, ...] = ()
    exit_code: int | None = None
    duration: float = 0.0
    state: State = State.KEPT
    signal: int | None = None
    error: Mapping[str, Any] | None = None
    execution_count: int | None = None
    notes: tuple[str, ...] = ()
    explanation: str = ""
    #: Text of earlier runs' threads that arrived during this one.
    late: str = ""
    #: Where its session lives, if that is not what everybody expects.
    environment: Chosen | None = None
    #: With `State.RESTORED`, the run after which the session's variables were as they are now.
    restored_to: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the program failed: what a protocol calls an error result."""
        return self.status is not Status.OK


def explain_exit(exit: Exit) -> str:
    """Why a kernel ended, as a sentence about "the kernel"."""
    if exit.signal is not None:
        try:
            name = signals.Signals(exit.signal).name
        except ValueError:
            name = f"signal {exit.signal}"
        if exit.out_of_memory:
            return "The kernel was killed because the machine ran out of memory."
        meanings = {
            "SIGKILL": "was killed from outside (SIGKILL)",
            "SIGSEGV": "crashed with a segmentation fault (SIGSEGV)",
            "SIGABRT": "aborted (SIGABRT)",
            "SIGBUS": "crashed with a bus error (SIGBUS)",
            "SIGFPE": "crashed with an arithmetic fault (SIGFPE)",
            "SIGILL": "crashed on an illegal instruction (SIGILL)",
        }
        return f"The kernel {meanings.get(name, f'was ended by {name}')}."
    if exit.code is not None:
        return f"The program ended the kernel's process itself, with exit code {exit.code}."
    return "The kernel ended."


def crash_trace(trace: str) -> str:
    """The part of faulthandler's text that concerns the user's code, or ""."""
    kept: list[str] = []
    inside = False
    for line in trace.splitlines():
        if line.startswith(("Thread 0x", "Extension modules", "Current thread's C stack")):
            inside = False
        if line.startswith(("Current thread", "Stack (")) and "C stack" not in line:
            inside = True
            kept.append("Most recent call first:")
        elif line.startswith("Fatal Python error"):
            kept.append(line)
        elif inside and line.startswith("  File"):
            if "/guest/" in line.replace("\\", "/") or "IPython" in line or "ipykernel" in line:
                inside = False
            else:
                kept.append(line)
    return "\n".join(kept)
