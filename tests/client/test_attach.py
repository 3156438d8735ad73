"""`rmi-agent sessions attach` finds a session's kernel, here or by its server, and opens it."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from client.attach import Found, choose, find_here, told_by_server
from client.mcp_client import ServerError
from tests.client.command import COMMAND, Command, Served

EXISTING = re.compile(r"^jupyter console --existing (\S+/connection\.json)$", re.MULTILINE)


class Machine:
    """A folder for temporary files, with what servers leave in it."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def add(self, run: str, kernel: str, server: int = os.getpid(), **facts: str) -> Path:
        """A kernel's directory below a server's; returns the connection file."""
        directory = self.base / f"rmi-agent-{run}" / kernel
        directory.mkdir(parents=True)
        for path in (directory, directory.parent):
            path.chmod(0o700)
        file = directory / "connection.json"
        written = {"session": "default", "owner": "", "server": server, **facts}
        for path, text in ((file, "{}"), (directory / "session.json", json.dumps(written))):
            path.write_text(text)
            path.chmod(0o600)
        return file

    def find(self) -> list[Found]:
        return find_here([self.base])


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


class TestFindingHere:
    def test_every_kernel_that_belongs_to_a_session_is_found(self, machine: Machine) -> None:
        """Not those that stand ready, which have no facts yet."""
        one = machine.add("a", "1")
        two = machine.add("a", "2", session="other", owner="laptop")
        machine.add("b", "3").with_name("session.json").unlink()
        pid = os.getpid()
        assert machine.find() == [Found("default", one, pid), Found("other", two, pid, "laptop")]

    def test_that_of_a_server_which_is_no_more_is_passed_over(self, machine: Machine) -> None:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        machine.add("a", "1", server=ended.pid)
        assert machine.find() == []

    @pytest.mark.parametrize("name", ["..", ".", "session.json", "connection.json"])
    def test_what_others_can_change_or_read_is_passed_over(
        self, machine: Machine, name: str
    ) -> None:
        """Of the server's directory, the kernel's, and both files."""
        path = machine.add("a", "1").parent / name
        path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o020)
        assert machine.find() == []
        path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o700 | 0o004)
        assert machine.find() == []

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs another user's file")
    @pytest.mark.parametrize("name", ["..", ".", "session.json", "connection.json"])
    def test_what_is_another_users_is_passed_over(self, machine: Machine, name: str) -> None:
        os.chown(machine.add("a", "1").parent / name, 65534, 65534)
        assert machine.find() == []

    def test_a_link_is_not_followed(self, machine: Machine, tmp_path: Path) -> None:
        elsewhere = Machine(tmp_path / "elsewhere")
        file = elsewhere.add("a", "1")
        (machine.base / "rmi-agent-a").symlink_to(file.parent.parent)
        assert machine.find() == []

    @pytest.mark.parametrize(
        "text", [b"", b"[]", b"{", b'{"server": "x"}', b"\xff", b'{"session": 1}']
    )
    def test_facts_that_are_none_are_passed_over(self, machine: Machine, text: bytes) -> None:
        facts = machine.add("a", "1").with_name("session.json")
        facts.write_bytes(text)
        assert machine.find() == []


class TestChoosing:
    def test_one_of_several_with_a_name_is_not_guessed(self, machine: Machine) -> None:
        """The choices are named, each with its command."""
        files = [machine.add("a", "1"), machine.add("b", "2", owner="laptop")]
        with pytest.raises(ServerError) as refused:
            choose(machine.find(), "default")
        text = str(refused.value)
        assert text.startswith("Several sessions are called 'default'; open the one that you mean")
        assert EXISTING.findall(text.replace("    ", "")) == [str(file) for file in files]
        assert f"'default' of laptop of the server with process id {os.getpid()}" in text

    def test_a_name_that_is_not_there_is_answered_with_those_that_are(
        self, machine: Machine
    ) -> None:
        machine.add("a", "1", session="other")
        with pytest.raises(ServerError, match="No server of yours") as refused:
            choose(machine.find(), "default")
        assert "Sessions that can be attached to: 'other'." in str(refused.value)

    def test_a_server_of_another_machine_is_told_from_one_of_this(self, tmp_path: Path) -> None:
        listed = [{"name": "default", "connection_file": str(tmp_path / "connection.json")}]
        with pytest.raises(ServerError, match="is not on this machine, or not yours"):
            told_by_server({"rmi-agent/sessions": listed}, "default")
        with pytest.raises(ServerError, match="has no session 'other' with a living kernel"):
            told_by_server({"rmi-agent/sessions": listed}, "other")
        cold = [*listed, {"name": "cold", "connection_file": None}]
        with pytest.raises(ServerError, match=r"no session 'cold' .* Those that it has: 'default'"):
            told_by_server({"rmi-agent/sessions": cold}, "cold")
        with pytest.raises(ServerError, match="too old"):
            told_by_server(None, "default")


