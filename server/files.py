"""The projects directory: the one place of the file system that tools reach."""

from __future__ import annotations

import codecs
import errno
import os
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

from server import beneath

#: Bytes of a script, and of what is written.
MAX_SOURCE = 10_000_000
_LONGEST_NAME = 1000
_SKIPPED = {"__pycache__", "node_modules", "site-packages"}
_REASONS = {
    errno.ENOENT: "does not exist; list_files shows what there is",
    errno.ENOTDIR: "cannot be reached: a part of its path is a file",
    errno.EISDIR: "is a directory, not a file",
    errno.ELOOP: "is a symbolic link that leads nowhere",
    errno.EACCES: "may not be used: permission denied",
    errno.EPERM: "may not be used: permission denied",
    errno.ENXIO: "is not a regular file",
    errno.ENAMETOOLONG: "is too long a name",
    errno.ENOSPC: "could not be written: the disk is full",
    errno.EROFS: "could not be written: the file system is read-only",
    errno.EEXIST: "exists already; set overwrite to replace it",
}


class FileError(Exception):
    """A file cannot be used; the text is one sentence for the user. Nothing was changed."""


@dataclass(frozen=True)
class Entry:
    """A file: its name relative to the projects directory, and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class Excerpt:
    """Lines of a text file up to number `last` of `total`; `cut`: more of them would not fit."""

    text: str
    last: int
    total: int
    cut: bool


class Projects:
    """Reads, writes and lists files below `root`, and nothing else.

    Names are relative to the root, or absolute and below it; `..` is taken out of them as text.
    Every method raises `FileError`.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.realpath(root))

    def path(self, name: str) -> Path:
        """The absolute path of `name`, for messages and for the program itself."""
        return self.root / self._relative(name)

    def shown(self, path: Path) -> str:
        """The name of a file below the root, as text that can be printed."""
        return os.fsencode(path.relative_to(self.root)).decode("utf-8", "backslashreplace")

    def _relative(self, name: str) -> str:
        if not name.strip():
            raise FileError("The file name is empty; give one relative to the projects directory.")
        if "\0" in name:
            raise FileError("The file name contains a NUL character, which no file name may.")
        try:
            os.fsencode(name)
        except UnicodeEncodeError:
            raise FileError(f"{name!r} has characters that no file name can hold.") from None
        if len(name) > _LONGEST_NAME:
            raise FileError(f"{_shown(name)} {_REASONS[errno.ENAMETOOLONG]}.")
        path = Path(name)
        if path.is_absolute():
            if not path.is_relative_to(self.root):
                raise self._outside(name)
            path = path.relative_to(self.root)
        depth = 0
        for part in path.parts:
            depth += -1 if part == ".." else 1
            if depth < 0:
                raise self._outside(name)
        return os.path.normpath(path)

    def source(self, name: str) -> tuple[Path, bytes]:
        """A Python script: its absolute path, and its bytes."""
        with self._open(name) as file:
            # That it is missing, or no file at all, is said before this.
            if not name.endswith(".py"):
                raise FileError(f"{_shown(name)} is not a .py file; only scripts can be run.")
            content = file.read(MAX_SOURCE + 1)
        if len(content) > MAX_SOURCE:
            raise FileError(f"{_shown(name)} has more than {MAX_SOURCE:,} bytes, too many to run.")
        return self.path(name), content

    def read(self, name: str, offset: int, limit: int, characters: int) -> Excerpt:
        """Lines `offset` (from 0) and after, at most `limit` of them and `characters` in all."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        kept: list[str] = []
        line, last, room = 0, offset, characters
        cut, ended = False, True
        with self._open(name) as file:
            if b"\0" in file.read(8192):
                raise FileError(f"{_shown(name)} is not text: it holds binary data.")
            file.seek(0)
            # In pieces, because a line may be as long as the file.
            while piece := file.readline(1 << 16):
                ended = piece.endswith(b"\n")
                if offset <= line < offset + limit and not cut:
                    text = decoder.decode(piece, final=ended)
                    kept.append(text[:room])
                    cut = len(text) > room
                    room -= len(kept[-1])
                    last = line + 1 if kept[-1] else last
                line += ended
        return Excerpt("".join(kept), last, line + (not ended), cut)

    def write(self, name: str, content: str, overwrite: bool) -> bool:
        """Write a text file whole or not at all; folders on its way are made.

        Returns whether it replaced a file, which it does only with `overwrite`.
        """
        try:
            data = content.encode("utf-8")
        except UnicodeEncodeError:
            raise FileError("The content has characters that UTF-8 cannot hold.") from None
        if len(data) > MAX_SOURCE:
            raise FileError(
                f"The content has {len(data):,} bytes; at most {MAX_SOURCE:,} can be written."
            )
        relative = self._relative(name)
        if name.endswith(("/", os.sep)):
            raise FileError(f"{_shown(name)} is a directory, not a file.")
        try:
            return beneath.write_file(self.root, relative, data, overwrite)
        except OSError as error:
            raise self._explain(name, error) from None

    def list(self, directory: str, pattern: str, most: int) -> tuple[tuple[Entry, ...], int]:
        """Files below `directory` whose name relative to it, or last part, fits the glob `pattern`.

        At most `most` of them, by name, and how many there are. Hidden folders and caches are
        passed over, and symbolic links to folders.
        """
        start = self._relative(directory) if directory.strip() else "."
        try:
            with beneath.open_folder(self.root, start) as folder:
                found = [
                    Entry(_printable(os.path.normpath(os.path.join(start, name))), status.st_size)
                    for name, status in folder.walk(_is_skipped)
                    if _fits(name.replace(os.sep, "/"), pattern)
                ]
        except NotADirectoryError:
            raise FileError(f"{_shown(directory)} is not a directory.") from None
        except OSError as error:
            raise self._explain(directory, error) from None
        found.sort(key=lambda entry: entry.name)
        return tuple(found[:most]), len(found)

    def _open(self, name: str) -> BinaryIO:
        try:
            return os.fdopen(beneath.open_file(self.root, self._relative(name)), "rb")
        except OSError as error:
            raise self._explain(name, error) from None

    def _outside(self, name: str) -> FileError:
        return FileError(
            f"{_shown(name)} is outside the projects directory {self.root}; "
            "only files below it can be used."
        )

    def _explain(self, name: str, error: OSError) -> FileError:
        if error.errno == errno.EXDEV:
            return self._outside(name)
        reason = _REASONS.get(error.errno or 0, f"cannot be used: {error.strerror or error}")
        return FileError(f"{_shown(name)} {reason}.")


def _shown(name: str) -> str:
    return repr(name if len(name) <= 200 else name[:200] + "…")


def _printable(name: str) -> str:
    """A name on disk need not be UTF-8; text for a client must be."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _is_skipped(folder: str) -> bool:
    return folder in _SKIPPED or folder.startswith(".")


def _fits(name: str, pattern: str) -> bool:
    if "/" not in pattern:
        return fnmatch(name.rpartition("/")[2], pattern)
    return fnmatch(name, pattern) or fnmatch(name, pattern.removeprefix("**/"))
