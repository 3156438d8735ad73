"""Where the sessions of a real server are, as settings, files and calls decide."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.raw import SERVER, RawServer
from tests.kernels.environments.venvs import Made, make

WHERE = "import os, sys; print(sys.executable, os.environ.get('VIRTUAL_ENV'))"

Begin = Callable[..., RawServer]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A venv in a projects directory."""
    return make(tmp_path_factory.mktemp("projects").resolve() / ".venv", 12, 7)


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts a server that ends with the test."""
    servers = []

    def start(projects: Path, **settings: str) -> RawServer:
        servers.append(RawServer(projects, **settings))
        servers[-1].initialize()
        return servers[-1]

    yield start
    for server in servers:
        server.end()


def run(server: RawServer, **arguments: object) -> tuple[str, str]:
    """What code wrote, and the line of facts."""
    result = server.call("run_code", code=WHERE, **arguments)
    first, *_, last = result["content"]
    return first["text"], last["text"]


def test_a_call_names_one(begin: Begin, made: Made) -> None:
    server = begin(made.prefix.parent)
    there = f"{made.python} {made.prefix}\n"
    text, facts = run(server, environment="venv:.venv", session="there")
    assert text == there
    assert facts.endswith(f"Python {made.version} (venv:.venv)]")
    text, facts = run(server)
    assert text.startswith(f"{sys.executable} ")
    assert "Python 3" not in facts
    server.call("restart_session", session="there")
    assert run(server, session="there")[0] == there
    listed = server.call("list_environments")["content"][0]["text"]
    assert f"venv:.venv: Python {made.version} · ipykernel {made.ipykernel} · " in listed


def test_rmi_python_names_the_default(begin: Begin, made: Made) -> None:
    server = begin(made.prefix.parent, RMI_PYTHON="venv:.venv")
    text, facts = run(server)
    assert text == f"{made.python} {made.prefix}\n"
    assert facts.endswith(f"Python {made.version} (venv:.venv) by RMI_PYTHON]")
    text, _ = run(server, session="own", environment=sys.executable)
    assert text.startswith(f"{sys.executable} ")
    assert str(made.prefix) not in text


def test_a_file_of_the_projects_directory_does(
    begin: Begin, made: Made, request: pytest.FixtureRequest
) -> None:
    file = made.prefix.parent / "pyproject.toml"
    request.addfinalizer(file.unlink)
    file.write_text("[project]\nname = 'x'\nversion = '1'\n")
    text, facts = run(begin(made.prefix.parent))
    assert text == f"{made.python} {made.prefix}\n"
    assert facts.endswith(f"Python {made.version} (venv:.venv) by pyproject.toml]")


def test_a_file_that_names_what_is_not_there_is_told(begin: Begin, projects: Path) -> None:
    (projects / "environment.yml").write_text("name: nowhere-to-be-found\n")
    server = begin(projects)
    text, facts = run(server)
    assert text.startswith(f"{sys.executable} ")
    assert "environment.yml" in facts and "nowhere-to-be-found" in facts
    assert "environment.yml" not in run(server)[1]


def test_what_rmi_python_names_must_be_there(projects: Path) -> None:
    from os import environ

    done = subprocess.run(
        SERVER,
        env={**environ, "PYTHON_PROJECTS_DIR": str(projects), "RMI_PYTHON": "conda:nowhere"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("rmi-agent-mcp-server: RMI_PYTHON is 'conda:nowhere'. ")
    assert done.stderr.count("\n") == 1


def test_nothing_of_environments_is_imported_for_the_start(projects: Path) -> None:
    """Where neither RMI_PYTHON nor a file of the projects directory names one."""
    code = (
        "import sys\nfrom server import settings\nsettings.load()\n"
        "print([name for name in sys.modules if name.startswith('kernels.environments')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHON_PROJECTS_DIR": str(projects), "PATH": "/usr/bin"},
        cwd=Path(SERVER[1]).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "[]\n", done.stderr