class TestTheCommand:
    @pytest.fixture(params=["here", "through its server"])
    def attach(self, served: Served, request: pytest.FixtureRequest) -> Command:
        """The command without `--server`, and with it."""
        if request.param == "here":
            return Command(served.projects, served.cwd)
        return served

    def test_it_prints_how_to_open_the_kernel(self, served: Served, attach: Command) -> None:
        """A Jupyter client reads from the file how to reach the very same variables."""
        assert served("--session", "printed", "code", "kept = 41").returncode == 0
        shown = attach("sessions", "attach", "printed", "--print")
        assert shown.returncode == 0, shown.stderr
        (file,) = EXISTING.findall(shown.stdout)
        assert f"--ServerApp.external_connection_dir={os.path.dirname(file)}" in shown.stderr
        code = (
            "import sys\n"
            "from jupyter_client import BlockingKernelClient\n"
            "c = BlockingKernelClient(connection_file=sys.argv[1])\n"
            "c.load_connection_file(); c.start_channels(); c.wait_for_ready(20)\n"
            "c.execute_interactive('print(kept + 1)', timeout=20)\n"
            "c.stop_channels()\n"
        )
        words = [sys.executable, "-c", code, file]
        assert subprocess.run(words, capture_output=True, text=True).stdout == "42\n"
        listed = served("sessions").stdout
        assert re.search(r"^printed: idle · .* · \d+ runs\b", listed, re.MULTILINE)

    def test_a_session_that_is_not_there_is_one_sentence(self, attach: Command) -> None:
        shown = attach("sessions", "attach", "nowhere")
        assert (shown.returncode, shown.stdout) == (2, "")
        assert "'nowhere'" in shown.stderr
        assert "Traceback" not in shown.stderr


class TestTheConsole:
    """`jupyter console` on a terminal, as the command opens it."""

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("jupyter_console")

    @pytest.fixture
    def session(self, served: Served) -> Iterator[Callable[[str], str]]:
        """`session("print(x)")` runs code through the server."""

        def run(code: str) -> str:
            return served("--session", "typed", "code", code).stdout

        run("x = 41")
        yield run

    def test_it_opens_and_leaves_the_session_to_go_on(
        self, served: Served, session: Callable[[str], str]
    ) -> None:
        with Command(served.projects, served.cwd).on_terminal(
            "sessions", "attach", "typed"
        ) as terminal:
            terminal.expect("In [")
            terminal.type("y = x + 1; print('now', y)\r")
            terminal.expect("now 42")
            terminal.expect("In [")
            # What is typed is shown, too: what is expected stands in two pieces there.
            terminal.type("input('Wh' 'o? ')\r")
            terminal.expect("Who? ")
            terminal.type("me\r")
            terminal.expect("'me'")
            terminal.expect("In [")
            terminal.type("exit\r")
            assert terminal.end() == 0
        assert session("print(y)") == "42\n"
        exported = served.cwd / "day.ipynb"
        served("sessions", "export", "typed", str(exported))
        cells = json.loads(exported.read_text())["cells"]
        exported.unlink()
        sources = ["".join(cell["source"]) for cell in cells]
        assert sources == [
            "x = 41",
            "y = x + 1; print('now', y)",
            "input('Wh' 'o? ')",
            "exit",
            "print(y)",
        ]
        assert "now 42" in json.dumps(cells[1]["outputs"])

    def test_ctrl_c_is_the_consoles(self, served: Served, session: Callable[[str], str]) -> None:
        """The command itself goes on until the console ends."""
        with Command(served.projects, served.cwd).on_terminal(
            "sessions", "attach", "typed"
        ) as terminal:
            terminal.expect("In [")
            terminal.type("print('be' 'gun'); import time; time.sleep(1.5); print('ov' 'er')\r")
            terminal.expect("begun")
            terminal.type("\x03")
            terminal.expect("over")
            terminal.expect("In [")
            terminal.type("exit\r")
            assert terminal.end() == 0


def test_a_name_must_be_given() -> None:
    """Wrong words are refused before anything is looked for."""
    shown = subprocess.run([*COMMAND, "sessions", "attach"], capture_output=True, text=True)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "NAME" in shown.stderr
