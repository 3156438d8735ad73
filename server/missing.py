"""What to say of a run that ended because a module is not installed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kernels.result import RunResult

_MISSING = re.compile(r"No module named '([^'.\\/]{1,100})'")
#: Entries of the projects directory that are looked at for a module of the user's own.
_MOST = 20_000
_PASSED_OVER = frozenset({"node_modules", "__pycache__", "site-packages", "dist-packages"})


def explained(result: RunResult, projects: Path, installs: bool) -> RunResult:
    """`result` with an explanation of a ModuleNotFoundError, where there is something to say that
    its traceback does not. `installs`: whether there is the tool install_packages. May look
    through the projects directory."""
    module = missing_module(result.error)
    if not module or result.explanation:
        return result
    words = advice(module, result.session, projects, installs)
    return replace(result, explanation=words) if words else result


def missing_module(error: Mapping[str, Any] | None) -> str:
    """The top-level module for want of which a program ended; "" where that is not why, or where
    it is a part of one that is there."""
    if error is None or error.get("name") != "ModuleNotFoundError":
        return ""
    found = _MISSING.fullmatch(str(error.get("value")))
    return found[1] if found is not None and found[1].isidentifier() else ""


def advice(module: str, session: str, projects: Path, installs: bool) -> str:
    """How to come by it; "" for what no package brings: a module of the standard library, or of
    the user's own."""
    # Few runs end so.
    from kernels.environments.known import FORMER, distribution_of

    if module in sys.stdlib_module_names or module in FORMER or _is_own(module, projects):
        return ""
    distribution = distribution_of(module)
    if not distribution and not installs:
        return ""
    if not distribution:
        return (
            f"The module {module} is not installed in this session's environment; if it belongs to "
            "a package, install_packages installs that, by the name of its distribution."
        )
    words = f"The module {module} belongs to the package {distribution}"
    if not installs:
        return f"{words}, which is not installed in this session's environment."
    where = "" if session == "default" else f", session={session!r}"
    return f"{words}; install it with install_packages(packages=[{distribution!r}]{where})."


def _is_own(module: str, projects: Path) -> bool:
    """Whether the projects directory has it somewhere: then a path is wrong, and nothing is to be
    installed."""
    seen = 0
    for _, folders, files in os.walk(projects):
        # What an environment has is no file of the user's, whatever it is called.
        if "pyvenv.cfg" in files or "conda-meta" in folders:
            folders.clear()
            continue
        if f"{module}.py" in files or module in folders:
            return True
        seen += len(folders) + len(files)
        if seen > _MOST:
            return False
        folders[:] = [
            name for name in folders if name not in _PASSED_OVER and not name.startswith(".")
        ]
    return False
