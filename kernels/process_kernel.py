"""A kernel as a process of this machine: its messages, its end. What is common to all of them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kernels import jupyter
from kernels.kernel import Channel, Checkpoint, Exit, Message
from kernels.launching import Launched
from kernels.processes import Processes
from kernels.start_errors import ended_at_the_start

if TYPE_CHECKING:
    # Imported with the first connection: it brings the whole message stack.
    from kernels.channels import Channels

#: Seconds to wait for the last messages of a kernel that has died, and of one that has sent them
#: all before it ended.
_LAST_MESSAGES, _LAST_OF_ALL = 0.03, 0.005
#: Seconds between looks at a kernel that has not spoken, and until it is asked once more.
_LOOK, _ASK_AGAIN = 0.2, 1.0


class ProcessKernel(ABC):
    """See `kernels.kernel.Kernel`. `starter` started its process and ends it; `forget` is called
    when nothing of it is left."""

    scripted = False
    #: The channels on which a kernel that is ready has spoken.
    _greeting: frozenset[Channel] = frozenset({"iopub"})

    def __init__(
        self,
        launched: Launched,
        starter: Processes,
        forget: Callable[[ProcessKernel], None],
    ) -> None:
        self._launched = launched
        self._starter = starter
        self._forget = forget
        self._channels: Channels | None = None
        self._silent = set(self._greeting)
        self._greeted = asyncio.Event()
        #: Whether a request waits for its reply while the kernel starts.
        self._asking = False
        #: The execution that what it writes to its descriptors belongs to: the one under way, else
        #: the last that was asked for.
        self._last_request = self._running = ""
        #: Whether it was asked to end, for which it takes its time.
        self._leaving = False
        #: What was asked, by the id of the message.
        self._asked: dict[str, asyncio.Future[Mapping[str, Any] | None]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._memory_kills = _memory_kills()
        self.on_message: Callable[[Message], None] = _ignore
        self.on_end: Callable[[], None] = lambda: None
        self.exited = asyncio.Event()
        self.exit: Exit | None = None

    @property
    def pid(self) -> int | None:
        return self._launched.process.pid

    @property
    def connection_file(self) -> Path | None:
        return self._launched.connection_file

    # -- start

    async def connect(self) -> None:
        """Wait until the process is ready, connect, and wait until it speaks."""
        process = self._launched.process
        ready = asyncio.create_task(self._ready())
        exited = asyncio.create_task(process.exited.wait())
        try:
            await asyncio.wait({ready, exited}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            exited.cancel()
        if not process.exited.is_set():
            jupyter.load()
            from kernels.channels import Channels

            connection = self._launched.connection
            self._channels = Channels(connection, self._receive, self.scripted)
            self._watch = asyncio.create_task(self._await_exit())
            await self._greet()
            self._launched.held.close()
        if process.exited.is_set() or self.exited.is_set():
            raise ended_at_the_start(self._launched, self.last_words())

    async def _ready(self) -> None:
        """Wait until it says, if it has the means, that connecting makes sense."""
        if self._launched.lifeline is None:
            return
        data = await asyncio.get_running_loop().sock_recv(self._launched.lifeline, 1)
        if not data:
            await self._launched.process.exited.wait()
        # What tells its pid goes another way than the byte.
        await self._launched.process.started.wait()

    async def _greet(self) -> None:
        """Wait until it has spoken, or has ended."""
        # ipykernel 7 greets a new subscriber; others say nothing until asked, and what they say
        # before the subscription has arrived is lost.
        loop = asyncio.get_running_loop()
        asked = loop.time() - _ASK_AGAIN
        while not self._greeted.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._greeted.wait()
            due = not self._asking or loop.time() - asked >= _ASK_AGAIN
            if due and not self._greeted.is_set() and self._channels is not None:
                self._asking, asked = True, loop.time()
                with contextlib.suppress(Exception):
                    self._channels.send("shell", "kernel_info_request", {})

    def last_words(self) -> str:
        """What it said that never became a kernel."""
        return self._launched.last_words()

    # -- messages

    def send(
        self,
        channel: Channel,
        type: str,
        content: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        if self._channels is None:
            return ""
        ident = self._channels.send(channel, type, content, metadata)
        if type == "execute_request":
            # A checkpoint is killed before a kernel is, and that is not its end.
            self._memory_kills = _memory_kills()
            self._last_request = ident
            self._leaving = (metadata or {}).get("rmi", {}).get("mode") == "exit"
        return ident

    async def ask(
        self,
        type: str,
        content: Mapping[str, Any],
        timeout: float,
        channel: Literal["control", "shell"] = "control",
    ) -> Mapping[str, Any] | None:
        from zmq import Again

        if self._channels is None:
            return None
        reply: asyncio.Future[Mapping[str, Any] | None]
        reply = asyncio.get_running_loop().create_future()
        # When so many have gone unanswered that no more fit, this one goes unanswered, too.
        with contextlib.suppress(Again):
            ident = self.send(channel, type, content)
            self._asked[ident] = reply
            try:
                await asyncio.wait((reply,), timeout=timeout)
            finally:
                self._asked.pop(ident, None)
        return reply.result() if reply.done() else None

    def _receive(self, message: Message) -> None:
        if message.channel in ("control", "shell") and message.parent in self._asked:
            self._asked.pop(message.parent).set_result(message.content)
            return
        if message.channel == "iopub" and message.type == "status":
            self._note_status(message)
        if not self._greeted.is_set():
            self._silent.discard(message.channel)
            self._asking = self._asking and message.channel != "shell"
            if not self._silent:
                self._greeted.set()
        self.on_message(message)

    def _note_status(self, message: Message) -> None:
        if message.parent == self._last_request or message.foreign == "execute_request":
            busy = isinstance(message.content, dict) and message.content.get("execution_state")
            if busy == "busy":
                self._running = message.parent
            elif message.parent == self._running:
                self._running = ""

    @property
    def _writer(self) -> str:
        """The request that output without one belongs to."""
        return self._running or self._last_request

    @abstractmethod
    def interrupt(self) -> None:
        """See `Kernel`."""

    def _signal(self, number: int, send: Callable[[int, int], None]) -> None:
        """Have the signal sent, by kill or killpg."""
        if self.pid is None or self.exited.is_set():
            return
        with contextlib.suppress(OSError):
            send(self.pid, number)
            # After it, so that a stopped program meets the signal where it stands.
            if hasattr(signal, "SIGCONT"):
                send(self.pid, signal.SIGCONT)

    async def stack(self) -> str:
        return ""

    async def checkpoint(self, timeout: float) -> Checkpoint | None:
        return None

    # -- end

    async def _await_exit(self) -> None:
        process = self._launched.process
        await process.exited.wait()
        self.on_end()
        # What libzmq had already received is still there.
        seconds = _LAST_OF_ALL if self._leaving and process.status == 0 else _LAST_MESSAGES
        deadline = asyncio.get_running_loop().time() + seconds
        while self._channels is not None and asyncio.get_running_loop().time() < deadline:
            if not self._channels.drain():
                await asyncio.sleep(0.002)
        if self._channels is not None:
            self._close_channels()
            # Of a kernel that never was one they are its last words.
            if self._greeted.is_set():
                self._recover_text()
        status = process.status
        self.exit = Exit(
            code=status if status is not None and status >= 0 else None,
            signal=-status if status is not None and status < 0 else None,
            trace=self._launched.faults()[-20_000:],
            out_of_memory=status == -9 and _memory_kills() > self._memory_kills,
        )
        self.exited.set()
        self._greeted.set()

    @abstractmethod
    def _recover_text(self) -> None:
        """Pass on what it had written and not sent."""

    def _say(self, name: str, parent: str, text: str) -> None:
        content = {"name": name, "text": text}
        self.on_message(Message("iopub", "stream", parent, content))

    def _close_channels(self) -> None:
        if self._channels is not None:
            self._channels.close()
            self._channels = None
        while self._asked:
            self._asked.popitem()[1].set_result(None)

    def disconnect(self) -> None:
        """Release sockets, pipes and tasks; the process is ended by somebody else."""
        self._close_channels()
        if self._watch is not None:
            self._watch.cancel()
        self._launched.release()
        self.exited.set()
        self._greeted.set()

    async def close(self) -> None:
        process = self._launched.process
        self._starter.kill(process)
        await process.gone.wait()
        if self._watch is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        self.disconnect()
        self._forget(self)
        self._launched.remove()


def _memory_kills() -> int:
    """How often the system has killed a process for memory; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError), open("/proc/vmstat", "rb") as file:
        return int(file.read().partition(b"\noom_kill ")[2].split(maxsplit=1)[0])
    return 0


def _ignore(message: Message) -> None:
    """The handler of a kernel that nobody listens to."""
