"""Checkpoints: a kernel's state is kept by a copy of its process, and whatever becomes of the
kernel, a new one goes on from there."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from kernels.errors import CheckpointError, KernelStartError
from kernels.execution import CodeRequest, Ending, Execution, FileRequest
from kernels.kernel import Checkpoint, Kernel
from kernels.kernelspecs import Kernelspec
from kernels.launching import kernel_environment, server_python
from kernels.local import LocalBackend
from kernels.outputs import Display, Error, Text
from kernels.textlog import Log
from tests.conftest import ROOT, alive, backend_of, is_steady, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")


@pytest.fixture(params=["forked"])
async def backend(projects: Path, request: pytest.FixtureRequest) -> AsyncIterator[LocalBackend]:
    made = backend_of(request.param, projects, kernel_environment())
    await made.settle()
    yield made
    await made.close()


@pytest.fixture
async def kernel(backend: LocalBackend) -> Kernel:
    return await backend.start()


async def follow(kernel: Kernel, request: CodeRequest | FileRequest, seconds: float = 20) -> Any:
    execution = Execution(kernel, request, Log(100_000, 100_000))
    return await execution.follow(seconds, 1), execution.collector


async def tell(kernel: Kernel, code: str, seconds: float = 20) -> str:
    """What a cell that succeeds prints, and its value."""
    ending, collector = await follow(kernel, CodeRequest(code), seconds)
    texts = []
    for output in collector.outputs():
        assert not isinstance(output, Error), output.traceback
        if isinstance(output, Text):
            texts.append(output.text)
        elif isinstance(output, Display):
            texts.append(str(output.data["text/plain"]))
    assert ending is Ending.DONE, (ending, texts)
    return "".join(texts).strip()


async def tell_nothing(kernel: Kernel) -> bool:
    """Whether a kernel that is new has nothing to say."""
    seen: list[str] = []
    kernel.on_message = lambda message: seen.append(str(message.content.get("text", "")))
    await kernel.close()
    return "".join(seen) == ""


async def keep(kernel: Kernel) -> Checkpoint:
    checkpoint = await kernel.checkpoint(20)
    assert checkpoint is not None
    return checkpoint


async def again(kernel: Kernel) -> Kernel:
    """Another kernel in the same state, in place of this one."""
    checkpoint = await keep(kernel)
    await kernel.close()
    try:
        return await checkpoint.resume()
    finally:
        await checkpoint.close()


def processes_of(backend: LocalBackend) -> set[int]:
    """All but the template."""
    warden = psutil.Process(backend._processes._popen.pid)  # type: ignore[union-attr]
    found = {each.pid for each in warden.children(recursive=True) if alive(each.pid)}
    if backend._template is not None:
        found.discard(backend._template._process.pid or 0)
    return found


# Code that sets something up, and an expression that tells of it, before and after.
STATES = {
    "numbers": ("x = 41", "x + 1"),
    "arrays": ("import numpy as np; v = np.arange(12.).reshape(3, 4); v[1] *= 2", "v.tolist()"),
    "linear algebra": (
        "import numpy as np; m = np.ones((300, 300)); m @ m",
        "float((m @ m).sum()), float(np.linalg.norm(np.linalg.inv(m + 300 * np.eye(300)) @ m)) > 0",
    ),
    "dataframes": (
        "import pandas as pd; d = pd.DataFrame({'a': [1, 2], 'b': ['x', None]}).set_index('a')",
        "d.to_dict(), str(d.dtypes.to_dict())",
    ),
    "classes": (
        "class A:\n    n = 1\n    def f(self): return self.n, type(self) is A\na = A(); a.n = 5",
        "a.f(), A.n, isinstance(a, A)",
    ),
    "closures": (
        "def make():\n    n = 3\n    def up():\n        nonlocal n\n"
        "        n += 1\n        return n\n    return up\nup = make(); up()",
        "up.__closure__[0].cell_contents",
    ),
    "generators half consumed": (
        "def count():\n    for i in range(9): yield i\ng = count(); next(g); next(g)",
        "dict(g.gi_frame.f_locals)",
    ),
    "modules": (
        "import sys, types; mine = types.ModuleType('mine')\n"
        "mine.x = 7; sys.modules['mine'] = mine",
        "__import__('mine').x",
    ),
    "figures": (
        "import matplotlib; matplotlib.use('agg')\n"
        "import matplotlib.pyplot as plt; f, ax = plt.subplots(); ax.plot([1, 4])",
        "ax.lines[0].get_ydata().tolist(), len(f.axes)",
    ),
    "random": ("import random; random.seed(); random.random()", "hash(random.getstate())"),
    "numpy's random": (
        "import numpy as np; np.random.random(); r = np.random.default_rng(); r.random()",
        "hash(np.random.get_state()[1].tobytes()), r.bit_generator.state['state']",
    ),
    "logging": (
        "import logging; h = logging.NullHandler(); logging.getLogger('x').addHandler(h)\n"
        "logging.getLogger('x').setLevel(13)",
        "logging.getLogger('x').handlers == [h], logging.getLogger('x').level",
    ),
    "warning filters": (
        "import warnings; warnings.filterwarnings('error', 'mine')",
        "warnings.filters[0][0], warnings.filters[0][1].pattern",
    ),
    "the import path": ("import sys; sys.path.insert(0, '/mine')", "sys.path"),
    "the working directory": ("import os; os.mkdir('in'); os.chdir('in')", "os.getcwd()"),
    "the environment": (
        "import os; os.environ['MINE'] = '1'; os.environ.pop('LANG', None)",
        "{k: v for k, v in os.environ.items() if k != 'RMI_AGENT_KERNEL'}",
    ),
    "contexts": ("import decimal; decimal.getcontext().prec = 5", "str(decimal.Decimal(1) / 3)"),
    "signal handlers": (
        "import signal; signal.signal(signal.SIGUSR1, lambda *_: None)",
        "signal.getsignal(signal.SIGUSR1).__name__",
    ),
    "what IPython knows": ("8 * 8", "_, len(In), get_ipython().execution_count"),
    "a database in memory": (
        "import sqlite3; c = sqlite3.connect(':memory:'); c.execute('create table t (x)')\n"
        "c.execute('insert into t values (5)')",
        "c.execute('select x from t').fetchall()",
    ),
}


class TestState:
    @pytest.mark.parametrize("backend", ["cold", "forked", "resumed"], indirect=True)
    async def test_it_is_as_it_was(self, backend: LocalBackend) -> None:
        """Everything in memory, whatever the kernel has done to it since."""
        kernel = await backend.start()
        expected = {}
        for name, (code, _) in STATES.items():
            if name != "what IPython knows":
                await tell(kernel, code)
        await tell(kernel, "8 * 8")
        shown = {name: shows for name, (_, shows) in STATES.items()}
        # At once: the history tells what is asked.
        every = "dict([" + ", ".join(f"({name!r}, ({shows}))" for name, shows in shown.items())
        every += "])"
        checkpoint = await keep(kernel)
        expected = await tell(kernel, every)
        await tell(
            kernel,
            "x = 0; v[:] = 0; d.drop(columns='b', inplace=True); up(); next(g)\n"
            "random.random(); np.random.random(); r.random(); del A, mine\n"
            "c.execute('delete from t'); os.chdir('/'); sys.path.clear()",
        )
        await kernel.close()
        resumed = await checkpoint.resume()
        assert await tell(resumed, every) == expected
        assert await tell(resumed, "next(g), up(), a.f()") == "(2, 5, (5, True))"
        assert await tell(resumed, "v += 1; v.sum().item()") == "100.0"

    async def test_it_can_be_resumed_any_number_of_times(self, kernel: Kernel) -> None:
        await tell(kernel, "x = [1]")
        checkpoint = await keep(kernel)
        resumed = [await checkpoint.resume() for _ in range(3)]
        for number, each in enumerate([kernel, *resumed]):
            await tell(each, f"x.append({number})")
        for number, each in enumerate([kernel, *resumed]):
            assert await tell(each, "x") == f"[1, {number}]"

    async def test_the_program_is_in_a_process_of_its_own(self, kernel: Kernel) -> None:
        facts = (
            "import os, threading\n"
            "tag = os.environ['RMI_AGENT_KERNEL']\n"
            "at_first = open('/proc/self/environ').read()\n"
            "command = open('/proc/self/cmdline').read()\n"
            "print(tag, tag in at_first, tag in command, os.getsid(0) == os.getpid(),"
            " threading.main_thread().native_id == os.getpid(), __import__('sys').orig_argv,"
            " open('/proc/self/oom_score_adj').read())"
        )
        before = (await tell(kernel, facts)).split()
        checkpoint = await keep(kernel)
        with open(f"/proc/{checkpoint.pid}/oom_score_adj") as file:  # noqa: ASYNC230
            assert file.read() == "900\n"
        assert os.getsid(checkpoint.pid or 0) == checkpoint.pid
        await kernel.close()
        resumed = await checkpoint.resume()
        after = (await tell(resumed, facts)).split()
        assert after[0] != before[0]
        assert [word.replace(after[0], before[0]) for word in after] == before
        assert before[1:5] == ["True"] * 4

    async def test_positions_in_files_are_its_own(self, kernel: Kernel, projects: Path) -> None:
        (projects / "text").write_text("one\ntwo\nthree\nfour\n")
        await tell(
            kernel,
            "f = open('text', 'rb', buffering=0); g = open('text'); f.readline()\n"
            "g.readline(); w = open('out', 'w'); w.write('a'); w.flush()",
        )
        checkpoint = await keep(kernel)
        await tell(kernel, "f.read(); g.read(); w.write('lost'); w.flush()")
        first, second = await checkpoint.resume(), await checkpoint.resume()
        for each in (first, second):
            assert await tell(each, "f.readline(), g.readline()") == r"(b'two\n', 'two\n')"
        await tell(first, "w.write('b'); w.flush()")
        assert (projects / "out").read_text() == "abost"

    async def test_tasks_and_timers_go_on(self, kernel: Kernel) -> None:
        await tell(
            kernel,
            "import asyncio\nseen = []\n"
            "async def tick():\n    for i in range(10**6):\n        seen.append(i)\n"
            "        await asyncio.sleep(0.01)\n"
            "task = asyncio.ensure_future(tick())\n"
            "loop = asyncio.get_running_loop()\n"
            "loop.call_later(0.5, seen.append, 'timer')\n"
            "event = asyncio.Event()\n"
            "async def wait():\n    await event.wait(); seen.append('event')\n"
            "waiting = asyncio.ensure_future(wait())\nawait asyncio.sleep(0.05)",
        )
        resumed = await again(kernel)
        await tell(resumed, "before = len(seen); event.set()\nawait asyncio.sleep(0.6)")
        assert await tell(resumed, "len(seen) > before + 3, task.done()") == "(True, False)"
        assert await tell(resumed, "seen.count('timer'), seen.count('event')") == "(1, 1)"
        assert await tell(resumed, "loop is asyncio.get_running_loop()") == "True"

    async def test_event_loops_of_the_programs_own_go_on(self, kernel: Kernel) -> None:
        """Each kernel watches by itself: what one of them watches is nothing to the others."""
        await tell(
            kernel,
            "import asyncio, os\nown = asyncio.new_event_loop(); r, w = os.pipe(); got = []\n"
            "own.add_reader(r, lambda: got.append(os.read(r, 10)))\n"
            "asyncio.get_running_loop().add_reader(r, lambda: got.append(os.read(r, 10)))",
        )
        checkpoint = await keep(kernel)
        await tell(kernel, "own.remove_reader(r); asyncio.get_running_loop().remove_reader(r)")
        await kernel.close()
        for _ in range(2):
            resumed = await checkpoint.resume()
            await tell(resumed, "import concurrent.futures as cf\nos.write(w, b'1')\n"
                                "await asyncio.sleep(0.05)")  # fmt: skip
            assert await tell(resumed, "got") == "[b'1']"
            await tell(resumed, "import threading\nasyncio.get_running_loop().remove_reader(r)\n"
                                "os.write(w, b'2')\n"
                                "t = threading.Thread(target=own.run_until_complete,"
                                " args=(asyncio.sleep(0.05),)); t.start(); t.join()")  # fmt: skip
            assert await tell(resumed, "got") == "[b'1', b'2']"
            await resumed.close()

    async def test_idle_thread_pools_work(self, kernel: Kernel) -> None:
        await tell(
            kernel,
            "import asyncio, concurrent.futures as cf\npool = cf.ThreadPoolExecutor(3)\n"
            "list(pool.map(abs, range(50))); await asyncio.to_thread(print)",
        )
        resumed = await again(kernel)
        assert await tell(resumed, "list(pool.map(abs, [-1, 2, -3]))") == "[1, 2, 3]"
        assert await tell(resumed, "await asyncio.to_thread(abs, -7)") == "7"
        assert await tell(resumed, "pool.shutdown(); 'down'") == "'down'"

    async def test_a_bar_of_tqdm_goes_on(self, kernel: Kernel) -> None:
        """Though it has a thread, and a lock that is shared with the kernel that died in it."""
        pytest.importorskip("tqdm")
        await tell(
            kernel, "from tqdm import tqdm\nfor _ in tqdm(range(3)): pass\nbar = tqdm(total=5)"
        )
        checkpoint = await keep(kernel)
        assert checkpoint.warnings == ()
        await tell(kernel, "tqdm.get_lock().acquire()")
        await kernel.close()
        resumed = await checkpoint.resume()
        assert "5/5" in await tell(resumed, "bar.update(5); bar.close()")

    async def test_processes_can_be_started(self, kernel: Kernel) -> None:
        """By each method, though they have been before."""
        source = (
            "import multiprocessing as mp, subprocess\n"
            "def go():\n"
            "    with mp.get_context('fork').Pool(2) as pool: a = pool.map(abs, [-1, 2])\n"
            "    with mp.get_context('forkserver').Pool(1) as pool: b = pool.map(abs, [-3])\n"
            "    with mp.get_context('spawn').Pool(1) as pool: c = pool.map(abs, [-4])\n"
            "    return a + b + c, subprocess.run(['echo', 'x'], capture_output=True).stdout"
        )
        await tell(kernel, source)
        expected = await tell(kernel, "go()")
        resumed = await again(kernel)
        assert await tell(resumed, "go()") == expected == r"([1, 2, 3, 4], b'x\n')"

    async def test_streams_that_the_program_holds_are_valid(self, kernel: Kernel) -> None:
        await tell(
            kernel,
            "import sys, os, logging\nheld = sys.stdout; fd = os.dup(1)\n"
            "log = logging.getLogger('l'); log.addHandler(logging.StreamHandler(sys.stdout))",
        )
        resumed = await again(kernel)
        code = "_ = held.write('a\\n'); _ = os.write(fd, b'b\\n'); log.error('c'); print('d')"
        assert (await tell(resumed, code)).split() == ["a", "b", "c", "d"]

    async def test_handlers_at_the_end_run_once_and_may_print(self, kernel: Kernel) -> None:
        await tell(kernel, "import atexit; _ = atexit.register(print, 'bye')")
        resumed = await again(kernel)
        seen: list[str] = []
        resumed.on_message = lambda message: seen.append(str(message.content.get("text", "")))
        resumed.send("shell", "execute_request", {"code": ""}, {"rmi": {"mode": "exit"}})
        await asyncio.wait_for(resumed.exited.wait(), 10)
        assert resumed.exit is not None
        assert resumed.exit.code == 0
        assert "".join(seen) == "bye\n"

    async def test_a_kernel_of_another_kind_of_start(self, backend: LocalBackend) -> None:
        """One of a kernelspec has checkpoints, too."""
        spec = Kernelspec(
            "other", "Other", "python",
            (sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
            {"MINE": "1"}, "signal",
        )  # fmt: skip
        kernel = await backend.start(spec)
        await tell(kernel, "import os; x = os.environ['MINE'] + '2'")
        assert await tell(await again(kernel), "x, os.environ['MINE']") == "('12', '1')"


DEATHS = {
    "a loop in Python": "while True: pass",
    "a loop in C": "sum(range(10**12))",
    "a segmentation fault": "import ctypes; ctypes.string_at(0)",
    "os._exit": "import os; os._exit(3)",
    "abort": "import os; os.abort()",
    "SIGKILL": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "its process group": "import os, signal; os.killpg(0, signal.SIGKILL)",
    "abort under a memory limit": (
        "import resource, ctypes; resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20))\n"
        "ctypes.CDLL(None).abort()"
    ),
}


class TestDeaths:
    @pytest.mark.parametrize("code", DEATHS.values(), ids=DEATHS)
    async def test_the_state_survives_every_end(
        self, backend: LocalBackend, kernel: Kernel, code: str
    ) -> None:
        """And nothing of the dead kernel is left, its children and threads neither."""
        await tell(kernel, "import numpy; x = {'a': numpy.arange(3)}")
        checkpoint = await keep(kernel)
        rest = (
            "x.clear(); import subprocess, threading, time\n"
            "subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
            "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        )
        ending, _ = await follow(kernel, CodeRequest(rest + code), 1)
        assert ending in (Ending.DIED, Ending.TIMEOUT)
        await kernel.close()
        assert processes_of(backend) == {checkpoint.pid}
        for _ in range(2):
            resumed = await checkpoint.resume()
            assert await tell(resumed, "x['a'].tolist()") == "[0, 1, 2]"
            await resumed.close()
        assert processes_of(backend) == {checkpoint.pid}
        await checkpoint.close()
        assert processes_of(backend) == set()

    async def test_a_checkpoint_is_told_to_have_ended(
        self, backend: LocalBackend, kernel: Kernel
    ) -> None:
        checkpoint = await keep(kernel)
        os.kill(checkpoint.pid or 0, signal.SIGKILL)
        await asyncio.wait_for(checkpoint.exited.wait(), 5)
        with pytest.raises(KernelStartError):
            await checkpoint.resume()
        assert await tell(kernel, "1") == "1"
        await checkpoint.close()
        assert processes_of(backend) == {kernel.pid}

    async def test_one_that_was_stopped_is_given_up(
        self, backend: LocalBackend, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kernels.checkpoint.PROBE", 1.0)
        checkpoint = await keep(kernel)
        os.kill(checkpoint.pid or 0, signal.SIGSTOP)
        with pytest.raises(KernelStartError):
            await checkpoint.resume()
        await checkpoint.close()
        await until(lambda: processes_of(backend) == {kernel.pid})

    async def test_a_resumed_kernel_ends_as_any(
        self, backend: LocalBackend, kernel: Kernel
    ) -> None:
        checkpoint = await keep(kernel)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            resumed = await checkpoint.resume()
            os.kill(resumed.pid or 0, number)
            await resumed.close()
            assert processes_of(backend) == {kernel.pid, checkpoint.pid}

    async def test_a_kernel_that_is_killed_while_it_copies_itself(
        self, backend: LocalBackend
    ) -> None:
        for number in range(10):
            kernel = await backend.start()
            taking = asyncio.create_task(kernel.checkpoint(5))
            await asyncio.sleep(number / 500)
            os.kill(kernel.pid or 0, signal.SIGKILL)
            try:
                checkpoint = await taking
            except CheckpointError:
                pass
            else:
                assert checkpoint is not None
                assert await tell(await checkpoint.resume(), "1") == "1"
                await checkpoint.close()
            await kernel.close()
            for each in list(backend._kernels):
                await each.close()
            await until(lambda: processes_of(backend) == set())

    async def test_there_is_none_without_what_looks_after_processes(
        self, backend: LocalBackend, kernel: Kernel
    ) -> None:
        checkpoint = await keep(kernel)
        os.kill(backend._processes._popen.pid, signal.SIGKILL)  # type: ignore[union-attr]
        await asyncio.wait_for(checkpoint.exited.wait(), 10)
        with pytest.raises(KernelStartError, match="The checkpoint has ended"):
            await checkpoint.resume()
        with pytest.raises(CheckpointError, match="the kernel has ended"):
            await kernel.checkpoint(5)
        await checkpoint.close()
        assert await tell(await backend.start(), "1") == "1"

    @pytest.mark.parametrize("who", ["warden", "server"])
    async def test_nothing_is_left_of_a_server_that_is_killed(
        self, projects: Path, who: str
    ) -> None:
        """Nor when what looks after its processes is."""
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVER, str(projects), cwd=ROOT, stdout=subprocess.PIPE
        )
        assert server.stdout is not None
        warden, *pids = map(int, (await server.stdout.readline()).split())
        assert len(pids) == 3
        assert all(map(alive, pids))
        if who == "warden":
            os.kill(warden, signal.SIGKILL)
        else:
            server.kill()
        await until(lambda: not any(map(alive, [warden, *pids])))
        if who == "warden":
            server.kill()
        await server.wait()


SERVER = """
import asyncio, sys
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.local import LocalBackend

