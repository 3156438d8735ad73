"""Operations on the cells of a notebook: all of a call are carried out, or none."""

from __future__ import annotations

import copy
import json
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebooks.editing import edit
from notebooks.errors import BadEdit, Changed, NoSuchCell, NotebookError
from notebooks.notebook import Notebook
from tests.notebooks.files import file_of, files, loads, more_often, values

SHOWN = [{"output_type": "stream", "name": "stdout", "text": ["x\n"]}]


def four() -> Notebook:
    """Cells a, b, c, d; b is markdown and d has outputs."""
    return Notebook.parse(
        file_of(
            {"id": "a", "source": "1"},
            {"id": "b", "source": "2", "cell_type": "markdown"},
            {"id": "c", "source": "3"},
            {"id": "d", "source": "4", "outputs": SHOWN, "execution_count": 9},
        )
    )


def sources(notebook: Notebook) -> list[str]:
    return [cell.source for cell in notebook.cells]


def test_each_operation_does_what_it_says_and_says_what_it_did() -> None:
    notebook = four()
    said = edit(
        notebook,
        [
            {"op": "insert", "source": "# new", "type": "markdown", "before": "a", "tags": ["t"]},
            {"op": "replace", "cell": 1, "source": "two", "type": "raw"},
            {"op": "delete", "cell": "c"},
            {"op": "move", "cell": "d", "to": 0},
            {"op": "set_type", "cell": "a", "type": "markdown"},
            {"op": "set_tags", "cell": "b", "tags": ["x", "y"]},
            {"op": "clear_outputs", "cell": 3},
            {"op": "insert", "source": "end"},
            {"op": "upgrade"},
        ],
    )
    new, end = notebook.cells[1], notebook.cells[4]
    assert said == [
        f"inserted a markdown cell with the id {new.id}; it is cell 1 now",
        "replaced the source of cell 1 (b), a raw cell now",
        "deleted cell 2 (c)",
        "moved cell 3 (d); it is cell 0 now",
        "made cell 0 (a) a markdown cell",
        "set the tags of cell 1 (b) to x, y",
        "cleared the outputs of cell 3 (d)",
        f"inserted a code cell with the id {end.id}; it is cell 4 now",
        "it is of version 4.5 already",
    ]
    assert sources(notebook) == ["4", "# new", "1", "two", "end"]
    assert [cell.type for cell in notebook.cells] == ["code", *["markdown"] * 2, "raw", "code"]
    assert [cell.tags for cell in notebook.cells] == [(), ("t",), (), ("x", "y"), ()]
    assert notebook.outputs(0) == []
    nbformat.validate(loads(notebook.dumps()))


def test_numbers_are_those_of_before_the_call() -> None:
    notebook = four()
    edit(
        notebook,
        [
            {"op": "delete", "cell": 0},
            {"op": "insert", "source": "after 1", "after": 1},
            {"op": "replace", "cell": 3, "source": "four"},
            {"op": "move", "cell": 2, "before": 1},
            {"op": "delete", "cell": 1},
        ],
    )
    assert sources(notebook) == ["3", "after 1", "four"]


def test_cells_inserted_after_one_come_in_the_order_of_the_operations() -> None:
    notebook = four()
    operations = [
        {"op": "insert", "source": "x", "after": "a"},
        {"op": "insert", "source": "y", "after": 0},
        {"op": "move", "cell": "d", "after": "a"},
        {"op": "insert", "source": "z", "after": "a"},
        {"op": "insert", "source": "p", "before": "a"},
        {"op": "insert", "source": "q", "before": "a"},
    ]
    edit(notebook, operations)
    assert sources(notebook) == ["p", "q", "1", "x", "y", "4", "z", "2", "3"]


def test_a_cell_can_be_moved_and_deleted() -> None:
    notebook = four()
    lines = edit(notebook, [{"op": "move", "cell": 0, "to": 3}, {"op": "delete", "cell": 0}])
    assert lines == ["moved cell 0 (a)", "deleted cell 0 (a)"]
    assert sources(notebook) == ["2", "3", "4"]


def test_clearing_without_a_cell_clears_all() -> None:
    notebook = four()
    assert edit(notebook, [{"op": "clear_outputs"}]) == ["cleared the outputs of all cells"]
    assert notebook.outputs(3) == [] and notebook.cells[3].execution_count is None
    again = notebook.dumps()
    edit(notebook, [{"op": "clear_outputs"}])
    assert notebook.dumps() == again


