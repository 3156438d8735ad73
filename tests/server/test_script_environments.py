"""Scripts with metadata of their own (PEP 723), run by run_python in environments made by uv."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastmcp import Client

from kernels.environments import installers, scripts
from kernels.environments.children import Ended
from kernels.environments.installers import find_uv
from kernels.launching import server_python
from kernels.registry import Registry
from server.app import build_server
from server.settings import Settings
from tests.server.caller import Caller, Mode

SCRIPT = """\
# /// script
# requires-python = ">=3.9"
# dependencies = ["cowsay==6.1"]
# ///
import cowsay, sys
print(cowsay.__version__, sys.argv[1:])
kept = globals().get("kept", 0) + 1
"""


@pytest.fixture
def mode() -> Mode:
    return "auto"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uv's."""
    return tmp_path_factory.mktemp("uv")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, cache: Path) -> list[str]:
    """What uv was called for. Skips where there is none."""
    if not (uv := find_uv(os.environ)):
        pytest.skip("uv is not installed")
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.dirname(uv), os.environ["PATH"]]))
    monkeypatch.setenv("UV_CACHE_DIR", str(cache))
    real, words = scripts.run, list[str]()

    async def run(argv: list[str], *rest: object) -> Ended:
        words.append(argv[1])
        return await real(argv, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(scripts, "run", run)
    return words


@pytest.fixture
async def caller(settings: Settings, registry: Registry, mode: Mode) -> AsyncIterator[Caller]:
    server = build_server(replace(settings, python=server_python()), registry)
    async with Client(server, mode=mode) as client:
        yield Caller(client)


def write(projects: Path, source: str, name: str = "demo/moo.py") -> None:
    (projects / name).parent.mkdir(exist_ok=True)
    (projects / name).write_text(source)


@pytest.mark.slow
async def test_a_script_runs_in_its_own_environment_and_session(
    caller: Caller, projects: Path, started: list[str]
) -> None:
    """The line of facts says where and why. The second time no uv is started, and the session is
    the same; with edited metadata it is made anew, and the result says so."""
    write(projects, SCRIPT)
    run = {"file_name": "demo/moo.py", "args": ["a"]}
    texts, facts = await caller.run("run_python", **run)
    assert texts[0].startswith("6.1 ['a']"), texts
    assert facts["session"] == "script demo/moo.py"
    assert "(script:demo/moo.py) by its metadata" in texts[-1]
    assert started == ["add", "sync", "python"]

    texts, facts = await caller.run("run_python", **run)
    assert facts["status"] == "ok" and facts["state"] == "kept"
    assert started == ["add", "sync", "python"]
    shown, _ = await caller.run("run_code", code="kept", session="script demo/moo.py")
    assert shown[0].startswith("2"), "each of the two has added 1"

    write(projects, SCRIPT.replace("6.1", "6.0"))
    texts, facts = await caller.run("run_python", **run)
    assert facts["status"] == "ok" and facts["state"] == "lost"
    assert "another environment" in texts[-1]
    assert started == 2 * ["add", "sync", "python"]
    assert "script demo/moo.py" in await caller.text("list_sessions")


@pytest.mark.slow
async def test_what_uv_cannot_make_is_one_sentence_and_nothing_runs(
    caller: Caller, projects: Path, started: list[str]
) -> None:
    write(projects, SCRIPT.replace("6.1", "99.9"))
    words = await caller.refusal("run_python", file_name="demo/moo.py")
    assert "metadata of demo/moo.py" in words and "cowsay==99.9" in words
    assert "no session yet" in await caller.text("list_sessions")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('["cowsay==6.1"]', '["cowsay==6.1"', "(at the end of the block)"),
        ('"cowsay==6.1"', "6", "list of strings"),
    ],
)
async def test_malformed_metadata_are_one_sentence_and_nothing_runs(
    caller: Caller, projects: Path, old: str, new: str, words: str
) -> None:
    write(projects, SCRIPT.replace(old, new))
    refusal = await caller.refusal("run_python", file_name="demo/moo.py")
    assert words in refusal and "malformed" in refusal


@pytest.mark.slow
async def test_a_session_that_lives_elsewhere_refuses_it(
    caller: Caller, projects: Path, started: list[str]
) -> None:
    write(projects, SCRIPT)
    await caller.run("run_code", code="x = 1", session="mine")
    words = await caller.refusal("run_python", file_name="demo/moo.py", session="mine")
    assert "'mine' lives in" in words and "restart" in words


async def test_without_uv_it_runs_in_the_usual_one_and_says_so(
    caller: Caller, projects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installers, "find_uv", lambda *_: "")
    monkeypatch.setattr(scripts, "find_uv", lambda *_: "")
    write(projects, SCRIPT.replace("import cowsay, sys", "import sys").replace("cowsay._", "sys._"))
    texts, facts = await caller.run("run_python", file_name="demo/moo.py", args=["a"])
    assert facts["session"] == "default"
    assert "uv is not installed, so the script's metadata were not followed" in texts[-1]
