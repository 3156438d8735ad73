"""The command in pipes, with the real server over stdio, some with one over HTTP."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.client.command import Command, Served
from tests.client.conftest import make_command
from tests.conftest import ROOT

#: Reads a standard input that nobody gave it, and ends its process.
UNASKED = """
import os
try:
    print(input())
except EOFError:
    print("none")
os._exit(5)
"""

#: Each is one start of a client, so they run side by side: name → arguments, standard input.
CASES: dict[str, tuple[list[str], str]] = {
    "hello": (["run", "hello_world.py", "a", "--session", "b c"], "unread"),
    "calculator": (["run", "calculator.py"], ""),
    "error": (["run", "error_test.py"], ""),
    "plot": (["run", "--images", "pictures", "plot_sine.py"], ""),
    "stdin": (["run", "--stdin", "-", "reads.py"], "one\ntwo\nthrée"),
    "code from stdin": (["code", "-"], "a = 20\nprint('é')\na + 1"),
    "timeout": (["--session", "s", "run", "--timeout", "1", "--stdin", "one", "ever.py"], ""),
    "exit 5": (["code", UNASKED], "unread"),
    "missing": (["run", "nope.py"], ""),
    "files": (["files", "--pattern", "*_*.py"], ""),
    "sessions": (["sessions"], ""),
    "tools": (["tools"], ""),
    "check": (["--server", str(ROOT / "server" / "mcp_server.py")], ""),
    "shell": (
        ["shell", "--restart", "--session", "s"],
        "x = 20\n\ndef double(n):\n    return n * 2\n\n\ndouble(x) + 2\n1/0\n"
        "for i in range(2):\n    print(i)\nelse:\n    x = x + 1\nx\nimport sys; sys.exit(3)\n",
    ),
}

#: These share a server over HTTP.
SERVED = {"calculator", "error", "code from stdin", "missing", "files", "tools"}

Outcome = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command of all cases."""
    return make_command(tmp_path_factory.mktemp("cli"))


@pytest.fixture(scope="module")
def outcome(shared: Command, served: Served) -> Iterator[Callable[[str], Outcome]]:
    """`outcome("hello")`: what became of that case."""
    command = shared
    command.write("reads.py", "import sys\nprint([input(), sys.stdin.read()])\n")
    command.write("ever.py", "print(input(), 'so far')\nwhile True: pass\n")
    futures: dict[str, Future[Outcome]] = {}
    with ThreadPoolExecutor(3) as pool:
        for name, (args, stdin) in CASES.items():
            start = served if name in SERVED else command
            futures[name] = pool.submit(start, *args, stdin=stdin)

        def result(name: str) -> Outcome:
            done = futures[name].result()
            assert "\x1b" not in done.stdout + done.stderr
            return done

        yield result
        pool.shutdown(cancel_futures=True)


class TestRun:
    def test_passes_the_arguments_on_and_separates_output_from_facts(self, outcome):
        done = outcome("hello")
        assert done.returncode == 0
        assert done.stdout.startswith("Hello, a!\nHello, --session!\nHello, b c!\n")
        assert done.stdout.endswith("Arguments: ['a', '--session', 'b c']\n")
        assert done.stderr.startswith("[exit code 0 · ")
        assert done.stderr.endswith(" · session default · run 1]\n")
        assert done.stderr.count("\n") == 1

    def test_calculator(self, outcome):
        done = outcome("calculator")
        assert done.returncode == 0
        assert done.stdout.startswith("7 + 5 = 12\n")
        assert done.stdout.endswith("All checks passed.\n")

    def test_an_error_has_its_traceback_and_exit_code(self, outcome):
        done = outcome("error")
        assert done.returncode == 1
        assert done.stdout.startswith("Planning a party for 8 guests\n3.0 slices each\n")
        assert "[stderr]\nTraceback (most recent call last):\n" in done.stdout
        assert done.stdout.endswith("ZeroDivisionError: division by zero\n")
        assert done.stderr.startswith("[exit code 1 · ")

    def test_an_image_becomes_a_file(self, outcome, shared: Command):
        done = outcome("plot")
        assert done.returncode == 0
        assert done.stdout == "Plotted 201 points of each curve.\n"
        image, facts = done.stderr.splitlines()
        assert image.startswith("[image 1: PNG ")
        assert image.endswith("; saved as pictures/run-1-image-1.png]")
        assert facts.startswith("[exit code 0 · ")
        (saved,) = (shared.cwd / "pictures").iterdir()
        assert saved.name == "run-1-image-1.png"
        assert saved.read_bytes().startswith(b"\x89PNG")

    def test_stdin_is_passed_on_when_asked_for(self, outcome):
        assert outcome("stdin").stdout == "['one', 'two\\nthrée']\n"

    def test_a_timeout_is_124_with_the_output_so_far(self, outcome):
        done = outcome("timeout")
        assert done.returncode == 124
        assert done.stdout.startswith("one so far\n")
        assert " session s · " in done.stderr
        assert "timed out after 1 s" in done.stderr

    def test_stdin_is_not_read_unasked_and_os_exit_gives_its_code(self, outcome):
        done = outcome("exit 5")
        assert done.returncode == 5
        assert done.stdout.startswith("none\n")

    def test_a_missing_file_is_one_sentence(self, outcome):
        done = outcome("missing")
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("rmi-agent: 'nope.py' does not exist")
        assert done.stderr.count("\n") == 1


class TestCode:
    def test_from_standard_input_shows_the_last_value(self, outcome):
        done = outcome("code from stdin")
        assert done.returncode == 0
        assert done.stdout == "é\n21\n"


class TestShell:
    def test_statements_share_a_session_and_go_on_after_an_error(self, outcome):
        done = outcome("shell")
        before, middle, after = done.stdout.partition("[stderr]\nTraceback")
        assert before == "42\n"
        assert middle
        assert after.endswith("ZeroDivisionError: division by zero\n0\n1\n21\n")

    def test_facts_are_only_said_of_what_failed(self, outcome):
        done = outcome("shell")
        assert [line.split(" · ")[0] for line in done.stderr.splitlines()] == [
            "[exit code 1",
            "[exit code 3",
        ]
        assert " session s " in done.stderr

    def test_its_exit_code_is_the_last_statements(self, outcome):
        assert outcome("shell").returncode == 3


class TestLists:
    def test_files(self, outcome):
        done = outcome("files")
        assert done.returncode == 0
        names = [line.partition(" (")[0] for line in done.stdout.splitlines()]
        assert names == ["error_test.py", "hello_world.py", "plot_sine.py"]

    def test_sessions(self, outcome):
        done = outcome("sessions")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1

    def test_tools_are_one_line_each(self, outcome):
        done = outcome("tools")
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert {"run_python", "run_code", "list_files"} <= {line.split()[0] for line in lines}
        assert all(len(line.split()) > 2 for line in lines)


def test_with_a_server_and_no_command_it_tries_the_sample(outcome):
    done = outcome("check")
    assert done.returncode == 0
    assert "run_python " in done.stdout
    assert "Hello, World!\n" in done.stdout
    assert done.stderr.startswith("Connected to RmiAgentMcpServer")
