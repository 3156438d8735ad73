"""Starting and ending the processes of kernels: the one place that knows the platform.

On POSIX a `Warden` process is their parent (see `warden`). Elsewhere `PlainProcesses` starts them
directly and finds their children with psutil.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

_WARDEN = Path(__file__).parent / "warden.py"


class Process:
    """One started process. Events work in whichever loop awaits them."""

    def __init__(self, ident: str) -> None:
        self.id = ident
        self.pid: int | None = None
        #: As `Popen.returncode`: negative for a signal. None while it runs or is unknown.
        self.status: int | None = None
        #: Called with what it says to the warden, if it is a template.
        self.on_word: Callable[[Mapping[str, object]], None] | None = None
        #: Why it could not be started, or "".
        self.failure = ""
        self.started = asyncio.Event()
        self.exited = asyncio.Event()
        #: Set when nothing that it started is left either.
        self.gone = asyncio.Event()

    def ended(self, status: int | None) -> None:
        """Note its end (for the class that watches it)."""
        self.status = status
        self.started.set()
        self.exited.set()


class Starter(Protocol):
    """Starts processes."""

    def start(
        self,
        ident: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        fds: Sequence[int],
        speaks: bool = False,
    ) -> Process:
        """Start a process whose descriptors 0, 1, 2, ... are `fds` (still the caller's to close).
        `speaks`, where there is a warden: the next one is a socket to it.

        Returns at once; `started` or `exited` tells the rest.
        """


class Processes(Starter, Protocol):
    """Starts processes and ends them with all that they started."""

    def attach(self) -> None:
        """Watch the processes in the running event loop."""

    def kill(self, process: Process) -> None:
        """End it and all that it started; `gone` tells when that is done."""

    async def close(self) -> None:
        """End everything. Returns when nothing is left."""


class Warden:
    """Processes under a warden process. Made before there is an event loop, if need be."""

    def __init__(self, run_directory: str) -> None:
        self._processes: dict[str, Process] = {}
        self._buffer = b""
        self._attached: asyncio.AbstractEventLoop | None = None
        self._run_directory = run_directory
        ours, theirs = socket.socketpair()
        self._socket = ours
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_WARDEN), str(theirs.fileno()), run_directory],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def start(
        self,
        ident: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        fds: Sequence[int],
        speaks: bool = False,
    ) -> Process:
        request = {"start": ident, "argv": list(argv), "env": dict(env), "cwd": cwd}
        return self._begin(ident, {**request, "speaks": speaks}, fds)

    def fork(
        self, template: Process, ident: str, request: Mapping[str, object], fds: Sequence[int]
    ) -> Process:
        """As `start`, but the process is a fork of the template's, which gets the request. It
        always speaks."""
        return self._begin(ident, {"of": template.id, "fork": ident, **request}, fds)

    def expect(self, ident: str, kernel: Process) -> Process:
        """The copy that a kernel will be asked to make of itself. Until it has `started` it can
        be given up by `kill`."""
        return self._begin(ident, {"expect": ident, "of": kernel.id}, ())

    def _begin(self, ident: str, request: Mapping[str, object], fds: Sequence[int]) -> Process:
        process = Process(ident)
        self._processes[ident] = process
        self._send(request, fds)
        return process

    def kill(self, process: Process) -> None:
        if not process.gone.is_set():
            self._send({"kill": process.id})

    def attach(self) -> None:
        if self._attached is None:
            self._attached = asyncio.get_running_loop()
            self._socket.setblocking(False)
            self._attached.add_reader(self._socket.fileno(), self._read)

    async def close(self) -> None:
        if self._attached is not None:
            self._attached.remove_reader(self._socket.fileno())
        self._socket.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._popen.wait, 5)
            # What one that was killed has left.
            await asyncio.to_thread(shutil.rmtree, self._run_directory, ignore_errors=True)
        # Nobody tells any more, and somebody may be waiting for it.
        for process in self._processes.values():
            process.ended(process.status)
            process.gone.set()
        self._processes.clear()

    def _send(self, request: Mapping[str, object], fds: Sequence[int] = ()) -> None:
        if sys.platform == "win32":
            raise NotImplementedError
        body = json.dumps({**request, "fds": len(fds)}).encode()
        data = len(body).to_bytes(4, "little") + body
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            # It may be closed already.
            self._socket.setblocking(True)
            sent = self._socket.sendmsg([data], rights)
            self._socket.sendall(data[sent:])
        except OSError:
            self._lost()
        else:
            self._socket.setblocking(self._attached is None)

    def _read(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._note(json.loads(line))

    def _note(self, message: dict[str, object]) -> None:
        kind, ident = next((k, str(v)) for k, v in message.items())
        process = self._processes.get(ident)
        if process is None:
            return
        if kind == "started":
            process.pid = int(str(message["pid"]))
            process.started.set()
        elif kind == "failed":
            process.failure = str(message["why"])
            process.ended(None)
            process.gone.set()
        elif kind == "exit":
            process.ended(int(str(message["status"])))
        elif kind == "word" and process.on_word is not None:
            process.on_word(message)
        if kind in ("gone", "failed"):
            process.gone.set()
            del self._processes[ident]

    def _lost(self) -> None:
        """The warden is gone. Its kernels die with it; what they started is found by its tag."""
        if self._attached is not None:
            self._attached.remove_reader(self._socket.fileno())
            self._attached = None
        self._socket.close()
        # One that was cut off would remove the files of the next before it ends.
        self._popen.kill()
        self._popen.wait()
        from kernels.family import belonging_to

        for ident, process in list(self._processes.items()):
            for member in belonging_to(ident, process.pid or -1):
                with contextlib.suppress(OSError):
                    os.kill(member, 9)
            process.failure = "the process that looks after kernels has died"
            process.ended(None)
            process.gone.set()
        self._processes.clear()

    @property
    def alive(self) -> bool:
        """Whether processes can still be started here."""
        return self._popen.poll() is None


class PlainProcesses:
    """Processes started directly; for platforms without `fork`.

    Weaker than `Warden`: when this process is killed, kernels end by their own watch on it, and
    what they started may stay.
    """

    alive = True

    def __init__(self, run_directory: str) -> None:
        self._run_directory = run_directory
        self._unwatched: list[tuple[Process, subprocess.Popen[bytes]]] = []
        self._processes: dict[str, Process] = {}

    def start(
        self,
        ident: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        fds: Sequence[int],
        speaks: bool = False,
    ) -> Process:
        process = Process(ident)
        try:
            popen = subprocess.Popen(
                list(argv), env=dict(env), cwd=cwd, stdin=fds[0], stdout=fds[1], stderr=fds[2]
            )
        except OSError as error:
            process.failure = f"{type(error).__name__}: {error}"
            process.ended(None)
            process.gone.set()
            return process
        process.pid = popen.pid
        process.started.set()
        self._unwatched.append((process, popen))
        self._processes[ident] = process
        return process

    def attach(self) -> None:
        loop = asyncio.get_running_loop()
        for process, popen in self._unwatched:
            threading.Thread(target=self._watch, args=(loop, process, popen), daemon=True).start()
        self._unwatched.clear()

    def _watch(
        self, loop: asyncio.AbstractEventLoop, process: Process, popen: subprocess.Popen[bytes]
    ) -> None:
        status = popen.wait()

        def note() -> None:
            process.ended(status)
            process.gone.set()
            self._processes.pop(process.id, None)

        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(note)

    def kill(self, process: Process) -> None:
        import psutil

        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(process.pid)
            family = parent.children(recursive=True)
            for member in (parent, *family):
                with contextlib.suppress(psutil.Error):
                    member.kill()

    async def close(self) -> None:
        self.attach()
        ending = list(self._processes.values())
        for process in ending:
            self.kill(process)
        await asyncio.gather(*(process.gone.wait() for process in ending))
        shutil.rmtree(self._run_directory, ignore_errors=True)


def start_processes(run_directory: str) -> Warden | PlainProcesses:
    """What this platform has. The run directory is removed with it."""
    return Warden(run_directory) if hasattr(os, "fork") else PlainProcesses(run_directory)
