"""Notebooks that others wrote, run through the tool, give the outputs that are stored in them."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from fastmcp import Client

from kernels.registry import Registry
from server.app import build_server
from server.settings import Settings
from tests.conftest import RESUMED_TOO, ROOT, until
from tests.server.caller import Caller

CASES = ROOT.parent / "shared" / "cases" / "nbclient"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the notebooks are not here")

#: They give again what is stored in them.
SAME = (
    "Check History in Memory", "Clear Output", "Empty Cell", "Factorials", "HelloWorld",
    "Inline Image", "JupyterWidgets", "Other Comms", "Output", "SVG", "Unicode",
    "UnicodePy3", "update-display-id", "Skip Exceptions with Cell Tags",
    "Skip Execution with Cell Tag",
)  # fmt: skip
_TIMES = re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?|\b\d+(\.\d+)? ?(ns|µs|us|ms|s)\b")
_ADDRESSES = re.compile(r"0x[0-9a-f]+")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
async def caller(settings: Settings, registry: Registry) -> Any:
    async with Client(build_server(settings, registry)) as client:
        yield Caller(client)


def outputs_of(path: Path) -> list[list[dict[str, Any]]]:
    """What the cells of a file hold, without what is different each time."""
    content = json.loads(path.read_text(encoding="utf-8"))
    notebook = nbformat.from_dict(content)
    return [
        [_plain(output) for output in cell.get("outputs", ())]
        for cell in nbformat.v4.rwbase.rejoin_lines(notebook)["cells"]
    ]


def _plain(output: dict[str, Any]) -> dict[str, Any]:
    output = {k: v for k, v in output.items() if k not in ("execution_count", "traceback")}
    text = json.dumps(output, sort_keys=True)
    text = _ANSI.sub("", _ADDRESSES.sub("ADDRESS", _TIMES.sub("TIME", text)))
    # Widgets have ids of their own each time.
    text = re.sub(r'"model_id": "[0-9a-f]{32}"', '"model_id": ""', text)
    plain: dict[str, Any] = json.loads(text)
    if "application/vnd.jupyter.widget-view+json" in plain.get("data", {}):
        # Older widgets displayed themselves, newer ones are shown.
        plain["output_type"] = "execute_result"
    for data in (plain.get("data", {}),):
        # Kernels of other versions draw other pixels, and give more forms.
        for mime in ("image/png", "image/svg+xml", "text/html"):
            data[mime] = bool(data[mime]) if mime in data else None
    return plain


@pytest.mark.parametrize("registry", RESUMED_TOO, indirect=True)
@pytest.mark.parametrize("name", SAME)
async def test_its_outputs_are_reproduced(caller: Caller, projects: Path, name: str) -> None:
    path = projects / f"{name}.ipynb"
    shutil.copy(CASES / path.name, path)
    for picture in CASES.glob("*.png"):
        shutil.copy(picture, projects)
    path.chmod(0o644)
    await caller.run("run_notebook", file_name=path.name, allow_errors=True)
    assert outputs_of(path) == outputs_of(CASES / path.name)
    content = json.loads(path.read_text(encoding="utf-8"))
    before = json.loads((CASES / path.name).read_text(encoding="utf-8"))
    assert _sources(content) == _sources(before)


def _sources(content: dict[str, Any]) -> list[Any]:
    return [cell["source"] for cell in content["cells"]]


async def run(caller: Caller, projects: Path, name: str, **more: Any) -> tuple[list[str], Any]:
    shutil.copy(CASES / f"{name}.ipynb", projects)
    (projects / f"{name}.ipynb").chmod(0o644)
    return await caller.run("run_notebook", file_name=f"{name}.ipynb", **more)


async def test_a_kernel_that_ends_itself(caller: Caller, projects: Path) -> None:
    _, facts = await run(caller, projects, "Autokill")
    assert facts["status"] == "died"


@pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")
@pytest.mark.parametrize(("name", "status"), [("Autokill", "died"), ("Interrupt", "timeout")])
async def test_one_that_ends_a_kernel_which_has_a_checkpoint(
    caller: Caller, registry: Registry, projects: Path, name: str, status: str
) -> None:
    """The session goes on from there, and others run in it as ever."""
    code = "import time; time.sleep(0.5); x = [1, 2]"
    await caller.run("run_code", code=code, session="work")
    await until(lambda: registry.find("", "work").checkpoint)
    for _ in range(2):
        _, facts = await run(caller, projects, name, session="work", timeout=1)
        assert (facts["status"], facts["state"], facts["restored_to"]) == (status, "restored", "1")
    path = projects / "Factorials.ipynb"
    await run(caller, projects, "Factorials", session="work")
    assert outputs_of(path) == outputs_of(CASES / path.name)
    texts, _ = await caller.run("run_code", code="x", session="work")
    assert texts[0] == "[1, 2]\n"


async def test_input_fails_at_once(caller: Caller, projects: Path) -> None:
    texts, facts = await run(caller, projects, "Disable Stdin")
    assert facts["status"] in ("ok", "error") and "EOFError" in "".join(texts)


async def test_an_error(caller: Caller, projects: Path) -> None:
    _, facts = await run(caller, projects, "Error")
    assert facts["error"]["name"] == "ZeroDivisionError"


async def test_one_that_takes_too_long(caller: Caller, projects: Path) -> None:
    _, facts = await run(caller, projects, "Interrupt", timeout=1)
    assert facts["status"] == "timeout"


async def test_a_short_one(caller: Caller, projects: Path) -> None:
    _, facts = await run(caller, projects, "Sleep1s")
    assert facts["status"] == "ok"


async def test_an_error_that_is_skipped(caller: Caller, projects: Path) -> None:
    _, facts = await run(caller, projects, "Skip Exceptions", allow_errors=True)
    assert facts["status"] == "ok"


async def test_two_that_need_each_other(
    caller: Caller, projects: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code = f"import os; os.environ['NBEXECUTE_TEST_PARALLEL_TMPDIR'] = {str(tmp_path)!r}"
    names = ("Parallel Execute A", "Parallel Execute B")
    for name in names:
        await caller.run("run_code", code=code, session=name)
    results = await asyncio.gather(*(run(caller, projects, name, session=name) for name in names))
    assert [facts["status"] for _, facts in results] == ["ok", "ok"]
