"""read_notebook and edit_notebook."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.notebooks.files import file_of
from tests.server.caller import Caller, Mode, both_eras


@pytest.fixture
def mode() -> Mode:
    """The newer era, except where a test asks for both."""
    return "auto"


@pytest.fixture
def path(projects: Path) -> Path:
    path = projects / "a.ipynb"
    path.write_bytes(
        file_of(
            {"source": "import math\nmath.pi", "execution_count": 1},
            {"cell_type": "markdown", "source": "# Title"},
            {"source": "1/0"},
        )
    )
    return path


async def edit(caller: Caller, *operations: dict[str, Any], **more: Any) -> str:
    return await caller.text("edit_notebook", file_name="a.ipynb", operations=[*operations], **more)


async def refused(caller: Caller, *operations: Any) -> str:
    return await caller.refusal("edit_notebook", file_name="a.ipynb", operations=[*operations])


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, text: str) -> None:
    path.write_text(text)


def sources(path: Path) -> list[str]:
    content = json.loads(path.read_text())
    nbformat.validate(content)
    return ["".join(cell["source"]) for cell in content["cells"]]


@both_eras
async def test_cells_are_listed_in_short_and_one_whole(quick: Caller, path: Path) -> None:
    text = await quick.text("read_notebook", file_name="a.ipynb")
    first, *rest = text.splitlines()
    assert "nbformat 4.5" in first and "3 cells" in first
    assert any(re.match(r"0 c0 code #[0-9a-f]{12} \[1\]", line) for line in rest)
    whole = await quick.text("read_notebook", file_name="a.ipynb", cell="c0")
    assert "import math\nmath.pi" in whole


@both_eras
async def test_several_operations_at_once(quick: Caller, path: Path) -> None:
    done = await edit(
        quick,
        {"op": "insert", "source": "first = 1", "before": 0},
        {"op": "replace", "cell": "c2", "source": "1/1"},
        {"op": "move", "cell": "c1", "to": 0},
        {"op": "delete", "cell": 0},
    )
    assert sources(path) == ["# Title", "first = 1", "1/1"]
    assert done.splitlines()[0] == "a.ipynb changed." and len(done.splitlines()) == 5


@both_eras
async def test_all_or_none(quick: Caller, path: Path) -> None:
    before = content_of(path)
    text = await refused(
        quick, {"op": "delete", "cell": 0}, {"op": "replace", "cell": "nope", "source": "x"}
    )
    assert "nope" in text and "Nothing was changed." in text
    assert content_of(path) == before


async def test_a_cell_that_somebody_else_changed_is_not_overwritten(
    quick: Caller, path: Path
) -> None:
    listing = await quick.text("read_notebook", file_name="a.ipynb")
    found = re.search(r"c2 code #([0-9a-f]{12})", listing)
    assert found is not None
    await edit(quick, {"op": "replace", "cell": "c2", "source": "theirs"})
    mine = {"op": "replace", "cell": "c2", "source": "mine", "hash": found[1]}
    assert "c2" in await refused(quick, mine)
    assert sources(path)[2] == "theirs"


async def test_two_editors_at_once_lose_nothing(quick: Caller, path: Path) -> None:
    """One of them may be refused, but never silently overwritten."""

    async def insert(number: int) -> bool:
        result = await quick.call(
            "edit_notebook",
            file_name="a.ipynb",
            operations=[{"op": "insert", "source": f"n{number}"}],
        )
        return not result.is_error

    done = await asyncio.gather(*(insert(number) for number in range(10)))
    there = sources(path)
    assert any(done)
    assert [f"n{n}" in there for n in range(10)] == done


async def test_a_new_notebook(quick: Caller, projects: Path) -> None:
    operations = [
        {"op": "insert", "source": "# Hi", "type": "markdown"},
        {"op": "insert", "source": "1"},
    ]
    await quick.text("edit_notebook", file_name="new/b.ipynb", operations=operations, create=True)
    assert sources(projects / "new" / "b.ipynb") == ["# Hi", "1"]
    text = await quick.refusal(
        "edit_notebook", file_name="new/b.ipynb", operations=operations, create=True
    )
    assert "b.ipynb" in text


@pytest.mark.parametrize(
    "operation",
    [
        {},
        {"op": "explode"},
        {"op": "insert"},
        {"op": "insert", "source": 5},
        {"op": "insert", "source": "x", "type": "poem"},
        {"op": "replace", "cell": None, "source": "x"},
        {"op": "delete", "cell": 99},
        {"op": "move", "cell": 0},
        {"op": "delete", "cell": 0, "colour": "red"},
    ],
)
async def test_bad_operations(quick: Caller, path: Path, operation: dict[str, Any]) -> None:
    before = content_of(path)
    assert await refused(quick, operation)
    assert content_of(path) == before


@both_eras
async def test_bad_files(quick: Caller, path: Path) -> None:
    for tool, more in (
        ("read_notebook", {}),
        ("edit_notebook", {"operations": [{"op": "upgrade"}]}),
    ):
        assert "does not exist" in await quick.refusal(tool, file_name="b.ipynb", **more)
        assert "outside" in await quick.refusal(tool, file_name="../b.ipynb", **more)
    write(path, "{}")
    assert "'a.ipynb' cannot be used." in await quick.refusal("read_notebook", file_name="a.ipynb")
