"""Tracebacks in which one sees at once which line failed, and how."""

from __future__ import annotations

import re

from kernels.transcript import clean
from server.page.highlighting import shortened, text_html

#: Python's own frames, also those of exception groups, whose lines begin with bars.
_FRAME = re.compile(r'[ |+-]{0,60}File "[^"\n]{0,4000}", line \d+')
#: What Python draws below a line.
_MARKS = re.compile(r"[ |]{2,80}[~^][~^ ]{0,2000}")
#: IPython's arrow before the line that failed.
_ARROW = re.compile(r" {0,20}-+> ?\d+")
_ERROR = re.compile(r"(?:[ |+-]{0,60}\| )?[A-Za-z_][\w.]{0,300}(?:: .*|:?)", re.DOTALL)


def traceback_html(text: str) -> str:
    """A traceback of Python or IPython: a `pre` of the class `traceback` with a span of the class
    `line` for each line. That which failed innermost, and what is drawn below it, is `failing`
    as well; the line that names the exception is `error`."""
    lines = shortened(clean(text).rstrip("\n")).split("\n")
    classes = dict.fromkeys(range(len(lines)), "line")
    at = _failing(lines)
    if at is not None:
        classes[at] = "line failing"
        if at + 1 < len(lines) and _MARKS.fullmatch(lines[at + 1]):
            classes[at + 1] = "line failing"
    begin = 0 if at is None else at + 1
    errors = (index for index in range(begin, len(lines)) if _ERROR.fullmatch(lines[index]))
    classes[next(errors, len(lines) - 1)] = "line error"
    body = "".join(
        f'<span class="{classes[index]}">{text_html(line)}\n</span>'
        for index, line in enumerate(lines)
    )
    return f'<pre class="traceback">{body}</pre>'


def _failing(lines: list[str]) -> int | None:
    """The source line of the innermost frame of the last exception."""
    for at in range(len(lines) - 1, -1, -1):
        if _ARROW.match(lines[at]):
            return at
        if _FRAME.match(lines[at]):
            # Without its source, the frame itself says where it was.
            source = lines[at + 1] if at + 1 < len(lines) else ""
            deeper = _indent(source) > _indent(lines[at]) and source.strip(" |")
            return at + 1 if deeper else at
    return None


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" |+-"))
