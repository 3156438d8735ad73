"""A run's whole output: a text that can be read from any character on, and its displays.

The text is that of `transcript`; displays stand at places in it. Values that take much memory
are in the run's store (see `archive`) and are read when they are asked for.
"""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kernels.archive import Blob, Store
from kernels.errors import OutputGone
from kernels.outputs import Display, Error, Output, StreamName, Text
from kernels.textlog import Slot
from kernels.transcript import Transcript

#: Characters that are written to the store at a time.
_CHUNK = 32 * 1024
#: Characters of a value, from which on it is kept in the store.
_LARGE = 2048


@dataclass(frozen=True)
class Place:
    """Where an output other than text stands: before the character number `at`."""

    at: int
    slot: Slot


@dataclass(frozen=True)
class Mark:
    """A point in a recording: before character number `at`, after `places` outputs."""

    at: int
    places: int


class Recording:
    """Takes the outputs of one run as they come, and gives any part of them.

    A `textlog.Log` calls `write`, `place` and `clear`; `finish` when the run is over. All that
    reads may raise `OutputGone`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Why a part of the text could not be kept, or "".
        self.trouble = ""
        #: Characters of text so far.
        self.length = 0
        self.places: list[Place] = []
        self._transcript = Transcript(self._append)
        #: Text that is in the store: where each piece begins, and where it is.
        self._starts: list[int] = []
        self._blobs: list[Blob] = []
        self._pending: list[str] = []
        self._pending_size = 0
        self._stored = 0
        self._outputs: list[Output | _StoredText] = []
        self._source: Text | _StoredText | None = None
        self._floor = Mark(0, 0), 0, 0
        #: Set whenever there is more; who waits clears it.
        self.grown = asyncio.Event()
        #: How often something was forgotten, and how often a display was exchanged.
        self.clears = self.exchanges = 0

    @property
    def extent(self) -> int:
        """A number that grows with all that is added."""
        return self.length + len(self.places)

    # -- while the run goes on

    @property
    def size(self) -> int:
        """Bytes of text that have been written, also what was cleared since."""
        return self._stored + len("".join(self._pending).encode())

    def write(self, stream: StreamName, text: str) -> None:
        """Add text that does not change any more."""
        if not self.trouble:
            self._transcript.text(stream, text)

    def place(self, slot: Slot) -> None:
        """An output other than text comes here; an `Error` adds its traceback to the text."""
        if self.trouble:
            return
        if isinstance(slot.value, Error):
            traceback = slot.value.traceback
            ended = not traceback or traceback.endswith("\n")
            self.write("stderr", traceback if ended else traceback + "\n")
            return
        self._transcript.place()
        self.places.append(Place(self.length, slot))
        self.grown.set()

    def begin_part(self, heading: str) -> None:
        """What comes now stands below a line of its own, and is all that `clear` forgets."""
        if self.trouble:
            return
        self._transcript.place()
        self._transcript.text("stdout", f"{heading}\n")
        self._flush()
        self._floor = self.mark, len(self._blobs), self._store.size

    @property
    def mark(self) -> Mark:
        """Where it ends now."""
        return Mark(self.length, len(self.places))

    @property
    def floor(self) -> Mark:
        """What `clear` goes back to now."""
        return self._floor[0]

    def clear(self) -> None:
        """Forget all, or all of this part."""
        mark, blobs, size = self._floor
        self.clears += self.mark != mark
        self._store.clear(size)
        self.length, self._pending_size = mark.at, 0
        self.places, self._pending = self.places[: mark.places], []
        self._starts, self._blobs = self._starts[:blobs], self._blobs[:blobs]
        self._transcript = Transcript(self._append)

    def keep(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """The mime bundle, its large values in the store."""
        kept: dict[str, Any] = {}
        for mime, value in data.items():
            is_text = isinstance(value, str)
            if not is_text or len(value) > _LARGE:
                encoded = _encoded(value) if is_text else json.dumps(value).encode()
                if len(encoded) > _LARGE and (blob := self._store.add(encoded)):
                    value = _StoredValue(blob, is_text)
            kept[mime] = value
        stored = any(isinstance(value, _StoredValue) for value in kept.values())
        return Bundle(self._store, kept) if stored else data

    def _append(self, text: str) -> None:
        self.grown.set()
        self._pending.append(text)
        self._pending_size += len(text)
        self.length += len(text)
        if self._pending_size >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        text = "".join(self._pending)
        if not text:
            return
        data = text.encode()
        blob = self._store.add(data)
        if blob is None:
            # What is pending stays, as the last that there is.
            self.trouble = self._store.trouble
            self._store.hold(len(text))
            return
        self._starts.append(self.length - len(text))
        self._blobs.append(blob)
        self._stored += len(data)
        self._pending, self._pending_size = [], 0

    # -- afterwards

    def finish(self, outputs: tuple[Output, ...], source: str) -> None:
        """The run is over; `outputs` is what its result shows, `source` is what was run."""
        if not self.trouble:
            self._flush()
        self._outputs = [self._put(o) if isinstance(o, Text) else o for o in outputs]
        self._source = self._put(Text("stdout", source))
        self._store.close()

    def _put(self, text: Text) -> Text | _StoredText:
        if len(text.text) <= _LARGE:
            return text
        blob = self._store.add(_encoded(text.text))
        if blob is not None:
            return _StoredText(text.stream, blob)
        self._store.hold(len(text.text))
        return text

    def _got(self, text: Text | _StoredText) -> Text:
        if isinstance(text, Text):
            return text
        return Text(text.stream, _decoded(self._store.read(text.blob)))

    def outputs(self) -> tuple[Output, ...]:
        """What `finish` was given."""
        if self._store.gone:
            raise OutputGone()
        return tuple(
            self._got(output) if isinstance(output, Text | _StoredText) else output
            for output in self._outputs
        )

    @property
    def source(self) -> str | None:
        """What `finish` was given as such; None before."""
        if self._store.gone:
            raise OutputGone()
        return self._got(self._source).text if self._source is not None else None

    def reading(self) -> Reading:
        """All that there is at this moment; it can be read in any thread."""
        return Reading(
            self._store,
            self.length,
            tuple(self.places),
            tuple(self._starts),
            tuple(self._blobs),
            "".join(self._pending),
        )

    @property
    def gone(self) -> bool:
        """Whether nothing of it is kept any more."""
        return self._store.gone

    def drop(self) -> None:
        """Give up all that is kept."""
        self._store.drop()
        self._outputs, self.places, self._pending = [], [], []


@dataclass(frozen=True)
class Reading:
    """The text of a recording, `length` characters, and its `places`, as they were once."""

    _store: Store
    length: int
    places: tuple[Place, ...]
    _starts: tuple[int, ...]
    _blobs: tuple[Blob, ...]
    _pending: str

    def read(self, start: int, end: int) -> str:
        """The characters from number `start` to before number `end`. Raises `OutputGone`."""
        if self._store.gone:
            raise OutputGone()
        parts: list[str] = []
        stored = self.length - len(self._pending)
        index = max(0, bisect_right(self._starts, start) - 1)
        while index < len(self._starts) and self._starts[index] < min(end, stored):
            at = self._starts[index]
            # It may have been cleared meanwhile.
            text = self._store.read(self._blobs[index]).decode("utf-8", "replace")
            parts.append(text[max(0, start - at) : max(0, end - at)])
            index += 1
        parts.append(self._pending[max(0, start - stored) : max(0, end - stored)])
        return "".join(parts)


@dataclass(frozen=True)
class _StoredText:
    stream: StreamName
    blob: Blob


@dataclass(frozen=True)
class _StoredValue:
    blob: Blob
    is_text: bool


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


class Bundle(Mapping[str, Any]):
    """A mime bundle whose large values are read from a store each time they are asked for.

    Asking for one may raise `OutputGone`.
    """

    def __init__(self, store: Store, values: Mapping[str, Any]) -> None:
        self._store, self._values = store, values

    def __getitem__(self, mime: str) -> Any:
        value = self._values[mime]
        if not isinstance(value, _StoredValue):
            return value
        data = self._store.read(value.blob)
        return _decoded(data) if value.is_text else json.loads(data)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, mime: object) -> bool:
        return mime in self._values

    @property
    def in_memory(self) -> int:
        """Characters of its text that are in memory."""
        return sum(len(value) for value in self._values.values() if isinstance(value, str))


def kept(display: Display, recording: Recording) -> Display:
    """The display with its large values in the recording's store."""
    return replace(display, data=recording.keep(display.data))
