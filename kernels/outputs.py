"""What a run produced, as values: in order, faithful, bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

StreamName = Literal["stdout", "stderr"]


@dataclass(frozen=True)
class Text:
    """Consecutive text of one stream. Carriage returns have been carried out."""

    stream: StreamName
    text: str


@dataclass(frozen=True)
class Omitted:
    """A place where text, or displays, were left out because there was too much."""

    characters: int = 0
    lines: int = 0
    displays: int = 0

    @property
    def words(self) -> str:
        """A line that says so, for a reader."""
        parts = []
        if self.characters:
            parts.append(f"{self.characters:,} characters ({self.lines:,} lines)")
        if self.displays:
            parts.append(f"{self.displays:,} displays")
        return f"[… {' and '.join(parts)} left out …]"


@dataclass(frozen=True)
class Display:
    """A mime bundle (`display_data`, or `execute_result` when `is_result`), after its updates.

    Binary forms such as `image/png` are base64 text, as the protocol carries them.
    """

    data: Mapping[str, Any]
    metadata: Mapping[str, Any]
    is_result: bool = False


@dataclass(frozen=True)
class Error:
    """An exception that a cell did not catch. `traceback` may hold ANSI colours."""

    name: str
    value: str
    traceback: str


Output = Text | Omitted | Display | Error
