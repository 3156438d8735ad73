"""Notebook files of every look that the tests read: what they say, and how it is written."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import nbformat
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Json = Any
#: Times are no property of what is tested, and there is more to do for the machine than this.
often = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow], database=None
)
more_often = settings(often, max_examples=120)
VERSIONS = ((3, 0), (4, 0), (4, 1), (4, 2), (4, 3), (4, 4), (4, 5))

#: Any text; lone surrogates are written as escapes, and so is their pair, which is one character.
text = st.text(max_size=12).map(lambda value: json.loads(json.dumps(value)))
any_text = st.one_of(
    text,
    st.text(alphabet=st.sampled_from('ab"\\/{}[],:\n\t\u2028é😀\ud83d'), max_size=12).map(
        lambda value: json.loads(json.dumps(value))
    ),
)
values: st.SearchStrategy[Json] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**40), 10**40),
        st.floats(allow_nan=False, allow_infinity=False),
        any_text,
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(any_text, inner, max_size=3)
    ),
    max_leaves=5,
)
#: Entries of metadata under names that no schema knows.
unknown = st.dictionaries(st.sampled_from(("x-a", "x-é", "x-b", "zz", "a a")), values, max_size=2)
ids = st.text(alphabet="abcdefXYZ019-_", min_size=1, max_size=8)
sources = st.one_of(
    st.sampled_from(("", "1 + 1", "# a\nb = 2\n", "print('é')\r\nx", "\n\n", "a\x0cb")), any_text
)


def in_lines(draw: st.DrawFn, value: str) -> str | list[str]:
    """A text as it may be written: whole or by lines."""
    return value.splitlines(True) if draw(st.booleans()) else value


@st.composite
def bundles(draw: st.DrawFn) -> dict[str, Json]:
    data: dict[str, Json] = {}
    for mime in draw(st.lists(st.sampled_from(("text/plain", "text/html", "image/png")))):
        data[mime] = draw(any_text)
    if draw(st.booleans()):
        data["application/json"] = draw(values.filter(lambda value: not isinstance(value, str)))
    return data


@st.composite
def outputs(draw: st.DrawFn) -> dict[str, Json]:
    """An output of version 4 with its texts joined, its names in any order."""
    kind = draw(st.sampled_from(("stream", "error", "display_data", "execute_result")))
    output: dict[str, Json] = {"output_type": kind}
    if kind == "stream":
        output |= {"name": draw(st.sampled_from(("stdout", "stderr"))), "text": draw(any_text)}
    elif kind == "error":
        output |= {"ename": "E", "evalue": draw(any_text)}
        output["traceback"] = draw(st.lists(any_text, max_size=2))
    else:
        output |= {"data": draw(bundles()), "metadata": draw(unknown)}
        if kind == "execute_result":
            output["execution_count"] = draw(st.none() | st.integers(0, 99))
    return dict(draw(st.permutations([*output.items()])))


def stored(draw: st.DrawFn, output: dict[str, Json]) -> dict[str, Json]:
    """An output as it may stand in a file."""
    output = dict(output)
    if output["output_type"] == "stream":
        output["text"] = in_lines(draw, output["text"])
    for mime, form in output.get("data", {}).items():
        if mime.startswith("text/"):
            output["data"] = {**output["data"], mime: in_lines(draw, form)}
    return output


@st.composite
def cells(draw: st.DrawFn, ident: str | None) -> dict[str, Json]:
    """A cell of version 4 as it may stand in a file."""
    kind = draw(st.sampled_from(("code", "code", "markdown", "raw")))
    metadata = draw(unknown)
    if draw(st.booleans()):
        metadata["tags"] = draw(st.lists(st.sampled_from(("a", "b", "parameters")), unique=True))
    cell: dict[str, Json] = {"cell_type": kind, "source": in_lines(draw, draw(sources))}
    if ident is not None:
        cell["id"] = ident
    if kind == "code":
        cell["outputs"] = [stored(draw, output) for output in draw(st.lists(outputs(), max_size=2))]
        cell["execution_count"] = draw(st.none() | st.integers(0, 99))
        if draw(st.booleans()):
            metadata["execution"] = {"iopub.execute_input": "2020-01-01T00:00:00Z"}
    elif kind == "markdown" and draw(st.booleans()):
        cell["attachments"] = {"a.png": {"image/png": "aGk="}}
    cell["metadata"] = metadata
    return dict(draw(st.permutations([*cell.items()])))


def older(draw: st.DrawFn, cell: dict[str, Json]) -> dict[str, Json]:
    """The cell in version 3."""
    cell = {name: value for name, value in cell.items() if name not in ("id", "attachments")}
    if cell["cell_type"] != "code":
        if draw(st.booleans()):
            cell |= {"cell_type": "heading", "level": 2}
        return cell
    cell["input"] = cell.pop("source")
    cell["prompt_number"] = cell.pop("execution_count")
    cell["language"] = "python"
    cell["outputs"] = [{"output_type": "stream", "stream": "stdout", "text": "a"}] * draw(
        st.integers(0, 2)
    )
    return cell


@st.composite
def contents(draw: st.DrawFn, versions: Sequence[tuple[int, int]] = VERSIONS) -> dict[str, Json]:
    """What a valid notebook says."""
    major, minor = draw(st.sampled_from(versions))
    idents = draw(st.lists(ids, unique=True, max_size=4))
    listed = [draw(cells(ident if (major, minor) >= (4, 5) else None)) for ident in idents]
    metadata = draw(unknown)
    if draw(st.booleans()):
        metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
        metadata["language_info"] = {"name": "python"}
    content: dict[str, Json] = {"metadata": metadata, "nbformat": major, "nbformat_minor": minor}
    if major >= 4:
        content["cells"] = listed
    else:
        first = draw(st.integers(0, len(listed)))
        older_ = [older(draw, cell) for cell in listed]
        sheets = [{"cells": some, "metadata": {}} for some in (older_[:first], older_[first:])]
        content["worksheets"] = sheets[: draw(st.integers(1, 2))]
    content = dict(draw(st.permutations([*content.items()])))
    nbformat.validate(json.loads(json.dumps(content)))
    return content


class Writer:
    """Writes JSON in a way that only the file's bytes can tell: any spacing, escapes, spelling of
    numbers, and names that are there twice, of which the last one counts."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _space(self) -> str:
        return self._random.choice(("", "", "", " ", "\n", "\r\n  ", "\t"))

    def write(self, value: Json) -> str:
        space, pick = self._space, self._random
        if isinstance(value, dict):
            items = []
            for name, inner in value.items():
                if pick.random() < 0.1:
                    items.append(f"{space()}{json.dumps(name)}{space()}:{space()}[1]{space()}")
                items.append(f"{space()}{self.write(name)}{space()}:{space()}{self.write(inner)}")
            return "{" + ",".join(items) + space() + "}"
        if isinstance(value, list):
            return "[" + ",".join(f"{space()}{self.write(v)}{space()}" for v in value) + "]"
        if isinstance(value, float):
            return pick.choice((repr(value), f"{value:.17E}"))
        return json.dumps(value, ensure_ascii=pick.random() < 0.5)


