"""Kernels that are started as they are: of other languages, or of Python but not ipykernel's."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from kernels.kernel import Channel, Message
from kernels.launching import Launched
from kernels.outputs import Omitted, StreamName, Text
from kernels.process_kernel import ProcessKernel
from kernels.processes import Processes
from kernels.textlog import Log

#: Characters kept from the start and the end of what its process writes beside its messages.
_WORDS = 4000
#: Seconds that a kernel at rest has to end by itself when it is closed.
_LEAVE = 1.0
_STREAMS: tuple[StreamName, ...] = ("stdout", "stderr")


class ForeignKernel(ProcessKernel):
    """A kernel that knows the protocol and nothing of us. Made by `LocalBackend.start` alone.

    What its process writes to its descriptors is the kernel's own business, as in Jupyter (many
    write there, too, what they publish): it is passed on when the kernel dies, to say why.
    """

    _greeting = frozenset({"iopub", "shell"})

    def __init__(
        self,
        launched: Launched,
        starter: Processes,
        forget: Callable[[ProcessKernel], None],
    ) -> None:
        super().__init__(launched, starter, forget)
        self._words = Log(_WORDS, _WORDS)
        #: Whether it has started and nothing runs in it.
        self._rests = False
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: decoder("backslashreplace") for name in _STREAMS}

    async def connect(self) -> None:
        for name, fd in zip(_STREAMS, self._launched.pipes or (), strict=False):
            asyncio.get_running_loop().add_reader(fd, self._read, name, fd)
        await super().connect()
        self._words.clear()
        self._rests = True

    def _read(self, name: StreamName, fd: int) -> None:
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(fd)
        self._words.write(name, self._decoders[name].decode(data))

    def last_words(self) -> str:
        return self._words.text() + super().last_words()

    def send(
        self,
        channel: Channel,
        type: str,
        content: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        if type == "execute_request":
            self._rests = False
            self._words.clear()
        return super().send(channel, type, content, metadata)

    def _receive(self, message: Message) -> None:
        if message.type == "execute_reply" and message.parent == self._last_request:
            self._rests = True
        super()._receive(message)

    def interrupt(self) -> None:
        spec = self._launched.kernelspec
        by_message = spec is not None and spec.interrupt_mode == "message"
        # Where there are no process groups, SIGINT would end it.
        if by_message or not hasattr(os, "killpg"):
            with contextlib.suppress(Exception):
                self.send("control", "interrupt_request", {})
        else:
            self._signal(signal.SIGINT, _send_to_group)
            # For an ipykernel behind a launcher, as in `LocalKernel`; others just answer it.
            with contextlib.suppress(Exception):
                self.send("shell", "kernel_info_request", {})

    def _recover_text(self) -> None:
        # Its last messages come first: where among them this was written is not known.
        for name, text in self._launched.unread():
            self._words.write("stderr" if name == "stderr" else "stdout", text)
        for output in self._words.outputs():
            if isinstance(output, Text):
                self._say(output.stream, self._writer, output.text)
            elif isinstance(output, Omitted):
                self._say("stderr", self._writer, f"\n{output.words}\n")

    def disconnect(self) -> None:
        for fd in self._launched.pipes or ():
            asyncio.get_running_loop().remove_reader(fd)
        super().disconnect()

    async def close(self) -> None:
        """See `Kernel`. One at rest is asked to end, so that it removes what it made."""
        if self._rests and self._channels is not None:
            self.on_message = lambda message: None
            with contextlib.suppress(Exception):
                self.send("control", "shutdown_request", {"restart": False})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE):
                    await self._launched.process.exited.wait()
        await super().close()


def _send_to_group(pid: int, number: int) -> None:
    """As Jupyter does it: the kernel may be the child of a script that starts it."""
    if sys.platform != "win32" and os.getpgid(pid) == pid:
        os.killpg(pid, number)
    else:
        os.kill(pid, number)
