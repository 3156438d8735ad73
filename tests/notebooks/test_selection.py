"""Which cells of a notebook a caller means."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebooks.errors import NoSuchCell
from notebooks.notebook import Notebook
from notebooks.selection import cell_number, select
from tests.notebooks.files import any_text, file_of, more_often, values


def tagged(*tags: str) -> dict[str, Any]:
    return {"metadata": {"tags": [*tags]}}


#: Numbers 1 and 5 are no code.
NOTEBOOK = Notebook.parse(
    file_of(
        {"id": "first"},
        {"id": "words", "cell_type": "markdown", **tagged("plot")},
        {"id": "data", **tagged("load", "slow")},
        {"id": "3-4", **tagged("plot")},
        {"id": "e", **tagged("slow", "a, b")},
        {"id": "raw", "cell_type": "raw"},
        {"id": "2", **tagged("0-1")},
    )
)
ALL = [0, 2, 3, 4, 6]


@pytest.mark.parametrize(
    ("cells", "meant"),
    [
        (None, ALL),
        (0, [0]),
        ("0", [0]),
        ("data", [2]),
        ("load", [2]),
        ("slow", [2, 4]),
        ("plot", [3]),
        ("2-4", [2, 3, 4]),
        (" 2 - 4 ", [2, 3, 4]),
        ("4-", [4, 6]),
        ("-3", [0, 2, 3]),
        ("0-99", ALL),
        ("4-4", [4]),
        ([4, "first", "2-3", 0], [0, 2, 3, 4]),
        ((4,), [4]),
        ("e, first,2-3,", [0, 2, 3, 4]),
        (["e,first", "load"], [0, 2, 4]),
        # Neither runs anything.
        (1, []),
        ("words", []),
        ("raw", []),
        # An id or a tag wins over a range, a number and a comma.
        ("3-4", [3]),
        ("0-1", [6]),
        ("2", [6]),
        (2, [2]),
        ("a, b", [4]),
        ("first, 3-4", [0, 3]),
    ],
)
def test_cells_are_named_by_number_id_tag_and_range(cells: object, meant: list[int]) -> None:
    assert select(NOTEBOOK, cells) == meant


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (7, "There is no cell 7. There are cells 0 to 6; ids 'first', 'words', 'data', '3-4', 'e'"),
        ("7", "There is no cell 7. "),
        (-1, "Numbers of cells count from 0. There are cells 0 to 6"),
        ("plots", "There is no cell with the id or tag 'plots'. There are cells 0 to 6"),
        ("Load", "; tags 'plot', 'load', 'slow', 'a, b', '0-1'."),
        ("first,nope", "no cell with the id or tag 'nope'"),
        (["first", "nope"], "no cell with the id or tag 'nope'"),
        ("8-9", "There is no cell 8. "),
        ("5-2", "The range 5-2 ends before it begins"),
        ("-", "no cell with the id or tag '-'"),
        ("", "no cell with the id or tag ''"),
        ("1-2-3", "no cell with the id or tag"),
        ("²", "no cell with the id or tag '²'"),
        ("99999999999999999999-", "no cell with the id or tag"),
        (10**30, "There is no cell 1000"),
        ([], "No cells were named; leave them out for all."),
        (True, "not by True"),
        (1.0, "not by 1.0"),
        ({"a": 1}, "not by {'a': 1}"),
        ([[1]], "not by [1]"),
        ([None], "not by None"),
        ("x" * 500, "…. There are cells"),
    ],
)
def test_what_is_not_there_is_refused_and_said_what_is(cells: object, words: str) -> None:
    with pytest.raises(NoSuchCell) as caught:
        select(NOTEBOOK, cells)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_notebook_without_cells_has_none() -> None:
    empty = Notebook.new()
    assert select(empty) == []
    with pytest.raises(NoSuchCell, match="The notebook has no cells"):
        select(empty, 0)


@more_often
@given(st.one_of(values, any_text, st.text(alphabet="0123456789-, ae", max_size=8)))
def test_whatever_is_named_it_is_code_cells_or_a_refusal(cells: Any) -> None:
    try:
        chosen = select(NOTEBOOK, cells)
    except NoSuchCell as error:
        assert str(error).endswith(".")
    else:
        assert chosen == sorted(set(chosen)) and set(chosen) <= set(ALL)


def test_one_cell_is_named_by_id_or_number() -> None:
    cells = NOTEBOOK.cells
    assert cell_number(cells, "e") == 4
    assert cell_number(cells, 5) == 5
    assert cell_number(cells, "5") == 5
    assert cell_number(cells, "2") == 6
    for wrong in (7, -1, "7", "slow", "0-1", True, 1.0, None, ["e"]):
        with pytest.raises(NoSuchCell):
            cell_number(cells, wrong)
