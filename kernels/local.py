"""Kernels as processes of this machine, and those among them that have our guest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any

from kernels import processes
from kernels.checkpoint import PROBE, Start, take
from kernels.errors import KernelStartError
from kernels.guest import ring
from kernels.kernel import Checkpoint, Message
from kernels.kernelspecs import Kernelspec
from kernels.launching import (
    LAUNCHER,
    TRACE_SIGNAL,
    Launched,
    LocalSpec,
    launch,
    make_run_directory,
    server_python,
)
from kernels.process_kernel import ProcessKernel
from kernels.start_errors import explained, silent_at_the_start, trouble_of
from kernels.template import Template

#: Seconds until a kernel must have answered.
_START_TIMEOUT, _FORK_TIMEOUT = 60.0, 10.0
#: Seconds after which a Python that is not the server's is looked at, whether it works at all.
_LONG = 8.0
#: Templates in a row that were never ready, after which no more are started.
_BARREN = 3


class LocalBackend:
    """Starts kernels here. `close` ends them all and removes every file of theirs.

    May be made, and its first kernel launched, before there is an event loop.
    """

    def __init__(self, spec: LocalSpec) -> None:
        self.spec = spec
        self.directory = Path(make_run_directory())
        self._processes = processes.start_processes(str(self.directory))
        #: What was launched early: processes of their own, and a fork of the template's.
        self._early: list[Launched] = []
        self._early_fork: Launched | None = None
        self._template: Template | None = None
        self._barren = 0
        self._kernels: set[ProcessKernel] = set()
        self._closed = False

    def launch_early(self) -> None:
        """Start a process now that the first `start` will need."""
        template = self._current_template()
        # Otherwise whoever needs the first one is told.
        with contextlib.suppress(KernelStartError):
            if template is None:
                self._early.append(self._launch())
            elif not self.spec.preload:
                # It forks as soon as it can.
                self._early_fork = self._launch(template=template)

    async def start(self, spec: Kernelspec | None = None) -> ProcessKernel:
        """See `Backend`. An ipykernel, in whatever Python, has our guest; any other kernel is a
        `ForeignKernel`."""
        if spec is not None and spec.is_default:
            spec = None
        if spec is None and (kernel := await self._forked()) is not None:
            return kernel
        self._refuse_when_closed()
        launched = self._early.pop() if self._early and spec is None else self._launch(spec)
        return await self._patiently(launched)

    async def _patiently(self, launched: Launched) -> ProcessKernel:
        """Connect, but do not wait in vain for a Python that never answers."""
        environ = self.spec.environment(launched.kernelspec)
        connecting = asyncio.create_task(self._connect(launched, _START_TIMEOUT))
        try:
            if launched.argv[0] != server_python():
                await asyncio.wait((connecting,), timeout=_LONG)
                if not connecting.done() and (trouble := await trouble_of(launched, environ)):
                    raise trouble
            return await connecting
        except KernelStartError as error:
            raise await explained(error, launched, environ) from None
        finally:
            connecting.cancel()
            await asyncio.wait((connecting,))

    async def _forked(self) -> ProcessKernel | None:
        """A kernel from the template, if that is ready, or will be in no more time than a start
        without it takes."""
        self._refuse_when_closed()
        template = self._current_template()
        if template is None:
            return None
        self._processes.attach()
        if not template.is_up and (self.spec.preload or not await template.up()):
            return None
        self._refuse_when_closed()
        launched, self._early_fork = self._early_fork, None
        try:
            return await self._connect(launched or self._launch(template=template), _FORK_TIMEOUT)
        except KernelStartError:
            # Whatever the reason, the next ones are forked from another. This one is started
            # anew, in a directory of its own, whatever became of the fork.
            template.spoil()
            return None

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise KernelStartError("The server is ending and starts no kernel any more.")

    async def _connect(self, launched: Launched, seconds: float) -> ProcessKernel:
        self._processes.attach()
        kernel = self._make(launched)
        self._kernels.add(kernel)
        try:
            async with asyncio.timeout(seconds):
                await kernel.connect()
        except TimeoutError:
            words = kernel.last_words()
            await kernel.close()
            raise silent_at_the_start(launched, words, seconds) from None
        except BaseException:
            await asyncio.shield(kernel.close())
            raise
        return kernel

    async def settle(self) -> None:
        if not self._closed and (template := self._current_template()) is not None:
            self._processes.attach()
            await template.up()

    def renew(self) -> None:
        for launched in (*self._early, self._early_fork):
            if launched is not None:
                launched.release()
        self._early, self._early_fork = [], None
        if self._template is not None:
            self._template.spoil()
            # Not that it was good for nothing.
            self._template = None

    async def close(self) -> None:
        self._closed = True
        for kernel in list(self._kernels):
            kernel.disconnect()
        for launched in (*self._early, self._early_fork):
            if launched is not None:
                launched.release()
        await self._processes.close()

    def _make(self, launched: Launched) -> ProcessKernel:
        if launched.scripted:
            kernel = LocalKernel(launched, self._processes, self._kernels.discard)
            kernel.start_from = lambda starter: self._resume(launched.kernelspec, starter)
            return kernel
        # Nobody's start waits for it.
        from kernels.foreign import ForeignKernel

        return ForeignKernel(launched, self._processes, self._kernels.discard)

    async def _resume(
        self, spec: Kernelspec | None, checkpoint: processes.Starter
    ) -> ProcessKernel:
        self._refuse_when_closed()
        return await self._connect(self._launch(spec, checkpoint), PROBE)

    def _launch(
        self, spec: Kernelspec | None = None, template: processes.Starter | None = None
    ) -> Launched:
        try:
            return launch(self.spec, self._living_processes(), self.directory, spec, template)
        except OSError as error:
            raise KernelStartError(
                f"No kernel could be started: {error.strerror or error}. Close sessions or free "
                "what is short, then try again."
            ) from None

    def _living_processes(self) -> processes.Processes:
        if not self._processes.alive:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            self._processes = processes.start_processes(str(self.directory))
        return self._processes

    def _current_template(self) -> Template | None:
        """What kernels are forked from, started if need be; None where nothing can be."""
        starter = self._living_processes()
        if not self.spec.forks or not isinstance(starter, processes.Warden):
            return None
        if sys.platform != "linux":
            return None
        if self._template is not None and not self._template.alive:
            self._barren = 0 if self._template.is_up else self._barren + 1
            self._template = None
        if self._template is None and self._barren < _BARREN:
            self._template = Template(self.spec, LAUNCHER, starter, self.directory)
        return self._template


class LocalKernel(ProcessKernel):
    """A kernel with our guest. Made by `LocalBackend.start` alone."""

    scripted = True
    _ring_position = 0
    #: Starts a kernel like this one from a checkpoint; for `LocalBackend` to set.
    start_from: Start

    def _receive(self, message: Message) -> None:
        if message.channel == "iopub" and message.type == "stream":
            end = message.metadata.get("rmi", {}).get("end")
            if end is not None:
                self._ring_position = end
        super()._receive(message)

    def interrupt(self) -> None:
        self._signal(signal.SIGINT, os.kill)
        # A loop that waits in `await` notices the signal only with its next event.
        with contextlib.suppress(Exception):
            self.send("shell", "kernel_info_request", {})

    async def stack(self) -> str:
        if sys.platform == "win32" or TRACE_SIGNAL is None:
            return ""
        if self.pid is None or self.exited.is_set():
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

    async def checkpoint(self, timeout: float) -> Checkpoint | None:
        if sys.platform != "linux" or not isinstance(self._starter, processes.Warden):
            return None

        def ask(
            type: str, content: Mapping[str, Any], seconds: float
        ) -> Awaitable[Mapping[str, Any] | None]:
            return self.ask(type, content, seconds, "shell")

        return await take(self._starter, self._launched.process, ask, self.start_from, timeout)

    def _recover_text(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            lost = ring.unread(str(self._launched.directory / "ring"), self._ring_position)
            if lost is None:
                self._say("stderr", self._writer, "\n[some output was lost here]\n")
            for parent, name, text in lost or ():
                self._say(name, parent, text)
        for name, text in self._launched.unread():
            self._say(name, self._writer, text)
