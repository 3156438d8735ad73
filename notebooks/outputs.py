"""The outputs of a notebook's cells, folded from a kernel's messages as Jupyter front ends do it.

Pure: no clock, no I/O.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kernels.kernel import Message
from kernels.steps import Send
from notebooks.areas import Area, LeftOut, Room, output_of
from notebooks.widgets import Widgets

#: Bytes of outputs that are kept of one notebook.
LIMIT = 100_000_000


class Outputs:
    """The outputs of one notebook's cells, as they come.

    `feed` every message of the kernel. Beyond `limit` bytes outputs are left out and counted; a
    widget's state, other than outputs that it shows, does not count. What an Output widget shows
    is a front end's to say: `send` sends it to the kernel, on the shell channel, and must not
    raise; None: nothing is sent.
    """

    def __init__(self, limit: int = LIMIT, send: Send | None = None) -> None:
        self._room = Room(limit)
        self._cells: dict[str, _Cell] = {}
        self._requests: dict[str, _Cell] = {}
        self._widgets = Widgets(lambda: Area(self._room), send)

    def begin(self, key: str, request: str) -> None:
        """The cell `key` is executed by the request with this id. It has no outputs any more."""
        before = self._cells.get(key)
        if before is not None:
            before.area.clear()
            self._requests.pop(before.request, None)
        self._cells[key] = self._requests[request] = _Cell(request, Area(self._room, key))

    def cut_off(self, key: str, error: Mapping[str, Any]) -> None:
        """The cell's kernel could not end it: an error with this content is its last output, unless
        it has one."""
        cell = self._cells.get(key)
        if cell is not None and not any(o["output_type"] == "error" for o in self.of(key)):
            self._put_out(cell.area, "error", error)

    def feed(self, message: Message) -> set[str]:
        """Take a message of any parent; returns the keys of the cells whose outputs it changed.

        Nothing is changed by a malformed one.
        """
        changed: set[Area] = set()
        with contextlib.suppress(
            KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError
        ):
            if message.channel == "iopub":
                changed = self._published(message)
            elif message.channel == "shell" and message.type == "execute_reply":
                changed = self._replied(message)
        return {area.key for area in changed if area.key is not None}

    def count(self, key: str) -> int | None:
        """The cell's execution_count."""
        cell = self._cells.get(key)
        return cell.count if cell is not None else None

    def times(self, key: str) -> dict[str, str]:
        """For the cell's `metadata.execution`: what happened when, in the kernel's words."""
        cell = self._cells.get(key)
        return dict(sorted(cell.times.items())) if cell is not None else {}

    def of(self, key: str) -> list[dict[str, Any]]:
        """The cell's outputs so far, in nbformat 4, each text one string.

        Bundles are not copied: they must not be changed, and do not change any more.
        """
        cell = self._cells.get(key)
        return cell.area.outputs() if cell is not None else []

    def left_out(self, key: str) -> LeftOut:
        """What the cell has put out and is not kept."""
        cell = self._cells.get(key)
        return cell.area.left_out if cell is not None else LeftOut()

    def widget_state(self) -> dict[str, Any] | None:
        """For `metadata.widgets` of the notebook; None: there are no widgets."""
        return self._widgets.state()

    def _published(self, message: Message) -> set[Area]:
        kind, parent, content = message.type, message.parent, message.content
        cell = self._requests.get(parent)
        if kind == "status":
            state = content["execution_state"]
            if cell is not None and state in ("busy", "idle"):
                cell.note_time(f"iopub.status.{state}", message)
            self._widgets.note_status(parent, state)
            return set()
        if kind == "execute_input":
            if cell is not None:
                cell.note_count(content.get("execution_count"))
                cell.note_time("iopub.execute_input", message)
            return set()
        if kind.startswith("comm_"):
            self._widgets.feed(kind, content, message.buffers)
            return set()
        area = self._widgets.area(parent) or (cell.area if cell is not None else None)
        changed = self._put_out(area, kind, content)
        self._widgets.note_changed(changed, parent)
        return changed

    def _put_out(self, area: Area | None, kind: str, content: Mapping[str, Any]) -> set[Area]:
        if kind == "stream":
            changed = area is not None and area.write(content["name"], content["text"])
        elif kind == "clear_output":
            wait = bool(content.get("wait"))
            changed = area is not None and (area.clear_later() if wait else area.clear())
        else:
            output = output_of(kind, content)
            if output is None:
                return set()
            # Whose ever the message is, all displays of this id are changed.
            others = self._room.exchange(output)
            if area is None or kind == "update_display_data":
                return others
            changed = area.add(output)
            return others | {area} if changed else others
        return {area} if area is not None and changed else set()

    def _replied(self, message: Message) -> set[Area]:
        cell = self._requests.get(message.parent)
        if cell is None:
            return set()
        cell.note_time("shell.execute_reply", message)
        content = message.content
        cell.note_count(content.get("execution_count"))
        # What `name?` shows comes with the reply.
        for payload in content.get("payload") or ():
            if payload.get("source") == "page":
                page = output_of("display_data", {"data": payload["data"]})
                return {cell.area} if page is not None and cell.area.add(page) else set()
        return set()


@dataclass
class _Cell:
    request: str
    area: Area
    count: int | None = None
    times: dict[str, str] = field(default_factory=dict)

    def note_count(self, count: object) -> None:
        if isinstance(count, int) and count > 0:
            self.count = count

    def note_time(self, name: str, message: Message) -> None:
        date = message.header.get("date")
        with contextlib.suppress(TypeError, ValueError):
            moment = date if isinstance(date, datetime) else datetime.fromisoformat(date or "")
            text = date if isinstance(date, str) else moment.isoformat()
            self.times[name] = text if moment.tzinfo is not None else f"{text}Z"
