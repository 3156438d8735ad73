"""A run's output as a document: a text with displays at their places, of which any part can be
read. Offsets count its characters, the words of its displays included, and stay as they are
while the output grows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kernels.errors import OutputGone
from kernels.outputs import Display, Error, Omitted, Output, StreamName, Text
from kernels.recording import Mark, Reading
from kernels.transcript import Transcript, clean
from server.displays import present
from server.images import Picture

#: Runs whose faces are remembered, and bytes of the pictures that are.
_RUNS, _PICTURES = 8, 4_000_000


@dataclass(frozen=True)
class Face:
    """How a display is shown: `words`, or a picture with a `title`; see `displays.Shown`."""

    words: str
    is_picture: bool = False
    title: str = ""
    more: tuple[str, ...] = ()
    cut: bool = False


class Faces:
    """The faces of displays, remembered for the last few runs, since some have to be drawn."""

    def __init__(self) -> None:
        # By run and by the identity of the display, which is therefore kept, too.
        self._runs: dict[str, dict[int, tuple[Display, Face]]] = {}
        self._pictures: dict[tuple[str, int], Picture] = {}
        # Answers are made in threads.
        self._lock = threading.RLock()

    def of(self, run_id: str, display: Display) -> Face:
        """The face of a display of that run."""
        with self._lock:
            known = self._runs.setdefault(run_id, {})
            if id(display) not in known:
                known[id(display)] = display, self._look(run_id, display)
                self._forget()
            return known[id(display)][1]

    def picture(self, run_id: str, display: Display) -> Picture | None:
        """The picture of a display of that run."""
        key = run_id, id(display)
        with self._lock:
            if self.of(run_id, display).is_picture and key not in self._pictures:
                self._look(run_id, display)
            return self._pictures.get(key)

    def _forget(self) -> None:
        while len(self._runs) > _RUNS:
            oldest = next(iter(self._runs))
            for number in self._runs.pop(oldest):
                self._pictures.pop((oldest, number), None)

    def _look(self, run_id: str, display: Display) -> Face:
        try:
            shown = present(dict(display.data), display.metadata)
        except OutputGone:
            return Face("[a display that is no longer kept]")
        text, picture = clean(shown.text), shown.picture
        if picture is None:
            return Face(text, more=shown.more, cut=shown.cut)
        self._pictures[run_id, id(display)] = picture
        while sum(len(kept.raw) for kept in self._pictures.values()) > max(
            _PICTURES, len(picture.raw)
        ):
            del self._pictures[next(iter(self._pictures))]
        title = " ".join(text.split())[:200]
        return Face(described(picture, title), True, title, shown.more)


def described(picture: Picture, title: str) -> str:
    """A picture in words: format, size, title."""
    return f"{picture.words}, {title}" if title else picture.words


@dataclass(frozen=True)
class Words:
    """Text at hand, of one stream."""

    text: str
    stream: StreamName


@dataclass(frozen=True)
class Stored:
    """The characters from number `start` to before number `end` of a recording's text."""

    reading: Reading
    start: int
    end: int


@dataclass(frozen=True)
class Missing:
    """Text that there was, and is not at hand."""

    characters: int
    lines: int


@dataclass(frozen=True)
class Item:
    """A display, the `number`-th of its run and its `image`-th picture (0: it is none); `words`
    stand for it in the text, `cut` if they are not all of a table."""

    display: Display
    number: int
    image: int
    words: str
    title: str
    more: tuple[str, ...]
    cut: bool = False


Piece = Words | Stored | Missing | Item


