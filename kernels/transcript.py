"""A run's output as one text, as it is read: both streams in order, standard error marked."""

from __future__ import annotations

import re
from collections.abc import Callable

from kernels.outputs import StreamName

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")


def clean(text: str) -> str:
    """`text` without the escape sequences that colour it or move a cursor, and with escapes for
    lone surrogates, which cannot be sent."""
    text = _ANSI.sub("", text) if "\x1b" in text else text
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def mark(stream: StreamName) -> str:
    """The line before text of `stream`, where that is not the one before it."""
    return f"[{stream}]\n"


class Transcript:
    """Hands to `write` the text of both streams, with a mark wherever the stream changes."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.stream: StreamName = "stdout"
        self._at_start = True

    def text(self, stream: StreamName, text: str) -> None:
        """Add text of one stream."""
        text = clean(text)
        if not text:
            return
        if stream != self.stream:
            self.stream = stream
            text = ("" if self._at_start else "\n") + mark(stream) + text
        self._write(text)
        self._at_start = text.endswith("\n")

    def place(self) -> None:
        """End the line: what is shown here stands on lines of its own, as if on stdout."""
        end = "" if self._at_start else "\n"
        if self.stream != "stdout":
            end += mark("stdout")
        self.stream, self._at_start = "stdout", True
        if end:
            self._write(end)
