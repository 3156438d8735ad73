"""A cell with the values that a caller gives, where papermill would put it."""

from __future__ import annotations

import json
import math
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebooks.errors import BadParameter
from notebooks.notebook import Notebook
from notebooks.parameters import assigned, inject
from tests.notebooks.files import file_of, loads, more_often, values

OWN = {"source": "alpha = 1\nbeta: int = 2\n", "metadata": {"tags": ["parameters"]}}
INJECTED = {"metadata": {"tags": ["injected-parameters"]}, "execution_count": 3}
PYTHON = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def sources(notebook: Notebook) -> list[str]:
    return [cell.source for cell in notebook.cells]


def test_the_cell_comes_after_the_one_tagged_parameters() -> None:
    notebook = Notebook.parse(file_of({"source": "import a"}, OWN, {"source": "alpha"}))
    assert inject(notebook, {"alpha": 0.1, "beta": "x"}) == []
    new = '# Parameters\nalpha = 0.1\nbeta = "x"\n'
    assert sources(notebook) == ["import a", OWN["source"], new, "alpha"]
    said = loads(notebook.dumps())
    nbformat.validate(said)
    assert said["cells"][2]["metadata"] == {"tags": ["injected-parameters"]}
    assert said["cells"][2]["cell_type"] == "code"


def test_without_such_a_cell_it_comes_first_and_no_name_is_a_mistake() -> None:
    notebook = Notebook.parse(file_of({"source": "alpha"}))
    assert inject(notebook, {"alpha": None}) == []
    assert sources(notebook) == ["# Parameters\nalpha = None\n", "alpha"]
    empty = Notebook.new()
    inject(empty, {"a": 1})
    assert sources(empty) == ["# Parameters\na = 1\n"]


def test_an_earlier_injection_is_exchanged_where_it_is() -> None:
    shown = [{"output_type": "stream", "name": "stdout", "text": ["old\n"]}]
    earlier = {**INJECTED, "source": "# Parameters\nalpha = 5", "outputs": shown}
    data = file_of({"source": "a"}, earlier, OWN, INJECTED, {"source": "b"}, INJECTED)
    notebook = Notebook.parse(data)
    inject(notebook, {"alpha": [True]})
    assert sources(notebook) == ["a", "# Parameters\nalpha = [True]\n", OWN["source"], "b"]
    assert [cell.id for cell in notebook.cells] == ["c0", "c1", "c2", "c4"]
    assert notebook.outputs(1) == [] and notebook.cells[1].execution_count is None
    once = notebook.dumps()
    inject(notebook, {"alpha": [True]})
    assert notebook.dumps() == once


def test_no_parameters_change_nothing() -> None:
    data = file_of(OWN)
    notebook = Notebook.parse(data)
    assert inject(notebook, {}) == []
    assert notebook.dumps() == data


