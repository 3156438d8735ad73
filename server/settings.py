"""Settings from the environment and a `.env` file, read and checked once."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from server.values import (
    SettingError,
    checkout,
    choice,
    count,
    read,
    reason,
    seconds,
    text,
    words,
)

if TYPE_CHECKING:
    from kernels.environments.environment import Chosen

#: Files of the projects directory that may name an environment.
_NAMING = ("environment.yml", "environment.yaml", "pyproject.toml", ".python-version")


@dataclass(frozen=True)
class Settings:
    """The settings that every transport has. Times in seconds; the comment names the variable of
    each."""

    projects_dir: Path  # PYTHON_PROJECTS_DIR
    timeout: float  # PYTHON_TIMEOUT
    max_timeout: float  # RMI_MAX_TIMEOUT
    keep_after_timeout: bool  # RMI_ON_TIMEOUT
    grace: float  # RMI_GRACE
    max_sessions: int  # RMI_MAX_SESSIONS
    idle_timeout: float  # RMI_IDLE_TIMEOUT
    #: Absolute path of the sessions' interpreter.
    python: str  # RMI_PYTHON
    pool: int  # RMI_POOL
    preload: tuple[str, ...]  # RMI_PRELOAD
    #: Where tokens and the audit log are kept; made when something is.
    state_dir: Path  # RMI_STATE_DIR
    #: None: each transport has its own.
    log_level: str | None  # RMI_LOG_LEVEL
    #: A file, "off", or None: each transport has its own.
    audit_log: str | None  # RMI_AUDIT_LOG
    #: The port of the page beside stdio, 0 for any; None: no page. HTTP has it at `/`.
    page: int | None  # RMI_PAGE
    #: Where sessions run, if RMI_PYTHON or a file decides it; None: in the server's own Python.
    default: Chosen | None = None
    #: Whether there is the tool install_packages; None: each transport has its own.
    allow_install: bool | None = None  # RMI_ALLOW_INSTALL
    #: Whether sessions keep checkpoints, where they can and it is worth it.
    checkpoints: bool = True  # RMI_CHECKPOINT


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process, from what `values.read` finds.

    The projects directory is made when it is missing. Raises `SettingError`.
    """
    values = read(environ)
    max_timeout = seconds(values, "RMI_MAX_TIMEOUT", 3600)
    timeout = seconds(values, "PYTHON_TIMEOUT", 30)
    if timeout > max_timeout:
        raise SettingError(
            f"PYTHON_TIMEOUT is {timeout:g}, more than RMI_MAX_TIMEOUT ({max_timeout:g}); "
            "raise one or lower the other."
        )
    level = choice(values, "RMI_LOG_LEVEL", "", "debug", "info", "warning", "error")
    # A host's form says true and false.
    install = choice(values, "RMI_ALLOW_INSTALL", "", "on", "off", "true", "false")
    projects_dir = _projects_dir(values)
    default = _default(text(values, "RMI_PYTHON"), projects_dir, environ)
    return Settings(
        projects_dir=projects_dir,
        timeout=timeout,
        max_timeout=max_timeout,
        keep_after_timeout=choice(values, "RMI_ON_TIMEOUT", "restart", "interrupt") == "interrupt",
        grace=seconds(values, "RMI_GRACE", 2),
        max_sessions=count(values, "RMI_MAX_SESSIONS", 16),
        idle_timeout=seconds(values, "RMI_IDLE_TIMEOUT", 3600),
        python=_own_python() if default is None else default.environment.python,
        pool=count(values, "RMI_POOL", 1, least=0, most=100),
        preload=_preload(values),
        state_dir=_state_dir(values),
        log_level=level or None,
        audit_log=text(values, "RMI_AUDIT_LOG") or None,
        page=page_port(values),
        default=default,
        allow_install=install in ("on", "true") if install else None,
        checkpoints=choice(values, "RMI_CHECKPOINT", "auto", "off") == "auto",
    )


def page_port(values: Mapping[str, str], name: str = "RMI_PAGE") -> int | None:
    """The port under this name; None where there is none. Raises `SettingError`."""
    return count(values, name, 0, 0, 65535) if text(values, name) else None


def _projects_dir(values: Mapping[str, str]) -> Path:
    given = text(values, "PYTHON_PROJECTS_DIR")
    try:
        if given:
            path = Path(given).expanduser().absolute()
        elif root := checkout():
            path = root / "python_projects"
        else:
            path = Path.home() / "python_projects"
        path.mkdir(parents=True, exist_ok=True)
        os.listdir(path)
        return path.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        shown = repr(given) if given else "not set"
        raise SettingError(
            f"PYTHON_PROJECTS_DIR is {shown}, and no directory can be had there: {reason(error)}."
        ) from None


def _state_dir(values: Mapping[str, str]) -> Path:
    given = text(values, "RMI_STATE_DIR")
    try:
        if given:
            return Path(given).expanduser().absolute()
        # As the systems' conventions have it; a library that knows them is not worth its import.
        if sys.platform == "win32":
            base = values.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Application Support"
        else:
            base = values.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return Path(base) / "rmi-agent-mcp-server"
    except RuntimeError as error:  # there is no home
        raise SettingError(f"RMI_STATE_DIR must be set: {reason(error)}.") from None


def _preload(values: Mapping[str, str]) -> tuple[str, ...]:
    names = words(values, "RMI_PRELOAD")
    if not all(part.isidentifier() for name in names for part in name.split(".")):
        raise SettingError(
            f"RMI_PRELOAD is {text(values, 'RMI_PRELOAD')!r}; it must be the names of modules, "
            "separated by commas."
        )
    return names


def _own_python() -> str:
    return os.path.abspath(sys.executable)


def _default(given: str, projects: Path, environ: Mapping[str, str]) -> Chosen | None:
    # Most servers have neither, and need not wait for what looks further.
    if not given and not any(os.path.lexists(projects / name) for name in _NAMING):
        return None
    from kernels.environments.project_files import default
    from kernels.errors import KernelError
    from kernels.launching import kernel_environment

    try:
        chosen = default(given, projects, kernel_environment(environ))
    except KernelError as error:
        raise SettingError(f"RMI_PYTHON is {given!r}. {error}") from None
    if chosen is None or (chosen.kernelspec is None and not chosen.notes):
        return None
    if not chosen.environment.python:
        raise SettingError(
            f"RMI_PYTHON is {given!r}, whose kernels are none of Python. Name an environment of "
            "Python here; calls can ask for any other."
        )
    return chosen
