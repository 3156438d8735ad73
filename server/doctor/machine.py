"""Checks of Python, its packages, and the machine."""

from __future__ import annotations

import locale
import platform
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from kernels.memory import left as available_memory
from server.doctor.examination import Finding, failure, ok, warning
from server.values import checkout

_NAME = "rmi-agent-mcp-server"
_OLDEST = (3, 11)
#: Descriptors, processes and bytes of memory below which a busy server may run short.
_FILES, _PROCESSES, _MEMORY = 1024, 512, 500_000_000
#: The start of 2025: a clock before it is not set.
_PAST = 1_735_689_600


def python() -> Iterator[Finding]:
    """The server's own."""
    words = f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"
    if sys.version_info < _OLDEST:
        yield failure("Python", words, "Install Python 3.11 or newer, and run setup.sh again.")
    else:
        yield ok("Python", words)


def packages() -> Iterator[Finding]:
    """What the project asks for, and what is installed."""
    from packaging.requirements import Requirement

    wrong, count, optional = [], 0, []
    for asked in map(Requirement, _requirements()):
        extra = asked.marker is not None and "extra" in str(asked.marker)
        if extra or (asked.marker is not None and not asked.marker.evaluate()):
            continue
        count += 1
        if trouble := _trouble(asked.name, str(asked.specifier)):
            wrong.append(trouble)
    for name, use in _OPTIONAL.items():
        if _trouble(name, ""):
            optional.append(f"{name} ({use})")
    if wrong:
        remedy = f"Install the project again, or: {sys.executable} -m pip install {_NAME}."
        yield failure("packages", "; ".join(wrong), remedy)
    else:
        without = f"; optional, not there: {', '.join(optional)}" if optional else ""
        yield ok("packages", f"all {count} that the server needs{without}")


_OPTIONAL = {
    "matplotlib": "plots of scripts in the server's Python",
    "resvg-py": "SVG as pictures",
    "vl-convert-python": "altair's charts as pictures",
    "nbconvert": "export",
    "jupytext": "scripts as notebooks",
    "jupyter-console": "sessions attach",
}


def _requirements() -> list[str]:
    if (root := checkout()) is not None:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return list(project["dependencies"])
    return metadata.requires(_NAME) or []


def _trouble(name: str, specifier: str) -> str:
    """What is wrong with the package, or ""."""
    from packaging.specifiers import SpecifierSet

    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return f"{name} is not installed"
    if not SpecifierSet(specifier).contains(version, prereleases=True):
        return f"{name} is {version}, and must be {specifier}"
    return ""


def memory() -> Iterator[Finding]:
    """What is left, here and in the group of processes that this one is in."""
    import psutil

    machine = psutil.virtual_memory()
    left, whole = available_memory()
    words = f"{machine.available / 1e9:.1f} GB free of {machine.total / 1e9:.1f} GB"
    if whole < machine.total:
        words += f"; this container may have {whole / 1e9:.1f} GB, {left / 1e9:.1f} GB are left"
    if left < _MEMORY:
        yield warning("memory", words, "End other programs: a kernel takes 20 to 100 MB, and more.")
    else:
        yield ok("memory", words)


def limits() -> Iterator[Finding]:
    """Of files and processes."""
    if sys.platform == "win32":
        yield ok("limits", "this system has none for files and processes")
        return
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    processes, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    group = _number(Path("/sys/fs/cgroup/pids.max"))
    infinite = resource.RLIM_INFINITY
    most = min((n for n in (processes, group) if n is not None and n != infinite), default=None)
    words = f"{'any number of' if files == infinite else files} files, "
    words += f"{'any number of' if most is None else most} processes"
    few_files = files != infinite and files < _FILES
    if few_files or (most is not None and most < _PROCESSES):
        name = f"ulimit -n {_FILES * 4}" if few_files else f"ulimit -u {_PROCESSES * 4}"
        remedy = f"Raise it ({name} before the start): each kernel takes files and processes."
        yield warning("limits", words, remedy)
    else:
        yield ok("limits", words)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def clock() -> Iterator[Finding]:
    """Whether it is set."""
    words = time.strftime("%Y-%m-%d %H:%M:%S %z")
    if time.time() < _PAST:
        remedy = "Set it: tokens, certificates and the times of files depend on it."
        yield failure("clock", words, remedy)
    else:
        yield ok("clock", words)


def text() -> Iterator[Finding]:
    """What programs take for the encoding of text."""
    encoding = locale.getencoding() if not sys.flags.utf8_mode else "utf-8"
    words = f"{encoding} for files, {sys.getfilesystemencoding()} for their names"
    if encoding.lower().replace("-", "") != "utf8":
        remedy = "Set LANG=C.UTF-8, or PYTHONUTF8=1: scripts read and write files in that encoding."
        yield warning("text", words, remedy)
    else:
        yield ok("text", words)
