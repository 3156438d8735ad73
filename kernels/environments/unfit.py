"""Why an environment cannot run kernels as its files stand, and the command that helps."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from kernels.environments import layout, probing
from kernels.environments.environment import OLDEST_IPYKERNEL, Environment, as_numbers
from kernels.environments.reading import holds
from kernels.environments.sites import libraries, venv_settings, version_of


def why_unfit(environment: Environment, installing: bool = False) -> str:
    """One or two sentences; "" where it can. `installing`: whether there is the tool
    install_packages, which helps, too."""
    if environment.runs_kernels:
        return ""
    if trouble := probing.not_there(environment.python):
        return trouble.sentence
    if environment.is_too_old:
        return probing.too_old(environment.python, environment.version).sentence
    command = install_command(environment)
    also = ", or by install_packages with this environment" if installing else ""
    if environment.ipykernel:
        oldest = ".".join(map(str, OLDEST_IPYKERNEL))
        return (
            f"The environment {environment.name} has ipykernel {environment.ipykernel}; "
            f"kernels need {oldest} or newer. Update it with: {command}{also}"
        )
    if not command:
        return (
            f"{environment.python} has no ipykernel, and its packages are managed by the system. "
            f"Make an environment of it with: {_quoted(environment.python, '-m', 'venv', '.venv')}"
        )
    return (
        f"The environment {environment.name} has no ipykernel, so it cannot run kernels. "
        f"Install it with: {command}{also}"
    )


def install_command(environment: Environment, package: str = "ipykernel") -> str:
    """The command that installs a package there; "" where the system forbids it."""
    prefix, python = environment.prefix, environment.python
    update = bool(environment.ipykernel) and as_numbers(environment.ipykernel) < OLDEST_IPYKERNEL
    if prefix is not None and environment.kind == "conda":
        return _quoted(
            _conda(prefix), "update" if update else "install", "-p", str(prefix), package
        )
    newer = ("--upgrade",) if update else ()
    if prefix is not None and environment.kind == "venv":
        if "uv" in venv_settings(prefix) or not version_of("pip", environment):
            return _quoted("uv", "pip", "install", *newer, "--python", python, package)
    elif prefix is not None and _is_managed(prefix):
        return ""
    return _quoted(python, "-m", "pip", "install", *newer, package)


def _conda(prefix: Path) -> str:
    """The program that has made it, as the folders that it lies in are called."""
    names = {part.lower() for part in prefix.parts}
    if "micromamba" in names or (".local" in names and "mamba" in names):
        return "micromamba"
    if names & {"mambaforge", "miniforge3", "miniforge"}:
        return "mamba"
    return "conda"


def _is_managed(prefix: Path) -> bool:
    """Whether pip refuses to install there."""
    folders = [prefix / "Lib"] if layout.WINDOWS else libraries(prefix)
    return any(holds(folder / "EXTERNALLY-MANAGED") for folder in folders)


def _quoted(*words: str) -> str:
    return subprocess.list2cmdline(words) if layout.WINDOWS else shlex.join(words)
