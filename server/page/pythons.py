"""Which Python an interpreter is, and of which environment, as files tell; nothing is run."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_VERSION = re.compile(r"^version(?:_info)?\s*=\s*(\d+(?:\.\d+)+)", re.MULTILINE)
_NAMED = re.compile(r"python(\d\.\d+)")
#: Where an environment is called after the folder that it is in.
_PLAIN = {".venv", "venv", "env", ".env"}


@dataclass(frozen=True)
class Description:
    """In words: "Python 3.12.1", and "venv analysis", "conda ds", or "" where there is neither."""

    python: str
    environment: str


@lru_cache(maxsize=100)
def describe(python: str) -> Description:
    """Of the interpreter at this path; looked at once."""
    path = Path(python)
    # As the interpreter itself finds them: not where its links lead to.
    prefix = path.parent.parent if path.parent.name in ("bin", "Scripts") else path.parent
    version = platform.python_version() if _is_own(path) else _version(path, prefix)
    return Description(f"Python {version}".strip(), _environment(prefix))


def _is_own(path: Path) -> bool:
    return os.path.normcase(path) == os.path.normcase(os.path.abspath(sys.executable))


def _version(path: Path, prefix: Path) -> str:
    if found := _VERSION.search(_text(prefix / "pyvenv.cfg")):
        return found[1]
    try:
        for record in (prefix / "conda-meta").glob("python-3*.json"):
            return record.name.split("-")[1]
    except OSError:
        pass
    named = _NAMED.search(path.resolve().name)
    return named[1] if named is not None else ""


def _environment(prefix: Path) -> str:
    name = prefix.parent.name if prefix.name in _PLAIN else prefix.name
    if (prefix / "conda-meta").is_dir():
        # The first one of an installation holds the others.
        return "conda base" if (prefix / "envs").is_dir() else f"conda {name}"
    return f"venv {name}" if (prefix / "pyvenv.cfg").is_file() else ""


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
