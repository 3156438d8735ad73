"""What can go wrong with kernels. Failing user code is not among it: that is a result.

KernelError                 anything below; its text says what happened, why, what to do
├── KernelStartError        a kernel did not come up (`detail`: its own last words)
├── CheckpointError         a kernel's state could not be kept (`reasons`)
├── KernelspecNotFound      no usable kernelspec of that name is installed
├── EnvironmentNotFound     no environment goes by that name, or it is not one
├── EnvironmentUnfit        it is there and cannot run kernels, or cannot be changed
├── SessionError            the session cannot take the request
│   ├── SessionNotFound
│   └── TooManySessions
├── TooManyRuns             the owner has as many as are allowed
├── RunNotFound             no such run
├── OutputGone              what a run printed is no longer kept
└── BadRequest              an argument is wrong; nothing was changed
"""

from __future__ import annotations


class KernelError(Exception):
    """Base of this package's errors. `str()` is one or two sentences for the user."""


class KernelStartError(KernelError):
    """A kernel did not come up."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class CheckpointError(KernelError):
    """A kernel's state could not be kept. `reasons`: those for which it was refused, if it was."""

    def __init__(self, message: str, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reasons = reasons


class KernelspecNotFound(KernelError):
    """No usable kernelspec of that name is installed on this machine."""


class EnvironmentNotFound(KernelError):
    """No environment of this machine goes by that name, or what is there is none."""


class EnvironmentUnfit(KernelError):
    """The environment cannot run kernels as it is, or what was asked of it failed."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class SessionError(KernelError):
    """The session cannot take the request as it is."""


class SessionNotFound(SessionError):
    """No session of that name belongs to the caller."""


class TooManySessions(SessionError):
    """The limit of sessions is reached and none may be ended for a new one."""


class TooManyRuns(KernelError):
    """An owner has as many runs as are allowed."""


class RunNotFound(KernelError):
    """No run of that id belongs to the caller."""


class OutputGone(KernelError):
    """What a run printed is no longer kept."""

    def __init__(self) -> None:
        super().__init__(
            "The output of this run is no longer kept: younger runs have taken its room. "
            "Run it again to have it."
        )


class BadRequest(KernelError):
    """An argument is wrong; nothing was changed."""
