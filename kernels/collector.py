"""Folds the messages of one execution into its outputs. Pure: no clock, no I/O."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kernels.kernel import Message
from kernels.outputs import Display, Error, Omitted, Output, StreamName
from kernels.recording import Bundle, Recording, kept
from kernels.textlog import Log, Slot

#: Characters of text kept from the start and from the end of a run.
KEPT = 100_000
#: Bytes of displays of one run kept in memory, `_OVERHEAD` for each included; the others are
#: counted.
DISPLAY_BYTES = 24 * 1024 * 1024
_OVERHEAD = 2000
#: Characters kept of an error's text, and of the news between two looks.
_ERROR, _NEWS = 100_000, 2_000


class Collector:
    """The outputs of the execution whose request has the id `request`.

    `feed` every message of the kernel, in the order of arrival; those of other requests are
    passed over. The execution is over when `reply` and `idle` have both come, in either order.
    `recording` takes all outputs, those that are left out here included.
    """

    def __init__(
        self, request: str, recording: Recording | None = None, head: int = KEPT, tail: int = KEPT
    ) -> None:
        self.request = request
        #: Content of the execute_reply, once it is there.
        self.reply: Mapping[str, Any] | None = None
        self.idle = False
        self.execution_count: int | None = None
        #: The last uncaught exception that was published.
        self.error: Error | None = None
        self._recording = recording
        self._log = Log(head, tail, recording)
        self._news = Log(0, _NEWS)
        self._displays: dict[str, list[_Shown]] = {}
        self._display_bytes = 0
        self._left_out: _LeftOut | None = None
        self._clear_next = False

    @property
    def finished(self) -> bool:
        """Whether all of the execution has been seen."""
        return self.reply is not None and self.idle

    @property
    def characters(self) -> int:
        """Characters of text written so far."""
        return self._log.characters

    def outputs(self) -> tuple[Output, ...]:
        """What there is so far, in order."""
        return self._log.outputs()

    @property
    def line(self) -> str:
        """The line that is being written, which may still change."""
        return self._log.line

    def finish(self) -> None:
        """Nothing more comes, and no display is exchanged any more."""
        self._log.finish()
        if self._recording is not None:
            for shown in {s: None for displays in self._displays.values() for s in displays}:
                shown.value = kept(shown.value, self._recording)
            self._displays.clear()

    def take_news(self) -> str:
        """The text written since the last call, or the end of it when it is long."""
        news = self._news.text()
        self._news.clear()
        return news

    def feed(self, message: Message) -> bool:
        """Take one message; returns whether it belonged to this execution."""
        if message.parent != self.request:
            return False
        # Nothing in a malformed message can be shown, but a reply ends the execution.
        if message.channel == "shell" and message.type == "execute_reply":
            self.reply = message.content if isinstance(message.content, Mapping) else {}
            self._count(self.reply.get("execution_count"))
        elif message.channel == "iopub":
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
                self._published(message.type, message.content)
        return True

    def _published(self, kind: str, content: Mapping[str, Any]) -> None:
        if kind == "status":
            self.idle = self.idle or content["execution_state"] == "idle"
        elif kind == "execute_input":
            # For an empty cell the reply has another, and may come before or after this.
            if self.execution_count is None:
                self._count(content["execution_count"])
        elif kind == "stream":
            self._write(content["name"], content["text"])
        elif kind in ("display_data", "execute_result"):
            self._display(content, kind == "execute_result")
        elif kind == "update_display_data":
            self._update(content)
        elif kind == "error":
            traceback = "\n".join(content.get("traceback") or ())
            name, value = str(content["ename"]), str(content["evalue"])
            self.error = Error(name, _clipped(value), _clipped(traceback))
            self._place(Slot(self.error), _OVERHEAD + len(self.error.traceback))
        elif kind == "clear_output":
            self._clear_next = bool(content.get("wait"))
            if not self._clear_next:
                self._clear()

    def _count(self, number: object) -> None:
        if isinstance(number, int) and number > 0:
            self.execution_count = number

    def _write(self, name: object, text: object) -> None:
        if isinstance(text, str):
            self._begin_output()
            stream: StreamName = "stderr" if name == "stderr" else "stdout"
            self._log.write(stream, text)
            self._news.write(stream, text)

    def _begin_output(self) -> None:
        if self._clear_next:
            self._clear()

    def _clear(self) -> None:
        self._clear_next = False
        self._log.clear()
        self._displays.clear()
        self._display_bytes = 0
        self._left_out = None

    # -- displays

    def _display(self, content: Mapping[str, Any], is_result: bool) -> None:
        shown = _Shown(content, is_result)
        self._begin_output()
        if self._recording is not None and not _display_id(content):
            # It cannot be updated, so it need not stay in memory.
            shown.value = kept(shown.value, self._recording)
            shown.size = _size(shown.value)
        placed = self._place(shown, shown.size)
        if ident := _display_id(content):
            others = self._displays.setdefault(ident, [])
            self._exchange(others, shown)
            if placed:
                others.append(shown)

    def _update(self, content: Mapping[str, Any]) -> None:
        ident = _display_id(content)
        if ident in self._displays:
            self._exchange(self._displays[ident], _Shown(content, False))
        else:
            # A display of an earlier run: its result has been delivered, so this is news.
            self._display(content, False)

    def _exchange(self, displays: list[_Shown], new: _Shown) -> None:
        if self._recording is not None and displays:
            self._recording.exchanges += 1
        for shown in displays:
            if self._fits(new.size - shown.size):
                shown.size = new.size
                shown.value = replace(new.value, is_result=shown.value.is_result)

    def _place(self, slot: Slot, size: int) -> bool:
        """Add it to the outputs; False when there are too many already."""
        self._begin_output()
        fits = self._fits(size)
        if fits:
            self._log.add(slot)
        return fits

    def _fits(self, size: int) -> bool:
        """Take `size` bytes more for displays; what does not fit is counted in its place."""
        if self._display_bytes + size <= DISPLAY_BYTES:
            self._display_bytes += size
            return True
        if self._left_out is None:
            self._left_out = _LeftOut()
            self._log.add(self._left_out)
        self._left_out.value = Omitted(displays=self._left_out.value.displays + 1)
        return False


class _Shown(Slot):
    """A display that may still be updated, and the bytes that it counts for."""

    value: Display

    def __init__(self, content: Mapping[str, Any], is_result: bool) -> None:
        data = dict(content["data"])
        super().__init__(Display(data, dict(content.get("metadata") or {}), is_result))
        self.size = _size(self.value)


def _size(display: Display) -> int:
    """The bytes of memory that it counts for."""
    data = display.data
    if isinstance(data, Bundle):
        return _OVERHEAD + data.in_memory
    texts = (form if isinstance(form, str) else json.dumps(form) for form in data.values())
    return _OVERHEAD + sum(len(text) for text in texts)


class _LeftOut(Slot):
    """Says how many displays there was no room for."""

    value: Omitted

    def __init__(self) -> None:
        super().__init__(Omitted())


def _display_id(content: Mapping[str, Any]) -> str:
    return str((content.get("transient") or {}).get("display_id") or "")


def _clipped(text: str) -> str:
    """Not more of an error's text than fits."""
    if len(text) <= _ERROR:
        return text
    half = _ERROR // 2
    middle = text[half:-half]
    gap = Omitted(len(middle), middle.count("\n"))
    return f"{text[:half]}\n{gap.words}\n{text[-half:]}"
