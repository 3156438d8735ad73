"""Which cells of a notebook a caller means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from notebooks.errors import NoSuchCell
from notebooks.notebook import Notebook
from notebooks.reading import Cell

_RANGE = re.compile(r"(\d*)\s*-\s*(\d*)")
#: Names of one kind that a refusal gives, and characters that it shows of one.
_SHOWN = 5
_LONGEST = 40


def select(notebook: Notebook, cells: object = None) -> list[int]:
    """The numbers of the code cells that are meant, in the order of the document.

    `cells`: None for all; a number, from 0; an id; a tag, for all cells that have it; a range of
    numbers as "3-7" (with both ends), "5-" or "-3"; or several of these, as a list or a text with
    commas. A text that is an id or a tag is never read as something else. Cells of other types
    may be named and are left out. Raises `NoSuchCell`.
    """
    every = notebook.cells
    chosen = range(len(every)) if cells is None else _numbers(every, cells)
    return [number for number in sorted(set(chosen)) if every[number].type == "code"]


def cell_number(cells: Sequence[Cell], name: object) -> int:
    """The number of the cell that an id or a number names. Raises `NoSuchCell`."""
    if isinstance(name, str):
        found = _by_id(cells, name)
        if found is None and _is_number(name):
            found = int(name)
        if found is None:
            raise NoSuchCell(f"There is no cell with the id {_shown(name)}. {_there_is(cells)}")
        return _checked(cells, found)
    if isinstance(name, int) and not isinstance(name, bool):
        return _checked(cells, name)
    raise NoSuchCell(f"A cell is named by its id or its number, not by {_shown(name)}.")


def _numbers(cells: Sequence[Cell], named: object) -> Iterable[int]:
    if isinstance(named, list | tuple):
        if not named:
            raise NoSuchCell(f"No cells were named; leave them out for all. {_there_is(cells)}")
        return [number for one in named for number in _numbers_of(cells, one)]
    return _numbers_of(cells, named)


def _numbers_of(cells: Sequence[Cell], named: object) -> Iterable[int]:
    """The cells that one entry of the caller's list means."""
    if isinstance(named, int) and not isinstance(named, bool):
        return [_checked(cells, named)]
    if not isinstance(named, str):
        raise NoSuchCell(
            "Cells are named by number, id, tag or range, or several of these in a list, "
            f"not by {_shown(named)}."
        )
    if (known := _known(cells, named)) is not None:
        return known
    parts = [part.strip() for part in named.split(",")]
    if len(parts) > 1:
        # A comma at the end names nothing.
        return [number for part in parts if part for number in _numbers_of(cells, part)]
    if (known := _known(cells, parts[0])) is not None:
        return known
    return _range(cells, parts[0])


def _known(cells: Sequence[Cell], name: str) -> list[int] | None:
    """The cells with that id or tag."""
    number = _by_id(cells, name)
    if number is not None:
        return [number]
    return [number for number, cell in enumerate(cells) if name in cell.tags] or None


def _by_id(cells: Sequence[Cell], ident: str) -> int | None:
    return next((number for number, cell in enumerate(cells) if cell.id == ident), None)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 10


def _range(cells: Sequence[Cell], text: str) -> Iterable[int]:
    if _is_number(text):
        return [_checked(cells, int(text))]
    match = _RANGE.fullmatch(text)
    ends = match.groups() if match else ("", "")
    if not any(ends) or not all(_is_number(end) for end in ends if end):
        raise NoSuchCell(f"There is no cell with the id or tag {_shown(text)}. {_there_is(cells)}")
    first = int(ends[0] or 0)
    # A range may be open at its end, and go beyond the last cell, but must begin at one.
    last = min(int(ends[1]), len(cells) - 1) if ends[1] else len(cells) - 1
    _checked(cells, first)
    if ends[1] and int(ends[1]) < first:
        raise NoSuchCell(f"The range {text} ends before it begins. {_there_is(cells)}")
    return range(first, last + 1)


def _checked(cells: Sequence[Cell], number: int) -> int:
    if 0 <= number < len(cells):
        return number
    words = "Numbers of cells count from 0" if number < 0 else f"There is no cell {_shown(number)}"
    raise NoSuchCell(f"{words}. {_there_is(cells)}")


def _there_is(cells: Sequence[Cell]) -> str:
    """What could have been named."""
    if not cells:
        return "The notebook has no cells."
    words = "There is only cell 0" if len(cells) == 1 else f"There are cells 0 to {len(cells) - 1}"
    ids = [cell.id for cell in cells if cell.id is not None]
    tags = dict.fromkeys(tag for cell in cells for tag in cell.tags)
    for kind, names in (("ids", ids), ("tags", [*tags])):
        if names:
            some = ", ".join(_shown(name) for name in names[:_SHOWN])
            words += f"; {kind} {some}" + (", …" if len(names) > _SHOWN else "")
    return words + "."


def _shown(value: object) -> str:
    words = repr(value)
    return words if len(words) <= _LONGEST else words[: _LONGEST - 1] + "…"
