"""Which environments are found, and what they are called."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from kernels.environments.describing import describe
from kernels.environments.finding import find_all
from kernels.environments.places import poetry_stores
from tests.kernels.environments.conftest import Install, Machine, as_nobody, python_in
from tests.kernels.test_kernelspecs import ECHO, LAUNCHER


def test_the_python_of_this_process_is_always_there(machine: Machine) -> None:
    found = find_all(machine.projects, machine.environ)
    own = [one for one in found if one.python == os.path.abspath(sys.executable)]
    assert len(own) == 1 and own[0].runs_kernels


@pytest.mark.parametrize(
    "root",
    ["miniconda3", "miniforge3", "mambaforge", "anaconda3", "micromamba", ".local/share/mamba"],
)
def test_condas_installations_are_in_the_home(machine: Machine, root: str) -> None:
    machine.conda(machine.home / root / "envs" / "ds")
    machine.conda(machine.home / root / "envs" / "mit Leerzeichen und ü")
    assert machine.names() == ["conda:ds", "conda:mit Leerzeichen und ü"]


def test_condas_base_comes_first(machine: Machine) -> None:
    for prefix in ("miniforge3/envs/a", "miniforge3"):
        machine.conda(machine.home / prefix)
    assert machine.names() == ["conda:base", "conda:a"]


@pytest.mark.parametrize("name", ["CONDA_ENVS_PATH", "CONDA_ENVS_DIRS"])
def test_folders_of_environments_that_variables_name(machine: Machine, name: str) -> None:
    machine.conda(machine.home / "one" / "a")
    machine.conda(machine.home / "two" / "b")
    machine.environ[name] = os.pathsep.join(str(machine.home / part) for part in ("one", "two"))
    assert machine.names() == ["conda:a", "conda:b"]


def test_installations_that_variables_name(machine: Machine) -> None:
    """CONDA_EXE's, MAMBA_ROOT_PREFIX's, and that of the environment that is active."""
    for root in ("x", "y", "z"):
        machine.conda(machine.home / root / "envs" / f"of {root}")
    machine.environ["CONDA_EXE"] = str(machine.home / "x" / "bin" / "conda")
    machine.environ["MAMBA_ROOT_PREFIX"] = str(machine.home / "y")
    machine.environ["CONDA_PREFIX"] = str(machine.home / "z" / "envs" / "of z")
    assert machine.names() == ["conda:of x", "conda:of y", "conda:of z"]


def test_what_conda_has_noted_is_found_while_it_is_there(machine: Machine) -> None:
    here = machine.conda(machine.home / "anywhere" / "here")
    file = machine.home / ".conda" / "environments.txt"
    file.parent.mkdir()
    file.write_bytes(f"{here}\n\n/gone/away\n\0\n".encode() + b"\xff\xfe\n" + b"relative\n")
    assert machine.names() == ["conda:here"]


def test_a_prefix_without_python_is_none_for_sessions(machine: Machine) -> None:
    """One of R alone, one whose Python was removed, and a mere file."""
    envs = machine.home / "miniforge3" / "envs"
    (envs / "r" / "conda-meta").mkdir(parents=True)
    (machine.conda(envs / "broken") / "bin" / "python").unlink()
    (envs / "broken" / "bin" / "python").symlink_to("python9")
    (envs / "note.txt").write_text("hello")
    machine.conda(envs / "ds")
    assert machine.names() == ["conda:ds"]


def test_venvs_of_the_work_are_found_in_it_in_its_folders_and_beside_it(machine: Machine) -> None:
    for prefix in (
        machine.projects / ".venv",
        machine.projects / "mine",
        machine.projects / "one" / ".venv",
        machine.projects.parent / ".venv",
        machine.projects.parent / "other",
        machine.projects / "too" / "deep" / "down",
    ):
        machine.venv(prefix)
    assert machine.names() == [
        "venv:../.venv",
        "venv:../other",
        "venv:.venv",
        "venv:mine",
        "venv:one/.venv",
    ]


def test_venvs_that_tools_keep_elsewhere(machine: Machine) -> None:
    """Poetry's, virtualenvwrapper's, uv's, and the one that is active."""
    machine.environ["UV_PROJECT_ENVIRONMENT"] = "../uvs"
    machine.environ["WORKON_HOME"] = str(machine.home / "envs")
    machine.environ["VIRTUAL_ENV"] = str(machine.home / "active")
    for prefix in (
        machine.home / ".cache/pypoetry/virtualenvs/plots-AbCd1234-py3.12",
        machine.home / "envs" / "wrapped",
        machine.home / ".virtualenvs" / "old",
        machine.projects.parent / "uvs",
        machine.home / "active",
    ):
        machine.venv(prefix)
    assert machine.names() == [
        "venv:../uvs",
        "venv:active",
        "venv:old",
        "venv:plots-AbCd1234-py3.12",
        "venv:wrapped",
    ]