def test_a_name_that_the_cell_does_not_assign_is_said_to_be_strange() -> None:
    notebook = Notebook.parse(file_of(OWN))
    assert inject(notebook, {"alhpa": 1, "beta": 2}) == [
        "alhpa is not a variable of the cell tagged parameters; it has alpha, beta. "
        "It was set all the same."
    ]
    assert "alhpa = 1" in notebook.cells[1].source
    empty = Notebook.parse(file_of({**OWN, "source": ""}))
    (warning,) = inject(empty, {"a": 1, "b": 2})
    assert warning.startswith("a, b are not variables of the cell tagged parameters. ")


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a = b = 1", {"a", "b"}),
        ("a, (b, *c) = x\nd: int\ne += 1", {"a", "b", "c", "d", "e"}),
        ("if x:\n    a = 1\nelse:\n    b = 2", {"a", "b"}),
        ("def f():\n    inner = 1\nclass A:\n    inner = 2\n[y for y in z]", set()),
        ("x.y = 1\nx[0] = 2\nx == 3", set()),
        ("%matplotlib inline\n!ls\na = !ls\nb = %time x\nc = 1", {"a", "b", "c"}),
        ("if x:\n    %magic\na = 1", {"a"}),
        ("%%time\na = 1", {"a"}),
        ("a = 1\nthis is no Python\nb : int = 2\nc == 3", {"a", "b"}),
        ("a = 1\x00", {"a"}),
        ("\ud800 = 1\na = 2", {"a"}),
        ("", set()),
    ],
)
def test_variables_are_found_as_far_as_a_cell_can_be_read(source: str, names: set[str]) -> None:
    assert assigned(source) == names


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        # The forms that papermill's translator for Python gives.
        ("north", '"north"'),
        ('["a"]', '"[\\"a\\"]"'),
        ({"a": "b"}, '{"a": "b"}'),
        ({"a": {"b": ['"', {"c": 1}]}}, '{"a": {"b": ["\\"", {"c": 1}]}}'),
        ([1, [2.5, "x"]], '[1, [2.5, "x"]]'),
        (-7, "-7"),
        (0.1, "0.1"),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (True, "True"),
        (False, "False"),
        (None, "None"),
        # And what else there is.
        (float("nan"), 'float("nan")'),
        (float("-inf"), 'float("-inf")'),
        ("é\n\t\\", '"é\\n\\t\\\\"'),
        ("\x7f\u2028\ud800", '"\\x7f\\u2028\\ud800"'),
        ((1, 2), "[1, 2]"),
        ([], "[]"),
        ({}, "{}"),
    ],
)
def test_values_become_literals_of_python(value: Any, literal: str) -> None:
    notebook = Notebook.new()
    inject(notebook, {"foo": value})
    assert notebook.cells[0].source == f"# Parameters\nfoo = {literal}\n"


@more_often
@given(
    st.dictionaries(st.sampled_from(("a", "b", "é", "match", "_")), values | st.text(), min_size=1)
)
def test_the_cell_gives_the_values_back_when_it_is_run(parameters: dict[str, Any]) -> None:
    notebook = Notebook.parse(file_of(OWN, metadata=PYTHON))
    inject(notebook, parameters)
    again = Notebook.parse(notebook.dumps())
    assert again.notes == ()
    source = again.cells[1].source
    assert source.count("\n") == 1 + len(parameters) == len(source.splitlines())
    found: dict[str, Any] = {}
    exec(compile(source, "cell", "exec"), {}, found)
    assert repr(found) == repr(parameters)


def test_very_large_numbers_come_through() -> None:
    notebook = Notebook.new()
    inject(notebook, {"a": 10**5000, "b": 1e308, "c": math.pi})
    found: dict[str, Any] = {}
    exec(notebook.cells[0].source, {}, found)
    assert found == {"a": 10**5000, "b": 1e308, "c": math.pi}


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"a b": 1}, "'a b' cannot be the name of a parameter"),
        ({"class": 1}, "'class' cannot be the name"),
        ({"None": 1}, "'None' cannot be the name"),
        ({"__debug__": 1}, "'__debug__' cannot be the name"),
        ({"": 1}, "'' cannot be the name"),
        ({"a\n": 1}, "cannot be the name"),
        ({"x = 1; y": 1}, "cannot be the name"),
        ({1: 1}, "1 cannot be the name"),
        ({"a": {1}}, "The value of a cannot be given: {1} is nothing that JSON can say"),
        ({"a": [b"x"]}, "The value of a cannot be given: b'x'"),
        ({"a": {1: 2}}, "The value of a cannot be given: 1 is"),
        ({"a": object()}, "The value of a cannot be given"),
        ({"a": deep(1000)}, "nested more than 50 levels"),
    ],
)
def test_what_cannot_be_given_is_refused_and_changes_nothing(
    parameters: dict[str, Any], words: str
) -> None:
    data = file_of(OWN)
    notebook = Notebook.parse(data)
    with pytest.raises(BadParameter) as caught:
        inject(notebook, {"good": 1, **parameters})
    assert words in str(caught.value)
    assert notebook.dumps() == data


def test_other_languages_and_version_3_are_refused() -> None:
    spec = {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}
    notebook = Notebook.parse(file_of(OWN, metadata=spec))
    with pytest.raises(BadParameter, match=r"language is r, .* Python notebooks only"):
        inject(notebook, {"a": 1})
    content = {"nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": []}]}
    with pytest.raises(BadParameter, match=r"version 3.*Upgrade it"):
        inject(Notebook.parse(json.dumps(content).encode()), {"a": 1})