def test_a_hash_holds_as_long_as_the_cell_is_as_it_was_read() -> None:
    notebook = four()
    seen = notebook.cells[0].hash
    operation = {"op": "replace", "cell": "a", "source": "new", "hash": seen}
    edit(notebook, [operation, {"op": "delete", "cell": "a", "hash": f"#{seen}"}])
    assert sources(notebook) == ["2", "3", "4"]
    other = four()
    other.replace_source(0, "by somebody else")
    before = other.dumps()
    with pytest.raises(Changed) as caught:
        edit(other, [{"op": "delete", "cell": "b"}, operation])
    assert str(caught.value) == (
        "Operation 2 (replace): The cell 0 (a) is not as you read it: its hash is "
        f"{other.cells[0].hash} now, not {seen}. Read it again before you edit it. "
        "Nothing was changed."
    )
    assert other.dumps() == before


ALLOWED = "insert, replace, delete, move, set_type, set_tags, clear_outputs, upgrade"


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (3, "Operation 2: An operation is an object like"),
        ({}, f"Operation 2: op must be one of {ALLOWED}, not None."),
        ({"op": "remove"}, f"Operation 2: op must be one of {ALLOWED}, not 'remove'."),
        ({"op": ["delete"]}, "op must be one of"),
        ({"op": "delete"}, "Operation 2 (delete): It needs cell."),
        ({"op": "replace", "cell": 0}, "It needs cell and source."),
        ({"op": "delete", "cell": 0, "source": ""}, "'source' is unknown; it takes cell, hash."),
        ({"op": "upgrade", "cell": 0}, "'cell' is unknown; it takes nothing besides op."),
        ({"op": "delete", "cell": 0, 7: 1}, "7 is unknown"),
        ({"op": "insert", "source": ["a"]}, "source must be text, not ['a']."),
        ({"op": "insert", "source": None}, "It needs source."),
        ({"op": "insert", "source": "", "type": "html"}, "type must be code, markdown or raw"),
        ({"op": "insert", "source": "", "type": []}, "type must be code, markdown or raw"),
        ({"op": "insert", "source": "", "tags": "a"}, "tags must be a list of different texts"),
        ({"op": "set_tags", "cell": 0, "tags": ["a", "a"]}, "tags must be a list of different"),
        ({"op": "set_tags", "cell": 0, "tags": ["a,b"]}, "without commas"),
        ({"op": "set_tags", "cell": 0, "tags": [{}]}, "without commas"),
        ({"op": "insert", "source": "", "before": 0, "after": 1}, "before or after, not both"),
        ({"op": "move", "cell": 0}, "It needs one of before, after and to."),
        ({"op": "move", "cell": 0, "to": 1, "after": 1}, "It needs one of before, after and to."),
        ({"op": "move", "cell": 0, "to": 4}, "can be moved to 0 to 2, not to 4."),
        ({"op": "move", "cell": 0, "to": -1}, "can be moved to 0 to 2, not to -1."),
        ({"op": "move", "cell": 0, "to": True}, "to must be a number, not True."),
        ({"op": "move", "cell": 0, "after": "a"}, "The cell 0 (a) cannot be put beside itself."),
        ({"op": "delete", "cell": 0, "hash": 7}, "hash must be text, not 7."),
        ({"op": "clear_outputs", "hash": "x"}, "A hash is that of one cell; say which in cell."),
        ({"op": "delete", "cell": "c"}, "The cell 2 (c) was deleted by an operation before."),
        ({"op": "insert", "source": "", "after": 2}, "was deleted by an operation before."),
    ],
)
def test_a_wrong_operation_is_refused_by_number_and_nothing_is_done(
    operation: Any, words: str
) -> None:
    notebook = four()
    before, cells = notebook.dumps(), notebook.cells
    with pytest.raises(BadEdit) as caught:
        edit(notebook, [{"op": "delete", "cell": "c"}, operation])
    assert words in str(caught.value)
    assert str(caught.value).startswith("Operation 2")
    assert str(caught.value).endswith(". Nothing was changed.")
    assert notebook.dumps() == before and notebook.cells == cells


@pytest.mark.parametrize("cell", ["e", 4, -1, True, 1.5, [], {"a": 1}])
def test_a_cell_that_is_not_there_is_refused(cell: Any) -> None:
    notebook = four()
    before = notebook.dumps()
    for operation in (
        {"op": "delete", "cell": cell},
        {"op": "insert", "source": "", "after": cell},
        {"op": "move", "cell": 0, "before": cell},
    ):
        with pytest.raises(NoSuchCell, match=r"^Operation 1 \(\w+\): .*Nothing was changed\.$"):
            edit(notebook, [operation])
    assert notebook.dumps() == before


