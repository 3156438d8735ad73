"""Kernels that stand ready for the sessions to come."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from kernels import memory
from kernels.errors import KernelError
from kernels.execution import CodeRequest, Execution
from kernels.kernel import Backend, Kernel
from kernels.textlog import Log

if TYPE_CHECKING:
    from kernels.kernelspecs import Kernelspec

#: Seconds without a run after which a kernel is started, and in which one is started all the same.
_QUIET, _AT_LAST = 0.05, 2.0
#: Seconds that its first execution may take, which is empty.
_PATIENCE = 2.0
#: Seconds between two looks at whether anything runs, and at the memory.
_LOOK, _MEMORY_LOOK = 0.01, 5.0
#: What /proc tells of a process: that it ends, and that SIGKILL is on its way to it.
_EXITING, _KILLED = 0x4, 0x100


class Pool:
    """Keeps `size` kernels of every kind that is in use ready, from `begin` on.

    `busy` says whether a run is going on, and `in_use` which kernelspecs sessions have; those of
    no kernelspec are always in use. A kernel is started in the background, when nothing runs; a
    taker who finds it half started waits for it. When memory is short there are none.
    """

    def __init__(
        self,
        backend: Backend,
        size: int,
        busy: Callable[[], bool],
        in_use: Callable[[], Collection[Kernelspec | None]],
    ) -> None:
        self._backend, self._size = backend, size
        self._busy, self._in_use = busy, in_use
        self._ready: list[tuple[Kernelspec | None, Kernel]] = []
        #: The start that is under way, until somebody claims the kernel, and its kind.
        self._starting: tuple[Kernelspec | None, asyncio.Task[Kernel]] | None = None
        self._wanting = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        #: Whether what is in use now has been seen to once.
        self.is_full = True

    def begin(self, then: Callable[[], object] = bool) -> None:
        """Have kernels ready from now on. `then` is called once they are, in a thread."""
        if self._size:
            self.is_full = False
            self._wanting.set()
            self._keeper = asyncio.create_task(self._keep(then))

    def pids(self) -> list[int | None]:
        """The processes of those that are ready."""
        return [kernel.pid for _, kernel in self._ready if not kernel.exited.is_set()]

    async def take(self, spec: Kernelspec | None) -> Kernel | None:
        """A kernel for the caller to own, if one is ready or about to be."""
        self._wanting.set()
        while (place := self._place_of(spec)) is not None:
            _, kernel = self._ready.pop(place)
            if _is_fit(kernel):
                return kernel
            await kernel.close()
        if self._starting is None or self._starting[0] != spec:
            return None
        (_, task), self._starting = self._starting, None
        try:
            return await asyncio.shield(task)
        except KernelError:
            return None
        except asyncio.CancelledError:
            task.add_done_callback(lambda _: self._receive(spec, task))
            raise

    async def renew(self) -> None:
        """End those that are ready; others take their place."""
        if self._starting is not None:
            (_, task), self._starting = self._starting, None
            with contextlib.suppress(KernelError, asyncio.CancelledError):
                await (await asyncio.shield(task)).close()
        await self._end(lambda kind: True)
        self._wanting.set()

    async def close(self) -> None:
        """Start none any more. The backend ends those that there are."""
        tasks: list[asyncio.Task[None] | asyncio.Task[Kernel]] = []
        if self._keeper is not None:
            tasks.append(self._keeper)
        if self._starting is not None:
            tasks.append(self._starting[1])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _place_of(self, spec: Kernelspec | None) -> int | None:
        return next((i for i, (kind, _) in enumerate(self._ready) if kind == spec), None)

    async def _keep(self, then: Callable[[], object]) -> None:
        first = True
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_MEMORY_LOOK):
                    await self._wanting.wait()
            if not first and memory.is_short():
                await self._end(lambda kind: True)
                # When there is some again, they are wanted again.
                self._wanting.set()
                await asyncio.sleep(_MEMORY_LOOK)
            elif self._wanting.is_set():
                self._wanting.clear()
                await self._backend.settle()
                # At the start, too: the server's first answer goes first.
                await self._quiet()
                await self._fill()
                if first:
                    await asyncio.to_thread(then)
                first = False
            self.is_full = True

    async def _quiet(self) -> None:
        """Wait until nothing has run for a moment, but not for ever."""
        begun = quiet = time.monotonic()
        while (now := time.monotonic()) - quiet < _QUIET and now - begun < _AT_LAST:
            await asyncio.sleep(_LOOK)
            if self._busy():
                quiet = time.monotonic()

    async def _fill(self) -> None:
        kinds: list[Kernelspec | None] = [None]
        for spec in reversed(list(self._in_use())):
            # An environment is as it was activated last.
            if spec is not None and not any(spec.is_as(kind) for kind in kinds):
                kinds.append(spec)
        await self._end(lambda kind: kind not in kinds)
        for kind in kinds:
            while sum(have == kind for have, _ in self._ready) < self._size:
                task = asyncio.create_task(self._start(kind))
                self._starting = kind, task
                await asyncio.wait({task})
                if self._starting != (kind, task):
                    # Somebody could not wait, and will want another.
                    return
                self._starting = None
                if not self._receive(kind, task):
                    # The next run will say why.
                    break

    async def _start(self, kind: Kernelspec | None) -> Kernel:
        kernel = await self._backend.start(kind)
        if kernel.scripted and kernel.pid is not None:
            # A first execution touches much of the process's memory for the first time.
            await Execution(kernel, CodeRequest(""), Log(0, 0)).follow(_PATIENCE, _PATIENCE)
            kernel.on_message = lambda message: None
        return kernel

    def _receive(self, kind: Kernelspec | None, task: asyncio.Task[Kernel]) -> bool:
        if task.cancelled() or task.exception() is not None:
            return False
        self._ready.append((kind, task.result()))
        return True

    async def _end(self, which: Callable[[Kernelspec | None], bool]) -> None:
        ending = [kernel for kind, kernel in self._ready if which(kind)]
        self._ready = [(kind, kernel) for kind, kernel in self._ready if not which(kind)]
        for kernel in ending:
            await kernel.close()


def _is_fit(kernel: Kernel) -> bool:
    """Whether it lives. If somebody has stopped it, it goes on."""
    if kernel.exited.is_set():
        return False
    if kernel.pid is None or sys.platform != "linux":
        return True
    # Its end may not have been told yet, or not even begun.
    try:
        with open(f"/proc/{kernel.pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        os.kill(kernel.pid, signal.SIGCONT)
    except OSError:
        return False
    state, flags, pending = fields[0], int(fields[6]), int(fields[28])
    return not (state in (b"Z", b"X") or flags & _EXITING or pending & _KILLED)
