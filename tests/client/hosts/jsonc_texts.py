"""Texts of JSON objects as people and programs write them, for Hypothesis."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

#: Names that are looked for, and others.
KEYS = st.sampled_from(["mcpServers", "servers", "rmi-agent", "env", "a", "ключ", 'q"\\'])
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
    | st.sampled_from(["// no comment", "/* none */", "{", '"', "},"])
)
VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=3)

_BLANKS = st.sampled_from(["", "", " ", "\n", "\n  ", "\r\n\t", "  \n\n"])
_COMMENTS = st.sampled_from(["// a: {\n", "/* , \n } */", "//\r\n", "/**/", '// "\n    '])


@st.composite
def texts(draw: st.DrawFn, lenient: bool, objects: st.SearchStrategy[Any] = OBJECTS) -> str:
    """The text of an object, in one of the usual manners or in a wild one."""
    value = draw(objects)
    manner = draw(st.sampled_from(["compact", "two", "four", "tab", "crlf", "wild", "wild"]))
    if manner == "wild":
        mark = draw(st.sampled_from(["", "", "\ufeff"]))
        return mark + _gap(draw, lenient) + _wild(draw, value, lenient) + _gap(draw, lenient)
    indent: Any = {"two": 2, "four": 4, "tab": "\t", "crlf": 2}.get(manner)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=indent)
    return text.replace("\n", "\r\n") if manner == "crlf" else text + "\n"


def _gap(draw: st.DrawFn, lenient: bool) -> str:
    gap: str = draw(_BLANKS)
    if lenient and draw(st.integers(0, 3)) == 0:
        gap += draw(_COMMENTS) + draw(_BLANKS)
    return gap


def _wild(draw: st.DrawFn, value: Any, lenient: bool) -> str:
    if isinstance(value, dict):
        items = [
            _gap(draw, lenient)
            + json.dumps(key)
            + _gap(draw, lenient)
            + ":"
            + _gap(draw, lenient)
            + _wild(draw, inner, lenient)
            + _gap(draw, lenient)
            for key, inner in value.items()
        ]
        opening, closing = "{}"
    elif isinstance(value, list):
        items = [
            _gap(draw, lenient) + _wild(draw, inner, lenient) + _gap(draw, lenient)
            for inner in value
        ]
        opening, closing = "[]"
    else:
        return json.dumps(value, ensure_ascii=draw(st.booleans()))
    last = "," if items and lenient and draw(st.booleans()) else ""
    return opening + ",".join(items) + last + _gap(draw, lenient) + closing
