"""A notebook as text: its cells in short, within bounds, or one cell whole."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebooks.errors import NoSuchCell
from notebooks.listing import MOST, WHOLE, listing
from notebooks.notebook import Notebook
from tests.conftest import ROOT
from tests.notebooks.files import file_of, files, often

CASES = ROOT.parent / "shared" / "cases" / "nbclient"
PNG = base64.b64encode(bytes(range(256)) * 90).decode()
ERROR = {
    "output_type": "error",
    "ename": "ZeroDivisionError",
    "evalue": "division by zero",
    "traceback": ["\x1b[31mTraceback\x1b[0m", "line 1", "ZeroDivisionError: division by zero"],
}


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def display(kind: str = "display_data", **forms: Any) -> dict[str, Any]:
    data = {name.replace("_", "/"): form for name, form in forms.items()}
    shown = {"output_type": kind, "data": data, "metadata": {}}
    return {**shown, "execution_count": 1} if kind == "execute_result" else shown


def of(*cells: dict[str, Any], **more: Any) -> Notebook:
    return Notebook.parse(file_of(*cells, **more))


def test_the_first_line_tells_what_notebook_it_is() -> None:
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = of({}, {}, metadata={"kernelspec": spec})
    first = listing(notebook).splitlines()[0]
    assert first == "nbformat 4.5 · kernelspec python3 · language python · 2 cells"
    assert listing(of({})).splitlines()[0].endswith("kernelspec none · language python · 1 cell")


def test_what_was_set_right_is_said_next() -> None:
    lines = listing(of({"id": None}, {"id": None})).splitlines()
    assert lines[1] == "Missing ids were given: cells 0, 1."


def test_a_cell_is_shown_with_its_names_its_source_and_what_it_put_out() -> None:
    notebook = of(
        {
            "id": "one",
            "source": "import a\n\nx = 1 / 0",
            "execution_count": 7,
            "metadata": {"tags": ["t", "u"]},
            "outputs": [
                stream("first\nsecond\n\x1b[1mthird\x1b[0m\n"),
                stream("\n  careful\n", "stderr"),
                display(image_png=PNG, text_plain="<Figure size 640x480>"),
                display("execute_result", text_plain="42"),
                ERROR,
            ],
        },
        {"id": "two", "cell_type": "markdown", "source": "# Title"},
    )
    one, two = notebook.cells
    assert listing(notebook).splitlines()[1:] == [
        f"0 one code #{one.hash} [7] tags t, u",
        "    import a",
        "    x = 1 / 0",
        "    → stdout: first (+2 lines); stderr: careful (+1 lines); "
        "image/png 23 kB + <Figure size 640x480>; 42; "
        "error ZeroDivisionError: division by zero",
        f"1 two markdown #{two.hash}",
        "    # Title",
    ]


def test_long_sources_are_cut() -> None:
    text = listing(of({"source": "".join(f"line {n}\n" for n in range(100))}))
    assert "    line 7\n    … 92 more lines" in text
    assert "line 8" not in text


@pytest.mark.parametrize("count", [1, 10, 50, 200])
def test_two_hundred_cells_fit(count: int) -> None:
    cell = {
        "source": "result = some_function_with_a_long_name(argument, other=3)\n" * 30,
        "execution_count": 1234,
        "metadata": {"tags": ["a-tag-of-some-length", "another"]},
        "outputs": [stream("a line of output of some length\n" * 20), ERROR],
    }
    ids = [{"id": f"{n:08x}"} for n in range(count)]
    notebook = of(*({**cell, **ident} for ident in ids))
    text = listing(notebook)
    assert len(text) <= MOST
    for number, shown in enumerate(notebook.cells):
        assert f"{number} {shown.id} code #{shown.hash}" in text
    assert text.count("error") == count
    assert "not shown" not in text
    # As much is shown as there is room for.
    assert len(text) > MOST / 3 or count == 1


def test_what_does_not_fit_is_reached_by_its_number() -> None:
    notebook = of(*({"id": f"{n:064}", "source": "x"} for n in range(450)))
    seen: list[int] = []
    offset, pages = 0, 0
    while True:
        text = listing(notebook, offset=offset)
        assert len(text) <= MOST
        lines = text.splitlines()
        seen += [int(line.split()[0]) for line in lines[1:] if line[0].isdigit()]
        pages += 1
        if "go on with offset=" not in lines[-1]:
            break
        offset = int(lines[-1].partition("offset=")[2].rstrip("]"))
        assert lines[-1].startswith(f"[cells {offset} to 449 are not shown")
    assert seen == [*range(450)] and 3 <= pages < 6


def test_a_page_has_as_many_cells_as_are_asked_for() -> None:
    notebook = of(*({"id": f"c{n}"} for n in range(9)))
    lines = listing(notebook, offset=3, limit=2).splitlines()
    assert [line.split()[1] for line in lines[1:3]] == ["c3", "c4"]
    assert lines[3:] == ["[cells 5 to 8 are not shown; go on with offset=5]"]
    assert listing(notebook, offset=20).endswith(
        "[there are no cells from 20 on; the last one is 8]"
    )
    assert len(listing(Notebook.new()).splitlines()) == 1


def test_one_cell_is_shown_whole() -> None:
    outputs = [
        stream("a\n\x1b[31mb\x1b[0m\n"),
        stream("oh", "stderr"),
        display(image_png=PNG, text_plain="<Figure>"),
        display("execute_result", text_html="<b>x</b>", text_plain="x\ny"),
        ERROR,
    ]
    source = "".join(f"x{n} = {n}\n" for n in range(1000))
    notebook = of({}, {"id": "it", "source": source, "outputs": outputs})
    whole = "\n".join(
        [
            listing(notebook).splitlines()[0],
            f"1 it code #{notebook.cells[1].hash}",
            source,
            "[stdout]\na\nb\n",
            "[stderr]\noh",
            "[display: image/png 23 kB]\n<Figure>",
            "[result: text/html 8 B]\nx\ny",
            "[error ZeroDivisionError: division by zero]",
            "Traceback\nline 1\nZeroDivisionError: division by zero",
        ]
    )
    assert listing(notebook, cell="it") == whole
    assert listing(notebook, cell=1) == whole


def test_a_very_long_cell_is_cut_and_the_cut_is_counted() -> None:
    source = "".join(f"{n:09}\n" for n in range(10_000))
    outputs = [stream(source), stream(source, "stderr"), stream("last")]
    text = listing(of({"source": source, "outputs": outputs}), cell=0)
    assert text.count("[… 80,000 characters left out …]") == 1
    assert "000001499\n" in text and "000001500\n" not in text and "000009999\n" in text
    assert "[2 more outputs are not shown]" in text
    assert len(text) < 2 * WHOLE + 500


@pytest.mark.parametrize("cell", ["nope", 1, -1, 1.5, True])
def test_a_cell_that_is_not_there_is_refused(cell: Any) -> None:
    with pytest.raises(NoSuchCell):
        listing(of({"id": "a"}), cell=cell)


def test_encoded_data_is_never_shown() -> None:
    embedded = f"![x](data:image/png;base64,{PNG})"
    outputs = [
        display(image_png=PNG, image_jpeg=PNG, application_pdf=PNG),
        display(text_html=f'<img src="data:image/png;base64,{PNG}">'),
        display(text_markdown=embedded),
        stream(PNG),
        {**ERROR, "evalue": PNG, "traceback": [PNG]},
    ]
    notebook = of({"outputs": outputs}, {"cell_type": "markdown", "source": embedded})
    texts = [listing(notebook), listing(notebook, cell=0), listing(notebook, cell=1)]
    for text in texts:
        assert PNG[:40] not in text and PNG[-100:-60] not in text and PNG[5000:5040] not in text
    assert "data:image/png;base64,[30720 characters left out])" in texts[2]
    assert "image/png 23 kB, image/jpeg 23 kB, application/pdf 23 kB" in texts[1]
    assert f"[stdout]\n[{len(PNG)} characters without a break]" in texts[1]


def test_broken_outputs_can_be_listed() -> None:
    outputs: list[Any] = [
        {},
        {"output_type": "display_data", "data": [1]},
        {"output_type": "error", "traceback": "x"},
        {"output_type": "stream", "text": 3},
        {"output_type": "display_data", "data": {"text/plain": 3}},
    ]
    notebook = of({"outputs": outputs, "id": "an id\n" * 100})
    assert "breaks the schema" in listing(notebook)
    assert listing(notebook, cell=0)


@often
@given(files(), st.integers(-2, 6), st.none() | st.integers(-1, 5))
def test_any_notebook_can_be_listed(
    file: tuple[bytes, dict[str, Any]], offset: int, limit: int | None
) -> None:
    notebook = Notebook.parse(file[0])
    text = listing(notebook, offset=offset, limit=limit)
    assert len(text) <= MOST and "\x1b" not in text
    text.encode()
    for number, cell in enumerate(notebook.cells):
        whole = listing(notebook, cell=number)
        whole.encode()
        assert cell.hash in whole


@pytest.mark.skipif(not CASES.exists(), reason="the notebooks of others are not here")
def test_notebooks_of_others_can_be_listed() -> None:
    for path in CASES.glob("*.ipynb"):
        notebook = Notebook.parse(path.read_bytes())
        assert len(listing(notebook)) <= MOST
        for number in range(len(notebook.cells)):
            assert "iVBORw0" not in listing(notebook, cell=number)
