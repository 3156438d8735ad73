"""JSON is read as `json` reads it, JSONC as VS Code does; errors say where they are."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.hosts.jsonc import NotJson, Value, read
from tests.client.hosts.jsonc_texts import OBJECTS, VALUES, texts


@given(VALUES, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_json_is_read_as_the_standard_library_reads_it(
    value: object, indent: int | str | None, lenient: bool
) -> None:
    text = json.dumps(value, indent=indent)
    assert read(text, lenient=lenient).plain == json.loads(text)


@given(st.text(st.sampled_from('{}[]:,"\\/ \nae01.-nul'), max_size=12))
def test_what_the_standard_library_refuses_is_refused(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(NotJson):
            read(text, lenient=False)
    else:
        assert read(text, lenient=False).plain == expected


@given(st.data(), OBJECTS)
def test_comments_and_trailing_commas_are_passed_over(data: st.DataObject, value: object) -> None:
    text = data.draw(texts(True, st.just(value)))
    assert read(text, lenient=True).plain == value


@given(texts(True))
def test_every_value_says_where_it_stands(text: str) -> None:
    def check(value: Value) -> None:
        assert read(text[value.start : value.end], lenient=True).plain == value.plain
        for member in value.members or ():
            assert text.startswith('"', member.start)
            assert member.comma is None or text[member.comma] == ","
            check(member.value)

    check(read(text, lenient=True))


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("", (1, 1), "the text ends too early"),
        ('{\n  "a": 1\n  "b": 2\n}', (3, 3), "a comma is expected"),
        ('{"a": 1,}', (1, 8), "a comma after the last item"),
        ("{\r\n// c\r\n}", (2, 1), "a comment, which this file cannot have"),
        ("{a: 1}", (1, 2), "a name in double quotes is expected"),
        ('{"a" 1}', (1, 6), "a colon is expected"),
        ('{"a": nul}', (1, 7), "a value is expected"),
        ('{"a": NaN}', (1, 7), "a value is expected"),
        ('{"a": "x\ny"}', (1, 7), "a text in quotes that is not right"),
        ('{"a": 01}', (1, 7), "a value is expected"),
        ('{"a": 1', (1, 8), "the text ends too early"),
        ("{} x", (1, 4), "there is something after the end of the value"),
        ("[" * 5000, (1, 201), "it is nested too deeply"),
    ],
)
def test_an_error_has_its_place_and_a_reason(
    text: str, place: tuple[int, int], reason: str
) -> None:
    with pytest.raises(NotJson) as caught:
        read(text, lenient=False)
    assert (caught.value.line, caught.value.column, caught.value.reason) == (*place, reason)


def test_a_comment_without_an_end_is_an_error_where_it_begins() -> None:
    with pytest.raises(NotJson, match=re.escape("line 2, column 1: a comment without an end")):
        read("{\n/* ", lenient=True)


def test_of_members_of_one_name_the_last_counts() -> None:
    """As for `json.loads` and for JavaScript."""
    member = read('{"a": 1, "b": 2, "a": 3}', lenient=False).member("a")
    assert member is not None
    assert member.value.plain == 3


def test_a_number_of_any_length_is_one() -> None:
    assert read("9" * 10_000, lenient=False).end == 10_000
