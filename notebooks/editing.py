"""Editing the cells of a notebook: several operations, of which all are carried out or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from notebooks.errors import BadEdit, Changed, NotebookError
from notebooks.notebook import Notebook
from notebooks.reading import CELL_TYPES, Cell, upgraded
from notebooks.selection import cell_number

Operation = Mapping[str, Any]

#: Members that an operation must have, and those that it may have besides `op`.
_MEMBERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "insert": (("source",), ("type", "before", "after", "tags")),
    "replace": (("cell", "source"), ("type", "hash")),
    "delete": (("cell",), ("hash",)),
    "move": (("cell",), ("before", "after", "to", "hash")),
    "set_type": (("cell", "type"), ("hash",)),
    "set_tags": (("cell", "tags"), ("hash",)),
    "clear_outputs": ((), ("cell", "hash")),
    "upgrade": ((), ()),
}
#: What can be done in a version whose cells cannot be edited.
_IN_VERSION_3 = ("clear_outputs", "upgrade")


def edit(notebook: Notebook, operations: Sequence[Operation]) -> list[str]:
    """Carry out operations in order; returns a line on each. An error changes nothing.

    Each is an object with `op` and what that takes:

    - `insert`: `source`, `type` (code), `before` or `after` a cell (else at the end), `tags`
    - `replace`: `cell`, `source`, `type` (as it is)
    - `delete`: `cell`
    - `move`: `cell`, and `before` or `after` another, or `to` the number that it is to have then
    - `set_type`: `cell`, `type`
    - `set_tags`: `cell`, `tags`
    - `clear_outputs`: `cell` (all of them)
    - `upgrade`: brings the notebook to version 4.5

    Cells are named by id, or by the number that they had before the call, whatever the operations
    before have inserted, moved or deleted. Those inserted after one cell come in the order of the
    operations. With `hash` the cell must have that hash. Raises `BadEdit`, `NoSuchCell`, `Changed`
    and `NotANotebook`.
    """
    if not isinstance(operations, list | tuple) or not operations:
        raise BadEdit("The operations are a list of objects, each with an op; there must be one.")
    edits = _Edits(notebook)
    for number, operation in enumerate(operations, 1):
        name = operation.get("op") if isinstance(operation, Mapping) else None
        try:
            edits.carry_out(operation)
        except NotebookError as error:
            where = f"Operation {number}" + (f" ({name})" if name in [*_MEMBERS] else "")
            raise type(error)(f"{where}: {error} Nothing was changed.") from None
    lines = edits.descriptions()
    notebook.become(edits.notebook)
    return lines


class _Edits:
    """The operations of one call, on a notebook of their own."""

    def __init__(self, notebook: Notebook) -> None:
        self.notebook = notebook.copy()
        self._before = notebook.cells
        #: Of each cell there is now, which one it was before, or None for a new one.
        self._order: list[_Origin] = [_Origin(number) for number in range(len(self._before))]
        self._done: list[Callable[[], str]] = []

    def carry_out(self, operation: object) -> None:
        """Carry out one operation."""
        given = _checked(operation)
        name = str(given.pop("op"))
        if self.notebook.version[0] < 4 and name not in _IN_VERSION_3:
            raise BadEdit(
                f"The notebook is of version {self.notebook.version[0]}, whose cells cannot be "
                'edited. Put {"op": "upgrade"} before this.'
            )
        self._done.append(getattr(self, f"_{name}")(**given))

    def descriptions(self) -> list[str]:
        """A line on each operation. Numbers are those that cells have after all of them."""
        return [describe() for describe in self._done]

    # -- each takes the members of its operation, and gives what describes it at the end

    def _insert(
        self,
        source: str,
        type: str = "code",
        before: object = None,
        after: object = None,
        tags: list[str] | None = None,
    ) -> Callable[[], str]:
        at, follows = self._place(before, after)
        origin = _Origin(None, follows)
        self.notebook.insert(at, Cell(None, type, source, {"tags": tags} if tags else {}))
        self._order.insert(at, origin)
        ident = self.notebook.cells[at].id
        named = "" if ident is None else f" with the id {ident}"
        return lambda: f"inserted a {type} cell{named}{self._now(origin)}"

    def _replace(
        self, cell: object, source: str, type: str | None = None, hash: str | None = None
    ) -> Callable[[], str]:
        at, named = self._found(cell, hash)
        if type is not None:
            self.notebook.set_type(at, type)
        self.notebook.replace_source(at, source)
        as_type = "" if type is None else f", a {type} cell now"
        return lambda: f"replaced the source of {named}{as_type}"

    def _delete(self, cell: object, hash: str | None = None) -> Callable[[], str]:
        at, named = self._found(cell, hash)
        self.notebook.delete(at)
        del self._order[at]
        return lambda: f"deleted {named}"

    def _move(
        self,
        cell: object,
        before: object = None,
        after: object = None,
        to: int | None = None,
        hash: str | None = None,
    ) -> Callable[[], str]:
        at, named = self._found(cell, hash)
        if [before, after, to].count(None) != 2:
            raise BadEdit("It needs one of before, after and to.")
        origin = self._order.pop(at)
        if any(
            other is not None and cell_number(self._before, other) == origin.number
            for other in (before, after)
        ):
            raise BadEdit(f"The {named} cannot be put beside itself.")
        if to is None:
            place, origin.follows = self._place(before, after)
        elif 0 <= to <= len(self._order):
            place, origin.follows = to, None
        else:
            raise BadEdit(f"A cell can be moved to 0 to {len(self._order)}, not to {to}.")
        self._order.insert(place, origin)
        self.notebook.move(at, place)
        return lambda: f"moved {named}{self._now(origin)}"

    def _set_type(self, cell: object, type: str, hash: str | None = None) -> Callable[[], str]:
        at, named = self._found(cell, hash)
        self.notebook.set_type(at, type)
        return lambda: f"made {named} a {type} cell"

    def _set_tags(
        self, cell: object, tags: list[str], hash: str | None = None
    ) -> Callable[[], str]:
        at, named = self._found(cell, hash)
        self.notebook.set_cell_metadata(at, "tags", [*tags] or None)
        return lambda: f"set the tags of {named} to {', '.join(tags) or 'none'}"

    def _clear_outputs(self, cell: object = None, hash: str | None = None) -> Callable[[], str]:
        if cell is not None:
            at, named = self._found(cell, hash)
            self.notebook.clear_result(at)
            return lambda: f"cleared the outputs of {named}"
        if hash is not None:
            raise BadEdit("A hash is that of one cell; say which in cell.")
        for number in range(len(self._order)):
            self.notebook.clear_result(number)
        return lambda: "cleared the outputs of all cells"

    def _upgrade(self) -> Callable[[], str]:
        old = self.notebook
        if old.version >= (4, 5):
            return lambda: f"it is of version {_version(old)} already"
        self.notebook = new = Notebook.parse(upgraded(old.dumps()))
        new.notes = (*dict.fromkeys((*old.notes, *new.notes)),)
        return lambda: f"brought it from version {_version(old)} to {_version(new)}"

    # -- where cells are

    def _now(self, origin: _Origin) -> str:
        """Words on the number that a cell has; none if it was deleted after all."""
        return f"; it is cell {self._order.index(origin)} now" if origin in self._order else ""

    def _found(self, cell: object, hash: str | None = None) -> tuple[int, str]:
        """The number that a cell has now, and what it is called: by what it was before."""
        number = cell_number(self._before, cell)
        was = self._before[number]
        named = f"cell {number}" if was.id is None else f"cell {number} ({was.id})"
        # A listing shows it with a mark.
        if hash is not None and hash.removeprefix("#") != was.hash:
            raise Changed(
                f"The {named} is not as you read it: its hash is {was.hash} now, not {hash}. "
                "Read it again before you edit it."
            )
        for at, origin in enumerate(self._order):
            if origin.number == number:
                return at, named
        raise BadEdit(f"The {named} was deleted by an operation before.")

    def _place(self, before: object, after: object) -> tuple[int, int | None]:
        """The number for a cell that comes before or after another, or at the end; and which one
        it follows, if that was said."""
        if before is not None and after is not None:
            raise BadEdit("Give before or after, not both.")
        if before is not None:
            return self._found(before)[0], None
        if after is None:
            return len(self._order), None
        place, _ = self._found(after)
        followed = self._order[place].number
        place += 1
        while place < len(self._order) and self._order[place].follows == followed:
            place += 1
        return place, followed


class _Origin:
    """Where a cell comes from: its number before, if it had one, and that of the cell after which
    an operation has put it."""

    def __init__(self, number: int | None, follows: int | None = None) -> None:
        self.number, self.follows = number, follows


def _checked(operation: object) -> dict[str, Any]:
    """The members of an operation, each of the type that it must have."""
    if not isinstance(operation, Mapping):
        raise BadEdit('An operation is an object like {"op": "delete", "cell": 3}.')
    name = operation.get("op")
    if not isinstance(name, str) or name not in _MEMBERS:
        raise BadEdit(f"op must be one of {', '.join(_MEMBERS)}, not {_shown(name)}.")
    needed, optional = _MEMBERS[name]
    for member in operation:
        if member not in ("op", *needed, *optional):
            allowed = ", ".join((*needed, *optional)) or "nothing besides op"
            raise BadEdit(f"{_shown(member)} is unknown; it takes {allowed}.")
    # None is as good as not given, where it may be left out.
    given = {key: value for key, value in operation.items() if value is not None}
    for member in needed:
        if member not in given:
            raise BadEdit(f"It needs {' and '.join(needed)}.")
    for member, value in given.items():
        if problem := _problem(member, value):
            raise BadEdit(f"{member} must be {problem}, not {_shown(value)}.")
    return given


def _problem(member: str, value: object) -> str:
    """What a member must be, if it is not."""
    if member in ("source", "hash"):
        return "" if isinstance(value, str) else "text"
    if member == "type":
        # It may be of a kind that cannot be hashed.
        return "" if value in [*CELL_TYPES] else "code, markdown or raw"
    if member == "to":
        return "" if isinstance(value, int) and not isinstance(value, bool) else "a number"
    if member == "tags":
        return "" if _are_tags(value) else "a list of different texts without commas"
    return ""


def _are_tags(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(tag, str) and tag and "," not in tag for tag in value)
        and len({*value}) == len(value)
    )


def _shown(value: object) -> str:
    words = repr(value)
    return words if len(words) <= 60 else words[:59] + "…"


def _version(notebook: Notebook) -> str:
    return f"{notebook.version[0]}.{notebook.version[1]}"
