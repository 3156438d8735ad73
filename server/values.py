"""Single settings: where their values come from, and the kinds that they are of."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

#: The folder of the rooms: the checkout, or the installed package.
ROOT = Path(__file__).resolve().parent.parent


#: The names of the settings that were asked for, which are all there are once all were read.
ASKED: set[str] = set()


class SettingError(Exception):
    """A setting has a wrong value; the text names the variable and says what it may be."""


def checkout() -> Path | None:
    """The checkout that this runs from; None for an installed package."""
    return ROOT if (ROOT / "pyproject.toml").is_file() else None


def read(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What is set; a variable of the environment wins over the `.env` file.

    The file is the checkout's, or that of the working directory for an installed package. Raises
    `SettingError` when it cannot be read.
    """
    return {**_env_file(), **environ}


def _env_file() -> dict[str, str]:
    path = (checkout() or Path.cwd()) / ".env"
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        found = dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read: {reason(error)}.") from None
    return {name: value for name, value in found.items() if value is not None}


def text(values: Mapping[str, str], name: str) -> str:
    """The value without blanks around it; "" when it is not set."""
    ASKED.add(name)
    return values.get(name, "").strip()


def seconds(values: Mapping[str, str], name: str, default: float) -> float:
    """A time above 0."""
    value = text(values, name)
    try:
        number = float(value) if value else default
    except ValueError:
        number = math.nan
    if not 0 < number <= 10_000_000:
        raise SettingError(f"{name} is {value!r}; it must be a number of seconds above 0.")
    return number


def count(
    values: Mapping[str, str], name: str, default: int, least: int = 1, most: int = 10_000
) -> int:
    """A whole number."""
    value = text(values, name)
    if value and not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise SettingError(
            f"{name} is {value!r}; it must be a whole number from {least} to {most}."
        )
    return int(value) if value else default


def choice(values: Mapping[str, str], name: str, default: str, *others: str) -> str:
    """One of a few words; the default may be "", for none of them."""
    value = text(values, name) or default
    if value not in (known := (default, *others)):
        *most, last = filter(None, known)
        allowed = f"{', '.join(most)} or {last}"
        raise SettingError(f"{name} is {value!r}; it must be {allowed}.")
    return value


def words(values: Mapping[str, str], name: str) -> tuple[str, ...]:
    """A list, its items separated by commas."""
    ASKED.add(name)
    return tuple(filter(None, (item.strip() for item in values.get(name, "").split(","))))


def reason(error: Exception) -> str:
    """Why a file or folder could not be had."""
    return getattr(error, "strerror", None) or str(error).rstrip(".")
