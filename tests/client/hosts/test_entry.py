"""What a host is told: absolute paths, settings that no host changes, and what is recognised."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from client.hosts.entry import checked_name, further_words, is_ours, made, server_command
from client.hosts.errors import HostError
from client.hosts.installing import settings_of
from tests.conftest import ROOT


def test_a_checkout_is_started_by_this_python_and_its_script() -> None:
    """By the environment's Python as it is named: resolved, it would be no environment."""
    python, script = server_command()
    assert python == os.path.abspath(sys.executable)
    assert Path(script) == ROOT / "server" / "mcp_server.py"


def test_an_installed_server_is_started_by_its_command(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "rmi-agent-mcp-server"
    command.parent.mkdir()
    command.write_text("")
    command.chmod(0o755)
    server = tmp_path / "site-packages" / "server" / "mcp_server.py"
    assert server_command(server, str(command.parent)) == (str(command),)


def test_an_installed_server_without_a_command_is_started_by_its_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    server = tmp_path / "site-packages" / "server" / "mcp_server.py"
    assert server_command(server, str(tmp_path))[-1] == str(server)


def test_an_entry_is_what_hosts_read() -> None:
    entry = made(("/bin/python", "server.py"), {"A": "b"})
    plain = {"command": "/bin/python", "args": ["server.py"], "env": {"A": "b"}}
    assert entry.plain(typed=False) == plain
    assert entry.plain(typed=True) == {"type": "stdio", **plain}
    assert made(("server",), {}).plain(typed=False) == {"command": "server", "args": []}


@pytest.mark.parametrize("text", ["${HOME}/x", "/tmp/${a}"])
def test_what_a_host_would_replace_is_refused(text: str) -> None:
    with pytest.raises(HostError, match="which hosts take for a variable of theirs"):
        made(("python",), {"A": text})


@pytest.mark.parametrize("text", ["/tmp/\udcff", "a\0b"])
def test_what_no_file_can_hold_is_refused(text: str) -> None:
    with pytest.raises(HostError, match="no configuration can hold it"):
        made((text,), {})


@pytest.mark.parametrize("name", ["", "a b", "a.b", "ü", "a;b", "x" * 61, "a\n"])
def test_a_name_that_some_host_refuses_is_refused(name: str) -> None:
    with pytest.raises(HostError, match="cannot be a server's name"):
        checked_name(name)


@pytest.mark.parametrize(
    ("command", "args", "further"),
    [
        ("/v/bin/python", ["/x/server/mcp_server.py"], ()),
        ("python", ["-u", "server/mcp_server.py", "--page", "1"], ("--page", "1")),
        ("C:\\v\\python.exe", ["C:\\x\\server\\mcp_server.py"], ()),
        ("/v/bin/rmi-agent-mcp-server", ["--page", "1"], ("--page", "1")),
        ("C:\\v\\Scripts\\rmi-agent-mcp-server.exe", [], ()),
        ("uvx", ["rmi-agent-mcp-server"], ()),
    ],
)
def test_entries_of_any_installation_are_recognised(
    command: str, args: list[str], further: tuple[str, ...]
) -> None:
    entry = {"command": command, "args": args}
    assert is_ours(entry)
    assert further_words(entry) == further


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "rmi-agent-mcp-server",
        {},
        {"url": "http://127.0.0.1:8000/mcp"},
        {"command": "npx", "args": ["other"]},
        {"command": "python", "args": ["/x/mcp_server.py"]},
        {"command": ["rmi-agent-mcp-server"]},
        {"command": "rmi-agent-mcp-server", "args": [1]},
    ],
)
def test_others_are_not(entry: object) -> None:
    assert not is_ours(entry)
    assert further_words(entry) == ()


class TestSettings:
    """What the options of `install` make of themselves."""

    def test_directories_become_absolute(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir("/usr")
        monkeypatch.setenv("HOME", "/home/me")
        assert settings_of([], "lib", None) == {"PYTHON_PROJECTS_DIR": "/usr/lib"}
        chosen = [("PYTHON_PROJECTS_DIR", "~/a")]
        assert settings_of(chosen, None, None) == {"PYTHON_PROJECTS_DIR": "/home/me/a"}

    def test_others_stay_as_they_are(self) -> None:
        chosen = [("RMI_POOL", "2"), ("X", " y=z ")]
        assert settings_of(chosen, None, "8766") == {**dict(chosen), "RMI_PAGE": "8766"}

    def test_one_that_is_given_twice_is_refused(self) -> None:
        with pytest.raises(HostError, match="PYTHON_PROJECTS_DIR is given twice"):
            settings_of([("PYTHON_PROJECTS_DIR", "/a")], "/b", None)
