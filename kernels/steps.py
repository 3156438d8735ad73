"""What a run executes: one request, or several one after another in the same kernel."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from kernels.execution import FileRequest, Request
from kernels.kernel import Message
from kernels.recording import Recording
from kernels.result import RunResult

Send = Callable[[str, Mapping[str, Any]], object]


@dataclass(frozen=True)
class Doing:
    """How far a run is: `done` of `total` executions, the one under way in part; `words` on it."""

    words: str
    done: float
    total: int


class Steps(Protocol):
    """The executions of one run. Its session calls `next`, `began` and `ended` in turn until
    there is none left or one has ended the kernel or was stopped, then `close`."""

    @property
    def title(self) -> str:
        """What is run, in a few words."""

    @property
    def source(self) -> str:
        """The code of all of it, as a reader wants to see it; kept with the run's output."""

    @property
    def ask(self) -> bool:
        """Whether somebody can be asked when a program wants input."""

    @property
    def doing(self) -> Doing | None:
        """How far it is, where there is more than one execution."""

    def queued(self, run_id: str) -> None:
        """The run has this id and waits for its turn."""

    def next(self, recording: Recording) -> Request | None:
        """What is to be executed now; None: nothing more. Its output goes to `recording`."""

    def began(self, request: str, send: Send) -> None:
        """The execution has begun; the messages that belong to it have this id as parent. `send`
        sends the kernel a message on its shell channel."""

    def receive(self, message: Message) -> None:
        """Any message of the kernel, of whatever parent, while an execution goes on."""

    def ended(self, result: RunResult) -> RunResult:
        """An execution is over. Returns what counts as its result, which has no outputs here."""

    async def close(self, result: RunResult) -> RunResult:
        """The last execution is over. Returns the run's result."""

    def release(self) -> None:
        """The run is over, or was never begun; what only a running one needs is let go."""


class Once:
    """The steps of a run that is a single request."""

    doing = None

    def __init__(self, request: Request) -> None:
        self._request = request
        self._begun = False
        self.title, self.ask = request.title, request.ask

    @property
    def source(self) -> str:
        """The code; a file's as its encoding says, as far as it can be read."""
        if not isinstance(self._request, FileRequest):
            return self._request.source
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(self._request.source).readline)
        except SyntaxError:
            encoding = "utf-8-sig"
        text = self._request.source.decode(encoding, "backslashreplace")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def queued(self, run_id: str) -> None:
        """Nothing is to be noted."""

    def next(self, recording: Recording) -> Request | None:
        """The request, once."""
        if self._begun:
            return None
        self._begun = True
        return self._request

    def began(self, request: str, send: Send) -> None:
        """Nothing is to be noted."""

    def receive(self, message: Message) -> None:
        """Nothing is to be noted."""

    def ended(self, result: RunResult) -> RunResult:
        """The execution's result is the run's."""
        return result

    async def close(self, result: RunResult) -> RunResult:
        """The execution's result is the run's."""
        return result

    def release(self) -> None:
        """Let the source, which the recording has, and the input go."""
        if isinstance(self._request, FileRequest):
            self._request = replace(self._request, source=b"", stdin="")
        else:
            self._request = replace(self._request, source="", stdin="")


Work = Request | Steps


def steps_of(work: Work) -> Steps:
    """The steps of what is asked for."""
    return Once(work) if isinstance(work, Request) else work