class Document:
    """The pieces of a run's output, in order."""

    def __init__(self, pieces: Iterable[Piece], placed: Sequence[Piece | None] = ()) -> None:
        #: What stands at each place of the recording that it was made of.
        self._placed = placed
        self._pieces = [piece for piece in pieces if _length(piece) or isinstance(piece, Item)]
        #: Characters in all.
        self.length = sum(map(_length, self._pieces))

    def part(self, start: int, end: int) -> Iterator[Words | Missing | Item]:
        """What stands from character `start` to before `end`. A picture is there whole or not at
        all, by where it begins. May raise `OutputGone`."""
        at = 0
        for piece in self._pieces:
            size = _length(piece)
            first, last = max(start - at, 0), min(end - at, size)
            begins_here = start <= at < end or (size == 0 and start <= at <= end)
            at += size
            if isinstance(piece, Item) and piece.image:
                if begins_here:
                    yield piece
            elif isinstance(piece, Item) and begins_here and last == size:
                yield piece
            elif first < last:
                yield _cut(piece, first, last)

    def offset(self, mark: Mark) -> int:
        """The number of the character at a mark of the recording that it was made of."""
        return mark.at + sum(_length(piece) for piece in self._placed[: mark.places] if piece)

    def images_between(self, begin: Mark, end: Mark) -> list[Item]:
        """The pictures between two marks of that recording, in order."""
        found = self._placed[begin.places : end.places]
        return [piece for piece in found if isinstance(piece, Item) and piece.image]

    def items(self) -> list[Item]:
        """Its displays, in order."""
        return [piece for piece in self._pieces if isinstance(piece, Item)]

    def images(self) -> list[Item]:
        """Its pictures, in order."""
        return [item for item in self.items() if item.image]


def _length(piece: Piece) -> int:
    match piece:
        case Words(text):
            return len(text)
        case Stored(_, start, end):
            return end - start
        case Missing(characters):
            return characters
        case Item():
            return len(piece.words)


def _cut(piece: Piece, first: int, last: int) -> Words | Missing:
    match piece:
        case Words(text, stream):
            return Words(text[first:last], stream)
        case Stored(reading, start, _):
            return Words(reading.read(start + first, start + last), "stdout")
        case Missing(characters, lines):
            return Missing(last - first, lines * (last - first) // characters)
        case Item():
            return Words(piece.words[first:last], "stdout")


def of_outputs(run_id: str, outputs: Iterable[Output], faces: Faces) -> Document:
    """The document of a result's outputs, in which a part of the text may be missing."""
    pieces: list[Piece] = []
    transcript = Transcript(lambda text: pieces.append(Words(text, transcript.stream)))
    items = _Items(run_id, faces)
    for output in outputs:
        match output:
            case Text(stream, text):
                transcript.text(stream, text)
            case Error(_, _, traceback):
                transcript.text("stderr", _ended(traceback))
            case Display():
                transcript.place()
                pieces.append(items.make(output))
            case Omitted(characters, lines, displays):
                if characters:
                    pieces.append(Missing(characters, lines))
                if displays:
                    transcript.place()
                    pieces.append(Words(f"{Omitted(displays=displays).words}\n", "stdout"))
    return Document(pieces)


def of_reading(run_id: str, reading: Reading, faces: Faces) -> Document:
    """The document of all that a run has written so far."""
    pieces: list[Piece] = []
    placed: list[Piece | None] = []
    items = _Items(run_id, faces)
    at = 0
    for place in reading.places:
        pieces.append(Stored(reading, at, place.at))
        at = place.at
        value = place.slot.value
        piece: Piece | None = None
        if isinstance(value, Display):
            piece = items.make(value)
        elif isinstance(value, Omitted):
            piece = Words(f"{value.words}\n", "stdout")
        pieces += [piece] if piece else []
        placed.append(piece)
    return Document([*pieces, Stored(reading, at, reading.length)], placed)


class _Items:
    """Numbers the displays of one run."""

    def __init__(self, run_id: str, faces: Faces) -> None:
        self._run_id, self._faces = run_id, faces
        self._number = self._images = 0

    def make(self, display: Display) -> Item:
        face = self._faces.of(self._run_id, display)
        self._number += 1
        self._images += face.is_picture
        words = f"[image {self._images}: {face.words}]" if face.is_picture else face.words
        image = self._images if face.is_picture else 0
        words = _ended(words)
        return Item(display, self._number, image, words, face.title, face.more, face.cut)


def _ended(text: str) -> str:
    """`text` with its last line ended; nothing stays nothing."""
    return text if not text or text.endswith("\n") else text + "\n"