async def main():
    backend = LocalBackend(LocalSpec(server_python(), sys.argv[1], kernel_environment()))
    kernel = await backend.start()
    checkpoint = await kernel.checkpoint(20)
    resumed = await checkpoint.resume()
    print(backend._processes._popen.pid, kernel.pid, checkpoint.pid, resumed.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


class TestTaking:
    async def test_the_kernel_goes_on_as_if_nothing_had_been(self, kernel: Kernel) -> None:
        code = (
            "import os, random, signal; random.seed(1); fds = sorted(os.listdir('/proc/self/fd'))\n"
            "signal.signal(signal.SIGCHLD, lambda *_: print('a child has ended'))"
        )
        await tell(kernel, code)
        show = (
            "sorted(os.listdir('/proc/self/fd')) == fds, random.random(),"
            " get_ipython().execution_count, len(os.listdir('/proc/self/task'))"
        )
        await tell(kernel, "number = len(os.listdir('/proc/self/task'))")
        checkpoint = await keep(kernel)
        assert await tell(kernel, "signal.getsignal(signal.SIGCHLD).__name__") == "'<lambda>'"
        same, drawn, count, threads = (await tell(kernel, show)).strip("()").split(", ")
        assert (same, drawn, count) == ("True", "0.13436424411240122", "5")
        assert threads == await tell(kernel, "number")
        await checkpoint.close()
        with pytest.raises(AssertionError):
            await tell(kernel, "os.wait()")  # it has no child

    async def test_its_parts_never_print_what_is_not_theirs(self, kernel: Kernel) -> None:
        """Neither what the C library still has in its buffer, nor what is on its way."""
        await tell(kernel, "import ctypes; _ = ctypes.CDLL(None).printf(b'once')")
        resumed = await again(kernel)
        assert await tell(resumed, "_ = ctypes.CDLL(None).printf(b'twice')") == "twice"

    async def test_output_meanwhile_is_lost_nowhere_and_comes_once(self, kernel: Kernel) -> None:
        """That of a process that is no child any more, while checkpoints are taken."""
        seen: list[str] = []
        writer = "import os, time\nfor i in range(3000): os.write(1, b'%d ' % i)\nos.write(1, b'.')"
        code = (
            "import subprocess, sys, shlex\n"
            f"command = ' '.join(map(shlex.quote, [sys.executable, '-c', {writer!r}]))\n"
            "subprocess.run(command + ' &', shell=True)"
        )
        await tell(kernel, code)
        kernel.on_message = lambda message: seen.append(str(message.content.get("text", "")))
        while "." not in "".join(seen):
            checkpoint = await keep(kernel)
            assert await tell_nothing(await checkpoint.resume())
            await checkpoint.close()
        assert "".join(seen).split() == [*map(str, range(3000)), "."]

    async def test_two_kernels_at_once(self, backend: LocalBackend) -> None:
        kernels = [await backend.start() for _ in range(2)]
        for number, kernel in enumerate(kernels):
            await tell(kernel, f"x = {number}")
        checkpoints = await asyncio.gather(*map(keep, kernels))
        resumed = await asyncio.gather(*(each.resume() for each in checkpoints))
        assert [await tell(each, "x") for each in resumed] == ["0", "1"]

    async def test_a_busy_kernel_takes_it_when_it_comes_to_it(self, kernel: Kernel) -> None:
        running = asyncio.create_task(tell(kernel, "import time; time.sleep(0.5); x = 5"))
        await asyncio.sleep(0.1)
        checkpoint = await keep(kernel)
        await running
        assert await tell(await checkpoint.resume(), "x") == "5"

    async def test_and_gives_it_up_when_that_takes_too_long(
        self, backend: LocalBackend, kernel: Kernel
    ) -> None:
        running = asyncio.create_task(tell(kernel, "import time; time.sleep(1)"))
        await asyncio.sleep(0.1)
        with pytest.raises(CheckpointError, match="busy"):
            await kernel.checkpoint(0.2)
        cancelled = asyncio.create_task(kernel.checkpoint(20))
        await asyncio.sleep(0.1)
        cancelled.cancel()
        await running
        assert await tell(kernel, "1") == "1"
        await until(lambda: processes_of(backend) == {kernel.pid})
        assert await tell(await (await keep(kernel)).resume(), "2") == "2"

    async def test_a_refusal_says_why_and_leaves_nothing(
        self, backend: LocalBackend, kernel: Kernel
    ) -> None:
        await tell(kernel, "import subprocess; p = subprocess.Popen(['sleep', '60'])")
        with pytest.raises(CheckpointError, match=r"child processes are there \(sleep, pid \d+\)"):
            await kernel.checkpoint(20)
        await tell(kernel, "p.kill(); _ = p.wait()")
        assert processes_of(backend) == {kernel.pid}
        assert await keep(kernel)

    async def test_a_system_that_allows_no_more_processes(self, kernel: Kernel) -> None:
        code = "import os; fork = os.fork\ndef fail(): raise OSError(11, 'no more')\nos.fork = fail"
        await tell(kernel, code)
        with pytest.raises(CheckpointError, match="no more"):
            await kernel.checkpoint(20)
        await tell(kernel, "os.fork = fork")
        assert await keep(kernel)

    async def test_a_program_that_has_closed_the_socket(self, kernel: Kernel) -> None:
        """There is no checkpoint, and nothing else comes of it. Nor when it writes into it."""
        find = (
            "import os, socket\n"
            "for fd in range(3, 30):\n"
            "    try: s = socket.socket(fileno=os.dup(fd))\n"
            "    except OSError: continue\n"
            "    if s.type == socket.SOCK_SEQPACKET: break\n"
        )
        await tell(
            kernel,
            find + "words = b'x', b'[1]', b'{\"checkpoint\": 1}', b'{\"ready\": 1, \"word\": 2}'\n"
            "_ = [s.send(word) for word in words]",
        )
        await (await keep(kernel)).close()
        await tell(kernel, "s.close(); os.close(fd)")
        with pytest.raises(CheckpointError, match="has closed a descriptor"):
            await kernel.checkpoint(3)
        assert await tell(kernel, "1") == "1"

    async def test_kernels_that_are_not_ours_have_none(self, backend: LocalBackend) -> None:
        echo = str(Path(__file__).parent / "echo_kernel.py")
        argv = (server_python(), echo, "by_message", "-f", "{connection_file}")
        kernel = await backend.start(Kernelspec("echo", "Echo", "echo", argv, {}, "message"))
        assert await kernel.checkpoint(5) is None


class TestManyTimes:
    async def test_a_chain_of_twenty_does_not_grow(
        self, backend: LocalBackend, kernel: Kernel
    ) -> None:
        """Each kernel is made of the checkpoint of the one before."""
        look = (
            "import os\n"
            "rss = int(open('/proc/self/statm').read().split()[1]) * 4096\n"
            "print(len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task')), rss)"
        )
        await tell(kernel, "x = 0")
        found = []
        for _ in range(20):
            kernel = await again(kernel)
            await tell(kernel, "x += 1")
            found.append(list(map(int, (await tell(kernel, look)).split())))
        assert await tell(kernel, "x") == "20"
        assert is_steady([files for files, _, _ in found]), found
        assert {threads for _, threads, _ in found} == {found[0][1]}
        assert found[-1][2] - found[4][2] < 20_000_000
        assert processes_of(backend) == {kernel.pid}

    async def test_what_the_kernel_opens_late_is_known_for_its_own(self, kernel: Kernel) -> None:
        """The heartbeat makes its socket in its thread, other threads theirs when they first have
        something to say, and libzmq renews a connection that is lost."""
        await tell(
            kernel,
            "import os, threading, time, ipykernel.heartbeat as h\n"
            "run, app = h.Heartbeat.run, get_ipython().parent.parent\n"
            "def late(self):\n    time.sleep(0.05); run(self)\n"
            "h.Heartbeat.run = late\n"
            "def look():\n"
            "    while not os.path.exists(f'{app.ip}-{app.hb_port}'): time.sleep(0.001)\n"
            "    found = len(os.listdir('/proc/self/fd'))\n"
            "    thread = threading.Thread(target=lambda: app.iopub_thread.schedule(int))\n"
            "    thread.start(); thread.join()\n"
            "    to = app.debug_shell_socket.last_endpoint\n"
            "    app.debug_shell_socket.disconnect(to); app.debug_shell_socket.connect(to)\n"
            "    return found",
        )
        found = []
        for _ in range(9):
            kernel = await again(kernel)
            found.append(int(await tell(kernel, "look()")))
        assert is_steady(found), found

    async def test_a_checkpoint_costs_what_the_kernel_has_changed(self, kernel: Kernel) -> None:
        await tell(kernel, "import numpy; a = numpy.ones(25_000_000)")
        checkpoint = await keep(kernel)
        assert checkpoint.private_memory() < 15_000_000
        await tell(kernel, "a += 1")
        assert checkpoint.private_memory() > 190_000_000
        assert await tell(await checkpoint.resume(), "int(a.sum())") == "25000000"

    async def test_what_runs_write_again_and_again_is_copied_beforehand(
        self, kernel: Kernel
    ) -> None:
        """So that the next run after a checkpoint does not copy it page by page."""
        if tuple(map(int, platform.release().split(".")[:2])) < (5, 14):
            pytest.skip("the system cannot")
        old, costs = None, []
        for _ in range(5):
            await tell(kernel, "x = 1")
            checkpoint = await keep(kernel)
            if old is not None:
                await old.close()
            old = checkpoint
            # Done after the reply.
            await kernel.ask("kernel_info_request", {}, 20, "shell")
            before = faults_of(kernel)
            await tell(kernel, "x = 1")
            costs.append(faults_of(kernel) - before)
        assert min(costs[1:]) < 300, costs
        assert old is not None
        assert old.private_memory() < 16_000_000


def faults_of(kernel: Kernel) -> int:
    """How often a page was not there, or not its own."""
    with open(f"/proc/{kernel.pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[7])
