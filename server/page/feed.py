"""The news of one owner's sessions and runs, gathered once for all the pages that show them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any

from kernels.registry import Registry
from kernels.run import Run
from kernels.session import Session
from server.page.following import Followed
from server.page.views import Askings, Description, encoded, run_view, session_view
from server.page.weighing import Weighing

#: Seconds between two looks while something runs: more with many pages, so that looking and sending
#: take no more than this part of the time, and with more than a few runs a look, one after another;
#: most while all of these are too short to be watched. And while nothing runs.
_PACE, _SLOWEST, _SHARE, _FEW, _SHORT, _MOST, _REST = 0.05, 0.08, 0.02, 2, 0.1, 0.25, 0.5
#: Events, and bytes of them, that are kept for a page that has lost its connection; seconds that
#: they are kept when there is no page any more; runs that may change meanwhile.
_EVENTS, _BYTES, _LINGER, _TOLD = 2_000, 4_000_000, 120.0, 1_000
#: Seconds between two signs of life in a stream without news, and what these are.
_BEAT = 15.0
_STILL = b"event: still\ndata: here\n\n"
_RESET = {"reset": True}

_log = logging.getLogger("rmi.page")


class Reader:
    """One page's place in the news."""

    def __init__(self, position: int) -> None:
        #: The number of the last event that it has; None: too old.
        self.position: int | None = position
        self.wake = asyncio.Event()
        self.closed = self.beat = False


