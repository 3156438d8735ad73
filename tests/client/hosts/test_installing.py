"""`rmi-agent install` and `uninstall` as processes, with the real server behind them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from client.hosts.entry import Entry
from client.hosts.errors import HostError
from client.hosts.files import backup_of
from client.hosts.installing import Connecting
from client.hosts.paths import HOSTS, Machine
from client.hosts.trial import try_out
from tests.client.command import COMMAND
from tests.client.hosts.conftest import machine_of
from tests.conftest import ROOT

FILE = ".config/Claude/claude_desktop_config.json"
ENTRY = {
    "command": os.path.abspath(sys.executable),
    "args": [str(ROOT / "server" / "mcp_server.py")],
}
WORKS = "Started as {} does it, the server answers, with "


def rmi_agent(home: Path, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command for the user of this home."""
    ours = ("RMI_", "PYTHON", "XDG_", "APPDATA", "CLAUDE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        text=True,
        cwd=cwd or home,
        env={**kept, "HOME": str(home), "PATH": "/usr/bin:/bin"},
        timeout=100,
    )


def content(home: Path) -> dict[Path, bytes]:
    """The files of a home that a host or we could have written."""
    found = [path for path in home.rglob("*") if path.is_file()]
    kernels = (".ipython", ".cache", ".local", ".config/matplotlib")
    return {
        path: path.read_bytes()
        for path in found
        if not path.relative_to(home).as_posix().startswith(kernels)
    }


def test_a_host_is_connected_again_and_disconnected(home: Path) -> None:
    """The first time writes and tries it out, the second changes nothing, and `uninstall` gives
    back the very file that was there."""
    file, projects = home / FILE, home / "my projects"
    file.parent.mkdir(parents=True)
    text = '{ "theme": "dark",\r\n  "mcpServers": { "o": {"command": "npx"} } }'
    file.write_bytes(text.encode())
    chosen = ["--projects", "my projects", "--env", "PYTHON_TIMEOUT=60", "--env", "X=a=b"]

    first = rmi_agent(home, "install", "claude-desktop", *chosen)
    assert first.returncode == 0, first.stderr
    env = {"PYTHON_TIMEOUT": "60", "X": "a=b", "PYTHON_PROJECTS_DIR": str(projects)}
    servers = {"o": {"command": "npx"}, "rmi-agent": {**ENTRY, "env": env}}
    assert json.loads(file.read_text()) == {"theme": "dark", "mcpServers": servers}
    assert first.stdout == ""
    assert first.stderr.splitlines()[0] == (
        f"rmi-agent is in {file}. What was there before is in {backup_of(file).name} beside it."
    )
    assert first.stderr.splitlines()[1].startswith(WORKS.format("Claude Desktop"))
    assert first.stderr.splitlines()[2] == HOSTS["claude-desktop"].then
    assert backup_of(file).read_bytes() == text.encode()
    assert projects.is_dir()

    before = content(home)
    again = rmi_agent(home, "install", "claude-desktop", *chosen)
    assert again.returncode == 0
    assert again.stderr.splitlines()[0] == f"{file} has this already; nothing changed."
    assert content(home) == before

    gone = rmi_agent(home, "uninstall", "claude-desktop")
    assert gone.returncode == 0
    assert gone.stderr.startswith(f"rmi-agent was taken out of {file}.")
    assert file.read_bytes() == text.encode()

    nothing = rmi_agent(home, "uninstall", "claude-desktop")
    assert nothing.returncode == 0
    assert nothing.stderr == f"{file} has no server named 'rmi-agent'; nothing changed.\n"


