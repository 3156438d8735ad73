"""Where tools put environments: prefixes that may be one, the likelier first. Nothing is run; a
prefix may be named twice, and what is named need not be there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from kernels.environments import layout
from kernels.environments.describing import PLAIN
from kernels.environments.reading import folders_in, is_file, listed, text_of
from kernels.environments.sites import home

#: Folders of a projects directory, and of what it lies in, that are looked into at most.
_MOST = 500

_CONDAS = (
    "miniforge3",
    "mambaforge",
    "miniconda3",
    "anaconda3",
    "micromamba",
    "miniforge",
    "miniconda",
    "anaconda",
)


def conda_prefixes(environ: Mapping[str, str]) -> Iterator[Path]:
    """Of conda, mamba and micromamba."""
    roots = list(_conda_roots(environ))
    for name in ("CONDA_PREFIX", "CONDA_PREFIX_1", "CONDA_PREFIX_2"):
        if given := environ.get(name):
            yield Path(given)
            roots += _base_of(Path(given))
    yield from roots
    folders = [root / "envs" for root in roots]
    for name in ("CONDA_ENVS_PATH", "CONDA_ENVS_DIRS"):
        folders += _paths(environ.get(name, ""))
    folders.append(home(environ) / ".conda" / "envs")
    for folder in dict.fromkeys(folders):
        for name in listed(folder):
            if not name.startswith("."):
                yield folder / name
    yield from _registered(home(environ) / ".conda" / "environments.txt")


def _conda_roots(environ: Mapping[str, str]) -> Iterator[Path]:
    """Installations, each with the environments below it in `envs`."""
    for name in ("CONDA_ROOT", "MAMBA_ROOT_PREFIX"):
        if given := environ.get(name):
            yield Path(given)
    if given := environ.get("CONDA_EXE"):
        # bin/conda, or Scripts\conda.exe.
        yield Path(given).parent.parent
    for folder in _usual_folders(environ):
        for name in _CONDAS:
            yield folder / name
    yield home(environ) / ".local" / "share" / "mamba"
    if not layout.WINDOWS:
        yield Path("/opt/conda")
    if sys.platform == "darwin":
        for cask in ("miniforge", "mambaforge", "miniconda"):
            yield Path("/opt/homebrew/Caskroom") / cask / "base"
    if pyenv := _pyenv_root(environ):
        for name in listed(pyenv / "versions"):
            if name.startswith(("mini", "mamba", "ana")):
                yield pyenv / "versions" / name


def _usual_folders(environ: Mapping[str, str]) -> Iterator[Path]:
    yield home(environ)
    if layout.WINDOWS:
        for name in ("LOCALAPPDATA", "PROGRAMDATA", "SYSTEMDRIVE"):
            if given := environ.get(name):
                yield Path(given + os.sep)
        if given := environ.get("LOCALAPPDATA"):
            yield Path(given) / "Continuum"
    else:
        yield from (home(environ) / "opt", Path("/opt"), Path("/usr/local"))


def _base_of(prefix: Path) -> list[Path]:
    return [prefix.parent.parent] if prefix.parent.name == "envs" else []


def _registered(file: Path) -> Iterator[Path]:
    """Those that conda has noted itself."""
    for line in text_of(file).splitlines():
        if line.strip() and "\0" not in line:
            yield Path(line.strip())


def venv_prefixes(projects: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """Of venv, virtualenv, uv, poetry and pipenv: in the projects directory and in its folders,
    beside it, and where these tools keep them."""
    if given := environ.get("UV_PROJECT_ENVIRONMENT"):
        yield projects / given
    if given := environ.get("VIRTUAL_ENV"):
        yield Path(given)
    for folder in _folders(projects):
        yield from _venvs((folder,))
        yield from _venvs(folder / name for name in sorted(PLAIN))
    yield from _venvs(_folders(projects.parent))
    for store in _stores(environ):
        yield from _venvs(store / name for name in listed(store))


def _venvs(folders: Iterator[Path] | tuple[Path, ...]) -> Iterator[Path]:
    for folder in folders:
        if is_file(folder / "pyvenv.cfg"):
            yield folder


def _folders(parent: Path) -> Iterator[Path]:
    for name in folders_in(parent)[:_MOST]:
        yield parent / name


def _stores(environ: Mapping[str, str]) -> Iterator[Path]:
    """Folders of many venvs."""
    yield from poetry_stores(environ)
    if given := environ.get("WORKON_HOME"):
        yield Path(given)
    yield home(environ) / ".virtualenvs"
    yield home(environ) / ".local" / "share" / "virtualenvs"


def poetry_stores(environ: Mapping[str, str], platform: str = sys.platform) -> Iterator[Path]:
    """Where poetry keeps venvs."""
    if given := environ.get("POETRY_VIRTUALENVS_PATH"):
        yield Path(given)
    if given := environ.get("POETRY_CACHE_DIR"):
        yield Path(given) / "virtualenvs"
    if platform == "win32":
        cache = Path(environ.get("LOCALAPPDATA", "")) / "pypoetry" / "Cache"
    elif platform == "darwin":
        cache = home(environ) / "Library" / "Caches" / "pypoetry"
    else:
        given = environ.get("XDG_CACHE_HOME")
        cache = (Path(given) if given else home(environ) / ".cache") / "pypoetry"
    yield cache / "virtualenvs"


def pyenv_prefixes(environ: Mapping[str, str]) -> Iterator[Path]:
    """Of pyenv and pyenv-win."""
    if root := _pyenv_root(environ):
        for name in listed(root / "versions"):
            yield root / "versions" / name


def _pyenv_root(environ: Mapping[str, str]) -> Path | None:
    given = environ.get("PYENV_ROOT") or environ.get("PYENV")
    if given:
        return Path(given)
    return home(environ) / ".pyenv" / ("pyenv-win" if layout.WINDOWS else "")


def _paths(text: str) -> list[Path]:
    return [Path(part) for part in text.split(os.pathsep) if part]
