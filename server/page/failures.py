"""Where in a run's text the traceback stands that ended it."""

from __future__ import annotations

import re
from typing import Any

from kernels.run import Run

#: Characters of a text's end in which it is looked for.
_END = 60_000
_BEGIN = re.compile(r"^(?:-{20,}\n)?.{0,300}Traceback \(most recent call last\):?$", re.MULTILINE)
#: An error of syntax has no such line.
_PLACE = re.compile(r'^ *(?:File "|Cell In\[).{0,4000}$', re.MULTILINE)
_CHAINED = ("During handling of the above exception", "direct cause of the following exception")


def traceback_of(run: Run) -> dict[str, Any] | None:
    """Its `html`, which stands for the characters `at` to before `end`; None where there is none.
    May raise `OutputGone`."""
    summary = run.summary
    if summary is None or not summary.error:
        return None
    from server.page import rendering

    reading = run.recording.reading()
    first = max(0, reading.length - _END)
    text = reading.read(first, reading.length)
    span = span_of(text)
    if span is None:
        return None
    at, end = span
    html = rendering.traceback_html(text[at:end])
    return {"html": html, "at": first + at, "end": first + end}


def span_of(text: str) -> tuple[int, int] | None:
    """From where to where the last traceback of the text goes, with those that led to it."""
    begins = [match.start() for match in _BEGIN.finditer(text)]
    if not begins:
        begins = [match.start() for match in _PLACE.finditer(text)][-1:]
    if not begins:
        return None
    at = begins.pop()
    while begins and any(words in text[begins[-1] : at] for words in _CHAINED):
        at = begins.pop()
    end = text.find("\n[stdout]\n", at)
    return at, len(text) if end < 0 else end + 1
