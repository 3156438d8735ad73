"""The text of a stream as a notebook keeps it: carriage returns and backspaces carried out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: Bytes of an unfinished line after which it is made short.
_LONG = 64 * 1024

_TOKEN = re.compile(
    r"(\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])|\r+|\x08+)"
)
_STYLE = re.compile(r"\x1b\[([0-9;:]{0,100})m")
_ERASE = re.compile(r"\x1b\[([0-2]?)K")
_RESET = "\x1b[0m"

#: What a number in a colour sequence sets, and what it ends.
_SETS = {1: "bold", 2: "faint", 3: "italic", 4: "line", 21: "line", 5: "blink", 6: "blink"}
_SETS |= {7: "reverse", 8: "hidden", 9: "struck", 38: "ink", 48: "paper", 58: "line colour"}
_SETS |= dict.fromkeys((*range(30, 38), *range(90, 98)), "ink")
_SETS |= dict.fromkeys((*range(40, 48), *range(100, 108)), "paper")
_ENDS = {22: ("bold", "faint"), 23: ("italic",), 24: ("line",), 25: ("blink",), 27: ("reverse",)}
_ENDS |= {28: ("hidden",), 29: ("struck",), 39: ("ink",), 49: ("paper",), 59: ("line colour",)}

_Style = dict[str, str]


class StreamText:
    """Consecutive text of one stream, which `write` makes longer.

    A `\\r` goes back to the start of its line, as in a terminal; a `\\b` deletes the character
    before it in the line, as JupyterLab has it. Colours stay, and belong to the characters that
    they were written with. What comes out does not depend on the pieces in which it was written.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        #: About how many bytes it has at the moment.
        self.size = 0
        self._done: list[str] = []
        #: The unfinished line as it was written.
        self._line: list[str] = []
        self._line_size = 0
        self._short_size = 0
        self._moves = False
        #: The style in which the unfinished line begins.
        self._style: _Style = {}

    def write(self, text: str) -> None:
        """Add text as it was written."""
        moves = "\r" in text or "\b" in text
        finished, newline, rest = text.rpartition("\n")
        if newline:
            first = "".join((*self._line, finished, newline))
            if moves or self._moves:
                first = "\n".join([self._carried_out(line) for line in first.split("\n")])
            elif "\x1b" in first:
                self._style = _style_after(self._style, first)
            self._done.append(first)
            self.size += size_of(first) - self._line_size
            self._line, self._line_size, self._short_size = [], 0, 0
            self._moves = False
            moves = moves and ("\r" in rest or "\b" in rest)
        if rest:
            self._line.append(rest)
            size = size_of(rest)
            self._line_size += size
            self.size += size
            self._moves = self._moves or moves
        # So that a line which is written again and again takes no more room than it shows.
        if self._moves and self._line_size > 2 * self._short_size + _LONG:
            short = _Line("".join(self._line), self._style).short()
            size = size_of(short)
            self.size += size - self._line_size
            self._line, self._line_size, self._short_size = [short], size, size

    def text(self) -> str:
        """All of it so far."""
        line = "".join(self._line)
        if len(self._line) > 1:
            self._line = [line]
        if not line and len(self._done) == 1:
            return self._done[0]
        self._done = ["".join(self._done)]
        return self._done[0] + (_carried_out(line, self._style)[0] if self._moves else line)

    def _carried_out(self, line: str) -> str:
        shown, self._style = _carried_out(line, self._style)
        return shown


