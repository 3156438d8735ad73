"""Launching a kernel's process: its files, its pipes, its environment.

Nothing heavy is imported here, so that a server can launch a kernel before anything else.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernels import processes
from kernels.guest import ring

_LAUNCHER = Path(__file__).parent / "guest" / "launch.py"
_PORTS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}
#: Asks faulthandler for a traceback. A late real-time signal, which programs do not use.
TRACE_SIGNAL = signal.SIGRTMAX - 2 if sys.platform == "linux" else None


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
class Launched:
    """A started process, its private directory, and the server's ends of its pipes.

    `pipes`: what it writes to its descriptors 1 and 2. `lifeline`: a byte comes when it is ready;
    closed here, it ends the process. Both None where the platform has no such pipes.
    """

    process: processes.Process
    connection: dict[str, Any]
    directory: Path
    pipes: tuple[int, int] | None = None
    lifeline: socket.socket | None = None

    def unread(self) -> list[tuple[str, str]]:
        """(stream name, text) of what it wrote and nobody read; for a process that has ended."""
        left = []
        for name, fd in zip(("stdout", "stderr"), self.pipes or (), strict=False):
            data = b""
            with contextlib.suppress(OSError):
                while chunk := os.read(fd, 65536):
                    data += chunk
            if data:
                left.append((name, data.decode("utf-8", "backslashreplace")))
        return left

    def last_words(self) -> str:
        """All that a process which never became a kernel has said."""
        words = self.process.failure or "".join(text for _, text in self.unread())
        with contextlib.suppress(OSError):
            words += (self.directory / "log").read_text("utf-8", "replace")
        return words

    def faults(self) -> str:
        """What faulthandler has written so far."""
        with contextlib.suppress(OSError):
            return (self.directory / "faults").read_text("utf-8", "replace")
        return ""

    def release(self) -> None:
        """Close the pipes. May be called twice."""
        for fd in self.pipes or ():
            os.close(fd)
        self.pipes = None
        if self.lifeline is not None:
            self.lifeline.close()
            self.lifeline = None

    def remove(self) -> None:
        """Remove its directory."""
        with contextlib.suppress(OSError):
            for path in self.directory.iterdir():
                path.unlink()
            self.directory.rmdir()


def launch(
    spec: LocalSpec, starter: processes.Warden | processes.PlainProcesses, root: Path
) -> Launched:
    """Start a kernel's process, with a directory of its own below `root`. Does not wait for it."""
    ident = uuid.uuid4().hex[:12]
    directory = root / ident
    directory.mkdir(mode=0o700)
    ring.create(str(directory / "ring"))
    connection = _connection(directory)
    connection_file = directory / "connection.json"
    with open(os.open(connection_file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(connection, file)
    facts: dict[str, Any] = {
        "ring": str(directory / "ring"),
        "faults": str(directory / "faults"),
        "signal": TRACE_SIGNAL,
    }
    argv = [spec.python, str(_LAUNCHER), "-f", str(connection_file)]
    env = {**spec.env, processes.TAG: ident}
    with contextlib.ExitStack() as stack:
        null = os.open(os.devnull, os.O_RDONLY)
        stack.callback(os.close, null)
        if not isinstance(starter, processes.Warden):
            log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT, 0o600)
            stack.callback(os.close, log)
            env["RMI_KERNEL"] = json.dumps(facts)
            process = starter.start(ident, argv, env, spec.cwd, [null, log, log])
            return Launched(process, connection, directory)
        out, out_end = os.pipe()
        stack.callback(os.close, out_end)
        err, err_end = os.pipe()
        stack.callback(os.close, err_end)
        ours, theirs = socket.socketpair()
        stack.callback(theirs.close)
        ours.setblocking(False)
        fds = [null, out_end, err_end, out, err, theirs.fileno()]
        env["RMI_KERNEL"] = json.dumps({**facts, "fds": [3, 4, 5]})
        process = starter.start(ident, argv, env, spec.cwd, fds)
        for fd in (out, err):
            os.set_blocking(fd, False)
        return Launched(process, connection, directory, (out, err), ours)


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


def make_run_directory() -> str:
    """A new private directory whose socket paths stay under the limit of 107 bytes."""
    # What is for such directories is often memory, and outputs may be large: the disk first.
    for base in (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR"), "/tmp"):
        if base and os.path.isdir(base) and os.access(base, os.W_OK) and len(base) < 60:
            return tempfile.mkdtemp(prefix="rmi-agent-", dir=base)
    return tempfile.mkdtemp(prefix="rmi-agent-")


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
