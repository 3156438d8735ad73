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


def member(text: str, name: str, at: int = 0) -> Member | None:
    """The member of that name, of the object that begins at `at`. Of several the last one, which
    is what readers of JSON take."""
    return next((m for m in reversed(members(text, at)) if m.name == name), None)


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
class Lines:
    """A text that is written as the list of its lines."""

    text: str


@dataclass(frozen=True)
class Style:
    """How a file is written. `indent`: of one level, None for all on one line; `ordered`: whether
    the names in an object are in order, as Jupyter has them."""

    indent: str | None = " "
    newline: str = "\n"
    comma: str = ","
    colon: str = ": "
    ascii: bool = False
    ordered: bool = False

    @classmethod
    def of(cls, text: str, names: Iterable[str] = ()) -> Style:
        """The style of the text of an object with members of these names."""
        first = _FIRST_KEY.match(text)
        space, before, after = first.groups() if first else ("\n ", "", " ")
        indent = space.rpartition("\n")[2] if "\n" in space else None
        comma = ","
        if indent is None and len(found := members(text)) > 1:
            comma += text[found[0].end : found[1].name_at].partition(",")[2]
        ascii = not _BEYOND_ASCII.search(text) and bool(_ESCAPED.search(text))
        newline = "\r\n" if "\r\n" in space else "\n"
        names = [*names]
        ordered = bool(names) and names == sorted(names)
        return cls(indent, newline, comma, f"{before}:{after}", ascii, ordered)

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
            items = sorted(value.items()) if self.ordered else value.items()
            yield from self._items(items, depth, "{", "}")
        elif isinstance(value, Lines):
            yield from self._lines(value.text, depth)
        elif isinstance(value, list | tuple):
            yield from self._items((("", item) for item in value), depth, "[", "]")
        elif isinstance(value, str):
            yield from self._string(value)
        else:
            yield json.dumps(value, ensure_ascii=self.ascii)

    def _string(self, text: str) -> Iterator[str]:
        if len(text) <= _PIECE:
            yield json.dumps(text, ensure_ascii=self.ascii)
            return
        yield '"'
        for start in range(0, len(text), _PIECE):
            yield json.dumps(text[start : start + _PIECE], ensure_ascii=self.ascii)[1:-1]
        yield '"'

    def _lines(self, text: str, depth: int) -> Iterator[str]:
        if not text:
            yield "[]"
            return
        comma = (self.comma if self.indent is None else ",") + self.line(depth + 1)
        before = "[" + self.line(depth + 1)
        start = 0
        while start < len(text):
            end = text.find("\n", start + _PIECE) + 1 or len(text)
            some = text[start:end].splitlines(keepends=True)
            separators = (comma, self.colon)
            written = json.dumps(some, ensure_ascii=self.ascii, separators=separators)
            yield before + written[1:-1]
            before, start = comma, end
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
            if isinstance(value, str) and len(value) <= _PIECE:
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
    text; None takes the member out. A new one comes last, or where the order of names has it."""
    if value is None:
        return _without(text, name)
    if (old := member(text, name)) is not None:
        return text[: old.start] + value + text[old.end :]
    item = json.dumps(name, ensure_ascii=style.ascii) + style.colon + value
    found = members(text)
    if not found:
        return "{" + style.line(depth + 1) + item + style.line(depth) + "}"
    comma = (style.comma if style.indent is None else ",") + style.line(depth + 1)
    names = [m.name for m in found]
    if style.ordered and names == sorted(names) and name < names[-1]:
        at = next(m.name_at for m in found if m.name > name)
        return text[:at] + item + comma + text[at:]
    last = found[-1].end
    return text[:last] + comma + item + text[last:]


def _without(text: str, name: str) -> str:
    """The text of an object without any member of that name."""
    while (old := member(text, name)) is not None:
        found = members(text)
        number = found.index(old)
        start, end = old.name_at, old.end
        if number + 1 < len(found):
            end = found[number + 1].name_at
        elif number:
            start = found[number - 1].end
        else:
            return "{}"
        text = text[:start] + text[end:]
    return text


def same(one: object, other: object) -> bool:
    """Whether two values are the same in JSON, where true is not 1 and 1 is not 1.0."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def joined(value: object) -> str:
    """A text that may be written as the list of its lines."""
    if isinstance(value, list):
        return "".join(map(str, value))
    return value if isinstance(value, str) else ""


def lines(text: str) -> Sequence[str]:
    """The list as which notebooks write a text."""
    return text.splitlines(keepends=True)
