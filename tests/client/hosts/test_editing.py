"""A member is put or dropped; every other byte stays as it is, comments and manners included."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from client.hosts.editing import drop, get, put
from client.hosts.jsonc import NotJson, read
from tests.client.hosts.jsonc_texts import KEYS, OBJECTS, VALUES, texts

ENTRY = {"command": "/bin/python", "args": ["a b", "ü"], "env": {"X": '"', "Y": "// no"}}
PATHS = st.lists(KEYS, min_size=1, max_size=3)
TEXT_OR_COMMENT = re.compile(r'"(?:[^"\\]|\\.)*"|(//[^\r\n]*|/\*.*?\*/)', re.DOTALL)


def plain(text: str) -> Any:
    return read(text, lenient=True).plain


def set_in(whole: Any, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        whole = whole.setdefault(name, {})
    whole[path[-1]] = value


def comments_of(text: str) -> list[str]:
    return [match[1] for match in TEXT_OR_COMMENT.finditer(text) if match[1]]


def paths_in(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all members of an object."""
    if not isinstance(value, dict):
        return []
    return [
        one
        for name, inner in value.items()
        for one in [(*path, name), *paths_in(inner, (*path, name))]
    ]


@given(texts(True), PATHS, VALUES | st.just(ENTRY))
def test_what_is_put_is_there_and_all_else_is_as_before(
    text: str, path: list[str], value: Any
) -> None:
    expected = plain(text)
    try:
        changed = put(text, path, value, lenient=True)
    except NotJson as error:
        assert "must be an object" in error.reason
        assume(False)
    set_in(expected, path, value)
    assert plain(changed) == expected
    assert list(plain(changed)) == list(expected)
    assert put(changed, path, value, lenient=True) == changed


@given(texts(True), PATHS)
def test_a_new_member_leaves_every_character_in_its_order(text: str, path: list[str]) -> None:
    """What was added, taken out, leaves the text as it was, save for blanks in an empty object."""
    try:
        assume(get(text, path, lenient=True) is None)
    except NotJson:
        assume(False)
    changed = put(text, path, ENTRY, lenient=True)
    assert comments_of(changed) == comments_of(text)
    removed = drop(changed, path, lenient=True)
    assert comments_of(removed) == comments_of(text)
    container = get(text, path[:-1], lenient=True)
    if container is not None and container.members:
        assert removed == text
    elif container is not None:
        assert plain(removed) == plain(text)


@given(texts(False), PATHS)
def test_strict_json_stays_strict(text: str, path: list[str]) -> None:
    text = text.removeprefix("\ufeff")
    try:
        changed = put(text, path, ENTRY, lenient=False)
    except NotJson:
        assume(False)
    expected = json.loads(text)
    set_in(expected, path, ENTRY)
    assert json.loads(changed) == expected
    dropped = json.loads(drop(changed, path, lenient=False))
    target: Any = dropped
    for name in path[:-1]:
        target = target[name]
    assert path[-1] not in target


@given(texts(True, OBJECTS.filter(bool)), st.data())
def test_what_is_dropped_is_gone_and_all_else_is_as_before(text: str, data: st.DataObject) -> None:
    expected = target = plain(text)
    path = data.draw(st.sampled_from(paths_in(expected)))
    for name in path[:-1]:
        target = target[name]
    del target[path[-1]]
    changed = drop(text, path, lenient=True)
    assert plain(changed) == expected
    assert drop(changed, path, lenient=True) == changed


def test_every_member_of_the_name_is_dropped() -> None:
    """Otherwise one that the last had hidden would show."""
    assert drop('{"a": 1, "b": 2, "a": 3}', ["a"], lenient=False) == '{ "b": 2}'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("{}", '{\n  "s": {\n    "n": 1\n  }\n}'),
        ('{"s":{}}', '{"s":{\n  "n": 1\n}}'),
        ('{"s": {"o": 2}}', '{"s": {"o": 2, "n": 1}}'),
        ('{\n\t"s": {\n\t\t"o": 2\n\t}\n}\n', '{\n\t"s": {\n\t\t"o": 2,\n\t\t"n": 1\n\t}\n}\n'),
        ('{\r\n    "t": 0\r\n}', '{\r\n    "t": 0,\r\n    "s": {\r\n        "n": 1\r\n    }\r\n}'),
        (
            '{\n  "s": {\n    "o": 2, // two\n    // the end\n  },\n}',
            '{\n  "s": {\n    "o": 2, // two\n    // the end\n    "n": 1,\n  },\n}',
        ),
        (
            '{\n  "s": {\n    "o": 2 // two\n  }\n}',
            '{\n  "s": {\n    "o": 2, // two\n    "n": 1\n  }\n}',
        ),
        (
            '{\n  "s": {\n    // none yet\n  }\n}',
            '{\n  "s": {\n    // none yet\n    "n": 1\n  }\n}',
        ),
    ],
)
def test_a_new_member_is_written_in_the_manner_of_the_file(before: str, after: str) -> None:
    assert put(before, ["s", "n"], 1, lenient=True) == after


def test_a_changed_value_is_the_only_change() -> None:
    before = '{ "a": [1,2],\n   "s": { "n" : "old" /* why */ } }'
    assert put(before, ["s", "n"], "new", lenient=True) == before.replace("old", "new")


@pytest.mark.parametrize("text", ["[]", '"a"', '{"s": []}', '{"s": null}'])
def test_what_is_no_object_is_not_replaced_by_one(text: str) -> None:
    with pytest.raises(NotJson, match="must be an object in braces"):
        put(text, ["s", "n"], 1, lenient=True)
