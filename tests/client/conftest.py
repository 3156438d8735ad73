"""A command on a projects directory with the samples."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.command import Command, Served
from tests.conftest import ROOT
from tests.e2e.http_process import HttpProcess


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """`command("run", "hello_world.py")`; its working directory is empty and elsewhere."""
    return make_command(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """As `command`, for all tests of a module, on one server over HTTP: where a test is not about
    the server's start, this saves one."""
    folder = tmp_path_factory.mktemp("served")
    made = make_command(folder)
    process = HttpProcess(folder)
    try:
        yield Served(made.projects, made.cwd, process.wait().url)
    finally:
        process.end()


def make_command(folder: Path) -> Command:
    """A command on a projects directory with the samples."""
    projects, cwd = folder / "projects", folder / "elsewhere"
    cwd.mkdir()
    shutil.copytree(ROOT / "tests" / "test_samples", projects)
    return Command(projects, cwd)
