"""Files and folders below a root directory, whatever links and names there are exchanged.

A name is resolved once. What it stands for is then opened part by part, each in the folder that
was opened before it and none through a symbolic link, so a link that is swapped in meanwhile
makes this fail and never leads outside. Where files cannot be opened in an open folder (Windows),
resolving alone protects.

Everything raises `OSError`: EXDEV for what leads outside the root, ELOOP for links that lead
nowhere, EISDIR and ENXIO for what is not a regular file.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

if sys.platform == "win32":  # where no folder is open
    fcntl: Any = None
else:
    import fcntl

_CAN_OPEN_IN = os.open in os.supports_dir_fd
_PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_FOLDER = _PLAIN | getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
#: Opening a FIFO or a device must not wait.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)
#: Seconds between two looks at a lock.
_PAUSE = 0.002
#: Of renameat2: the two names change places.
_EXCHANGE = 2
#: There is no such call, or not for these files. A filter of system calls says EPERM.
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)


class Folder:
    """An open folder: what is done in it is done in it, wherever its name leads by now."""

    def __init__(self, path: Path, fd: int | None) -> None:
        self._path, self._fd = path, fd

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)

    @contextlib.contextmanager
    def locked(self, seconds: float) -> Iterator[None]:
        """Keep out others who lock this folder, in whatever process; where folders cannot be
        locked, or it is not to be had within `seconds`, do without."""
        fd = self._fd
        if fcntl is None or fd is None:
            yield
            return
        with contextlib.suppress(OSError):
            for _ in range(round(seconds / _PAUSE)):
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_PAUSE)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)

    def _at(self, name: str) -> str:
        return name if self._fd is not None else str(self._path / name)

    def status(self, name: str) -> os.stat_result:
        """What `name` is; a link is a link."""
        return os.stat(self._at(name), dir_fd=self._fd, follow_symlinks=False)

    def open(self, name: str, flags: int) -> int:
        """A descriptor of a file in it."""
        return os.open(self._at(name), flags | _PLAIN | _NO_LINK, 0o666, dir_fd=self._fd)

    def open_regular(self, name: str, flags: int = os.O_RDONLY) -> int:
        """A descriptor of a regular file in it; of nothing else, and without waiting."""
        # Before it is opened, because opening a FIFO or a device can do something already.
        _check_regular(self.status(name).st_mode)
        fd = self.open(name, flags | _AT_ONCE)
        try:
            _check_regular(os.fstat(fd).st_mode)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def enter(self, name: str) -> Folder:
        """A folder in it."""
        path = self._path / name
        if self._fd is None:
            if not path.is_dir():
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            return Folder(path, None)
        try:
            return Folder(path, os.open(name, _FOLDER | _NO_LINK, dir_fd=self._fd))
        except NotADirectoryError:
            _refuse_link(self.status(name).st_mode)
            raise

    def make(self, name: str) -> bool:
        """Make a folder in it; False when there is something of that name."""
        try:
            os.mkdir(self._at(name), dir_fd=self._fd)
        except FileExistsError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove an empty folder in it; one that is not empty stays."""
        with contextlib.suppress(OSError):
            os.rmdir(self._at(name), dir_fd=self._fd)

    def names(self) -> list[str]:
        """All that is in it."""
        return os.listdir(self._path if self._fd is None else self._fd)

    def write(self, name: str, data: bytes | Iterable[bytes], old: os.stat_result | None) -> None:
        """Write a file whole or not at all, in pieces maybe; `old` is the one that it replaces."""
        temporary = f".{secrets.token_hex(8)}.tmp"
        fd = self.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            with os.fdopen(fd, "wb") as file:
                if old is not None and hasattr(os, "fchmod"):
                    os.fchmod(fd, stat.S_IMODE(old.st_mode))
                file.writelines((data,) if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(fd)
            if old is None and self.link(temporary, name):
                self.unlink(temporary)
            else:
                self.move(temporary, name)
        except BaseException:
            with contextlib.suppress(OSError):
                self.unlink(temporary)
            raise

    def link(self, source: str, target: str) -> bool:
        """Give a file a second name, which must be new. False where there are no such links."""
        here = self._fd
        try:
            os.link(self._at(source), self._at(target), src_dir_fd=here, dst_dir_fd=here)
        except FileExistsError:
            raise
        except OSError:
            return False
        return True

    def unlink(self, name: str) -> None:
        """Take a file's name away."""
        os.unlink(self._at(name), dir_fd=self._fd)

    def move(self, source: str, target: str) -> None:
        """Give a file another name, in the place of the file that has it."""
        here = self._fd
        os.replace(self._at(source), self._at(target), src_dir_fd=here, dst_dir_fd=here)

    def exchange(self, one: str, other: str) -> bool:
        """Have two names change places, at once for all who look. False where that cannot be."""
        call = _renameat2() if self._fd is not None else None
        if call is None:
            return False
        if call(self._fd, os.fsencode(one), self._fd, os.fsencode(other), _EXCHANGE):
            number = ctypes.get_errno()
            if number not in _CANNOT_EXCHANGE:
                raise OSError(number, os.strerror(number))
            return False
        return True

    def sync(self) -> None:
        """See to it that names given in it outlast a loss of power, where folders can be synced."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._fd)

    def walk(self, skipped: Callable[[str], bool]) -> Iterator[tuple[str, os.stat_result]]:
        """The regular files and links in it and below: name relative to it, and status.

        Passes over folders whose name is to be `skipped`, and does not follow links.
        """
        top = "." if self._fd is not None else str(self._path)
        steps: Iterable[tuple[str, list[str], list[str], int | None]]
        if sys.platform != "win32" and self._fd is not None:
            steps = os.fwalk(top, dir_fd=self._fd)
        else:
            steps = ((where, folders, names, None) for where, folders, names in os.walk(top))
        for where, folders, names, fd in steps:
            folders[:] = [name for name in folders if not skipped(name)]
            inside = os.path.relpath(where, top)
            for name in names:
                with contextlib.suppress(OSError):
                    path = name if fd is not None else os.path.join(where, name)
                    status = os.stat(path, dir_fd=fd, follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                        yield os.path.normpath(os.path.join(inside, name)), status


def open_folder(root: Path, name: str) -> Folder:
    """The folder of that name below `root`, or `root` itself for "."."""
    return _enter(root, _resolve(root, name))


@contextlib.contextmanager
def make_folder(root: Path, name: str) -> Iterator[Folder]:
    """As `open_folder`; makes what is missing, and takes that back when the block fails."""
    with _make(root, _resolve(root, name, missing=True)) as folder:
        yield folder


def open_file(root: Path, name: str) -> int:
    """A descriptor for reading the regular file of that name below `root`."""
    *folders, last = _resolve(root, name) or [""]
    if not last:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    with _enter(root, folders) as folder:
        return folder.open_regular(last)


def write_file(root: Path, name: str, data: bytes, overwrite: bool) -> bool:
    """Write the file of that name below `root`, whole or not at all, with the folders that are
    missing. Returns whether it replaced one; without `overwrite` that is EEXIST."""
    *folders, last = _resolve(root, name, missing=True) or [""]
    if not last:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    with _make(root, folders) as folder:
        try:
            old = folder.status(last)
        except FileNotFoundError:
            old = None
        if old is not None:
            _check_regular(old.st_mode)
            if not overwrite:
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        folder.write(last, data, old)
        return old is not None


def _resolve(root: Path, name: str, missing: bool = False) -> list[str]:
    """The parts, below `root`, of what `name` leads to; `missing`: it need not exist."""
    path = Path(os.path.realpath(root / name, strict=not missing))
    if not path.is_relative_to(root):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return list(path.relative_to(root).parts)


@cache
def _renameat2() -> Any:
    """The system call of Linux; None where there is none."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        name = ctypes.c_char_p
        call.argtypes = [ctypes.c_int, name, ctypes.c_int, name, ctypes.c_uint]
    return call


def _root(root: Path) -> Folder:
    return Folder(root, os.open(root, _FOLDER) if _CAN_OPEN_IN else None)


def _enter(root: Path, folders: list[str]) -> Folder:
    folder = _root(root)
    for name in folders:
        with folder:
            folder = folder.enter(name)
    return folder


@contextlib.contextmanager
def _make(root: Path, folders: list[str]) -> Iterator[Folder]:
    """As `_enter`, but makes what is missing, and takes that back when the block fails."""
    with contextlib.ExitStack() as opened, contextlib.ExitStack() as made:
        folder = opened.enter_context(_root(root))
        for name in folders:
            if folder.make(name):
                made.callback(folder.remove, name)
            folder = opened.enter_context(folder.enter(name))
        yield folder
        made.pop_all()


def _check_regular(mode: int) -> None:
    _refuse_link(mode)
    if not stat.S_ISREG(mode):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.ENXIO
        raise OSError(number, os.strerror(number))


def _refuse_link(mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
