"""The output of a run is complete, in order, bounded, and its own."""

from __future__ import annotations

import pytest

from kernels.outputs import Display, Omitted, Text
from kernels.result import RunResult
from tests.conftest import RESUMED_TOO
from tests.kernels.differential import Bench, displays_of, outcome_of

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("shared_registry", RESUMED_TOO, indirect=True),
]

DISPLAY = "from IPython.display import display, clear_output, HTML\n"


def items(result: RunResult) -> list[str]:
    """Text with the initial of its stream, and displays by their text, in order."""
    found = []
    for output in result.outputs:
        if isinstance(output, Text):
            found.append(f"{output.stream[3]}:{output.text}")
        elif isinstance(output, Display):
            found.append(str(output.data["text/plain"]))
        else:
            found.append(type(output).__name__)
    return found


async def test_streams_and_displays_come_in_order(bench: Bench) -> None:
    source = DISPLAY + (
        "import sys\nprint('a'); display(1); print('b'); print('c', file=sys.stderr)\n"
        "display(2); display(3); print('d', file=sys.stderr); print('e')"
    )
    assert items(await bench.run(source)) == [
        *("o:a\n", "1", "o:b\n", "e:c\n", "2", "3", "e:d\n", "o:e\n")
    ]


async def test_output_of_descriptors_and_children_comes_in_order_too(bench: Bench) -> None:
    source = DISPLAY + (
        "import os, subprocess, sys\n"
        "print('a'); os.write(1, b'b\\n'); display(1); os.system('echo c >&2'); print('d')\n"
        "subprocess.run(['echo', 'e']); display(2); os.write(2, b'f\\n')"
    )
    assert items(await bench.run(source)) == [*("o:a\nb\n", "1", "e:c\n", "o:d\ne\n", "2", "e:f\n")]


async def test_display_needs_no_import(bench: Bench) -> None:
    result = await bench.run("display(5)")
    assert items(result) == ["5"]
    result = await bench.run("import IPython.display as d\nd.display(d.HTML('<b>x</b>'))")
    assert displays_of(result)[0].data["text/html"] == "<b>x</b>"


async def test_a_display_that_is_updated_shows_its_last_state(bench: Bench) -> None:
    source = DISPLAY + (
        "handle = display('one', display_id=True)\nprint('between')\n"
        "for n in range(50): handle.update(n)"
    )
    assert items(await bench.run(source)) == ["49", "o:between\n"]


async def test_clear_output(bench: Bench) -> None:
    source = DISPLAY + "print('gone'); display(1); clear_output(); print('kept')"
    assert items(await bench.run(source)) == ["o:kept\n"]


async def test_clear_output_that_waits(bench: Bench) -> None:
    """It clears when there is something new, and not without."""
    source = DISPLAY + "print('gone'); clear_output(wait=True); print('kept')"
    assert items(await bench.run(source)) == ["o:kept\n"]
    source = DISPLAY + "print('kept'); clear_output(wait=True)"
    assert items(await bench.run(source)) == ["o:kept\n"]


async def test_displays_without_stdout(bench: Bench) -> None:
    source = DISPLAY + "import sys\nsys.stdout = sys.stderr = None\ndisplay(1)"
    assert items(await bench.run(source)) == ["1"]


async def test_displays_of_threads_and_children(bench: Bench) -> None:
    source = DISPLAY + (
        "import threading\nthread = threading.Thread(target=display, args=(1,))\n"
        "thread.start(); thread.join()"
    )
    assert items(await bench.run(source)) == ["1"]


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("for n in range(101): print(f'\\r{n:3}% ', end='')\nprint()", "100% \n"),
        ("for n in range(101): print(f'{n:3}%', end='\\r')\nprint('done')", "done\n"),
        ("print('abcdef\\rXY')", "XYcdef\n"),
        ("import sys\nfor n in range(3): sys.stderr.write(f'\\r{n}')", "2"),
        ("print('a\\r\\nb')", "a\nb\n"),
    ],
)
async def test_a_progress_bar_shows_its_last_state(bench: Bench, source: str, shown: str) -> None:
    outcome = outcome_of(await bench.run(source))
    assert outcome.stdout + outcome.stderr == shown


