"""Notebook files below the projects directory."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from notebooks.reading import MAX_BYTES
from notebooks.storage import Conflict, Stamp, Unusable, digest
from server import beneath
from server.files import FileError, Projects
from server.replacing import replace
from server.temporaries import stamp_of, sweep

_REASONS = {
    errno.ENOENT: "does not exist; list_files shows what there is",
    errno.ENOTDIR: "cannot be reached: a part of its path is a file",
    errno.EISDIR: "is a directory, not a notebook",
    errno.ELOOP: "is a symbolic link, which is not followed; name the notebook that it leads to",
    errno.EACCES: "cannot be read: permission denied",
    errno.EPERM: "cannot be read: permission denied",
    errno.ENXIO: "is not a regular file",
    errno.ENAMETOOLONG: "is too long a name",
    errno.ENOSPC: "could not be saved: the disk is full",
    errno.EDQUOT: "could not be saved: the disk quota is used up",
    errno.EFBIG: "could not be saved: it is larger than a file may be here",
    errno.EROFS: "could not be saved: the file system is read-only",
}
_READ_ONLY = "could not be saved: it or its folder is read-only"


class NotebookFileError(FileError, Unusable):
    """A notebook's file cannot be used; the text is one sentence. What it held, it still holds."""


class ProjectNotebook:
    """A `notebooks.storage.NotebookFile` below the projects directory.

    Links to folders are followed as far as they stay below it; the file itself may be no link. One
    that nobody may write is not written, and a file with several names (hard links) becomes two:
    see `replacing.replace`. Raises `NotebookFileError`, at once for a name that is none.
    """

    def __init__(self, projects: Projects, name: str) -> None:
        try:
            self.path: Path = projects.path(name)
        except FileError as error:
            raise NotebookFileError(str(error)) from None
        self._projects = projects
        relative = self.path.relative_to(projects.root)
        self.name = os.fsencode(relative).decode("utf-8", "backslashreplace")
        self._folder, self._last = str(relative.parent), relative.name
        self._swept = False
        if not self._last.lower().endswith(".ipynb"):
            if self.path.is_dir():
                raise NotebookFileError(f"{self._shown} {_REASONS[errno.EISDIR]}.")
            raise NotebookFileError(
                f"{self._shown} is not a notebook: its name must end in .ipynb."
            )

    def read(self) -> tuple[bytes, Stamp]:
        """All it holds."""
        with (
            self._translated(),
            beneath.open_folder(self._projects.root, self._folder) as folder,
            os.fdopen(folder.open_regular(self._last), "rb") as file,
        ):
            data = file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)
            status = os.fstat(file.fileno())
        if len(data) > MAX_BYTES:
            raise NotebookFileError(
                f"{self._shown} has more than {MAX_BYTES:,} bytes, too many to be read; "
                "clear large outputs in Jupyter first."
            )
        return data, Stamp(digest(data).digest(), len(data), status.st_ino, status.st_mtime_ns)

    def stamp(self) -> Stamp | None:
        """What it holds; None: it does not exist."""
        with self._translated():
            try:
                with beneath.open_folder(self._projects.root, self._folder) as folder:
                    fd = folder.open_regular(self._last)
            except FileNotFoundError:
                return None
            try:
                return stamp_of(fd)
            finally:
                os.close(fd)

    def write(self, pieces: Iterable[bytes], expected: Stamp | None) -> Stamp:
        """Write it whole or not at all, in the place of what is `expected`, or of nothing."""
        opened = beneath.make_folder if expected is None else beneath.open_folder
        with self._translated(writing=True), contextlib.ExitStack() as stack:
            try:
                folder = stack.enter_context(opened(self._projects.root, self._folder))
            except FileNotFoundError:
                if expected is None:
                    raise
                raise Conflict(f"{self._shown} is gone, with its folder.") from None
            if not self._swept:
                sweep(folder, self._last)
                self._swept = True
            return replace(folder, self._last, pieces, expected)

    def sibling(self, name: str) -> ProjectNotebook:
        """A file beside it."""
        return ProjectNotebook(self._projects, os.path.join(self._folder, name))

    @contextlib.contextmanager
    def _translated(self, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._explain(error, writing) from None

    def _explain(self, error: OSError, writing: bool) -> NotebookFileError:
        if error.errno == errno.EXDEV:
            return NotebookFileError(
                f"{self._shown} is outside the projects directory {self._projects.root}; "
                "only files below it can be used."
            )
        if writing and error.errno in (errno.EACCES, errno.EPERM):
            reason = _READ_ONLY
        else:
            words = f"could not be used: {error.strerror or error}"
            reason = _REASONS.get(error.errno or 0, words)
        return NotebookFileError(f"{self._shown} {reason}.")

    @property
    def _shown(self) -> str:
        return repr(self.name if len(self.name) <= 200 else self.name[:200] + "…")
