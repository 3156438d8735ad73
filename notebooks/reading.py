"""Reading a notebook file: what its text says, and where in it each cell stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from notebooks import document
from notebooks.errors import NotANotebook
from notebooks.layout import Style, elements, encoded, joined, member
from notebooks.repair import repair

#: Bytes of the largest notebook that is read.
MAX_BYTES = 150_000_000
#: What some editors put before the text.
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
CELL_TYPES = ("code", "markdown", "raw")
#: Levels of nesting that a file may have; plots as JSON have some twenty.
_DEEPEST = 100


@dataclass(frozen=True)
class Cell:
    """A cell without its outputs. `id` is None in files older than version 4.5."""

    id: str | None
    type: str
    source: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    execution_count: int | None = None

    @property
    def tags(self) -> tuple[str, ...]:
        """The cell's tags."""
        tags = self.metadata.get("tags")
        return tuple(map(str, tags)) if isinstance(tags, list) else ()

    @property
    def hash(self) -> str:
        """Twelve characters that change with the cell's type and source."""
        return hashlib.sha256(encoded(f"{self.type}\n{self.source}")).hexdigest()[:12]


def upgraded(data: bytes) -> bytes:
    """A file's content in version 4.5. From version 4 on only what must be is changed; an older
    one is written anew. Raises `NotANotebook`."""
    text, content = loaded(data)
    version = version_of(content)
    check_cells(content, version[0])
    style = Style.of(text[text.index("{") :], content)
    if version[0] < 4:
        return encoded(style.dumps(document.upgraded(content)) + "\n")
    repairs = repair(content, version, raised=True)
    return encoded(repairs.applied(text, style)) if repairs.changed else data


def loaded(data: bytes) -> tuple[str, dict[str, Any]]:
    """A file's text and what it says."""
    if not data.strip():
        raise NotANotebook("It is empty. A notebook is made with edit_notebook, or in Jupyter.")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise NotANotebook(f"It is not UTF-8 text, from byte {error.start} on.") from None
    try:
        content = json.loads(text.removeprefix(BOM))
    except RecursionError:
        raise NotANotebook("It is not a notebook: its JSON is nested too deeply.") from None
    except ValueError as error:
        if "<<<<<<<" in text and ">>>>>>>" in text:
            raise NotANotebook(
                "It holds the marks of a merge conflict, so it is not JSON. Resolve that first."
            ) from None
        raise NotANotebook(f"It is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise NotANotebook("It is JSON, but not a notebook: that is an object with cells.")
    if _too_deep(content):
        raise NotANotebook("It is not a notebook: its JSON is nested too deeply.")
    return text, content


def _too_deep(value: object) -> bool:
    level: list[Any] = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def version_of(content: Mapping[str, Any]) -> tuple[int, int]:
    """A notebook's nbformat and nbformat_minor. Raises `NotANotebook`."""
    major, minor = content.get("nbformat"), content.get("nbformat_minor", 0)
    if major is None:
        raise NotANotebook("It is JSON, but not a notebook: nbformat is missing.")
    if not (_is_int(major) and _is_int(minor) and minor >= 0):
        raise NotANotebook("It is not a notebook: nbformat and nbformat_minor are no version.")
    if major not in (3, 4):
        raise NotANotebook(
            f"Its version is {major}.{minor}; versions 3 and 4 can be read. "
            "Open and save it in Jupyter to have it in one of them."
        )
    return major, minor


def check_cells(content: Mapping[str, Any], major: int) -> None:
    """Refuse what cannot be read as a notebook of that version. Raises `NotANotebook`."""
    name = "cells" if major >= 4 else "worksheets"
    if not isinstance(content.get(name), list):
        raise NotANotebook(f"It is not a notebook of version {major}: {name} is not a list.")
    if not isinstance(content.get("metadata", {}), dict):
        raise NotANotebook("It is not a notebook: its metadata is no object.")
    sheets = [content] if major >= 4 else content["worksheets"]
    for sheet in sheets:
        if not isinstance(sheet, dict) or not isinstance(sheet.get("cells", []), list):
            raise NotANotebook("It is not a notebook of version 3: a worksheet has no cells.")
    for number, cell in enumerate(cell for sheet in sheets for cell in sheet.get("cells", [])):
        if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
            raise NotANotebook(f"Its cell {number} is no cell: it has no cell_type.")
        if not _is_text(cell.get(source_name(cell, major), "")):
            raise NotANotebook(f"The source of its cell {number} is not text.")
        metadata, outputs = cell.get("metadata", {}), cell.get("outputs", [])
        if not isinstance(metadata, dict) or not _are(dict, outputs):
            raise NotANotebook(f"The metadata or outputs of its cell {number} cannot be read.")


def source_name(cell: Mapping[str, Any], major: int) -> str:
    """What the source of a cell is called in that version."""
    return "input" if major < 4 and cell.get("cell_type") == "code" else "source"


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str) or _are(str, value)


def _are(kind: type, values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def cell_spans(text: str, start: int, major: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Where each cell stands in the text, and where each list of cells begins."""
    objects = [start]
    if major < 4:
        sheets = member(text, "worksheets", start)
        objects = [begin for begin, _ in elements(text, sheets.start)] if sheets else []
    lists = [member(text, "cells", at) for at in objects]
    arrays = [found.start for found in lists if found is not None]
    return [span for at in arrays for span in elements(text, at)], arrays


def cell_of(content: Mapping[str, Any], major: int) -> Cell:
    """A cell from what the file says of it."""
    # Version 3 knows headings and HTML, too, which are text for us.
    kind = content["cell_type"] if content["cell_type"] in CELL_TYPES else "markdown"
    source = content.get(source_name(content, major), "")
    ident = content.get("id")
    count = content.get("execution_count" if major >= 4 else "prompt_number")
    return Cell(
        ident if isinstance(ident, str) else None,
        kind,
        joined(source) if major >= 4 else document.joined_lines(source),
        content.get("metadata", {}),
        count if _is_int(count) else None,
    )