def test_a_workspace_is_connected(home: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    words = ["install", "cursor", "--name", "py", "--page", "0", "--workspace"]
    done = rmi_agent(home, *words, cwd=workspace)
    assert done.returncode == 0, done.stderr
    expected = {"type": "stdio", **ENTRY, "env": {"RMI_PAGE": "0"}}
    file = workspace / ".cursor" / "mcp.json"
    assert json.loads(file.read_text()) == {"mcpServers": {"py": expected}}
    assert "The file has paths of this machine" in done.stderr
    assert WORKS.format("Cursor") in done.stderr
    assert content(home) == {}


class TestPrint:
    def test_it_shows_what_would_be_written_and_writes_nothing(self, home: Path) -> None:
        done = rmi_agent(home, "install", "vscode", "--print", "--projects", "new")
        assert done.returncode == 0, done.stderr
        expected = {"type": "stdio", **ENTRY, "env": {"PYTHON_PROJECTS_DIR": str(home / "new")}}
        assert json.loads(done.stdout) == {"servers": {"rmi-agent": expected}}
        assert str(home / ".config/Code/User/mcp.json") in done.stderr
        assert list(home.iterdir()) == []

    def test_it_shows_the_command_of_claude_code(self, home: Path) -> None:
        program = home / ".local" / "bin" / "claude"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\necho run >> ~/calls\n")
        program.chmod(0o755)
        done = rmi_agent(home, "install", "claude-code", "--print")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{program} mcp add-json --scope user rmi-agent '{{")
        assert list(content(home)) == []


class TestRefused:
    """Exit code 2 and one line; nothing is written, not even a folder."""

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (
                ["--env", "PYTHON_TIMEOUT=soon"],
                "PYTHON_TIMEOUT is 'soon'; it must be a number of seconds above 0.",
            ),
            (
                ["--env", "PYTHON_TIMOUT=5"],
                "There is no setting PYTHON_TIMOUT; PYTHON_TIMEOUT is one.",
            ),
            (
                ["--projects", "{home}/file"],
                "PYTHON_PROJECTS_DIR is '{home}/file', and no directory can be had there: "
                "File exists.",
            ),
            (
                ["--name", "my server"],
                "'my server' cannot be a server's name: hosts take letters, digits, - and _, at "
                "most 60.",
            ),
            (
                ["--workspace"],
                "Claude Desktop has no files of projects; leave --workspace out, or take another "
                "host.",
            ),
        ],
    )
    def test_a_wrong_option(self, home: Path, words: list[str], sentence: str) -> None:
        (home / "file").write_text("")
        words = [word.format(home=home) for word in words]
        done = rmi_agent(home, "install", "claude-desktop", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"rmi-agent: {sentence.format(home=home)}\n"
        assert [path.name for path in home.iterdir()] == ["file"]

    def test_a_malformed_file(self, home: Path) -> None:
        file = home / FILE
        file.parent.mkdir(parents=True)
        file.write_text('{"mcpServers": {,}}')
        before = content(home)
        for command in ("install", "uninstall"):
            done = rmi_agent(home, command, "claude-desktop")
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr == (
                f"rmi-agent: {file} is not such JSON as Claude Desktop reads (line 1, column 17: a "
                "name in double quotes is expected), and stays as it is. Correct it there, or move "
                "it away, and try again.\n"
            )
        assert content(home) == before

    def test_a_variable_without_a_value_is_wrong_usage(self, home: Path) -> None:
        done = rmi_agent(home, "install", "cursor", "--env", "RMI_POOL")
        assert done.returncode == 2
        assert "'RMI_POOL' is not of the form NAME=VALUE" in done.stderr


@pytest.mark.parametrize(("host", "platform"), [("claude-code", "win32"), ("vscode", "darwin")])
def test_what_was_written_starts(host: str, platform: str, home: Path) -> None:
    """The file's own command and variables, started from elsewhere as a host starts it, are a
    server with these tools."""
    machine = machine_of(platform, home)
    said: list[str] = []
    settings = {"PYTHON_PROJECTS_DIR": str(home / "projects")}
    assert Connecting(HOSTS[host], settings=settings).install(machine, said.append)
    (file,) = HOSTS[host].files(machine)
    if host == "vscode":
        new = f"VS Code has not been started here yet: {file.parent} is new."
        assert said.pop(0) == new
    assert said[0] == f"rmi-agent is in {file}."
    assert said[1].startswith(WORKS.format(HOSTS[host].title))
    assert said[2:] == [HOSTS[host].then]
    entry: Any = json.loads(file.read_text())[HOSTS[host].section]["rmi-agent"]
    assert entry == {"type": "stdio", **ENTRY, "env": settings}
    if host == "vscode":  # once it is seen without `install` that it starts
        tools = try_out(Entry(entry["command"], tuple(entry["args"]), entry["env"]))
        assert {"run_python", "run_code"} <= {tool.name for tool in tools}


class TestTrial:
    """A command that does not work is told with what it said last."""

    def told(self, *command: str) -> str:
        with pytest.raises(HostError) as caught:
            try_out(Entry(command[0], command[1:], {}))
        return str(caught.value)

    def test_a_command_that_ends(self) -> None:
        code = "import sys; sys.exit('rmi-agent-mcp-server: no luck.')"
        assert self.told(sys.executable, "-c", code) == "no luck."

    def test_a_command_that_is_none(self, tmp_path: Path) -> None:
        assert "No such file or directory" in self.told(str(tmp_path / "none"))

    def test_an_installation_that_has_become_unfit_is_told_after_writing(
        self, machine: Machine, home: Path
    ) -> None:
        """As one whose check passes, and whose start fails."""
        script = home / "server" / "mcp_server.py"
        script.parent.mkdir()
        script.write_text("import sys\nsys.exit('--check' not in sys.argv and 'no fastmcp')\n")
        said: list[str] = []
        command = (sys.executable, str(script))
        assert not Connecting(HOSTS["cursor"], command=command).install(machine, said.append)
        assert said[-1] == "Started as Cursor does it, the server does not work: no fastmcp."
        assert (home / ".cursor" / "mcp.json").is_file()

    def test_a_python_that_is_gone_is_told_before_writing(
        self, machine: Machine, home: Path
    ) -> None:
        command = (str(home / "gone"), "/x/server/mcp_server.py")
        with pytest.raises(HostError, match="gone cannot be started: No such file or directory"):
            Connecting(HOSTS["cursor"], command=command).install(machine, print)
        assert list(home.iterdir()) == []


def test_both_files_of_claude_desktop_on_windows_are_written(home: Path) -> None:
    package = home / "AppData/Local/Packages/Claude_x/LocalCache/Roaming"
    usual = home / "AppData/Roaming/Claude"
    package.mkdir(parents=True)
    usual.mkdir(parents=True)
    machine = machine_of("win32", home)
    said: list[str] = []
    assert Connecting(HOSTS["claude-desktop"]).install(machine, said.append)
    name = "claude_desktop_config.json"
    written = [json.loads((one / name).read_text()) for one in (package / "Claude", usual)]
    assert written == [{"mcpServers": {"rmi-agent": ENTRY}}] * 2
    assert len(said) == 5
    Connecting(HOSTS["claude-desktop"]).uninstall(machine, said.append)
    assert json.loads((usual / name).read_text()) == {"mcpServers": {}}
