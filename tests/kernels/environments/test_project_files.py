"""Which environment the projects directory's own files name."""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.environments.environment import Chosen
from kernels.environments.project_files import default, poetry_name, top_level
from kernels.errors import EnvironmentNotFound, EnvironmentUnfit
from tests.kernels.environments.conftest import Machine


def decided(machine: Machine, given: str = "") -> Chosen | None:
    return default(given, machine.projects, machine.environ)


def note(machine: Machine) -> str:
    """Of a file that could not be followed: the server's own Python is kept."""
    chosen = decided(machine)
    assert chosen is not None and chosen.kernelspec is None and chosen.why == ""
    assert chosen.environment.python == os.path.abspath(sys.executable)
    [sentence] = chosen.notes
    assert sentence.endswith(" Sessions run in the server's own Python.")
    return sentence


def test_without_such_files_there_is_none(machine: Machine) -> None:
    """Not even where a venv lies in the projects directory."""
    machine.venv(machine.projects / ".venv")
    assert decided(machine) is None


def test_what_is_given_comes_first(machine: Machine) -> None:
    machine.conda(machine.home / "miniforge3" / "envs" / "ds")
    machine.conda(machine.home / "miniforge3" / "envs" / "other")
    (machine.projects / "environment.yml").write_text("name: other\n")
    chosen = decided(machine, "conda:ds")
    assert chosen is not None
    assert (chosen.environment.name, chosen.why) == ("conda:ds", "RMI_PYTHON")


def test_what_is_given_must_be_right(machine: Machine) -> None:
    """Nothing is fallen back to."""
    machine.conda(machine.home / "miniforge3" / "envs" / "ds", ipykernel="")
    with pytest.raises(EnvironmentNotFound):
        decided(machine, "conda:nix")
    with pytest.raises(EnvironmentUnfit):
        decided(machine, "conda:ds")


@pytest.mark.parametrize("file", ["environment.yml", "environment.yaml"])
def test_condas_file_names_its_environment(machine: Machine, file: str) -> None:
    machine.conda(machine.home / "miniforge3" / "envs" / "ds")
    (machine.projects / file).write_text("channels: [x]\nname: ds\ndependencies:\n  - name: no\n")
    chosen = decided(machine)
    assert chosen is not None and chosen.kernelspec is not None
    assert (chosen.environment.name, chosen.why) == ("conda:ds", file)


def test_a_prefix_counts_where_the_name_is_not_here(machine: Machine) -> None:
    prefix = machine.conda(machine.home / "by path")
    file = machine.projects / "environment.yml"
    file.write_text(f'name: elsewhere\nprefix: "{prefix}"\n')
    chosen = decided(machine)
    assert chosen is not None and chosen.environment.prefix == prefix


def test_a_conda_environment_that_is_not_here_leaves_a_note(machine: Machine) -> None:
    (machine.projects / "environment.yml").write_text("name: ds\n")
    assert note(machine) == (
        "environment.yml names the conda environment 'ds', which is not on this machine. "
        "Make it with: conda env create -f environment.yml. "
        "Sessions run in the server's own Python."
    )


def test_one_that_cannot_run_kernels_leaves_a_note(machine: Machine) -> None:
    machine.conda(machine.home / "miniforge3" / "envs" / "ds", ipykernel="")
    (machine.projects / "environment.yml").write_text("name: ds\n")
    words = note(machine)
    assert words.startswith("environment.yml means the environment conda:ds. ")
    assert "Install it with: mamba install -p " in words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: ds", {"name": "ds"}),
        ("name : 'a b'  # really\n", {"name": "a b"}),
        ('name: "a#b"\nprefix: /x/y z\n', {"name": "a#b", "prefix": "/x/y z"}),
        ("name: a # b\nname: c\n", {"name": "a"}),
        ("\r\nname: ds\r\nprefix: /p\r\n", {"name": "ds", "prefix": "/p"}),
        ("dependencies:\n  - x\n  name: no\n#name: no\n", {}),
        ("name:\nprefix: null\n", {}),
        ("name: {a: b}\nprefix: |\n  x\n", {}),
        ("names: no\nmyname: no\n", {}),
        ("name: größe\n", {"name": "größe"}),
    ],
)
def test_names_of_condas_file(text: str, expected: dict[str, str]) -> None:
    assert top_level(text) == expected


@given(st.text(max_size=300))
def test_no_file_of_condas_is_too_strange(text: str) -> None:
    assert top_level(text).keys() <= {"name", "prefix"}


def test_a_project_means_its_venv(machine: Machine) -> None:
    machine.venv(machine.projects / ".venv")
    (machine.projects / "pyproject.toml").write_text("[tool.ruff]\n")
    chosen = decided(machine)
    assert chosen is not None
    assert (chosen.environment.name, chosen.why) == ("venv:.venv", "pyproject.toml")


def test_a_project_means_what_uv_is_told(machine: Machine) -> None:
    machine.venv(machine.projects / ".venv")
    machine.venv(machine.projects / "other")
    machine.environ["UV_PROJECT_ENVIRONMENT"] = "other"
    (machine.projects / "pyproject.toml").touch()
    chosen = decided(machine)
    assert chosen is not None and chosen.environment.name == "venv:other"


