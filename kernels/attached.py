"""The other clients of a session's kernel, as `jupyter console --existing`: what they execute is
recorded as runs of the session, and the time that it takes is nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from kernels.collector import Collector
from kernels.kernel import Exit, Kernel, Message
from kernels.result import explain_exit

#: Says, beside a connection file, whose session's kernel that is.
FACTS = "session.json"
#: Executions of others that are told apart from those of nobody.
_KNOWN = 1000


def note_session(connection_file: Path | None, session: str, owner: str) -> None:
    """Have `rmi-agent sessions attach` find the kernel. In a directory that is its user's alone."""
    if connection_file is None:
        return
    facts = {"session": session, "owner": owner, "server": os.getpid()}
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    # Without it the session is found through the server only.
    with (
        contextlib.suppress(OSError),
        open(os.open(connection_file.parent / FACTS, flags, 0o600), "w") as file,
    ):
        json.dump(facts, file)


class Visit(Protocol):
    """What becomes of an execution of theirs (see `visits`)."""

    collector: Collector

    def stop(self) -> None:
        """It is to end."""

    def end(self) -> None:
        """The kernel says that it is over."""


class Attached:
    """The other clients of one kernel. `begin(request, code)` makes the visit of an execution of
    theirs, which has this id."""

    def __init__(self, kernel: Kernel, begin: Callable[[str, str], Visit]) -> None:
        self._kernel, self._begin = kernel, begin
        self._known: deque[str] = deque(maxlen=_KNOWN)
        #: The execution under way, and since when; its visit, if it is one to be recorded.
        self._current, self._since = "", 0.0
        self._visit: Visit | None = None
        self._seconds = 0.0
        self._rests = asyncio.Event()
        self._rests.set()
        #: "closed" or "restarted" when the session ends the kernel.
        self.ended = ""
        #: Whether one of them has shut the kernel down; whether it was closed because code of
        #: theirs did not obey.
        self.shut_down = self.given_up = False

    @property
    def busy(self) -> bool:
        """Whether the kernel executes code of theirs."""
        return not self._rests.is_set()

    @property
    def seconds(self) -> float:
        """How long it has done so, in all."""
        return self._seconds + (time.monotonic() - self._since if self.busy else 0.0)

    async def rest(self, or_else: asyncio.Event) -> None:
        """Wait until it does not, has ended, or something `or_else` comes."""
        await first(self._rests, self._kernel.exited, or_else)

    def take(self, message: Message) -> bool:
        """Take a message of the kernel; False when it is none of theirs, or comes too late: the
        text of a thread whose execution is over."""
        if message.channel != "iopub":
            return False
        if message.foreign != "execute_request" and message.parent not in self._known:
            if self.busy and message.type == "execute_input":
                # Another execution goes on, and the end of theirs has not been told.
                self._end()
            if message.foreign == "shutdown_request":
                self.shut_down = True
            # They know what else they have asked for.
            return bool(message.foreign)
        content = message.content if isinstance(message.content, dict) else {}
        if message.type == "status":
            self._note(message.parent, content.get("execution_state"))
            return True
        if message.parent != self._current:
            return False
        if message.type == "execute_input" and self._visit is None:
            code = content.get("code")
            self._visit = self._begin(message.parent, code if isinstance(code, str) else "")
        if self._visit is not None:
            self._visit.collector.feed(replace(message, foreign=""))
        return True

    def end(self, why: str) -> None:
        """The session ends the kernel: `why` is "closed" or "restarted"."""
        self.ended = why
        if self._visit is not None:
            self._visit.stop()

    def _note(self, request: str, state: object) -> None:
        if state == "busy" and request != self._current:
            self._end()
            self._current, self._since = request, time.monotonic()
            self._known.append(request)
            self._rests.clear()
        elif state == "idle" and request == self._current:
            self._end()

    def _end(self) -> None:
        if self.busy:
            self._seconds += time.monotonic() - self._since
            self._rests.set()
        self._current = ""
        if self._visit is not None:
            self._visit.end()
            self._visit = None


def how_it_ended(kernel: Kernel, attached: Attached | None) -> str:
    """Why a session's kernel has ended between two runs, as the beginning of a note."""
    if attached is not None and attached.given_up:
        # It has been told.
        return ""
    if attached is not None and attached.shut_down:
        return "since the last run an attached client has shut the kernel down; "
    why = explain_exit(kernel.exit or Exit())
    return f"since the last run {why[0].lower()}{why[1:].rstrip('.')}; "


async def first(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Wait for one of them, at most so long."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
