"""The command line where sessions are to run elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from client.notebook import own_runs
from tests.client.command import Served
from tests.kernels.environments.venvs import Made, make
from tests.notebooks.files import file_of

WHERE = "import sys; print(sys.executable)"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("made") / "there", 12, 7)


def test_they_are_listed(served: Served) -> None:
    done = served("environments")
    assert done.returncode == 0
    assert done.stdout.startswith("Sessions run in Python 3.")
    assert sys.executable in done.stdout


def test_code_runs_there(served: Served, made: Made) -> None:
    done = served("code", "--environment", made.python, "--session", "code", WHERE)
    assert (done.returncode, done.stdout) == (0, f"{made.python}\n")
    assert f"Python {made.version} (" in done.stderr
    # It stays there.
    assert served("code", "--session", "code", WHERE).stdout == f"{made.python}\n"


def test_a_file_runs_there(served: Served, made: Made) -> None:
    served.write("where.py", WHERE)
    prefix = str(made.prefix)
    done = served("run", "--environment", prefix, "--session", "run", "where.py")
    assert (done.returncode, done.stdout) == (0, f"{made.python}\n")


def test_a_notebook_runs_there(served: Served, made: Made) -> None:
    (served.projects / "where.ipynb").write_bytes(file_of({"source": WHERE}))
    done = served("notebook", "--environment", str(made.prefix), "where.ipynb")
    assert done.returncode == 0
    assert made.python in done.stdout


def test_a_prompt_is_there(served: Served, made: Made) -> None:
    options = ("--environment", str(made.prefix), "--session", "shell")
    done = served("shell", *options, stdin=f"{WHERE}\nx = 1\n")
    assert made.python in done.stdout


def test_another_one_is_refused_with_code_2(served: Served, made: Made) -> None:
    served("code", "--session", "taken", "1")
    done = served("code", "--session", "taken", "--environment", str(made.prefix), "1")
    assert done.returncode == 2
    assert "Set restart to begin anew" in done.stderr
    done = served(
        "code", "--session", "taken", "--restart", "--environment", str(made.prefix), WHERE
    )
    assert done.stdout == f"{made.python}\n"


def test_an_empty_name_is_wrong_usage(served: Served) -> None:
    done = served("code", "--environment", " ", "1")
    assert done.returncode == 2
    assert "--environment" in done.stderr


def test_runs_in_scripts_own_sessions_are_told_from_others(tmp_path: Path) -> None:
    listing = (
        "default: idle · age 1 s · idle 1 s · python · 1 runs\n"
        "script a.py: busy · age 1 s · running: a.py (run 7) · python · 1 runs\n"
        "notebook n.ipynb: busy · age 1 s · running: n.ipynb (run 8) · python · 1 runs\n"
    )
    assert own_runs(listing, "script ") == ["7"]
    assert own_runs(listing) == ["8"]
