"""The process that kernels of the server's Python are forked from (see `guest.template`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kernels import processes
from kernels.family import TAG

if TYPE_CHECKING:
    from kernels.launching import LocalSpec

#: Seconds in which it is up, and in which it forks: far more than either takes.
_START, _SILENCE = 10.0, 5.0
#: Seconds that it may take to import one more module, and to try that before.
_IMPORT = 120.0
_log = logging.getLogger("rmi.kernels")


class Template:
    """Forks kernels of one `LocalSpec`. Starts with its construction, before there is a loop.

    To `launch` it is what `Processes` is. Once it has failed at anything it is good for nothing
    any more; the kernels that it has forked live on.
    """

    def __init__(
        self, spec: LocalSpec, launcher: Path, warden: processes.Warden, root: Path
    ) -> None:
        self._warden = warden
        # As long as those of kernels, by which they replace it.
        ident = uuid.uuid4().hex[:12]
        facts = {"control": 3, "preload": spec.preload}
        env = {**spec.env, TAG: ident, "RMI_KERNEL": json.dumps(facts)}
        null = os.open(os.devnull, os.O_RDWR)
        try:
            # A kernel's command, in which a fork puts its own id.
            file = str(root / ident / "connection.json")
            argv = [spec.python, str(launcher), "-f", file]
            self._process = warden.start(ident, argv, env, spec.cwd, [null] * 3, speaks=True)
        finally:
            os.close(null)
        self._process.on_word = self._hear
        self._up = asyncio.Event()
        self._patience = _START + _IMPORT * len(spec.preload)
        self._spoilt = False

    @property
    def alive(self) -> bool:
        """Whether it can be asked for kernels, at once or soon."""
        return not self._spoilt and not self._process.exited.is_set()

    @property
    def is_up(self) -> bool:
        """Whether it has got so far that it forks."""
        return self._up.is_set()

    async def up(self) -> bool:
        """Wait until it is ready to fork; False if it will not be."""
        if not self.is_up:
            waiting = [
                asyncio.ensure_future(event.wait()) for event in (self._up, self._process.exited)
            ]
            await asyncio.wait(waiting, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            if not self.is_up:
                self.spoil()
        return self.alive

    def start(
        self,
        ident: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        fds: Sequence[int],
        speaks: bool = True,
    ) -> processes.Process:
        """Fork a kernel. Its command and environment must be those of this process's spec."""
        request = {"cwd": cwd, "facts": env["RMI_KERNEL"]}
        process = self._warden.fork(self._process, ident, request, fds)
        # If it is silent, it is killed, and the fork has failed then. Where there is no loop yet,
        # `up` sees to it.
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().call_later(_SILENCE, self._check, process)
        return process

    def _check(self, process: processes.Process) -> None:
        if not process.started.is_set():
            self.spoil()

    def spoil(self) -> None:
        """End it: it is not to be trusted, or needed, any more."""
        self._spoilt = True
        self._warden.kill(self._process)

    def _hear(self, word: Mapping[str, object]) -> None:
        if "ready" in word:
            self._up.set()
        else:
            facts = {"module": word["left out"], "why": word["why"]}
            _log.warning("A module of RMI_PRELOAD is left out", extra={"facts": facts})
