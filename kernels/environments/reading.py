"""Looking at files that may be gone, broken or nobody's to read: no answer is an error."""

from __future__ import annotations

import os
from pathlib import Path


def holds(path: Path) -> bool:
    """Whether there is something that can be reached; False for a link that leads nowhere."""
    try:
        return os.path.exists(path)
    except ValueError:
        return False


def is_file(path: Path) -> bool:
    """Whether there is a file, however many links lead to it."""
    try:
        return os.path.isfile(path)
    except ValueError:
        return False


def listed(folder: Path) -> list[str]:
    """The names in a folder, in order; none where it cannot be read."""
    return sorted(names_in(folder))


def names_in(folder: Path) -> list[str]:
    """The same in any order, which for thousands of names is sooner done."""
    try:
        return os.listdir(folder)
    except (OSError, ValueError):
        return []


def folders_in(folder: Path) -> list[str]:
    """The names of the folders in a folder, in order; none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if _is_folder(entry))
    except (OSError, ValueError):
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def text_of(path: Path, most: int = 1_000_000) -> str:
    """The first `most` characters of a file; "" where it cannot be read."""
    try:
        # Anything but a file could keep its reader waiting.
        if not os.path.isfile(path):
            return ""
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return file.read(most)
    except (OSError, ValueError):
        return ""
