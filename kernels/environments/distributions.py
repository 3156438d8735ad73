"""What is installed in an environment, as its files tell, and how that has changed."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from kernels.environments import layout
from kernels.environments.environment import Environment

_RECORD = re.compile(r"(?P<name>[^/\\]+)-(?P<version>[^-/\\]+)-[^-/\\]+\.json")
_INFO = re.compile(r"(?P<name>[^/\\]+?)-(?P<version>[^-/\\]+?)(?:-[^/\\]+)?\.(?:dist|egg)-info")
_MODULE = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True)
class Distribution:
    """An installed package. `modules`: what is imported of it, the outermost names alone, as
    "PIL" or "google.protobuf". `folder`: its metadata; None for a package of conda's that is not
    Python's."""

    name: str
    version: str
    modules: frozenset[str] = frozenset()
    folder: Path | None = None


@dataclass(frozen=True)
class Change:
    """What an install did to one package: its version `before` and `after` it, "" where it was or
    is not there. `modules`: what was or is imported of it."""

    name: str
    before: str
    after: str
    modules: frozenset[str]


def installed(environment: Environment) -> dict[str, Distribution]:
    """The packages by their names in normal form. Reads the disk: call it in a thread.

    A venv's own alone, not those of the Python that it is made of.
    """
    if environment.prefix is None:
        return {}
    found = {}
    for path in _listed(environment.prefix / "conda-meta"):
        if record := _RECORD.fullmatch(path.name):
            found[normal(record["name"])] = Distribution(record["name"], record["version"])
    for folder in site_packages(environment):
        for path in _listed(folder):
            if info := _INFO.fullmatch(path.name):
                name, version = info["name"].replace("_", "-"), info["version"]
                modules = _modules(path)
                found[normal(name)] = Distribution(name, version, modules, path)
    return found


def site_packages(environment: Environment) -> list[Path]:
    """The folders that packages are installed into, those that are there."""
    prefix, version = environment.prefix, environment.version
    if prefix is None:
        return []
    debian = str(prefix) in ("/usr", "/")
    folders = list(layout.site_packages(prefix, version, debian=debian))
    if not version:
        folders = sorted(prefix.glob("lib/python3*/site-packages"))
    return [folder for folder in folders if folder.is_dir()]


def changed(
    before: Mapping[str, Distribution], after: Mapping[str, Distribution]
) -> tuple[Change, ...]:
    """What is no longer as it was, in the order of names."""
    changes = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        versions = (old.version if old else "", new.version if new else "")
        if versions[0] != versions[1]:
            modules = (old.modules if old else frozenset()) | (new.modules if new else frozenset())
            changes.append(Change((new or old or _NONE).name, *versions, modules))
    return tuple(changes)


_NONE = Distribution("", "")


def normal(name: str) -> str:
    """A package's name in normal form."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requires(distribution: Distribution) -> list[str]:
    """What it needs, as requirements; none where it does not tell."""
    if distribution.folder is None:
        return []
    with contextlib.suppress(OSError):
        text = (distribution.folder / "METADATA").read_text("utf-8", "replace")
        return HeaderParser().parsestr(text).get_all("Requires-Dist") or []
    return []


def _modules(folder: Path) -> frozenset[str]:
    try:
        lines = (folder / "RECORD").read_text("utf-8", "replace").splitlines()
    except OSError:
        with contextlib.suppress(OSError):
            return frozenset((folder / "top_level.txt").read_text("utf-8", "replace").split())
        return frozenset()
    return _outermost(line.lstrip('"').partition(",")[0].rstrip('"') for line in lines)


def _outermost(files: Iterable[str]) -> frozenset[str]:
    """The names to import, of files below site-packages: packages, modules, and in folders that
    several packages share (namespace packages) what this one has there."""
    packages, modules = set(), set()
    for file in files:
        *folders, last = file.replace("\\", "/").split("/")
        stem, _, end = last.partition(".")
        if not last.endswith((".py", ".so", ".pyd")) or not all(map(_is_module, (*folders, stem))):
            continue
        if end == "py" and stem == "__init__":
            packages.add(tuple(folders))
        else:
            modules.add((*folders, stem))
    packages.discard(())
    outer = {name for name in packages if not _inside(name, packages)}
    outer |= {name for name in modules if not _inside(name, packages)}
    return frozenset(".".join(name) for name in outer if name)


def _is_module(part: str) -> bool:
    return _MODULE.fullmatch(part) is not None


def _inside(name: tuple[str, ...], packages: set[tuple[str, ...]]) -> bool:
    return any(name[:length] in packages for length in range(len(name)))


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
