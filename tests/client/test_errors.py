"""Whatever is wrong gives one sentence, exit code 2 and no traceback."""

from __future__ import annotations

import ast
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.client.command import COMMAND, Command, until
from tests.conftest import ROOT


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a failed command."""
    assert (done.returncode, done.stdout) == (2, "")
    name, colon, sentence = done.stderr.partition(": ")
    assert (name, colon) == ("rmi-agent", ": ")
    assert sentence.count("\n") == 1
    return sentence


class TestServerThatCannotBe:
    @pytest.mark.parametrize(
        ("server", "sentence"),
        [
            ("", "The server's name is empty"),
            ("no-such-command --x", "There is no command or script 'no-such-command'"),
            ("missing.py", "There is no file 'missing.py'"),
            ("'unclosed", "has a mistake: No closing quotation."),
            ("ftp://host/mcp", "'ftp://host/mcp' is no address of a server"),
            ("http://me:secret@host:x/mcp", "'http://host:x/mcp' is no address of a server"),
            ("http:///mcp", "'http:///mcp' is no address of a server"),
        ],
    )
    def test_is_told_before_anything_starts(self, command: Command, server: str, sentence: str):
        said = complaint(command("--server", server, "tools"))
        assert sentence in said
        assert "secret" not in said

    def test_nobody_listens(self, command: Command):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        said = complaint(command("--server", f"http://127.0.0.1:{port}", "tools"))
        assert said.startswith(f"The server http://127.0.0.1:{port}/mcp cannot be reached: ")

    def test_a_script_that_is_no_server_is_quoted(self, command: Command):
        script = command.write("server.py", "print('hello')\nimport no_such_module")
        said = complaint(command("--server", f"{sys.executable} {script}", "tools"))
        assert "ended before it answered: ModuleNotFoundError: No module named" in said

    def test_a_wrong_setting_of_the_server_is_named(self, command: Command):
        said = complaint(command("tools", PYTHON_TIMEOUT="soon"))
        assert "PYTHON_TIMEOUT is 'soon'" in said

    def test_it_dies_during_a_run(self, command: Command):
        begun = command.projects / "begun"
        command.write("wait.py", f"import time\nopen({str(begun)!r}, 'w')\ntime.sleep(60)")
        with command.start("run", "wait.py") as process:
            until(begun.exists)
            (server,) = psutil.Process(process.pid).children()
            server.kill()
            out, err = process.communicate(timeout=30)
        done = subprocess.CompletedProcess("", process.returncode, out, err)
        assert complaint(done) == "The server of this project went away during the call.\n"


class TestWrongUse:
    @pytest.mark.parametrize(
        ("args", "sentence"),
        [
            ([], "a command is missing"),
            (["dance"], "invalid choice: 'dance'"),
            (["run"], "required: FILE"),
            (["run", "--timeout", "soon", "a.py"], "'soon' is no number of seconds above 0"),
            (["run", "--timeout", "nan", "a.py"], "'nan' is no number of seconds above 0"),
            (["run", "--timeout", "-1", "a.py"], "'-1' is no number of seconds above 0"),
            (["code", "--stdin", "-", "-"], "not both"),
            (["code", "\udcff"], "not valid text in UTF-8"),
        ],
    )
    def test_is_told_without_a_server(self, command: Command, args: list[str], sentence: str):
        done = command(*args)
        assert (done.returncode, done.stdout) == (2, "")
        assert sentence in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr

    def test_help_does_not_wait_for_libraries(self, tmp_path: Path):
        [python, script] = COMMAND
        done = subprocess.run(
            [python, "-X", "importtime", script, "--help"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=True,
        )
        assert done.stdout.startswith("usage: rmi-agent ")
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "client.cli" in imported
        assert imported.isdisjoint({"fastmcp", "mcp", "rich", "pydantic"})


def test_the_client_imports_nothing_of_the_server():
    allowed = {*sys.stdlib_module_names, "client", "fastmcp", "rich"}
    for path in (ROOT / "client").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module or ""]
            assert {name.partition(".")[0] for name in names} <= allowed, path
