"""Descriptors 0, 1 and 2 of a kernel, for C code, child processes, and whoever opens them.

What is written to 1 and 2 comes back through pipes. `FdReader` takes it up in a thread, and each
Python write first takes up what is already there, so that the order is the true one. On 0 stands
the standard input of the run, as a file that children can read, too.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import threading
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

if sys.platform == "win32":  # which has no `FdReader`
    fcntl: Any = None
    select: Any = None
else:
    import fcntl
    import select

#: `write(stream name, bytes)`.
Write = Callable[[str, bytes], None]


class FdReader:
    """Takes up what is written to descriptors 1 and 2 themselves.

    `pipes` are the read ends, in the order stdout, stderr; the write ends are descriptors 1 and
    2. Only where the platform can poll pipes (not on Windows). When the other end of the socket
    `lifeline` closes, this process ends.
    """

    def __init__(self, write: Write, pipes: Tuple[int, int], lifeline: int) -> None:
        self._write = write
        #: Descriptors of the program's that lead into the pipes, too, for a copy of the kernel.
        self._copies: Dict[int, List[int]] = {}
        self._begin(pipes, lifeline)

    def _begin(self, pipes: Tuple[int, int], lifeline: int) -> None:
        self._pipes = dict(zip(pipes, ("stdout", "stderr")))
        self._lifeline = lifeline
        self._lock = threading.RLock()
        self._read = _reader()
        self._quick, self._patient = select.poll(), select.poll()
        for fd in pipes:
            if sys.platform != "win32":
                os.set_blocking(fd, False)
            self._quick.register(fd, select.POLLIN)
            self._patient.register(fd, select.POLLIN)
        self._patient.register(lifeline, select.POLLIN)
        # Spare write ends, so that a program which closes 1 or 2 does not end the pipes.
        self._spares = {fd: os.dup(fd) for fd in (1, 2)}
        self._places = {fd: _place(fd) for fd in (1, 2)}
        # A flag that means nothing to a pipe tells these from others at a quarter of the price.
        for fd in (1, 2):
            fcntl.fcntl(fd, fcntl.F_SETFL, os.O_WRONLY | os.O_APPEND)
        self._flags = fcntl.fcntl(1, fcntl.F_GETFL)
        self.thread = threading.Thread(target=self._run, name="rmi fd reader", daemon=True)
        self.thread.start()

    def abandon(self, own: Set[int]) -> None:
        """In a copy of the kernel: nothing leads into the pipes. `own`: descriptors that are closed
        anyway."""
        self._copies = {}
        # Not inheritable, as Python opens everything.
        null = os.open(os.devnull, os.O_RDWR)
        for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
            for standard, place in self._places.items():
                if fd not in own and fd != null and _place(fd) == place:
                    self._copies.setdefault(standard, []).append(fd)
        for fd in {0, 1, 2}.union(*self._copies.values()):
            # As before: only the first three, and what the program wants it for, are inherited.
            os.dup2(null, fd, fd < 3 or os.get_inheritable(fd))
        os.close(null)

    def revive(self, fds: List[int], pipes: Tuple[int, int], lifeline: int) -> None:
        """In a kernel that was made of the copy. `fds`: what becomes 0, 1 and 2; closed then."""
        for standard, fd in enumerate(fds):
            for copy in {standard, *self._copies.get(standard, ())}:
                os.dup2(fd, copy, copy < 3 or os.get_inheritable(copy))
            os.close(fd)
        self._begin(pipes, lifeline)

    def owns(self, fd: int) -> bool:
        """Whether descriptor 1 or 2 still leads into its pipe."""
        try:
            if fcntl.fcntl(fd, fcntl.F_GETFL) == self._flags:
                return True
        except OSError:
            return False
        return _place(fd) == self._places[fd]

    def repair(self) -> None:
        """Put the pipes back on descriptors 1 and 2 where a program closed or replaced them."""
        for fd, spare in self._spares.items():
            if _place(fd) != self._places[fd]:
                os.dup2(spare, fd)
            fcntl.fcntl(fd, fcntl.F_SETFL, self._flags)

    def catch_up(self) -> None:
        """Take up all that is in the pipes now; returns at once when there is nothing."""
        # The reading thread may hold the lock while it waits for the server to take its text.
        if self._lock.acquire(False) or self._lock.acquire(timeout=1.0):
            try:
                # No signal interrupts a poll that does not wait, so none is met by another.
                while ready := self._quick.poll(0):
                    for fd, _event in ready:
                        self._take(fd)
            finally:
                self._lock.release()

    def _take(self, fd: int) -> None:
        data = self._read(fd)
        if data:
            self._write(self._pipes[fd], data)

    def _run(self) -> None:
        while True:
            for fd, _event in self._patient.poll():
                if fd == self._lifeline:
                    # The other end is the server's: it is gone, and nobody wants this kernel.
                    os._exit(1)
                with self._lock:
                    self._take(fd)


def _reader() -> Callable[[int], bytes]:
    """Reads what is in a pipe that does not block, at most 64 KiB.

    `os.read` would let go of the interpreter's lock, and a program that kills itself while the
    reader waits to have it back would take with it what is in no pipe any more.
    """
    try:
        import ctypes

        read = ctypes.PyDLL(None).read
        read.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
        read.restype = ctypes.c_ssize_t
        buffer = ctypes.create_string_buffer(65536)
    except (ImportError, OSError, AttributeError, TypeError):
        return _read_letting_go

    def held(fd: int) -> bytes:
        size = read(fd, buffer, 65536)
        return ctypes.string_at(buffer, size) if size > 0 else b""

    return held


def _read_letting_go(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""


def _place(fd: int) -> Optional[Tuple[int, int]]:
    """What tells a file or pipe from all others."""
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Stdin:
    """Standard input of one run. When no text was given, it is at its end at once.

    `reads_directly` is called whenever somebody asks for its descriptor, and `at_end` whenever it
    is read at its end, which it is only if there are no more bytes then, either.
    """

    def __init__(
        self, text: str, reads_directly: Callable[[], None], at_end: Callable[[], bytes]
    ) -> None:
        # First, because a file must not get the number 0 itself, where a program has closed it.
        _empty_stdin()
        if text:
            with tempfile.TemporaryFile() as file:
                file.write(text.encode("utf-8", "surrogateescape"))
                file.flush()
                file.seek(0)
                os.dup2(file.fileno(), 0)
        self._given = bool(text)
        raw = _Input(reads_directly, at_end)
        raw.name = "<stdin>"
        newline = None if os.name == "nt" else "\n"
        stream: Any = io.TextIOWrapper(io.BufferedReader(raw), "utf-8", newline=newline)
        stream.mode = "r"
        self._stream = stream
        self.use()

    def use(self) -> None:
        """Have it as the process's."""
        sys.stdin = sys.__stdin__ = self._stream  # type: ignore[misc]

    def close(self) -> None:
        """Nothing of it is left for the next run."""
        if self._given:
            _empty_stdin()


