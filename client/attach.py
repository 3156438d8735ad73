"""`rmi-agent sessions attach`: the kernel of a session, opened in Jupyter's own clients."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.asking import can_ask
from client.mcp_client import ServerError
from client.show import note

#: How the directories of running servers begin, and what lies in that of a kernel.
_DIRECTORIES, _FACTS, _CONNECTION = "rmi-agent-*", "session.json", "connection.json"
#: Bytes of facts that are read.
_MOST = 100_000


@dataclass(frozen=True)
class Found:
    """A session that can be attached to. `server`: the process of its server."""

    name: str
    file: Path
    server: int = 0
    owner: str = ""

    def __str__(self) -> str:
        whose = f" of {self.owner}" if self.owner else ""
        return f"{self.name!r}{whose} of the server with process id {self.server}"


def find_here(bases: Iterable[Path] | None = None) -> list[Found]:
    """The sessions of this user's servers on this machine, with a kernel that lives.

    What is not the user's alone is passed over: anybody could have put it there.
    """
    found: dict[Path, Found] = {}
    for base in dict.fromkeys(_bases() if bases is None else bases):
        for directory in sorted(base.glob(_DIRECTORIES)):
            if _is_ours_alone(directory):
                for facts in sorted(directory.glob(f"*/{_FACTS}")):
                    if (session := _read(facts)) is not None:
                        found.setdefault(session.file.resolve(), session)
    return list(found.values())


def _bases() -> Iterator[Path]:
    """Where servers make their directories."""
    for name in (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR"), "/tmp"):
        if name and os.path.isdir(name):
            yield Path(name)


def _is_ours_alone(path: Path) -> bool:
    """Whether it is a directory or file, no link, that nobody but this user can change or read."""
    try:
        there = path.lstat()
    except OSError:
        return False
    if not (stat.S_ISDIR(there.st_mode) or stat.S_ISREG(there.st_mode)):
        return False
    # Elsewhere (Windows) the folder of temporary files is the user's own.
    return sys.platform == "win32" or (
        there.st_uid == os.getuid() and not stat.S_IMODE(there.st_mode) & 0o077
    )


def _read(facts: Path) -> Found | None:
    file = facts.with_name(_CONNECTION)
    if not all(map(_is_ours_alone, (facts.parent, facts, file))):
        return None
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        with facts.open("rb") as opened:
            told = json.loads(opened.read(_MOST))
        server = int(told["server"])
        if _lives(server):
            return Found(str(told["session"]), file, server, str(told.get("owner") or ""))
    return None


def _lives(pid: int) -> bool:
    if sys.platform == "win32":
        # A signal would end it there; the server's end removes the file.
        return True
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def choose(found: list[Found], name: str) -> Found:
    """The one of that name. Raises `ServerError` when there is none, or more than one."""
    named = [session for session in found if session.name == name]
    if len(named) == 1:
        return named[0]
    if not named:
        known = ", ".join(sorted({repr(session.name) for session in found})) or "none"
        raise ServerError(
            f"No server of yours on this machine has a living session {name!r}. Sessions that can "
            f"be attached to: {known}. A session's kernel starts with its first run."
        )
    choices = "\n".join(f"  {session}\n    {command(session.file)}" for session in named)
    raise ServerError(
        f"Several sessions are called {name!r}; open the one that you mean, or say --server:\n"
        f"{choices}"
    )


def told_by_server(meta: dict[str, Any] | None, name: str) -> Found:
    """The session of that name, as `list_sessions` tells of it. Raises `ServerError`."""
    listed = (meta or {}).get("rmi-agent/sessions")
    if not isinstance(listed, list):
        raise ServerError("This server does not say how to attach to its sessions; it is too old.")
    files = {
        str(each.get("name")): str(file) for each in listed if (file := each.get("connection_file"))
    }
    if name not in files:
        known = ", ".join(map(repr, files)) or "none"
        raise ServerError(
            f"The server has no session {name!r} with a living kernel. Those that it has: {known}."
        )
    file = Path(files[name])
    if not _is_ours_alone(file):
        raise ServerError(
            f"Session {name!r} is not on this machine, or not yours: there is no {file} that only "
            "you can read. Run this where the server runs, as the user that it runs as."
        )
    return Found(name, file)


def command(file: Path) -> str:
    """What opens the kernel in a terminal."""
    return f"jupyter console --existing {shlex.quote(str(file))}"


def attach(session: Found, only_print: bool) -> int:
    """Open the session's kernel on the terminal, where that is possible; otherwise print how."""
    program = _console()
    if program is not None and not only_print and can_ask():
        note(f"Session {session.name!r}; Ctrl-D leaves, and the session goes on.")
        # Ctrl-C is the console's: a handler, unlike being ignored, is not handed on to it.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            return subprocess.call([*program, "--existing", str(session.file)])
        finally:
            signal.signal(signal.SIGINT, before)
    print(command(session.file))
    if program is None and not only_print:
        note("jupyter-console is not installed here: pip install jupyter-console.")
    note("In JupyterLab, where it is one of the running kernels to choose from:")
    note(
        "jupyter lab --ServerApp.allow_external_kernels=True "
        f"--ServerApp.external_connection_dir={shlex.quote(str(session.file.parent))}"
    )
    return 0


def _console() -> list[str] | None:
    """jupyter-console: this Python's, or one that is on the path."""
    if importlib.util.find_spec("jupyter_console") is not None:
        return [sys.executable, "-m", "jupyter_console"]
    found = shutil.which("jupyter-console")
    return [found] if found is not None else None
