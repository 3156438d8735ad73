"""The seam: what a session needs of a kernel, wherever it runs.

A kernel is messages (the Jupyter messaging protocol 5), an interrupt and an end. Deadlines,
collecting and state are built on it once, in `execution` and `session`; a way to run kernels
(local processes, a remote gateway) is one module that implements `Backend`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from kernels.kernelspecs import Kernelspec

Channel = Literal["shell", "iopub", "stdin", "control"]


@dataclass(frozen=True)
class Message:
    """One message from a kernel. `parent` is the id of the request that it belongs to, or "".

    `foreign`: the type of that request, if another client of the kernel has sent it; else "".
    """

    channel: Channel
    type: str
    parent: str
    content: Mapping[str, Any]
    header: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    buffers: Sequence[bytes] = ()
    foreign: str = ""


@dataclass(frozen=True)
class Exit:
    """How a kernel's process ended: an exit code, or the number of the signal that killed it.

    Both None: unknown, as of a remote kernel. `trace`: what a crash handler wrote (faulthandler).
    `out_of_memory`: the system says that it has killed for memory since this kernel was asked to
    run something last.
    """

    code: int | None = None
    signal: int | None = None
    trace: str = ""
    out_of_memory: bool = False


class Kernel(Protocol):
    """A running kernel. Whoever started it owns it and must `close` it.

    `on_message` is called, in the event loop, with every message in the order of its channel;
    set it before sending. When the process ends, all that it had written has been passed to
    `on_message` before `exited` is set; `on_end` is called before that.
    """

    on_message: Callable[[Message], None]
    on_end: Callable[[], None]
    exited: asyncio.Event
    exit: Exit | None
    #: Whether requests may carry `metadata["rmi"]` (see `guest.session`).
    scripted: bool

    @property
    def connection_file(self) -> Path | None:
        """Where other clients of this machine read how to connect, if they can."""

    @property
    def pid(self) -> int | None:
        """Its process on this machine, if it has one."""

    def send(
        self,
        channel: Channel,
        type: str,
        content: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Send a message; returns its id."""

    async def ask(
        self, type: str, content: Mapping[str, Any], timeout: float
    ) -> Mapping[str, Any] | None:
        """The content of the reply to a message on the control channel, which a kernel reads while
        a run is going on, too. None: no reply within `timeout` seconds, or the kernel has ended.
        """

    def interrupt(self) -> None:
        """Ask it to raise KeyboardInterrupt in what runs, a top-level `await` included."""

    async def stack(self) -> str:
        """The Python traceback of its main thread at this moment; "" where that cannot be had."""

    async def checkpoint(self, timeout: float) -> Checkpoint | None:
        """Keep its state as it is when it comes to it: after what it has been sent before, and
        before what it is sent after. None: kernels of this kind cannot.

        Raises `CheckpointError` when the state cannot be kept, or the kernel has not come to it
        within `timeout` seconds.
        """

    async def close(self) -> None:
        """End the process and all that it started. Returns when nothing of it is left."""


class Checkpoint(Protocol):
    """The state of a kernel as it was, from which any number of kernels can go on. Whoever asked
    for it owns it and must `close` it; it lives on when the kernel ends.

    Memory is what it brings back: not files, databases, or what others know. `warnings`: what else
    the state depends on and it does not bring back, each in a few words.
    """

    warnings: tuple[str, ...]
    #: Milliseconds that the kernel stood still for it.
    fork_ms: float

    @property
    def pid(self) -> int | None:
        """Its process on this machine, if it has one."""

    @property
    def exited(self) -> asyncio.Event:
        """Set when it has ended, whoever ended it: it is good for nothing then."""

    def private_memory(self) -> int:
        """Bytes that it costs: what the kernel has changed since. Call it in a thread."""

    async def resume(self) -> Kernel:
        """A kernel in this state, ready for its first request. Raises `KernelStartError`."""

    async def close(self) -> None:
        """Give the state up. Returns when nothing of it is left."""


class Backend(Protocol):
    """Starts kernels of one kind. Closing it ends all of them.

    `directory` is a private one on this machine that is gone when the server is, however that
    ends; outputs are kept below it.
    """

    directory: Path

    async def start(self, spec: Kernelspec | None = None) -> Kernel:
        """A kernel that is ready for its first request: the one that `spec` describes, in whatever
        language, or this backend's usual Python. Raises `KernelStartError`."""

    async def settle(self) -> None:
        """Wait until kernels start as quickly as they ever will."""

    def renew(self) -> None:
        """Packages of an environment have changed: what kernels are made from, with all that it
        has imported, is to be made anew. Kernels that were started stay as they are."""

    async def close(self) -> None:
        """End every kernel of this backend and release what it holds."""
