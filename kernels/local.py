"""Kernels as processes of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernels import processes
from kernels.errors import KernelStartError
from kernels.guest import ring
from kernels.kernel import Channel, Exit, Message

if TYPE_CHECKING:
    # The message stack is imported with the first connection, not with the first launch, so
    # that a server can launch a kernel before it imports anything heavy.
    from kernels.channels import Channels

_LAUNCHER = Path(__file__).parent / "guest" / "launch.py"
_PORTS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}
#: Asks faulthandler for a traceback. A late real-time signal, which programs do not use.
_TRACE_SIGNAL = getattr(signal, "SIGRTMAX", 0) - 2 if hasattr(signal, "SIGRTMAX") else None
_START_TIMEOUT = 60.0
#: Seconds to wait for a dead kernel's last messages, after which the ring tells the rest.
_LAST_MESSAGES = 0.03


@dataclass(frozen=True)
class LocalSpec:
    """How local kernels are started.

    `python`: absolute path of the interpreter, which must have ipykernel. `cwd`: the working
    directory. `env`: the whole environment of the kernels.
    """

    python: str
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Launched:
    """A started process, its files, and the server's ends of its pipes."""

    process: processes.Process
    connection: dict[str, Any]
    directory: Path
    pipes: tuple[int, int] | None = None
    lifeline: socket.socket | None = None

    def release(self) -> None:
        for fd in self.pipes or ():
            os.close(fd)
        self.pipes = None
        if self.lifeline is not None:
            self.lifeline.close()
            self.lifeline = None


