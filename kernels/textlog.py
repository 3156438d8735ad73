"""What a run wrote, in order: carriage returns carried out, text bounded to a head and a tail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Protocol

from kernels.outputs import Omitted, Output, StreamName, Text

#: Characters of a line that a carriage return goes back over; what is beyond stays.
_LONGEST_LINE = 64 * 1024


class Slot:
    """A place among the text for an output that may still be exchanged."""

    def __init__(self, value: Output) -> None:
        self.value = value


_Entry = Text | Slot


class Sink(Protocol):
    """Is told of all that comes into a log, once it can no longer change."""

    def write(self, stream: StreamName, text: str) -> None:
        """Text of one stream."""

    def place(self, slot: Slot) -> None:
        """A slot, whose value may still be exchanged."""

    def clear(self) -> None:
        """All that came is forgotten."""


class Log:
    """Text and slots in order. Of the text the first `head` and the last `tail` characters are
    kept and the rest is counted; slots are all kept.

    What comes out depends on the text alone, not on the pieces in which it was written. `sink`
    gets everything, what is left out here included.
    """

    def __init__(self, head: int, tail: int, sink: Sink | None = None) -> None:
        self._limits = head, tail
        self._sink = sink
        #: Characters written so far, as they came; `clear` does not take them back.
        self.characters = 0
        self.clear()

    def clear(self) -> None:
        """Forget all text and slots."""
        # Characters that the head still takes, and those that the tail has at its end.
        self._room, self._tail = self._limits
        self._head: list[_Entry] = []
        self._gap = Omitted(0, 0)
        self._rest: list[_Entry] = []
        self._rest_size = 0
        self._stream: StreamName = "stdout"
        self._line = _Line()
        if self._sink is not None:
            self._sink.clear()

    def write(self, stream: StreamName, text: str) -> None:
        """Add text of one stream. A `\\r` goes back to the start of its line, unless the other
        stream or a slot has come since."""
        if not text:
            return
        self.characters += len(text)
        if stream != self._stream:
            self._end_line()
            self._stream = stream
        self._keep(self._line.write(text))

    def add(self, slot: Slot) -> None:
        """Add a slot."""
        self._end_line()
        self._rest.append(slot)
        if self._sink is not None:
            self._sink.place(slot)

    def finish(self) -> None:
        """Nothing more comes: the last line is as it is."""
        self._end_line()

    @property
    def line(self) -> str:
        """The line that is being written, which may still change."""
        return self._line.text

    def outputs(self) -> tuple[Output, ...]:
        """What there is so far."""
        first, gap, rest = self._cut([*self._rest, Text(self._stream, self._line.text)])
        middle = [gap] if gap.characters else []
        return tuple(_joined([*self._head, *first, *middle, *rest]))

    def text(self) -> str:
        """The text alone, of both streams."""
        found: list[str] = []
        for output in self.outputs():
            if isinstance(output, Text):
                found.append(output.text)
            elif isinstance(output, Omitted):
                found.append(f"\n{output.words}\n")
        return "".join(found)

    def _end_line(self) -> None:
        self._keep(self._line.text)
        self._line = _Line()

    def _keep(self, text: str) -> None:
        if not text:
            return
        if self._sink is not None:
            self._sink.write(self._stream, text)
        self._rest.append(Text(self._stream, text))
        self._rest_size += len(text)
        # Not at once, so that it happens seldom.
        if self._rest_size > self._room + 2 * self._tail:
            first, self._gap, self._rest = self._cut(self._rest)
            self._head += first
            self._room -= _size(first)
            self._rest_size = _size(self._rest)

    def _cut(self, entries: list[_Entry]) -> tuple[list[_Entry], Omitted, list[_Entry]]:
        """Divide `entries` into what joins the head, all that is left out, and the tail."""
        begin, end = self._room, max(self._room, _size(entries) - self._tail)
        first: list[_Entry] = []
        rest: list[_Entry] = []
        characters, lines = self._gap.characters, self._gap.lines
        at = 0
        for entry in entries:
            if isinstance(entry, Slot):
                (rest if characters or at > begin else first).append(entry)
                continue
            here, there = max(0, begin - at), max(0, end - at)
            at += len(entry.text)
            before, middle = entry.text[:here], entry.text[here:there]
            after = entry.text[there:]
            if before:
                first.append(Text(entry.stream, before))
            if after:
                rest.append(Text(entry.stream, after))
            characters += len(middle)
            lines += middle.count("\n")
        return first, Omitted(characters, lines), rest


class _Line:
    """The line that is being written, with a cursor in it, like a terminal's."""

    def __init__(self) -> None:
        self.text = ""
        self._column = 0

    def write(self, text: str) -> str:
        """Take text as it was written; returns what can no longer change."""
        done: list[str] = []
        for number, part in enumerate(text.replace("\r\n", "\n").split("\r")):
            if number:
                self._column = 0
            first, newline, rest = part.partition("\n")
            self._overwrite(first, done)
            if newline:
                lines, end, last = rest.rpartition("\n")
                done += [self.text, newline, lines, end]
                self.text, self._column = "", 0
                self._overwrite(last, done)
        return "".join(done)

    def _overwrite(self, text: str, done: list[str]) -> None:
        start = 0
        while self._column + len(text) - start >= _LONGEST_LINE:
            end = start + _LONGEST_LINE - self._column
            done += [self.text[: self._column], text[start:end]]
            self.text, self._column, start = "", 0, end
        after = self._column + len(text) - start
        self.text = self.text[: self._column] + text[start:] + self.text[after:]
        self._column = after


def _size(entries: Iterable[_Entry]) -> int:
    return sum(len(entry.text) for entry in entries if isinstance(entry, Text))


def _joined(entries: Iterable[_Entry | Omitted]) -> Iterator[Output]:
    """The outputs, neighbouring text of one stream made one."""
    for stream, group in groupby(entries, lambda e: e.stream if isinstance(e, Text) else None):
        if stream is None:
            yield from (entry.value if isinstance(entry, Slot) else entry for entry in group)
        else:
            yield Text(stream, "".join(e.text for e in group if isinstance(e, Text)))
