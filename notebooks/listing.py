"""A notebook's cells as text to read: all of them in short, or one whole."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kernels.transcript import clean
from notebooks.layout import encoded
from notebooks.notebook import Notebook
from notebooks.reading import Cell
from notebooks.selection import cell_number

#: Characters of a listing, and those of a cell's source and of all its outputs when it is whole.
MOST = 15_000
WHOLE = 20_000
#: Cells of a listing, if nothing else is said.
CELLS = 200

#: Encoded data in a text; what is no such thing, but as long and as hard to read, goes with it.
_DATA = re.compile(r"(data:[\w.+/-]*;base64,)([\w+/=\\-]{40,})")
_RUN = re.compile(r"[A-Za-z0-9+/_-]{120,}={0,2}")
#: Forms that are shown as text, the first of them that there is.
_READABLE = ("text/markdown", "text/latex", "text/plain")


@dataclass(frozen=True)
class _Detail:
    """How much of each cell is shown: lines of the source, and characters of a line of it, of all
    outputs, and of the tags. Without lines all is on one."""

    lines: int
    width: int
    outputs: int
    tags: int


#: The first one with which all cells fit is taken.
_DETAILS = (
    _Detail(8, 160, 600, 200),
    _Detail(4, 120, 300, 100),
    _Detail(2, 100, 160, 60),
    _Detail(1, 80, 80, 40),
    _Detail(0, 60, 40, 30),
    _Detail(0, 24, 12, 0),
    _Detail(0, 18, 7, 0),
)


def listing(
    notebook: Notebook, cell: object = None, offset: int = 0, limit: int | None = None
) -> str:
    """All cells in short, from number `offset` on and at most `limit`; or, with `cell`, the one of
    that id or number whole.

    The first line tells what notebook it is. Never longer than `MOST` characters, or about twice
    `WHOLE` for a single cell; what is left out is counted. Images and other data are only named.
    Raises `NoSuchCell`.
    """
    if cell is not None:
        return _whole(notebook, cell_number(notebook.cells, cell))
    first = max(0, offset)
    end = min(len(notebook.cells), first + max(1, CELLS if limit is None else limit))
    heads = _facts(notebook)
    shown = [_InShort(notebook, number) for number in range(first, end)]
    room = MOST - sum(len(line) + 1 for line in heads) - 150
    entries: list[str] = []
    for detail in _DETAILS:
        entries = [one.text(detail) for one in shown]
        if sum(len(entry) + 1 for entry in entries) <= room:
            break
    else:
        entries = [*_fitting(entries, room)]
    return "\n".join([*heads, *entries, *_left_out(notebook, first, first + len(entries))])


def _facts(notebook: Notebook) -> list[str]:
    """What notebook it is, and what is to be said of it."""
    count = len(notebook.cells)
    facts = [
        f"nbformat {notebook.version[0]}.{notebook.version[1]}",
        f"kernelspec {_cut(_plain(notebook.kernelspec), 60) or 'none'}",
        f"language {_cut(_plain(notebook.language), 60)}",
        "1 cell" if count == 1 else f"{count} cells",
    ]
    return [" · ".join(facts), *(_cut(_on_one_line(note), 500) for note in notebook.notes)]


def _fitting(entries: Iterable[str], room: int) -> Iterator[str]:
    for entry in entries:
        room -= len(entry) + 1
        if room < 0:
            return
        yield entry


def _left_out(notebook: Notebook, first: int, end: int) -> Iterator[str]:
    count = len(notebook.cells)
    if first >= count > 0:
        yield f"[there are no cells from {first} on; the last one is {count - 1}]"
    elif end < count:
        yield f"[cells {end} to {count - 1} are not shown; go on with offset={end}]"


class _InShort:
    """What a listing shows of a cell."""

    def __init__(self, notebook: Notebook, number: int) -> None:
        self._number, self._cell = number, notebook.cells[number]
        source = _plain(_named(self._cell.source, runs=True))
        self._lines = [line for line in source.splitlines() if line.strip()]
        self._outputs = [_in_words(output) for output in notebook.outputs(number)]

    def text(self, detail: _Detail) -> str:
        """The entry of the cell."""
        head = _head(self._number, self._cell, detail.tags)
        outputs = _cut("; ".join(self._outputs), detail.outputs)
        if not detail.lines:
            # With little room an error is what matters most.
            first = sorted(self._outputs, key=lambda words: not words.startswith("error "))
            outputs = _cut("; ".join(first), detail.outputs)
            source = _cut(_on_one_line(self._lines[0]), detail.width) if self._lines else ""
            return " | ".join(part for part in (head, source, outputs) if part)
        lines = [_cut(line, detail.width) for line in self._lines[: detail.lines]]
        if len(self._lines) > detail.lines:
            lines.append(f"… {len(self._lines) - detail.lines} more lines")
        if outputs:
            lines.append(f"→ {outputs}")
        return "\n".join([head, *(f"    {line}" for line in lines)])


def _head(number: int, cell: Cell, tags: int) -> str:
    """Number, id, type, hash, execution count and tags of a cell."""
    parts = [str(number)]
    if cell.id is not None:
        parts.append(_cut(_on_one_line(cell.id), 100))
    parts += [cell.type, f"#{cell.hash}"]
    if cell.execution_count is not None:
        parts.append(f"[{cell.execution_count}]")
    if cell.tags and tags:
        parts.append(_cut(f"tags {', '.join(_on_one_line(tag) for tag in cell.tags)}", tags))
    return " ".join(parts)


def _in_words(output: Mapping[str, Any]) -> str:
    """An output in a few words."""
    kind = output.get("output_type")
    if kind == "error":
        return _error_words(output)
    if kind == "stream":
        text = str(output.get("text", ""))
        return f"{output.get('name', 'stdout')}: {_first_line(text)}"
    data = output.get("data")
    if not isinstance(data, Mapping):
        return _on_one_line(str(kind))
    text = _readable(data)
    words = [f"{_on_one_line(mime)} {_size(mime, form)}" for mime, form in _unreadable(data)]
    return " + ".join([*words, *([_first_line(text)] if text else [])]) or "(empty)"


def _error_words(output: Mapping[str, Any]) -> str:
    name, value = str(output.get("ename", "")), str(output.get("evalue", ""))
    return f"error {_on_one_line(name)}" + (f": {_first_line(value)}" if value else "")


def _first_line(text: str) -> str:
    lines = [line for line in _plain(_named(text[:WHOLE], runs=True)).splitlines() if line.strip()]
    more = text.count("\n", 0, len(text.rstrip())) + 1 - len(lines[:1])
    first = _cut(lines[0].strip(), 200) if lines else ""
    return first + (f" (+{more} lines)" if more > 0 and lines else "")


def _whole(notebook: Notebook, number: int) -> str:
    cell = notebook.cells[number]
    parts = [*_facts(notebook), _head(number, cell, 1000), _ends(_plain(_named(cell.source)))]
    room = WHOLE
    outputs = notebook.outputs(number)
    for index, output in enumerate(outputs):
        if room <= 0:
            parts.append(f"[{len(outputs) - index} more outputs are not shown]")
            break
        text = _ends(_plain(_as_text(output)), room)
        room -= len(text)
        parts.append(text)
    return "\n".join(parts)


def _as_text(output: Mapping[str, Any]) -> str:
    """An output as it is read, below a line that says what it is."""
    kind = output.get("output_type")
    if kind == "stream":
        name, text = str(output.get("name", "stdout")), str(output.get("text", ""))
        return f"[{name}]\n{_named(text, runs=True)}"
    if kind == "error":
        lines = output.get("traceback")
        text = "\n".join(map(str, lines)) if isinstance(lines, list) else ""
        return f"[{_error_words(output)}]\n{_named(text, runs=True)}"
    data = output.get("data")
    if not isinstance(data, Mapping):
        return f"[{_on_one_line(str(kind))}]"
    named = ", ".join(f"{mime} {_size(mime, form)}" for mime, form in _unreadable(data))
    head = "result" if kind == "execute_result" else "display"
    text = _named(_readable(data), runs=True)
    return f"[{head}{': ' + named if named else ''}]" + (f"\n{text}" if text else "")


def _readable(data: Mapping[str, Any]) -> str:
    """The form of a display that is text, or ""."""
    return next((data[mime] for mime in _READABLE if isinstance(data.get(mime), str)), "")


def _unreadable(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The forms that are only named."""
    return [(mime, form) for mime, form in data.items() if mime not in _READABLE]


