"""A command on a projects directory with the samples."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.client.command import Command
from tests.conftest import ROOT


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """`command("run", "hello_world.py")`; its working directory is empty and elsewhere."""
    return make_command(tmp_path)


def make_command(folder: Path) -> Command:
    """A command on a projects directory with the samples."""
    projects, cwd = folder / "projects", folder / "elsewhere"
    cwd.mkdir()
    shutil.copytree(ROOT / "tests" / "test_samples", projects)
    return Command(projects, cwd)
