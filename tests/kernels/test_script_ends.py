"""What a program does to its process does not harm the next run, and the session's end is told."""

from __future__ import annotations

import pytest

from kernels.execution import FileRequest
from kernels.outputs import Text
from kernels.result import State, Status
from tests.conftest import RESUMED_TOO, until
from tests.kernels.differential import Bench, Case, outcome_of

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("shared_registry", RESUMED_TOO, indirect=True),
]

HARM = {
    "sys.stdout = None": "import sys; sys.stdout = sys.stderr = sys.stdin = None",
    "del sys.stdout": "import sys; del sys.stdout, sys.stderr, sys.stdin",
    "sys.stdout closed": "import sys; sys.stdout.close(); sys.stderr.close(); sys.stdin.close()",
    "sys.stdout detached": "import sys; sys.stdout.detach(); sys.stderr.detach()",
    "sys.stdout replaced": "import sys, io; sys.stdout = sys.__stdout__ = io.StringIO()",
    "sys.stdout of a class that fails": (
        "import sys\nclass Out:\n    def write(self, text): 1/0\n    def flush(self): 1/0\n"
        "sys.stdout = sys.stderr = Out()"
    ),
    "descriptors closed": "import os; os.close(1); os.close(2); os.close(0)",
    "descriptors replaced": (
        "import os; fd = os.open(os.devnull, os.O_RDWR)\nfor n in range(3): os.dup2(fd, n)"
    ),
    "descriptors that do not block": "import os\nfor n in range(3): os.set_blocking(n, False)",
    "the directory deleted": "import os; os.mkdir('d'); os.chdir('d'); os.rmdir('../d')",
    "SIGINT ignored": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "SIGINT blocked": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])",
    "SIGINT for another": "import signal; signal.signal(signal.SIGINT, lambda *_: print('mine'))",
    "SIGTERM ignored": "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "an alarm pending": "import signal; signal.setitimer(signal.ITIMER_REAL, 0.02)",
    "an alarm that repeats": (
        "import signal\nsignal.signal(signal.SIGALRM, lambda *_: 1/0)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)"
    ),
    "a tracing function": "import sys; sys.settrace(lambda *_: 1/0)",
    "a profiling function": "import sys; sys.setprofile(lambda *_: print('call', *_))",
    "threads traced": "import threading; threading.settrace(lambda *_: 1/0)",
    "hooks that fail": (
        "import sys\nsys.excepthook = sys.displayhook = sys.unraisablehook = lambda *_: 1/0"
    ),
    "sys.modules without __main__": "import sys; del sys.modules['__main__']",
    "sys.path emptied": "import sys; sys.path.clear(); sys.path_importer_cache.clear()",
    "sys.path replaced": "import sys\nsys.path = None",
    "globals cleared": "globals().clear()",
    "builtins emptied": "import builtins\ndel builtins.print, builtins.open, builtins.input",
    "a low recursion limit": "import sys; sys.setrecursionlimit(60)",
    "garbage collection off": "import gc; gc.disable()",
    "warnings as errors": "import warnings; warnings.simplefilter('error')",
    "logging switched off": "import logging; logging.disable(); logging.root.handlers = []",
    "logging.shutdown": "import logging; logging.shutdown()",
    "asyncio's loop closed": (
        "import asyncio\nloop = asyncio.new_event_loop()\n"
        "asyncio.set_event_loop(loop); loop.close()"
    ),
    "an event loop left running in a thread": (
        "import asyncio, threading\nloop = asyncio.new_event_loop()\n"
        "threading.Thread(target=loop.run_forever, daemon=True).start()"
    ),
    "faulthandler off": "import faulthandler; faulthandler.disable()",
    "faulthandler later": "import faulthandler; faulthandler.dump_traceback_later(0.01, exit=True)",
    "environment emptied": "import os; path = os.environ['PATH']; os.environ.clear()",
    "a resource limit": "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
    "a RecursionError": "def f(): f()\nf()",
    "many threads": (
        "import threading\nthreads = [threading.Thread(target=print) for _ in range(50)]\n"
        "[t.start() for t in threads]"
    ),
}

