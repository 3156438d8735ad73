"""What a running program asks whoever has started it, and the time that the answers take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kernels.kernel import Kernel, Message

#: Characters of a prompt, its end: that is what asks.
_PROMPT = 2000
#: Ctrl-D, which kernels take for the end of the input.
_NOBODY = "\x04"
#: Seconds after an interrupt in which it should have met whoever asks.
_OBEYING = 0.2


@dataclass(frozen=True)
class Question:
    """What a running program waits to be told. `serial` numbers the questions of one execution,
    from 1; the answer to a `password` is secret."""

    serial: int
    prompt: str
    password: bool = False


class Questions:
    """The questions of one execution, of which one may be open. `changed` is called whenever one
    is put, answered or withdrawn."""

    def __init__(self, kernel: Kernel, changed: Callable[[], None]) -> None:
        self._kernel = kernel
        self._changed = changed
        self._waiters = asyncio.Event()
        self._metadata: Mapping[str, Any] = {}
        self._count = 0
        self._waited = 0.0
        self._since = 0.0
        self._refusing = self._over = False
        self._refusal: asyncio.TimerHandle | None = None
        #: The one that is open.
        self.open: Question | None = None

    @property
    def waited(self) -> float:
        """Seconds in which one was open, so far."""
        return self._waited + (self._now() - self._since if self.open else 0.0)

    def receive(self, message: Message) -> None:
        """Take a message of the stdin channel that belongs to the execution."""
        content, metadata = message.content, message.metadata
        if message.type == "input_withdrawn" and metadata == self._metadata:
            self._forget_refusal()
            self._close()
        elif message.type == "input_request" and isinstance(content, Mapping):
            self._forget_refusal()
            self._close()
            self._count += 1
            self._metadata, self._since = metadata, self._now()
            prompt = str(content.get("prompt", ""))[-_PROMPT:]
            self.open = Question(self._count, prompt, bool(content.get("password")))
            if self._refusing:
                self.answer(self._count, None)
            else:
                self._tell()

    def answer(self, serial: int, text: str | None) -> bool:
        """Answer the question with this number; None refuses it: the program meets EOFError.

        The program takes the first line; what follows is there for its next questions. Returns
        False, and does nothing, when that question is not open any more.
        """
        if self.open is None or self.open.serial != serial:
            return False
        self._close()
        self._reply(_NOBODY if text is None else text.encode("utf-8", "replace").decode())
        return True

    def refuse(self) -> None:
        """The program is being interrupted: what it asks from now on is refused."""
        self._refusing = True
        if self.open is not None:
            # Later, because KeyboardInterrupt is to come first. But where a thread asks, the main
            # one may wait for it where no interrupt is met.
            loop = asyncio.get_running_loop()
            self._refusal = loop.call_later(_OBEYING, self._reply, _NOBODY)
            self._close()

    def finish(self) -> None:
        """The execution is over."""
        self._over = True
        self._forget_refusal()
        self._close()
        self._tell()

    async def after(self, serial: int) -> Question | None:
        """The next open question that is later than number `serial`; None when the execution ends
        without."""
        while not self._over:
            if self.open is not None and self.open.serial > serial:
                return self.open
            await self._waiters.wait()
        return None

    def _reply(self, value: str) -> None:
        self._kernel.send("stdin", "input_reply", {"value": value}, self._metadata)

    def _forget_refusal(self) -> None:
        if self._refusal is not None:
            self._refusal.cancel()
            self._refusal = None

    def _close(self) -> None:
        if self.open is not None:
            self._waited += self._now() - self._since
            self.open = None
            self._tell()

    def _tell(self) -> None:
        self._waiters.set()
        self._waiters = asyncio.Event()
        self._changed()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
