"""What the command `notebook` sends, and what it has to know of the server's ways."""

from __future__ import annotations

import hashlib
import json
import math
import posixpath
import re
from contextlib import suppress
from typing import Any

_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_JSON = ("{", "[", '"')
#: How the name of a notebook's own session begins.
_OWN = "notebook "
#: Of a line of `list_sessions`.
_RUNNING = re.compile(r"^[^:]*: .* · running: .*? \(run (\w+)\)")
#: Characters of a file's name that its session's name keeps.
_LONGEST = 80
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9 ._/-]")


def parameter(text: str) -> tuple[str, Any]:
    """Name and value of `name=value`. Raises ValueError with a sentence.

    `true`, `false`, `null` (also as Python spells them) and numbers are what they look like, a
    value that begins with `{`, `[` or `"` is JSON, and everything else is text.
    """
    name, equals, value = text.partition("=")
    name = name.strip()
    if not (name and equals):
        raise ValueError(f"{text!r} is not of the form name=value")
    if value.startswith(_JSON):
        return name, _json(name, value)
    if value in _WORDS:
        return name, _WORDS[value]
    with suppress(ValueError):
        return name, int(value)
    with suppress(ValueError):
        number = float(value)
        # JSON has neither nan nor inf: as text they arrive as they were written.
        return name, number if math.isfinite(number) else value
    return name, value


def _json(name: str, value: str) -> Any:
    try:
        found = json.loads(value, parse_constant=_refuse, parse_float=_finite)
        json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"the value of {name} is nested too deep") from None
    except UnicodeEncodeError:
        raise ValueError(f"the value of {name} is not valid text in UTF-8") from None
    except ValueError as error:
        raise ValueError(f"the value of {name} is no JSON: {error}") from None
    return found


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large a number")
    return number


def own_session(file_name: str) -> str:
    """Name of the session that a notebook has of its own, where no other is asked for.

    It is another one when the file's name is absolute, because only the server knows what to.
    """
    name = posixpath.normpath(file_name)
    plain = _NOT_IN_A_NAME.sub("_", name)
    if plain != name or len(plain) > _LONGEST:
        plain = f"{plain[-_LONGEST:]} {hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{_OWN}{plain}"


def own_runs(listing: str, kind: str = _OWN) -> list[str]:
    """Ids of the runs that go on in notebooks' own sessions, of the text of `list_sessions`;
    `kind`: in those whose names begin so."""
    found = (_RUNNING.search(line) for line in listing.splitlines() if line.startswith(kind))
    return [match[1] for match in found if match]