class _Input(io.FileIO):
    """Descriptor 0, and what comes after its end."""

    def __init__(self, reads_directly: Callable[[], None], at_end: Callable[[], bytes]) -> None:
        super().__init__(0, closefd=False)
        self._reads_directly, self._at_end = reads_directly, at_end
        self._more = b""
        #: Whether the last line so far has no end: the end of the file is one.
        self._within_line = False

    def fileno(self) -> int:
        self._reads_directly()
        return super().fileno()

    def readall(self) -> bytes:
        more, self._more, self._within_line = self._more, b"", False
        return more + (super().readall() or b"")

    def readinto(self, buffer: Any) -> Any:
        if not self._more:
            size = super().readinto(buffer)
            if size:
                self._within_line = buffer[size - 1] != 10
            if size != 0 or not len(buffer):
                return size
            if self._within_line:
                self._within_line = False
                return 0
            self._more = self._at_end()
        size = min(len(buffer), len(self._more))
        buffer[:size], self._more = self._more[:size], self._more[size:]
        return size


def _empty_stdin() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null != 0:
        os.close(null)


def write_all(fd: int, data: bytes) -> None:
    """`os.write` until all is written."""
    while data:
        data = data[os.write(fd, data) :]


_libc: List[Any] = []


def flush_c_streams() -> None:
    """C code prints through a buffer of its own, which `python` flushes at its end."""
    if not _libc:
        try:
            import ctypes

            library = ctypes.CDLL(None)
            names = ("__stdoutp", "__stderrp") if sys.platform == "darwin" else ("stdout", "stderr")
            _libc.append([library.fflush, [ctypes.c_void_p.in_dll(library, n) for n in names]])
        except (ImportError, OSError, ValueError, AttributeError, TypeError):
            _libc.append(None)
    if _libc[0]:
        flush, files = _libc[0]
        for file in files:
            flush(file)
