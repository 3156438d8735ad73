"""A notebook file: what is not changed stays byte for byte as it was written."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebooks.errors import BadEdit, NotANotebook
from notebooks.layout import Style
from notebooks.notebook import Notebook
from notebooks.reading import Cell, upgraded
from tests.conftest import ROOT
from tests.notebooks.files import (
    any_text,
    contents,
    file_of,
    files,
    ids,
    jupyter,
    loads,
    minimal,
    more_often,
    often,
    outputs,
    sources,
    text,
    values,
)

CASES = ROOT.parent / "shared" / "cases" / "nbclient"
V4 = tuple((4, minor) for minor in range(6))


def plain(value: Any) -> Any:
    """The value as JSON has it."""
    return json.loads(json.dumps(value))


def cells_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    """All cells of a notebook's content."""
    if content["nbformat"] >= 4:
        return list(content["cells"])
    return [cell for sheet in content["worksheets"] for cell in sheet["cells"]]


def texts_of(notebook: Notebook) -> list[bytes]:
    """The bytes of each cell."""
    return [part.text for part in notebook._parts]


# -- reading and writing


@often
@given(files())
def test_without_a_change_every_byte_stays(file: tuple[bytes, dict[str, Any]]) -> None:
    data, content = file
    notebook = Notebook.parse(data)
    assert notebook.notes == ()
    assert notebook.dumps() == data
    assert notebook.version == (content["nbformat"], content["nbformat_minor"])
    assert notebook.metadata == content["metadata"]
    stored = cells_of(content)
    assert len(notebook.cells) == len(stored)
    for number, (cell, said) in enumerate(zip(notebook.cells, stored, strict=True)):
        source = said.get("source", said.get("input"))
        assert cell.source == (source if isinstance(source, str) else "".join(source))
        assert cell.type == said["cell_type"] or said["cell_type"] == "heading"
        assert cell.id == said.get("id")
        assert cell.metadata == said["metadata"]
        assert cell.execution_count == said.get("execution_count", said.get("prompt_number"))
        assert len(notebook.outputs(number)) == len(said.get("outputs", ()))


@pytest.mark.parametrize("path", sorted(CASES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_of_others_stay_as_they_are(path: Path) -> None:
    data = path.read_bytes()
    notebook = Notebook.parse(data)
    if not notebook.notes:
        assert notebook.dumps() == data
    for number, cell in enumerate(notebook.cells):
        if cell.type == "code":
            count, times = cell.execution_count, cell.metadata.get("execution")
            before = notebook.dumps()
            notebook.set_result(number, notebook.outputs(number), count, times)
            assert notebook.dumps() == before
            notebook.set_result(number, [{"output_type": "stream", "name": "x", "text": "y"}], 7)
            assert loads(notebook.dumps())["cells"][number]["outputs"] != []
    if not notebook.notes:
        nbformat.validate(nbformat.from_dict(loads(notebook.dumps())))


@often
@given(contents(V4))
def test_outputs_are_read_with_their_texts_joined(content: dict[str, Any]) -> None:
    data = jupyter(content)
    node = nbformat.reads(data.decode(), as_version=nbformat.NO_CONVERT)
    notebook = Notebook.parse(data)
    for number, cell in enumerate(node.cells):
        assert notebook.outputs(number) == cell.get("outputs", [])


def test_outputs_of_version_3_are_read_as_those_of_version_4() -> None:
    cell = {"cell_type": "code", "language": "python", "input": ["a", "b"], "prompt_number": 2}
    cell["outputs"] = [
        {"output_type": "stream", "stream": "stderr", "text": ["x\n", "y"]},
        {"output_type": "pyout", "prompt_number": 2, "text": ["1"], "png": "aGk="},
        {"output_type": "pyerr", "ename": "E", "evalue": "v", "traceback": ["t", "u"]},
        {"output_type": "display_data", "json": '{"a": 1}', "text/markdown": "# m"},
    ]
    content = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}}
    data = json.dumps({**content, "worksheets": [{"cells": [cell], "metadata": {}}]}, indent=1)
    notebook = Notebook.parse(data.encode())
    assert notebook.cells[0].source == "a\nb"
    assert notebook.cells[0].execution_count == 2
    assert plain(notebook.outputs(0)) == [
        {"output_type": "stream", "name": "stderr", "text": "x\ny"},
        {
            "output_type": "execute_result",
            "execution_count": 2,
            "metadata": {},
            "data": {"text/plain": "1", "image/png": "aGk="},
        },
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t", "u"]},
        {
            "output_type": "display_data",
            "metadata": {},
            "data": {"application/json": {"a": 1}, "text/markdown": "# m"},
        },
    ]
    same = notebook.outputs(0)
    notebook.set_result(0, [], None)
    notebook.set_result(0, same, 3)
    assert plain(notebook.outputs(0)) == plain(same)
    nbformat.validate(loads(notebook.dumps()))


