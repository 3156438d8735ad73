"""A cell of a notebook file with the text that it has in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from notebooks import document
from notebooks.layout import Style, encoded, exchanged, member
from notebooks.reading import Cell

#: Bytes of outputs up to which their text is kept with the cell's.
_SMALL = 64 * 1024


@dataclass(frozen=True)
class Part:
    """A cell with its text, and the text between it and the one before it.

    `outputs`: large ones, for which `[]` stands in `text`, at byte `place`.
    """

    cell: Cell
    text: bytes
    gap: bytes = b""
    outputs: Sequence[Mapping[str, Any]] | None = None
    place: int = 0

    def changed(self, change: Callable[[str], str], **members: Any) -> Part:
        """With its text changed, but for the outputs, which stay where they are; `members` are
        those of the cell that the change is about."""
        text = change(self.text.decode())
        place = 0 if self.outputs is None else _outputs_at(text)
        cell = replace(self.cell, **members)
        return replace(self, cell=cell, text=encoded(text), place=place)

    def with_outputs(
        self, outputs: Sequence[Mapping[str, Any]], major: int, style: Style, depth: int
    ) -> Part:
        """With its outputs exchanged for those, of version 4 and with their texts joined."""
        text = exchanged(self.text.decode(), "outputs", "[]", style, depth)
        part = replace(self, text=encoded(text), outputs=None, place=0)
        if not outputs:
            return part
        place = _outputs_at(text)
        pieces = style.pieces(document.split_outputs(outputs, major), depth + 1)
        first = next(pieces)
        if len(first) > _SMALL or next(pieces, b""):
            return replace(part, outputs=outputs, place=place)
        return replace(part, text=part.text[:place] + first + part.text[place + 2 :])

    def pieces(self, major: int, style: Style, depth: int) -> Iterator[bytes]:
        """The text with the outputs in it."""
        if self.outputs is None:
            yield self.text
            return
        yield self.text[: self.place]
        yield from style.pieces(document.split_outputs(self.outputs, major), depth + 1)
        yield self.text[self.place + 2 :]


def _outputs_at(text: str) -> int:
    """The byte at which the value of `outputs` begins."""
    outputs = member(text, "outputs")
    assert outputs is not None
    return len(encoded(text[: outputs.start]))
