"""One request on a kernel: until it is over, its time is up, it is stopped, or the kernel dies."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from kernels.attached import Attached
from kernels.collector import KEPT, Collector
from kernels.kernel import Kernel, Message
from kernels.questions import Questions
from kernels.recording import Recording
from kernels.textlog import Log

#: Seconds to wait after the reply for what iopub still owes; a lost message must not hang a call.
_LATE = 2.0


@dataclass(frozen=True)
class FileRequest:
    """Run `source`, the bytes of the `.py` file `path` (absolute), as `python path *args`."""

    path: Path
    source: bytes
    args: tuple[str, ...] = ()
    stdin: str = ""
    #: Whether somebody can be asked when `input()` finds no more of it (see `questions`).
    ask: bool = False

    @property
    def title(self) -> str:
        """What is run, in a few words."""
        return " ".join((self.path.name, *self.args))

    def code(self) -> str:
        """What the kernel's other clients see as the input of this execution."""
        return f"# {self.title}"

    def metadata(self) -> dict[str, Any]:
        """For the kernel's guest."""
        return {
            "mode": "file",
            "path": str(self.path),
            "source": base64.b64encode(self.source).decode(),
            "argv": list(self.args),
            "stdin": self.stdin,
            **({"ask": True} if self.ask else {}),
        }


@dataclass(frozen=True)
class CodeRequest:
    """Run `source` as one cell; the value of a last expression is shown."""

    source: str
    stdin: str = ""
    ask: bool = False

    @property
    def title(self) -> str:
        """What is run, in a few words."""
        return first_line(self.source)

    def code(self) -> str:
        """The cell."""
        return self.source

    def metadata(self) -> dict[str, Any]:
        """For the kernel's guest."""
        asks = {"ask": True} if self.ask else {}
        return {"mode": "code", "stdin": self.stdin, **asks}


@dataclass(frozen=True)
class CellRequest:
    """Run `source` as one cell of a notebook, exactly as a front end of Jupyter does: tracebacks
    are messages, with colours.

    `directory`: the working directory of the notebook. `begins`: it is the first of a run, whose
    input is `stdin`; the next ones read on in that.
    """

    source: str
    directory: str = ""
    begins: bool = True
    stdin: str = ""
    ask = False

    @property
    def title(self) -> str:
        """What is run, in a few words."""
        return first_line(self.source)

    def code(self) -> str:
        """The cell."""
        return self.source

    def metadata(self) -> dict[str, Any]:
        """For the kernel's guest."""
        return {
            "mode": "cell",
            "begins": self.begins,
            "directory": self.directory,
            "stdin": self.stdin,
        }


Request = FileRequest | CodeRequest | CellRequest


def first_line(source: str) -> str:
    """The beginning of a program, to name it by."""
    first = source.strip().partition("\n")[0]
    return first if len(first) <= 60 else first[:59] + "…"


class Ending(Enum):
    """How an execution came to its end."""

    #: The kernel replied in time.
    DONE = "done"
    #: Its time was up; see `Execution.obeyed`.
    TIMEOUT = "timeout"
    #: It was stopped by request; see `Execution.obeyed`.
    STOPPED = "stopped"
    #: The kernel ended by itself.
    DIED = "died"


