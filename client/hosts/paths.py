"""The hosts, and where each has its configuration on Linux, macOS and Windows."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from client.hosts.errors import HostError


@dataclass(frozen=True)
class Machine:
    """Whose files are meant. `platform` is that of `sys.platform`."""

    platform: str
    home: Path
    environ: Mapping[str, str] = field(repr=False)

    @staticmethod
    def this() -> Machine:
        """This machine and its user. Raises `HostError`."""
        try:
            return Machine(sys.platform, Path.home(), os.environ)
        except RuntimeError:
            raise HostError("There is no home directory here; set HOME.") from None

    def folder(self, variable: str, *default: str) -> Path:
        """The folder that a variable names, or one of the home directory."""
        given = self.environ.get(variable, "")
        # The conventions have absolute paths alone.
        return Path(given) if os.path.isabs(given) else self.home.joinpath(*default)

    @property
    def settings(self) -> Path:
        """The folder in which programs keep their settings."""
        if self.platform == "win32":
            return self.folder("APPDATA", "AppData", "Roaming")
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        return self.folder("XDG_CONFIG_HOME", ".config")


@dataclass(frozen=True)
class Host:
    """A program that starts MCP servers."""

    name: str
    title: str
    #: Where its file has the servers, by name.
    section: str
    #: The file of a project, if it has such; else what is said instead.
    project_file: str
    #: Whether its files may have comments and trailing commas.
    lenient: bool
    #: Whether an entry says that it is spoken to over standard input and output.
    typed: bool
    #: What makes it read its file again.
    then: str

    def files(self, machine: Machine, project: Path | None = None) -> list[Path]:
        """The user's file, or a project's; several where it is unknown which one counts. None
        needs to exist. Raises `HostError` for a project's where there is no such thing."""
        if project is None:
            return _USER_FILES[self.name](machine)
        if not self.project_file:
            raise HostError(
                f"{self.title} has no files of projects; leave --workspace out, or take another "
                "host."
            )
        if not project.is_dir():
            raise HostError(f"{project} is no directory that could be a workspace.")
        return [project.absolute() / self.project_file]


def _claude_desktop(machine: Machine) -> list[Path]:
    name = "claude_desktop_config.json"
    usual = machine.settings / "Claude" / name
    if machine.platform != "win32":
        return [usual]
    # What Windows installs as a package, from the Store or not, sees a folder of its own in place
    # of %APPDATA%. Which of the two somebody uses can't be known from here, so each has it.
    packages = machine.folder("LOCALAPPDATA", "AppData", "Local") / "Packages"
    found = sorted(packages.glob("Claude_*/LocalCache/Roaming"))
    packaged = [folder / "Claude" / name for folder in found]
    return [*packaged, usual] if usual.parent.is_dir() or not packaged else packaged


def _claude_code(machine: Machine) -> list[Path]:
    return [machine.folder("CLAUDE_CONFIG_DIR") / ".claude.json"]


def _cursor(machine: Machine) -> list[Path]:
    return [machine.home / ".cursor" / "mcp.json"]


def _vscode(machine: Machine) -> list[Path]:
    return [machine.settings / "Code" / "User" / "mcp.json"]


_USER_FILES = {
    "claude-desktop": _claude_desktop,
    "claude-code": _claude_code,
    "cursor": _cursor,
    "vscode": _vscode,
}

HOSTS = {
    host.name: host
    for host in (
        Host(
            name="claude-desktop",
            title="Claude Desktop",
            section="mcpServers",
            project_file="",
            lenient=False,
            typed=False,
            then="Quit Claude Desktop and start it again.",
        ),
        Host(
            name="claude-code",
            title="Claude Code",
            section="mcpServers",
            project_file=".mcp.json",
            lenient=False,
            typed=True,
            then="Sessions of Claude Code that begin from now on have it.",
        ),
        Host(
            name="cursor",
            title="Cursor",
            section="mcpServers",
            project_file=".cursor/mcp.json",
            lenient=True,
            typed=True,
            then="Cursor shows it in its settings, under MCP; start Cursor again if it does not.",
        ),
        Host(
            name="vscode",
            title="VS Code",
            section="servers",
            project_file=".vscode/mcp.json",
            lenient=True,
            typed=True,
            then="VS Code asks whether to trust it when it is first used.",
        ),
    )
}
