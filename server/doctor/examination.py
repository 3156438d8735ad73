"""Making checks: all at once, each within its time. One that crashes or hangs has failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

#: What is said of what the settings decide, when they are wrong.
NOT_CHECKED, FIRST = "not checked, because the settings are wrong", "Correct the settings first."

Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """What a check has found: a line of the page. `remedy`: what to do, as a sentence; only what
    is ok has none. `seconds`: how long the check had taken by then."""

    name: str
    level: Level
    words: str
    remedy: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Check:
    """A check, which gives its findings one after another. `seconds`: all that it may take.

    `end`: ends what it has started, should it hang.
    """

    name: str
    find: Callable[[], Iterable[Finding]]
    seconds: float = 8.0
    end: Callable[[], None] = field(default=lambda: None)


def ok(name: str, words: str) -> Finding:
    """All is well."""
    return Finding(name, "ok", words)


def warning(name: str, words: str, remedy: str) -> Finding:
    """It works, but not as well as it could."""
    return Finding(name, "warning", words, remedy)


def failure(name: str, words: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(name, "failure", words, remedy)


def examine(checks: Sequence[Check]) -> list[Finding]:
    """Make the checks side by side; the findings are in the order of the checks."""
    begun = time.monotonic()
    examinations = [_Examination(check) for check in checks]
    found: list[Finding] = []
    for each in examinations:
        found += each.findings(begun + each.check.seconds)
    return found


class _Examination:
    """One check in a thread of its own, which dies with the process."""

    def __init__(self, check: Check) -> None:
        self.check = check
        self._found: list[Finding] = []
        self._begun = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=check.name, daemon=True)
        self._thread.start()

    def findings(self, deadline: float) -> list[Finding]:
        """All that was found until then."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        found = list(self._found)
        if self._thread.is_alive():
            self.check.end()
            words = f"the check was not over after {self.check.seconds:g} s"
            remedy = "Something that it asks for hangs; try again, with less going on beside it."
            found.append(replace(failure(self.check.name, words, remedy), seconds=self._seconds))
        return found

    @property
    def _seconds(self) -> float:
        return round(time.monotonic() - self._begun, 3)

    def _run(self) -> None:
        try:
            for finding in self.check.find():
                self._found.append(replace(finding, seconds=self._seconds))
        except BaseException as error:
            text = " ".join(str(error).split())[:300]
            words = f"the check failed: {type(error).__name__}{f': {text}' if text else ''}"
            remedy = "Report this, with the page as a whole: a check should say more than that."
            if isinstance(error, ImportError):
                remedy = "Install the project again: its packages are not all there."
            self._found.append(
                replace(failure(self.check.name, words, remedy), seconds=self._seconds)
            )
