"""An interrupt that comes before a cell's program has begun reaches it, wherever it hits."""

from __future__ import annotations

import os

import pytest

from kernels.execution import CodeRequest
from kernels.outputs import Error
from kernels.result import State
from tests.conftest import RESUMED_TOO, until
from tests.kernels.differential import Bench

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("shared_registry", RESUMED_TOO, indirect=True),
]

#: `interrupt_at(number)`: at this line of what the kernel does from the next cell's beginning to
#: its program. `lines`: how many there are, if none of them has that number.
TRACED = """
import asyncio, os, signal, sys

def interrupt_at(number):
    lines.clear()
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        place = os.path.basename(frame.f_code.co_filename), frame.f_code.co_name
        if not count and place != ("cells.py", "run"):
            return None
        if place == ("cells.py", "_run_code"):
            sys.settrace(None)
            lines.append(count)
            return None
        count += 1
        if count == number:
            sys.settrace(None)
            os.kill(os.getpid(), signal.SIGINT)
        return trace

    asyncio.get_running_loop().call_soon(sys.settrace, trace)

lines = []
kept = "here"
"""
SHORT = {"a cell": "pass", "a cell that awaits": "await __import__('asyncio').sleep(0)"}
LONG = {
    "a cell": "import time; time.sleep(600)",
    "a cell that awaits": "await __import__('asyncio').sleep(600)",
}
#: Some of some 2,500 lines.
STEP = 61


@pytest.mark.parametrize("kind", LONG)
async def test_at_any_line_before_the_program(bench: Bench, kind: str) -> None:
    await bench.cell(TRACED)
    await bench.cell("interrupt_at(0)")
    await bench.cell(SHORT[kind])
    lines = int(await bench.shown("lines[0]"))
    assert lines > 10 * STEP
    for number in range(1, lines, STEP):
        await bench.cell(f"interrupt_at({number})")
        result = await bench.cell(LONG[kind])
        assert (result.exit_code, number) == (130, number)
        assert isinstance(result.outputs[0], Error)
    assert await bench.shown("kept") == "'here'"


AWAITING = {
    "where it computes": "await asyncio.sleep(0)\nbegun()\nwhile True: pass",
    "where it waits": "begun()\nawait asyncio.sleep(600)",
    "where a task computes": (
        "async def compute():\n"
        "    begun()\n"
        "    for n in range(10**9): await asyncio.sleep(0)\n"
        "await asyncio.gather(compute(), compute())"
    ),
}


@pytest.mark.parametrize("where", AWAITING)
async def test_in_a_cell_that_awaits(bench: Bench, where: str) -> None:
    """Also where it computes, which a cancellation would not end."""
    path = str(bench.folder / "begun")
    await bench.cell(f"import asyncio\nkept = 'here'\ndef begun(): open({path!r}, 'w').close()")
    run = bench.registry.submit("", bench.session, CodeRequest(AWAITING[where]), 60)
    await until(lambda: os.path.exists(path))
    run.stop()
    result = await run.result()
    assert (result.exit_code, result.state) == (130, State.KEPT)
    assert await bench.shown("kept") == "'here'"


async def test_in_a_callback_before_the_program(bench: Bench) -> None:
    """It ends the callback, if that takes its time, and the program."""
    await bench.cell(
        "import os, signal, time\n"
        "kept, events = 'here', get_ipython().events\n"
        "def before(info):\n"
        "    events.unregister('pre_run_cell', before)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(600)\n"
        "events.register('pre_run_cell', before)"
    )
    assert (await bench.cell(LONG["a cell"])).exit_code == 130
    assert await bench.shown("kept") == "'here'"


async def test_what_ipykernel_does_shows_nothing_of_itself(bench: Bench) -> None:
    """Where one is raised there, the cell ends as with any other."""
    await bench.cell(
        "still, shell = 'here', get_ipython()\n"
        "def once(cell):\n"
        "    del shell.transform_cell\n"
        "    raise KeyboardInterrupt\n"
        "shell.transform_cell = once"
    )
    result = await bench.cell("still = 'gone'")
    assert result.exit_code == 130
    assert result.outputs == (Error("KeyboardInterrupt", "", "KeyboardInterrupt\n"),)
    assert await bench.shown("still") == "'here'"