def size_of(text: str) -> int:
    """The bytes that a text takes in a file."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def savable(value: Any) -> tuple[Any, int]:
    """A JSON value as it can be written to a file, and the bytes that it takes there, about.

    Lone surrogates, which cannot be written, are replaced. Raises TypeError or ValueError when
    it is no JSON value.
    """
    if isinstance(value, str):
        value = value if _sound(value) else value.encode("utf-8", "backslashreplace").decode()
        return value, size_of(value)
    text = json.dumps(value, ensure_ascii=False)
    if not _sound(text):
        text = text.encode("utf-8", "replace").decode()
        value = json.loads(text)
    return value, size_of(text)


def _sound(text: str) -> bool:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return False
    return True


@dataclass(frozen=True)
class _Run:
    """Characters of one style next to each other, or (`width` 0) a sequence that shows nothing."""

    style: _Style
    text: str
    width: int


class _Line:
    """A line with a cursor in it: what has been written since the last `\\r`, and what stood there
    before."""

    def __init__(self, text: str, style: _Style) -> None:
        self._under: list[_Run] = []
        self._over: list[_Run] = []
        self._first = self.style = style
        for number, part in enumerate(_TOKEN.split(text)):
            if number % 2:
                self._obey(part)
            elif part:
                self._over.append(_Run(self.style, part, len(part)))

    def shown(self) -> str:
        """What is to be seen, with its colours."""
        return _written(_laid(self._over, self._under), self._first, self.style)

    def short(self) -> str:
        """The same line, written so that more can be appended."""
        under = _written(self._under, self._first, {})
        over = _written(self._over, {}, self.style)
        return f"{under}\r{over}" if self._under else self.shown()

    def _obey(self, token: str) -> None:
        if token[0] == "\r":
            self._under, self._over = _laid(self._over, self._under), []
        elif token[0] == "\b":
            self._delete(len(token))
        elif style := _STYLE.fullmatch(token):
            self.style = _styled(self.style, style[1])
        elif erase := _ERASE.fullmatch(token):
            if erase[1] != "1":
                self._under = []
            if erase[1] == "2" and self._over:
                width = _width(self._over)
                self._over = [_Run({}, " " * width, width)]
        else:
            self._over.append(_Run(self.style, token, 0))

    def _delete(self, characters: int) -> None:
        kept: list[_Run] = []
        while self._over and characters:
            run = self._over.pop()
            if run.width > characters:
                text = run.text[: run.width - characters]
                kept.append(_Run(run.style, text, len(text)))
                break
            if run.width == 0:
                kept.append(run)
            characters -= run.width
        self._over += reversed(kept)


def _carried_out(line: str, style: _Style) -> tuple[str, _Style]:
    """A line that begins in `style` as it is to be seen, and the style after it."""
    if "\r" in line:
        line = line.rstrip("\r")
    if "\r" not in line and "\b" not in line:
        return line, _style_after(style, line)
    carried = _Line(line, style)
    return carried.shown(), carried.style


def _style_after(style: _Style, text: str) -> _Style:
    at = max(text.rfind(_RESET), text.rfind("\x1b[m"))
    if at >= 0:
        style, text = {}, text[at:]
    for match in _STYLE.finditer(text):
        style = _styled(style, match[1])
    return style


def _width(runs: Iterable[_Run]) -> int:
    return sum(run.width for run in runs)


def _laid(over: list[_Run], under: list[_Run]) -> list[_Run]:
    """`over` and what is to be seen of `under` behind its end."""
    if not under:
        return over
    column = _width(over)
    rest: list[_Run] = []
    for run in under:
        if run.width <= column:
            column -= run.width
        elif column:
            text = run.text[column:]
            rest.append(_Run(run.style, text, len(text)))
            column = 0
        else:
            rest.append(run)
    return over + rest if rest else over


def _written(runs: Iterable[_Run], style: _Style, end: _Style) -> str:
    """The runs' text, with the sequences that change the style from `style` to theirs and `end`."""
    parts: list[str] = []
    for run in (*runs, _Run(end, "", 0)):
        if run.style != style:
            if style.keys() - run.style.keys():
                parts.append(_RESET)
                style = {}
            parts += [
                f"\x1b[{code}m" for slot, code in run.style.items() if style.get(slot) != code
            ]
            style = run.style
        parts.append(run.text)
    return "".join(parts)


def _styled(style: _Style, codes: str) -> _Style:
    """`style` after a colour sequence with these numbers."""
    new = dict(style)
    rest = codes.split(";")
    while rest:
        code = rest.pop(0) or "0"
        number = int(code.partition(":")[0] or 0)
        if number == 0:
            new.clear()
        elif number in (38, 48, 58) and code.isdecimal():
            more = {"5": 2, "2": 4}.get(rest[0] if rest else "", 0)
            new[_SETS[number]] = ";".join([code, *rest[:more]])
            del rest[:more]
        elif number in _SETS:
            new[_SETS[number]] = code
        for slot in _ENDS.get(number, ()):
            new.pop(slot, None)
    return new
