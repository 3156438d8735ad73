"""The Python of a session, in words."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kernels.environments.describing import describe
from kernels.environments.environment import Activation, Environment, kernelspec_of
from kernels.kernelspecs import Kernelspec
from kernels.session import Session
from server.page.views import Description, described, session_view
from tests.kernels.environments.conftest import Machine, machine, python_in

__all__ = ["machine"]

USUAL = Description("Python 3.12.1", "venv:.venv")


def words(spec: Kernelspec | None) -> tuple[Any, Any]:
    """Of a session with this kernelspec; what the page shows besides is not looked at."""
    facts = {"name": "s", "state": "idle", "age": 0.0, "idle_seconds": 0.0, "count": 0, "runs": []}
    facts |= {"checkpoint": None, "no_checkpoint": (), "keeper": SimpleNamespace(cost=0)}
    session = cast(Session, SimpleNamespace(**facts, kernelspec=spec))
    view = session_view(session, None, USUAL)
    return view["python"], view["environment"]


def test_the_own_one() -> None:
    assert described(sys.executable).python == f"Python {platform.python_version()}"


def test_what_nothing_names_has_no_environment(tmp_path: Path) -> None:
    python = python_in(tmp_path, "3.12")
    assert described(str(python)) == Description("Python 3.12", "")
    assert described(str(tmp_path / "none" / "bin" / "perl")) == Description("Python", "")


def test_without_a_kernelspec_it_is_the_usual_one() -> None:
    assert words(None) == ("Python 3.12.1", "venv:.venv")


def test_an_environment_goes_by_its_name(machine: Machine) -> None:
    prefix = machine.conda(machine.home / "miniforge3" / "envs" / "ds")
    spec = kernelspec_of(describe(str(prefix / "bin" / "python")), Activation())
    assert words(spec) == ("Python 3.11.9", "conda:ds")


@pytest.mark.parametrize("language", ["python", "echo"])
def test_a_kernelspec_goes_by_its_title(machine: Machine, language: str) -> None:
    """And by the environment that its Python is of."""
    prefix = machine.conda(machine.home / "miniforge3" / "envs" / "ds")
    environment: Environment = describe(str(prefix / "bin" / "python"))
    spec = replace(kernelspec_of(environment, Activation()), name="data", display_name="Data")
    if language != "python":
        spec = replace(spec, language=language, argv=("echo", "{connection_file}"))
    assert words(spec) == ("Data", "conda:ds" if language == "python" else "")
