"""Programs that work on environments: told line by line, ended whole, never left behind."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from kernels.environments.children import Ended, run, working_environment
from kernels.errors import EnvironmentUnfit
from tests.conftest import alive, until

ENVIRON = working_environment({"PATH": os.environ["PATH"]})


async def python(code: str, seconds: float = 30, lines: list[str] | None = None) -> Ended:
    told = [] if lines is None else lines
    return await run([sys.executable, "-c", code], ENVIRON, seconds, told.append)


async def test_its_lines_are_told_as_they_come_and_its_exit_code_at_the_end(tmp_path: Path) -> None:
    """Standard error is among them; a carriage return ends a line as a newline does; colours and
    blank lines are left out."""
    gate, lines = tmp_path / "gate", list[str]()
    working = asyncio.create_task(
        python(
            "import os, sys, time\n"
            "print('one'); print('\\x1b[31mtwo\\x1b[0m', file=sys.stderr); print()\n"
            "print('10%\\r20%\\r', end='', flush=True)\n"
            f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
            "print('end', end=''); sys.exit(3)",
            lines=lines,
        )
    )
    await until(lambda: lines == ["one", "two", "10%", "20%"])
    gate.touch()
    assert await working == Ended(3, ("one", "two", "10%", "20%", "end"))


async def test_it_begins_in_an_empty_folder_without_input_or_terminal() -> None:
    ended = await python("import os, sys; print(os.listdir(), repr(sys.stdin.read()), os.getcwd())")
    assert ended.lines[0].startswith("[] '' ")
    folder = Path(ended.lines[0].split()[-1])
    await until(lambda: folder.is_absolute() and not folder.exists())


async def test_what_it_says_without_end_is_kept_in_part() -> None:
    ended = await python("print('x' * 5_000_000)\nfor n in range(100_000): print(n)")
    assert len(ended.lines) <= 400 and max(map(len, ended.lines)) <= 1000
    assert ended.lines[-1] == "99999"


async def test_bytes_that_are_no_text_are_told_all_the_same() -> None:
    ended = await python(r"import os; os.write(1, b'\xff\xfe a\n')")
    assert ended.lines == ("�� a",)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["Using Python 3", "error: No solution", "  cause: x"], "error: No solution\n  cause: x"),
        (["Looking", "ERROR: No match"], "ERROR: No match"),
        (["  × No solution", "  ╰─▶ x"], "  × No solution\n  ╰─▶ x"),
        (["PackagesNotFoundError: none", "  - x"], "PackagesNotFoundError: none\n  - x"),
        (["one", "two"], "one\ntwo"),
        ([], ""),
    ],
)
def test_its_last_words_begin_where_it_names_an_error(lines: list[str], words: str) -> None:
    assert Ended(1, tuple(lines)).last_words() == words


def starts_another(tmp_path: Path, then: str) -> tuple[str, Path]:
    """Code of a program that starts another, which ignores the interrupt, and does `then`."""
    pids = tmp_path / "pids"
    child = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
    code = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.DEVNULL,"
        " stderr=subprocess.DEVNULL)\n"
        f"part = {str(pids)!r} + '.part'\n"
        "open(part, 'w').write(f'{os.getpid()} {child.pid}')\n"
        f"os.rename(part, {str(pids)!r})\n"
        f"{then}"
    )
    return code, pids


OBEYS = "time.sleep(600)"
OBEYS_NOT = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"


@pytest.mark.parametrize("then", [OBEYS, OBEYS_NOT], ids=["obeys", "obeys not"])
async def test_cancelled_it_ends_with_all_that_it_has_started(tmp_path: Path, then: str) -> None:
    code, pids = starts_another(tmp_path, then)
    working = asyncio.create_task(python(code))
    await until(pids.exists)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await until(lambda: not any(map(alive, map(int, pids.read_text().split()))))


async def test_an_impatient_caller_who_cancels_again_leaves_nothing_either(tmp_path: Path) -> None:
    code, pids = starts_another(tmp_path, OBEYS_NOT)
    working = asyncio.create_task(python(code))
    await until(pids.exists)
    for _ in range(5):
        working.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await working
    await until(lambda: not any(map(alive, map(int, pids.read_text().split()))))


async def test_one_that_is_interrupted_has_time_to_put_things_back(tmp_path: Path) -> None:
    begun, done = tmp_path / "begun", tmp_path / "done"
    working = asyncio.create_task(
        python(
            "import time\n"
            "try:\n"
            f"    open({str(begun)!r}, 'w').close(); time.sleep(600)\n"
            "except KeyboardInterrupt:\n"
            f"    time.sleep(0.2); open({str(done)!r}, 'w').close()"
        )
    )
    await until(begun.exists)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert done.exists()


async def test_when_its_time_is_up_it_ends_and_its_last_words_are_told(tmp_path: Path) -> None:
    code, pids = starts_another(tmp_path, "print('downloading', flush=True); time.sleep(600)")
    with pytest.raises(EnvironmentUnfit, match="not ready within 3 s") as caught:
        await python(code, seconds=3)
    assert caught.value.detail.splitlines()[0] == "downloading"
    await until(lambda: not any(map(alive, map(int, pids.read_text().split()))))


async def test_a_program_that_cannot_be_started_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "broken"
    file.write_text("no program")
    for path in (file, tmp_path / "none"):
        with pytest.raises(EnvironmentUnfit, match=r"cannot be started: .*\.$"):
            await run([str(path)], ENVIRON, 20)


def test_nothing_in_its_environment_means_another_environment() -> None:
    """Proxies and indexes of the user's stay."""
    given = {
        "VIRTUAL_ENV": "/v", "CONDA_PREFIX": "/c", "PYTHONPATH": "/p", "PYTHONHOME": "/h",
        "PIP_TARGET": "/t", "PIP_USER": "1", "PIP_PREFIX": "/x", "UV_PYTHON": "3.8",
        "HTTPS_PROXY": "http://proxy", "PIP_INDEX_URL": "https://index", "UV_INDEX": "https://i",
        "FORCE_COLOR": "1", "PATH": "/bin",
    }  # fmt: skip
    kept = working_environment(given)
    assert given.keys() & kept.keys() == {"HTTPS_PROXY", "PIP_INDEX_URL", "UV_INDEX", "PATH"}
    assert kept["NO_COLOR"] == "1"
