"""`rmi-agent chat` and `ask` on a terminal: leave is asked for, and Ctrl-C stops the run, then the
turn, then the program."""

from __future__ import annotations

import threading

import psutil
import pytest

from tests.client.agent.conftest import PATIENCE, Agent, scripted
from tests.client.agent.provider import Asked, Call, Provider, Say, Wait
from tests.client.command import until

pytest.importorskip("termios", reason="pseudo terminals are a thing of POSIX")

pytestmark = pytest.mark.timeout(4 * PATIENCE)

SLEEPS = """
import time
open("begun", "w").close()
while True: time.sleep(0.1)
"""


def test_ctrl_c_stops_the_run_then_the_turn_then_the_program(
    agent: Agent, provider: Provider
) -> None:
    """What was said until then is kept, nothing stays behind, and the conversation is gone on
    with."""
    go = threading.Event()
    (agent.projects / "sleeps.py").write_text(SLEEPS)
    scripted(provider, Call("run_python", file_name="sleeps.py"), Wait("never heard", go))
    with agent.on_terminal("chat", "--yes") as terminal:
        terminal.expect("Ctrl-D leaves", PATIENCE)
        terminal.expect("> ", PATIENCE)
        terminal.type("run sleeps.py\r")
        terminal.expect("▸ run_python sleeps.py", PATIENCE)
        until((agent.projects / "begun").exists, PATIENCE)
        family = psutil.Process(terminal.process.pid).children(recursive=True)
        terminal.interrupt()
        terminal.expect("KeyboardInterrupt", PATIENCE)
        terminal.expect("[exit code 130 · ", PATIENCE)
        until(lambda: len(provider.asked) == 2, PATIENCE)
        terminal.interrupt()
        terminal.expect("Given up.", PATIENCE)
        terminal.expect("> ", PATIENCE)
        while True:
            # readline misses a signal that comes just before it begins to wait.
            terminal.interrupt()
            if terminal.shows("goes on with it", 2):
                break
        assert terminal.end(PATIENCE) == 130
    go.set()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    assert alive == []

    scripted(provider, Say("Where were we?"))
    done = agent.plain("ask", "--yes", "--resume", "last", "go on")
    assert done.stdout == "Where were we?\n", done.stderr
    assert "run sleeps.py" in provider.asked[-1].text
    assert "KeyboardInterrupt" in provider.asked[-1].text
    assert "never heard" not in provider.asked[-1].text


def test_what_is_run_and_written_is_shown_and_asked_for(agent: Agent, provider: Provider) -> None:
    """`n` declines, other words decline and are told to the model, `y` lets it be done once, `a`
    from now on. What only looks is not asked for. The terminal obeys no code that is shown."""
    told: list[str] = []

    def then(reply: Call | Say) -> object:
        def replies(asked: Asked) -> Call | Say:
            told.append(asked.body["messages"][-1]["content"])
            return reply

        return replies

    run = Call("run_code", code="print('ran it')  # \x1b[2J")
    write = Call("write_file", file_name="new.py", content="print('new')\n")
    again = Call("run_code", code="print('again')")
    provider.script = [
        Call("list_files"),
        then(run),  # type: ignore[list-item]
        then(run),  # type: ignore[list-item]
        then(write),  # type: ignore[list-item]
        then(again),  # type: ignore[list-item]
        then(again),  # type: ignore[list-item]
        then(Say("Done.")),  # type: ignore[list-item]
    ]
    with agent.on_terminal("ask", "do it") as terminal:
        terminal.expect("▸ list_files", PATIENCE)
        terminal.expect("print('ran it')  # \\x1b[2J", PATIENCE)
        terminal.expect("or say what to do instead: ", PATIENCE)
        terminal.type("n\r")
        terminal.expect("instead: ", PATIENCE)
        terminal.type("write it first\r")
        terminal.expect("--- /dev/null", PATIENCE)
        terminal.expect("+print('new')", PATIENCE)
        terminal.expect("Write it? [y]es, ", PATIENCE)
        terminal.expect("instead: ", PATIENCE)
        assert not (agent.projects / "new.py").exists()
        terminal.type("y\r")
        terminal.expect("Wrote new.py", PATIENCE)
        terminal.expect("Go on? [y]es, ", PATIENCE)
        terminal.expect("instead: ", PATIENCE)
        terminal.type("a\r")
        terminal.expect("[exit code 0", PATIENCE)
        terminal.expect("▸ run_code", PATIENCE)
        terminal.expect("[exit code 0", PATIENCE)
        terminal.expect("Done.", PATIENCE)
        assert terminal.end(PATIENCE) == 0
    assert (agent.projects / "new.py").read_text() == "print('new')\n"
    assert "Do not repeat it; ask what they want instead." in told[1]
    assert "The user declined this call and said: write it first" in told[2]
    assert told[4].startswith("again\n") and told[5].startswith("again\n")
    assert "\x1b[2J" not in terminal.shown


def test_images_are_shown_where_the_terminal_can(agent: Agent, provider: Provider) -> None:
    scripted(provider, Call("run_python", file_name="plot_sine.py"), Say("Two curves."))
    with agent.on_terminal("ask", "--yes", "draw", TERM_PROGRAM="iTerm.app") as terminal:
        terminal.expect("saved as run-1-image-1.png]", PATIENCE)
        terminal.expect("Two curves.", PATIENCE)
        assert terminal.end(PATIENCE) == 0
    assert "\x1b]1337;File=inline=1;size=" in terminal.shown
    assert (agent.command.cwd / "run-1-image-1.png").exists()


def test_what_a_program_asks_is_asked_here(agent: Agent, provider: Provider) -> None:
    (agent.projects / "asks.py").write_text("print('hello', input('Name? ').upper())")
    scripted(provider, Call("run_python", file_name="asks.py"), Say("It greets."))
    with agent.on_terminal("ask", "--yes", "run asks.py") as terminal:
        terminal.expect("Name? ", PATIENCE)
        terminal.type("ann\r")
        terminal.expect("hello ANN", PATIENCE)
        terminal.expect("It greets.", PATIENCE)
        assert terminal.end(PATIENCE) == 0
