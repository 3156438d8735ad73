"""The end of a program: files are written out, a forked child leaves."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import stat
import sys
import threading
from typing import Any, Callable, Dict, Iterable, List, Optional, Set

from .threads import started_processes

_WRITERS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


class OpenFiles:
    """Files that the program left open. `python` closes them; here they stay open for the
    session, but what was written must stand in the file."""

    def __init__(self) -> None:
        self._base = _being_written() or set()

    def flush(self, namespace: Dict[str, Any]) -> None:
        """Write out what stands in the buffers of open files."""
        written = _being_written()
        if written is None or written - self._base:
            # Somewhere there is one.
            candidates: Iterable[Any] = gc.get_objects()
        else:
            candidates = list(namespace.values())
        for one in candidates:
            if issubclass(type(one), _WRITERS):
                with contextlib.suppress(Exception):
                    one.flush()


def _being_written() -> Optional[Set[int]]:
    """Descriptors of regular files that are open for writing; None where that is not told."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        numbers: List[int] = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        return None
    found = set()
    for fd in numbers:
        with contextlib.suppress(OSError):
            if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    found.add(fd)
    return found


def end_process(files: OpenFiles, namespace: Dict[str, Any]) -> None:
    """End the process as `python` ends, but do not wait for threads: the session that they belong
    to is closed. Nor is the interpreter taken apart, which takes longer than all the rest."""
    main = threading.main_thread()
    if any(not thread.daemon and thread is not main for thread in threading.enumerate()):
        # What an executor's thread says of its processes' end, when they end here, is no news.
        threading.excepthook = lambda *_: None
        for child in started_processes():
            # Or multiprocessing's own handler would wait for it; those of pools it ends itself.
            if not child.daemon:
                child.terminate()
    try:
        atexit._run_exitfuncs()
        files.flush(namespace)
    finally:
        os._exit(0)


class Fork:
    """Tells a forked child from the kernel, and lets it end as a program of its own."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._code = 0
        # Runs after the handlers of the program, and before those of the kernel.
        atexit.register(self._leave)

    def revive(self) -> None:
        """In a kernel that was made of a copy: this process is the kernel."""
        self._pid = os.getpid()

    def in_child(self) -> bool:
        """Whether this process is a fork of the kernel."""
        return os.getpid() != self._pid

    def leave(self, code: int, wait: Callable[[], None]) -> Any:
        """End this child as `python` would: wait for its threads, run its atexit handlers."""
        self._code = code
        try:
            wait()
            atexit._run_exitfuncs()
        finally:
            os._exit(code & 0xFF)

    def _leave(self) -> None:
        if self.in_child():
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(self._code & 0xFF)
