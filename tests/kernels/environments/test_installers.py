"""Which program installs into an environment. No conda is needed: where the tests have one, it is
a small program that notes its command line and prints what conda prints."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernels.environments.describing import describe
from kernels.environments.distributions import Change
from kernels.environments.environment import Environment
from kernels.environments.installers import find_conda, find_uv, installer_for
from kernels.environments.packages import Installs
from kernels.errors import BadRequest, EnvironmentUnfit
from tests.kernels.environments.conftest import Machine, make_venv, own_minor, with_package

#: Nothing is beside it.
NOWHERE = "/nowhere/python"
_CONDA = f"""#!{sys.executable}
import json, os, pathlib, sys
words = sys.argv[1:]
with open(__file__ + ".calls", "a") as file:
    file.write(json.dumps([words, os.getcwd(), dict(os.environ)]) + "\\n")
print("Channels:\\n - conda-forge\\nPlatform: linux-64")
if "nothere" in words:
    sys.exit("\\nPackagesNotFoundError: The following packages are not available from current "
             "channels:\\n\\n  - nothere\\n")
print("\\nThe following NEW packages will be INSTALLED:\\n")
print("  cowsay  conda-forge/noarch::cowsay-6.1")
if "--dry-run" in words:
    print("\\nDryRunExit: Dry run. Exiting.")
    sys.exit(0)
prefix = pathlib.Path(words[words.index("--prefix") + 1])
(prefix / "conda-meta" / "cowsay-6.1-pyhd8ed1ab_0.json").write_text("{{}}")
(prefix / "conda-meta" / "libcow-2.0-h123_1.json").write_text("{{}}")
(prefix / "conda-meta" / "python-dateutil-2.9.0-pyhd8ed1ab_0.json").unlink()
(prefix / "conda-meta" / "python-dateutil-2.9.1-pyhd8ed1ab_0.json").write_text("{{}}")
"""


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def noted(conda: Path) -> list[Any]:
    """Command line, working directory and environment of each call of the stand-in."""
    notes = Path(f"{conda}.calls")
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def calls(conda: Path) -> list[list[str]]:
    """The command lines alone."""
    return [words for words, _, _ in noted(conda)]


@pytest.fixture
def prefix(machine: Machine) -> Path:
    return machine.conda(machine.home / "miniforge3" / "envs" / "ds")


@pytest.fixture
def ds(prefix: Path) -> Environment:
    """An environment of conda's."""
    return describe(str(prefix / "bin" / "python"))


# -- which one


def test_conda_is_found_where_it_says_then_in_the_base_then_on_the_path(
    machine: Machine, ds: Environment
) -> None:
    def found() -> str:
        return installer_for(ds, environ, NOWHERE).program

    base, on_path = machine.home / "miniforge3", machine.home / "bin"
    environ = {**machine.environ, "PATH": str(on_path)}
    places = [
        program(on_path / "micromamba"),
        program(on_path / "mamba"),
        program(on_path / "conda"),
        program(base / "condabin" / "conda"),
        program(base / "bin" / "mamba"),
        program(base / "bin" / "conda"),
    ]
    for place in reversed(places):
        assert found() == str(place)
        place.unlink()
    with pytest.raises(EnvironmentUnfit):
        found()
    environ["MAMBA_EXE"] = str(program(machine.home / "elsewhere" / "micromamba"))
    assert found() == environ["MAMBA_EXE"]
    environ["CONDA_EXE"] = str(program(machine.home / "elsewhere" / "conda"))
    assert found() == environ["CONDA_EXE"]
    Path(environ["CONDA_EXE"]).chmod(0o644)
    assert found() == environ["MAMBA_EXE"]


def test_a_base_has_its_own_conda(machine: Machine) -> None:
    base = machine.conda(machine.home / "miniforge3")
    conda = program(base / "bin" / "conda")
    found = installer_for(describe(str(base / "bin" / "python")), machine.environ, NOWHERE)
    assert (found.kind, found.name, found.program) == ("conda", "conda", str(conda))


