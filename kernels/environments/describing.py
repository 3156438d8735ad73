"""What an interpreter is and of which environment, as files tell; nothing is run."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from kernels.environments import layout
from kernels.environments.environment import Environment, Kind, as_numbers
from kernels.environments.reading import holds, names_in, text_of
from kernels.environments.sites import installed, libraries, site_folders, venv_settings
from kernels.kernelspecs import Kernelspec

#: Folders of venvs that are called after what they are in.
PLAIN = frozenset({".venv", "venv", "env", ".env", ".conda"})

_VERSION = re.compile(r"\d+(?:\.\d+)+")
_NAMED = re.compile(r"python(\d\.\d+)t?(?:\.exe)?$")
_HEADER = re.compile(r'#define\s+PY_VERSION\s+"(\d+\.\d+\.\d+)')
_PYENV = frozenset({".pyenv", "pyenv", "pyenv-win"})


def describe(
    python: str, projects: Path | None = None, environ: Mapping[str, str] | None = None
) -> Environment:
    """The environment of the interpreter at this path.

    Never raises for what it finds: what the files do not tell is "". Venvs in the projects
    directory and beside it are called after their path from there ("venv:.venv"), where that is
    given. `environ`: where the user's own site-packages are; this process's when omitted.
    """
    path = Path(os.path.abspath(python.partition("\0")[0]))
    prefix = _prefix(path)
    settings = venv_settings(prefix)
    kind = _kind(prefix, bool(settings))
    version = platform.python_version() if is_own(str(path)) else _version(path, prefix, settings)
    folders = site_folders(prefix, version, settings, os.environ if environ is None else environ)
    return Environment(
        name=str(path) if kind == "python" else f"{kind}:{label(kind, prefix, projects)}",
        kind=kind,
        python=str(path),
        prefix=prefix,
        version=version,
        ipykernel=installed("ipykernel", folders),
    )


def describe_kernelspec(
    spec: Kernelspec, projects: Path | None = None, environ: Mapping[str, str] | None = None
) -> Environment:
    """What a kernelspec of Jupyter's describes; of an ordinary ipykernel, with what the files of
    its Python tell."""
    name = f"kernelspec:{spec.name}"
    if spec.ipykernel is None:
        return Environment(
            name=name, kind="kernelspec", python="", version=spec.language, kernelspec=spec
        )
    own = describe(spec.argv[0], projects, environ)
    return dataclasses.replace(own, name=name, kind="kernelspec", kernelspec=spec)


def is_own(python: str) -> bool:
    """Whether it is the interpreter of this process, by its path."""
    own = os.path.abspath(sys.executable)
    return os.path.normcase(os.path.abspath(python)) == os.path.normcase(own)


def interpreter(prefix: Path) -> Path | None:
    """The Python of this prefix; None where there is none, or a link that leads nowhere."""
    for path in layout.interpreters(prefix):
        if holds(path):
            return path
    return None


def label(kind: Kind, prefix: Path, projects: Path | None = None) -> str:
    """What an environment is called among those of its kind."""
    if kind == "conda" and _is_base(prefix):
        return "base"
    if projects is not None and kind in ("venv", "conda"):
        if prefix.is_relative_to(projects) and prefix != projects:
            return prefix.relative_to(projects).as_posix()
        if kind == "venv" and prefix.parent == projects.parent:
            return f"../{prefix.name}"
    return prefix.parent.name if prefix.name in PLAIN and prefix.parent.name else prefix.name


def _prefix(python: Path) -> Path:
    """As the interpreter itself finds it: a link is followed only where what it lies in is
    neither a venv nor an installation."""
    here = layout.prefix_of(python)
    for prefix in (here, python.parent):
        if holds(prefix / "pyvenv.cfg"):
            return prefix
    if holds(here / "conda-meta") or _has_library(here):
        return here
    real = layout.prefix_of(Path(os.path.realpath(python)))
    return real if _has_library(real) else here


def _has_library(prefix: Path) -> bool:
    if layout.WINDOWS:
        return holds(prefix / "Lib" / "os.py")
    return any(holds(folder / "os.py") for folder in libraries(prefix))


def _kind(prefix: Path, is_venv: bool) -> Kind:
    if is_venv:
        return "venv"
    if holds(prefix / "conda-meta"):
        return "conda"
    if prefix.parent.name == "versions" and (
        prefix.parent.parent.name in _PYENV or holds(prefix.parent.parent / "shims")
    ):
        return "pyenv"
    return "python"


def _is_base(prefix: Path) -> bool:
    """Whether it is the first one of an installation of conda, which holds the others."""
    if prefix.parent.name == "envs":
        return False
    return holds(prefix / "envs") or holds(prefix / "condabin")


def _version(python: Path, prefix: Path, settings: Mapping[str, str]) -> str:
    told = settings.get("version") or settings.get("version_info") or ""
    if found := _VERSION.match(told):
        return found[0]
    records = [
        name.split("-")[1]
        for name in names_in(prefix / "conda-meta")
        if name.startswith(("python-3", "python-2")) and name.endswith(".json")
    ]
    if versions := [text for text in records if _VERSION.fullmatch(text)]:
        return max(versions, key=as_numbers)
    if prefix.parent.name == "versions" and _VERSION.fullmatch(prefix.name):
        return prefix.name
    named = _NAMED.match(os.path.basename(os.path.realpath(python)))
    minor = named[1] if named else ""
    names = [path.name for path in libraries(prefix)] if not minor else []
    if len(names) == 1:
        minor = names[0].removeprefix("python").removeprefix("pypy").rstrip("t")
    header = prefix / "include" / f"python{minor}" / "patchlevel.h"
    if layout.WINDOWS:
        header = prefix / "include" / "patchlevel.h"
    exact = _HEADER.search(text_of(header)) if minor or layout.WINDOWS else None
    return exact[1] if exact and exact[1].startswith(minor) else minor
