"""`rmi-agent sessions branch` and `rewind`, with a server that goes on between two commands."""

from __future__ import annotations

import re
import sys

import pytest

from tests.client.command import Served, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")

#: Worth a checkpoint, because it has taken its time.
WORTH = "import time\ntime.sleep(0.5)\nx = [1, 2, 3]"


def kept(served: Served, name: str, code: str = WORTH) -> None:
    """Make a session that has a checkpoint."""
    assert served("--session", name, "code", code).returncode == 0
    line = re.compile(rf"^{name}: .* · checkpoint after run \d+, \d+ s ago", re.MULTILINE)
    until(lambda: line.search(served("sessions").stdout) is not None)


def test_a_session_is_taken_back(served: Served) -> None:
    kept(served, "back")
    # One that succeeds might have a checkpoint of its own.
    assert served("--session", "back", "code", "del x; 1 / 0").returncode == 1
    done = served("sessions", "rewind", "back")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        r"Session 'back' is back to what it was after run \d+, \d+ s ago; files, databases and the "
        r"network are not undone\.\n",
        done.stdout,
    )
    assert served("--session", "back", "code", "x").stdout == "[1, 2, 3]\n"


def test_a_second_session_goes_on_apart(served: Served) -> None:
    kept(served, "stem")
    done = served("sessions", "branch", "stem", "twig")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Session 'twig' has the variables of session 'stem' after run ")
    assert served("--session", "twig", "code", "x.append(4); x").stdout == "[1, 2, 3, 4]\n"
    assert served("--session", "stem", "code", "x").stdout == "[1, 2, 3]\n"


def test_a_run_that_kills_its_kernel_says_what_was_restored(served: Served) -> None:
    """In the line of facts, once; the exit code is that of the death."""
    kept(served, "killed")
    done = served("--session", "killed", "code", "import os; os.kill(os.getpid(), 9)")
    assert done.returncode == 128 + 9
    assert done.stderr.count("variables are back to what they were after run ") == 1
    assert done.stderr.count("files, databases and the network are not undone") == 1
    assert "gone" not in done.stderr
    assert served("--session", "killed", "code", "x").stdout == "[1, 2, 3]\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["branch", "nobody", "new"], "There is no session 'nobody'. Sessions now: "),
        (["branch", "there", "there"], "There is a session 'there' already. Choose another name."),
        (["branch", "there", "a|b"], "A session's name is 1 to 100 letters"),
        (["rewind", "nobody"], "There is no session 'nobody'. Sessions now: "),
        (["rewind", "there"], "Session 'there' has no checkpoint to go back to: "),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    served: Served, words: list[str], sentence: str
) -> None:
    assert served("--session", "there", "code", "1 / 0", "--restart").returncode == 1
    done = served("sessions", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"rmi-agent: {sentence}")
    assert done.stderr.count("\n") == 1