def test_what_breaks_the_schema_in_outputs_can_still_be_read() -> None:
    broken = [{}, {"output_type": "stream"}, {"output_type": "display_data", "data": [1]}]
    notebook = Notebook.parse(file_of({"outputs": broken}))
    assert "breaks the schema" in notebook.notes[0]
    assert notebook.outputs(0) == broken
    three = {"cell_type": "code", "input": "", "outputs": [*broken, {"output_type": "pyout"}]}
    sheets = [{"cells": [three]}]
    data = json.dumps({"nbformat": 3, "nbformat_minor": 0, "worksheets": sheets}).encode()
    assert len(Notebook.parse(data).outputs(0)) == 4


def test_language_and_kernel_are_named_where_the_file_names_them() -> None:
    def of(**metadata: Any) -> tuple[str, str]:
        notebook = Notebook.parse(file_of(metadata=metadata))
        return notebook.language, notebook.kernelspec

    assert of() == ("python", "")
    assert of(kernelspec={"name": "ir", "language": "R", "display_name": "R"}) == ("r", "ir")
    assert of(language_info={"name": "Julia"}) == ("julia", "")
    assert of(kernelspec="python3", language_info=[1]) == ("python", "")
    assert of(kernelspec={"name": 3}, language_info={"name": None}) == ("python", "")


# -- results


@often
@given(contents(V4))
def test_the_same_result_leaves_a_file_of_jupyter_as_it_is(content: dict[str, Any]) -> None:
    data = jupyter(content)
    node = nbformat.reads(data.decode(), as_version=nbformat.NO_CONVERT)
    notebook = Notebook.parse(data)
    for number, cell in enumerate(node.cells):
        if cell.cell_type == "code":
            # In another order of names, as a kernel sends them.
            shown = [dict(reversed(output.items())) for output in cell.outputs]
            times = cell.metadata.get("execution")
            notebook.set_result(number, [], None)
            notebook.set_result(number, shown, cell.execution_count, times)
    said = loads(data)
    lost = any(c["cell_type"] == "code" and "execution" in c["metadata"] for c in said["cells"])
    assert loads(notebook.dumps()) == said
    assert notebook.dumps() == data or lost


@often
@given(files())
def test_the_same_result_leaves_any_file_as_it_is(file: tuple[bytes, dict[str, Any]]) -> None:
    data, _ = file
    notebook = Notebook.parse(data)
    for number, cell in enumerate(notebook.cells):
        if cell.type == "code":
            times = cell.metadata.get("execution")
            notebook.set_result(number, notebook.outputs(number), cell.execution_count, times)
    assert notebook.dumps() == data


@often
@given(
    files(),
    st.integers(0, 3),
    st.lists(outputs(), max_size=3),
    st.none() | st.integers(0, 10**6),
    st.none() | st.just({"shell.execute_reply": "2026-01-01T00:00:00Z"}),
)
def test_a_result_changes_outputs_count_and_times_only(
    file: tuple[bytes, dict[str, Any]],
    number: int,
    shown: list[dict[str, Any]],
    count: int | None,
    times: dict[str, str] | None,
) -> None:
    data, content = file
    notebook = Notebook.parse(data)
    code = [n for n, cell in enumerate(notebook.cells) if cell.type == "code"]
    if not code:
        return
    number = code[number % len(code)]
    before = texts_of(notebook)
    notebook.set_result(number, shown, count, times)
    after = texts_of(notebook)
    assert before[:number] + before[number + 1 :] == after[:number] + after[number + 1 :]

    written = notebook.dumps()
    stored, cell = cells_of(loads(written))[number], copy.deepcopy(cells_of(content)[number])
    assert stored["metadata"].pop("execution", None) == times
    cell["metadata"].pop("execution", None)
    changed = {"outputs", "execution_count", "prompt_number"}
    assert {k: v for k, v in stored.items() if k not in changed} == {
        k: v for k, v in cell.items() if k not in changed
    }
    again = Notebook.parse(written)
    assert again.notes == ()
    assert again.cells == notebook.cells
    assert again.cells[number].execution_count == count
    if notebook.version[0] >= 4:
        assert plain(again.outputs(number)) == plain(shown)
    assert len(written) - len(after[number]) == len(data) - len(before[number])


