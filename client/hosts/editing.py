"""Changing one member of a JSON object, in its text: all else stays byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from client.hosts.jsonc import Member, NotJson, Value, comments, read


def get(text: str, path: Sequence[str], *, lenient: bool) -> Value | None:
    """What stands at a path of names; None for nothing. Raises `NotJson`, also where something on
    the way is no object."""
    found = read(text, lenient=lenient)
    for depth in range(len(path)):
        member = _member(text, found, path, depth)
        if member is None:
            return None
        found = member.value
    return found


def put(text: str, path: Sequence[str], value: Any, *, lenient: bool) -> str:
    """The text with `value` at a path of names. Objects on the way are made; a new member is the
    last one, in the manner of those before it. The same text when the value is there already.

    Raises `NotJson`, also where something on the way is no object.
    """
    found, member = read(text, lenient=lenient), None
    for depth, name in enumerate(path):
        member = _member(text, found, path, depth)
        if member is None:
            for inner in reversed(path[depth + 1 :]):
                value = {inner: value}
            return _insert(text, found, name, value)
        found = member.value
    if found.plain == value:
        return text
    written = _written(text, value, None if member is None else _own_line(text, member))
    return text[: found.start] + written + text[found.end :]


def drop(text: str, path: Sequence[str], *, lenient: bool) -> str:
    """The text without the member at a path, however often it is there. Raises `NotJson`."""
    while True:
        found = read(text, lenient=lenient)
        for depth in range(len(path) - 1):
            member = _member(text, found, path, depth)
            if member is None:
                return text
            found = member.value
        if _member(text, found, path, len(path) - 1) is None:
            return text
        text = _remove(text, found, path[-1])


def _member(text: str, container: Value, path: Sequence[str], depth: int) -> Member | None:
    if container.members is None:
        where = f"`{path[depth - 1]}`" if depth else "the whole"
        raise NotJson(text, container.start, f"{where} must be an object in braces")
    return container.member(path[depth])


def _insert(text: str, container: Value, name: str, value: Any) -> str:
    close = container.end - 1
    key = json.dumps(name, ensure_ascii=False)
    newline = _newline(text)
    if not container.members:
        outer = _indent_of_line(text, container.start)
        indent = outer + _unit(text)
        tail = _after_comments(text, container.start + 1, close)
        rest = text[tail:close]
        if tail == container.start + 1 or not re.search(r"[\r\n]", rest):
            rest = newline + outer
        member = f"{newline}{indent}{key}: {_written(text, value, indent)}"
        return text[:tail] + member + rest + text[close:]
    last = container.members[-1]
    own = _own_line(text, last)
    behind = last.value.end if last.comma is None else last.comma + 1
    tail = _after_comments(text, behind, close)
    if own is not None:
        lead = newline + own
    else:
        lead = newline if _in_line_comment(text, behind, tail) else " "
    member = f"{lead}{key}: {_written(text, value, own)}"
    if last.comma is not None:  # one after the last, as the file has it
        return text[:tail] + member + "," + text[tail:]
    return text[:behind] + "," + text[behind:tail] + member + text[tail:]


def _remove(text: str, container: Value, name: str) -> str:
    members = container.members or ()
    at = max(number for number, one in enumerate(members) if one.key == name)
    member, before = members[at], members[at - 1] if at else None
    behind = container.start + 1
    if before is not None and before.comma is not None:
        behind = before.comma + 1
    # Comments that stand before it may be about anything; they stay.
    cut = _after_comments(text, behind, member.start)
    gone = [(cut, member.value.end)]
    if member.comma is not None:
        gone.append((member.comma, member.comma + 1))
    elif before is not None and before.comma is not None:
        gone.append((before.comma, before.comma + 1))
    after = member.value.end + (member.comma == member.value.end)
    ends_line = _in_line_comment(text, behind, cut) and text[after] not in "\r\n"
    if len(members) == 1 and not text[container.start + 1 : cut].strip():
        rest = text[member.value.end : container.end - 1]
        if not rest.replace(",", "").strip():
            return text[: container.start + 1] + text[container.end - 1 :]
    for start, end in sorted(gone, reverse=True):
        keep = _newline(text) if ends_line and start == cut else ""
        text = text[:start] + keep + text[end:]
    return text


def _after_comments(text: str, start: int, end: int) -> int:
    """Where the last comment of a stretch ends; its start when it has none."""
    return max((stop for _, stop in comments(text, start, end)), default=start)


def _in_line_comment(text: str, start: int, tail: int) -> bool:
    """Whether what follows `tail` on its line would belong to a comment."""
    return any(
        stop == tail and text.startswith("//", begin) for begin, stop in comments(text, start, tail)
    )


def _own_line(text: str, member: Member) -> str | None:
    """The blanks before a member that begins a line; None for one that does not."""
    before = re.split(r"[\r\n]", text[: member.start])
    return before[-1] if len(before) > 1 and not before[-1].strip(" \t") else None


def _indent_of_line(text: str, at: int) -> str:
    line = re.split(r"[\r\n]", text[:at].removeprefix("\ufeff"))[-1]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """One step of the file's own indentation."""
    match = re.search(r"[\r\n]([ \t]+)[\"}]", text)
    if match is None:
        return "  "
    return "\t" if match[1].startswith("\t") else match[1]


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _written(text: str, value: Any, indent: str | None) -> str:
    """A value as this file would have it; on one line when `indent` is None."""
    if indent is None:
        return json.dumps(value, ensure_ascii=False)
    lines = json.dumps(value, ensure_ascii=False, indent=_unit(text)).split("\n")
    return (_newline(text) + indent).join(lines)
