"""Whether hosts can start the server that their files name."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from client.hosts.entry import server_command
from client.hosts.examining import findings
from tests.conftest import ROOT


@pytest.fixture
def own_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of this process."""
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "CLAUDE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    return home


def test_none_is_no_trouble(own_home: Path) -> None:
    (found,) = findings()
    assert (found["level"], found["remedy"]) == ("ok", "")
    assert "rmi-agent install" in found["words"]


@pytest.mark.skipif(sys.platform != "linux", reason="where Claude Desktop's file lies on Linux")
def test_commands_that_are_gone_and_files_that_are_broken_fail(own_home: Path) -> None:
    """Other servers' entries are none of this one's business, and another installation of it is
    no trouble."""
    program, *args = server_command()
    good = {"command": program, "args": args}
    moved = {"command": "/no/such/python", "args": args}
    other = {"command": sys.executable, "args": [str(ROOT / "x" / "server" / "mcp_server.py")]}
    desktop = own_home / ".config" / "Claude" / "claude_desktop_config.json"
    desktop.parent.mkdir(parents=True)
    foreign = {"command": "/no/such/other"}
    servers = {"a": good, "b": moved, "c": foreign, "d": other}
    desktop.write_text(json.dumps({"mcpServers": servers}))
    code = own_home / ".claude.json"
    code.write_text(json.dumps({"projects": {"/p": {"mcpServers": {"python": good}}}}))
    (own_home / ".cursor").mkdir()
    (own_home / ".cursor" / "mcp.json").write_text("{")
    script = ROOT / "x" / "server" / "mcp_server.py"
    assert [(found["level"], found["words"]) for found in findings()] == [
        ("ok", f"Claude Desktop: 'a' in {desktop} starts this installation"),
        ("failure", f"Claude Desktop: 'b' in {desktop} starts /no/such/python, which is not there"),
        ("failure", f"Claude Desktop: 'd' in {desktop} starts {script}, which is not there"),
        ("ok", f"Claude Code: 'python' in {code} starts this installation"),
        ("failure", f"Cursor: {own_home}/.cursor/mcp.json is not such JSON as it reads "
         "(line 1, column 2: a name in double quotes is expected)"),
    ]  # fmt: skip


def test_another_installation_is_told_and_is_no_trouble(own_home: Path, tmp_path: Path) -> None:
    script = tmp_path / "server" / "mcp_server.py"
    script.parent.mkdir()
    script.touch()
    entry = {"command": sys.executable, "args": [str(script)]}
    cursor = own_home / ".cursor" / "mcp.json"
    cursor.parent.mkdir()
    cursor.write_text(json.dumps({"mcpServers": {"mine": entry}}))
    (found,) = findings()
    assert found["level"] == "ok"
    assert found["words"].endswith(f"starts another installation: {sys.executable} {script}")
