"""Real environments of every Python of this machine, with the ipykernel that it can have.

Made once in a run of the tests, by uv, in pytest's temporary folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

#: Minor version of Python, and major version of ipykernel.
PAIRS = [(8, 6), (9, 6), (10, 7), (11, 7), (12, 6), (12, 7), (13, 7), (14, 7)]


@dataclass(frozen=True)
class Made:
    """An environment: its folder, its interpreter, and the versions of both."""

    prefix: Path
    python: str
    version: str
    ipykernel: str


Make = Callable[[int, int], Made]


def uv() -> str:
    """The program; skips the test where there is none."""
    beside = os.path.join(os.path.dirname(sys.executable), "uv")
    found = beside if os.access(beside, os.X_OK) else shutil.which("uv")
    if found is None:
        pytest.skip("uv is not installed")
    return found


def interpreter(minor: int) -> str:
    """A Python 3 of that minor version on this machine; skips the test where there is none."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for folder in sorted(root.glob(f"3.{minor}.*"), reverse=True):
        if (folder / "bin" / "python").exists():
            return str(folder / "bin" / "python")
    if found := shutil.which(f"python3.{minor}"):
        return found
    pytest.skip(f"there is no Python 3.{minor} on this machine")


def make(prefix: Path, minor: int, ipykernel: int = 0) -> Made:
    """A venv there; with the newest ipykernel of that major version, unless it is 0."""
    _run(uv(), "venv", "--quiet", "--python", interpreter(minor), str(prefix))
    python = str(prefix / "bin" / "python")
    version = _run(python, "-c", "import platform; print(platform.python_version())")
    installed = ""
    if ipykernel:
        wanted = f"ipykernel>={ipykernel},<{ipykernel + 1}"
        _run(uv(), "pip", "install", "--quiet", "--python", python, wanted)
        installed = _run(python, "-c", "import ipykernel; print(ipykernel.__version__)")
    return Made(prefix, python, version, installed)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def maker(folder: Path) -> Make:
    """Makes each pair once, below `folder`."""
    made: dict[tuple[int, int], Made] = {}

    def of(minor: int, ipykernel: int) -> Made:
        pair = minor, ipykernel
        if pair not in made:
            made[pair] = make(folder / f"py3{minor}-{ipykernel}", minor, ipykernel)
        return made[pair]

    return of