def test_a_result_is_written_as_jupyter_would() -> None:
    content = minimal({"source": "1", "metadata": {"tags": ["a"]}}, {"source": "2"})
    notebook = Notebook.parse(jupyter(content))
    times = {"shell.execute_reply": "b", "iopub.execute_input": "a"}
    data = {"text/plain": "1\n2", "image/svg+xml": "<a>\n</a>", "application/json": ["z"]}
    shown = [
        {"output_type": "stream", "name": "stdout", "text": "a\nb\n"},
        {"output_type": "execute_result", "execution_count": 3, "metadata": {}, "data": data},
    ]
    notebook.set_result(0, shown, 3, times)
    content["cells"][0] |= {"outputs": shown, "execution_count": 3}
    content["cells"][0]["metadata"]["execution"] = times
    assert notebook.dumps() == jupyter(content)


def test_of_twice_named_members_the_one_that_counts_is_changed() -> None:
    cell = (
        '{"cell_type": "code", "metadata": {"execution": {}, "x": 1, "execution": {}}, '
        '"outputs": [1], "id": "a", "source": "1", "execution_count": 1, "source": "2", '
        '"outputs": [], "metadata": {"execution": {}, "x": 2, "execution": {}}}'
    )
    data = f'{{"cells": [7], "metadata": 1, "cells": [{cell}], "metadata": {{}}, '
    notebook = Notebook.parse((data + '"nbformat": 4, "nbformat_minor": 5}').encode())
    assert notebook.cells[0].source == "2"
    notebook.set_result(0, [{"output_type": "stream", "name": "stdout", "text": "y"}], None)
    notebook.replace_source(0, "3")
    notebook.set_metadata("a", 1)
    said = loads(notebook.dumps())
    assert said["cells"][0]["metadata"] == {"x": 2}
    assert said["cells"][0]["outputs"][0]["text"] == ["y"]
    assert said["cells"][0]["source"] == "3"
    assert said["metadata"] == {"a": 1}
    assert len(said["cells"]) == 1


def test_large_outputs_stay_right_whatever_else_is_changed() -> None:
    notebook = Notebook.parse(file_of({"source": "é"}, {"source": "b"}))
    large = [
        {"output_type": "stream", "name": "stdout", "text": "ü\n" * 200_000},
        {"output_type": "display_data", "data": {"image/png": "A" * 300_000}, "metadata": {}},
    ]
    notebook.set_result(0, large, 1, {"a": "b"})
    at_that_time = notebook.pieces()
    notebook.set_cell_metadata(0, "tags", ["ä" * 50])
    notebook.replace_source(0, "a = 'öö'\n" * 20)
    notebook.insert(0, Cell(None, "markdown", "# first"))
    notebook.move(1, 2)
    notebook.set_result(2, large, 2)
    assert notebook.outputs(2) == large
    written = notebook.dumps()
    assert loads(written)["cells"][2]["execution_count"] == 2
    again = Notebook.parse(written)
    assert again.dumps() == written
    assert again.outputs(2) == large
    assert again.cells == notebook.cells
    early = Notebook.parse(b"".join(at_that_time))
    assert [cell.source for cell in early.cells] == ["é", "b"]
    assert early.outputs(0) == large
    notebook.set_type(2, "raw")
    assert "outputs" not in loads(notebook.dumps())["cells"][2]


def test_lone_surrogates_are_kept() -> None:
    notebook = Notebook.parse(file_of({"source": "é"}))
    shown = [{"output_type": "stream", "name": "stdout", "text": "\ud800\n\udfff"}]
    notebook.set_result(0, shown, 1)
    notebook.replace_source(0, "'\udc80'")
    notebook.set_cell_metadata(0, "x", "\udc80")
    again = Notebook.parse(notebook.dumps())
    assert again.outputs(0) == shown
    assert again.cells[0].source == "'\udc80'"
    assert again.cells[0].metadata == {"x": "\udc80"}
    assert again.cells[0].hash == notebook.cells[0].hash


