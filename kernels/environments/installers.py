"""Which program installs into an environment, and its command lines."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kernels.environments.distributions import normal, site_packages
from kernels.environments.environment import Environment
from kernels.errors import EnvironmentUnfit

#: In front of the line that says what pip would install; pip 22.2 and newer has it.
_WOULD = "Would install "
_PLANNED = re.compile(r"\s*[+~]\s+(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+).*")


@dataclass(frozen=True)
class Installer:
    """A program that installs packages. `program`: its path; of pip that of the Python."""

    kind: Literal["conda", "uv", "pip"]
    name: str
    program: str

    def command(
        self, environment: Environment, packages: Sequence[str], dry: bool = False
    ) -> list[str]:
        """Its command for packages that `names` has checked. `dry`: to see whether and how it
        could be done, without doing it."""
        if self.kind == "conda":
            words = [self.program, "install", "--yes", "--prefix", str(environment.prefix)]
            # Its bars are drawn on lines of their own for each percent.
            words += ["--quiet"] if self.name != "micromamba" else []
        elif self.kind == "uv":
            words = [self.program, "pip", "install", "--color", "never"]
            words += ["--python", environment.python]
        else:
            words = [self.program, "-m", "pip", "install"]
        words += ["--dry-run"] if dry else []
        return [*words, *packages]

    def planned(self, lines: Sequence[str]) -> dict[str, str]:
        """The versions that a dry run says it would install, by the normal form of names. What
        conda plans, conda has checked itself."""
        found = {}
        for line in lines:
            if self.kind == "uv" and (change := _PLANNED.fullmatch(line)):
                found[normal(change["name"])] = change["version"]
            if self.kind == "pip" and line.startswith(_WOULD):
                for word in line.removeprefix(_WOULD).split():
                    name, _, version = word.rpartition("-")
                    found[normal(name)] = version
        return found


def installer_for(
    environment: Environment, environ: Mapping[str, str], own_python: str = sys.executable
) -> Installer:
    """What installs there: conda or its kin where the prefix is one of conda's and it is found,
    otherwise uv, otherwise the environment's own pip.

    `own_python`: uv may be beside it. Looks at files alone. Raises `EnvironmentUnfit` where there
    is none of them, or the operating system has the environment to itself.
    """
    if not environment.python or environment.prefix is None:
        raise EnvironmentUnfit(
            f"{environment.title} is no environment of Python's, so no packages can be installed "
            "there from here."
        )
    if environment.kind == "conda" and (program := find_conda(environment.prefix, environ)):
        name = Path(program).name.lower().removesuffix(".exe")
        return Installer("conda", name, program)
    if is_externally_managed(environment):
        raise EnvironmentUnfit(
            f"{environment.title} is managed by the operating system or another tool (PEP 668), so "
            "nothing is installed there. Make an environment of your own, for example by "
            f"`{environment.python} -m venv .venv` in the projects directory, and name it as "
            "`environment` when a session begins."
        )
    if program := find_uv(environ, own_python):
        return Installer("uv", "uv", program)
    if any((folder / "pip").is_dir() for folder in site_packages(environment)):
        return Installer("pip", "pip", environment.python)
    raise EnvironmentUnfit(
        f"{environment.title} has no pip, and uv is not installed either, so nothing can be "
        f"installed there. Install uv, or run: {environment.python} -m ensurepip"
    )


def find_conda(prefix: Path, environ: Mapping[str, str]) -> str:
    """The path of conda, mamba or micromamba, or ""."""
    for path in _condas(prefix, environ):
        # What a batch file is given goes through cmd, to which `numpy<2` is a redirection.
        if not path or path.lower().endswith((".bat", ".cmd")):
            continue
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return os.path.abspath(path)
    return ""


def _condas(prefix: Path, environ: Mapping[str, str]) -> Iterator[str | None]:
    yield environ.get("CONDA_EXE")
    yield environ.get("MAMBA_EXE")
    base = prefix.parent.parent if prefix.parent.name == "envs" else prefix
    if os.name == "nt":
        for name in ("conda.exe", "mamba.exe"):
            yield str(base / "Scripts" / name)
        yield str(base / "Library" / "bin" / "micromamba.exe")
    else:
        for folder in ("bin", "condabin"):
            for name in ("conda", "mamba", "micromamba"):
                yield str(base / folder / name)
    for name in ("conda", "mamba", "micromamba"):
        yield shutil.which(name, path=environ.get("PATH", ""))


def find_uv(environ: Mapping[str, str], own_python: str = sys.executable) -> str:
    """The path of uv, or "": from the PATH, beside the server's Python, or where its own
    installation puts it, which hosts that start servers seldom have on their PATH."""
    if found := shutil.which("uv", path=environ.get("PATH", "")):
        return os.path.abspath(found)
    name = "uv.exe" if os.name == "nt" else "uv"
    folders = [os.path.dirname(own_python)]
    if home := environ.get("USERPROFILE" if os.name == "nt" else "HOME"):
        folders.append(os.path.join(home, ".local", "bin"))
    for folder in folders:
        path = os.path.join(os.path.abspath(folder), name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def is_externally_managed(environment: Environment) -> bool:
    """Whether its maker asks that only their own tools change it (PEP 668)."""
    prefix = environment.prefix
    if prefix is None or environment.kind in ("venv", "conda"):
        return False
    minor = ".".join(environment.version.split(".")[:2]) or "3*"
    folders = [prefix / "Lib"] if os.name == "nt" else prefix.glob(f"lib/python{minor}")
    return any((folder / "EXTERNALLY-MANAGED").is_file() for folder in folders)
