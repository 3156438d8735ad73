"""The same work through each of the peers, in turn."""

from __future__ import annotations

import contextlib
import gc
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psutil

from tests.bench import memory, notebooks
from tests.bench.peers_adapters import Call, Peer
from tests.bench.peers_server import PeerServer, own_folders

START, FIRST, WARM, NOTEBOOK = "start", "first result", "warm run", "200 cells"
FIGURE, TEXT, MEMORY = "figure", "10 MB of text", "memory"
#: The columns, in the order of the table.
MEASURES = (START, FIRST, WARM, NOTEBOOK, FIGURE, TEXT, MEMORY)

_SMALL, _SMALL_SAYS = "print(123456 * 654321)", "80779853376"
_FIGURE = """\
import matplotlib.pyplot as plt
plt.plot(range(10))
plt.show()
plt.close("all")
"""
_LINES, _WIDTH = 100_000, 99
_TEXT = f"print('\\n'.join(f'{{n:0{_WIDTH}d}}' for n in range({_LINES})))"
_LINE = re.compile(rf"(?<!\d)\d{{{_WIDTH}}}(?!\d)")
_NOTEBOOK, _CELLS = "cells.ipynb", 200
_PNG = b"\x89PNG\r\n\x1a\n"
_Any = TypeVar("_Any")
#: At most so many samples of what takes seconds.
_FEW = 5
_WARM_UP = 10