PROBE = """
import os, signal, subprocess, sys, time
print(input(), os.path.basename(os.getcwd()) != "d", len("abc"))
print("error", file=sys.stderr)
os.write(1, b"written\\n")
subprocess.run(["/bin/echo", "child"])
time.sleep(0.03)
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("source", HARM.values(), ids=HARM)
async def test_the_next_run_is_not_harmed(bench: Bench, source: str) -> None:
    """Neither a script nor a cell; and the kernel has stayed the same one."""
    await bench.cell("still = 'the same kernel'")
    await bench.run(source)
    result = await bench.run(PROBE, stdin="line\n", name="probe.py")
    outcome = outcome_of(result)
    assert outcome.stdout == "line True 3\nwritten\nchild\ninterrupted\n"
    assert (outcome.stderr, outcome.exit_code) == ("error\n", 0)
    assert result.state is State.KEPT
    if source != HARM["globals cleared"]:
        assert await bench.shown("still") == "'the same kernel'"


@pytest.mark.parametrize("source", HARM.values(), ids=HARM)
async def test_a_cell_does_not_harm_the_next_run_either(bench: Bench, source: str) -> None:
    lasting = ("globals cleared", "builtins emptied", "sys.path", "sys.modules", "low recursion")
    name = next(name for name, one in HARM.items() if one == source)
    if name.startswith(lasting):
        pytest.skip("a cell changes the session itself, as in a notebook")
    bench.session = "cells"
    await bench.cell(source)
    outcome = outcome_of(await bench.run(PROBE, stdin="line\n", name="probe.py"))
    assert outcome.stdout == "line True 3\nwritten\nchild\ninterrupted\n"
    assert (outcome.stderr, outcome.exit_code) == ("error\n", 0)


async def test_files_left_open_are_written(bench: Bench) -> None:
    """`python` closes them at its end; here they stay open for the session."""
    source = (
        "import csv\nplain = open('plain.txt', 'w'); plain.write('text')\n"
        "class Holder: pass\nholder = Holder()\nholder.writer = csv.writer(open('t.csv', 'w'))\n"
        "holder.writer.writerow([1, 2])\nraw = open('raw.bin', 'wb'); raw.write(b'bytes')"
    )
    await bench.run(source)
    assert (bench.folder / "plain.txt").read_text() == "text"
    assert (bench.folder / "t.csv").read_text() == "1,2\n"
    assert (bench.folder / "raw.bin").read_bytes() == b"bytes"
    await bench.cell("plain.write(' more'); plain.close()")
    assert (bench.folder / "plain.txt").read_text() == "text more"


LONG = {
    "a loop": "while True: print('x')",
    "a sleep": "import time\nprint('x')\ntime.sleep(60)",
    "an await": "import asyncio\nprint('x')\nawait asyncio.sleep(60)",
    "asyncio.run": "import asyncio\nprint('x')\nasyncio.run(asyncio.sleep(60))",
    "an import": "print('x')\nimport slow",
    "a child process": "import subprocess\nprint('x')\nsubprocess.run(['sleep', '60'])",
    "a thread": (
        "import threading, time\nprint('x')\n"
        "thread = threading.Thread(target=time.sleep, args=(5,)); thread.start(); thread.join()"
    ),
    "a thread that is left": (
        "import threading, time\nprint('x')\nthreading.Thread(target=time.sleep, args=(5,)).start()"
    ),
    "a Process": (
        # What is interrupted in the midst of a fork, CPython may not notice.
        "import multiprocessing, time\n"
        "process = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))\n"
        "process.start(); print('x'); process.join()"
    ),
    "a pool that is left": (
        "from concurrent.futures import ThreadPoolExecutor\nimport time\nprint('x')\n"
        "pool = ThreadPoolExecutor(1); pool.submit(time.sleep, 5)"
    ),
}


@pytest.mark.parametrize("source", LONG.values(), ids=LONG)
async def test_an_interrupted_script_ends_and_leaves_the_session_as_it_was(
    bench: Bench, source: str
) -> None:
    """At once: what it has left running is not waited for, as after a second Ctrl-C."""
    await bench.cell("still = 'here'")
    bench.write("slow.py", "import time\ntime.sleep(60)\n")
    path = bench.write("x.py", source)
    request = FileRequest(path, path.read_bytes())
    run = bench.registry.submit("", bench.session, request, 30)
    await until(lambda: run.characters)
    run.stop()
    result = await run.result()
    assert (result.status, result.exit_code) == (Status.INTERRUPTED, 130)
    assert result.state is State.KEPT
    assert result.error is not None
    assert result.error["name"] == "KeyboardInterrupt"
    assert outcome_of(result).stderr.endswith("KeyboardInterrupt\n")
    assert await bench.shown("still") == "'here'"


async def test_an_interrupt_loses_no_output(bench: Bench) -> None:
    """Wherever it hits, the lines up to it are there, each one once."""
    path = bench.write("x.py", "n = 0\nwhile True:\n    print(n)\n    n += 1")
    for enough in range(1, 30_000, 1500):
        request = FileRequest(path, path.read_bytes())
        run = bench.registry.submit("", bench.session, request, 30)
        await until(lambda run=run, enough=enough: run.characters >= enough)
        run.stop()
        result = await run.result()
        head = result.outputs[0]
        assert isinstance(head, Text)
        lines = head.text.split("\n")[:-1]
        assert lines == [str(n) for n in range(len(lines))]
        if len(result.outputs) == 2:
            # All of it, then: the last line may have been interrupted before it was complete.
            assert int(await bench.shown("n")) in (len(lines), len(lines) - 1)


async def test_os_exit_costs_the_kernel_and_says_so(bench: Bench) -> None:
    # One in which nothing has succeeded yet, which there would be a checkpoint of.
    bench.session = "exits"
    case = Case("import os, sys\nx = 1\nprint('bye'); print('err', file=sys.stderr)\nos._exit(5)")
    assert (await bench.same(case)).exit_code == 5
    result = await bench.run("import os\nprint('x', end='')\nos._exit(0)")
    assert (result.status, result.state) == (Status.DIED, State.LOST)
    assert outcome_of(result).stdout == "x"
    assert "os._exit" in result.explanation or "itself" in result.explanation
    assert "NameError" in outcome_of(await bench.cell("x")).stderr


async def test_another_program_in_the_place_of_the_script(bench: Bench) -> None:
    """os.exec takes the kernel's place; its output and exit code are still the run's."""
    bench.session = "exec"
    source = (
        "import os, sys\nprint('before')\n"
        "os.execv(sys.executable, [sys.executable, '-c', 'print(\"after\"); raise SystemExit(3)'])"
    )
    assert (await bench.same(Case(source))).exit_code == 3


async def test_atexit_handlers_run_at_the_end_of_the_session(bench: Bench) -> None:
    """In reverse order, those of all its scripts; closing returns what they print."""
    bench.session = "atexit"
    source = "import atexit, sys\natexit.register(print, 'bye from', {!r})\nprint('ran')"
    for name in ("one", "two"):
        assert await bench.text(source.format(name)) == "ran\n"
    await bench.cell("atexit.register(sys.stderr.write, 'error\\n')")
    printed = await bench.registry.close("", "atexit")
    assert printed == "error\nbye from two\nbye from one\n"


async def test_atexit_handlers_see_the_variables_and_may_fail(bench: Bench) -> None:
    bench.session = "atexit"
    await bench.run(
        "import atexit, os\n@atexit.register\ndef save():\n"
        f"    open({str(bench.folder / 'saved.txt')!r}, 'w').write(str(data))\n    1/0\n"
        "data = 1\natexit.register(os.write, 1, b'descriptor\\n')"
    )
    await bench.cell("data = 2")
    printed = await bench.registry.close("", "atexit")
    assert printed.startswith("descriptor\nException ignored in atexit callback")
    assert printed.endswith("ZeroDivisionError: division by zero\n")
    assert (bench.folder / "saved.txt").read_text() == "2"


async def test_threads_do_not_keep_atexit_handlers_from_running(bench: Bench) -> None:
    """The end of a session waits for nobody."""
    bench.session = "atexit"
    source = (
        "import atexit, threading, time\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "atexit.register(print, 'bye')\nstill = open('still.txt', 'w'); still.write('written')\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "ThreadPoolExecutor(1).submit(time.sleep, 60)"
    )
    await bench.cell(f"import os; os.chdir({str(bench.folder)!r})\n" + source)
    assert await bench.registry.close("", "atexit") == "bye\n"
    assert (bench.folder / "still.txt").read_text() == "written"


async def test_a_pool_left_open_stays_usable_and_ends_with_the_session(bench: Bench) -> None:
    bench.session = "pools"
    await bench.run(
        "from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor\n"
        "from multiprocessing import Manager, Pool\n"
        "def f(x): return x + 1\n"
        "if __name__ == '__main__':\n"
        "    threads, processes, pool = ThreadPoolExecutor(2), ProcessPoolExecutor(1), Pool(1)\n"
        "    manager = Manager(); shared = manager.dict()\n"
        "    processes.submit(f, 0).result(); pool.map(f, [0])\n"
    )
    await bench.run("threads.submit(f, 1).result()", name="b.py")
    cell = (
        "[p.submit(f, 1).result() for p in (threads, processes)], pool.map(f, [3]), shared.copy()"
    )
    await bench.cell("shared[1] = 2")
    assert await bench.shown(cell) == "([2, 2], [4], {1: 2})"
    assert await bench.registry.close("", "pools") == ""


async def test_a_fork_in_a_cell_ends_with_the_cell(bench: Bench) -> None:
    source = (
        "import os\npid = os.fork()\n"
        "if pid: status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
        "print('both')\n"
    )
    assert outcome_of(await bench.cell(source)).stdout == "both\nboth\n"
    assert await bench.shown("status") == "0"
    result = outcome_of(await bench.cell(source + "if not pid: 1/0"))
    assert result.stdout == "both\nboth\n"
    assert "ZeroDivisionError" in result.stderr
    assert await bench.shown("status") == "1"
