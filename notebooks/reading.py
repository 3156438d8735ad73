"""Reading a notebook file: what its text says, and where in it each cell stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from notebooks import document
from notebooks.errors import NotANotebook
from notebooks.layout import Style, elements, encoded, joined, members

#: Bytes of the largest notebook that is read.
MAX_BYTES = 150_000_000
#: What some editors put before the text.
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
CELL_TYPES = ("code", "markdown", "raw")


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
    """A file's content in version 4.5, written anew. Raises `NotANotebook`."""
    text, content = loaded(data)
    version_of(content)
    style = Style.of(text.removeprefix(BOM))
    return encoded(style.dumps(document.upgraded(content)) + "\n")


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
    return text, content


def version_of(content: Mapping[str, Any]) -> tuple[int, int]:
    major, minor = content.get("nbformat"), content.get("nbformat_minor", 0)
    cells = "cells" if isinstance(major, int) and major >= 4 else "worksheets"
    if not isinstance(major, int) or not isinstance(minor, int):
        raise NotANotebook("It is JSON, but not a notebook: nbformat is missing.")
    if major not in (3, 4):
        raise NotANotebook(
            f"Its version is {major}.{minor}; versions 3 and 4 can be read. "
            "Open and save it in Jupyter to have it in one of them."
        )
    if not isinstance(content.get(cells), list):
        raise NotANotebook(f"It is not a notebook of version {major}: {cells} is not a list.")
    return major, minor


def check_cells(content: Mapping[str, Any], major: int) -> None:
    """Refuse cells that cannot be read as such. Raises `NotANotebook`."""
    sheets = [content] if major >= 4 else content["worksheets"]
    cells = [c for sheet in sheets if isinstance(sheet, dict) for c in sheet.get("cells") or ()]
    for number, cell in enumerate(cells):
        if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
            raise NotANotebook(f"Its cell {number} is no cell: it has no cell_type.")
        source = cell.get("source", cell.get("input", ""))
        outputs = cell.get("outputs", [])
        if not (isinstance(source, str) or _are(str, source)):
            raise NotANotebook(f"The source of its cell {number} is not text.")
        if not isinstance(cell.get("metadata", {}), dict) or not _are(dict, outputs):
            raise NotANotebook(f"The metadata or outputs of its cell {number} cannot be read.")


def _are(kind: type, values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def cell_spans(text: str, start: int, major: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Where each cell stands in the text, and where each list of cells begins."""
    if major >= 4:
        arrays = [m.start for m in members(text, start) if m.name == "cells"][-1:]
    else:
        sheets = [m.start for m in members(text, start) if m.name == "worksheets"][-1:]
        objects = [begin for at in sheets for begin, _ in elements(text, at)]
        arrays = [m.start for at in objects for m in members(text, at) if m.name == "cells"]
    return [span for at in arrays for span in elements(text, at)], arrays


def cell_of(content: Mapping[str, Any]) -> Cell:
    kind = str(content.get("cell_type"))
    # Version 3 knows other names, and headings and HTML, which are text for us.
    source = joined(content.get("source", content.get("input", "")))
    count = content.get("execution_count", content.get("prompt_number"))
    return Cell(
        content.get("id") if isinstance(content.get("id"), str) else None,
        kind if kind in CELL_TYPES else "markdown",
        source,
        content.get("metadata") or {},
        count if isinstance(count, int) else None,
    )
