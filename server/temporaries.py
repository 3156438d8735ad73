"""Temporary files in which new content waits for its place, and what killed processes left of them.

One with which names are being exchanged tells in its name what may be thrown away; all else that
is found in it is somebody's work.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from notebooks.storage import Conflict, Stamp, digest
from server.beneath import Folder

if sys.platform == "win32":  # where no file that is open can be removed or renamed
    fcntl: Any = None
else:
    import fcntl

_PIECE = 1 << 20
_ATTEMPTS = 20
_NAME = re.compile(r"\.rmi-(\w{12})-\w{16}(?:-(\w{16})-(\w{16}))?\.tmp")


def stamp_of(fd: int) -> Stamp:
    """What an open file holds."""
    hasher, size = digest(), 0
    os.lseek(fd, 0, os.SEEK_SET)
    while piece := os.read(fd, _PIECE):
        hasher.update(piece)
        size += len(piece)
    status = os.fstat(fd)
    return Stamp(hasher.digest(), size, status.st_ino, status.st_mtime_ns)


class Temporary:
    """A new file for `name`, open and locked: no sweep takes it. It is gone after the block."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self._key = folder, _key(name)
        #: What it is called; None: it is to be left as it is.
        self.name: str | None = None
        self.fd = -1

    def __enter__(self) -> Temporary:
        for _ in range(_ATTEMPTS):
            name = f".rmi-{self._key}-{secrets.token_hex(8)}.tmp"
            fd = self.folder.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            # A sweep may have come before the lock.
            if _locked(fd) is not False and _is(self.folder, name, fd):
                self.name, self.fd = name, fd
                return self
            os.close(fd)
            remove(self.folder, name)
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def __exit__(self, *_: object) -> None:
        if fcntl is None:
            self._close()
        if self.name is not None:
            remove(self.folder, self.name)
        self._close()

    def _close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def keep(self, old: int) -> None:
        """Give it the permissions of the old file, and what else hangs on it, as far as we may."""
        _keep(old, self.fd)

    def fill(self, pieces: Iterable[bytes]) -> Stamp:
        """Write it to the disk."""
        hasher, size = digest(), 0
        with os.fdopen(self.fd, "wb", closefd=False) as file:
            for piece in pieces:
                file.write(piece)
                hasher.update(piece)
                size += len(piece)
            file.flush()
            os.fsync(self.fd)
        status = os.fstat(self.fd)
        if fcntl is None:
            self._close()
        return Stamp(hasher.digest(), size, status.st_ino, status.st_mtime_ns)

    def prepare(self, ours: Stamp, expected: Stamp) -> None:
        """Have its name tell what may be thrown away that is found under it later."""
        assert self.name is not None
        both = "-".join(stamp.digest.hex()[:16] for stamp in (ours, expected))
        name = f"{self.name.removesuffix('.tmp')}-{both}.tmp"
        self.folder.move(self.name, name)
        self.name = name

    def become(self, name: str) -> None:
        """Give the file its name, at which there must be nothing."""
        assert self.name is not None
        with contextlib.suppress(FileExistsError):
            if self.folder.link(self.name, name):
                return
            # No links here: what appears between these two steps is replaced.
            if not exists(self.folder, name):
                self.folder.move(self.name, name)
                self.name = None
                return
        raise Conflict(f"{name!r} exists already.")


def sweep(folder: Folder, name: str) -> None:
    """Remove what killed processes left of writes of the file `name`.

    Of a process that was killed between the exchange and the look at what came out, that may be
    somebody's work: it is given a name that shows.
    """
    key = _key(name)
    for found in folder.names():
        match = _NAME.fullmatch(found)
        if match and match[1] == key:
            with contextlib.suppress(OSError), _abandoned(folder, found) as fd:
                if fd is None:
                    continue
                if match[2] and stamp_of(fd).digest.hex()[:16] not in match.groups()[1:]:
                    _rescue(folder, found, name)
                else:
                    folder.unlink(found)


@contextlib.contextmanager
def _abandoned(folder: Folder, name: str) -> Iterator[int | None]:
    """A temporary file, locked; None: somebody is using it."""
    fd = folder.open_regular(name)
    try:
        yield fd if (fcntl is None or _locked(fd)) and _is(folder, name, fd) else None
    finally:
        os.close(fd)


def _rescue(folder: Folder, found: str, name: str) -> None:
    stem, suffix = os.path.splitext(name)
    for number in range(1, 100):
        counter = f" {number}" if number > 1 else ""
        with contextlib.suppress(FileExistsError):
            if folder.link(found, f"{stem} (recovered){counter}{suffix}"):
                folder.unlink(found)
            return


def _key(name: str) -> str:
    """What temporary files for a file have in their names; its own may be too long."""
    return sha256(os.fsencode(name)).hexdigest()[:12]


def _keep(old: int, new: int) -> None:
    if sys.platform == "win32":
        return
    status = os.fstat(old)
    mode = stat.S_IMODE(status.st_mode)
    try:
        os.fchown(new, -1, status.st_gid)
    except OSError:
        # What one group may do must not go to another.
        mode = mode & ~0o070 | (mode & 0o007) << 3
    with contextlib.suppress(OSError):
        os.fchown(new, status.st_uid, -1)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            for name in os.listxattr(old):
                with contextlib.suppress(OSError):
                    os.setxattr(new, name, os.getxattr(old, name))
    os.fchmod(new, mode)


def _locked(fd: int) -> bool | None:
    """Lock a file until it is closed. False: another has it; None: there are no locks here."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is(folder: Folder, name: str, fd: int) -> bool:
    """Whether an open file still has this name."""
    try:
        return folder.status(name).st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False


def exists(folder: Folder, name: str) -> bool:
    """Whether there is something of that name."""
    try:
        folder.status(name)
    except FileNotFoundError:
        return False
    return True


def remove(folder: Folder, name: str) -> None:
    """Take a name away, if that can be."""
    with contextlib.suppress(OSError):
        folder.unlink(name)
