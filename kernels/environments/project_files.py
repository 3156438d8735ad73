"""The environment that the projects directory's own files name."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kernels.environments.choosing import choose, chosen, is_fitting_version
from kernels.environments.describing import describe, interpreter, is_own
from kernels.environments.environment import Chosen, Environment
from kernels.environments.places import conda_prefixes, poetry_stores, pyenv_prefixes
from kernels.environments.reading import holds, listed, text_of
from kernels.environments.unfit import why_unfit

_CONDA_FILES = ("environment.yml", "environment.yaml")
_USUAL = "Sessions run in the server's own Python."
#: A line of YAML at the top level: its key, and its value in quotes or without.
_LINE = re.compile(
    r"""^(name|prefix)[ \t]*:[ \t]*"""
    r"""(?:"([^"\n]*)"|'([^'\n]*)'|([^\s#][^\n]*?))[ \t\r]*(?:[ \t]#.*)?$""",
    re.MULTILINE,
)


def default(given: str, projects: Path, environ: Mapping[str, str]) -> Chosen | None:
    """What sessions run in where nobody says: `given` (RMI_PYTHON; "" where it is not set), else
    what the first of environment.yml, pyproject.toml and .python-version names; None where there
    is none of all that, or it is what this process's Python is.

    Raises `EnvironmentNotFound` and `EnvironmentUnfit` for what is given, as `choose` does. A file
    that cannot be followed leaves this process's Python (`kernelspec` None), with a note.
    Nothing is read but those files where they name nothing; call it in a thread.
    """
    if given:
        return choose(given, projects, environ, why="RMI_PYTHON")
    for look in (_of_conda, _of_pyproject, _of_python_version):
        found = look(projects, environ)
        if isinstance(found, str):
            own = describe(sys.executable, projects, environ)
            return Chosen(own, None, notes=(f"{found} {_USUAL}",))
        if found is not None:
            environment, file = found
            if is_own(environment.python):
                return None
            if trouble := why_unfit(environment):
                own = describe(sys.executable, projects, environ)
                trouble += "" if trouble.endswith(".") else "."
                note = f"{file} means the environment {environment.name}. {trouble} {_USUAL}"
                return Chosen(own, None, notes=(note,))
            return chosen(environment, environ, why=file)
    return None


#: What a file means: the environment and the file's name; a sentence where it is of no use; None
#: where there is no such file, or it names none.
_Meant = tuple[Environment, str] | str | None


def _of_conda(projects: Path, environ: Mapping[str, str]) -> _Meant:
    for file in _CONDA_FILES:
        keys = top_level(text_of(projects / file))
        if not keys:
            continue
        name, prefix = keys.get("name", ""), keys.get("prefix", "")
        for path in _conda_paths(name, prefix, environ):
            if (python := interpreter(path)) is not None:
                return describe(str(python), projects, environ), file
        what = f"{name!r}" if name else f"at {prefix}"
        return (
            f"{file} names the conda environment {what}, which is not on this machine. "
            f"Make it with: conda env create -f {file}."
        )
    return None


def _conda_paths(name: str, prefix: str, environ: Mapping[str, str]) -> Iterator[Path]:
    """Prefixes that conda may mean. The name comes first: a file that was exported elsewhere has
    that machine's prefix."""
    if name:
        for path in conda_prefixes(environ):
            if path.name == name and holds(path / "conda-meta"):
                yield path
        if name == "base":
            yield from (path for path in conda_prefixes(environ) if holds(path / "condabin"))
    if prefix and holds(Path(prefix) / "conda-meta"):
        yield Path(prefix)


def top_level(text: str) -> dict[str, str]:
    """`name` and `prefix` of an environment.yml; what is no plain text there is left out."""
    found: dict[str, str] = {}
    for line in _LINE.finditer(text):
        value = next((part for part in line.groups()[1:] if part), "").strip()
        if value and value not in ("null", "~", "|", ">") and not value.startswith(("{", "[", "&")):
            found.setdefault(line[1], value)
    return found


def _of_pyproject(projects: Path, environ: Mapping[str, str]) -> _Meant:
    file = projects / "pyproject.toml"
    if not holds(file):
        return None
    try:
        settings = tomllib.loads(text_of(file))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return f"pyproject.toml is no valid TOML ({' '.join(str(error).split())[:200]})."
    for path in _project_venvs(settings, projects, environ):
        if not holds(path / "pyvenv.cfg"):
            continue
        if (python := interpreter(path)) is not None:
            return describe(str(python), projects, environ), "pyproject.toml"
        return f"pyproject.toml means the venv {path}, whose Python is not there any more."
    return None


def _project_venvs(
    settings: Mapping[str, Any], projects: Path, environ: Mapping[str, str]
) -> Iterator[Path]:
    """Where a project's venv may be: uv's, then poetry's."""
    if given := environ.get("UV_PROJECT_ENVIRONMENT"):
        yield projects / given
    yield projects / ".venv"
    tool, project = settings.get("tool"), settings.get("project")
    poetry = tool.get("poetry") if isinstance(tool, dict) else None
    names = [part.get("name") for part in (poetry, project) if isinstance(part, dict)]
    for name in names:
        if isinstance(name, str) and name:
            beginning = poetry_name(name, projects) + "-py"
            for store in poetry_stores(environ):
                # The newest of several Pythons.
                for folder in sorted(listed(store), key=_by_number, reverse=True):
                    if folder.startswith(beginning):
                        yield store / folder


def poetry_name(name: str, projects: Path) -> str:
    """What poetry calls the venv of a project there, but for the Python that follows."""
    plain = re.sub(r'[ $`!*@"\\\r\n\t]', "_", name.lower())[:42]
    path = os.path.normcase(os.path.realpath(projects)).encode("utf-8", "surrogateescape")
    digest = base64.urlsafe_b64encode(hashlib.sha256(path).digest()).decode()[:8]
    return f"{plain}-{digest}"


def _by_number(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text.rpartition("-py")[2])]


def _of_python_version(projects: Path, environ: Mapping[str, str]) -> _Meant:
    text = text_of(projects / ".python-version")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    # uv writes "cpython@3.12", too.
    asked = next((line for line in lines if line), "").removeprefix("cpython@")
    if not asked or asked == "system":
        return None
    own = describe(sys.executable, projects, environ)
    venv = _venv_of(asked, projects, environ)
    if venv is not None and venv.runs_kernels:
        return venv, ".python-version"
    found = [
        describe(str(python), projects, environ)
        for prefix in pyenv_prefixes(environ)
        if prefix.name == asked or is_fitting_version(asked, prefix.name)
        if (python := interpreter(prefix)) is not None
    ]
    found.sort(key=lambda one: (one.runs_kernels, _by_number(one.version)))
    if found and found[-1].runs_kernels:
        return found[-1], ".python-version"
    if is_fitting_version(asked, own.version):
        # It is that version, if not by that way.
        return None
    if venv is not None:
        return venv, ".python-version"
    if found:
        return found[-1], ".python-version"
    return f".python-version names {asked[:100]}, which pyenv does not have here."


def _venv_of(asked: str, projects: Path, environ: Mapping[str, str]) -> Environment | None:
    """The .venv of the projects directory, if it is of that version."""
    python = interpreter(projects / ".venv")
    if python is None:
        return None
    venv = describe(str(python), projects, environ)
    return venv if is_fitting_version(asked, venv.version) else None
