"""Scripts in kernels that came to be in each way: cold, forked, forked and taken from the pool.

All others run in forked kernels.
"""

from __future__ import annotations

import pytest

from tests.conftest import STARTS
from tests.kernels.differential import Bench, Case, cases, displays_of

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("shared_registry", STARTS, indirect=True),
]


@cases("identity")
async def test_a_script_finds_what_python_sets_up(bench: Bench, case: Case) -> None:
    await bench.same(Case(case.source, ("a", "b c", "--x=ü")))


@cases("processes")
async def test_child_processes_work_as_with_python(bench: Bench, case: Case) -> None:
    await bench.same(case)


@cases("signals")
async def test_signals_and_debuggers_work_as_with_python(bench: Bench, case: Case) -> None:
    await bench.same(case)


@cases("threads")
async def test_threads_and_event_loops_work_as_with_python(bench: Bench, case: Case) -> None:
    await bench.same(case)


async def test_figures_are_shown(bench: Bench) -> None:
    result = await bench.run("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    assert ["image/png" in display.data for display in displays_of(result)] == [True]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
async def test_processes_of_each_start_method(bench: Bench, method: str) -> None:
    source = (
        "import multiprocessing, os\n"
        "def work(x): return x * 2, os.getppid()\n"
        "if __name__ == '__main__':\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    with context.Pool(2) as pool: print([x for x, _ in pool.map(work, range(4))])\n"
        "    process = context.Process(target=print, args=('child',)); process.start()\n"
        "    process.join(); print(process.exitcode)\n"
    )
    assert await bench.text(source) == "[0, 2, 4, 6]\nchild\n0\n"