@pytest.mark.parametrize(
    ("platform", "variables", "store"),
    [
        ("linux", {"HOME": "/h"}, "/h/.cache/pypoetry/virtualenvs"),
        ("linux", {"HOME": "/h", "XDG_CACHE_HOME": "/c"}, "/c/pypoetry/virtualenvs"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Caches/pypoetry/virtualenvs"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/pypoetry/Cache/virtualenvs"),
    ],
)
def test_poetrys_folder_on_each_platform(
    platform: str, variables: dict[str, str], store: str
) -> None:
    assert list(poetry_stores(variables, platform)) == [Path(store)]


def test_pyenvs_versions_are_in_the_order_of_their_numbers(machine: Machine) -> None:
    for version in ("3.10.13", "3.9.18", "3.12.1"):
        machine.pyenv(version)
    assert machine.names() == ["pyenv:3.9.18", "pyenv:3.10.13", "pyenv:3.12.1"]
    (machine.home / ".pyenv").rename(machine.home / "elsewhere")
    assert machine.names() == []
    machine.environ["PYENV_ROOT"] = str(machine.home / "elsewhere")
    assert len(machine.names()) == 3


def test_each_real_prefix_is_there_once(machine: Machine) -> None:
    """However many links and lists lead to it."""
    prefix = machine.conda(machine.home / "miniforge3" / "envs" / "ds")
    (machine.home / "miniconda3").symlink_to(machine.home / "miniforge3")
    file = machine.home / ".conda" / "environments.txt"
    file.parent.mkdir()
    file.write_text(f"{prefix}\n{machine.home}/miniconda3/envs/ds\n")
    machine.environ["CONDA_PREFIX"] = str(prefix)
    assert machine.names() == ["conda:ds"]


def test_a_venv_that_links_to_the_python_of_another_is_another(machine: Machine) -> None:
    """Their interpreters are the same file in the end."""
    for name in ("a", "b"):
        machine.venv(machine.projects / name)
    assert machine.names() == ["venv:a", "venv:b"]


def test_environments_of_one_name_are_called_by_their_paths(machine: Machine) -> None:
    prefixes = [
        machine.conda(machine.home / root / "envs" / "ds") for root in ("mambaforge", "miniconda3")
    ]
    machine.conda(machine.home / "miniconda3" / "envs" / "other")
    assert sorted(machine.names()) == sorted(
        [*(f"conda:{prefix}" for prefix in prefixes), "conda:other"]
    )


def test_kernelspecs_of_any_language_are_there(machine: Machine, install: Install) -> None:
    install("echo", argv=[*ECHO, "{connection_file}"])
    python = machine.conda(machine.home / "miniforge3" / "envs" / "ds") / "bin" / "python"
    install("data", argv=[str(python), *LAUNCHER], language="python", display_name="Data")
    install("broken", text="{")
    found = {
        one.name: one
        for one in find_all(machine.projects, machine.environ)
        if one.kind == "kernelspec"
    }
    assert {"kernelspec:echo", "kernelspec:data"} <= found.keys()
    assert "kernelspec:broken" not in found
    echo, data = found["kernelspec:echo"], found["kernelspec:data"]
    assert (echo.python, echo.version, echo.title, echo.runs_kernels) == ("", "echo", "echo", True)
    assert (data.python, data.version, data.title) == (str(python), "3.11.9", "Data")


def test_looping_and_broken_links_are_passed_over(machine: Machine) -> None:
    envs = machine.home / "miniforge3" / "envs"
    machine.conda(envs / "ds")
    (envs / "loop").symlink_to("loop")
    (machine.projects / "loop").symlink_to("loop")
    (machine.projects / "bin").write_text("no folder")
    (machine.home / ".virtualenvs").symlink_to(machine.home / "nowhere")
    assert machine.names() == ["conda:ds"]


@pytest.mark.filterwarnings("ignore:IPython parent")
def test_what_nobody_may_read_is_passed_over(machine: Machine) -> None:
    """Here all of the home; the Python of this process is found all the same."""
    machine.conda(machine.home / "miniforge3" / "envs" / "ds")
    machine.home.chmod(0)
    try:
        with as_nobody():
            found = find_all(machine.projects, machine.environ)
    finally:
        machine.home.chmod(0o700)
    names = [environment.name for environment in found]
    assert describe(sys.executable).name in names and "conda:ds" not in names


def test_a_pipe_in_place_of_a_file_does_not_keep_anybody_waiting(machine: Machine) -> None:
    python_in(machine.projects / "v", "3.12")
    os.mkfifo(machine.projects / "v" / "pyvenv.cfg")
    (machine.home / ".conda").mkdir()
    os.mkfifo(machine.home / ".conda" / "environments.txt")
    assert machine.names() == []


def test_no_process_is_started(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """All else would take its time, and run what belongs to others."""
    started: list[object] = []
    machine.conda(machine.home / "miniforge3" / "envs" / "ds")
    machine.venv(machine.projects / ".venv")
    started.clear()

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in ("subprocess.Popen", "os.exec", "os.fork", "os.posix_spawn"):
            started.append((event, arguments))

    watching = True
    sys.addaudithook(note)
    try:
        assert machine.names() == ["conda:ds", "venv:.venv"]
    finally:
        watching = False
    assert started == []