@pytest.mark.parametrize("table", ["tool.poetry", "project"])
def test_a_project_means_what_poetry_has_made_for_it(machine: Machine, table: str) -> None:
    """Of several Pythons the newest."""
    store = machine.home / ".cache" / "pypoetry" / "virtualenvs"
    begin = poetry_name("My Plots", machine.projects)
    for folder in (f"{begin}-py3.9", f"{begin}-py3.11", "my_plots-AAAAAAAA-py3.13"):
        machine.venv(store / folder)
    (machine.projects / "pyproject.toml").write_text(f'[{table}]\nname = "My Plots"\n')
    chosen = decided(machine)
    assert chosen is not None and chosen.environment.prefix == store / f"{begin}-py3.11"


def test_poetrys_name_has_a_digest_of_the_real_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir()
    digest = hashlib.sha256(str(tmp_path.resolve() / "real").encode()).digest()
    expected = f"a_b-{base64.urlsafe_b64encode(digest).decode()[:8]}"
    assert poetry_name("A b", tmp_path / "link") == expected


@pytest.mark.parametrize("text", ["", "[project]\nname = 1\n", "tool = 3\nproject = []\n"])
def test_a_project_without_a_venv_means_nothing(machine: Machine, text: str) -> None:
    (machine.projects / "pyproject.toml").write_text(text)
    assert decided(machine) is None


def test_a_project_file_that_is_none_leaves_a_note(machine: Machine) -> None:
    (machine.projects / "pyproject.toml").write_text("[project\n")
    assert note(machine).startswith("pyproject.toml is no valid TOML (")


def test_a_projects_venv_without_ipykernel_or_python_leaves_a_note(machine: Machine) -> None:
    prefix = machine.venv(machine.projects / ".venv", ipykernel="")
    (machine.projects / "pyproject.toml").touch()
    assert f"uv pip install --python {prefix}/bin/python ipykernel. Sess" in note(machine)
    for link in (prefix / "bin").glob("python*"):
        link.unlink()
    assert "whose Python is not there any more" in note(machine)


@pytest.mark.parametrize("text", ["3.12.1\n", "3.12", "# mine\n\ncpython@3.12  # new\n3.9\n"])
def test_a_version_means_pyenvs(machine: Machine, text: str) -> None:
    machine.pyenv("3.12.1")
    machine.pyenv("3.9.18")
    (machine.projects / ".python-version").write_text(text)
    chosen = decided(machine)
    assert chosen is not None
    assert (chosen.environment.name, chosen.why) == ("pyenv:3.12.1", ".python-version")


def test_a_version_means_the_newest_that_can_run_kernels(machine: Machine) -> None:
    for version, ipykernel in (("3.8.2", "6.29.5"), ("3.8.10", "6.29.5"), ("3.8.18", "")):
        machine.pyenv(version, ipykernel)
    (machine.projects / ".python-version").write_text("3.8")
    chosen = decided(machine)
    assert chosen is not None and chosen.environment.name == "pyenv:3.8.10"


def test_a_version_means_the_venv_that_is_made_of_it(machine: Machine) -> None:
    machine.pyenv(platform.python_version())
    machine.venv(machine.projects / ".venv")
    (machine.projects / ".python-version").write_text(platform.python_version())
    chosen = decided(machine)
    assert chosen is not None and chosen.environment.name == "venv:.venv"


def test_the_servers_own_version_is_the_servers_own_python(machine: Machine) -> None:
    """Where pyenv's cannot run kernels, or is not there."""
    (machine.projects / ".python-version").write_text(platform.python_version())
    assert decided(machine) is None
    machine.pyenv(platform.python_version(), ipykernel="")
    assert decided(machine) is None


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "system\n"])
def test_a_version_file_without_one_means_nothing(machine: Machine, text: str) -> None:
    (machine.projects / ".python-version").write_text(text)
    assert decided(machine) is None


def test_a_version_that_is_not_here_leaves_a_note(machine: Machine) -> None:
    (machine.projects / ".python-version").write_text("3.99\n")
    assert note(machine).startswith(".python-version names 3.99, which pyenv does not have here.")
    machine.pyenv("3.99.1", ipykernel="")
    assert "The environment pyenv:3.99.1 has no ipykernel" in note(machine)


def test_the_first_file_that_names_one_decides(machine: Machine) -> None:
    machine.venv(machine.projects / ".venv")
    (machine.projects / ".python-version").write_text("3.99\n")
    (machine.projects / "pyproject.toml").touch()
    (machine.projects / "environment.yml").write_text("dependencies: []\n")
    chosen = decided(machine)
    assert chosen is not None and chosen.why == "pyproject.toml"


def test_a_folder_of_that_name_is_no_file(machine: Machine) -> None:
    for file in ("environment.yml", ".python-version"):
        (machine.projects / file).mkdir()
    assert decided(machine) is None
