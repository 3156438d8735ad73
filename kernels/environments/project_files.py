"""The environment that the projects directory's own files name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kernels.environments.environment import Chosen


def default(given: str, projects: Path, environ: Mapping[str, str]) -> Chosen | None:
    """What sessions run in where nobody says: `given` (RMI_PYTHON; "" where it is not set), else
    what the first of environment.yml, pyproject.toml and .python-version names; None where there
    is none of all that, or it is what this process's Python is.

    Raises `EnvironmentNotFound` and `EnvironmentUnfit` for what is given, as `choose` does. A file
    that cannot be followed leaves this process's Python (`kernelspec` None), with a note.
    Nothing is read but those files where they name nothing; call it in a thread.
    """
    return None