def _size(mime: str, form: object) -> str:
    """How large a form is, in bytes of what it stands for."""
    if isinstance(form, str):
        encoded_data = not (mime.startswith("text/") or "+xml" in mime or "javascript" in mime)
        size = len(form.strip()) * 3 // 4 if encoded_data else len(encoded(form))
    else:
        size = len(json.dumps(form))
    return f"{size} B" if size < 1000 else f"{size / 1000:.0f} kB"


def _named(text: str, runs: bool = False) -> str:
    """The text with the data that is encoded in it named only; `runs`: also any long run of such
    characters."""
    text = _DATA.sub(lambda match: f"{match[1]}[{len(match[2])} characters left out]", text)
    return _RUN.sub(lambda m: f"[{len(m[0])} characters without a break]", text) if runs else text


def _plain(text: str) -> str:
    """The text without escape sequences, also those that are cut off."""
    return clean(text).replace("\x1b", "")


def _on_one_line(text: str) -> str:
    return " ".join(_plain(text).split())


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"


def _ends(text: str, most: int = WHOLE) -> str:
    """The text, or its first and last part with what is between them counted."""
    if len(text) <= most:
        return text
    head, tail = most * 3 // 4, most // 4
    left = len(text) - head - tail
    return f"{text[:head]}\n[… {left:,} characters left out …]\n{text[len(text) - tail :]}"
