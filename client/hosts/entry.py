"""What a host is told of the server: the command that starts it, and its settings."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.hosts.errors import HostError
from client.mcp_client import LOCAL_SERVER

COMMAND = "rmi-agent-mcp-server"
#: What every host takes as a server's name.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")


@dataclass(frozen=True)
class Entry:
    """How a host starts the server: a program, its arguments, and variables of its environment."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    def plain(self, *, typed: bool) -> dict[str, Any]:
        """It as a host's file has it."""
        kind = {"type": "stdio"} if typed else {}
        env = {"env": dict(self.env)} if self.env else {}
        return {**kind, "command": self.command, "args": list(self.args), **env}


def server_command(server: Path = LOCAL_SERVER, scripts: str | None = None) -> tuple[str, ...]:
    """What starts the server of this installation, wherever it is started from: this
    environment's Python and the script of a checkout, or the installed command."""
    python = os.path.abspath(sys.executable)
    if not (server.parent.parent / "pyproject.toml").is_file():
        suffix = ".exe" if sys.platform == "win32" else ""
        for folder in (scripts or sysconfig.get_path("scripts"), os.path.dirname(python)):
            command = os.path.join(os.path.abspath(folder), COMMAND + suffix)
            if os.access(command, os.X_OK):
                return (command,)
    return (python, str(server))


def made(command: tuple[str, ...], settings: Mapping[str, str]) -> Entry:
    """An entry with this command. Raises `HostError` for text that a host would change or that
    no file can hold."""
    for text in (*command, *settings, *settings.values()):
        if any("\ud800" <= character <= "\udfff" or character == "\0" for character in text):
            raise HostError(f"{text!r} is not text in UTF-8, so no configuration can hold it.")
        if "${" in text:
            raise HostError(f"{text!r} has a ${{, which hosts take for a variable of theirs.")
    return Entry(command[0], command[1:], dict(settings))


def checked_name(name: str) -> str:
    """A name that every host takes. Raises `HostError`."""
    if not _NAME.fullmatch(name):
        raise HostError(
            f"{name!r} cannot be a server's name: hosts take letters, digits, - and _, at most 60."
        )
    return name


def is_ours(entry: Any) -> bool:
    """Whether what a host's file has under a name starts this server, of whatever installation."""
    return _words_after(entry) is not None


def further_words(entry: Any) -> tuple[str, ...]:
    """The arguments that an entry of ours has beyond the server itself, as `--page 8766`."""
    return tuple(_words_after(entry) or ())


def _words_after(entry: Any) -> list[str] | None:
    if not isinstance(entry, dict):
        return None
    args = entry.get("args", [])
    words = [entry.get("command"), *(args if isinstance(args, list) else [])]
    if not all(isinstance(word, str) for word in words):
        return None
    for number, word in enumerate(words, 1):
        parts = re.split(r"[/\\]", word)
        if parts[-1].removesuffix(".exe") == COMMAND or parts[-2:] == ["server", "mcp_server.py"]:
            return words[number:]
    return None
