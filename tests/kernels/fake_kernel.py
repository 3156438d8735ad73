"""A kernel without a process: a test says what it answers, and when it ends."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kernels.errors import KernelStartError
from kernels.kernel import Channel, Checkpoint, Exit, Message
from kernels.kernelspecs import Kernelspec


class FakeKernel:
    """Hands each execute_request to `answer`, in a later turn of the loop; notes the rest."""

    scripted = True
    pid = connection_file = None

    def __init__(self, answer: Callable[[FakeKernel], None] = lambda kernel: None) -> None:
        self.on_message: Callable[[Message], None] = lambda message: None
        self.exited = asyncio.Event()
        self.exit: Exit | None = None
        self.answer = answer
        #: What to do when it is interrupted.
        self.obey: Callable[[FakeKernel], None] = lambda kernel: None
        self.trace = ""
        #: What it answers on the control channel.
        self.told: Mapping[str, Any] | None = None
        self.interrupts = 0
        self.closed = False
        #: Id, content and metadata of the last request, and how many there were.
        self.request = ""
        self.content: Mapping[str, Any] = {}
        self.metadata: Mapping[str, Any] = {}
        self.requests = 0

    def send(
        self,
        channel: Channel,
        type: str,
        content: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        self.requests += 1
        self.request, self.content, self.metadata = f"r{self.requests}", content, metadata or {}
        if self.metadata.get("rmi", {}).get("mode") == "exit":
            asyncio.get_running_loop().call_soon(self.end, Exit(code=0))
        else:
            asyncio.get_running_loop().call_soon(self.answer, self)
        return self.request

    async def ask(
        self, type: str, content: Mapping[str, Any], timeout: float
    ) -> Mapping[str, Any] | None:
        return self.told

    def interrupt(self) -> None:
        self.interrupts += 1
        asyncio.get_running_loop().call_soon(self.obey, self)

    async def stack(self) -> str:
        return self.trace

    async def checkpoint(self, timeout: float) -> Checkpoint | None:
        return None

    async def close(self) -> None:
        self.closed = True
        self.exited.set()

    # -- what it says

    def say(self, type: str, parent: str | None = None, **content: Any) -> None:
        """Publish a message, for the last request unless another `parent` is given."""
        parent = self.request if parent is None else parent
        self.on_message(Message("iopub", type, parent, content))

    def print(self, text: str, name: str = "stdout", parent: str | None = None) -> None:
        self.say("stream", parent, name=name, text=text)

    def idle(self) -> None:
        self.say("status", execution_state="idle")

    def reply(self, **content: Any) -> None:
        content = {"status": "ok", "execution_count": self.requests, **content}
        self.on_message(Message("shell", "execute_reply", self.request, content))

    def succeed(self, text: str = "") -> None:
        """Print, reply, and be idle."""
        if text:
            self.print(text)
        self.reply(rmi={"exit_code": 0})
        self.idle()

    def fail(self, name: str = "KeyboardInterrupt", code: int = 130) -> None:
        """Publish an error, reply with it, and be idle."""
        self.say("error", ename=name, evalue="", traceback=[f"Traceback\n{name}"])
        error = {"name": name, "value": "", "line": 1, "file": "<cell 1>"}
        self.reply(rmi={"exit_code": code, "error": error})
        self.idle()

    def end(self, exit: Exit) -> None:
        """Its process ends."""
        self.exit = exit
        self.exited.set()


class FakeBackend:
    """Starts fake kernels. `failures` are the sentences with which the next starts fail."""

    def __init__(self, answer: Callable[[FakeKernel], None] = FakeKernel.succeed) -> None:
        self.answer = answer
        self.kernels: list[FakeKernel] = []
        self.failures: list[str] = []
        #: What the starts asked for.
        self.specs: list[Kernelspec | None] = []
        #: Set: a start is over at once. Clear it to hold starts back.
        self.open = asyncio.Event()
        self.open.set()
        self._directory = tempfile.TemporaryDirectory(prefix="rmi-agent-test-")
        self.directory = Path(self._directory.name)

    async def start(self, spec: Kernelspec | None = None) -> FakeKernel:
        self.specs.append(spec)
        await self.open.wait()
        if self.failures:
            raise KernelStartError(self.failures.pop(0))
        self.kernels.append(FakeKernel(self.answer))
        return self.kernels[-1]

    def renew(self) -> None:
        """They import nothing."""

    async def settle(self) -> None:
        """Nothing makes these quicker."""

    async def close(self) -> None:
        for kernel in self.kernels:
            await kernel.close()
        self._directory.cleanup()
