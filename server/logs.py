"""Logs on standard error: a line for each record, in logfmt.

    time=2026-01-31T12:00:00.123Z level=info logger=rmi.app msg="The server is up" port=8000

A record of ours names its facts in `extra={"facts": {"port": 8000}}`. Whatever a value holds, it
can neither end its line nor begin another field, and what looks like a credential is blotted out.
"""

from __future__ import annotations

import logging
import re
import time
import traceback
from collections.abc import Mapping
from functools import cache
from typing import TextIO

#: Characters of a value, and of a traceback, of which the end says most.
_VALUE, _TRACEBACK = 2_000, 8_000
_BARE = re.compile(r"[\w.:/+@%,*-]+", re.ASCII)
_KEY = re.compile(r"\W+", re.ASCII)
_TAKEN = frozenset({"time", "level", "logger", "msg", "error"})
#: A text without any of these has no credential that could be seen as one.
_SIGNS = ("bearer", "authorization", "token", "secret", "password", "key", "code=", "state=")
#: Loggers of those below us, which at `debug` would show what programs are given and write.
_BELOW = ("fastmcp", "mcp", "uvicorn", "uvicorn.error")


def set_up(level: str, stream: TextIO | None = None) -> None:
    """Have all loggers write to `stream`, standard error when it is None, from `level` on: debug,
    info, warning or error.

    Call it after fastmcp has been imported, which installs handlers of its own; they go. Uvicorn
    is to be run with `log_config=None`, or it installs its own again.
    """
    least = logging.getLevelNamesMapping()[level.upper()]
    handler = _Handler(stream)
    handler.setFormatter(Logfmt())
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, _Handler):
            root.removeHandler(old)
    root.addHandler(handler)
    # What other libraries say below a warning concerns their authors.
    root.setLevel(max(least, logging.WARNING))
    for name in ("rmi", "server", "kernels", "notebooks", *_BELOW):
        logger = logging.getLogger(name)
        for old in logger.handlers[:]:
            logger.removeHandler(old)
        logger.propagate = True
        logger.setLevel(max(least, logging.INFO) if name in _BELOW else least)
    # It would show the queries of addresses; the audit log says who calls what.
    logging.getLogger("uvicorn.access").disabled = True


class Logfmt(logging.Formatter):
    """A record as one line."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = [
            f"time={seconds}.{int(record.msecs):03d}Z",
            f"level={record.levelname.lower()}",
            f"logger={_quoted(record.name)}",
            f"msg={_field(_message(record))}",
        ]
        facts = getattr(record, "facts", None)
        if isinstance(facts, Mapping):
            for name, value in facts.items():
                key = _KEY.sub("_", str(name))[:40] or "_"
                key = f"{key}_" if key in _TAKEN else key
                fields.append(f"{key}={_field('' if value is None else str(value))}")
        if record.exc_info and record.exc_info[1] is not None:
            trace = "".join(traceback.format_exception(record.exc_info[1]))
            # Twice as much is looked through, or a secret could lose what it is known by.
            trace = blotted(trace[-2 * _TRACEBACK :])[-_TRACEBACK:]
            fields.append(f"error={_quoted(trace)}")
        return " ".join(fields)


class _Handler(logging.StreamHandler[TextIO]):
    """To standard error. When nobody reads that any more, there is nobody to tell it to."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(stream)

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing can be done."""


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # The arguments do not fit the text.
        return f"{record.msg} {record.args!r}"


def blotted(text: str) -> str:
    """The text without what looks like a credential."""
    lower = text.lower()
    if any(sign in lower for sign in _SIGNS):
        for secret in _secrets():
            text = secret.sub(r"\1***", text)
    return text


@cache
def _secrets() -> list[re.Pattern[str]]:
    """What stands before a secret, which is the rest of the match. Compiled when it is needed,
    which spares the start of the server a millisecond."""
    named = r"\b\w*(?:token|secret|password|api_?key)"
    patterns = (
        r"((?:proxy-)?authorization\b[\"']?\s*[:=,]\s*(?:b?[\"'])?(?:[a-z]+\s+)?)[^\s\"',;]+",
        r"(\bbearer\s+)[^\s\"',;]+",
        rf"({named}=)[^\s&\"'#;]+",
        rf"({named}[\"']\s*:\s*[\"'])[^\"']+",
        r"([?&](?:code|state)=)[^\s&\"'#]+",
    )
    return [re.compile(pattern, re.IGNORECASE) for pattern in patterns]


def _field(value: str) -> str:
    """The value, or the beginning of a long one, as it stands in a line."""
    shown = blotted(value[: 2 * _VALUE])
    return _quoted(shown if len(shown) <= _VALUE else f"{shown[:_VALUE]}…")


def _quoted(value: str) -> str:
    if _BARE.fullmatch(value):
        return value
    value = value.replace("\\", "\\\\").replace('"', '\\"')
    if not value.isprintable():
        value = "".join(c if c.isprintable() else _escaped(c) for c in value)
    return f'"{value}"'


def _escaped(character: str) -> str:
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    number = ord(character)
    return short.get(character) or (f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}")
