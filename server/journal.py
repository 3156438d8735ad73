"""A file that lines are added to, rotated when it is large. Several servers may share it."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path

#: Bytes from which on the file is rotated, and how many old ones are kept.
LARGE, OLD = 10 * 1024 * 1024, 5


class Journal:
    """Adds lines to the file `path`; `path.1` is the last full one, up to `path.5`.

    Files are made for their owner alone, and so is the folder when it is missing. Raises
    `OSError`.
    """

    def __init__(self, path: Path, large: int = LARGE) -> None:
        self._path, self._large = path, large
        self._file: int | None = None
        self._identity = (0, 0)
        self._torn = False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open()

    def write(self, line: bytes) -> None:
        """Add a line, which has no end of line yet, in one piece. After an `OSError` the next one
        may succeed."""
        if self._file is None:
            self._open()
        if self._must_change():
            self._open()
        assert self._file is not None
        # Something stands before it which found no room for all of it.
        data = b"\n" + line + b"\n" if self._torn else line + b"\n"
        written = os.write(self._file, data)
        self._torn = 0 < written < len(data)
        if written < len(data):
            raise OSError(f"only {written} of {len(data)} bytes found room")

    def close(self) -> None:
        """Close the file; a further `write` opens it again."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _open(self) -> None:
        self.close()
        # A pipe that nobody reads would hold us.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
        file = os.open(self._path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
        there = os.fstat(file)
        if not stat.S_ISREG(there.st_mode):
            os.close(file)
            raise OSError("it is not a regular file")
        self._file, self._identity = file, (there.st_dev, there.st_ino)

    def _must_change(self) -> bool:
        """Whether there is, or is now to be, another file: this one was large and has been
        rotated, here or by another server, or somebody has taken it away."""
        try:
            there = os.stat(self._path)
        except OSError:
            return True
        if (there.st_dev, there.st_ino) != self._identity:
            return True
        return there.st_size >= self._large and self._rotate()

    def _rotate(self) -> bool:
        assert self._file is not None
        if sys.platform == "win32":
            # A file that is open, perhaps by another server, cannot be moved.
            self.close()
            self._shift()
            return True
        import fcntl

        try:
            # All who would rotate this file want this lock; who comes second finds it moved.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.stat(self._path)
        except OSError:
            return False
        if (there.st_dev, there.st_ino) == self._identity:
            self._shift()
        # Opening another one closes this, and that gives the lock back.
        return True

    def _shift(self) -> None:
        # What cannot be moved now is with the next line.
        with contextlib.suppress(OSError):
            for number in range(OLD - 1, -1, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(self._name(number), self._name(number + 1))

    def _name(self, number: int) -> str:
        return f"{self._path}.{number}" if number else str(self._path)
