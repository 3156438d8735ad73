"""What came of one scenario."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """`why`: the reason of a failure; of a success, that it is a failure that is expected."""

    name: str
    good: bool
    why: str = ""

    def __str__(self) -> str:
        word = ("expected" if self.why else "ok") if self.good else "FAILED"
        return f"{word:8} {self.name}" + (f": {self.why}" if self.why else "")
