"""The projects directory: the one place of the file system that tools reach.

What is opened is what was checked: a file is opened once, below the directory's descriptor, by
the operating system's own rule where it has one (`openat2` with RESOLVE_BENEATH on Linux), and
read from that descriptor. Elsewhere each part of the path is opened in turn, and symbolic links
are refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

MAX_SOURCE = 10_000_000
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}


class FileError(Exception):
    """A file cannot be used; the text is one sentence for the user. Nothing was changed."""


@dataclass(frozen=True)
class Entry:
    """A file below the projects directory: its name relative to it, size in bytes, and time of
    modification (seconds since the epoch)."""

    name: str
    size: int
    modified: float


class Projects:
    """Reads, writes and lists files below `root`, and nothing else."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # -- names

    def relative(self, name: str) -> str:
        """The name as a path relative to the root. Raises `FileError` for an impossible one."""
        if not name or not name.strip():
            raise FileError("The file name is empty. Give a name relative to the projects directory.")
        if "\0" in name:
            raise FileError("The file name contains a NUL character, which no file name may.")
        if len(name) > 4000 or any(len(os.fsencode(p)) > 255 for p in Path(name).parts):
            raise FileError(f"The file name is too long: {name[:40]}…")
        path = Path(name)
        if path.is_absolute():
            try:
                path = path.relative_to(self.root)
            except ValueError:
                raise self._outside(name) from None
        depth = 0
        for part in path.parts:
            depth += -1 if part == ".." else 1
            if depth < 0:
                raise self._outside(name)
        return str(path)

    def _outside(self, name: str) -> FileError:
        return FileError(
            f"{name[:200]!r} is outside the projects directory {self.root}; "
            "only files below it can be used."
        )

    def path(self, name: str) -> Path:
        """The absolute path of `name`, for messages and for the program itself."""
        return Path(os.path.normpath(self.root / self.relative(name)))

    # -- opening

    def _open(self, name: str, flags: int) -> int:
        relative = self.relative(name)
        flags |= os.O_CLOEXEC if hasattr(os, "O_CLOEXEC") else 0
        try:
            return _open_beneath(self.root, relative, flags)
        except OSError as error:
            raise self._explain(name, error) from None

    def _explain(self, name: str, error: OSError) -> FileError:
        shown = name if len(name) <= 200 else name[:200] + "…"
        if error.errno == errno.EXDEV:
            return self._outside(name)
        reasons = {
            errno.ENOENT: "does not exist; list_files shows what there is",
            errno.ENOTDIR: "cannot be reached: a part of its path is a file",
            errno.EISDIR: "is a directory, not a file",
            errno.ELOOP: "is a symbolic link that leads nowhere or outside",
            errno.EACCES: "may not be opened: permission denied",
            errno.EPERM: "may not be opened: permission denied",
            errno.ENXIO: "is not a regular file",
            errno.ENODEV: "is not a regular file",
            errno.ENOSPC: "could not be written: the disk is full",
            errno.EROFS: "could not be written: the file system is read-only",
            errno.EEXIST: "exists already; set overwrite to replace it",
        }
        reason = reasons.get(error.errno or 0, f"cannot be used: {error.strerror or error}")
        return FileError(f"{shown!r} {reason}.")

    def read_bytes(self, name: str, limit: int = MAX_SOURCE) -> bytes:
        """The content of a regular file of at most `limit` bytes."""
        with self._regular(name) as fd:
            size = os.fstat(fd).st_size
            if size > limit:
                raise FileError(f"{name!r} has {size:,} bytes; at most {limit:,} can be read.")
            with os.fdopen(os.dup(fd), "rb") as file:
                return file.read(limit + 1)[:limit]

    @contextlib.contextmanager
    def _regular(self, name: str):  # type: ignore[no-untyped-def]
        fd = self._open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            mode = os.fstat(fd).st_mode
            if stat.S_ISDIR(mode):
                raise FileError(f"{name!r} is a directory, not a file.")
            if not stat.S_ISREG(mode):
                raise FileError(f"{name!r} is not a regular file.")
            yield fd
        finally:
            os.close(fd)

    def source(self, name: str) -> tuple[Path, bytes]:
        """A Python script: its absolute path, and its bytes."""
        if not name.endswith(".py"):
            self._open_check(name)
            raise FileError(f"{name[:200]!r} is not a .py file, so it cannot be run as a script.")
        content = self.read_bytes(name)
        return self.path(name), content

    def _open_check(self, name: str) -> None:
        """Say first what is more important than a wrong ending."""
        with self._regular(name):
            pass

    def read_lines(self, name: str, offset: int, limit: int, characters: int) -> tuple[str, int]:
        """Lines `offset` (from 0) and after, at most `limit` of them and `characters` in all.

        Returns the text and the number of lines of the whole file.
        """
        with self._regular(name) as fd, os.fdopen(os.dup(fd), "rb") as file:
            head = file.read(8192)
            if b"\0" in head:
                size = os.fstat(fd).st_size
                raise FileError(f"{name!r} is not text: it has {size:,} bytes of binary data.")
            file.seek(0)
            kept: list[str] = []
            total = size = 0
            for line in file:
                if offset <= total < offset + limit and size < characters:
                    text = line.decode("utf-8", "replace")[: characters - size + 1]
                    kept.append(text)
                    size += len(text)
                total += 1
            return "".join(kept), total

    # -- writing

    def write(self, name: str, content: str, overwrite: bool) -> bool:
        """Write a text file whole or not at all; folders on its way are made.

        Returns whether it replaced a file. Raises `FileError`, also when the file exists and
        `overwrite` is False.
        """
        try:
            data = content.encode("utf-8")
        except UnicodeEncodeError:
            raise FileError("The content has characters that UTF-8 cannot hold (surrogates).") from None
        if len(data) > MAX_SOURCE:
            raise FileError(f"The content has {len(data):,} bytes; at most {MAX_SOURCE:,} can be written.")
        relative = Path(self.relative(name))
        if relative.name in ("", "..") or name.endswith(("/", os.sep)):
            raise FileError(f"{name!r} is a directory, not a file.")
        if ".." in relative.parts:
            raise FileError(f"{name!r} has '..' in it; give the plain path to write to.")
        try:
            folder = self._make_folder(relative.parent)
        except OSError as error:
            raise self._explain(name, error) from None
        try:
            return _write_whole(folder, relative.name, data, overwrite)
        except OSError as error:
            raise self._explain(name, error) from None
        finally:
            if isinstance(folder, int):
                os.close(folder)

    def _make_folder(self, relative: Path) -> int | Path:
        if os.open not in os.supports_dir_fd:
            folder = self.root / relative
            folder.mkdir(parents=True, exist_ok=True)
            if not folder.resolve().is_relative_to(self.root):
                raise OSError(errno.EXDEV, "outside")
            return folder
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        fd = os.open(self.root, flags)
        for number, part in enumerate(relative.parts):
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=fd)
                below = str(Path(*relative.parts[: number + 1]))
                inner = _open_beneath(self.root, below, flags)
            finally:
                os.close(fd)
            fd = inner
        return fd

    # -- listing

    def list(self, directory: str, pattern: str, most: int) -> tuple[list[Entry], int]:
        """Files below `directory` whose name relative to it fits the glob `pattern`.

        At most `most` of them, by name, and how many there are. Hidden folders, caches and
        symbolic links to folders are passed over.
        """
        start = self.relative(directory) if directory.strip() not in ("", ".") else "."
        if os.fwalk not in os.supports_fd and not hasattr(os, "fwalk"):
            return self._list_plain(start, pattern, most)
        fd = self._open(start, os.O_RDONLY | os.O_DIRECTORY) if start != "." else None
        found: list[Entry] = []
        try:
            top = "." if fd is not None else str(self.root)
            for where, folders, files, at in os.fwalk(top, dir_fd=fd, follow_symlinks=False):
                folders[:] = sorted(f for f in folders if f not in _SKIPPED and f[0] != ".")
                inner = os.path.relpath(where, top)
                for file in files:
                    name = os.path.normpath(os.path.join(inner, file))
                    if _fits(name, pattern):
                        with contextlib.suppress(OSError):
                            facts = os.stat(file, dir_fd=at, follow_symlinks=False)
                            shown = os.path.normpath(os.path.join(start, name))
                            found.append(Entry(shown, facts.st_size, facts.st_mtime))
        finally:
            if fd is not None:
                os.close(fd)
        found.sort(key=lambda entry: entry.name)
        return found[:most], len(found)

    def _list_plain(self, start: str, pattern: str, most: int) -> tuple[list[Entry], int]:
        found: list[Entry] = []
        top = self.root / start
        if not top.resolve().is_relative_to(self.root) or not top.is_dir():
            raise FileError(f"{start!r} is not a directory below the projects directory.")
        for where, folders, files in os.walk(top):
            folders[:] = sorted(f for f in folders if f not in _SKIPPED and f[0] != ".")
            for file in files:
                path = Path(where) / file
                if _fits(str(path.relative_to(top)), pattern):
                    with contextlib.suppress(OSError):
                        facts = path.lstat()
                        shown = str(path.relative_to(self.root))
                        found.append(Entry(shown, facts.st_size, facts.st_mtime))
        found.sort(key=lambda entry: entry.name)
        return found[:most], len(found)


