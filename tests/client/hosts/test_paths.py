"""Each host's file is where the host looks for it, on every platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.hosts.errors import HostError
from client.hosts.paths import HOSTS
from tests.client.hosts.conftest import machine_of

LINUX = {
    "claude-desktop": ".config/Claude/claude_desktop_config.json",
    "claude-code": ".claude.json",
    "cursor": ".cursor/mcp.json",
    "vscode": ".config/Code/User/mcp.json",
}
MACOS = {
    **LINUX,
    "claude-desktop": "Library/Application Support/Claude/claude_desktop_config.json",
    "vscode": "Library/Application Support/Code/User/mcp.json",
}
WINDOWS = {
    **LINUX,
    "claude-desktop": "AppData/Roaming/Claude/claude_desktop_config.json",
    "vscode": "AppData/Roaming/Code/User/mcp.json",
}


@pytest.mark.parametrize(
    ("platform", "expected"), [("linux", LINUX), ("darwin", MACOS), ("win32", WINDOWS)]
)
@pytest.mark.parametrize("host", HOSTS)
def test_the_users_file(platform: str, expected: dict[str, str], host: str, home: Path) -> None:
    assert HOSTS[host].files(machine_of(platform, home)) == [home / expected[host]]


@pytest.mark.parametrize(
    ("platform", "variable", "host", "inside"),
    [
        ("linux", "XDG_CONFIG_HOME", "claude-desktop", "Claude/claude_desktop_config.json"),
        ("linux", "XDG_CONFIG_HOME", "vscode", "Code/User/mcp.json"),
        ("win32", "APPDATA", "claude-desktop", "Claude/claude_desktop_config.json"),
        ("win32", "APPDATA", "vscode", "Code/User/mcp.json"),
        ("darwin", "CLAUDE_CONFIG_DIR", "claude-code", ".claude.json"),
    ],
)
def test_a_variable_moves_it(
    platform: str, variable: str, host: str, inside: str, home: Path, tmp_path: Path
) -> None:
    machine = machine_of(platform, home, **{variable: str(tmp_path / "moved")})
    assert HOSTS[host].files(machine) == [tmp_path / "moved" / inside]


@pytest.mark.parametrize("value", ["", "relative/folder"])
def test_a_variable_without_an_absolute_path_moves_nothing(value: str, home: Path) -> None:
    machine = machine_of("linux", home, XDG_CONFIG_HOME=value)
    assert HOSTS["vscode"].files(machine) == [home / LINUX["vscode"]]


class TestClaudeDesktopAsAWindowsPackage:
    """It sees a folder of its own instead of %APPDATA%."""

    inside = "LocalCache/Roaming/Claude/claude_desktop_config.json"

    def packaged(self, home: Path) -> Path:
        folder = home / "AppData/Local/Packages/Claude_pzs8sxrjxfjjc"
        (folder / "LocalCache/Roaming").mkdir(parents=True)
        return folder

    def test_its_own_file_is_taken(self, home: Path) -> None:
        folder = self.packaged(home)
        found = HOSTS["claude-desktop"].files(machine_of("win32", home))
        assert found == [folder / self.inside]

    def test_both_files_are_taken_where_the_usual_folder_is_there_too(self, home: Path) -> None:
        folder = self.packaged(home)
        (home / "AppData/Roaming/Claude").mkdir(parents=True)
        found = HOSTS["claude-desktop"].files(machine_of("win32", home))
        assert found == [folder / self.inside, home / WINDOWS["claude-desktop"]]

    def test_a_package_that_is_gone_does_not_count(self, home: Path) -> None:
        (home / "AppData/Local/Packages/Claude_pzs8sxrjxfjjc").mkdir(parents=True)
        found = HOSTS["claude-desktop"].files(machine_of("win32", home))
        assert found == [home / WINDOWS["claude-desktop"]]


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("claude-code", ".mcp.json"),
        ("cursor", ".cursor/mcp.json"),
        ("vscode", ".vscode/mcp.json"),
    ],
)
def test_a_projects_file(host: str, inside: str, home: Path, tmp_path: Path) -> None:
    assert HOSTS[host].files(machine_of("linux", home), tmp_path) == [tmp_path / inside]


def test_claude_desktop_has_no_projects(home: Path, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="has no files of projects; leave --workspace out"):
        HOSTS["claude-desktop"].files(machine_of("linux", home), tmp_path)


def test_a_workspace_must_be_a_directory(home: Path, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="is no directory that could be a workspace"):
        HOSTS["cursor"].files(machine_of("linux", home), tmp_path / "none")
