"""The same work through each of the peers, in turn."""

from __future__ import annotations

import contextlib
import gc
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
#: Seconds, and what there is to say of the answer; None where a peer does not do it.
_Sample = tuple[float, str]
_Once = Callable[["Session"], _Sample | None]
_Any = TypeVar("_Any")
#: At most so many samples of what takes seconds.
FEW = 5
_WARM_UP = 10
#: Warm runs in one round.
WARM_RUNS = 2


@dataclass
class Outcome:
    """What was measured of one peer: seconds by measure, and what each answer was like."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    words: dict[str, list[str]] = field(default_factory=dict)
    #: Megabytes.
    memory: float | None = None
    #: Why there is nothing, or nothing more.
    trouble: str = ""

    def add(self, measure: str, seconds: float | None, words: str = "") -> None:
        """Keep a sample; without seconds if the answer was wrong."""
        if seconds is not None:
            self.samples.setdefault(measure, []).append(seconds)
        self.words.setdefault(measure, []).append(words)

    def forget(self, measure: str) -> None:
        """Begin anew with a measure."""
        self.samples.pop(measure, None)
        self.words.pop(measure, None)

    def told(self, measure: str) -> str:
        """What its answers were like, with how many were so where they differ."""
        words = self.words.get(measure, [])
        counts = Counter(words)
        if len(counts) == 1:
            return words[0]
        parts = [f"{said} ({count} of {len(words)})" for said, count in counts.items() if said]
        return "; ".join(parts)


class Wrong(Exception):
    """An answer is not what the code has to give; the message says it in a few words.

    That is counted, and the peer goes on. Any other exception ends it.
    """


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
                text = "".join(block.get("text", "") for block in result["content"])
                raise RuntimeError(f"{tool} failed: {text}")
        return seconds, result

    def small(self) -> _Sample:
        """A run of one line."""
        seconds, result = self.calls([self.peer.run(_SMALL)])
        self._expect(_SMALL_SAYS, result)
        return seconds, ""

    def first(self) -> _Sample:
        """A run of one line, and what has to come before it."""
        seconds, _ = self.calls(self.peer.opening())
        return seconds + self.small()[0], ""

    def figure(self) -> _Sample:
        """A run that draws."""
        seconds, result = self.calls([self.peer.run(_FIGURE)])
        files = self.peer.files(result)
        images = self.peer.images(result) + [file.read_bytes() for file in files]
        if not all(image.startswith(_PNG) for image in images):
            raise Wrong("not a PNG")
        if not images:
            raise Wrong("no image")
        return seconds, "a file" if files else ""

    def text(self) -> _Sample:
        """A run that prints 10 MB, and how much of that came back."""
        seconds, result = self.calls([self.peer.run(_TEXT)])
        received = self._server.received / 1e6
        lines = set(map(int, _LINE.findall(self._text(result))))
        if not lines:
            raise Wrong("nothing of it")
        if lines == set(range(_LINES)):
            return seconds, f"all, in {received:.1f} MB"
        end = self.peer.rest(result, lambda call: self._text(self.calls([call])[1]))
        got = f"{_LINES - 1:0{_WIDTH}d}" in end
        share = f"{len(lines) * (_WIDTH + 1):,} characters"
        return seconds, f"{share}, the rest {'by a further call' if got else 'lost'}"

    def notebook(self) -> _Sample | None:
        """A notebook of small cells; None if the peer runs none."""
        calls = self.peer.notebook(_NOTEBOOK, _CELLS)
        if calls is None:
            return None
        self.calls(calls[0])
        seconds, result = self.calls(calls[1])
        self._expect(_SMALL_SAYS, result)
        return seconds, ""

    def settle(self) -> None:
        """Wait until it has nothing more to do."""
        memory.settle(self._server.pid)

    def occupied(self) -> float:
        """Megabytes of all of its processes: what is shared counts in part (PSS)."""
        return sum(memory.of_family(pid).pss for pid in (self._server.pid, *self.peer.pids()))

    def _expect(self, words: str, result: Any) -> None:
        text = self._text(result)
        if words not in text:
            raise Wrong(_few_words("wrong answer", text or "nothing"))

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
                        outcome.add(START, start)
                        self._sample(session, FIRST, Session.first)
                    if not number:
                        outcome.forget(START)
                        outcome.forget(FIRST)

    def _sessions(self, stack: ExitStack) -> None:
        """All other work, in servers that all run at the same time."""
        sessions: list[Session] = []
        for peer in list(self._peers):
            with self._noting(peer):
                session = Session(peer, self.outcomes[peer.name])
                stack.enter_context(session.running())
                for number in range(_WARM_UP):
                    self._sample(session, WARM, Session.small if number else Session.first)
                session.outcome.forget(WARM)
                sessions.append(session)
        for session in sessions:
            session.settle()
        for session in sessions:
            session.outcome.memory = session.occupied()
        few = min(self._repeat, FEW)
        self._rounds(sessions, WARM, Session.small, WARM_RUNS * self._repeat)
        # Once before: whatever the figure imports is imported then, where something stays.
        self._rounds(sessions, FIGURE, Session.figure, 1)
        for session in sessions:
            session.outcome.forget(FIGURE)
        self._rounds(sessions, FIGURE, Session.figure, few)
        self._rounds(sessions, TEXT, Session.text, few)
        self._rounds(sessions, NOTEBOOK, Session.notebook, few)

    def _rounds(self, sessions: Sequence[Session], measure: str, once: _Once, rounds: int) -> None:
        print(f"{measure} ...", file=sys.stderr)
        gc.collect()
        for number in range(rounds):
            for session in self._in_turn(sessions):
                most = session.peer.notebook_samples if measure == NOTEBOOK else 0
                if session.peer not in self._peers or (most and number >= most):
                    continue
                with self._noting(session.peer):
                    self._sample(session, measure, once)

    def _sample(self, session: Session, measure: str, once: _Once) -> None:
        try:
            sample = once(session)
        except Wrong as error:
            sample = None
            session.outcome.add(measure, None, str(error))
        if sample is not None:
            session.outcome.add(measure, *sample)

    def _in_turn(self, things: Sequence[_Any]) -> list[_Any]:
        """A copy, each time in the other direction, so that none always comes first."""
        self._turn += 1
        return list(things) if self._turn % 2 else list(reversed(things))

    @contextlib.contextmanager
    def _noting(self, peer: Peer) -> Iterator[None]:
        """Go on without a peer that fails here."""
        try:
            yield
        except Exception as error:
            # Whatever another server does wrong, it is its row that says so.
            print(f"{peer.name}: {error}", file=sys.stderr)
            self.outcomes[peer.name].trouble = _reason(error)
            self._peers.remove(peer)


def _reason(error: Exception) -> str:
    before, _, words = str(error).rpartition("Its last words: ")
    return _few_words("no answer" if before else type(error).__name__, words)


def _few_words(what: str, text: str) -> str:
    """Add the last line of a text, without paths and short enough for a cell."""
    lines = text.strip().splitlines()
    words = ": ".join([what, *(re.sub(r"\S*[/\\]\S+", "…", line) for line in lines[-1:])])
    return words if len(words) <= 80 else words[:79] + "…"