@pytest.mark.parametrize("operations", [[], {}, {"op": "upgrade"}, "upgrade", None, 3])
def test_operations_are_a_list_with_something_in_it(operations: Any) -> None:
    with pytest.raises(BadEdit, match="The operations are a list of objects"):
        edit(four(), operations)


def test_version_3_can_be_cleared_and_upgraded_and_then_edited() -> None:
    code = {"cell_type": "code", "input": "1", "language": "python", "prompt_number": 2}
    code["outputs"] = [{"output_type": "stream", "stream": "stdout", "text": "a"}]
    heading = {"cell_type": "heading", "level": 2, "source": "Title"}
    sheets = [{"cells": [heading], "metadata": {}}, {"cells": [code], "metadata": {}}]
    content = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": sheets}
    notebook = Notebook.parse(json.dumps(content, indent=1).encode())
    with pytest.raises(BadEdit, match=r'version 3.*Put \{"op": "upgrade"\} before this'):
        edit(notebook, [{"op": "delete", "cell": 0}])
    edit(notebook, [{"op": "clear_outputs"}])
    said = loads(notebook.dumps())
    assert said["worksheets"][1]["cells"][0]["outputs"] == []
    nbformat.validate(said)
    lines = edit(notebook, [{"op": "upgrade"}, {"op": "move", "cell": 1, "to": 0}])
    assert lines == ["brought it from version 3.0 to 4.5", "moved cell 1; it is cell 0 now"]
    assert sources(notebook) == ["1", "## Title"]
    nbformat.validate(loads(notebook.dumps()))


def test_an_upgrade_keeps_what_was_set_right_in_mind() -> None:
    content = {"cells": [], "metadata": {}, "nbformat": 4}
    notebook = Notebook.parse(json.dumps(content).encode())
    edit(notebook, [{"op": "upgrade"}])
    assert notebook.notes == ("Its minor version was missing and is taken as 0.",)
    assert notebook.version == (4, 5)


types = st.sampled_from(("code", "markdown", "raw"))
number = st.integers(0, 5)
operation = st.one_of(
    st.fixed_dictionaries(
        {"op": st.just("insert"), "source": st.text(max_size=5)}, optional={"type": types}
    ),
    st.fixed_dictionaries(
        {"op": st.just("insert"), "source": st.text(max_size=5), "after": number}
    ),
    st.fixed_dictionaries(
        {"op": st.just("insert"), "source": st.text(max_size=5), "before": number}
    ),
    st.fixed_dictionaries(
        {"op": st.just("replace"), "source": st.text(max_size=5), "cell": number},
        optional={"type": types},
    ),
    st.fixed_dictionaries({"op": st.sampled_from(("delete", "clear_outputs")), "cell": number}),
    st.fixed_dictionaries({"op": st.just("move"), "cell": number, "to": number}),
    st.fixed_dictionaries({"op": st.just("move"), "cell": number, "after": number}),
    st.fixed_dictionaries({"op": st.just("move"), "cell": number, "before": number}),
    st.fixed_dictionaries({"op": st.just("set_type"), "cell": number, "type": types}),
    st.fixed_dictionaries({"op": st.just("upgrade")}),
)


@more_often
@given(
    files(((4, 0), (4, 4), (4, 5))),
    st.lists(st.one_of(operation, operation, operation, values), min_size=1, max_size=5),
)
def test_any_operations_leave_a_valid_notebook_or_the_one_that_was(
    file: tuple[bytes, dict[str, Any]], operations: list[Any]
) -> None:
    data, content = file
    notebook = Notebook.parse(data)
    given_ = copy.deepcopy(operations)
    try:
        lines = edit(notebook, operations)
    except NotebookError:
        assert notebook.dumps() == data
        return
    finally:
        assert operations == given_
    assert len(lines) == len(operations)
    said = loads(notebook.dumps())
    nbformat.validate(copy.deepcopy(said))
    again = Notebook.parse(notebook.dumps())
    assert again.cells == notebook.cells and again.notes == ()
    untouched = {0, 1, 2, 3, 4, 5} - {op["cell"] for op in operations if "cell" in op}
    kept = [cell for n, cell in enumerate(content["cells"]) if n in untouched]
    if content["nbformat_minor"] == 5:
        assert [cell for cell in said["cells"] if cell in kept] == kept
