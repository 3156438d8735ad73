"""A notebook's file, as this room sees it: whoever runs or edits notebooks is given one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from notebooks.errors import NotebookError

#: How the content in a `Stamp` is told from another. Fast, and nobody makes two of the same.
digest = hashlib.sha256


class Conflict(NotebookError):
    """The file is no longer the one that was seen. Nothing was written."""


class Unusable(NotebookError):
    """The file cannot be read, or not be written. What it held, it still holds."""


@dataclass(frozen=True)
class Stamp:
    """What a file held when it was read or written. Stamps are equal when the content is.

    So a file that was only touched, or exchanged for a copy, is no other one; a file that was
    edited within the clock's granularity is, although its size and time say nothing of it.
    """

    digest: bytes
    size: int
    #: For what may be asked often: unless one of these changes, an edit is not likely.
    inode: int = field(compare=False)
    mtime_ns: int = field(compare=False)


class NotebookFile(Protocol):
    """One file. All of it may take as long as the disk does, and may be called in any thread."""

    @property
    def name(self) -> str:
        """What the user calls it, for messages."""

    @property
    def path(self) -> Path:
        """Where it is."""

    def read(self) -> tuple[bytes, Stamp]:
        """All it holds. Raises `Unusable`, also for more than `reading.MAX_BYTES`."""

    def stamp(self) -> Stamp | None:
        """What it holds; None: it does not exist. Raises `Unusable`."""

    def write(self, pieces: Iterable[bytes], expected: Stamp | None) -> Stamp:
        """Write it whole or not at all, in the place of what is `expected`; None: of nothing.

        Raises `Conflict` if something else is there by now, and `Unusable`.
        """

    def sibling(self, name: str) -> NotebookFile:
        """A file beside it. Raises `Unusable` for what cannot be a name."""
