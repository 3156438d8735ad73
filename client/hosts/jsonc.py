"""Reading JSON with or without comments, with the place of everything in the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_BLANK = re.compile(r"[ \t\r\n]*")
_LINE_COMMENT = re.compile(r"//[^\r\n]*")
_STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z.])")
_WORDS = {"true": True, "false": False, "null": None}
#: More than any configuration has; Python's stack holds it.
_DEEPEST = 200


class NotJson(Exception):
    """The text is no JSON. `line` and `column` count from 1; `reason` is part of a sentence."""

    def __init__(self, text: str, at: int, reason: str) -> None:
        lines = re.split(r"\r\n|\r|\n", text[:at])
        self.line, self.column, self.reason = len(lines), len(lines[-1]) + 1, reason
        super().__init__(f"line {self.line}, column {self.column}: {reason}")


@dataclass(frozen=True)
class Value:
    """A value and where it stands: `text[start:end]`."""

    start: int
    end: int
    #: What `json.loads` would make of it.
    plain: Any
    #: None for what is no object.
    members: tuple[Member, ...] | None = None

    def member(self, name: str) -> Member | None:
        """The member of this name; of several the last one, which is what programs see."""
        return next((one for one in reversed(self.members or ()) if one.key == name), None)


@dataclass(frozen=True)
class Member:
    """A member of an object. `start` is where its key begins, `comma` where the comma after it
    stands, if there is one."""

    key: str
    start: int
    value: Value
    comma: int | None


def read(text: str, *, lenient: bool) -> Value:
    """The value that a text is. `lenient`: it may have comments and trailing commas, as VS Code's
    files do. Raises `NotJson`."""
    return _Reader(text, lenient).whole()


def comments(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the comments of a stretch are that has nothing but these, blanks and a comma."""
    while start < end:
        if text.startswith("//", start):
            match = _LINE_COMMENT.match(text, start, end)
            assert match is not None
            yield match.span()
            start = match.end()
        elif text.startswith("/*", start):
            stop = text.index("*/", start + 2) + 2
            yield start, stop
            start = stop
        else:
            start += 1


class _Reader:
    def __init__(self, text: str, lenient: bool) -> None:
        self._text = text
        self._lenient = lenient
        self._at = 1 if text.startswith("\ufeff") else 0
        self._depth = 0

    def whole(self) -> Value:
        self._skip()
        value = self._value()
        self._skip()
        if self._at < len(self._text):
            raise self._error("there is something after the end of the value")
        return value

    def _error(self, reason: str, at: int | None = None) -> NotJson:
        return NotJson(self._text, self._at if at is None else at, reason)

    def _skip(self) -> None:
        """Go on to what is neither blank nor comment."""
        text = self._text
        while True:
            match = _BLANK.match(text, self._at)
            assert match is not None
            self._at = match.end()
            if not text.startswith(("//", "/*"), self._at):
                return
            if not self._lenient:
                raise self._error("a comment, which this file cannot have")
            if text.startswith("//", self._at):
                line = _LINE_COMMENT.match(text, self._at)
                assert line is not None
                self._at = line.end()
            elif (end := text.find("*/", self._at + 2)) >= 0:
                self._at = end + 2
            else:
                raise self._error("a comment without an end")

    def _value(self) -> Value:
        start, first = self._at, self._text[self._at : self._at + 1]
        if first == "{":
            return self._within(self._object, start)
        if first == "[":
            return self._within(self._list, start)
        if first == '"':
            plain = self._string()
            return Value(start, self._at, plain)
        if match := _NUMBER.match(self._text, start):
            self._at = match.end()
            return Value(start, self._at, _number(match[0]))
        for word, meaning in _WORDS.items():
            if self._text.startswith(word, start):
                self._at += len(word)
                return Value(start, self._at, meaning)
        raise self._error("a value is expected" if first else "the text ends too early")

    def _string(self) -> str:
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise self._error("a text in quotes that is not right")
        self._at = match.end()
        plain: str = json.loads(match[0])
        return plain

    def _within(self, read: Any, start: int) -> Value:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error("it is nested too deeply")
        self._at += 1
        value: Value = read(start)
        self._depth -= 1
        return value

    def _list(self, start: int) -> Value:
        items: list[Any] = []
        self._skip()
        while not self._closes("]"):
            items.append(self._value().plain)
            self._comma("]")
        return Value(start, self._at, items)

    def _object(self, start: int) -> Value:
        members: list[Member] = []
        self._skip()
        while not self._closes("}"):
            key_at = self._at
            if not self._text.startswith('"', key_at):
                raise self._error("a name in double quotes is expected")
            key = self._string()
            self._skip()
            if not self._text.startswith(":", self._at):
                raise self._error("a colon is expected")
            self._at += 1
            self._skip()
            value = self._value()
            members.append(Member(key, key_at, value, self._comma("}")))
        plain = {one.key: one.value.plain for one in members}
        return Value(start, self._at, plain, tuple(members))

    def _closes(self, bracket: str) -> bool:
        if not self._text.startswith(bracket, self._at):
            return False
        self._at += 1
        return True

    def _comma(self, bracket: str) -> int | None:
        """Pass the comma after an item, if there is one, and say where it stands."""
        self._skip()
        at = self._at
        if self._text.startswith(",", at):
            self._at += 1
            self._skip()
            if not self._lenient and self._text.startswith(bracket, self._at):
                raise self._error("a comma after the last item", at)
            return at
        if not self._text.startswith(bracket, at):
            early = at >= len(self._text)
            raise self._error("the text ends too early" if early else "a comma is expected")
        return None


def _number(token: str) -> Any:
    try:
        return json.loads(token)
    except ValueError:  # more digits than Python takes
        return token
