"""`rmi-agent packages install`, with the real server and the real package index."""

from __future__ import annotations

import os
import sys

import pytest

from kernels.environments.installers import find_uv
from tests.client.command import Command, Served
from tests.kernels.environments.venvs import make

pytestmark = pytest.mark.slow


@pytest.fixture
def path() -> str:
    """A PATH that has uv."""
    if not (uv := find_uv(os.environ)):
        pytest.skip("uv is not installed")
    return os.pathsep.join([os.path.dirname(uv), os.environ["PATH"]])


def test_it_installs_into_the_environment_that_is_named(command: Command, path: str) -> None:
    """Over stdio it is allowed; the server's answer is the output."""
    make(command.projects / ".venv", sys.version_info.minor)
    words = ["packages", "install", "cowsay>=6.1,<7", "mdurl==0.1.2", "--environment", ".venv"]
    done = command(*words, PATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first.startswith("Installed into Python 3.") and "(venv:.venv) (uv, " in first
    assert rest == [
        "cowsay 6.1 installed",
        "mdurl 0.1.2 installed",
        "Can be imported now: cowsay, mdurl.",
    ]


def test_what_cannot_be_installed_is_a_complaint(command: Command, path: str) -> None:
    make(command.projects / ".venv", sys.version_info.minor)
    done = command("packages", "install", "--environment", ".venv", "cowsay==99.9", PATH=path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("rmi-agent: uv cannot install cowsay==99.9 into Python 3.")
    assert "unsatisfiable" in done.stderr
    done = command("packages", "install", "--environment", ".venv", "--", "--pre", PATH=path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("rmi-agent: The package '--pre' looks like an option")


def test_where_it_is_off_that_is_said(command: Command, served: Served) -> None:
    """It is over HTTP, and where the setting says so."""
    for done in (
        served("packages", "install", "cowsay"),
        command("packages", "install", "cowsay", RMI_ALLOW_INSTALL="off"),
    ):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "rmi-agent: This server installs no packages: its setting RMI_ALLOW_INSTALL is off.\n"
        )


def test_a_name_is_needed(command: Command) -> None:
    for words in (["packages"], ["packages", "install"]):
        assert command(*words).returncode == 2
