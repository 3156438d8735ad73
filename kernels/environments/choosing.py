"""From a name or a path to the environment that is meant by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kernels.environments.environment import Chosen, Environment
from kernels.errors import EnvironmentNotFound


def named(text: str, projects: Path, environ: Mapping[str, str]) -> Environment:
    """The environment of that name or at that path, whether it can run kernels or not.

    `text`: "conda:ds", "ds", "venv:.venv", "pyenv:3.12", "kernelspec:ir", "ir", or the path of a
    prefix or an interpreter, from the projects directory where it is not absolute. Raises
    `EnvironmentNotFound`, also for a name that several have. Reads the disk: call it in a thread.
    """
    raise EnvironmentNotFound(f"There is no environment {text!r}.")


def choose(text: str, projects: Path, environ: Mapping[str, str], why: str = "") -> Chosen:
    """What `named` finds, activated and ready to be started; `kernelspec` is None where it is the
    Python that sessions have anyway, this process's own.

    Raises `EnvironmentNotFound`, and `EnvironmentUnfit` with the way out when it cannot run
    kernels as its files stand. Runs its activation scripts: call it in a thread.
    """
    raise EnvironmentNotFound(f"There is no environment {text!r}.")


def chosen(environment: Environment, environ: Mapping[str, str], why: str = "") -> Chosen:
    """The same for an environment that is known already."""
    return Chosen(environment, None, why)