def test_uv_is_found_on_the_path_beside_the_servers_python_and_where_it_installs_itself(
    machine: Machine,
) -> None:
    environ, beside = {**machine.environ, "PATH": "/nowhere"}, machine.home / "v" / "bin"
    assert find_uv(environ, str(beside / "python")) == ""
    own = program(machine.home / ".local" / "bin" / "uv")
    assert find_uv(environ, str(beside / "python")) == str(own)
    near = program(beside / "uv")
    assert find_uv(environ, str(beside / "python")) == str(near)
    first = program(machine.home / "bin" / "uv")
    environ["PATH"] = str(first.parent)
    assert find_uv(environ, str(beside / "python")) == str(first)


def test_without_conda_uv_installs_and_without_uv_the_environments_own_pip(
    machine: Machine, ds: Environment, prefix: Path
) -> None:
    environ = {**machine.environ, "PATH": "/nowhere"}
    with pytest.raises(EnvironmentUnfit, match=r"no pip, and uv is not installed .* -m ensurepip$"):
        installer_for(ds, environ, NOWHERE)
    (prefix / "lib" / "python3.11" / "site-packages" / "pip").mkdir()
    found = installer_for(ds, environ, NOWHERE)
    assert (found.kind, found.program) == ("pip", ds.python)
    uv = program(machine.home / "bin" / "uv")
    found = installer_for(ds, {**environ, "PATH": str(uv.parent)}, NOWHERE)
    assert (found.kind, found.program) == ("uv", str(uv))


def test_a_venv_is_never_condas_though_conda_is_there(machine: Machine) -> None:
    venv = machine.venv(machine.projects / ".venv")
    program(machine.home / "bin" / "conda")
    uv = program(machine.home / "bin" / "uv")
    environ = {**machine.environ, "PATH": str(uv.parent)}
    assert installer_for(describe(str(venv / "bin" / "python")), environ, NOWHERE).kind == "uv"


def test_what_the_system_manages_is_left_alone_and_the_way_out_is_named(
    machine: Machine,
) -> None:
    """PEP 668. A venv that is made of such a Python is nobody's but the user's."""
    prefix = machine.pyenv("3.11.9")
    (prefix / "lib" / "python3.11" / "EXTERNALLY-MANAGED").write_text("[externally-managed]\n")
    uv = program(machine.home / "bin" / "uv")
    environ = {**machine.environ, "PATH": str(uv.parent)}
    found = describe(str(prefix / "bin" / "python"))
    with pytest.raises(EnvironmentUnfit, match=r"\(PEP 668\).* -m venv \.venv`"):
        installer_for(found, environ, NOWHERE)
    assert installer_for(replace(found, kind="venv"), environ, NOWHERE).kind == "uv"


def test_a_kernel_of_another_language_gets_no_packages(machine: Machine) -> None:
    other = Environment("kernelspec:ir", "kernelspec", "")
    with pytest.raises(EnvironmentUnfit, match="no environment of Python's"):
        installer_for(other, machine.environ)


# -- the stand-in for conda


async def test_conda_is_asked_by_its_prefix_first_for_a_dry_run(
    machine: Machine, ds: Environment, prefix: Path
) -> None:
    """What has changed is told by the records of conda-meta, packages that are not Python's, too.
    It gets none of the variables of another environment."""
    conda = program(machine.home / "miniforge3" / "bin" / "conda", _CONDA)
    lines: list[str] = []
    environ = {**machine.environ, "CONDA_PREFIX": "/other", "PATH": os.environ["PATH"]}
    outcome = await Installs().install(ds, ["cowsay >=6", "libcow"], environ, lines.append)
    begin = ["install", "--yes", "--prefix", str(prefix), "--quiet"]
    specs = ["cowsay>=6", "libcow"]
    assert calls(conda) == [[*begin, "--dry-run", *specs], [*begin, *specs]]
    assert outcome.installer == "conda" and outcome.notes == ()
    assert [(c.name, c.before, c.after) for c in outcome.changes] == [
        ("cowsay", "", "6.1"),
        ("libcow", "", "2.0"),
        ("python-dateutil", "2.9.0", "2.9.1"),
    ]
    assert "  cowsay  conda-forge/noarch::cowsay-6.1" in lines
    assert all("CONDA_PREFIX" not in environ for _, _, environ in noted(conda))