@dataclass
class Outcome:
    """What was measured of one peer: seconds by measure, and what a cell says besides."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    #: Megabytes.
    memory: float | None = None
    #: Why there is nothing, or nothing more.
    trouble: str = ""

    def add(self, measure: str, seconds: float) -> None:
        """Keep a sample."""
        self.samples.setdefault(measure, []).append(seconds)


class Wrong(Exception):
    """An answer is not what the code has to give; the message says it in a few words."""


class Session:
    """One peer with its running server."""

    def __init__(self, peer: Peer, outcome: Outcome) -> None:
        self.peer, self.outcome = peer, outcome
        self._server = PeerServer(
            peer.name,
            peer.folder,
            peer.command(),
            peer.where(),
            **own_folders(peer.folder),
            **peer.settings(),
        )

    @contextmanager
    def running(self) -> Iterator[float]:
        """Keep the server running; gives the seconds that its start took."""
        try:
            with self._server:
                yield self._server.initialize()
        finally:
            self.peer.clear()

    def calls(self, calls: Iterable[Call]) -> tuple[float, Any]:
        """Make calls. Returns the seconds they took together, and the last result."""
        seconds, result = 0.0, None
        for tool, arguments in calls:
            begun = time.perf_counter()
            result = self._server.ask(tool, arguments)
            seconds += time.perf_counter() - begun
            if result.get("isError"):
                raise Wrong(f"{tool} failed: {self._text(result)}")
        return seconds, result

    def open(self) -> float:
        """What comes before the first run."""
        return self.calls(self.peer.opening())[0]

    def small(self) -> float:
        """A run of one line."""
        seconds, result = self.calls([self.peer.run(_SMALL)])
        self._expect(_SMALL_SAYS, result)
        return seconds

    def figure(self) -> float | None:
        """A run that draws; None if no image comes back."""
        seconds, result = self.calls([self.peer.run(_FIGURE)])
        files = self.peer.files(result)
        images = self.peer.images(result) + [file.read_bytes() for file in files]
        if not all(image.startswith(_PNG) for image in images):
            raise Wrong("not a PNG")
        self.outcome.words[FIGURE] = "" if self.peer.images(result) else "a file"
        if images:
            return seconds
        self.outcome.words[FIGURE] = "no image"
        return None

    def text(self) -> float:
        """A run that prints 10 MB, and how much of that came back."""
        seconds, result = self.calls([self.peer.run(_TEXT)])
        received = self._server.received / 1e6
        whole = set(map(int, _LINE.findall(self._text(result))))
        if whole == set(range(_LINES)):
            words = f"all, in {received:.1f} MB"
        else:
            end = self.peer.rest(result, lambda call: self._text(self.calls([call])[1]))
            rest = (
                "the rest by a further call" if f"{_LINES - 1:0{_WIDTH}d}" in end else "rest lost"
            )
            share = f"{len(whole) * (_WIDTH + 1):,} characters" if whole else "nothing"
            words = f"{share}, {rest}" if whole else "nothing of it"
        self.outcome.words[TEXT] = words
        return seconds

    def notebook(self) -> float | None:
        """A notebook of small cells; None if the peer runs none."""
        calls = self.peer.notebook(_NOTEBOOK, _CELLS)
        if calls is None:
            return None
        self.calls(calls[0])
        seconds, result = self.calls(calls[1])
        self._expect(_SMALL_SAYS, result)
        return seconds

    def settle(self) -> None:
        """Wait until it has nothing more to do."""
        memory.settle(self._server.pid)

    def occupied(self) -> float:
        """Megabytes of all of its processes: what is shared counts in part (PSS)."""
        return sum(memory.of_family(pid).pss for pid in (self._server.pid, *self.peer.pids()))

    def _expect(self, words: str, result: Any) -> None:
        text = self._text(result)
        if words not in text:
            raise Wrong(f"wrong answer: {text or 'nothing'}")

    def _text(self, result: Any) -> str:
        return self.peer.text(result)


class Run:
    """Measures peers side by side. What fails is written down, and the others go on."""

    def __init__(self, peers: Sequence[Peer], repeat: int) -> None:
        self.outcomes = {peer.name: Outcome() for peer in peers}
        self._repeat = repeat
        self._peers = list(peers)
        self._turn = 0

    def measure(self) -> None:
        """Measure all."""
        with ExitStack() as stack:
            for peer in list(self._peers):
                notebooks.write(
                    peer.folder / _NOTEBOOK, [f"x = {n}" for n in range(_CELLS - 1)] + [_SMALL]
                )
                with self._noting(peer):
                    stack.enter_context(peer.beside())
            self._starts()
            self._sessions(stack)

    def _starts(self) -> None:
        """A fresh server, and its first result. The first round, in which much is compiled and
        read for the first time, does not count."""
        for number in range(self._repeat + 1):
            print(f"start {number} ...", file=sys.stderr)
            for peer in self._in_turn(self._peers):
                outcome = self.outcomes[peer.name]
                with self._noting(peer):
                    session = Session(peer, outcome)
                    with session.running() as start:
                        first = session.open() + session.small()
                    if number:
                        outcome.add(START, start)
                        outcome.add(FIRST, first)

    def _sessions(self, stack: ExitStack) -> None:
        """All other work, in servers that all run at the same time."""
        sessions: list[Session] = []
        for peer in list(self._peers):
            with self._noting(peer):
                session = Session(peer, self.outcomes[peer.name])
                stack.enter_context(session.running())
                session.open()
                for _ in range(_WARM_UP):
                    session.small()
                sessions.append(session)
        for session in sessions:
            session.settle()
        for session in sessions:
            session.outcome.memory = session.occupied()
        few = min(self._repeat, _FEW)
        self._rounds(sessions, WARM, Session.small, 2 * self._repeat)
        # Once before: whatever the figure imports is imported then, where something stays.
        drawing = self._rounds(sessions, FIGURE, Session.figure, 1)
        for session in drawing:
            session.outcome.samples.pop(FIGURE, None)
        self._rounds(drawing, FIGURE, Session.figure, few)
        self._rounds(sessions, TEXT, Session.text, few)
        self._rounds(sessions, NOTEBOOK, Session.notebook, few)

    def _rounds(
        self,
        sessions: Sequence[Session],
        measure: str,
        once: Callable[[Session], float | None],
        rounds: int,
    ) -> list[Session]:
        """Returns the sessions that have given samples to the end."""
        print(f"{measure} ...", file=sys.stderr)
        gc.collect()
        left = list(sessions)
        for number in range(rounds):
            for session in self._in_turn(left):
                most = session.peer.notebook_samples if measure == NOTEBOOK else 0
                if most and number >= most:
                    continue
                try:
                    seconds = once(session)
                except (OSError, RuntimeError, ValueError, Wrong) as error:
                    session.outcome.samples.pop(measure, None)
                    session.outcome.words[measure] = _few_words(error)
                    seconds = None
                if seconds is None:
                    left.remove(session)
                else:
                    session.outcome.add(measure, seconds)
        return left

    def _in_turn(self, things: Sequence[_Any]) -> list[_Any]:
        """A copy, each time in the other direction, so that none always comes first."""
        self._turn += 1
        return list(things) if self._turn % 2 else list(reversed(things))

    @contextlib.contextmanager
    def _noting(self, peer: Peer) -> Iterator[None]:
        """Go on without a peer that fails here."""
        try:
            yield
        except (OSError, RuntimeError, ValueError, Wrong, psutil.Error) as error:
            print(f"{peer.name}: {error}", file=sys.stderr)
            self.outcomes[peer.name].trouble = _few_words(error)
            self._peers.remove(peer)


def _few_words(error: Exception) -> str:
    """The last line of a message, without paths and short enough for a cell."""
    message = str(error).rpartition("Its last words: ")[2].strip()
    lines = message.splitlines() or ["no answer" if "no answer" in str(error) else repr(error)]
    words = re.sub(r"\S*[/\\]\S+", "…", lines[-1])
    return words if len(words) <= 80 else words[:79] + "…"
