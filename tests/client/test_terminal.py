"""Progress, colour, the prompt and Ctrl-C."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from tests.client.command import Command, until

pytest.importorskip("termios", reason="pseudo terminals are a thing of POSIX")

#: Prints lines, and more only after `go` has appeared beside it.
WAITS = """
import os, sys, time
print("begun", flush=True)
print("[bold]second line", flush=True)
deadline = time.monotonic() + 60
while not os.path.exists("go") and time.monotonic() < deadline:
    time.sleep(0.02)
print("gone on")
sys.exit(3)
"""

#: A server in whose session something else runs.
BUSY = """
import asyncio
from pathlib import Path
from fastmcp import Context, FastMCP

mcp = FastMCP("busy")

@mcp.tool
async def run_python(ctx: Context, file_name: str) -> str:
    try:
        await ctx.report_progress(5.0, message="waiting for its turn, place 2; 5 s")
        await asyncio.sleep(60)
    finally:
        Path(__file__).with_name("ended").touch()

@mcp.tool
async def stop_run(session: str) -> str:
    Path(__file__).with_name("stopped").touch()

mcp.run(show_banner=False)
"""


def test_progress_is_shown_while_it_runs_and_is_gone_afterwards(command: Command):
    command.write("waits.py", WAITS)
    with command.on_terminal("run", "waits.py") as terminal:
        terminal.expect("connecting")
        terminal.expect("waits.py · ")
        terminal.expect("[bold]second line")
        (command.projects / "go").touch()
        assert terminal.end() == 3
    region, _, result = terminal.shown.rpartition("\x1b[?25h")  # the cursor is back
    assert "\x1b[2K" in region
    assert "begun\r\n[bold]second line\r\ngone on\r\n\x1b[31m[exit code 3 · " in result
    assert "waits.py" not in result


def test_colour_only_where_it_is_wanted(command: Command):
    with command.on_terminal("--server", "no-such", "tools") as terminal:
        assert terminal.end() == 2
        assert terminal.shown.startswith("\x1b[31mrmi-agent: There is no command")
    with command.on_terminal("--server", "no-such", "tools", TERM="dumb") as terminal:
        assert terminal.end() == 2
        assert terminal.shown.startswith("rmi-agent: There is no command")


def test_the_prompt(command: Command, tmp_path: Path):
    begun = command.projects / "begun"
    with command.on_terminal("shell", HOME=str(tmp_path)) as terminal:
        terminal.expect("session default · Ctrl-D leaves")
        terminal.expect(">>> ")
        terminal.type("x = 20\r")
        terminal.expect(">>> ")
        terminal.type("for i in range(2):\r")
        terminal.expect("... ")
        terminal.type("    print(i, x)\r\r")
        terminal.expect("0 20\r\n1 20\r\n")
        terminal.expect(">>> ")
        # Ctrl-C while it waits leaves what was typed, and nothing else.
        terminal.type("garbage = (\r")
        terminal.expect("... ")
        while True:
            # readline misses a signal that comes just before it begins to wait.
            terminal.interrupt()
            if terminal.shows(">>> ", 0.5):
                break
        # Ctrl-C while it runs stops the run.
        terminal.type(f"open({str(begun)!r}, 'w').close(); import time; time.sleep(60)\r")
        until(begun.exists)
        terminal.interrupt()
        terminal.expect("KeyboardInterrupt\r\n")
        terminal.expect("[exit code 130 · ")
        terminal.expect(">>> ")
        terminal.type("x + 22\r")
        terminal.expect("\n42\r\n")
        terminal.expect(">>> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    history = tmp_path / ".rmi_agent_history"
    assert "x = 20\n" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


class TestQuestions:
    def test_what_a_program_asks_is_asked_here(self, command: Command):
        command.write("asks.py", "name = input('Name? ')\nprint('hello', name.upper())")
        with command.on_terminal("run", "asks.py") as terminal:
            terminal.expect("Name? ")
            terminal.type("ann\r")
            assert terminal.end() == 0
        assert "hello ANN" in terminal.shown

    def test_a_secret_is_not_shown(self, command: Command):
        command.write("asks.py", "import getpass\nprint(len(getpass.getpass('Key: ')))")
        with command.on_terminal("run", "asks.py") as terminal:
            terminal.expect("The answer is secret")
            terminal.type("s3cret\r")
            assert terminal.end() == 0
        assert "\n6\r\n" in terminal.shown
        assert "s3cret" not in terminal.shown

    def test_the_end_of_input_is_the_programs(self, command: Command):
        command.write("asks.py", "input('Name? ')")
        with command.on_terminal("run", "asks.py") as terminal:
            terminal.expect("Name? ")
            terminal.type("\x04")
            assert terminal.end() == 1
        assert "EOFError" in terminal.shown

    def test_ctrl_c_stops_the_program(self, command: Command):
        command.write("asks.py", "input('Name? ')")
        with command.on_terminal("run", "asks.py") as terminal:
            terminal.expect("Name? ")
            terminal.interrupt()
            assert terminal.end() == 130
        assert "KeyboardInterrupt" in terminal.shown


class TestCtrlC:
    def test_stops_the_run_shows_what_there_was_and_leaves_no_process(self, command: Command):
        command.write("waits.py", WAITS + "# never reached")
        command.write("pid.py", "import os; open('pid', 'w').write(str(os.getpid()) + '.')")
        pid = command.projects / "pid"
        source = (command.projects / "pid.py").read_text() + WAITS
        command.write("waits.py", source)
        with command.start("run", "waits.py") as process:
            until(lambda: pid.exists() and pid.read_text().endswith("."))
            family = psutil.Process(process.pid).children(recursive=True)
            family.append(psutil.Process(int(pid.read_text().rstrip("."))))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert out.startswith("begun\n[bold]second line\n[stderr]\nTraceback ")
        assert out.endswith("\nKeyboardInterrupt\n")
        assert err.startswith("[exit code 130 · ")
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []

    def test_twice_gives_up_a_run_that_does_not_end(self, command: Command):
        begun = command.projects / "begun"
        command.write(
            "stays.py",
            "import signal, time\n"
            "signal.signal(signal.SIGINT, lambda *_: open('heard', 'w').close())\n"
            "open('begun', 'w').close()\nwhile True: time.sleep(1)",
        )
        with command.start("run", "stays.py", RMI_GRACE="60") as process:
            until(begun.exists)
            process.send_signal(signal.SIGINT)
            until((command.projects / "heard").exists)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (130, "", "")

    def test_while_it_waits_for_its_turn_stops_no_other_run(self, command: Command):
        script = command.write("busy.py", BUSY)
        with command.on_terminal("--server", str(script), "run", "waits.py") as terminal:
            terminal.expect("waits.py · ")
            terminal.expect("waiting for its turn")
            terminal.interrupt()
            assert terminal.end() == 130
        until((command.projects / "ended").exists)
        assert not (command.projects / "stopped").exists()

    def test_while_it_connects_leaves_at_once(self, command: Command):
        started = command.projects / "started"
        script = command.write(
            "mute.py", f"open({str(started)!r}, 'w')\nimport sys\nsys.stdin.read()"
        )
        with command.start("--server", str(script), "tools") as process:
            until(started.exists)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (130, "", "")