class Execution:
    """Sends one request and follows it. `collector` holds what came, at any time: of text the
    first and last `kept` characters. `listen` is told of every message of the kernel meanwhile;
    `others` takes those of its other clients' executions."""

    def __init__(
        self,
        kernel: Kernel,
        request: Request,
        late: Log,
        recording: Recording | None = None,
        listen: Callable[[Message], None] | None = None,
        kept: int = KEPT,
        others: Attached | None = None,
    ) -> None:
        self._kernel = kernel
        self._others = others
        self._before = others.seconds if others is not None else 0.0
        self._listen = listen
        self._news = asyncio.Event()
        self._stopping = False
        self._grace: float | None = None
        self._lost = False
        #: Whether the kernel ended the run itself after the interrupt, so that its state stays.
        self.obeyed = True
        #: Where an execution stood that did not obey, as faulthandler writes it.
        self.stack = ""
        #: Text of earlier runs' threads that arrived before this one or during it.
        self.late = late
        #: What its program asks, if the request says that it may.
        self.questions = Questions(kernel, self._news.set)
        self.collector = Collector("", recording, kept, kept)
        kernel.on_message = self._receive
        content = {
            "code": request.code(),
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": request.ask,
            "stop_on_error": False,
        }
        self.collector.request = kernel.send(
            "shell", "execute_request", content, {"rmi": request.metadata()}
        )

    @property
    def delayed(self) -> float:
        """Seconds in which the kernel has executed code of others since this was asked for."""
        return self._others.seconds - self._before if self._others is not None else 0.0

    @property
    def _behind_others(self) -> bool:
        return self._others is not None and self._others.busy

    def stop(self, grace: float | None = None) -> None:
        """Ask for its end; `follow` returns soon after. `grace`: other than `follow`'s."""
        self._stopping = True
        self._grace = grace
        self._news.set()

    async def follow(self, timeout: float, grace: float, longest: float = math.inf) -> Ending:
        """Wait for the end. After `timeout` seconds, or `stop`, the kernel is interrupted and
        has `grace` seconds to obey. When this returns with `obeyed` False, the kernel, should
        it still run, is the caller's to end.

        The time in which a question is open, or code of others is executed, does not count, but
        for `longest`, the most seconds in all. What is stopped before the kernel has taken it up
        is interrupted when it does, unless the session ends."""
        loop, questions = asyncio.get_running_loop(), self.questions
        begun = loop.time()

        def deadline() -> float:
            held = questions.open or self._behind_others
            seconds = math.inf if held else timeout + questions.waited + self.delayed
            return begun + min(seconds, longest)

        watch = asyncio.create_task(self._kernel.exited.wait())
        watch.add_done_callback(lambda _: self._news.set())
        try:
            if await self._wait(deadline, stoppable=True):
                return Ending.DONE if self.collector.reply is not None else Ending.DIED
            ending = Ending.STOPPED if self._stopping else Ending.TIMEOUT
            questions.refuse()
            self._kernel.interrupt()
            until = loop.time() + (grace if self._grace is None else self._grace)
            ended = await self._wait(lambda: until, stoppable=False)
            self.obeyed = self.collector.reply is not None
            if not ended:
                self.stack = await self._kernel.stack()
            return ending
        finally:
            watch.cancel()
            questions.finish()

    async def _wait(self, deadline: Callable[[], float], stoppable: bool) -> bool:
        """Wait for the end; False when the time is up or, if `stoppable`, a stop is asked for."""
        loop = asyncio.get_running_loop()
        late = 0.0
        while True:
            if self.collector.finished or self._over:
                return True
            if self.collector.reply is not None and not late:
                # Only what iopub still owes is missing.
                late = loop.time() + _LATE
            held = self._behind_others and self._others is not None and not self._others.ended
            if stoppable and self._stopping and not late and not held:
                return False
            self._news.clear()
            end = late or deadline()
            try:
                async with asyncio.timeout_at(end if end < math.inf else None):
                    await self._news.wait()
            except TimeoutError:
                if late:
                    return True
                # The end may have come in the very moment in which the time was up.
                if self.collector.reply is None and not self._over:
                    return False

    @property
    def _over(self) -> bool:
        """Whether no reply will come any more."""
        return self._lost or self._kernel.exited.is_set()

    def _receive(self, message: Message) -> None:
        collector = self.collector
        if self._listen is not None:
            self._listen(message)
        if self._others is not None and self._others.take(message):
            if message.type == "status":
                self._news.set()
        elif message.channel == "stdin" and message.parent == collector.request:
            self.questions.receive(message)
        elif not collector.feed(message):
            self._foreign(message)
        elif message.channel == "shell" or collector.finished:
            self._news.set()

    def _foreign(self, message: Message) -> None:
        if message.channel != "iopub":
            return
        if tells_death(message):
            self._lost = True
            self._news.set()
        else:
            note_late(message, self.late)


def note_late(message: Message, late: Log) -> None:
    """Keep the text of a message that belongs to no run under way: a thread of an earlier one."""
    if message.type == "stream" and isinstance(message.content, Mapping):
        text = message.content.get("text")
        late.write("stdout", text if isinstance(text, str) else "")


def tells_death(message: Message) -> bool:
    """Whether a remote engine says that it has replaced, or given up, a dead kernel."""
    return (
        message.type == "status"
        and not message.parent
        and isinstance(message.content, Mapping)
        and message.content.get("execution_state") in ("restarting", "dead")
    )
