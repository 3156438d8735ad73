"""Folds the messages of one execution into its outputs. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernels.kernel import Message
from kernels.outputs import Display, Error, Output
from kernels.textlog import Log, TextItem

#: Characters of text kept from the start and from the end of a run.
HEAD = TAIL = 100_000
#: Bytes of mime bundles kept of one run; later displays are replaced by a line of text.
DISPLAY_BYTES = 48 * 1024 * 1024


class _Shown:
    """A display that may still be updated."""

    def __init__(self, data: Mapping[str, Any], metadata: Mapping[str, Any], result: bool) -> None:
        self.data, self.metadata, self.result = data, metadata, result

    def value(self) -> Display:
        return Display(self.data, self.metadata, self.result)


class Collector:
    """The outputs of the execution whose request has the id `request`.

    `feed` every message of the kernel, in the order of arrival; those of other requests are
    passed over. The execution is over when `reply` and `idle` have both come, in either order.
    """

    def __init__(self, request: str, head: int = HEAD, tail: int = TAIL) -> None:
        self.request = request
        #: Content of the execute_reply, once it is there.
        self.reply: Mapping[str, Any] | None = None
        self.idle = False
        self.execution_count: int | None = None
        #: Content of the last `error` message.
        self.error: Error | None = None
        self._log = Log(head, tail)
        self._displays: dict[str, list[_Shown]] = {}
        self._display_bytes = 0
        self._clear_next = False

    @property
    def finished(self) -> bool:
        """Whether all of the execution has been seen."""
        return self.reply is not None and self.idle

    @property
    def characters(self) -> int:
        """Characters of text written so far."""
        return self._log.characters

    def feed(self, message: Message) -> bool:
        """Take one message; returns whether it belonged to this execution."""
        if message.parent != self.request:
            return False
        content = message.content
        try:
            if message.channel == "shell" and message.type == "execute_reply":
                self.reply = content
                count = content.get("execution_count")
                if isinstance(count, int) and count > 0:
                    self.execution_count = count
            elif message.channel == "iopub":
                self._published(message.type, content)
        except (KeyError, TypeError, AttributeError):
            # A malformed message of a foreign kernel: nothing in it can be shown.
            return True
        return True

    def _published(self, kind: str, content: Mapping[str, Any]) -> None:
        if kind == "status":
            self.idle = self.idle or content["execution_state"] == "idle"
        elif kind == "execute_input":
            self.execution_count = content["execution_count"]
        elif kind == "stream":
            self._begin_output()
            name = "stderr" if content["name"] == "stderr" else "stdout"
            self._log.write(name, str(content["text"]))
        elif kind in ("display_data", "execute_result"):
            self._display(content, kind == "execute_result")
        elif kind == "update_display_data":
            self._update(content)
        elif kind == "error":
            self._begin_output()
            lines = content.get("traceback") or []
            traceback = "\n".join(str(line) for line in lines)
            self.error = Error(str(content["ename"]), str(content["evalue"]), traceback)
            self._log.add(self.error)
        elif kind == "clear_output":
            if content.get("wait"):
                self._clear_next = True
            else:
                self._clear()

    def _begin_output(self) -> None:
        if self._clear_next:
            self._clear()

    def _clear(self) -> None:
        self._clear_next = False
        self._log.clear()
        self._displays.clear()
        self._display_bytes = 0

    def _display(self, content: Mapping[str, Any], result: bool) -> None:
        self._begin_output()
        shown = _Shown(self._within_limits(content["data"]), content.get("metadata") or {}, result)
        self._log.add(shown)
        ident = (content.get("transient") or {}).get("display_id")
        if ident:
            for other in self._displays.setdefault(ident, []):
                other.data, other.metadata = shown.data, shown.metadata
            self._displays[ident].append(shown)

    def _update(self, content: Mapping[str, Any]) -> None:
        ident = (content.get("transient") or {}).get("display_id")
        if ident not in self._displays:
            # A display of an earlier run: its result has been delivered, so this is news.
            self._display(content, False)
            return
        data = self._within_limits(content["data"])
        for shown in self._displays[ident]:
            shown.data, shown.metadata = data, content.get("metadata") or {}

    def _within_limits(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        size = sum(len(v) if isinstance(v, str) else 1000 for v in data.values())
        if self._display_bytes + size <= DISPLAY_BYTES:
            self._display_bytes += size
            return data
        kinds = ", ".join(data)
        return {"text/plain": f"[a display of {size:,} bytes ({kinds}) was left out: too many]"}

    def outputs(self) -> tuple[Output, ...]:
        """What there is so far, in order."""
        others: list[tuple[object, Output]] = []
        for item in self._log.items:
            if isinstance(item, _Shown):
                others.append((item, item.value()))
            elif isinstance(item, Error):
                others.append((item, item))
        return self._log.finished(others)

    def last_line(self) -> str:
        """The last line of text that is not blank, for progress."""
        for item in reversed(self._log.items):
            if isinstance(item, TextItem):
                for line in reversed(item.text[-4000:].splitlines()):
                    if line.strip():
                        return line
        return ""
