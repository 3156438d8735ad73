"""The text of a run: carriage returns carried out, and memory bounded by a head and a tail."""

from __future__ import annotations

from collections.abc import Iterable

from kernels.outputs import Omitted, Output, StreamName, Text

#: A line without an end is held back for a carriage return up to this many characters.
_LONGEST_LINE = 64 * 1024


class TextItem:
    """Text of one stream that grows, with a cursor in its last line, like a terminal's."""

    def __init__(self, stream: StreamName) -> None:
        self.stream: StreamName = stream
        self._done: list[str] = []
        self._line = ""
        self._column = 0

    def append(self, text: str) -> None:
        """Take text as it was written. A progress bar's `\\r` overwrites its last state."""
        if "\r" not in text and self._column == len(self._line):
            self._end_lines(self._line + text)
            return
        for number, part in enumerate(text.replace("\r\n", "\n").split("\r")):
            if number:
                self._column = 0
            head, newline, rest = part.partition("\n")
            self._overwrite(head)
            if newline:
                self._end_lines(self._line + "\n" + rest)

    def _overwrite(self, text: str) -> None:
        after = self._column + len(text)
        self._line = self._line[: self._column] + text + self._line[after:]
        self._column = after

    def _end_lines(self, text: str) -> None:
        cut = text.rfind("\n") + 1
        if len(text) - cut > _LONGEST_LINE:
            cut = len(text)
        if cut:
            self._done.append(text[:cut])
        self._line = text[cut:]
        self._column = len(self._line)

    @property
    def text(self) -> str:
        """All of it, the unfinished line included."""
        if len(self._done) > 1:
            self._done = ["".join(self._done)]
        return "".join(self._done) + self._line

    def replace(self, text: str) -> None:
        """Hold `text` instead."""
        self._done, self._line, self._column = [], "", 0
        self._end_lines(text)


class _Gap:
    """Text that was left out."""

    def __init__(self) -> None:
        self.characters = 0
        self.lines = 0


class Log:
    """Items in order; of their text at least the first `head` and last `tail` characters.

    Other items (displays, errors) are opaque here and all kept; `finished` turns them to values.
    """

    def __init__(self, head: int, tail: int) -> None:
        self._head, self._tail = head, tail
        self.items: list[object] = []
        self._kept = 0
        #: Characters written so far, as they came.
        self.characters = 0

    def write(self, stream: StreamName, text: str) -> None:
        last = self.items[-1] if self.items else None
        if not isinstance(last, TextItem) or last.stream != stream:
            last = TextItem(stream)
            self.items.append(last)
        last.append(text)
        self.characters += len(text)
        self._kept += len(text)
        if self._kept > 2 * (self._head + self._tail):
            self._cut()

    def add(self, item: object) -> None:
        self.items.append(item)

    def clear(self) -> None:
        self.items.clear()
        self._kept = 0

    def _cut(self) -> None:
        """Leave out the middle of the text."""
        texts = [(item, item.text) for item in self.items if isinstance(item, TextItem)]
        total = sum(len(text) for _, text in texts)
        self._kept = total
        first, last = self._head, total - self._tail
        if first >= last:
            return
        gap = next((item for item in self.items if isinstance(item, _Gap)), _Gap())
        items: list[object] = []
        placed = at = 0
        for item in self.items:
            if item is gap:
                continue
            if not isinstance(item, TextItem):
                items.append(item)
                continue
            text = item.text
            start, end = at, at + len(text)
            at = end
            before = text[: max(0, first - start)]
            after = text[max(0, last - start) :] if end > last else ""
            if len(before) + len(after) >= len(text):
                if not placed and start >= first:
                    items.append(gap)
                    placed = 1
                items.append(item)
                continue
            left_out = text[len(before) : len(text) - len(after)]
            gap.characters += len(left_out)
            gap.lines += left_out.count("\n")
            if before:
                head_item = TextItem(item.stream)
                head_item.replace(before)
                items.append(head_item)
            if not placed:
                items.append(gap)
                placed = 1
            if after:
                item.replace(after)
                items.append(item)
        self.items = items
        self._kept = total - (last - first)

    def finished(self, others: Iterable[tuple[object, Output]]) -> tuple[Output, ...]:
        """The items as values; `others` gives the values of the opaque ones."""
        values = {id(item): value for item, value in others}
        result: list[Output] = []
        for item in self.items:
            if isinstance(item, TextItem):
                if text := item.text:
                    result.append(Text(item.stream, text))
            elif isinstance(item, _Gap):
                result.append(Omitted(item.characters, item.lines))
            elif id(item) in values:
                result.append(values[id(item)])
        return tuple(result)
