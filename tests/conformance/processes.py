"""Processes of which none is left, whatever they start themselves."""

from __future__ import annotations

import asyncio
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_MARK = "CONFORMANCE_MARK"
#: Seconds in which whatever was asked to end has ended.
_ENDING = 10.0
_NONE, _PIPE = subprocess.DEVNULL, subprocess.PIPE


@dataclass(frozen=True)
class Said:
    """How a command ended; `code` is None when it took too long."""

    code: int | None
    output: str
    errors: str


class Processes:
    """Starts processes, which all carry a mark, as do those that they start."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.mark = {_MARK: uuid.uuid4().hex}
        self._environ = {**environ, **self.mark}
        self._servers: list[subprocess.Popen[bytes]] = []

    async def run(self, command: Sequence[str], seconds: float, cwd: Path) -> Said:
        """Run a command to its end. Whatever it has started ends with it when it takes too long, or
        when nobody waits for it any more."""
        process = await asyncio.create_subprocess_exec(
            *command, cwd=cwd, env=self._environ, stdin=_NONE, stdout=_PIPE, stderr=_PIPE
        )
        try:
            async with asyncio.timeout(seconds):
                output, errors = await process.communicate()
        except TimeoutError:
            return Said(None, "", f"took more than {seconds:.0f} s")
        finally:
            if process.returncode is None:
                _kill(_family(process.pid))
                await process.wait()
        return Said(process.returncode, _text(output), _text(errors))

    def start(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> int:
        """Begin a server, which writes to `log`. Returns its number."""
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                env={**self._environ, **environ},
                stdin=_NONE,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self._servers.append(process)
        return process.pid

    def ended(self, server: int) -> bool:
        """Whether a server has ended by itself."""
        return any(each.pid == server and each.poll() is not None for each in self._servers)

    def end(self) -> list[str]:
        """End all servers, as a terminal or service manager would; what had to be killed."""
        for server in self._servers:
            server.terminate()
        deadline = time.monotonic() + _ENDING
        for server in self._servers:
            try:
                server.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
        while (left := self._marked()) and time.monotonic() < deadline:
            time.sleep(0.1)
        words = [_words(process) for process in left]
        _kill(left)
        for server in self._servers:
            server.wait()
        return words

    def _marked(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) != self.mark[_MARK]:
                    continue
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _text(output: bytes) -> str:
    return output.decode(errors="replace")


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:120] or f"process {process.pid}"
    except psutil.Error:
        return f"process {process.pid}"


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.Error:
            continue
