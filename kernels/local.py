"""Kernels as processes of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernels import processes
from kernels.errors import KernelStartError
from kernels.guest import ring
from kernels.kernel import Channel, Exit, Message
from kernels.launching import TRACE_SIGNAL, Launched, LocalSpec, launch, make_run_directory

if TYPE_CHECKING:
    # Imported with the first connection: it brings the whole message stack.
    from kernels.channels import Channels

_START_TIMEOUT = 60.0
#: Seconds to wait for a dead kernel's last messages, after which the ring tells the rest.
_LAST_MESSAGES = 0.03


class LocalBackend:
    """Starts kernels here. `close` ends them all and removes every file of theirs.

    May be made, and its first kernel launched, before there is an event loop.
    """

    def __init__(self, spec: LocalSpec) -> None:
        self.spec = spec
        self.directory = Path(make_run_directory())
        self._processes = processes.start_processes(str(self.directory))
        self._early: list[Launched] = []
        self._kernels: set[LocalKernel] = set()
        self._closed = False

    def launch_early(self) -> None:
        """Start a process now for the first `start` to take."""
        self._early.append(self._launch())

    async def start(self) -> LocalKernel:
        """A kernel that is ready. Raises `KernelStartError` with the process's last words."""
        if self._closed:
            raise KernelStartError("The server is ending and starts no kernel any more.")
        launched = self._early.pop() if self._early else self._launch()
        self._processes.attach()
        kernel = LocalKernel(self, launched)
        self._kernels.add(kernel)
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await kernel.connect()
        except TimeoutError:
            await kernel.close()
            raise KernelStartError(
                f"The kernel of {self.spec.python} did not answer within {_START_TIMEOUT:g} s, "
                "so it was ended. Try again, or check that this Python works."
            ) from None
        except BaseException:
            await asyncio.shield(kernel.close())
            raise
        return kernel

    async def close(self) -> None:
        self._closed = True
        for kernel in list(self._kernels):
            kernel.disconnect()
        for launched in self._early:
            launched.release()
        await self._processes.close()

    def _launch(self) -> Launched:
        if not self._processes.alive:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            self._processes = processes.start_processes(str(self.directory))
        return launch(self.spec, self._processes, self.directory)


