"""Where things are inside a prefix, on each platform. Pure: the paths need not be there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import PurePath
from typing import TypeVar

WINDOWS = os.name == "nt"

AnyPath = TypeVar("AnyPath", bound=PurePath)


def interpreters(prefix: AnyPath, windows: bool = WINDOWS) -> list[AnyPath]:
    """Where its Python may be, the usual place first."""
    if windows:
        # A venv's, then conda's and an installation's.
        return [prefix / "Scripts" / "python.exe", prefix / "python.exe"]
    return [prefix / "bin" / "python", prefix / "bin" / "python3"]


def prefix_of(python: AnyPath, windows: bool = WINDOWS) -> AnyPath:
    """The prefix that an interpreter at this path lies in: what its links lead to is not asked."""
    folder = python.parent
    named = folder.name.lower() == "scripts" if windows else folder.name == "bin"
    return folder.parent if named else folder


def search_path(kind: str, prefix: AnyPath, windows: bool = WINDOWS) -> list[str]:
    """What activation puts in front of PATH."""
    if not windows:
        return [str(prefix / "bin")]
    if kind == "conda":
        library = prefix / "Library"
        inside = (library / "mingw-w64" / "bin", library / "usr" / "bin", library / "bin")
        return [str(path) for path in (prefix, *inside, prefix / "Scripts", prefix / "bin")]
    if kind == "venv":
        return [str(prefix / "Scripts")]
    return [str(prefix), str(prefix / "Scripts")]


def site_packages(
    prefix: AnyPath, version: str, windows: bool = WINDOWS, debian: bool = False
) -> Iterator[AnyPath]:
    """Where packages of a Python of this version ("3.12.1") are installed. `debian`: it is the
    system's, which Debian and Ubuntu have elsewhere."""
    if windows:
        yield prefix / "Lib" / "site-packages"
        return
    minor = ".".join(version.split(".")[:2])
    for folder in (f"python{minor}", f"python{minor}t", f"pypy{minor}"):
        yield prefix / "lib" / folder / "site-packages"
    if debian:
        yield prefix / "local" / "lib" / f"python{minor}" / "dist-packages"
        yield prefix / "lib" / "python3" / "dist-packages"


def user_site(base: AnyPath, version: str, platform: str, windows: bool = WINDOWS) -> AnyPath:
    """Where the packages that users install for themselves are, below their base."""
    major, _, rest = version.partition(".")
    minor = rest.partition(".")[0]
    if windows:
        return base / f"Python{major}{minor}" / "site-packages"
    if platform == "darwin" and base.name == f"{major}.{minor}":
        # Of a framework build.
        return base / "lib" / "python" / "site-packages"
    return base / "lib" / f"python{major}.{minor}" / "site-packages"
