"""Parts of JSON text are exchanged; all others stay as they were written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebooks.layout import Style, elements, encoded, exchanged, member, members, same
from tests.notebooks.files import Writer, any_text, more_often, values

objects = st.dictionaries(any_text, values, max_size=4)
seeds = st.integers(0, 10**6)


@more_often
@given(objects, seeds)
def test_the_members_of_an_object_are_found_however_it_is_written(
    content: dict[str, Any], seed: int
) -> None:
    text = Writer(seed).write(content)
    found = {m.name: json.loads(text[m.start : m.end]) for m in members(text)}
    assert found == content
    assert all(text[m.name_at] == '"' for m in members(text))


@more_often
@given(st.lists(values, max_size=5), seeds)
def test_the_elements_of_an_array_are_found_however_it_is_written(
    content: list[Any], seed: int
) -> None:
    text = Writer(seed).write(content)
    assert [json.loads(text[start:end]) for start, end in elements(text)] == content


@pytest.mark.parametrize("text", ["", "[", "{", "{]", '{"a"}', '{"a":}', '{"a": 1', "{1: 2}", "x"])
def test_text_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        members(text)


@pytest.mark.parametrize("text", ["", "{", "[", "[}", "[1", "[1,]", "[1 2]", "[,]"])
def test_text_that_is_no_array_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        elements(text)


def test_of_two_members_of_one_name_the_last_one_counts() -> None:
    text = '{"a": 1, "b": 2, "a": 3}'
    found = member(text, "a")
    assert found is not None and text[found.start : found.end] == "3"
    assert exchanged(text, "a", "4", Style(), 0) == '{"a": 1, "b": 2, "a": 4}'


def test_taking_a_member_out_takes_all_of_its_name_out() -> None:
    assert json.loads(exchanged('{"a": 1, "b": 2, "a": 3}', "a", None, Style(), 0)) == {"b": 2}


@more_often
@given(objects, seeds, any_text, st.none() | values, st.booleans())
def test_exchanging_a_member_changes_that_member_only(
    content: dict[str, Any], seed: int, name: str, value: Any, known: bool
) -> None:
    if known and content:
        name = sorted(content)[0]
    text = Writer(seed).write(content)
    style = Style.of(text, content)
    new = None if value is None else style.dumps(value, 1)
    changed = exchanged(text, name, new, style, 0)
    expected = {key: old for key, old in content.items() if key != name}
    if value is not None:
        expected = {**content, name: value}
    assert json.loads(changed) == expected
    kept = [text[m.start : m.end] for m in members(text) if m.name != name]
    assert [changed[m.start : m.end] for m in members(changed) if m.name != name] == kept


def test_a_new_member_comes_last_or_where_the_order_of_names_has_it() -> None:
    text = '{"a": 1, "c": 3}'
    one_line = Style(indent=None, comma=", ")
    assert exchanged(text, "b", "2", one_line, 0) == '{"a": 1, "c": 3, "b": 2}'
    ordered = Style(indent=None, comma=", ", ordered=True)
    assert exchanged(text, "b", "2", ordered, 0) == '{"a": 1, "b": 2, "c": 3}'
    assert exchanged(text, "d", "4", ordered, 0) == '{"a": 1, "c": 3, "d": 4}'
    assert exchanged('{"c": 1, "b": 2}', "a", "3", ordered, 0) == '{"c": 1, "b": 2, "a": 3}'


@more_often
@given(
    objects.filter(bool),
    st.sampled_from((None, 0, 1, 2, 3, "\t", " \t")),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_file_is_written_in_its_own_style(
    content: dict[str, Any], indent: int | str | None, ascii: bool, ordered: bool, crlf: bool
) -> None:
    content = {"z": "é", "a": 1, **content}
    text = json.dumps(content, indent=indent, ensure_ascii=ascii, sort_keys=ordered)
    if crlf:
        text = text.replace("\n", "\r\n")
    content = json.loads(text)
    style = Style.of(text, content)
    assert encoded(style.dumps(content)) == encoded(text)
    assert b"".join(style.pieces(content, 0)) == encoded(text)


def test_large_values_are_written_in_pieces() -> None:
    value = [{"text": ["line\n"] * 300_000, "more": "x" * 10}]
    pieces = [*Style().pieces(value, 0)]
    assert len(pieces) > 5
    assert json.loads(b"".join(pieces)) == value
    assert max(map(len, pieces)) < 1_000_000


def test_lone_surrogates_are_written_as_escapes() -> None:
    assert encoded(Style().dumps("a\ud800é")) == '"a\\ud800é"'.encode()


def test_values_are_the_same_only_if_json_says_so() -> None:
    assert same({"a": [1, "x", None], "b": 1.5}, {"b": 1.5, "a": (1, "x", None)})
    assert not same(True, 1)
    assert not same(1, 1.0)
    assert not same([{"a": 0}], [{"a": False}])
    assert not same([1], [1, 2])
    assert not same({"a": 1}, {"b": 1})