async def test_what_conda_does_not_find_is_told_in_its_words_and_nothing_is_changed(
    machine: Machine, ds: Environment, prefix: Path
) -> None:
    conda = program(machine.home / "miniforge3" / "condabin" / "conda", _CONDA)
    before = sorted((prefix / "conda-meta").iterdir())
    with pytest.raises(
        EnvironmentUnfit, match=r"^conda cannot install .*nothing was changed\.$"
    ) as e:
        await Installs().install(ds, ["nothere"], {"PATH": os.environ["PATH"]})
    assert e.value.detail.startswith("PackagesNotFoundError: ")
    assert e.value.detail.endswith("- nothere")
    assert len(calls(conda)) == 1 and sorted((prefix / "conda-meta").iterdir()) == before


async def test_a_change_of_python_itself_is_said(
    machine: Machine, ds: Environment, prefix: Path
) -> None:
    text = _CONDA + (
        '(prefix / "conda-meta" / "python-3.11.9-h955ad1f_0.json").unlink()\n'
        '(prefix / "conda-meta" / "python-3.12.1-h955ad1f_0.json").write_text("{}")\n'
    )
    program(machine.home / "miniforge3" / "bin" / "conda", text)
    outcome = await Installs().install(ds, ["python=3.12"], {"PATH": os.environ["PATH"]})
    assert outcome.notes == ("Python itself was changed: sessions there have to be restarted.",)


def test_a_batch_file_is_no_conda(machine: Machine, ds: Environment) -> None:
    """Through cmd, numpy<2 would be a redirection."""
    environ = {"CONDA_EXE": str(program(machine.home / "conda.BAT"))}
    assert find_conda(machine.home / "miniforge3" / "envs" / "ds", environ) == ""


async def test_micromamba_has_no_bars_to_hush(machine: Machine, ds: Environment) -> None:
    """Its --quiet would keep the reason of a failure back."""
    mamba = program(machine.home / "bin" / "micromamba", _CONDA)
    environ = {"PATH": f"{os.environ['PATH']}", "MAMBA_EXE": str(mamba)}
    outcome = await Installs().install(ds, ["cowsay"], environ)
    assert outcome.installer == "micromamba"
    assert all("--quiet" not in words for words in calls(mamba))


async def test_requirements_of_pips_are_no_match_specs(machine: Machine, ds: Environment) -> None:
    conda = program(machine.home / "miniforge3" / "bin" / "conda", _CONDA)
    with pytest.raises(BadRequest, match="no extras"):
        await Installs().install(ds, ["uvicorn[standard]"], machine.environ)
    assert calls(conda) == []


# -- what is installed


def test_what_is_imported_of_a_package_is_told_by_its_record(machine: Machine) -> None:
    """Of a folder that several packages share, what this one has in it."""
    from kernels.environments.distributions import changed, installed

    venv = machine.projects / ".venv"
    make_venv(Path(os.path.realpath(sys.executable)), venv)
    where = describe(str(venv / "bin" / "python"))
    assert installed(where) == {}
    site = venv / "lib" / f"python{own_minor()}" / "site-packages"
    records = {
        "pillow": "PIL/__init__.py,sha256=x,1\nPIL/Image.py,,\nPIL/_imaging.cpython-311.so,,\n"
        "../../../bin/x,,\npillow.libs/a.so,,\nPIL/sub/__init__.py,,",
        "google_cloud_storage": "google/cloud/storage/__init__.py,,\n"
        "google/cloud/storage/blob.py,,\ngoogle/cloud/_extra.py,,",
        "six": "six.py,sha256=x,1\n__pycache__/six.cpython-311.pyc,,\nsix-1.0.dist-info/METADATA,,",
        "odd": '"odd,name.py",,\nfast.pyd,,\nnative.abi3.so,,\ndocs/x.txt,,\nit-is/no.py,,',
    }
    for name, record in records.items():
        with_package(site.parents[2], own_minor(), name, "1.0")
        (site / f"{name}-1.0.dist-info" / "RECORD").write_text(record)
    found = installed(where)
    assert {name: set(each.modules) for name, each in found.items()} == {
        "pillow": {"PIL"},
        "google-cloud-storage": {"google.cloud.storage", "google.cloud._extra"},
        "six": {"six"},
        "odd": {"fast", "native"},
    }
    (site / "six-1.0.dist-info").rename(site / "six-1.1.dist-info")
    (site / "pillow-1.0.dist-info" / "RECORD").unlink()
    (site / "pillow-1.0.dist-info").rmdir()
    assert changed(found, installed(where)) == (
        Change("pillow", "1.0", "", frozenset({"PIL"})),
        Change("six", "1.0", "1.1", frozenset({"six"})),
    )
