"""What can be set right in a notebook that breaks its schema without losing anything."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from notebooks.layout import Style, elements, exchanged, members

#: Members that a cell may have only if it is code, and what they hold when they say nothing.
_CODE_ONLY: dict[str, Any] = {"outputs": [], "execution_count": None}


@dataclass
class Repairs:
    """What is to be exchanged in a notebook's text. `version`: the one that it has then."""

    version: tuple[int, int]
    #: Number of the cell, name of its member, value of it; None in place of a value: taken out.
    cells: list[tuple[int, str, str | None]] = field(default_factory=list)
    #: The same of the notebook itself.
    top: list[tuple[str, str | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether there is anything."""
        return bool(self.cells or self.top)

    def applied(self, text: str, style: Style) -> str:
        """The text of a notebook of version 4, repaired."""
        for name, value in self.top:
            text = exchanged(text, name, value, style, 0)
        for number, name, value in self.cells:
            array = next(m.start for m in members(text) if m.name == "cells")
            start, end = elements(text, array)[number]
            text = text[:start] + exchanged(text[start:end], name, value, style, 2) + text[end:]
        return text


def repair(content: Mapping[str, Any], version: tuple[int, int]) -> Repairs:
    """What is to be set right in a notebook's content. Older versions than 4 are left alone."""
    found = Repairs(version)
    cells = content.get("cells")
    if version[0] < 4 or not isinstance(cells, list):
        return found
    if not isinstance(content.get("nbformat_minor"), int):
        found.top.append(("nbformat_minor", "0"))
    if "metadata" not in content:
        found.top.append(("metadata", "{}"))
    if version < (4, 5) and any(isinstance(cell, dict) and "id" in cell for cell in cells):
        found.version = (4, 5)
        found.top.append(("nbformat_minor", "5"))
        found.notes.append(
            f"Its cells have ids, which version {version[0]}.{version[1]} does not know, so its "
            "version is raised to 4.5."
        )
    _members(cells, found)
    if found.version >= (4, 5):
        _ids(cells, found)
    return found


def _members(cells: list[Any], found: Repairs) -> None:
    before = len(found.cells)
    for number, cell in enumerate(cells):
        if not isinstance(cell, dict):
            continue
        if "metadata" not in cell:
            found.cells.append((number, "metadata", "{}"))
        for name, nothing in _CODE_ONLY.items():
            if cell.get("cell_type") == "code":
                if name not in cell:
                    found.cells.append((number, name, json.dumps(nothing)))
            elif name in cell and cell[name] == nothing:
                found.cells.append((number, name, None))
    if len(found.cells) > before:
        numbers = sorted({number for number, _, _ in found.cells[before:]})
        found.notes.append(
            f"Empty members that the schema asks for were set right: {_named(numbers)}."
        )


def _ids(cells: list[Any], found: Repairs) -> None:
    used = {
        cell["id"] for cell in cells if isinstance(cell, dict) and isinstance(cell.get("id"), str)
    }
    seen: set[str] = set()
    missing: list[int] = []
    doubled: list[int] = []
    for number, cell in enumerate(cells):
        if not isinstance(cell, dict):
            continue
        ident = cell.get("id")
        if isinstance(ident, str) and ident not in seen:
            seen.add(ident)
            continue
        (missing if ident is None else doubled).append(number)
        fresh = secrets.token_hex(4)
        while fresh in used:
            fresh = secrets.token_hex(4)
        used.add(fresh)
        seen.add(fresh)
        found.cells.append((number, "id", json.dumps(fresh)))
    if missing:
        found.notes.append(f"Missing ids were given: {_named(missing)}.")
    if doubled:
        found.notes.append(f"Ids that another cell has already were exchanged: {_named(doubled)}.")


def _named(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return f"cell {shown}" if len(numbers) == 1 else f"cells {shown}"