async def test_lone_surrogates_are_written_out(bench: Bench) -> None:
    """`python` would fail; here nothing is lost, wherever the character stands."""
    assert await bench.text("print('a\\udc80b')") == "a\\udc80b\n"
    result = await bench.run("raise ValueError('a\\udc80b')")
    assert result.error is not None
    assert result.error["value"] == "a\\udc80b"
    source = "class A:\n    def __repr__(self): return 'a\\udc80b'\ndisplay(A())"
    assert items(await bench.run(source)) == ["a\\udc80b"]
    assert outcome_of(await bench.cell("raise ValueError('a\\udc80b')")).stderr.endswith(
        "ValueError: a\\udc80b\n"
    )


async def test_twenty_thousand_flushed_lines(bench: Bench) -> None:
    text = await bench.text("for n in range(20_000): print(n, flush=True)")
    assert text == "".join(f"{n}\n" for n in range(20_000))


async def test_a_hundred_megabytes_are_bounded_and_counted(bench: Bench) -> None:
    result = await bench.run("for n in range(1000): print(f'{n:06}' + 'x' * 99_993)")
    head, gap, tail = result.outputs
    assert isinstance(head, Text)
    assert isinstance(gap, Omitted)
    assert isinstance(tail, Text)
    assert head.text.startswith("000000xxx")
    assert tail.text.endswith("x\n")
    assert len(head.text) + gap.characters + len(tail.text) == 1000 * 100_000
    assert await bench.text("print('still here')") == "still here\n"


async def test_children_that_print_without_end_are_bounded_too(bench: Bench) -> None:
    source = "import subprocess\nsubprocess.run('yes | head -c 20000000', shell=True)"
    result = await bench.run(source)
    assert any(isinstance(output, Omitted) for output in result.outputs)


async def test_threads_of_an_earlier_run_are_not_passed_off_as_the_next_ones(bench: Bench) -> None:
    await bench.run(
        "import threading\ngo, said = threading.Event(), threading.Event()\n"
        "def late():\n    go.wait(); print('from the first'); said.set()\n"
        "threading.Thread(target=late, daemon=True).start()\nprint('first')"
    )
    result = await bench.run("go.set(); said.wait(); print('second')", name="second.py")
    assert items(result) == ["o:second\n"]
    assert result.late == "from the first\n"


async def test_tasks_of_an_earlier_cell_are_not_either(bench: Bench) -> None:
    await bench.cell(
        "import asyncio\nhere = asyncio.Event()\n"
        "async def late():\n    await here.wait(); print('from the first')\n"
        "task = asyncio.create_task(late()); await asyncio.sleep(0)"
    )
    result = await bench.cell("here.set(); await task; print('second')")
    assert items(result) == ["o:second\n"]
    assert result.late == "from the first\n"


async def test_work_given_to_an_old_pool_is_the_new_runs(bench: Bench) -> None:
    await bench.run(
        "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\n"
        "pool.submit(print, 'one')"
    )
    result = await bench.run("pool.submit(print, 'two').result()", name="second.py")
    assert items(result) == ["o:two\n"]
    assert result.late == ""
    # And the run waits for it, as `python` would.
    source = "import time\npool.submit(lambda: (time.sleep(0.05), print('three')))"
    assert items(await bench.run(source, name="third.py")) == ["o:three\n"]


async def test_output_between_two_runs_is_late(bench: Bench) -> None:
    await bench.run(
        "import threading, time\n"
        "def late(): print('between'); said.set()\nsaid = threading.Event()\n"
        "timer = threading.Timer(0.3, late); timer.daemon = True; timer.start()"
    )
    result = await bench.run("said.wait(); timer.join(); print('second')", name="second.py")
    assert items(result) == ["o:second\n"]
    assert result.late == "between\n"


async def test_a_logging_handler_of_an_import_writes_to_the_run_that_logs(bench: Bench) -> None:
    bench.write(
        "helper.py",
        "import logging, sys\nlog = logging.getLogger('lasting')\n"
        "log.addHandler(logging.StreamHandler(sys.stdout))\n",
    )
    for n in range(3):
        assert await bench.text(f"import helper; helper.log.warning({n})") == f"{n}\n"
