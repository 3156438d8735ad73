"""Starting one process with the descriptors that it is to have. Standard library only, one thread.

It gets what this process was started with: whatever that changes for itself later, it has not.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence

assert sys.platform != "win32"

_SUBREAPER, _DEATH_SIGNAL = 36, 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class Beginning:
    """Makes this process, on Linux, the parent of all orphans below it, and starts others."""

    def __init__(self) -> None:
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        # As under nohup.
        self._ignored = {
            number for number in _SIGNALS if signal.getsignal(number) == signal.SIG_IGN
        }
        self._ignored.discard(signal.SIGCHLD)
        self._prctl = None
        if sys.platform == "linux":
            import ctypes

            self._prctl = ctypes.CDLL(None).prctl
            self._prctl(_SUBREAPER, 1, 0, 0, 0)

    def start(self, request: Mapping[str, object], fds: Sequence[int]) -> tuple[int, str]:
        """Start the process of `argv`, `env` and `cwd`, whose descriptors 0, 1, 2, ... are `fds`.
        Returns its number, and "", or why it could not be started."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._become(request, fds, write)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            why = pipe.read().decode()
        if why:
            os.waitpid(pid, 0)
        return pid, why

    def _become(self, request: Mapping[str, object], fds: Sequence[int], report: int) -> None:
        try:
            os.setsid()
            if self._prctl is not None:
                self._prctl(_SUBREAPER, 0, 0, 0, 0)
                self._prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
            signal.set_wakeup_fd(-1)
            for caught in _SIGNALS:
                ignored = caught in self._ignored
                signal.signal(caught, signal.SIG_IGN if ignored else signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)
            # First out of the way of the numbers that they are to get.
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 16) for fd in [*fds, report]]
            for number, fd in enumerate(high[:-1]):
                os.dup2(fd, number, inheritable=True)
            report = high[-1]
            os.set_inheritable(report, False)
            os.closerange(len(fds), report)
            os.closerange(report + 1, 1 << 12)
            os.chdir(str(request["cwd"]))
            argv = [str(word) for word in request["argv"]]  # type: ignore[attr-defined]
            environment = {k: str(v) for k, v in request["env"].items()}  # type: ignore[attr-defined]
            os.execvpe(argv[0], argv, environment)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.write(report, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(127)
