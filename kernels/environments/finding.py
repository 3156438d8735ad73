"""The environments of this machine, without starting a process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kernels.environments.environment import Environment


def find_all(projects: Path, environ: Mapping[str, str]) -> list[Environment]:
    """All, in the order conda, venv, pyenv, plain Pythons, kernelspecs, each by name; no two of one
    name, and each real prefix once. The Python of this process is among them.

    What cannot be read is passed over. Reads the disk: call it in a thread.
    """
    return []
