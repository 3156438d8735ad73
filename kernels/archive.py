"""Where outputs of runs are kept whole: in memory while they are small, otherwise on disk.

Bounded in each session and in all; what is oldest goes first, and of several owners' that of the
one who has most. The files lie in a directory that is removed with the server.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kernels.errors import OutputGone

#: Bytes of a run that are kept in memory; with more it has a file.
_IN_MEMORY = 8 * 1024


@dataclass(frozen=True)
class Room:
    """Bytes that the outputs of one session, and those of all, may take; of the latter those
    that memory may take, which matters when the disk is full."""

    session: int = 256 * 1024 * 1024
    all: int = 1024 * 1024 * 1024
    memory: int = 32 * 1024 * 1024


@dataclass(frozen=True)
class Blob:
    """Where some bytes are in their store."""

    at: int
    size: int


class Archive:
    """The stores of all runs. `directory` is made when the first run needs a file."""

    def __init__(self, directory: Path, room: Room | None = None) -> None:
        self._directory = directory
        self._room = room or Room()
        self._stores: dict[Store, None] = {}
        self._sizes: Counter[Hashable] = Counter()
        self._owners: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._all = self._in_memory = 0

    def open(self, session: Hashable, owner: str = "") -> Store:
        """A new store, the youngest of `session`, which is `owner`'s."""
        store = Store(self, session, owner, self._directory / str(next(self._numbers)))
        self._stores[store] = None
        return store

    def close(self) -> None:
        """Close all of them. Their files go with the directory."""
        for store in self._stores:
            store.close()

    def _make_room(self, store: Store, size: int, in_memory: int) -> str:
        """Have room for `size` bytes more in `store`. Returns why there is none, or ""."""
        room, session = self._room, store.session

        def full_session() -> bool:
            return self._sizes[session] + size > room.session

        def full() -> bool:
            return self._all + size > room.all

        def full_memory() -> bool:
            return self._in_memory + in_memory > room.memory

        if full_session() or full_memory():
            for old in list(self._stores):
                if old.closed and (
                    (full_session() and old.session == session) or (full_memory() and old.in_memory)
                ):
                    old.drop()
        while full() and (next_ := self._next_to_go()) is not None:
            next_.drop()
        if full_session():
            return f"the outputs of a session may take {room.session >> 20} MB"
        return f"outputs may take {room.all >> 20} MB in all" if full() else ""

    def _next_to_go(self) -> Store | None:
        """The oldest of those that may go, of the owner who has most."""
        oldest: dict[str, Store] = {}
        for store in self._stores:
            if store.closed:
                oldest.setdefault(store.owner, store)
        return max(oldest.values(), key=lambda each: self._owners[each.owner], default=None)

    def _count(self, store: Store, size: int, in_memory: int) -> None:
        self._sizes[store.session] += size
        self._owners[store.owner] += size
        self._all += size
        self._in_memory += in_memory
        if not self._sizes[store.session]:
            del self._sizes[store.session]
        if not self._owners[store.owner]:
            del self._owners[store.owner]

    def _forget(self, store: Store) -> None:
        self._stores.pop(store, None)


class Store:
    """The bytes of one run, written once and read at any place. Made by `Archive.open`."""

    def __init__(self, archive: Archive, session: Hashable, owner: str, path: Path) -> None:
        self.session, self.owner = session, owner
        #: Whether it is written to no more, so that it may be dropped for a younger one.
        self.closed = False
        #: Why it takes no more, or "".
        self.trouble = ""
        self._archive, self._path = archive, path
        self._memory: bytearray | None = bytearray()
        self._file: BinaryIO | None = None
        self._size = self._held = 0
        #: Whether it has been dropped.
        self.gone = False

    @property
    def in_memory(self) -> bool:
        """Whether dropping it gives memory back."""
        return self._memory is not None or self._held > 0

    def add(self, data: bytes) -> Blob | None:
        """Keep `data`. None, and `trouble` says why, when that cannot be."""
        if self._memory is not None and self._size + len(data) > _IN_MEMORY and not self.trouble:
            self._to_disk()
        size = len(data) if self._memory is not None else 0
        self.trouble = self.trouble or self._archive._make_room(self, len(data), size)
        if self.trouble:
            return None
        blob = Blob(self._size, len(data))
        if self._memory is not None:
            self._memory += data
        elif not self._append(data):
            return None
        self._size += len(data)
        self._archive._count(self, len(data), size)
        return blob

    def hold(self, size: int) -> None:
        """Count `size` bytes that its user has in memory for want of room here."""
        self._archive._make_room(self, 0, size)
        self._held += size
        self._archive._count(self, 0, size)

    def read(self, blob: Blob, start: int = 0, size: int | None = None) -> bytes:
        """The bytes of `blob`, or `size` of them from `start`. Raises `OutputGone`."""
        size = blob.size - start if size is None else min(size, blob.size - start)
        if self.gone:
            raise OutputGone()
        if self._memory is not None:
            return bytes(self._memory[blob.at + start : blob.at + start + size])
        try:
            with open(self._path, "rb") as file:
                file.seek(blob.at + start)
                return file.read(size)
        except OSError:
            raise OutputGone() from None

    @property
    def size(self) -> int:
        """Bytes kept so far."""
        return self._size

    def clear(self, size: int = 0) -> None:
        """Forget all that was kept after the first `size` bytes."""
        less = self._size - size
        in_memory = self._held + (less if self._memory is not None else 0)
        self._archive._count(self, -less, -in_memory)
        self._size, self._held = size, 0
        if self._memory is not None:
            del self._memory[size:]
        elif self._file is not None:
            with contextlib.suppress(OSError):
                self._file.seek(size)
                self._file.truncate()

    def close(self) -> None:
        """Nothing is added any more. What is kept stays until its room is needed."""
        self.closed = True
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def drop(self) -> None:
        """Give up what is kept."""
        if self.gone:
            return
        self.clear()
        self.close()
        self.gone = True
        self._memory = None
        self._archive._forget(self)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _to_disk(self) -> None:
        assert self._memory is not None
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115
            self._file.write(self._memory)
        except OSError as error:
            self._give_up(error)
            return
        self._archive._count(self, 0, -self._size)
        self._memory = None

    def _append(self, data: bytes) -> bool:
        assert self._file is not None
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self._give_up(error)
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            return False
        return True

    def _give_up(self, error: OSError) -> None:
        self.trouble = f"the disk does not take it: {error.strerror or error}"