class Feed:
    """Looks at the registry while there is a page, and only then.

    An event is made once, as bytes; pages take it by its number. `over` is called when nobody has
    wanted it for long enough; it is of no use then.
    """

    def __init__(
        self,
        owner: str,
        registry: Registry,
        askings: Askings,
        python: Description,
        over: Callable[[Feed], None],
    ) -> None:
        self.owner = owner
        self._registry, self._askings, self._python = registry, askings, python
        self._over = over
        #: Marks of another feed are not understood.
        self._name = secrets.token_hex(4)
        self._number = 0
        self._events: deque[bytes] = deque()
        self._size = 0
        self._readers: set[Reader] = set()
        self._task: asyncio.Task[None] | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._told: dict[str, Run] = {}
        self._followed: dict[str, Followed] = {}
        self._sessions: dict[str, tuple[Any, ...]] = {}
        self._weighing = Weighing()
        #: Seconds that the last event has taken, of which its pages add theirs.
        self.spent = 0.0
        self._beat_at = 0.0
        for session in self._own():
            self._sessions[session.name] = self._signature(session)
            for run in session.runs[:1]:
                self._followed[run.id] = Followed.from_now(run)
        self._linger()

    # -- for pages

    @property
    def mark(self) -> str:
        """The last event's."""
        return f"{self._name}-{self._number}"

    def catch_up(self) -> str:
        """Have all that has happened in the news; the mark of what there is now."""
        self._look()
        if not self._readers:
            self._linger()
        return self.mark

    def enter(self, mark: str) -> Reader:
        """A reader that has all up to `mark`. Give it back with `leave`."""
        name, _, number = mark.partition("-")
        first = self._number - len(self._events)
        known = name == self._name and number.isdecimal()
        reader = Reader(self._number)
        if not known or not first <= int(number) <= self._number:
            reader.position = None
        else:
            reader.position = int(number)
        reader.wake.set()
        self._readers.add(reader)
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="feed of the page")
            self._task.add_done_callback(self._stopped)
        return reader

    def leave(self, reader: Reader) -> None:
        """The reader is not needed any more."""
        self._readers.discard(reader)
        if not self._readers:
            if self._task is not None:
                self._task.cancel()
                self._task = None
            self._linger()

    def take(self, reader: Reader) -> bytes:
        """What is new for the reader, as a piece of its stream; b"" when there is nothing."""
        reader.wake.clear()
        first = self._number - len(self._events)
        if reader.position is None or reader.position < first:
            reader.position = self._number
            return self._event(encoded(_RESET))
        pieces = [self._events[n - first] for n in range(reader.position, self._number)]
        reader.position = self._number
        if pieces:
            return b"".join(pieces)
        beat, reader.beat = reader.beat, False
        return _STILL if beat else b""

    @property
    def pages(self) -> int:
        """How many there are."""
        return len(self._readers)

    def close(self) -> None:
        """End the streams of all readers."""
        for reader in self._readers:
            reader.closed = True
            reader.wake.set()

    # -- for the registry's watcher

    def tell(self, run: Run) -> None:
        """Something has become of the run, or of its session."""
        self._told[run.id] = run
        self._news.set()
        if len(self._told) > _TOLD and self._task is None:
            self._forget()

    def poke(self) -> None:
        """There may be something new."""
        self._news.set()

    # -- looking

    def _stopped(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            # Pages come again, and ask for all anew.
            _log.error("The news of the page have stopped.", exc_info=error)
            self._task, self._name = None, secrets.token_hex(4)
            self.close()

    def _own(self) -> list[Session]:
        return self._registry.sessions(self.owner)

    def _linger(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        self._leaving = asyncio.get_running_loop().call_later(_LINGER, self._forget)

    def _forget(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        self._over(self)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        self._beat_at = loop.time() + _BEAT
        while True:
            runs = len(self._told)
            pace = min(max(_PACE, self.spent / _SHARE, _PACE * runs / _FEW), _MOST)
            looked = loop.time()
            self._look()
            self.spent = loop.time() - looked
            self._weighing.measure(self._own())
            if looked >= self._beat_at:
                self._beat_at = looked + _BEAT
                for reader in self._readers:
                    reader.beat = True
                    reader.wake.set()
            if not self._told and not any(session.runs for session in self._own()):
                timer = loop.call_later(_REST, self._news.set)
                await self._news.wait()
                timer.cancel()
            self._news.clear()
            while (left := looked + pace - loop.time()) > 0:
                await asyncio.sleep(min(left, _PACE))
                if loop.time() >= looked + _SLOWEST and self._has_long_run():
                    break

    def _has_long_run(self) -> bool:
        return any(run.seconds > _SHORT for each in self._own() for run in each.runs[:1])

    def _look(self) -> None:
        """Make an event of all that has changed."""
        event: dict[str, list[Any]] = {
            "sessions": [],
            "closed": [],
            "runs": [],
            "cleared": [],
            "outputs": [],
            "text": [],
        }
        runs, self._told = self._told, {}
        sessions = self._own()
        for session in sessions:
            for run in session.runs[:1]:
                runs[run.id] = run
        for run in runs.values():
            self._follow(run, event)
        names = set()
        for session in sessions:
            names.add(session.name)
            signature = self._signature(session)
            if self._sessions.get(session.name) != signature:
                self._sessions[session.name] = signature
                event["sessions"].append(self.view(session))
        if len(self._sessions) > len(names):
            event["closed"] = [name for name in self._sessions if name not in names]
            for name in event["closed"]:
                del self._sessions[name]
        if any(event.values()):
            self._publish(encoded(event))

    def _follow(self, run: Run, event: dict[str, list[Any]]) -> None:
        ended = run.done.done()
        known = self._followed.get(run.id)
        if known is None:
            known = Followed()
            if not ended:
                self._followed[run.id] = known
        elif ended:
            del self._followed[run.id]
        known.look(run, ended, event)
        view = run_view(run, self._askings.of(run))
        if known.is_new(view):
            event["runs"].append(view)

    def view(self, session: Session) -> dict[str, Any]:
        """S of the page's protocol."""
        return session_view(session, self._weighing.of(session), self._python)

    def _signature(self, session: Session) -> tuple[Any, ...]:
        """What of a session is told when it changes."""
        waiting = len(session.runs)
        memory = self._weighing.of(session)
        checkpoint = session.checkpoint
        after = checkpoint.run_id if checkpoint is not None else ""
        # Small changes of what it costs are no news.
        kept = after, round(session.keeper.cost, -6), session.no_checkpoint
        return id(session), session.state, session.count, waiting, memory, session.used, kept

    def _event(self, data: bytes) -> bytes:
        return b"id: %s\ndata: %s\n\n" % (self.mark.encode(), data)

    def _publish(self, data: bytes) -> None:
        self._number += 1
        piece = self._event(data)
        self._events.append(piece)
        self._size += len(piece)
        while len(self._events) > _EVENTS or (self._size > _BYTES and len(self._events) > 1):
            self._size -= len(self._events.popleft())
        for reader in self._readers:
            reader.wake.set()