def test_clearing_a_cell_without_a_result_changes_nothing() -> None:
    data = file_of({"source": "1"}, {"cell_type": "markdown"})
    notebook = Notebook.parse(data)
    notebook.clear_result(0)
    notebook.clear_result(1)
    assert notebook.dumps() == data
    notebook.set_result(0, [{"output_type": "stream", "name": "stdout", "text": ""}], 1, {"a": "b"})
    notebook.clear_result(0)
    assert loads(notebook.dumps()) == loads(data)


@often
@given(files(), st.sampled_from(("x-a", "new", "é")), st.none() | values)
def test_metadata_is_exchanged_entry_by_entry(
    file: tuple[bytes, dict[str, Any]], name: str, value: Any
) -> None:
    data, content = file
    notebook = Notebook.parse(data)
    before = texts_of(notebook)
    notebook.set_metadata(name, value)
    assert texts_of(notebook) == before
    expected = {k: v for k, v in content["metadata"].items() if k != name}
    if value is not None:
        expected[name] = value
    written = notebook.dumps()
    assert loads(written) == {**content, "metadata": expected}
    assert notebook.metadata == Notebook.parse(written).metadata == expected


def test_an_entry_that_is_null_can_be_taken_out() -> None:
    notebook = Notebook.parse(file_of({"metadata": {"a": None}}, metadata={"b": None}))
    notebook.set_metadata("b", None)
    notebook.set_cell_metadata(0, "a", None)
    said = loads(notebook.dumps())
    assert said["metadata"] == said["cells"][0]["metadata"] == {}


# -- editing

types = st.sampled_from(("code", "markdown", "raw"))
operations = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, 9), types, sources, st.none() | ids),
        st.tuples(st.just("delete"), st.integers(0, 9)),
        st.tuples(st.just("move"), st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.just("replace"), st.integers(0, 9), sources),
        st.tuples(st.just("type"), st.integers(0, 9), types),
        st.tuples(st.just("clear"), st.integers(0, 9)),
        st.tuples(st.just("result"), st.integers(0, 9), st.lists(outputs(), max_size=2)),
        st.tuples(st.just("tag"), st.integers(0, 9), st.none() | st.just(["a"])),
        st.tuples(st.just("large"), st.integers(0, 9)),
        st.tuples(st.just("copy")),
    ),
    max_size=8,
)
LARGE = [{"output_type": "stream", "name": "stdout", "text": "é" * 70_000}]


def edited(notebook: Notebook, cells: list[dict[str, Any]], operation: tuple[Any, ...]) -> Notebook:
    """Carry an operation out on a notebook and on a plain list of its cells."""
    kind, *rest = operation
    if kind == "copy":
        other = notebook.copy()
        if cells:
            notebook.delete(0)
        return other
    if kind == "insert":
        at, type, source, ident = rest
        at %= len(cells) + 1
        notebook.insert(at, Cell(ident, type, source))
        cell = {"cell_type": type, "source": source, "metadata": {}}
        if notebook.version >= (4, 5):
            cell["id"] = notebook.cells[at].id
            taken = any(other["id"] == ident for other in cells)
            assert cell["id"] == ident or ident is None or taken
        if type == "code":
            cell |= {"outputs": [], "execution_count": None}
        cells.insert(at, cell)
        return notebook
    if not cells:
        return notebook
    at = rest[0] % len(cells)
    cell = cells[at]
    if kind == "delete":
        notebook.delete(at)
        del cells[at]
    elif kind == "move":
        to = rest[1] % len(cells)
        notebook.move(at, to)
        cells.insert(to, cells.pop(at))
    elif kind == "replace":
        notebook.replace_source(at, rest[1])
        cell["source"] = rest[1]
    elif kind == "tag":
        notebook.set_cell_metadata(at, "tags", rest[1])
        cell["metadata"].pop("tags", None)
        if rest[1]:
            cell["metadata"]["tags"] = rest[1]
    elif kind == "type":
        notebook.set_type(at, rest[1])
        if rest[1] != cell["cell_type"]:
            cell["cell_type"] = rest[1]
            for name in ("outputs", "execution_count"):
                cell.pop(name, None)
            cell["metadata"].pop("execution", None)
            if rest[1] == "code":
                cell.pop("attachments", None)
                cell |= {"outputs": [], "execution_count": None}
    elif kind == "clear":
        notebook.clear_result(at)
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
            cell["metadata"].pop("execution", None)
    elif cell["cell_type"] == "code":
        shown = LARGE if kind == "large" else rest[1]
        notebook.set_result(at, shown, 5)
        cell |= {"outputs": shown, "execution_count": 5}
        cell["metadata"].pop("execution", None)
    return notebook


