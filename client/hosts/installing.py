"""Connecting a host to this server, and taking that back."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from client.hosts.claude_code import ClaudeCommand
from client.hosts.entry import Entry, checked_name, made, server_command
from client.hosts.errors import HostError
from client.hosts.files import backup_of, save
from client.hosts.paths import Host, Machine
from client.hosts.planning import Plan, plan_install, plan_uninstall
from client.hosts.trial import check_settings, try_out

#: Gets each sentence for the user.
Say = Callable[[str], None]


@dataclass(frozen=True)
class Connecting:
    """A host, and what it shall know: the server's name there, the command that starts it and its
    settings by variable. `project`: its file for that directory instead of the user's."""

    host: Host
    name: str = "rmi-agent"
    settings: Mapping[str, str] = field(default_factory=dict)
    project: Path | None = None
    command: tuple[str, ...] = field(default_factory=server_command)

    def install(self, machine: Machine, say: Say) -> bool:
        """Write it into the host's file, and start the server once as the host would. Returns
        whether that works. Raises `HostError`, before anything is written unless writing fails."""
        plans = self._plans(machine)
        starts = [plan.starts for plan in plans]
        for entry in _distinct(starts):
            check_settings(entry, writes=True)
        for plan in plans:
            self._apply(plan, machine, say)
        if self.project is not None:
            say("The file has paths of this machine, which other machines do not have.")
        as_host = f"Started as {self.host.title} does it, the server"
        for entry in _distinct(starts):
            try:
                tools = try_out(entry)
            except HostError as error:
                say(f"{as_host} does not work: {error}")
                return False
            say(f"{as_host} answers, with {len(tools)} tools.")
        say(self.host.then)
        return True

    def show(self, machine: Machine, say: Say) -> str:
        """What `install` would write, as text; `say` is told where. Nothing is written."""
        shown = []
        claude = self._claude(machine)
        for plan in self._plans(machine):
            check_settings(plan.starts, writes=False)
            if not plan.changes:
                say(f"{plan.path} has this already; nothing would change.")
            elif claude is not None:
                if plan.old is not None:
                    say(f"It is in {plan.path} otherwise, and would be removed first.")
                say("This command would be run:")
                shown.append(shlex.join(claude.adds(self.name, plan.new)))
                continue
            else:
                say(f"In {plan.path} would stand, besides what is there:")
            whole = {self.host.section: {self.name: plan.new}}
            shown.append(json.dumps(whole, ensure_ascii=False, indent=2))
        return "\n".join(shown)

    def uninstall(self, machine: Machine, say: Say) -> None:
        """Take it out of the host's file. Raises `HostError`; nothing was changed then."""
        checked_name(self.name)
        files = self.host.files(machine, self.project)
        plans = [plan_uninstall(self.host, path, self.name) for path in files]
        for plan in plans:
            self._apply(plan, machine, say)

    def _plans(self, machine: Machine) -> list[Plan]:
        checked_name(self.name)
        made(self.command, self.settings)
        return [
            plan_install(self.host, path, self.name, self.command, self.settings)
            for path in self.host.files(machine, self.project)
        ]

    def _claude(self, machine: Machine) -> ClaudeCommand | None:
        if self.host.name != "claude-code" or self.project is not None:
            return None
        return ClaudeCommand.find(machine)

    def _apply(self, plan: Plan, machine: Machine, say: Say) -> None:
        path = plan.path
        if not plan.changes:
            if plan.new is None:
                say(f"{path} has no server named {self.name!r}; nothing changed.")
            else:
                say(f"{path} has this already; nothing changed.")
            return
        if self.project is None and not path.parent.is_dir():
            say(f"{self.host.title} has not been started here yet: {path.parent} is new.")
        if (claude := self._claude(machine)) is not None:
            claude.apply(plan, self.name)
        else:
            save(path, plan.before, plan.after, private=self.project is None)
        done = "was taken out of" if plan.new is None else "is in"
        kept = f" What was there before is in {backup_of(path).name} beside it."
        had_text = plan.before is not None and plan.before.strip()
        say(f"{self.name} {done} {path}.{kept if had_text else ''}")


def settings_of(
    variables: Sequence[tuple[str, str]], projects: str | None, page: str | None
) -> dict[str, str]:
    """The settings that options name. Directories become absolute, since a host starts the server
    wherever it likes. Raises `HostError` for one that is named twice."""
    chosen = list(variables)
    if projects is not None:
        chosen.append(("PYTHON_PROJECTS_DIR", projects))
    if page is not None:
        chosen.append(("RMI_PAGE", page))
    settings: dict[str, str] = {}
    for name, value in chosen:
        if name in settings:
            raise HostError(f"{name} is given twice; give it once.")
        if name == "PYTHON_PROJECTS_DIR" and value.strip():
            value = os.path.abspath(os.path.expanduser(value.strip()))
        settings[name] = value
    return settings


def _distinct(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for at, entry in enumerate(entries) if entry not in entries[:at]]