class LocalBackend:
    """Starts kernels here. `close` ends them all and removes every file of theirs.

    May be made, and its first kernel launched, before there is an event loop.
    """

    def __init__(self, spec: LocalSpec) -> None:
        self.spec = spec
        self._directory = Path(_make_run_directory())
        self._processes = processes.start_processes(str(self._directory))
        self._early: list[_Launched] = []
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

    def _launch(self) -> _Launched:
        if not self._processes.alive:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            self._processes = processes.start_processes(str(self._directory))
        ident = uuid.uuid4().hex[:12]
        directory = self._directory / ident
        directory.mkdir(mode=0o700)
        ring.create(str(directory / "ring"))
        connection = _connection(directory)
        connection_file = directory / "connection.json"
        with open(os.open(connection_file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(connection, file)
        facts: dict[str, Any] = {
            "ring": str(directory / "ring"),
            "faults": str(directory / "faults"),
            "signal": _TRACE_SIGNAL,
        }
        argv = [self.spec.python, str(_LAUNCHER), "-f", str(connection_file)]
        env = {**self.spec.env, processes.TAG: ident}
        with contextlib.ExitStack() as stack:
            null = os.open(os.devnull, os.O_RDONLY)
            stack.callback(os.close, null)
            if not isinstance(self._processes, processes.Warden):
                log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT, 0o600)
                stack.callback(os.close, log)
                env["RMI_KERNEL"] = json.dumps(facts)
                process = self._processes.start(ident, argv, env, self.spec.cwd, [null, log, log])
                return _Launched(process, connection, directory)
            out, out_end = os.pipe()
            stack.callback(os.close, out_end)
            err, err_end = os.pipe()
            stack.callback(os.close, err_end)
            ours, theirs = socket.socketpair()
            stack.callback(theirs.close)
            ours.setblocking(False)
            fds = [null, out_end, err_end, out, err, theirs.fileno()]
            env["RMI_KERNEL"] = json.dumps({**facts, "fds": [3, 4, 5]})
            process = self._processes.start(ident, argv, env, self.spec.cwd, fds)
            for fd in (out, err):
                os.set_blocking(fd, False)
            return _Launched(process, connection, directory, (out, err), ours)


class LocalKernel:
    """A kernel process; see `kernels.kernel.Kernel`. Made by `LocalBackend.start` alone."""

    scripted = True

    def __init__(self, backend: LocalBackend, launched: _Launched) -> None:
        self._backend = backend
        self._launched = launched
        self._channels: Channels | None = None
        self._ring_position = 0
        self._heard = asyncio.Event()
        self._last_request = ""
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
        words = process.failure or "".join(text for _name, text in self._left_in_pipes())
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

    def _receive(self, message: Message) -> None:
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
            if hasattr(signal, "SIGCONT"):
                os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGINT)
        # A loop that waits in `await` notices the signal only with its next event.
        with contextlib.suppress(Exception):
            self.send("shell", "kernel_info_request", {})

    async def stack(self) -> str:
        if _TRACE_SIGNAL is None or self.pid is None or self.exited.is_set():
            return ""
        before = self._faults()
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, _TRACE_SIGNAL)
        for _ in range(20):
            await asyncio.sleep(0.01)
            written = self._faults()[len(before) :]
            if written.endswith("\n") and 'File "' in written:
                return written
        return ""

    def _faults(self) -> str:
        with contextlib.suppress(OSError):
            return (self._launched.directory / "faults").read_text("utf-8", "replace")
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
            self._channels.close()
            self._channels = None
            self._recover_text()
        status = process.status
        self.exit = Exit(
            code=status if status is not None and status >= 0 else None,
            signal=-status if status is not None and status < 0 else None,
            trace=self._faults()[-20_000:],
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
        for name, text in self._left_in_pipes():
            self._say(name, self._last_request, text)

    def _say(self, name: str, parent: str, text: str) -> None:
        content = {"name": name, "text": text}
        self.on_message(Message("iopub", "stream", parent, content))

    def _left_in_pipes(self) -> list[tuple[str, str]]:
        left = []
        for name, fd in zip(("stdout", "stderr"), self._launched.pipes or (), strict=False):
            data = b""
            with contextlib.suppress(OSError):
                while chunk := os.read(fd, 65536):
                    data += chunk
            if data:
                left.append((name, data.decode("utf-8", "backslashreplace")))
        return left

    def disconnect(self) -> None:
        """Release sockets, pipes and tasks; the process is ended by somebody else."""
        if self._channels is not None:
            self._channels.close()
            self._channels = None
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
        _remove(self._launched.directory)


def _memory_kills() -> int:
    """How often the system has killed a process for memory; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError), open("/proc/vmstat") as file:
        for line in file:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _ignore(message: Message) -> None:
    """The handler of a kernel that nobody listens to."""


def _connection(directory: Path) -> dict[str, Any]:
    key = secrets.token_hex(32)
    facts = {"key": key, "signature_scheme": "hmac-sha256", "kernel_name": "rmi-agent"}
    if hasattr(os, "fork"):
        # Sockets in a private directory: no race for ports, nothing for other users to reach.
        return {**facts, "transport": "ipc", "ip": str(directory / "k"), **_PORTS}
    ports = {}
    with contextlib.ExitStack() as stack:
        for name in _PORTS:
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.1", 0))
            ports[name] = sock.getsockname()[1]
    return {**facts, "transport": "tcp", "ip": "127.0.0.1", **ports}


def _make_run_directory() -> str:
    """A new private directory whose socket paths stay under the limit of 107 bytes."""
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if base and os.path.isdir(base) and os.access(base, os.W_OK) and len(base) < 60:
            return tempfile.mkdtemp(prefix="rmi-agent-", dir=base)
    return tempfile.mkdtemp(prefix="rmi-agent-")


def _remove(directory: Path) -> None:
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()


def kernel_environment(own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """This process's environment without what concerns the server alone, its secrets first."""
    return {
        name: value
        for name, value in own.items()
        if not name.startswith(("RMI_", "FASTMCP_", "JPY_"))
        and name not in ("PYTHON_PROJECTS_DIR", "PYTHON_TIMEOUT")
    }


def server_python() -> str:
    """The interpreter of this process, as an absolute path."""
    return os.path.abspath(sys.executable)
