"""What breaks the schema and can be set right without losing anything is set right, and said."""

from __future__ import annotations

import copy
import json
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebooks.layout import encoded
from notebooks.notebook import Notebook
from tests.notebooks.files import Writer, contents, file_of, loads, minimal, often


def without_ids(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{k: v for k, v in cell.items() if k != "id"} for cell in content["cells"]]


def test_missing_ids_are_given() -> None:
    content = minimal({"source": "a"}, {"source": "b"}, {"cell_type": "raw"})
    del content["cells"][0]["id"]
    content["cells"][2]["id"] = None
    notebook = Notebook.parse(json.dumps(content, indent=2).encode())
    assert notebook.notes == ("Missing ids were given: cells 0, 2.",)
    said = loads(notebook.dumps())
    nbformat.validate(copy.deepcopy(said))
    assert without_ids(said) == without_ids(content)
    assert said["cells"][1] == content["cells"][1]
    assert [cell["id"] for cell in said["cells"]] == [cell.id for cell in notebook.cells]


def test_an_id_that_an_earlier_cell_has_is_exchanged() -> None:
    content = minimal({"id": "a"}, {"id": "b"}, {"id": "a"}, {"id": 7})
    notebook = Notebook.parse(json.dumps(content).encode())
    assert [cell.id for cell in notebook.cells][:2] == ["a", "b"]
    assert len({cell.id for cell in notebook.cells}) == 4
    (note,) = notebook.notes
    assert note == "Ids that are no text, or that an earlier cell has, were exchanged: cells 2, 3."
    assert without_ids(loads(notebook.dumps())) == without_ids(content)


def test_ids_in_a_version_without_them_raise_the_version() -> None:
    content = minimal({"id": "a"}, {"id": "b"}, nbformat_minor=4)
    del content["cells"][1]["id"]
    notebook = Notebook.parse(json.dumps(content).encode())
    assert notebook.version == (4, 5)
    assert notebook.cells[0].id == "a" and notebook.cells[1].id
    assert "version 4.4 does not know" in notebook.notes[0] and "raised to 4.5" in notebook.notes[0]
    said = loads(notebook.dumps())
    nbformat.validate(copy.deepcopy(said))
    assert said["nbformat_minor"] == 5 and without_ids(said) == without_ids(content)


def test_empty_members_are_added_where_they_are_missing_and_taken_away_where_not_allowed() -> None:
    content = minimal({}, {}, {"cell_type": "markdown", "outputs": [], "execution_count": None})
    for name in ("outputs", "execution_count", "metadata", "source"):
        del content["cells"][0][name]
    notebook = Notebook.parse(json.dumps(content).encode())
    assert notebook.notes == (
        "Empty members were added or taken away as the schema asks: cells 0, 2.",
    )
    said = loads(notebook.dumps())
    nbformat.validate(copy.deepcopy(said))
    assert said["cells"][0] == {
        **content["cells"][1],
        "id": "c0",
        "source": [],
    }
    assert said["cells"][2] == {"cell_type": "markdown", "id": "c2", "metadata": {}, "source": ""}


def test_cells_that_lack_several_things_are_set_right_each() -> None:
    content = minimal({"source": "a"}, {"source": "b"}, {"source": "c"})
    for cell in content["cells"]:
        del cell["metadata"], cell["id"], cell["outputs"]
    notebook = Notebook.parse(json.dumps(content, indent=1).encode())
    assert [cell.source for cell in notebook.cells] == ["a", "b", "c"]
    said = loads(notebook.dumps())
    nbformat.validate(copy.deepcopy(said))
    assert len(notebook.notes) == 2


def test_outputs_that_a_cell_may_not_have_are_not_thrown_away() -> None:
    shown = [{"output_type": "stream", "name": "stdout", "text": "a"}]
    data = file_of({"cell_type": "markdown", "outputs": shown})
    notebook = Notebook.parse(data)
    assert notebook.dumps() == data
    (note,) = notebook.notes
    assert note.startswith("It breaks the schema of notebooks, which is left so: ")


@pytest.mark.parametrize("name", ["nbformat_minor", "metadata"])
def test_a_missing_member_of_the_notebook_is_added_and_said(name: str) -> None:
    content = minimal({"cell_type": "raw"}, nbformat_minor=0)
    del content["cells"][0]["id"], content[name]
    notebook = Notebook.parse(json.dumps(content, indent=1).encode())
    assert len(notebook.notes) == 1 and "missing" in notebook.notes[0]
    said = loads(notebook.dumps())
    nbformat.validate(copy.deepcopy(said))
    assert {k: v for k, v in said.items() if k != name} == content


def test_many_cells_are_named_in_short() -> None:
    content = minimal(*({} for _ in range(3000)))
    for cell in content["cells"]:
        del cell["id"]
    notebook = Notebook.parse(json.dumps(content).encode())
    assert notebook.notes == ("Missing ids were given: cells 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ….",)
    assert len({cell.id for cell in notebook.cells}) == 3000


@often
@given(
    contents(tuple((4, minor) for minor in range(6))),
    st.data(),
    st.integers(0, 10**6),
    st.sampled_from(("", "\ufeff", "\n ")),
)
def test_repairs_lose_nothing_and_leave_a_valid_notebook(
    content: dict[str, Any], data: st.DataObject, seed: int, start: str
) -> None:
    broken = copy.deepcopy(content)
    empty = {"outputs": [], "execution_count": None, "metadata": {}, "source": []}
    taken: list[tuple[int, str]] = []
    for number, cell in enumerate(broken["cells"]):
        for name in data.draw(st.lists(st.sampled_from([*cell]), unique=True, max_size=3)):
            if name == "id" or (name in empty and not cell[name]):
                del cell[name]
                taken.append((number, name))
    notebook = Notebook.parse(encoded(start + Writer(seed).write(broken) + "\n"))
    written = notebook.dumps()
    said = loads(written)
    nbformat.validate(copy.deepcopy(said))
    assert bool(notebook.notes) == bool(taken)
    assert written.startswith(start.encode()) and written.endswith(b"\n")
    for cell, was in zip(said["cells"], content["cells"], strict=True):
        cell.pop("id", None)
        assert {k: v or None for k, v in cell.items()} == {
            k: v or None for k, v in was.items() if k != "id"
        }
    assert Notebook.parse(written).notes == ()
