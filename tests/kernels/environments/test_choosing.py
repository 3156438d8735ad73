"""Which environment a name or a path means, and what a session gets of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from kernels.environments.choosing import choose, named
from kernels.environments.unfit import install_command, why_unfit
from kernels.errors import EnvironmentNotFound, EnvironmentUnfit, KernelError
from tests.kernels.environments.conftest import Install, Machine, own_minor, with_package
from tests.kernels.test_kernelspecs import ECHO, LAUNCHER


def name(machine: Machine, text: str) -> str:
    return named(text, machine.projects, machine.environ).name


def refusal(machine: Machine, text: str) -> str:
    with pytest.raises(KernelError) as error:
        choose(text, machine.projects, machine.environ)
    return str(error.value)


@pytest.mark.parametrize(
    "text", ["conda:ds", "ds", " ds ", "DS", "~/miniforge3/envs/ds", "conda:~/miniforge3/envs/ds"]
)
def test_a_conda_environment_by_name_and_by_path(machine: Machine, text: str) -> None:
    prefix = machine.conda(machine.home / "miniforge3" / "envs" / "ds")
    machine.conda(machine.home / "miniforge3")
    assert name(machine, text) == "conda:ds"
    for path in (prefix, prefix / "bin" / "python", prefix / "bin" / "python3.11"):
        assert name(machine, str(path)) == "conda:ds"
    assert name(machine, "base") == "conda:base"


@pytest.mark.parametrize(
    "text",
    ["venv:.venv", ".venv", "./.venv", "venv:./.venv", ".venv/bin/python", "sub/../.venv/"],
)
def test_a_venv_of_the_projects_directory(machine: Machine, text: str) -> None:
    """Before that which is beside it, which has to be named in full."""
    machine.venv(machine.projects / ".venv")
    machine.venv(machine.projects.parent / ".venv")
    assert name(machine, text) == "venv:.venv"
    assert name(machine, "../.venv") == name(machine, "venv:../.venv") == "venv:../.venv"


def test_the_venv_beside_is_meant_where_there_is_no_other(machine: Machine) -> None:
    machine.venv(machine.projects.parent / ".venv")
    assert name(machine, ".venv") == name(machine, "venv:work") == "venv:../.venv"


def test_a_prefix_that_no_list_has(machine: Machine, tmp_path: Path) -> None:
    machine.venv(tmp_path / "far" / "away")
    assert name(machine, str(tmp_path / "far" / "away")) == "venv:away"


@pytest.mark.parametrize(
    ("text", "version"),
    [("pyenv:3.12.1", "3.12.1"), ("3.12.1", "3.12.1"), ("3.12", "3.12.10"), ("pyenv:3", "3.12.10")],
)
def test_a_version_of_pyenvs_or_the_newest_that_begins_so(
    machine: Machine, text: str, version: str
) -> None:
    for one in ("3.9.18", "3.12.1", "3.12.10", "3.12.9"):
        machine.pyenv(one)
    assert name(machine, text) == f"pyenv:{version}"


def test_a_kernelspec_by_its_name(machine: Machine, install: Install) -> None:
    install("echo", argv=[*ECHO, "{connection_file}"])
    chosen = choose("echo", machine.projects, machine.environ)
    assert chosen.environment.name == "kernelspec:echo"
    assert chosen.kernelspec is not None and chosen.kernelspec.name == "echo"
    assert choose("kernelspec:echo", machine.projects, machine.environ) == chosen


def test_a_name_that_several_have_is_refused_with_the_full_ones(
    machine: Machine, install: Install
) -> None:
    machine.conda(machine.home / "miniforge3" / "envs" / "ds")
    machine.venv(machine.projects / "ds")
    assert name(machine, "conda:ds") == "conda:ds"
    # In the projects directory a path is meant.
    assert name(machine, "ds") == "venv:ds"
    machine.projects.joinpath("ds").rename(machine.projects.parent / "ds")
    assert refusal(machine, "ds") == (
        "'ds' is the name of 2 environments: conda:ds, venv:../ds. Give one of these names in full."
    )
    install("ds", argv=[*ECHO, "{connection_file}"])
    assert "3 environments: conda:ds, venv:../ds, kernelspec:ds." in refusal(machine, "ds")


def test_two_conda_environments_of_one_name_are_told_apart_by_path(machine: Machine) -> None:
    one, other = (
        machine.conda(machine.home / root / "envs" / "ds") for root in ("mambaforge", "miniconda3")
    )
    assert f"2 environments: conda:{one}, conda:{other}." in refusal(machine, "conda:ds")
    assert name(machine, f"conda:{one}") == f"conda:{one}"
    assert name(machine, str(other)) == f"conda:{other}"


def test_a_kernelspec_of_an_environment_is_that_environment(
    machine: Machine, install: Install
) -> None:
    """Where it says no more than that; it is meant by its own name still."""
    python = machine.conda(machine.home / "miniforge3" / "envs" / "ds") / "bin" / "python"
    install("ds", argv=[str(python), *LAUNCHER], language="python")
    assert name(machine, "ds") == "conda:ds"
    assert name(machine, "kernelspec:ds") == "kernelspec:ds"


def test_an_unknown_name_is_refused_with_those_that_are_alike(machine: Machine) -> None:
    for one in ("analysis", "plots", *(f"e{number}" for number in range(12))):
        machine.conda(machine.home / "miniforge3" / "envs" / one)
    words = refusal(machine, "conda:analysys")
    assert words.startswith("There is no environment 'conda:analysys'. There are: conda:analysis, ")
    assert words.endswith(" more.")


def test_what_is_too_long_is_not_repeated_whole(machine: Machine) -> None:
    assert len(refusal(machine, "x" * 100_000)) < 2_000


@pytest.mark.parametrize("text", ["", "  ", "a\0b"])
def test_an_empty_name_is_refused(machine: Machine, text: str) -> None:
    assert "Give a name such as conda:ds" in refusal(machine, text)


def test_a_broken_kernelspec_is_refused_with_what_is_wrong(
    machine: Machine, install: Install
) -> None:
    file = install("broken", text="{")
    assert f"The kernel 'broken' cannot be used: {file}" in refusal(machine, "broken")


def test_a_folder_that_is_no_prefix_is_refused(machine: Machine) -> None:
    (machine.projects / "data").mkdir()
    (machine.projects / "text.txt").write_text("hello")
    words = refusal(machine, "./data")
    assert "is a folder, but no environment: there is no Python in it" in words
    assert "nothing is there" in refusal(machine, "/not/there")
    # A mere name is looked for among the environments.
    assert "There is no environment 'data'" in refusal(machine, "data")


def test_a_file_that_is_no_interpreter_cannot_run_kernels(machine: Machine) -> None:
    (machine.projects / "text.txt").write_text("hello")
    assert "text.txt may not be executed." in refusal(machine, "./text.txt")


def test_a_venv_whose_python_is_gone_is_to_be_made_again(machine: Machine) -> None:
    prefix = machine.venv(machine.projects / ".venv")
    for link in (prefix / "bin").glob("python*"):
        link.unlink()
    (prefix / "bin" / "python").symlink_to("/usr/lib/gone/python3.9")
    words = refusal(machine, "./.venv")
    assert "has no Python any more" in words and "/usr/lib/gone/python3.9" in words


def test_the_usual_python_needs_no_kernelspec(machine: Machine) -> None:
    """By its path, by the name that Jupyter has for it, or as told."""
    own = choose(sys.executable, machine.projects, machine.environ)
    assert own.kernelspec is None and own.environment.runs_kernels
    prefix = machine.venv(machine.projects / ".venv")
    python = str(prefix / "bin" / "python")
    usual = choose(".venv", machine.projects, machine.environ, usual=python)
    assert usual.kernelspec is None
    again = choose(sys.executable, machine.projects, machine.environ, usual=python)
    assert again.kernelspec is not None and again.kernelspec.argv[0] == own.environment.python


def test_another_python_is_started_activated(machine: Machine) -> None:
    prefix = machine.conda(
        machine.home / "miniforge3" / "envs" / "ds",
        scripts={"a.sh": "export A='$HOME'", "b.sh": "echo no >&2; return 1"},
    )
    chosen = choose("ds", machine.projects, machine.environ, why="environment.yml")
    spec = chosen.kernelspec
    assert spec is not None and spec.ipykernel is not None
    assert spec.argv[0] == str(prefix / "bin" / "python")
    assert spec.environment(machine.environ)["A"] == "$HOME"
    assert spec.display_name == chosen.environment.title == "Python 3.11.9 (conda:ds)"
    assert chosen.why == "environment.yml"
    assert chosen.notes == ("The activation script b.sh failed with status 1: no.",)


# -- what cannot run kernels


def test_without_ipykernel_the_command_is_told(machine: Machine) -> None:
    """As it is for that kind of environment, ready for a shell."""
    for root, program in [
        ("miniconda3", "conda"),
        ("miniforge3", "mamba"),
        ("micromamba", "micromamba"),
    ]:
        prefix = machine.conda(machine.home / root / "envs" / f"of {root}", ipykernel="")
        assert refusal(machine, f"conda:of {root}") == (
            f"The environment conda:of {root} has no ipykernel, so it cannot run kernels. "
            f"Install it with: {program} install -p '{prefix}' ipykernel"
        )
    python = machine.venv(machine.projects / "v", ipykernel="") / "bin" / "python"
    command = f"uv pip install --python {python} ipykernel"
    assert refusal(machine, "venv:v").endswith(f"Install it with: {command}")
    with_package(machine.projects / "v", own_minor(), "pip", "24.0")
    command = f"{python} -m pip install ipykernel"
    assert refusal(machine, "venv:v").endswith(f"Install it with: {command}")


def test_a_tool_that_installs_is_named_where_it_is_there(machine: Machine) -> None:
    machine.pyenv("3.12.1", ipykernel="")
    environment = named("3.12", machine.projects, machine.environ)
    assert why_unfit(environment, installing=True).endswith(
        "-m pip install ipykernel, or by install_packages with this environment"
    )


def test_an_old_ipykernel_is_to_be_updated(machine: Machine) -> None:
    machine.pyenv("3.8.18", ipykernel="5.5.6")
    words = refusal(machine, "3.8")
    assert "has ipykernel 5.5.6; kernels need 6.0 or newer." in words
    assert words.endswith("-m pip install --upgrade ipykernel")


def test_an_old_python_is_refused_whatever_it_has(machine: Machine) -> None:
    machine.pyenv("3.7.16", ipykernel="6.16.2")
    with pytest.raises(EnvironmentUnfit, match=r"is Python 3\.7\.16; kernels need 3\.8 or newer\."):
        choose("3.7", machine.projects, machine.environ)


def test_where_the_system_manages_packages_a_venv_is_the_way(machine: Machine) -> None:
    prefix = machine.pyenv("3.12.1", ipykernel="")
    (prefix / "lib" / "python3.12" / "EXTERNALLY-MANAGED").touch()
    environment = named("3.12", machine.projects, machine.environ)
    assert install_command(environment) == ""
    assert why_unfit(environment).endswith(f"with: {prefix}/bin/python -m venv .venv")


def test_unknown_is_not_unfit(machine: Machine) -> None:
    with pytest.raises(EnvironmentNotFound):
        choose("nothing of that name", machine.projects, dict(os.environ) | machine.environ)
