"""`rmi-agent notebook`, with the real server over stdio, and with one that goes on over HTTP."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import nbformat
import pytest

from client.mcp_client import RmiMcpClient
from client.notebook import own_runs, parameter
from tests.client.command import ANSI, Command, Served, until

v4 = nbformat.v4

#: Prints a line, and goes on only after `go` has appeared beside it.
WAITS = """
import os, time
print("[bold]begun", flush=True)
open("begun", "w").close()
deadline = time.monotonic() + 60
while not os.path.exists("go") and time.monotonic() < deadline:
    time.sleep(0.02)
print("gone on")
"""

#: A server that tells of its runs what ours does not.
TELLS = """
from fastmcp import Context, FastMCP

mcp = FastMCP("tells")

@mcp.tool
async def run_notebook(ctx: Context, file_name: str) -> str:
    await ctx.report_progress(7, message="7 s")
    await ctx.report_progress(1.5, 3, "cell 2 of 3\\nnews")
    return "done"

mcp.run(show_banner=False)
"""


def write(command: Command, name: str, *sources: str, first: str = "") -> Path:
    """A notebook in the projects directory; `first` is the source of the cell for parameters."""
    cells = [v4.new_code_cell(source) for source in sources]
    if first:
        cells.insert(0, v4.new_code_cell(first, metadata={"tags": ["parameters"]}))
    path = command.projects / name
    path.parent.mkdir(exist_ok=True)
    nbformat.write(v4.new_notebook(cells=cells), path)
    return path


def printed(path: Path) -> str:
    """What the cells of a notebook have on their standard output."""
    outputs = [out for cell in nbformat.read(path, 4).cells for out in cell.get("outputs", [])]
    return "".join(out.text for out in outputs if out.get("name") == "stdout")


def interrupted(text: str) -> int:
    """The exit code in the facts of a run that was stopped."""
    facts = re.search(r"^\[exit code (\d+) · .* · stopped · ", text, re.MULTILINE)
    assert facts, text
    assert facts[1] != "0"
    return int(facts[1])


class TestParameter:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("true", True),
            ("False", False),
            ("null", None),
            ("None", None),
            ("TRUE", "TRUE"),
            ("7", 7),
            ("-7", -7),
            ("123456789012345678901234567890", 123456789012345678901234567890),
            ("0.5", 0.5),
            ("1e3", 1000.0),
            ("nan", "nan"),
            ("-inf", "-inf"),
            ("1e999", "1e999"),
            ("", ""),
            ("a=b", "a=b"),
            (" two words ", " two words "),
            ("2026-01-02", "2026-01-02"),
            ('"7"', "7"),
            ('[1, "a", null]', [1, "a", None]),
            ('{"a": {"b": [true]}}', {"a": {"b": [True]}}),
            ("(1, 2)", "(1, 2)"),
        ],
    )
    def test_is_what_it_looks_like(self, text: str, value: Any):
        name, found = parameter(f"x={text}")
        assert (name, found, type(found)) == ("x", value, type(value))

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("x", "'x' is not of the form name=value"),
            ("=1", "'=1' is not of the form name=value"),
            ("x=[1", "the value of x is no JSON: "),
            ('x="a', "the value of x is no JSON: "),
            ("x=[NaN]", "the value of x is no JSON: NaN is no number of JSON"),
            ("x=[1e999]", "the value of x is no JSON: 1e999 is too large a number"),
            (f"x={'[' * 100_000}", "the value of x is nested too deep"),
            ('x="\\ud800"', "the value of x is not valid text in UTF-8"),
        ],
    )
    def test_that_is_none_is_told_in_a_sentence(self, text: str, sentence: str):
        with pytest.raises(ValueError) as told:
            parameter(text)
        assert str(told.value).startswith(sentence)
        assert "\n" not in str(told.value)


def test_of_the_sessions_only_notebooks_own_count():
    listing = (
        "default: busy · age 3 s · running: run.py (run 1) · 90 MB · python · 1 runs\n"
        "notebook a.ipynb: idle · age 3 s · idle 2 s · 90 MB · python · 1 runs\n"
        "notebook b (1).ipynb: busy · age 3 s · running: b (1).ipynb (run 12) · "
        "1 waiting (run 13) · 90 MB · python · 1 runs\n"
    )
    assert own_runs(listing) == ["12"]
    assert own_runs("There is no session yet. The first run makes one.") == []


class TestInAPipe:
    def test_parameters_are_assigned_and_the_result_is_saved_elsewhere(self, command: Command):
        source = write(command, "a.ipynb", "print([n, words, more])", first="n = words = more = 0")
        before = source.read_bytes()
        done = command(
            *("notebook", "a.ipynb", "-o", "out/b.ipynb", "-p", "n=1", "--parameter", "n=2"),
            *("-p", "words=three four", "-p", 'more={"5": [null]}'),
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("a.ipynb: 3 of 3 cells run.")
        assert "[2, 'three four', {'5': [None]}]\n" in done.stdout
        assert done.stderr.startswith("[exit code 0 · ")
        assert " · session notebook a.ipynb · " in done.stderr
        assert done.stderr.count("\n") == 1
        assert source.read_bytes() == before
        saved = printed(command.projects / "out" / "b.ipynb")
        assert saved == "[2, 'three four', {'5': [None]}]\n"

    def test_a_failing_cell_ends_it_with_its_traceback(self, served: Served):
        path = write(served, "failing.ipynb", "print('one')", "1/0", "print('three')")
        done = served("notebook", "failing.ipynb")
        assert done.returncode == 1
        assert "ZeroDivisionError: division by zero\n" in done.stdout
        assert "three" not in done.stdout
        assert done.stderr.startswith("[exit code 1 · ")
        assert printed(path) == "one\n"

    def test_unless_errors_are_allowed(self, served: Served):
        path = write(served, "allowed.ipynb", "print('one')", "1/0", "print('three')")
        done = served("notebook", "--allow-errors", "allowed.ipynb")
        assert done.returncode == 0
        assert printed(path) == "one\nthree\n"

    def test_some_cells_in_a_session_of_that_name_with_input(self, served: Served):
        path = write(served, "some.ipynb", "1/0", "print(input())", "print('three')", "1/0")
        done = served(
            *("--session", "s", "notebook", "some.ipynb", "--cells", "1-2", "--stdin", "-"),
            stdin="read\n",
        )
        assert done.returncode == 0
        assert " · session s · " in done.stderr
        assert printed(path) == "read\nthree\n"

    def test_the_timeout_is_one_of_each_cell(self, served: Served):
        write(served, "timeout.ipynb", "import time; time.sleep(0.01)", "while True: pass")
        done = served("notebook", "timeout.ipynb", "--timeout", "2")
        assert done.returncode == 124
        assert "timeout.ipynb: 2 of 2 cells run." in done.stdout

    def test_an_image_becomes_a_file_with_the_number_that_its_cell_names(self, command: Command):
        write(command, "a.ipynb", DRAWS, DRAWS)
        done = command("notebook", "a.ipynb", "--images", "pictures")
        assert done.returncode == 0
        assert done.stdout.count(" · image ") == 2
        assert done.stderr.startswith("[image 2: PNG 1 × 1, ")
        assert "; saved as pictures/run-1-image-2.png]\n" in done.stderr
        (saved,) = (command.cwd / "pictures").iterdir()
        assert saved.read_bytes().startswith(b"\x89PNG")

    def test_a_script_with_cells_is_a_notebook_too(self, served: Served):
        served.write("script.py", "# %%\nx = 20\n# %%\nprint(x + 1)\n")
        done = served("notebook", "script.py")
        assert done.returncode == 0
        assert done.stdout.startswith("script.py: 2 of 2 cells run.")
        assert printed(served.projects / "script.ipynb") == "21\n"

    def test_what_cannot_be_run_is_one_sentence(self, served: Served):
        done = served("notebook", "no.ipynb")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("rmi-agent: 'no.ipynb' does not exist")
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["-p", "x"], "'x' is not of the form name=value"),
            (["-p", "x={"], "the value of x is no JSON: "),
            (["-o", ""], "argument -o/--output: it is empty"),
            (["--cells", " "], "argument --cells: it is empty"),
        ],
    )
    def test_wrong_use_is_told_without_a_server(
        self, command: Command, words: list[str], sentence: str
    ):
        done = command("notebook", "a.ipynb", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert sentence in done.stderr.splitlines()[-1]


#: A picture of one pixel.
DRAWS = """
import base64
from IPython.display import Image
Image(base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
))
"""


class TestOnATerminal:
    def test_a_bar_is_shown_and_is_gone_afterwards(self, command: Command):
        pytest.importorskip("termios", reason="pseudo terminals are a thing of POSIX")
        write(command, "a.ipynb", "x = 1", WAITS, "print(x)")
        with command.on_terminal("notebook", "a.ipynb") as terminal:
            terminal.expect("a.ipynb · ")
            terminal.expect("━ 1/3 cell 2 of 3 (cell 1")
            terminal.expect("[bold]begun")
            (command.projects / "go").touch()
            assert terminal.end() == 0
        region, _, result = terminal.shown.rpartition("\x1b[?25h")  # the cursor is back
        assert "\x1b[2K" in region
        assert "a.ipynb: 3 of 3 cells run." in result
        assert "━" not in result


class TestCtrlC:
    @pytest.mark.parametrize("name", ["a.ipynb", "./é (1).ipynb", "f/../" + "n" * 90 + ".ipynb"])
    def test_stops_the_run_and_shows_and_saves_what_there_was(self, command: Command, name: str):
        (command.projects / "f").mkdir()
        path = write(command, name, "x = 1", WAITS, "print('never')")
        with command.start("notebook", name) as process:
            until((command.projects / "begun").exists)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert "2 of 3 cells run." in out
        assert "\n[bold]begun\n" in out
        assert "\nKeyboardInterrupt" in out
        assert process.returncode == interrupted(err)
        assert printed(path) == "[bold]begun\n"

    def test_finds_the_run_when_the_file_is_named_from_the_root(self, command: Command):
        pytest.importorskip("termios", reason="pseudo terminals are a thing of POSIX")
        path = write(command, "a.ipynb", WAITS)
        with command.on_terminal("notebook", str(path.resolve())) as terminal:
            terminal.expect("cell 1 of 1")
            terminal.interrupt()
            code = terminal.end()
        assert "KeyboardInterrupt" in terminal.shown
        assert code == interrupted(ANSI.sub("", terminal.shown))


class TestProgress:
    async def test_of_parts_is_told_apart(self, command: Command):
        script = command.write("tells.py", TELLS)
        news: list[tuple[float, str]] = []
        parts: list[tuple[float, float, str]] = []
        async with RmiMcpClient(script) as client:
            await client.call(
                "run_notebook",
                {"file_name": "a"},
                lambda *told: news.append(told),
                on_part=lambda *told: parts.append(told),
            )
        assert news == [(7, "7 s")]
        assert parts == [(1.5, 3, "cell 2 of 3\nnews")]

    async def test_who_does_not_ask_for_parts_gets_seconds_and_message(self, command: Command):
        script = command.write("tells.py", TELLS)
        news: list[tuple[float, str]] = []
        async with RmiMcpClient(script) as client:
            arguments = {"file_name": "a"}
            await client.call("run_notebook", arguments, lambda *told: news.append(told))
        assert [message for _, message in news] == ["7 s", "cell 2 of 3\nnews"]
        assert news[1][0] >= 0