@st.composite
def files(
    draw: st.DrawFn, versions: Sequence[tuple[int, int]] = VERSIONS
) -> tuple[bytes, dict[str, Json]]:
    """A valid notebook's file, and what it says."""
    content = draw(contents(versions))
    if draw(st.booleans()):
        written = Writer(draw(st.integers(0, 10**6))).write(content)
    else:
        indent = draw(st.sampled_from((None, 0, 1, 2, 4, "\t")))
        separators = draw(st.sampled_from((None, (",", ":"), (", ", " : "))))
        written = json.dumps(
            content,
            indent=indent,
            ensure_ascii=draw(st.booleans()),
            sort_keys=draw(st.booleans()),
            separators=separators,
        )
        if draw(st.booleans()):
            written = written.replace("\n", "\r\n")
    end = draw(st.sampled_from(("", "\n", "\r\n", "\n\n ")))
    start = draw(st.sampled_from(("", "", "\ufeff", " \n")))
    return (start + written + end).encode("utf-8", "backslashreplace"), content


def jupyter(content: dict[str, Json]) -> bytes:
    """The file as Jupyter writes it."""
    node = nbformat.from_dict(json.loads(json.dumps(content)))
    written: str = nbformat.writes(node, version=nbformat.NO_CONVERT)
    return (written + "\n").encode("utf-8", "backslashreplace")


def loads(data: bytes) -> dict[str, Json]:
    """What a file says."""
    said: dict[str, Json] = json.loads(data.decode().removeprefix("\ufeff"))
    return said


def minimal(*cells: dict[str, Json], **more: Json) -> dict[str, Json]:
    """A small notebook of version 4.5 with these cells; what they lack is added."""
    full = []
    for number, cell in enumerate(cells):
        whole = {"cell_type": "code", "id": f"c{number}", "metadata": {}, "source": ""} | cell
        if whole["cell_type"] == "code":
            whole = {"execution_count": None, "outputs": []} | whole
        full.append(whole)
    return {"cells": full, "metadata": {}, "nbformat": 4, "nbformat_minor": 5} | more


def file_of(*cells: dict[str, Json], **more: Json) -> bytes:
    """The file of `minimal`, as Jupyter writes one."""
    return (json.dumps(minimal(*cells, **more), indent=1) + "\n").encode()
