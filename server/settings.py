"""Settings from the environment and a `.env` file, read and checked once."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: The folder of the rooms: the checkout, or the installed package.
ROOT = Path(__file__).resolve().parent.parent


class SettingError(Exception):
    """A setting has a wrong value; the text names the variable and says what it may be."""


@dataclass(frozen=True)
class Settings:
    """All settings. Times in seconds; the comment names the variable of each."""

    projects_dir: Path  # PYTHON_PROJECTS_DIR
    timeout: float  # PYTHON_TIMEOUT
    max_timeout: float  # RMI_MAX_TIMEOUT
    keep_after_timeout: bool  # RMI_ON_TIMEOUT
    grace: float  # RMI_GRACE
    max_sessions: int  # RMI_MAX_SESSIONS
    idle_timeout: float  # RMI_IDLE_TIMEOUT
    python: str  # RMI_PYTHON


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of this process; a variable of the environment wins over the `.env` file.

    The file is the checkout's, or that of the working directory for an installed package. The
    projects directory is made when it is missing. Raises `SettingError`.
    """
    values = {**_env_file(), **environ}
    max_timeout = _seconds(values, "RMI_MAX_TIMEOUT", 3600)
    timeout = _seconds(values, "PYTHON_TIMEOUT", 30)
    if timeout > max_timeout:
        raise SettingError(
            f"PYTHON_TIMEOUT is {timeout:g}, more than RMI_MAX_TIMEOUT ({max_timeout:g}); "
            "raise one or lower the other."
        )
    on_timeout = values.get("RMI_ON_TIMEOUT", "").strip() or "restart"
    if on_timeout not in ("restart", "interrupt"):
        raise SettingError(f"RMI_ON_TIMEOUT is {on_timeout!r}; it must be restart or interrupt.")
    return Settings(
        projects_dir=_projects_dir(values),
        timeout=timeout,
        max_timeout=max_timeout,
        keep_after_timeout=on_timeout == "interrupt",
        grace=_seconds(values, "RMI_GRACE", 2),
        max_sessions=_count(values, "RMI_MAX_SESSIONS", 16),
        idle_timeout=_seconds(values, "RMI_IDLE_TIMEOUT", 3600),
        python=_python(values),
    )


def _env_file() -> dict[str, str]:
    in_checkout = (ROOT / "pyproject.toml").is_file()
    path = (ROOT if in_checkout else Path.cwd()) / ".env"
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        found = dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {_reason(error)}.") from None
    return {name: value for name, value in found.items() if value is not None}


def _seconds(values: Mapping[str, str], name: str, default: float) -> float:
    text = values.get(name, "").strip()
    try:
        number = float(text) if text else default
    except ValueError:
        number = math.nan
    if not 0 < number <= 10_000_000:
        raise SettingError(f"{name} is {text!r}; it must be a number of seconds above 0.")
    return number


def _count(values: Mapping[str, str], name: str, default: int) -> int:
    text = values.get(name, "").strip()
    if text and not (text.isascii() and text.isdigit() and 0 < int(text) <= 10_000):
        raise SettingError(f"{name} is {text!r}; it must be a whole number from 1 to 10000.")
    return int(text) if text else default


def _projects_dir(values: Mapping[str, str]) -> Path:
    text = values.get("PYTHON_PROJECTS_DIR", "").strip()
    try:
        if text:
            path = Path(text).expanduser().absolute()
        elif (ROOT / "pyproject.toml").is_file():
            path = ROOT / "python_projects"
        else:
            path = Path.home() / "python_projects"
        path.mkdir(parents=True, exist_ok=True)
        os.listdir(path)
        return path.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        shown = repr(text) if text else "not set"
        raise SettingError(
            f"PYTHON_PROJECTS_DIR is {shown}, and no directory can be had there: {_reason(error)}."
        ) from None


def _python(values: Mapping[str, str]) -> str:
    import sys

    text = values.get("RMI_PYTHON", "").strip()
    if not text:
        return os.path.abspath(sys.executable)
    path = os.path.abspath(os.path.expanduser(text))
    if os.path.isdir(path):
        path = os.path.join(path, *(("python.exe",) if os.name == "nt" else ("bin", "python")))
    if not (os.path.isfile(path) and os.access(path, os.X_OK)):
        raise SettingError(
            f"RMI_PYTHON is {text!r}, which is neither a Python that can be run nor the folder of "
            "an environment."
        )
    return path


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).rstrip(".")
