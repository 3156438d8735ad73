"""A notebook file: its cells, and its text, of which only what is changed is written anew."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from notebooks import document
from notebooks.layout import Style, encoded, exchanged, lines, members
from notebooks.reading import BOM, Cell, cell_of, cell_spans, check_cells, loaded, version_of
from notebooks.repair import repair

#: Bytes of outputs up to which their text is kept with the cell's.
_SMALL = 64 * 1024


class _Part:
    """A cell with its text, and the text between it and the one before it."""

    def __init__(self, cell: Cell, text: bytes, gap: bytes = b"") -> None:
        self.cell, self.text, self.gap = cell, text, gap
        #: Large outputs, for which `[]` stands in `text` at this place.
        self.outputs: Sequence[Mapping[str, Any]] | None = None
        self.place = 0

    def rewrite(self, change: Callable[[str], str]) -> None:
        """Change the text but for the outputs, which stay where they are."""
        text = change(self.text.decode())
        self.text = encoded(text)
        if self.outputs is not None:
            self.place = len(encoded(text[: _outputs_at(text)]))


class Notebook:
    """The content of one file. What is not changed stays byte for byte as it was read.

    Numbers of cells count from 0.
    """

    def __init__(self, style: Style, version: tuple[int, int]) -> None:
        self._style = style
        #: nbformat and nbformat_minor.
        self.version = version
        self.metadata: Mapping[str, Any] = {}
        #: Sentences on what is wrong with the file, and what was set right of it.
        self.notes: tuple[str, ...] = ()
        self._head = self._tail = b""
        self._parts: list[_Part] = []

    # -- reading

    @classmethod
    def parse(cls, data: bytes) -> Notebook:
        """Read a file's content. Raises `NotANotebook`."""
        text, content = loaded(data)
        version = version_of(content)
        repaired = repair(content, version)
        if repaired.changed:
            style = Style.of(text.lstrip(BOM))
            bom = BOM if text.startswith(BOM) else ""
            end = text[len(text.rstrip()) :]
            text = bom + repaired.applied(text.removeprefix(BOM).rstrip(), style) + end
            content, version = json.loads(text.removeprefix(BOM)), repaired.version
        check_cells(content, version[0])
        notes = list(repaired.notes)
        if problem := document.problem(content):
            notes.append(f"It breaks the schema of notebooks, which is left so: {problem}.")
        return cls._of(text, content, version, notes)

    @classmethod
    def _of(
        cls,
        text: str,
        content: Mapping[str, Any],
        version: tuple[int, int],
        notes: Sequence[str] = (),
    ) -> Notebook:
        start = text.index("{")
        notebook = cls(Style.of(text[start:]), version)
        notebook.metadata = dict(content.get("metadata") or {})
        notebook.notes = tuple(notes)
        spans, arrays = cell_spans(text, start, version[0])
        done = 0
        for number, (begin, end) in enumerate(spans):
            # The first one's is the head; a gap may span the end of a worksheet.
            gap = encoded(text[done:begin])
            if not number:
                notebook._head, gap = gap, b""
            part = text[begin:end]
            notebook._parts.append(_Part(cell_of(json.loads(part)), encoded(part), gap))
            done = end
        if not spans:
            done = arrays[0] + 1 if arrays else len(text)
            notebook._head = encoded(text[:done])
        notebook._tail = encoded(text[done:])
        return notebook

    @classmethod
    def new(cls, kernelspec: Mapping[str, str] | None = None) -> Notebook:
        """An empty notebook of version 4.5, for Python if nothing else is said."""
        spec = kernelspec or {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        }
        language = spec.get("language", "python")
        metadata = {"kernelspec": dict(spec), "language_info": {"name": language}}
        content = {"cells": [], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        return cls._of(Style().dumps(content) + "\n", content, (4, 5))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, in order."""
        return tuple(part.cell for part in self._parts)

    def outputs(self, number: int) -> Sequence[Mapping[str, Any]]:
        """The outputs of a cell as nbformat 4 has them, texts joined. Not to be changed."""
        part = self._parts[number]
        if part.outputs is not None:
            return part.outputs
        stored = json.loads(part.text).get("outputs") or []
        return document.joined_outputs(stored, self.version[0])

    @property
    def language(self) -> str:
        """The name of its programming language, lower-case; "python" where it does not say."""
        info = self.metadata.get("language_info") or {}
        spec = self.metadata.get("kernelspec") or {}
        return str(info.get("name") or spec.get("language") or "python").lower()

    @property
    def kernelspec(self) -> str:
        """The name of its kernelspec, or ""."""
        return str((self.metadata.get("kernelspec") or {}).get("name") or "")

    # -- writing

    def pieces(self) -> Iterator[bytes]:
        """The file's content, piece by piece, as it is at this moment.

        Large outputs are turned into text only when their piece is asked for. Changes after the
        call do not show.
        """
        parts = [(p.gap, p.text, p.place, p.outputs) for p in self._parts]
        return self._written(self._head, parts, self._tail)

    def _written(
        self,
        head: bytes,
        parts: Sequence[tuple[bytes, bytes, int, Sequence[Mapping[str, Any]] | None]],
        tail: bytes,
    ) -> Iterator[bytes]:
        yield head
        for gap, text, place, outputs in parts:
            if outputs is None:
                yield gap + text
                continue
            yield gap + text[:place]
            yield from self._style.pieces(self._stored(outputs), self._depth + 1)
            yield text[place + 2 :]
        yield tail

    def dumps(self) -> bytes:
        """The file's content."""
        return b"".join(self.pieces())

    @property
    def _depth(self) -> int:
        """How deep a cell stands."""
        return 2 if self.version[0] >= 4 else 4

    def _stored(self, outputs: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        return document.split_outputs(outputs, self.version[0])

    def _member(self, name: str) -> str:
        """What a cell's member is called in this version."""
        if self.version[0] >= 4:
            return name
        return {"source": "input", "execution_count": "prompt_number"}.get(name, name)

    # -- changes

    def set_result(
        self,
        number: int,
        outputs: Sequence[Mapping[str, Any]],
        execution_count: int | None,
        times: Mapping[str, str] | None = None,
    ) -> None:
        """Exchange what an execution of a code cell leaves; the rest of it stays.

        `outputs`: of nbformat 4, texts joined; not to be changed afterwards. `times`: for
        `metadata.execution`; None takes that away, where it is.
        """
        part = self._parts[number]
        style, depth = self._style, self._depth
        self.set_cell_metadata(number, "execution", dict(times) if times else None)
        part.cell = replace(part.cell, execution_count=execution_count)
        count = json.dumps(execution_count)
        text = exchanged(part.text.decode(), self._member("execution_count"), count, style, depth)
        text = exchanged(text, "outputs", "[]", style, depth)
        part.text, part.outputs = encoded(text), None
        if not outputs:
            return
        part.place = len(encoded(text[: _outputs_at(text)]))
        pieces = style.pieces(self._stored(outputs), depth + 1)
        first = next(pieces)
        if len(first) > _SMALL or next(pieces, b""):
            part.outputs = outputs
        else:
            part.text = part.text[: part.place] + first + part.text[part.place + 2 :]

    def clear_result(self, number: int) -> None:
        """Take the outputs, the count and the times of a code cell away, where there are any."""
        cell = self._parts[number].cell
        if cell.type == "code" and (
            cell.execution_count is not None or "execution" in cell.metadata or self.outputs(number)
        ):
            self.set_result(number, [], None)

    def set_cell_metadata(self, number: int, name: str, value: Any) -> None:
        """Exchange one entry of a cell's metadata; None takes it out."""
        part = self._parts[number]
        part.rewrite(lambda text: self._with_metadata(text, name, value, self._depth))
        part.cell = replace(part.cell, metadata=_with(part.cell.metadata, name, value))

    def set_metadata(self, name: str, value: Any) -> None:
        """Exchange one entry of the notebook's metadata; None takes it out."""
        self._reframe(lambda text: self._with_metadata(text, name, value, 0))
        self.metadata = _with(self.metadata, name, value)

    def _with_metadata(self, text: str, name: str, value: Any, depth: int) -> str:
        """The text of an object with one entry of its metadata exchanged, or taken out if None."""
        style = self._style
        old = next((text[m.start : m.end] for m in members(text) if m.name == "metadata"), "{}")
        entry = None if value is None else style.dumps(value, depth + 2)
        new = exchanged(old, name, entry, style, depth + 1)
        return exchanged(text, "metadata", new, style, depth) if new != old else text

    def _reframe(self, change: Callable[[str], str]) -> None:
        """Change the text around the cells, for which a single 0 stands."""
        frame = self._head.decode() + "0" + self._tail.decode()
        start, end = frame.index("{"), len(frame.rstrip())
        frame = frame[:start] + change(frame[start:end]) + frame[end:]
        ((begin, end),), _ = cell_spans(frame, start, self.version[0])
        self._head, self._tail = encoded(frame[:begin]), encoded(frame[end:])

    def insert(self, number: int, cell: Cell) -> None:
        """Put a new cell before the cell of that number, or at the end. It gets an id of its own
        where the version has ids and it has none."""
        if self.version >= (4, 5) and cell.id is None:
            cell = replace(cell, id=self._new_id())
        text = encoded(self._style.dumps(self._content(cell), self._depth))
        self._put(number, _Part(cell, text))

    def _content(self, cell: Cell) -> dict[str, Any]:
        """A cell as it is written, with the members in the order in which Jupyter has them."""
        content: dict[str, Any] = {"cell_type": cell.type}
        if cell.type == "code":
            content["execution_count"] = cell.execution_count
        if self.version >= (4, 5):
            content["id"] = cell.id
        content["metadata"] = dict(cell.metadata)
        if cell.type == "code":
            content["outputs"] = []
        content["source"] = lines(cell.source)
        return content

    def _new_id(self) -> str:
        used = {part.cell.id for part in self._parts}
        return next(ident for ident in iter(lambda: secrets.token_hex(4), "") if ident not in used)

    def delete(self, number: int) -> None:
        """Take a cell out."""
        self._take(number)

    def move(self, number: int, to: int) -> None:
        """Have a cell at the number `to` of those that there are afterwards."""
        self._put(to, self._take(number))

    def _take(self, number: int) -> _Part:
        part = self._parts.pop(number)
        if number == 0 and self._parts:
            self._parts[0].gap = b""
        return part

    def _put(self, number: int, part: _Part) -> None:
        line = self._style.line(self._depth)
        gap = encoded((self._style.comma if self._style.indent is None else ",") + line)
        if not self._parts:
            self._head = self._head.rstrip() + encoded(line)
            self._tail = encoded(self._style.line(self._depth - 1)) + self._tail.lstrip()
            part.gap = b""
        elif number == 0:
            self._parts[0].gap, part.gap = gap, b""
        else:
            part.gap = gap
        self._parts.insert(number, part)

    def replace_source(self, number: int, source: str) -> None:
        """Exchange a cell's source; its outputs stay until it is run."""
        part = self._parts[number]
        name = "source" if part.cell.type != "code" else self._member("source")

        def change(text: str) -> str:
            old = next((m for m in members(text) if m.name == name), None)
            whole = old is not None and text[old.start] == '"'
            value = source if whole else lines(source)
            text_of = self._style.dumps(value, self._depth + 1)
            return exchanged(text, name, text_of, self._style, self._depth)

        part.rewrite(change)
        part.cell = replace(part.cell, source=source)

    def set_type(self, number: int, type: str) -> None:
        """Make it a cell of another type. Of a code cell the outputs go."""
        part = self._parts[number]
        if type == part.cell.type:
            return
        style, depth = self._style, self._depth
        part.outputs = None

        def change(text: str) -> str:
            text = exchanged(text, "cell_type", json.dumps(type), style, depth)
            code = type == "code"
            text = exchanged(text, "outputs", "[]" if code else None, style, depth)
            text = exchanged(text, "execution_count", "null" if code else None, style, depth)
            # Only text cells have attachments.
            return exchanged(text, "attachments", None, style, depth) if code else text

        part.rewrite(change)
        part.cell = replace(part.cell, type=type, execution_count=None)
        self.set_cell_metadata(number, "execution", None)


def _outputs_at(text: str) -> int:
    return next(m.start for m in members(text) if m.name == "outputs")


def _with(values: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    kept = {key: old for key, old in values.items() if key != name}
    return kept if value is None else {**kept, name: value}
