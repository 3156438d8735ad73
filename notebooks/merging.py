"""Finding the cells of a notebook that was run in what somebody else has saved meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from notebooks.reading import Cell


def places(ran: Sequence[Cell], theirs: Sequence[Cell]) -> dict[int, int]:
    """For the number of each code cell that was run, the number of the same cell in theirs.

    The same is a cell of the same id, if its type and source are unchanged. One without an id, or
    whose id is no longer there, is the one of equal source at the same place, or the only one of
    that source on both sides. What is changed or gone has no place.
    """
    by_id = {cell.id: number for number, cell in enumerate(theirs) if cell.id is not None}
    ids = {cell.id for cell in ran if cell.id is not None}
    # Only cells that can be no other one of those that were run.
    free = {number for number, cell in enumerate(theirs) if cell.id is None or cell.id not in ids}
    counts = Counter(cell.source for cell in ran if cell.type == "code")
    sources = [theirs[number].source for number in free if theirs[number].type == "code"]
    their_counts = Counter(sources)
    found: dict[int, int] = {}
    for number, cell in enumerate(ran):
        if cell.type != "code":
            continue
        if cell.id is not None and cell.id in by_id:
            place = by_id[cell.id]
            if _same(cell, theirs[place]):
                found[number] = place
        elif number in free and _same(cell, theirs[number]):
            found[number] = number
        elif counts[cell.source] == their_counts[cell.source] == 1:
            found[number] = next(place for place in free if _same(cell, theirs[place]))
    return found


def _same(cell: Cell, other: Cell) -> bool:
    return (cell.type, cell.source) == (other.type, other.source)
