"""A kernel's state as it was, kept by a sleeping copy of its process (see `guest.checkpoint`)."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kernels import memory, processes
from kernels.errors import CheckpointError, KernelStartError

if TYPE_CHECKING:
    from kernels.process_kernel import ProcessKernel

#: Seconds in which a kernel that was made of one must answer.
PROBE = 5.0
#: Seconds between the kernel's reply and the copy's own word, at most.
_SETTLING = 5.0
#: Asks a kernel's shell channel.
Ask = Callable[[str, Mapping[str, Any], float], Awaitable[Mapping[str, Any] | None]]
#: Starts a kernel by means of a starter, and connects to it.
Start = Callable[[processes.Starter], Awaitable["ProcessKernel"]]


class LocalCheckpoint:
    """See `kernels.kernel.Checkpoint`. Made by `take` alone."""

    def __init__(
        self,
        warden: processes.Warden,
        process: processes.Process,
        start: Start,
        reply: Mapping[str, Any],
    ) -> None:
        self._warden, self._process, self._start = warden, process, start
        self.warnings: tuple[str, ...] = tuple(map(str, reply["warnings"]))
        #: Milliseconds that the kernel stood still.
        self.fork_ms = float(reply["fork_ms"])

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def exited(self) -> asyncio.Event:
        return self._process.exited

    def private_memory(self) -> int:
        return memory.private(self.pid)

    async def resume(self) -> ProcessKernel:
        if self.exited.is_set():
            raise KernelStartError("The checkpoint has ended, so no kernel can be made of it.")
        kernel = await self._start(_Forks(self._warden, self._process))
        try:
            answer = await kernel.ask("kernel_info_request", {}, PROBE, "shell")
        except BaseException:
            await asyncio.shield(kernel.close())
            raise
        if answer is None:
            await kernel.close()
            raise KernelStartError(
                f"The kernel that was made of the checkpoint did not answer within {PROBE:g} s, "
                "so it was ended."
            )
        return kernel

    async def close(self) -> None:
        self._warden.kill(self._process)
        await self._process.gone.wait()


class _Forks:
    """Forks kernels from a checkpoint: what `launch` needs of it."""

    def __init__(self, warden: processes.Warden, process: processes.Process) -> None:
        self._warden, self._process = warden, process

    def start(
        self,
        ident: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        fds: Sequence[int],
        speaks: bool = True,
    ) -> processes.Process:
        """See `processes.Starter`. Command, environment and directory are those of the state."""
        process = self._warden.fork(self._process, ident, {"facts": env["RMI_KERNEL"]}, fds)
        asyncio.get_running_loop().call_later(PROBE, self._check, process)
        return process

    def _check(self, process: processes.Process) -> None:
        if not process.started.is_set():
            # Stopped, or worse; the fork has failed then.
            self._warden.kill(self._process)


async def take(
    warden: processes.Warden, kernel: processes.Process, ask: Ask, start: Start, timeout: float
) -> LocalCheckpoint:
    """Have a kernel copy itself when it comes to it, in `timeout` seconds at most.

    Raises `CheckpointError`; nothing is left of the attempt then, nor when it is cancelled.
    """
    if kernel.exited.is_set():
        raise CheckpointError(_ENDED)
    process = warden.expect(uuid.uuid4().hex[:12], kernel)
    try:
        request = {"ident": process.id, "until": time.time() + timeout}
        reply = await ask("checkpoint_request", request, timeout)
        if reply is None:
            raise CheckpointError(_BUSY if not kernel.exited.is_set() else _ENDED)
        if reply["status"] != "ok":
            raise CheckpointError(_why(reply), tuple(map(str, reply.get("reasons", ()))))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLING):
                await process.started.wait()
        if process.pid is None or process.exited.is_set():
            raise CheckpointError(f"There is no checkpoint: {process.failure or 'it has ended'}.")
    except BaseException:
        warden.kill(process)
        raise
    return LocalCheckpoint(warden, process, start, reply)


_BUSY = "There is no checkpoint: the kernel was busy all the time. Try again when nothing runs."
_ENDED = "There is no checkpoint: the kernel has ended."


def _why(reply: Mapping[str, Any]) -> str:
    if reply["status"] != "refused":
        return _BUSY
    return f"There can be no checkpoint: {'; '.join(reply['reasons'])}."
