"""Checks of other programs: Pythons and kernels, the tunnel, the hosts that start this server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from server import settings as server_settings
from server.doctor.examination import FIRST, NOT_CHECKED, Finding, failure, ok, warning
from server.values import ROOT, SettingError

_PROBE = "import sys, ipykernel; print('%d.%d.%d' % sys.version_info[:3], ipykernel.__version__)"
#: Words by which an entry of a host's configuration names this server.
_OURS = ("rmi-agent-mcp-server", str(Path("server") / "mcp_server.py"))


def session_python() -> Iterator[Finding]:
    """The one of sessions, if that is not the server's."""
    name = "sessions' Python"
    try:
        python = server_settings.load().python
    except SettingError:
        yield warning(name, NOT_CHECKED, FIRST)
        return
    if os.path.abspath(python) == os.path.abspath(sys.executable):
        yield ok(name, "the server's own (RMI_PYTHON)")
        return
    found = subprocess.run(
        [python, "-c", _PROBE], capture_output=True, text=True, timeout=12, stdin=subprocess.DEVNULL
    )
    if found.returncode:
        last = (found.stderr.strip().splitlines() or ["it says nothing"])[-1]
        remedy = f"{python} -m pip install ipykernel"
        yield failure(name, f"{python} cannot run kernels: {last}", remedy)
    else:
        version, _, ipykernel = found.stdout.strip().partition(" ")
        yield ok(name, f"{python}, Python {version}, ipykernel {ipykernel}")


def known_environments() -> tuple[list[str], dict[str, str]]:
    """The names of environments that sessions can run in; of the others, why they cannot.

    So far these are Jupyter's kernelspecs.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    from kernels.errors import KernelspecNotFound
    from kernels.kernelspecs import find

    usable: list[str] = []
    others: dict[str, str] = {}
    for name in sorted(KernelSpecManager().find_kernel_specs()):
        try:
            spec = find(name)
        except KernelspecNotFound as error:
            others[name] = str(error)
        else:
            program = spec.argv[0]
            if shutil.which(program) is None:
                others[name] = f"its program {program} is not there"
            else:
                usable.append(name)
    return usable, others


def environments() -> Iterator[Finding]:
    """Where sessions can run."""
    usable, others = known_environments()
    words = f"{len(usable)} kernelspecs" if len(usable) != 1 else "1 kernelspec"
    words += f" ({', '.join(usable[:8])})" if usable else ", beside the sessions' own Python"
    if others:
        first, why = next(iter(others.items()))
        words += f"; {len(others)} cannot run kernels: {', '.join(list(others)[:8])}"
        yield warning("environments", words, f"Repair or remove them; {first}: {why}")
    else:
        yield ok("environments", words)


def isolation() -> Iterator[Finding]:
    """What holds code in kernels back."""
    words = "none: code in a kernel can do anything that your account can"
    yield warning("isolation", words, "Connect only clients that you trust with your account.")


def tunnel() -> Iterator[Finding]:
    """The agent of ngrok."""
    if found := shutil.which("ngrok"):
        yield ok("tunnel", f"ngrok at {found}")
    elif find_spec("pyngrok") is not None:
        yield ok("tunnel", "pyngrok gets the agent when --tunnel is used")
    else:
        yield ok("tunnel", "ngrok is not installed; nothing but --tunnel needs it")


@dataclass(frozen=True)
class HostEntry:
    """An entry for this server in a host's configuration; `command` None: the file is broken."""

    host: str
    file: Path
    command: tuple[str, ...] | None


def host_entries() -> list[HostEntry]:
    """Those of the hosts' files that are there."""
    found = []
    for host, file in _host_files():
        if not file.is_file():
            continue
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found.append(HostEntry(host, file, None))
            continue
        for entry in _servers(told):
            words = (entry.get("command"), *(entry.get("args") or ()))
            command = tuple(word for word in words if isinstance(word, str))
            if any(ours in word for word in command for ours in _OURS):
                found.append(HostEntry(host, file, command))
    return found


def _host_files() -> Iterator[tuple[str, Path]]:
    home = Path.home()
    if sys.platform == "darwin":
        folder = home / "Library" / "Application Support"
    elif sys.platform == "win32":
        folder = Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming")
    else:
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    yield "Claude Desktop", folder / "Claude" / "claude_desktop_config.json"
    yield "Claude Code", home / ".claude.json"
    yield "Cursor", home / ".cursor" / "mcp.json"
    yield "VS Code", folder / "Code" / "User" / "mcp.json"


def _servers(told: Any) -> Iterator[dict[str, Any]]:
    """The entries of a configuration, also those of single projects."""
    if not isinstance(told, dict):
        return
    for key in ("mcpServers", "servers"):
        if isinstance(servers := told.get(key), dict):
            yield from (entry for entry in servers.values() if isinstance(entry, dict))
    if isinstance(projects := told.get("projects"), dict):
        for project in projects.values():
            yield from _servers(project)


def hosts() -> Iterator[Finding]:
    """Those that start this server, and whether they can."""
    entries = host_entries()
    if not entries:
        yield ok("hosts", "none is set up to start this server; the README says how")
    for entry in entries:
        if entry.command is None:
            words = f"{entry.host}: {entry.file} is not valid JSON"
            yield failure("hosts", words, "Repair it: the host cannot read it either.")
            continue
        missing = [word for n, word in enumerate(entry.command) if _is_missing(word, not n)]
        if missing:
            words = f"{entry.host}: {entry.file} starts {missing[0]}, which is not there"
            remedy = f"Write the paths of this installation there: {sys.executable} and "
            yield failure("hosts", words, f"{remedy}{ROOT / 'server' / 'mcp_server.py'}.")
        else:
            yield ok("hosts", f"{entry.host}: {' '.join(entry.command)}")


def _is_missing(word: str, is_program: bool) -> bool:
    """Whether it is a program, or the path of a script, that does not exist."""
    if is_program:
        return shutil.which(word) is None
    return os.path.isabs(word) and not os.path.exists(word)
