"""Whether the hosts that are to start this server can."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from client.hosts.editing import get
from client.hosts.entry import is_ours, server_command
from client.hosts.errors import HostError
from client.hosts.files import load
from client.hosts.jsonc import NotJson
from client.hosts.paths import HOSTS, Host, Machine

#: A finding as the doctor has it: `name`, `level` (ok, warning or failure), `words`, `remedy`.
Found = dict[str, str]


def findings() -> list[Found]:
    """One for each entry of this server in a host's file, and each such file that cannot be
    read."""
    try:
        machine = Machine.this()
    except HostError as error:
        return [_found("warning", str(error), "Set it, and look again.")]
    found = [
        one for host in HOSTS.values() for path in host.files(machine) for one in _of(host, path)
    ]
    return found or [_found("ok", "none is set up; `rmi-agent install` connects one")]


def _of(host: Host, path: Path) -> Iterator[Found]:
    mend = f"`rmi-agent install {host.name}` writes it anew."
    try:
        text = load(path)
        servers = list(_servers(host, text)) if text and text.strip() else []
    except HostError as error:
        yield _found("warning", f"{host.title}: {error}", "Look whether the host can read it.")
        return
    except NotJson as error:
        words = f"{host.title}: {path} is not such JSON as it reads ({error})"
        yield _found("failure", words, "Correct it there: the host cannot read it either.")
        return
    for name, entry in servers:
        if missing := _missing(entry):
            words = f"{host.title}: {name!r} in {path} starts {missing}, which is not there"
            yield _found("failure", words, mend)
        elif _words(entry)[: len(server_command())] != list(server_command()):
            words = f"{host.title}: {name!r} starts another installation: {' '.join(_words(entry))}"
            yield _found("ok", words)
        else:
            yield _found("ok", f"{host.title}: {name!r} in {path} starts this installation")


def _servers(host: Host, text: str) -> Iterator[tuple[str, Any]]:
    """Names and entries of this server; those of single projects, too."""
    sections = [get(text, (host.section,), lenient=host.lenient)]
    projects = get(text, ("projects",), lenient=host.lenient)
    if projects is not None and isinstance(projects.plain, dict):
        for project in projects.plain:
            where = ("projects", project, host.section)
            if isinstance(projects.plain[project], dict):
                sections.append(get(text, where, lenient=host.lenient))
    for section in sections:
        if section is not None and isinstance(section.plain, dict):
            yield from (each for each in section.plain.items() if is_ours(each[1]))


def _words(entry: dict[str, Any]) -> list[str]:
    return [entry["command"], *entry.get("args", [])]


def _missing(entry: dict[str, Any]) -> str:
    """The program, or the script, that is to be started and is not there; or ""."""
    program, *args = _words(entry)
    if shutil.which(program) is None:
        return program
    return next((word for word in args[:1] if os.path.isabs(word) and not os.path.exists(word)), "")


def _found(level: str, words: str, remedy: str = "") -> Found:
    return {"name": "hosts", "level": level, "words": words, "remedy": remedy}
