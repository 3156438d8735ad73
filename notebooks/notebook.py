"""A notebook file: its cells, and its text, of which only what is changed is written anew."""

from __future__ import annotations

import copy
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from notebooks import document
from notebooks.errors import BadEdit
from notebooks.layout import Style, encoded, exchanged, lines, member, same
from notebooks.part import Part
from notebooks.reading import BOM, Cell, cell_of, cell_spans, check_cells, loaded, version_of
from notebooks.repair import repair


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
        #: The text before the first cell, and that after the last.
        self._frame = (b"", b"")
        self._parts: list[Part] = []

    # -- reading

    @classmethod
    def parse(cls, data: bytes) -> Notebook:
        """Read a file's content. Raises `NotANotebook`."""
        text, content = loaded(data)
        version = version_of(content)
        check_cells(content, version[0])
        repairs = repair(content, version)
        notes = repairs.notes
        if repairs.changed:
            style = Style.of(text[text.index("{") :], content)
            text = repairs.applied(text, style)
            content, version = json.loads(text.removeprefix(BOM)), repairs.version
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
        notebook = cls(Style.of(text[start:], content), version)
        notebook.metadata = content.get("metadata", {})
        notebook.notes = tuple(notes)
        spans, arrays = cell_spans(text, start, version[0])
        if not spans:
            at = arrays[0] + 1 if arrays else len(text)
            notebook._frame = (encoded(text[:at]), encoded(text[at:]))
            return notebook
        first, last = spans[0][0], spans[-1][1]
        notebook._frame = (encoded(text[:first]), encoded(text[last:]))
        done = first
        for begin, end in spans:
            cell = cell_of(json.loads(text[begin:end]), version[0])
            # A gap may span the end of a worksheet.
            notebook._parts.append(Part(cell, encoded(text[begin:end]), encoded(text[done:begin])))
            done = end
        return notebook

    def copy(self) -> Notebook:
        """One that changes apart from this one; cheap."""
        other = copy.copy(self)
        other._parts = [*self._parts]
        return other

    def become(self, other: Notebook) -> None:
        """Take over all that another one holds, which is not to be used afterwards."""
        self.__dict__ = other.__dict__

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
        stored = json.loads(part.text).get("outputs", [])
        return document.joined_outputs(stored, self.version[0])

    @property
    def language(self) -> str:
        """The name of its programming language, lower-case; "python" where it does not say."""
        name = self._said("language_info", "name") or self._said("kernelspec", "language")
        return name.lower() or "python"

    @property
    def kernelspec(self) -> str:
        """The name of its kernelspec, or ""."""
        return self._said("kernelspec", "name")

    def _said(self, about: str, name: str) -> str:
        said = self.metadata.get(about)
        value = said.get(name) if isinstance(said, Mapping) else None
        return value if isinstance(value, str) else ""

    # -- writing

    def pieces(self) -> Iterator[bytes]:
        """The file's content, piece by piece, as it is at this moment.

        Large outputs are turned into text only when their piece is asked for. Changes after the
        call do not show. Another thread may call it: each result of a cell is there or not.
        """
        return self.copy()._written()

    def _written(self) -> Iterator[bytes]:
        head, tail = self._frame
        yield head
        for part in self._parts:
            yield part.gap
            yield from part.pieces(self.version[0], self._style, self._depth)
        yield tail

    def dumps(self) -> bytes:
        """The file's content."""
        return b"".join(self.pieces())

    @property
    def _depth(self) -> int:
        """How deep a cell stands."""
        return 2 if self.version[0] >= 4 else 4

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
        style, depth = self._style, self._depth
        part = self._marked(self._parts[number], "execution", dict(times) if times else None)
        if execution_count != part.cell.execution_count:
            name = "execution_count" if self.version[0] >= 4 else "prompt_number"
            count = json.dumps(execution_count)
            part = part.changed(
                lambda text: exchanged(text, name, count, style, depth),
                execution_count=execution_count,
            )
        # The same ones keep their text, which may have another order of names.
        if not same([*self.outputs(number)], [*outputs]):
            part = part.with_outputs(outputs, self.version[0], style, depth)
        self._parts[number] = part

    def clear_result(self, number: int) -> None:
        """Take the outputs, the count and the times of a code cell away, where there are any."""
        cell = self._parts[number].cell
        if cell.type == "code" and (
            cell.execution_count is not None or "execution" in cell.metadata or self.outputs(number)
        ):
            self.set_result(number, [], None)

    def set_cell_metadata(self, number: int, name: str, value: Any) -> None:
        """Exchange one entry of a cell's metadata; None takes it out."""
        self._parts[number] = self._marked(self._parts[number], name, value)

    def _marked(self, part: Part, name: str, value: Any) -> Part:
        """The cell with that entry in its metadata; None: without it."""
        metadata = part.cell.metadata
        if _has(metadata, name, value):
            return part
        return part.changed(
            lambda text: self._with_metadata(text, name, value, self._depth),
            metadata=_with(metadata, name, value),
        )

    def set_metadata(self, name: str, value: Any) -> None:
        """Exchange one entry of the notebook's metadata; None takes it out."""
        if _has(self.metadata, name, value):
            return
        self._reframe(lambda text: self._with_metadata(text, name, value, 0))
        self.metadata = _with(self.metadata, name, value)

    def _with_metadata(self, text: str, name: str, value: Any, depth: int) -> str:
        """The text of an object with one entry of its metadata exchanged, or taken out if None."""
        style = self._style
        at = member(text, "metadata")
        old = text[at.start : at.end] if at is not None else "{}"
        entry = None if value is None else style.dumps(value, depth + 2)
        new = exchanged(old, name, entry, style, depth + 1)
        return exchanged(text, "metadata", new, style, depth) if new != old else text

    def _reframe(self, change: Callable[[str], str]) -> None:
        """Change the text around the cells, for which a single 0 stands."""
        head, tail = self._frame
        # Without a tail there is no list of cells.
        frame = head.decode() + ("0" if tail else "") + tail.decode()
        start, end = frame.index("{"), len(frame.rstrip())
        frame = frame[:start] + change(frame[start:end]) + frame[end:]
        spans, _ = cell_spans(frame, start, self.version[0])
        begin, end = spans[0] if spans else (len(frame), len(frame))
        self._frame = (encoded(frame[:begin]), encoded(frame[end:]))

    def _check_version(self) -> None:
        if self.version[0] < 4:
            raise BadEdit(
                f"The notebook is of version {self.version[0]}, whose cells cannot be edited. "
                "Upgrade it first."
            )

    def insert(self, number: int, cell: Cell) -> None:
        """Put a new cell before the cell of that number, or at the end. It gets an id of its own
        where the version has ids and it has none, or that of another cell."""
        self._check_version()
        if self.version < (4, 5):
            cell = replace(cell, id=None)
        elif cell.id is None or any(part.cell.id == cell.id for part in self._parts):
            cell = replace(cell, id=self._new_id())
        text = encoded(self._style.dumps(self._content(cell), self._depth))
        self._put(number, Part(cell, text))

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
        self._check_version()
        self._take(number)

    def move(self, number: int, to: int) -> None:
        """Have a cell at the number `to` of those that there are afterwards."""
        self._check_version()
        if to != number:
            self._put(to, self._take(number))

    def _take(self, number: int) -> Part:
        part = self._parts.pop(number)
        if not self._parts:
            head, tail = self._frame
            self._frame = (head.rstrip(), tail.lstrip())
        elif number == 0:
            self._parts[0] = replace(self._parts[0], gap=b"")
        return part

    def _put(self, number: int, part: Part) -> None:
        line = self._style.line(self._depth)
        gap = encoded((self._style.comma if self._style.indent is None else ",") + line)
        if not self._parts:
            head, tail = self._frame
            end = encoded(self._style.line(self._depth - 1))
            self._frame = (head.rstrip() + encoded(line), end + tail.lstrip())
        if self._parts and number == 0:
            self._parts[0] = replace(self._parts[0], gap=gap)
        self._parts.insert(number, replace(part, gap=gap if number else b""))

    def replace_source(self, number: int, source: str) -> None:
        """Exchange a cell's source; its outputs stay until it is run."""
        self._check_version()
        part = self._parts[number]

        def change(text: str) -> str:
            old = member(text, "source")
            whole = old is not None and text[old.start] == '"'
            value = self._style.dumps(source if whole else lines(source), self._depth + 1)
            return exchanged(text, "source", value, self._style, self._depth)

        if source != part.cell.source:
            self._parts[number] = part.changed(change, source=source)

    def set_type(self, number: int, type: str) -> None:
        """Make it a cell of another type. Of a code cell the outputs go."""
        self._check_version()
        part = self._parts[number]
        if type == part.cell.type:
            return
        style, depth = self._style, self._depth

        def change(text: str) -> str:
            text = exchanged(text, "cell_type", json.dumps(type), style, depth)
            code = type == "code"
            text = exchanged(text, "outputs", "[]" if code else None, style, depth)
            text = exchanged(text, "execution_count", "null" if code else None, style, depth)
            # Only text cells have attachments.
            return exchanged(text, "attachments", None, style, depth) if code else text

        part = replace(part, outputs=None).changed(change, type=type, execution_count=None)
        self._parts[number] = self._marked(part, "execution", None)


def _has(values: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether an entry is already as it is to be; None: not there."""
    return name not in values if value is None else name in values and same(values[name], value)


def _with(values: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    kept = {key: old for key, old in values.items() if key != name}
    return kept if value is None else {**kept, name: value}