class LocalKernel:
    """A kernel process; see `kernels.kernel.Kernel`. Made by `LocalBackend.start` alone."""

    scripted = True

    def __init__(self, backend: LocalBackend, launched: Launched) -> None:
        self._backend = backend
        self._launched = launched
        self._channels: Channels | None = None
        self._ring_position = 0
        self._heard = asyncio.Event()
        self._last_request = ""
        #: What was asked on the control channel, by the id of the message.
        self._asked: dict[str, asyncio.Future[Mapping[str, Any] | None]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._memory_kills = _memory_kills()
        self.on_message: Callable[[Message], None] = _ignore
        self.exited = asyncio.Event()
        self.exit: Exit | None = None

    @property
    def pid(self) -> int | None:
        return self._launched.process.pid

    # -- start

    async def connect(self) -> None:
        """Wait until the process is ready, connect, and wait until iopub speaks."""
        process = self._launched.process
        ready = asyncio.create_task(self._ready())
        exited = asyncio.create_task(process.exited.wait())
        try:
            await asyncio.wait({ready, exited}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
            exited.cancel()
        if process.exited.is_set():
            raise self._start_error()
        from kernels.channels import Channels

        self._channels = Channels(self._launched.connection, self._receive)
        self._watch = asyncio.create_task(self._await_exit())
        died = asyncio.create_task(self.exited.wait())
        try:
            # ipykernel 7 greets a new subscriber; older ones say nothing until asked, and what
            # they say before the subscription has arrived is lost.
            while not self._heard.is_set() and not self.exited.is_set():
                heard = asyncio.create_task(self._heard.wait())
                await asyncio.wait({heard, died}, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
                heard.cancel()
                if not self._heard.is_set() and self._channels is not None:
                    with contextlib.suppress(Exception):
                        self._channels.send("shell", "kernel_info_request", {})
        finally:
            died.cancel()
        if self.exited.is_set():
            raise self._start_error()

    async def _ready(self) -> None:
        if self._launched.lifeline is None:
            return
        data = await asyncio.get_running_loop().sock_recv(self._launched.lifeline, 1)
        if not data:
            await self._launched.process.exited.wait()

    def _start_error(self) -> KernelStartError:
        process = self._launched.process
        words = self._launched.last_words()
        python = self._backend.spec.python
        if any(f"No module named '{name}'" in words for name in ("ipykernel", "zmq", "IPython")):
            message = (
                f"{python} has no ipykernel, so it cannot run kernels. "
                f"Install it with: {python} -m pip install ipykernel"
            )
        else:
            last = words.strip().splitlines()[-1:] or [f"exit status {process.status}"]
            message = (
                f"The kernel of {python} ended while it started: {last[0]}. "
                "Check that this Python works."
            )
        return KernelStartError(message, words[-4000:])

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
            self._last_request = ident
        return ident

    async def ask(
        self, type: str, content: Mapping[str, Any], timeout: float
    ) -> Mapping[str, Any] | None:
        from zmq import Again

        if self._channels is None:
            return None
        reply: asyncio.Future[Mapping[str, Any] | None]
        reply = asyncio.get_running_loop().create_future()
        # When so many have gone unanswered that no more fit, this one goes unanswered, too.
        with contextlib.suppress(Again):
            ident = self.send("control", type, content)
            self._asked[ident] = reply
            try:
                await asyncio.wait((reply,), timeout=timeout)
            finally:
                self._asked.pop(ident, None)
        return reply.result() if reply.done() else None

    def _receive(self, message: Message) -> None:
        if message.channel == "control" and message.parent in self._asked:
            self._asked.pop(message.parent).set_result(message.content)
            return
        if message.channel == "iopub":
            self._heard.set()
            end = message.metadata.get("rmi", {}).get("end") if message.type == "stream" else None
            if end is not None:
                self._ring_position = end
        self.on_message(message)

    def interrupt(self) -> None:
        if self.pid is None or self.exited.is_set():
            return
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGINT)
            # After it, so that a stopped program meets the interrupt where it stands.
            if hasattr(signal, "SIGCONT"):
                os.kill(self.pid, signal.SIGCONT)
        # A loop that waits in `await` notices the signal only with its next event.
        with contextlib.suppress(Exception):
            self.send("shell", "kernel_info_request", {})

    async def stack(self) -> str:
        if TRACE_SIGNAL is None or self.pid is None or self.exited.is_set():
            return ""
        before = self._launched.faults()
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, TRACE_SIGNAL)
        for _ in range(20):
            await asyncio.sleep(0.01)
            written = self._launched.faults()[len(before) :]
            if written.endswith("\n") and 'File "' in written:
                return written
        return ""

    # -- end

    async def _await_exit(self) -> None:
        process = self._launched.process
        await process.exited.wait()
        # What libzmq had already received is still there; then the ring tells what was not sent.
        deadline = asyncio.get_running_loop().time() + _LAST_MESSAGES
        while self._channels is not None and asyncio.get_running_loop().time() < deadline:
            if not self._channels.drain():
                await asyncio.sleep(0.005)
        if self._channels is not None:
            self._close_channels()
            self._recover_text()
        status = process.status
        self.exit = Exit(
            code=status if status is not None and status >= 0 else None,
            signal=-status if status is not None and status < 0 else None,
            trace=self._launched.faults()[-20_000:],
            out_of_memory=status == -9 and _memory_kills() > self._memory_kills,
        )
        self.exited.set()

    def _recover_text(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            lost = ring.unread(str(self._launched.directory / "ring"), self._ring_position)
            if lost is None:
                self._say("stderr", self._last_request, "\n[some output was lost here]\n")
            for parent, name, text in lost or ():
                self._say(name, parent, text)
        for name, text in self._launched.unread():
            self._say(name, self._last_request, text)

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

    async def close(self) -> None:
        process = self._launched.process
        self._backend._processes.kill(process)
        await process.gone.wait()
        if self._watch is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        self.disconnect()
        self._backend._kernels.discard(self)
        self._launched.remove()


def _memory_kills() -> int:
    """How often the system has killed a process for memory; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError), open("/proc/vmstat") as file:
        for line in file:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _ignore(message: Message) -> None:
    """The handler of a kernel that nobody listens to."""
