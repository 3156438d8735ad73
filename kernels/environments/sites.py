"""Which packages an interpreter has, as the folders tell that it imports from."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kernels.environments import layout
from kernels.environments.environment import Environment
from kernels.environments.reading import listed, names_in, text_of

_VERSION = re.compile(r"\d+(?:\.\d+)*")
_RECORDS = (".dist-info", ".egg-info")


def version_of(
    package: str, environment: Environment, environ: Mapping[str, str] | None = None
) -> str:
    """The version of an installed package, by its distribution's name; "" where there is none."""
    if environment.prefix is None:
        return ""
    settings = venv_settings(environment.prefix)
    own = os.environ if environ is None else environ
    return installed(package, site_folders(environment.prefix, environment.version, settings, own))


def installed(package: str, folders: Iterable[Path]) -> str:
    """The same, in these folders; the first one that has it counts."""
    beginning = package.lower().replace("-", "_") + "-"
    for folder in folders:
        for name in names_in(folder):
            if name.endswith(_RECORDS) and name[: len(beginning)].lower() == beginning:
                if found := _VERSION.match(name, len(beginning)):
                    return found[0]
    return ""


def venv_settings(prefix: Path) -> dict[str, str]:
    """The lines of its pyvenv.cfg, keys in lower case; empty where it is no venv."""
    found = {}
    for line in text_of(prefix / "pyvenv.cfg").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found[key.strip().lower()] = value.strip()
    return found


def libraries(prefix: Path) -> list[Path]:
    """Its folders lib/python3.12 and the like; none on Windows."""
    return [
        prefix / "lib" / name
        for name in listed(prefix / "lib")
        if name.startswith(("python3.", "pypy3."))
    ]


def site_folders(
    prefix: Path, version: str, settings: Mapping[str, str], environ: Mapping[str, str]
) -> Iterator[Path]:
    """The folders that packages come from, those that hide others first. `settings`: what
    `venv_settings` tells of the prefix."""
    if settings:
        yield from _own_sites(prefix, version)
        if settings.get("include-system-site-packages", "").lower() != "true":
            return
        prefix = layout.prefix_of(Path(settings.get("home", ""), "python"))
    if "PYTHONNOUSERSITE" not in environ and version:
        yield layout.user_site(_user_base(environ), version, sys.platform)
    yield from _own_sites(prefix, version)


def _own_sites(prefix: Path, version: str) -> Iterator[Path]:
    if version or layout.WINDOWS:
        yield from layout.site_packages(prefix, version, debian=str(prefix) == "/usr")
    else:
        for library in libraries(prefix):
            yield library / "site-packages"


def _user_base(environ: Mapping[str, str]) -> Path:
    if given := environ.get("PYTHONUSERBASE"):
        return Path(given)
    if layout.WINDOWS:
        return Path(environ.get("APPDATA", ""), "Python")
    return home(environ) / ".local"


def home(environ: Mapping[str, str]) -> Path:
    """The user's folder."""
    given = environ.get("USERPROFILE" if layout.WINDOWS else "HOME")
    return Path(given) if given else Path(os.path.expanduser("~"))