def _fits(name: str, pattern: str) -> bool:
    name = name.replace(os.sep, "/")
    return fnmatch(name, pattern) or ("/" not in pattern and fnmatch(name.rpartition("/")[2], pattern))


def _write_whole(folder: int | Path, name: str, data: bytes, overwrite: bool) -> bool:
    """Write beside, sync, rename: an interrupted write leaves the old file."""
    where: int | None = folder if isinstance(folder, int) else None
    prefix = "" if isinstance(folder, int) else str(folder) + os.sep

    def at(file: str) -> str:
        return prefix + file

    try:
        old: os.stat_result | None = os.stat(at(name), dir_fd=where, follow_symlinks=False)
    except FileNotFoundError:
        old = None
    if old is not None:
        if stat.S_ISDIR(old.st_mode):
            raise OSError(errno.EISDIR, "directory")
        if not stat.S_ISREG(old.st_mode):
            raise OSError(errno.ENXIO, "not regular")
        if not overwrite:
            raise OSError(errno.EEXIST, "exists")
    temporary = f".{name[:100]}.{next(tempfile._get_candidate_names())}.tmp"
    mode = stat.S_IMODE(old.st_mode) if old is not None else 0o644
    fd = os.open(at(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, dir_fd=where)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if old is None and hasattr(os, "link") and where is not None:
            # Unlike a rename, a link refuses to replace what somebody made meanwhile.
            os.link(temporary, name, src_dir_fd=where, dst_dir_fd=where)
            os.unlink(temporary, dir_fd=where)
        elif where is not None:
            os.replace(temporary, name, src_dir_fd=where, dst_dir_fd=where)
        else:
            os.replace(at(temporary), at(name))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(at(temporary), dir_fd=where)
        raise
    return old is not None


# -- opening below a directory

_OPENAT2 = 437
_NO_MAGICLINKS, _BENEATH = 0x02, 0x08


def _open_beneath(root: Path, relative: str, flags: int) -> int:
    """Open `relative` below `root`; OSError with EXDEV when it leads outside."""
    if sys.platform == "linux":
        try:
            return _openat2(root, relative, flags)
        except NotImplementedError:
            pass
    if os.open in os.supports_dir_fd:
        return _open_stepwise(root, relative, flags)
    path = (root / relative).resolve(strict=True)
    if not path.is_relative_to(root):
        raise OSError(errno.EXDEV, "outside")
    return os.open(path, flags | getattr(os, "O_BINARY", 0))


def _openat2(root: Path, relative: str, flags: int) -> int:
    import ctypes
    import struct

    how = struct.pack("<QQQ", flags, 0, _BENEATH | _NO_MAGICLINKS)
    libc = ctypes.CDLL(None, use_errno=True)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(100):
            fd = libc.syscall(_OPENAT2, folder, os.fsencode(relative), how, len(how))
            if fd >= 0:
                return int(fd)
            number = ctypes.get_errno()
            if number not in (errno.EAGAIN, errno.EINTR):
                break
    finally:
        os.close(folder)
    if number in (errno.ENOSYS, errno.EINVAL) or (
        # A seccomp filter answers so for calls that it does not know; a plain open decides.
        number == errno.EPERM
    ):
        raise NotImplementedError
    raise OSError(number, os.strerror(number))


def _open_stepwise(root: Path, relative: str, flags: int) -> int:
    parts = Path(relative).parts
    if ".." in parts:
        raise OSError(errno.EXDEV, "outside")
    step = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts[:-1]:
        try:
            inner = os.open(part, step, dir_fd=fd)
        finally:
            os.close(fd)
        fd = inner
    try:
        return os.open(parts[-1] if parts else ".", flags | os.O_NOFOLLOW, dir_fd=fd)
    finally:
        os.close(fd)
