"""What the files of an interpreter tell."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import pytest

from kernels.environments.describing import describe, label
from kernels.environments.environment import as_numbers
from kernels.environments.probing import Facts, probe
from kernels.environments.sites import version_of
from tests.kernels.environments.conftest import (
    VERSIONS,
    Machine,
    make_venv,
    own_minor,
    python_in,
    real_python,
    with_package,
)


def test_the_one_of_this_process() -> None:
    own = describe(sys.executable)
    assert own.version == platform.python_version()
    assert own.ipykernel == importlib.metadata.version("ipykernel")
    assert own.runs_kernels and str(own.prefix) == sys.prefix


@pytest.mark.parametrize("minor", VERSIONS)
def test_a_venv_of_every_python_is_what_that_says_itself(minor: str, tmp_path: Path) -> None:
    """Version and prefix are as the running interpreter has them, for it and for its base."""
    base = real_python(minor)
    make_venv(base, tmp_path / "über work" / ".venv")
    for python in (base, tmp_path / "über work" / ".venv" / "bin" / "python"):
        described, facts = describe(str(python)), probe(str(python), os.environ)
        assert isinstance(facts, Facts)
        assert described.version == facts.version
        assert described.prefix is not None
        assert described.prefix.resolve() == Path(facts.prefix).resolve()
        assert described.ipykernel == facts.ipykernel
    assert (described.kind, described.name) == ("venv", "venv:über work")


def test_a_venv_with_the_packages_of_its_base_has_their_ipykernel(tmp_path: Path) -> None:
    base = tmp_path / "base"
    python = python_in(base, "3.12")
    with_package(base, "3.12", "ipykernel", "6.29.5")
    for name, setting in (("open", "true"), ("closed", "false")):
        prefix = tmp_path / name
        python_in(prefix, "3.12")
        (prefix / "pyvenv.cfg").write_text(
            f"home = {python.parent}\ninclude-system-site-packages = {setting}\nversion = 3.12.4\n"
        )
    assert describe(str(tmp_path / "open" / "bin" / "python")).ipykernel == "6.29.5"
    assert describe(str(tmp_path / "closed" / "bin" / "python")).ipykernel == ""


def test_uvs_venvs_say_their_version_otherwise(tmp_path: Path) -> None:
    python = python_in(tmp_path / "here", "3.13")
    (tmp_path / "here" / "pyvenv.cfg").write_text("uv = 0.9\nversion_info = 3.13.1\n")
    assert describe(str(python)).version == "3.13.1"


def test_of_conda_the_record_of_its_python_counts(machine: Machine) -> None:
    """Not that of another package whose name begins alike."""
    base, other = machine.home / "miniforge3", machine.home / "miniforge3" / "envs" / "ds"
    for prefix in (base, other):
        machine.conda(prefix, "3.12.7", "6.30.1")
    found = [describe(str(prefix / "bin" / "python")) for prefix in (base, other)]
    assert [environment.name for environment in found] == ["conda:base", "conda:ds"]
    assert {environment.version for environment in found} == {"3.12.7"}
    assert {environment.ipykernel for environment in found} == {"6.30.1"}


def test_of_pyenv_its_folder_says_the_version(machine: Machine) -> None:
    environment = describe(str(machine.pyenv("3.12.1") / "bin" / "python"))
    assert (environment.name, environment.version) == ("pyenv:3.12.1", "3.12.1")


def test_a_plain_one_is_named_by_its_path_and_says_what_its_name_does(tmp_path: Path) -> None:
    python = python_in(tmp_path / "opt", "3.12")
    link = tmp_path / "elsewhere" / "mine"
    link.parent.mkdir()
    link.symlink_to(python)
    for path in (python, link):
        environment = describe(str(path))
        assert (environment.name, environment.kind, environment.version) == (
            str(path),
            "python",
            "3.12",
        )


def test_a_link_belongs_to_the_installation_that_it_leads_to(machine: Machine) -> None:
    """As an interpreter itself finds its library."""
    prefix = machine.pyenv("3.12.1")
    link = machine.home / "bin" / "python3"
    link.parent.mkdir()
    link.symlink_to(prefix / "bin" / "python")
    assert describe(str(link)).prefix == prefix


@pytest.mark.parametrize("path", ["none/bin/perl", "none/bin/python", "a\0b"])
def test_what_is_not_there_is_described_as_nothing(path: str, tmp_path: Path) -> None:
    environment = describe(f"{tmp_path}/{path}")
    assert (environment.version, environment.ipykernel) == ("", "")
    assert not environment.runs_kernels


@pytest.mark.parametrize(
    ("version", "ipykernel", "runs"),
    [
        ("3.8.18", "6.29.5", True),
        ("3.12.1", "7.0.1", True),
        ("3.7.16", "6.16.2", False),
        ("2.7.18", "4.10.1", False),
        ("3.8.18", "5.5.6", False),
        ("3.12.1", "", False),
    ],
)
def test_kernels_need_python_3_8_and_ipykernel_6(
    version: str, ipykernel: str, runs: bool, machine: Machine
) -> None:
    prefix = machine.pyenv(version, ipykernel)
    assert describe(str(prefix / "bin" / "python")).runs_kernels is runs


def test_the_users_own_packages_count_where_python_takes_them(machine: Machine) -> None:
    """Not in a venv, and not with PYTHONNOUSERSITE."""
    plain = machine.pyenv("3.12.1", ipykernel="")
    site = machine.home / ".local" / "lib" / "python3.12" / "site-packages"
    (site / "ipykernel-6.29.5.dist-info").mkdir(parents=True)
    python = str(plain / "bin" / "python")
    assert describe(python, environ=machine.environ).ipykernel == "6.29.5"
    without = machine.environ | {"PYTHONNOUSERSITE": "1"}
    assert describe(python, environ=without).ipykernel == ""
    venv = machine.home / "v"
    inside = python_in(venv, "3.12")
    (venv / "pyvenv.cfg").write_text("version = 3.12.1\n")
    assert describe(str(inside), environ=machine.environ).ipykernel == ""


def test_any_package_has_its_version(machine: Machine) -> None:
    prefix = machine.venv(machine.home / "v")
    with_package(prefix, own_minor(), "Typing_Extensions", "4.12.2")
    environment = describe(str(prefix / "bin" / "python"))
    assert version_of("typing-extensions", environment) == "4.12.2"
    assert version_of("typing", environment) == ""


def test_venvs_of_the_work_are_called_after_their_path_from_there(tmp_path: Path) -> None:
    projects = tmp_path / "work" / "projects"
    for prefix, name in [
        (projects / ".venv", ".venv"),
        (projects / "one" / "venv", "one/venv"),
        (tmp_path / "work" / ".venv", "../.venv"),
        (tmp_path / "store" / "analysis", "analysis"),
        (tmp_path / "other" / ".venv", "other"),
    ]:
        assert label("venv", prefix, projects) == name


def test_versions_compare_as_numbers() -> None:
    assert as_numbers("3.10.0rc1") == (3, 10, 0)
    assert as_numbers("") == ()
