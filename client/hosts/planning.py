"""What a change makes of a host's file, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.hosts.editing import drop, get, put
from client.hosts.entry import Entry, further_words, is_ours, made
from client.hosts.errors import HostError
from client.hosts.files import backup_of, load
from client.hosts.jsonc import NotJson
from client.hosts.paths import Host


@dataclass(frozen=True)
class Plan:
    """The change of one file: its text before (None: there is no file) and after, and the server's
    entry, as the file has it before and after (None: it has none)."""

    host: Host
    path: Path
    before: str | None
    after: str
    old: Any
    new: Any

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return self.before != self.after

    @property
    def starts(self) -> Entry:
        """How the host will start the server; only for a change that leaves an entry."""
        env = self.new.get("env", {})
        texts = {key: value for key, value in env.items() if isinstance(value, str)}
        return Entry(self.new["command"], tuple(self.new["args"]), texts)


def plan_install(
    host: Host, path: Path, name: str, command: tuple[str, ...], settings: Mapping[str, str]
) -> Plan:
    """The server under this name. What is set there already and not named in `settings` stays; an
    empty setting is taken away.

    Raises `HostError` for a file that cannot be changed, and for another server of this name.
    """
    before = load(path)
    text = before if before is not None and before.strip() else "{}\n"
    old = _entry(host, path, text, name)
    rest = further_words(old)
    if "RMI_PAGE" in settings and "--page" in rest:
        at = rest.index("--page")
        rest = rest[:at] + rest[at + 2 :]
    entry = made((*command, *rest), {key: value for key, value in settings.items() if value})
    where = (host.section, name)
    if old is None:
        text = put(text, where, entry.plain(typed=host.typed), lenient=host.lenient)
    else:
        if not isinstance(old.get("env", {}), dict):
            text = put(text, (*where, "env"), {}, lenient=host.lenient)
        for key, value in entry.plain(typed=host.typed).items():
            if key != "env":
                text = put(text, (*where, key), value, lenient=host.lenient)
        for key, value in settings.items():
            place = (*where, "env", key)
            if value:
                text = put(text, place, value, lenient=host.lenient)
            elif "env" in old:
                text = drop(text, place, lenient=host.lenient)
    return Plan(host, path, before, text, old, _entry(host, path, text, name))


def plan_uninstall(host: Host, path: Path, name: str) -> Plan:
    """The file without the server. Where the kept state is exactly the one before the server came,
    that is what the file becomes. Raises `HostError` as `plan_install`."""
    before = load(path)
    if before is None or not before.strip():
        return Plan(host, path, before, before or "", None, None)
    old = _entry(host, path, before, name)
    if old is None:
        return Plan(host, path, before, before, None, None)
    where = (host.section, name)
    after = drop(before, where, lenient=host.lenient)
    try:
        kept = load(backup_of(path)) or ""
        if get(kept, where, lenient=host.lenient) is None:
            if put(kept, where, old, lenient=host.lenient) == before:
                after = kept
    except (HostError, NotJson):
        pass  # what is kept there is of no use
    return Plan(host, path, before, after, old, None)


def _entry(host: Host, path: Path, text: str, name: str) -> Any:
    """What the file has under this name, checked to be this server; None for nothing."""
    try:
        entry = get(text, (host.section, name), lenient=host.lenient)
    except NotJson as error:
        raise HostError(
            f"{path} is not such JSON as {host.title} reads (line {error.line}, column "
            f"{error.column}: {error.reason}), and stays as it is. Correct it there, or move it "
            "away, and try again."
        ) from None
    if entry is not None and not is_ours(entry.plain):
        raise HostError(
            f"{path} has another server named {name!r}, which stays. Take another name with --name."
        )
    return None if entry is None else entry.plain