def normal(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cells with all their texts joined."""
    content = {"cells": plain(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    node = nbformat.reads(json.dumps(content), as_version=nbformat.NO_CONVERT)
    return plain(node.cells)  # type: ignore[no-any-return]


@often
@given(files(V4), operations)
def test_edits_do_what_they_do_to_a_plain_list_of_cells(
    file: tuple[bytes, dict[str, Any]], operations: list[tuple[Any, ...]]
) -> None:
    data, content = file
    notebook, cells = Notebook.parse(data), normal(content["cells"])
    for operation in operations:
        notebook = edited(notebook, cells, operation)
        written = notebook.dumps()
        said = loads(written)
        nbformat.validate(copy.deepcopy(said))
        assert normal(said["cells"]) == normal(cells)
        assert {**said, "cells": 0} == {**content, "cells": 0}
        again = Notebook.parse(written)
        assert again.notes == ()
        assert again.cells == notebook.cells
        assert again.dumps() == written


def test_edited_cells_look_as_the_others_do() -> None:
    content = minimal({"source": "a"}, {"source": "b\nc"}, {"cell_type": "markdown"})
    notebook = Notebook.parse(jupyter(content))
    notebook.insert(1, Cell("new", "code", "x\ny"))
    notebook.delete(0)
    notebook.move(0, 2)
    new = {"cell_type": "code", "id": "new", "metadata": {}, "source": "x\ny"}
    content["cells"][:1] = []
    content["cells"].append({**new, "outputs": [], "execution_count": None})
    assert notebook.dumps() == jupyter(content)
    for _ in range(3):
        notebook.delete(0)
    assert notebook.dumps() == jupyter({**content, "cells": []})


def test_moving_a_cell_to_where_it_is_changes_nothing() -> None:
    cell = b'{"cell_type": "raw", "metadata": {}, "source": ""}'
    data = b'{"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [ %b  , %b ] }'
    data = data % (cell, cell)
    notebook = Notebook.parse(data)
    notebook.move(0, 0)
    notebook.move(1, 1)
    assert notebook.dumps() == data


def test_a_cell_that_becomes_code_has_no_attachments() -> None:
    cell = {"cell_type": "markdown", "attachments": {"a.png": {"image/png": "aGk="}}}
    notebook = Notebook.parse(file_of(cell))
    notebook.set_type(0, "raw")
    assert "attachments" in loads(notebook.dumps())["cells"][0]
    notebook.set_type(0, "code")
    assert loads(notebook.dumps()) == minimal({})


def test_a_new_notebook_is_one_that_jupyter_would_write() -> None:
    notebook = Notebook.new()
    assert notebook.language == "python" and notebook.kernelspec == "python3"
    notebook.insert(0, Cell(None, "code", "1"))
    assert notebook.dumps() == jupyter(loads(notebook.dumps()))
    spec = {"name": "ir", "display_name": "R", "language": "R"}
    assert Notebook.new(spec).language == "r"


def test_cells_of_version_3_cannot_be_edited() -> None:
    sheets = [{"cells": [{"cell_type": "markdown", "source": "a"}]}] * 2
    content = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": sheets}
    notebook = Notebook.parse(json.dumps(content).encode())
    cell = Cell(None, "code", "")
    for edit in (
        lambda: notebook.insert(0, cell),
        lambda: notebook.delete(0),
        lambda: notebook.move(0, 1),
        lambda: notebook.replace_source(0, ""),
        lambda: notebook.set_type(0, "code"),
    ):
        with pytest.raises(BadEdit, match=r"version 3.*Upgrade"):
            edit()
    assert loads(notebook.dumps()) == content


@pytest.mark.parametrize("sheets", [[], [{}], [{"cells": []}], [{"cells": []}, {"cells": []}]])
def test_a_notebook_of_version_3_may_have_no_cells(sheets: list[Any]) -> None:
    data = json.dumps({"nbformat": 3, "nbformat_minor": 0, "worksheets": sheets}).encode()
    notebook = Notebook.parse(data)
    assert notebook.cells == () and notebook.dumps() == data
    notebook.set_metadata("a", 1)
    assert loads(notebook.dumps()) == {**loads(data), "metadata": {"a": 1}}


# -- upgrading


@often
@given(files(V4))
def test_an_upgrade_from_version_4_adds_ids_and_changes_nothing_else(
    file: tuple[bytes, dict[str, Any]],
) -> None:
    data, content = file
    new = upgraded(data)
    said = loads(new)
    nbformat.validate(copy.deepcopy(said))
    assert said["nbformat_minor"] == 5
    if content["nbformat_minor"] == 5:
        assert new == data
    without = [{k: v for k, v in cell.items() if k != "id"} for cell in said["cells"]]
    before = [{k: v for k, v in cell.items() if k != "id"} for cell in content["cells"]]
    assert without == before
    assert Notebook.parse(new).notes == ()


@often
@given(files(((3, 0),)))
def test_an_upgrade_from_version_3_gives_what_jupyter_makes_of_it(
    file: tuple[bytes, dict[str, Any]],
) -> None:
    data, content = file
    notebook = Notebook.parse(upgraded(data))
    assert notebook.version == (4, 5) and notebook.notes == ()
    for cell in cells_of(content):
        # Their joining of lines knows fewer ends of lines than their splitting.
        name = "source" if "source" in cell else "input"
        cell[name] = "".join(cell[name])
    theirs = nbformat.convert(nbformat.reads(json.dumps(content), nbformat.NO_CONVERT), 4)
    assert [cell.source for cell in notebook.cells] == [cell.source for cell in theirs.cells]
    assert [plain(notebook.outputs(n)) for n, _ in enumerate(notebook.cells)] == [
        plain(cell.get("outputs", [])) for cell in theirs.cells
    ]
    assert "orig_nbformat" not in notebook.metadata


def test_a_notebook_of_version_3_with_gaps_can_be_upgraded() -> None:
    shown = {"output_type": "display_data", "json": ['{"a":\n', "1}"]}
    cells = [
        {"cell_type": "code", "input": ["a", "b"], "language": "python"},
        {"cell_type": "code", "outputs": [shown]},
        {"cell_type": "heading", "source": ["A\n", "B"], "level": 2},
        {"cell_type": "heading"},
    ]
    content = {"nbformat": 3, "worksheets": [{"cells": cells}, {}]}
    notebook = Notebook.parse(upgraded(json.dumps(content).encode()))
    assert [cell.source for cell in notebook.cells] == ["a\nb", "", "## A B", "# "]
    assert notebook.outputs(1)[0]["data"] == {"application/json": {"a": 1}}


# -- what is no notebook

GOOD = minimal({"source": "x = 1", "outputs": []}, {"cell_type": "markdown", "source": ["a"]})
OLD = {
    "nbformat": 3,
    "nbformat_minor": 0,
    "metadata": {},
    "worksheets": [
        {"cells": [{"cell_type": "code", "input": ["a"], "outputs": [{"output_type": "pyout"}]}]}
    ],
}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "It is empty"),
        (b" \n", "It is empty"),
        (b"\xff\xfe{", "not UTF-8 text, from byte 0"),
        (json.dumps(GOOD).encode("utf-16"), "not UTF-8"),
        (b"print(1)", "It is not JSON: Expecting value: line 1"),
        (json.dumps(GOOD).encode()[:-30], "It is not JSON"),
        (b"\xef\xbb\xbf", "It is not JSON"),
        (b'{\n<<<<<<< HEAD\n"a": 1\n=======\n>>>>>>> b\n}', "merge conflict"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "nested too deeply"),
        (b"[]", "that is an object with cells"),
        (b"null", "that is an object with cells"),
        (b'"text"', "that is an object with cells"),
        (b"{}", "nbformat is missing"),
        (b'{"cells": []}', "nbformat is missing"),
        (b'{"nbformat": "4", "cells": []}', "no version"),
        (b'{"nbformat": true, "cells": []}', "no version"),
        (b'{"nbformat": 4, "nbformat_minor": null, "cells": []}', "no version"),
        (b'{"nbformat": 4, "nbformat_minor": -1, "cells": []}', "no version"),
        (b'{"nbformat": 2, "nbformat_minor": 0, "worksheets": []}', "Its version is 2.0"),
        (b'{"nbformat": 5, "nbformat_minor": 1, "cells": []}', "Its version is 5.1"),
        (b'{"nbformat": 4, "worksheets": []}', "cells is not a list"),
        (b'{"nbformat": 3, "cells": []}', "worksheets is not a list"),
        (b'{"nbformat": 3, "worksheets": [1]}', "worksheet has no cells"),
        (b'{"nbformat": 3, "worksheets": [{"cells": 1}]}', "worksheet has no cells"),
        (b'{"nbformat": 4, "cells": [], "metadata": []}', "metadata is no object"),
        (b'{"nbformat": 4, "cells": [1]}', "cell 0 is no cell"),
        (b'{"nbformat": 4, "cells": [{"cell_type": 1}]}', "cell 0 is no cell"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": 1}]}', "source of its cell 0"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "metadata": 1}]}', "metadata or outp"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "outputs": [1]}]}', "metadata or outp"),
        (b'{"nbformat": 4, "cells": [], "a": ' + b"1" * 5000 + b"}", "It is not JSON"),
    ],
)
def test_what_is_no_notebook_is_refused_in_a_sentence(data: bytes, words: str) -> None:
    with pytest.raises(NotANotebook) as caught:
        Notebook.parse(data)
    assert words in str(caught.value)
    assert str(caught.value).endswith(".") and len(str(caught.value)) < 300
    with pytest.raises(NotANotebook):
        upgraded(data)


def places(value: Any) -> list[tuple[Any, ...]]:
    """The path of each value inside a value."""
    found: list[tuple[Any, ...]] = [()]
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += [(key, *rest) for rest in places(value[key])]
    return found


def used_or_refused(data: bytes) -> None:
    """Reading either refuses the data or gives a notebook that can be used and written."""
    try:
        notebook = Notebook.parse(data)
    except NotANotebook as error:
        assert str(error).endswith(".")
        return
    for number, cell in enumerate(notebook.cells):
        assert (cell.hash, cell.tags) and isinstance(notebook.outputs(number), list)
        if cell.type == "code":
            shown = [{"output_type": "stream", "name": "stdout", "text": "a"}]
            notebook.set_result(number, shown, 1, {"a": "b"})
            notebook.clear_result(number)
    assert isinstance(notebook.language + notebook.kernelspec, str)
    notebook.set_metadata("a", 1)
    assert Notebook.parse(notebook.dumps()).cells == notebook.cells
    try:
        assert Notebook.parse(upgraded(data)).version >= (4, 5)
    except NotANotebook as error:
        assert str(error).endswith((".", "Jupyter."))


@more_often
@given(
    st.one_of(st.sampled_from((GOOD, OLD)), contents()),
    st.data(),
    st.one_of(
        values,
        st.sampled_from(([], {}, [[]], [{}], [None], {"cells": 1}, 0, True, "code", [1], -1, 1.5)),
    ),
)
def test_a_wrong_value_anywhere_is_refused_or_borne(
    content: dict[str, Any], data: st.DataObject, wrong: Any
) -> None:
    content = copy.deepcopy(content)
    path = data.draw(st.sampled_from([path for path in places(content) if path]))
    *way, last = path
    place: Any = content
    for key in way:
        place = place[key]
    if data.draw(st.booleans()) and isinstance(place, dict):
        del place[last]
    else:
        place[last] = wrong
    used_or_refused(json.dumps(content).encode())


@often
@given(files(), st.data())
def test_a_file_cut_off_or_garbled_anywhere_is_refused_or_borne(
    file: tuple[bytes, dict[str, Any]], data: st.DataObject
) -> None:
    whole, _ = file
    at = data.draw(st.integers(0, len(whole)))
    used_or_refused(whole[:at])
    used_or_refused(whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + 1 :])


@often
@given(st.one_of(st.binary(), text.map(str.encode), any_text.map(lambda v: json.dumps(v).encode())))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(NotANotebook):
        Notebook.parse(data)


def test_the_style_of_a_file_tells_whether_its_names_are_in_order() -> None:
    assert Style.of("{}", ["a", "b"]).ordered
    assert not Style.of("{}", ["b", "a"]).ordered


def test_a_version_over_which_the_schema_stumbles_is_told_and_left() -> None:
    content = {**OLD, "nbformat_minor": 1}
    data = json.dumps(content).encode()
    used_or_refused(data)
    (note,) = Notebook.parse(data).notes
    assert "nothing is known of its version" in note
