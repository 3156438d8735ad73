"""Launching a kernel's process: its files, its pipes, its environment.

Nothing heavy is imported here, so that a server can launch a kernel before anything else.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernels import processes
from kernels.connection import guest_connection, loopback_connection
from kernels.family import TAG
from kernels.guest import ring
from kernels.kernelspecs import CONNECTION_FILE, Kernelspec

LAUNCHER = Path(__file__).parent / "guest" / "launch.py"
#: Asks faulthandler for a traceback. A late real-time signal, which programs do not use.
TRACE_SIGNAL: int | None = None
if sys.platform == "linux":
    TRACE_SIGNAL = signal.SIGRTMAX - 2


@dataclass(frozen=True)
class LocalSpec:
    """How local kernels are started.

    `python`: absolute path of the interpreter, which must have ipykernel. `cwd`: the working
    directory. `env`: the whole environment of the kernels. `plain`: what kernels of other
    environments get in its place, if it is an activated one. `forks`: whether they are forked from
    a process that has everything imported, where the platform allows it. `preload`: modules that
    are imported there, too.
    """

    python: str
    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)
    forks: bool = True
    preload: tuple[str, ...] = ()
    plain: Mapping[str, str] | None = None

    def environment(self, kernelspec: Kernelspec | None) -> dict[str, str]:
        """The whole environment of a kernel of it, which may be changed."""
        if kernelspec is None:
            return dict(self.env)
        others = self.env if self.plain is None or kernelspec.is_usual else self.plain
        return kernelspec.environment(others)


@dataclass
class Launched:
    """A started process, its private directory, and the server's ends of its pipes.

    `argv`: its command. `kernelspec`: what described it, if anything did. `scripted`: it has our
    guest. `pipes`: what it writes to its descriptors 1 and 2. `lifeline`: a byte comes when it is
    ready; closed here, it ends the process. Both None where there are no such pipes. `held`:
    keeps its ports for it.
    """

    process: processes.Process
    connection: dict[str, Any]
    directory: Path
    argv: Sequence[str]
    kernelspec: Kernelspec | None = None
    scripted: bool = True
    pipes: tuple[int, int] | None = None
    lifeline: socket.socket | None = None
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def connection_file(self) -> Path:
        """Where clients read how to connect."""
        return _connection_file(self.directory)

    def unread(self) -> list[tuple[str, str]]:
        """(stream name, text) of what it wrote and nobody read."""
        left = []
        for name, fd in zip(("stdout", "stderr"), self.pipes or (), strict=False):
            data = b""
            with contextlib.suppress(OSError):
                # As much as a pipe can hold: one that still writes might never be read out.
                while len(data) < 1 << 20 and (chunk := os.read(fd, 65536)):
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
        self.held.close()
        for fd in self.pipes or ():
            os.close(fd)
        self.pipes = None
        if self.lifeline is not None:
            self.lifeline.close()
            self.lifeline = None

    def remove(self) -> None:
        """Remove its directory."""
        _remove(self.directory)


def launch(
    spec: LocalSpec,
    starter: processes.Processes,
    root: Path,
    kernelspec: Kernelspec | None = None,
    template: processes.Starter | None = None,
) -> Launched:
    """Start a kernel's process, with a directory of its own below `root`. Does not wait for it.
    Raises `OSError` when there is no room for its files, or too many are open; nothing is left.

    `kernelspec`: what to start in place of the spec's Python. An ipykernel gets our guest, any
    other kernel is started as it is. `template`: what to fork the kernel from, be it a template
    of the spec or the checkpoint of a kernel of the same description.
    """
    ident = uuid.uuid4().hex[:12]
    directory = root / ident
    with contextlib.ExitStack() as undo, contextlib.ExitStack() as started:
        # First, and closed before anything is undone: to remove files takes a descriptor, too.
        fds = [os.open(os.devnull, os.O_RDONLY)]
        started.callback(os.close, fds[0])
        directory.mkdir(mode=0o700)
        undo.callback(_remove, directory)
        connection_file = str(_connection_file(directory))
        scripted = kernelspec is None or kernelspec.ipykernel is not None
        if kernelspec is not None and not scripted:
            argv = kernelspec.command(connection_file)
            connection, held = loopback_connection(kernelspec.name)
        else:
            argv = _guest_command(spec, kernelspec, connection_file)
            connection, held = guest_connection(directory)
            ring.create(str(directory / "ring"))
        undo.callback(held.close)
        with open(os.open(connection_file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(connection, file)
        facts: dict[str, Any] = {
            "connection": connection_file,
            "ring": str(directory / "ring"),
            "faults": str(directory / "faults"),
            "signal": TRACE_SIGNAL,
        }
        env = spec.environment(kernelspec)
        env[TAG] = ident
        pipes = lifeline = None
        # For checkpoints, which only Linux has.
        speaks = scripted and sys.platform == "linux" and isinstance(starter, processes.Warden)
        if isinstance(starter, processes.Warden):
            pipes = (_pipe(undo, started, fds), _pipe(undo, started, fds))
            if scripted:
                lifeline, theirs = socket.socketpair()
                undo.callback(lifeline.close)
                started.callback(theirs.close)
                lifeline.setblocking(False)
                fds += [*pipes, theirs.fileno()]
                facts["fds"] = [3, 4, 5]
                if speaks:
                    facts["warden"] = 6
        else:
            log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT, 0o600)
            started.callback(os.close, log)
            fds += [log, log]
        if scripted:
            env["RMI_KERNEL"] = json.dumps(facts)
        cwd = (kernelspec.directory if kernelspec is not None else "") or spec.cwd
        process = (template or starter).start(ident, argv, env, cwd, fds, speaks)
        if sys.platform != "win32":
            for fd in pipes or ():
                os.set_blocking(fd, False)
        undo.pop_all()
    return Launched(
        process, connection, directory, argv, kernelspec, scripted, pipes, lifeline, held
    )


def _remove(directory: Path) -> None:
    """Remove a kernel's directory."""
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()


def _pipe(undo: contextlib.ExitStack, started: contextlib.ExitStack, fds: list[int]) -> int:
    """One whose writing end is among those of the process, and closed here when that has
    `started`. Returns the other, which is closed if that is never so."""
    ours, theirs = os.pipe()
    undo.callback(os.close, ours)
    started.callback(os.close, theirs)
    fds.append(theirs)
    return ours


def _connection_file(directory: Path) -> Path:
    return directory / "connection.json"


def _guest_command(
    spec: LocalSpec, kernelspec: Kernelspec | None, connection_file: str
) -> list[str]:
    """The command of an ipykernel with our guest."""
    if kernelspec is None or kernelspec.ipykernel is None:
        return [spec.python, str(LAUNCHER), "-f", connection_file]
    (python, *options), arguments = kernelspec.ipykernel
    if kernelspec.is_usual:
        python = spec.python
    arguments = [word.replace(CONNECTION_FILE, connection_file) for word in arguments]
    return [python, *options, str(LAUNCHER), *arguments]


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
