"""Claude Code's own command changes its file, where it is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from client.hosts.claude_code import ClaudeCommand
from client.hosts.errors import HostError
from client.hosts.files import backup_of
from client.hosts.paths import HOSTS, Machine
from client.hosts.planning import Plan, plan_install, plan_uninstall
from tests.client.hosts.conftest import machine_of

HOST = HOSTS["claude-code"]
NAME = "rmi-agent"
COMMAND = ("/v/bin/python", "/x y/server/mcp_server.py")
OTHER = {"type": "stdio", "command": "npx", "args": ["-y", "other"], "env": {}}
WithClaude = Callable[..., Machine]


def plan_of(machine: Machine, command: tuple[str, ...] = COMMAND, **settings: str) -> Plan:
    (file,) = HOST.files(machine)
    return plan_install(HOST, file, NAME, command, settings)


def apply(machine: Machine, plan: Plan) -> None:
    claude = ClaudeCommand.find(machine)
    assert claude is not None
    claude.apply(plan, NAME)


def whole(machine: Machine) -> dict[str, Any]:
    (file,) = HOST.files(machine)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def entry(**env: str) -> dict[str, Any]:
    plain = {"type": "stdio", "command": COMMAND[0], "args": [COMMAND[1]]}
    return {**plain, "env": env} if env else plain


def test_it_is_found_where_it_installs_itself(with_claude: WithClaude, home: Path) -> None:
    assert ClaudeCommand.find(machine_of("linux", home)) is None
    assert ClaudeCommand.find(with_claude()) is not None


def test_it_adds_the_server(with_claude: WithClaude, home: Path) -> None:
    machine = with_claude()
    (home / ".claude.json").write_text(json.dumps({"numStartups": 3, "mcpServers": {"o": OTHER}}))
    apply(machine, plan_of(machine, QUOTES="a \"b\" 'c' %d% $e \\", EMPTY=""))
    found = whole(machine)
    assert found["numStartups"] == 3
    assert found["mcpServers"] == {"o": OTHER, NAME: entry(QUOTES="a \"b\" 'c' %d% $e \\")}


def test_once_it_is_there_nothing_changes(with_claude: WithClaude) -> None:
    machine = with_claude()
    apply(machine, plan_of(machine, A="1"))
    assert not plan_of(machine, A="1").changes


def test_a_changed_server_is_removed_and_added(with_claude: WithClaude, home: Path) -> None:
    """`add-json` alone refuses a name that is there."""
    machine = with_claude()
    apply(machine, plan_of(machine, A="1"))
    former = (home / ".claude.json").read_text()
    apply(machine, plan_of(machine, B="2"))
    assert whole(machine)["mcpServers"] == {NAME: entry(A="1", B="2")}
    assert backup_of(home / ".claude.json").read_text() == former


def test_the_former_server_is_there_again_when_the_new_one_is_refused(
    with_claude: WithClaude,
) -> None:
    machine = with_claude(REFUSES="/refused")
    apply(machine, plan_of(machine, A="1"))
    refused = plan_of(machine, ("/refused", COMMAND[1]))
    if "Invalid" not in _refusal(machine, refused):
        pytest.skip("this one takes it")
    assert whole(machine)["mcpServers"] == {NAME: entry(A="1")}


def _refusal(machine: Machine, plan: Plan) -> str:
    try:
        apply(machine, plan)
    except HostError as error:
        return str(error)
    return ""


def test_it_removes_the_server(with_claude: WithClaude) -> None:
    machine = with_claude()
    apply(machine, plan_of(machine))
    (file,) = HOST.files(machine)
    apply(machine, plan_uninstall(HOST, file, NAME))
    assert whole(machine)["mcpServers"] == {}


def test_it_works_on_the_file_of_another_folder(with_claude: WithClaude, tmp_path: Path) -> None:
    machine = with_claude(CLAUDE_CONFIG_DIR=str(tmp_path))
    apply(machine, plan_of(machine))
    assert whole(machine)["mcpServers"] == {NAME: entry()}
    assert (tmp_path / ".claude.json").is_file()


def test_what_it_says_when_it_fails_is_told(with_claude: WithClaude, home: Path) -> None:
    machine = with_claude()
    plan = plan_of(machine)
    (home / ".claude.json").write_text(json.dumps({"mcpServers": {NAME: OTHER}}))
    with pytest.raises(
        HostError, match=r"`claude mcp add-json` failed: MCP server rmi-agent already exists"
    ):
        apply(machine, plan)
    assert whole(machine)["mcpServers"] == {NAME: OTHER}


def test_one_that_says_yes_and_does_nothing_is_found_out(home: Path) -> None:
    program = home / "claude"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    machine = machine_of("linux", home)
    with pytest.raises(HostError, match=r"said that all went well, but .* has no 'rmi-agent'"):
        ClaudeCommand(str(program), machine).apply(plan_of(machine), NAME)


def test_one_that_cannot_be_run_is_told(home: Path) -> None:
    machine = machine_of("linux", home)
    with pytest.raises(HostError, match="`claude mcp add-json` cannot be run"):
        ClaudeCommand(str(home / "none"), machine).apply(plan_of(machine), NAME)
