"""What can be set right in a notebook that breaks its schema without losing anything."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from notebooks.layout import Style, elements, exchanged, member

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
        start, end = text.index("{"), len(text.rstrip())
        top = text[start:end]
        for name, value in self.top:
            top = exchanged(top, name, value, style, 0)
        array = member(top, "cells")
        assert array is not None
        spans = elements(top, array.start)
        pieces, done = [text[:start]], 0
        for number, changes in groupby(sorted(self.cells, key=_number), key=_number):
            begin, after = spans[number]
            cell = top[begin:after]
            for _, name, value in changes:
                cell = exchanged(cell, name, value, style, 2)
            pieces += [top[done:begin], cell]
            done = after
        return "".join([*pieces, top[done:], text[end:]])


def _number(change: tuple[int, str, str | None]) -> int:
    return change[0]


def repair(content: Mapping[str, Any], version: tuple[int, int], raised: bool = False) -> Repairs:
    """What is to be set right in a notebook's content, whose structure was checked; `raised`: bring
    it to version 4.5, if it is older. Versions before 4 are left alone."""
    found = Repairs(version)
    if version[0] < 4:
        return found
    cells = content["cells"]
    if "nbformat_minor" not in content:
        found.top.append(("nbformat_minor", "0"))
        found.notes.append("Its minor version was missing and is taken as 0.")
    if "metadata" not in content:
        found.top.append(("metadata", "{}"))
        found.notes.append("Its metadata was missing; there is an empty one now.")
    if version < (4, 5) and (raised or any("id" in cell for cell in cells)):
        found.version = (4, 5)
        found.top.append(("nbformat_minor", "5"))
        if not raised:
            found.notes.append(
                f"Its cells have ids, which version {version[0]}.{version[1]} does not know, so "
                "its version is raised to 4.5."
            )
    _members(cells, found)
    if found.version >= (4, 5):
        _ids(cells, found)
    return found


def _members(cells: list[Any], found: Repairs) -> None:
    before = len(found.cells)
    for number, cell in enumerate(cells):
        if "metadata" not in cell:
            found.cells.append((number, "metadata", "{}"))
        if "source" not in cell:
            found.cells.append((number, "source", "[]"))
        for name, nothing in _CODE_ONLY.items():
            if cell["cell_type"] == "code":
                if name not in cell:
                    found.cells.append((number, name, json.dumps(nothing)))
            elif name in cell and cell[name] == nothing:
                found.cells.append((number, name, None))
    if len(found.cells) > before:
        numbers = sorted({number for number, _, _ in found.cells[before:]})
        found.notes.append(
            f"Empty members were added or taken away as the schema asks: {_named(numbers)}."
        )


def _ids(cells: list[Any], found: Repairs) -> None:
    used = {cell["id"] for cell in cells if isinstance(cell.get("id"), str)}
    seen: set[str] = set()
    missing: list[int] = []
    exchanged: list[int] = []
    for number, cell in enumerate(cells):
        ident = cell.get("id")
        if isinstance(ident, str) and ident not in seen:
            seen.add(ident)
            continue
        (missing if ident is None else exchanged).append(number)
        fresh = secrets.token_hex(4)
        while fresh in used:
            fresh = secrets.token_hex(4)
        used.add(fresh)
        found.cells.append((number, "id", json.dumps(fresh)))
    if missing:
        found.notes.append(f"Missing ids were given: {_named(missing)}.")
    if exchanged:
        found.notes.append(
            "Ids that are no text, or that an earlier cell has, were exchanged: "
            f"{_named(exchanged)}."
        )


def _named(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return f"cell {shown}" if len(numbers) == 1 else f"cells {shown}"
