"""JSON text of which parts are exchanged while all others stay as they were written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")
_FIRST_KEY = re.compile(r"\{(\s*)\"(?:[^\"\\]|\\.)*\"(\s*):(\s*)")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")
_ESCAPED = re.compile(r"\\u(?!00[01])[0-9a-fA-F]{4}")
_decode = json.JSONDecoder().raw_decode
#: Characters of one piece of text that `Style.pieces` gives.
_PIECE = 256 * 1024
#: Lines of a text that are written at a time.
_LINES = 1000


@dataclass(frozen=True)
class Member:
    """A name and its value in the text of an object: `name_at`, then `[start:end]` is the value."""

    name: str
    name_at: int
    start: int
    end: int


def members(text: str, at: int = 0) -> list[Member]:
    """The members of the object that begins at `at`. Raises `ValueError`."""
    found = []
    for start in _items(text, at, "{", "}"):
        if text[start : start + 1] != '"':
            raise ValueError("a name was expected")
        name, end = scanstring(text, start + 1)
        end = _skip(text, end)
        if text[end : end + 1] != ":":
            raise ValueError("a colon was expected")
        value = _skip(text, end + 1)
        found.append(Member(name, start, value, _end(text, value)))
    return found


def elements(text: str, at: int = 0) -> list[tuple[int, int]]:
    """Start and end of each element of the array that begins at `at`. Raises `ValueError`."""
    return [(start, _end(text, start)) for start in _items(text, at, "[", "]")]


def _items(text: str, at: int, opening: str, closing: str) -> Iterator[int]:
    """Where each item of an object or array begins."""
    if text[at : at + 1] != opening:
        raise ValueError(f"{opening} was expected")
    at = _skip(text, at + 1)
    if text[at : at + 1] == closing:
        return
    while True:
        yield at
        if opening == "{":
            _, at = scanstring(text, at + 1)
            at = _skip(text, _skip(text, at) + 1)
        at = _skip(text, _end(text, at))
        if text[at : at + 1] == closing:
            return
        if text[at : at + 1] != ",":
            raise ValueError("a comma was expected")
        at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _end(text: str, at: int) -> int:
    try:
        return _decode(text, at)[1]
    except StopIteration:
        raise ValueError("a value was expected") from None


@dataclass(frozen=True)
class Style:
    """How a file is written. `indent`: of one level, None for all on one line."""

    indent: str | None = " "
    newline: str = "\n"
    comma: str = ","
    colon: str = ": "
    ascii: bool = False

    @classmethod
    def of(cls, text: str) -> Style:
        """The style of an object's text."""
        first = _FIRST_KEY.match(text)
        space, before, after = first.groups() if first else ("\n ", "", " ")
        indent = space.rpartition("\n")[2] if "\n" in space else None
        comma = ","
        if indent is None and (second := re.search(r",([ \t]*)\"", text)):
            comma += second[1]
        ascii = not _BEYOND_ASCII.search(text) and bool(_ESCAPED.search(text))
        return cls(indent, "\r\n" if "\r\n" in space else "\n", comma, f"{before}:{after}", ascii)

    def line(self, depth: int) -> str:
        """What stands between two items at `depth` levels, after the comma."""
        return "" if self.indent is None else self.newline + self.indent * depth

    def dumps(self, value: Any, depth: int = 0) -> str:
        """The text of a value that stands at `depth` levels."""
        return "".join(self._parts(value, depth))

    def pieces(self, value: Any, depth: int) -> Iterator[bytes]:
        """The same in pieces, encoded: a large value is never there a second time as a whole."""
        kept: list[str] = []
        size = 0
        for part in self._parts(value, depth):
            kept.append(part)
            size += len(part)
            if size >= _PIECE:
                yield encoded("".join(kept))
                kept, size = [], 0
        yield encoded("".join(kept))

    def _parts(self, value: Any, depth: int) -> Iterator[str]:
        if isinstance(value, Mapping):
            yield from self._items(value.items(), depth, "{", "}")
        elif isinstance(value, list | tuple):
            if value and all(isinstance(item, str) for item in value):
                yield from self._strings(value, depth)
            else:
                yield from self._items((("", item) for item in value), depth, "[", "]")
        else:
            yield json.dumps(value, ensure_ascii=self.ascii)

    def _strings(self, strings: Sequence[str], depth: int) -> Iterator[str]:
        """The lines of a text: there may be very many."""
        comma = (self.comma if self.indent is None else ",") + self.line(depth + 1)
        before = "[" + self.line(depth + 1)
        for start in range(0, len(strings), _LINES):
            some = strings[start : start + _LINES]
            text = json.dumps(some, ensure_ascii=self.ascii, separators=(comma, self.colon))
            yield before + text[1:-1]
            before = comma
        yield self.line(depth) + "]"

    def _items(
        self, items: Iterable[tuple[str, Any]], depth: int, opening: str, closing: str
    ) -> Iterator[str]:
        before = opening + self.line(depth + 1)
        comma = (self.comma if self.indent is None else ",") + self.line(depth + 1)
        empty = True
        for name, value in items:
            if opening == "{":
                before += json.dumps(name, ensure_ascii=self.ascii) + self.colon
            if isinstance(value, str):
                # The usual case, without a generator of its own.
                yield before + json.dumps(value, ensure_ascii=self.ascii)
            else:
                yield before
                yield from self._parts(value, depth + 1)
            before, empty = comma, False
        yield opening + closing if empty else self.line(depth) + closing


def encoded(text: str) -> bytes:
    """As it is written to a file. A lone surrogate, which no file can hold, becomes its escape."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def exchanged(text: str, name: str, value: str | None, style: Style, depth: int) -> str:
    """The text of an object at `depth` levels with the value of a member exchanged for another
    text; None takes the member out. A new one comes last."""
    found = members(text)
    number = next((n for n in range(len(found) - 1, -1, -1) if found[n].name == name), None)
    if number is not None and value is not None:
        member = found[number]
        return text[: member.start] + value + text[member.end :]
    if number is not None:
        start, end = found[number].name_at, found[number].end
        if number + 1 < len(found):
            end = found[number + 1].name_at
        elif number:
            start = found[number - 1].end
        else:
            return "{}"
        return text[:start] + text[end:]
    if value is None:
        return text
    item = json.dumps(name, ensure_ascii=style.ascii) + style.colon + value
    if not found:
        return "{" + style.line(depth + 1) + item + style.line(depth) + "}"
    comma = style.comma if style.indent is None else ","
    last = found[-1].end
    return text[:last] + comma + style.line(depth + 1) + item + text[last:]


def joined(value: object) -> str:
    """A text that may be written as the list of its lines."""
    if isinstance(value, list):
        return "".join(map(str, value))
    return value if isinstance(value, str) else ""


def lines(text: str) -> Sequence[str]:
    """The list as which notebooks write a text."""
    return text.splitlines(keepends=True)
