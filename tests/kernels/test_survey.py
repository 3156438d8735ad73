"""Which programs a checkpoint can be taken of, and what it is then said not to bring back.

A library is looked at where it is installed: one that works in a resumed kernel is to be allowed,
one that would hang is to be refused.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from kernels.errors import CheckpointError
from kernels.kernel import Kernel
from kernels.launching import kernel_environment
from kernels.local import LocalBackend
from tests.conftest import backend_of

if sys.platform != "linux":
    pytest.skip("checkpoints are for Linux alone", allow_module_level=True)

from kernels.guest.survey import Facts, Survey, judge
from tests.kernels.test_checkpoints import again, keep, tell

ours = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalBackend]:
    folder = tmp_path_factory.mktemp("cwd").resolve()
    made = backend_of("forked", folder, kernel_environment())
    await made.settle()
    yield made
    await made.close()


@pytest_asyncio.fixture(loop_scope="module")
async def kernel(backend: LocalBackend) -> AsyncIterator[Kernel]:
    made = await backend.start()
    yield made
    await made.close()


#: The kernel's own.
ZMQ = ["ZMQbg/IO/0", "ZMQbg/Reaper"] * 2


class TestJudge:
    """Pure: what follows from the facts."""

    def test_nothing_follows_from_nothing(self) -> None:
        assert judge(Facts()) == Survey()

    @pytest.mark.parametrize(
        ("facts", "reason"),
        [
            ({"devices": ["/dev/nvidia0"]}, "the program uses a GPU, whose state cannot be copied"),
            (
                {"libraries": frozenset({"libcuda.so.1"})},
                "the program uses a GPU, whose state cannot be copied",
            ),
            ({"threads": ["a", "b"]}, "threads are running (a, b)"),
            ({"threads": list("abcde")}, "threads are running (a, b, c and 2 more)"),
            ({"has_work": True}, "a thread pool has work"),
            ({"children": ["sleep, pid 7"]}, "child processes are there (sleep, pid 7)"),
            ({"loop": "Loop"}, "the event loop is a Loop, which cannot be copied"),
            ({"transactions": True}, "a transaction of an SQLite database is open"),
            (
                {"native": ["ZMQbg/IO/0"] * 5},
                "the program has sockets of ZeroMQ, which cannot be copied",
            ),
            (
                {"native": ["polars-0"], "modules": frozenset({"polars"})},
                "polars has threads without which a copy would hang",
            ),
            (
                {"native": ["new-1", "new-0"]},
                "a library has threads that a copy would miss (new-0, new-1)",
            ),
            (
                {"native": [*ZMQ, "python"], "process": frozenset({"python"})},
                "a library has threads that a copy would miss (a thread)",
            ),
        ],
    )
    def test_a_refusal_names_the_thing(self, facts: dict[str, Any], reason: str) -> None:
        assert judge(Facts(**facts)).refusals == (reason,)

    @pytest.mark.parametrize(
        ("facts", "warning"),
        [
            ({"sockets": 1}, "a socket"),
            ({"sockets": 2}, "2 sockets"),
            ({"pipes": 1}, "a pipe"),
            ({"databases": ["a.db"]}, "SQLite databases (a.db)"),
            ({"written": list("abcd")}, "files open for writing (a, b, c and 1 more)"),
            ({"shared": ["psm_1"]}, "shared memory (psm_1)"),
        ],
    )
    def test_a_warning_names_the_thing(self, facts: dict[str, Any], warning: str) -> None:
        assert judge(Facts(**facts)) == Survey((), (warning,))

    @pytest.mark.parametrize(
        "facts",
        [
            {"native": ZMQ},
            {"native": [*ZMQ[:2], "python", "python"], "process": frozenset({"python"})},
            {"native": ["jemalloc_bg_thd"]},
            {"modules": frozenset({"polars", "torch"})},
            {
                "native": [*ZMQ, "python"],
                "process": frozenset({"python"}),
                "libraries": frozenset({"libarrow.so.1"}),
            },
        ],
        ids=[
            "the kernel's own",
            "as they begin",
            "idle ones",
            "imported alone",
            "a library's that does without",
        ],
    )
    def test_harmless_threads_do_not_count(self, facts: dict[str, Any]) -> None:
        assert judge(Facts(**facts)) == Survey()

    def test_a_library_that_hangs_outweighs_one_that_does_not(self) -> None:
        facts = Facts(
            native=[*ZMQ, "python"],
            process=frozenset({"python"}),
            libraries=frozenset({"libarrow.so.1"}),
            modules=frozenset({"jax"}),
        )
        assert judge(facts).refusals == ("jax has threads without which a copy would hang",)


REFUSED = {
    "a thread": (
        "import threading, time\nt = threading.Thread(target=time.sleep, args=(60,), name='mine',"
        " daemon=True); t.start()",
        r"threads are running \(mine\)",
    ),
    "a timer": (
        "import threading\nt = threading.Timer(60, print); t.daemon = True; t.start()",
        r"threads are running \(Thread-\d+",
    ),
    "a pool of threads at work": (
        "import concurrent.futures as cf, time\np = cf.ThreadPoolExecutor(1)\n"
        "_ = p.submit(time.sleep, 60)",
        "a thread pool has work",
    ),
    "a pool of threads of multiprocessing": (
        "from multiprocessing.pool import ThreadPool\np = ThreadPool(1)",
        r"threads are running \(Thread-\d+",
    ),
    "a child": (
        "import subprocess\np = subprocess.Popen(['sleep', '60'])",
        r"child processes are there \(sleep, pid \d+\)",
    ),
    "a child that has ended, and was not waited for": (
        "import subprocess\np = subprocess.Popen(['true']); r = __import__('os').waitid(1, p.pid,"
        " 4 | 0x1000000)",
        r"child processes are there \(true, pid \d+\)",
    ),
    "a pool of processes": (
        "import multiprocessing as mp\np = mp.get_context('fork').Pool(1)",
        "child processes are there",
    ),
    "an executor of processes": (
        "import concurrent.futures as cf, multiprocessing as mp\n"
        "p = cf.ProcessPoolExecutor(1, mp.get_context('fork')); _ = p.submit(abs, 1).result()",
        "child processes are there",
    ),
    "sockets of ZeroMQ": (
        "import zmq\nz = zmq.Context(); s = z.socket(zmq.PAIR); s.bind('inproc://x')",
        "sockets of ZeroMQ",
    ),
    "an open transaction": (
        "import sqlite3\nc = sqlite3.connect('t.db'); c.execute('create table if not exists t (x)')"
        "\n_ = c.execute('insert into t values (1)')",
        "a transaction of an SQLite database is open",
    ),
}


@ours
@pytest.mark.parametrize("name", REFUSED)
async def test_there_is_no_checkpoint_with(kernel: Kernel, name: str) -> None:
    code, reason = REFUSED[name]
    await tell(kernel, code)
    with pytest.raises(CheckpointError, match=reason) as caught:
        await kernel.checkpoint(20)
    assert caught.value.reasons
    assert await tell(kernel, "1 + 1") == "2"


WARNED = {
    "a socket": ("import socket\ns = socket.socket()", "a socket"),
    "a pair of sockets": ("import socket\na, b = socket.socketpair()", "2 sockets"),
    "a server in the event loop": (
        "import asyncio\ns = await asyncio.start_server(print, '127.0.0.1', 0)",
        "a socket",
    ),
    "a pipe": ("import os\nr, w = os.pipe()", "a pipe"),
    "a file that is written": ("f = open('out.txt', 'w')", "files open for writing (out.txt)"),
    "a file without a name": (
        "import tempfile\nf = tempfile.TemporaryFile()",
        "files open for writing (without a file)",
    ),
    "a database": (
        "import sqlite3\nc = sqlite3.connect('w.db'); c.execute('create table if not exists t (x)')"
        "\nc.commit()",
        "SQLite databases (w.db)",
    ),
    "shared memory": (
        "from multiprocessing import shared_memory as m\n"
        "try: s = m.SharedMemory('rmi_test', True, 99)\n"
        "except FileExistsError: s = m.SharedMemory('rmi_test')\n_ = s.unlink()",
        "shared memory (rmi_test)",
    ),
    "a mapped file": (
        "import mmap\nf = open('map', 'w+b'); f.truncate(5000); m = mmap.mmap(f.fileno(), 0)\n"
        "f.close()",
        "files open for writing (map)",
    ),
    "values of multiprocessing": (
        "import multiprocessing as mp\nv = mp.Value('i', lock=False)",
        "shared memory (",
    ),
    "a lock of multiprocessing": (
        "import multiprocessing as mp\nv = mp.Lock()",
        "shared memory (locks between processes)",
    ),
}


@ours
@pytest.mark.parametrize("name", WARNED)
async def test_it_is_said_not_to_bring_back(kernel: Kernel, name: str) -> None:
    code, warning = WARNED[name]
    await tell(kernel, code)
    checkpoint = await keep(kernel)
    assert any(said.startswith(warning) for said in checkpoint.warnings)
    resumed = await checkpoint.resume()
    assert await tell(resumed, "1 + 1") == "2"
    await resumed.close()
    await checkpoint.close()


HARMLESS = {
    "reading a file": ("open('in.txt', 'w').close(); f = open('in.txt')", "f.read()", "''"),
    "a thread that has ended": (
        "import threading\nt = threading.Thread(target=print); t.start(); t.join()",
        "t.is_alive()",
        "False",
    ),
    "a pool of threads that is idle": (
        "import concurrent.futures as cf\np = cf.ThreadPoolExecutor(1); _ = p.submit(abs, 1)"
        ".result()",
        "p.submit(abs, -1).result()",
        "1",
    ),
    "what multiprocessing has started for itself": (
        "import multiprocessing as mp\n"
        "with mp.get_context('spawn').Pool(1) as p: p.map(abs, [1])\n"
        "with mp.get_context('forkserver').Pool(1) as p: _ = p.map(abs, [1])\n"
        "p.join(); del p, _; _ = __import__('gc').collect()",
        "mp.get_context('spawn').Pool(1).map(abs, [-1])",
        "[1]",
    ),
    "a database in memory": (
        "import sqlite3\nc = sqlite3.connect(':memory:'); c.execute('create table t (x)')\n"
        "_ = c.execute('insert into t values (1)')",
        "c.execute('select * from t').fetchall()",
        "[(1,)]",
    ),
    "numpy": (
        "import numpy as np\nm = np.ones((900, 900)); _ = m @ m",
        "float((m @ m).sum())",
        "729000000.0",
    ),
    "scipy": (
        "import scipy.linalg as L, numpy as np\nm = np.eye(600) + .1; _ = L.inv(m)",
        "round(float((L.inv(m) @ m).sum()))",
        "600",
    ),
    "sklearn": (
        "from sklearn.ensemble import HistGradientBoostingClassifier as H; import numpy as np\n"
        "X = np.random.rand(5000, 8); y = X[:, 0] > .5; _ = H(max_iter=5).fit(X, y)",
        "H(max_iter=5).fit(X, y).score(X, y) > .9",
        "True",
    ),
    "pyarrow": (
        "import pyarrow as pa, pyarrow.compute as pc, pyarrow.dataset as ds\n"
        "import pyarrow.parquet as pq\n"
        "t = pa.table({'a': list(range(10**6))}); pq.write_table(t, 'x.parquet')\n"
        "_ = ds.dataset('x.parquet').to_table()",
        "ds.dataset('x.parquet').to_table(filter=pc.field('a') > 5).num_rows,"
        " t.group_by('a').aggregate([('a', 'sum')]).num_rows",
        "(999994, 1000000)",
    ),
    "duckdb": (
        "import duckdb\nc = duckdb.connect(); s = 'select sum(a), count(distinct a) from t'\n"
        "_ = c.execute('create table t as select range a from range(1000000)')\n"
        "_ = c.execute(s).fetchall()",
        "c.execute(s).fetchall()",
        "[(499999500000, 1000000)]",
    ),
    "numba": (
        "import numba\n@numba.njit(parallel=True)\ndef f(n):\n    s = 0\n"
        "    for i in numba.prange(n): s += i\n    return s\n_ = f(10)",
        "f(1000)",
        "499500",
    ),
    "torch": (
        "import torch\nm = torch.ones(900, 900, requires_grad=True)\n"
        "(m @ m).relu().sum().backward(); _ = (m + m).exp()",
        "(m @ m).relu().sum().backward(), (m + m).sum().item()",
        "(None, 1620000.0)",
    ),
    "what is printed at length": ("_ = print('x' * 1_000_000)", "print('y' * 1_000_000)", "y"),
    "what is shown at length": (
        "from IPython.display import HTML\ndisplay(HTML('x' * 1_000_000))",
        "HTML('y' * 1_000_000)",
        "<IPython.core.display.HTML object>",
    ),
    "what a cell of bash has begun": (
        "get_ipython().run_cell_magic('bash', '', 'echo one')",
        "get_ipython().run_cell_magic('bash', '', 'echo two')",
        "two",
    ),
    "tqdm": ("from tqdm import tqdm\n_ = list(tqdm(range(3)))", "list(tqdm([1]))[0]", "1"),
    "matplotlib": (
        "import matplotlib.pyplot as plt\n_ = plt.plot([1]); plt.show()",
        "plt.plot([2])[0].get_ydata().tolist()",
        "[2]",
    ),
}


@ours
@pytest.mark.parametrize("name", HARMLESS)
async def test_it_works_in_a_resumed_kernel(kernel: Kernel, name: str) -> None:
    code, use, value = HARMLESS[name]
    needs(name)
    await tell(kernel, code, 60)
    checkpoint = await keep(kernel)
    assert checkpoint.warnings == ()
    await checkpoint.close()
    resumed = await again(kernel)
    assert (await tell(resumed, use)).startswith(value) or value in await tell(resumed, use)
    await resumed.close()


@ours
async def test_what_bash_does_in_the_background_can_be_read_as_long_as_wanted(
    kernel: Kernel,
) -> None:
    """IPython's thread for it stays, though the process has ended, and there is no checkpoint."""
    await tell(kernel, "get_ipython().run_cell_magic('bash', '--bg --out o --proc p', 'echo one')")
    await tell(kernel, "await p.wait()")
    with pytest.raises(CheckpointError, match="threads are running"):
        await kernel.checkpoint(20)
    assert await tell(kernel, "await o.read()") == r"b'one\n'"


HANGING = {
    "polars": "import polars as pl\n_ = pl.DataFrame({'a': range(9)}).group_by('a').agg(pl.len())",
    "jax": "import jax.numpy as jnp\n_ = (jnp.ones((50, 50)) @ jnp.ones((50, 50))).sum()",
    "tensorflow": "import tensorflow as tf\n_ = tf.ones((9, 9)) @ tf.ones((9, 9))",
    "grpc": "import grpc\nc = grpc.insecure_channel('127.0.0.1:1'); _ = c.subscribe(print, True)",
    "ray": "import ray\n_ = ray.init(num_cpus=1, include_dashboard=False)",
}


@ours
@pytest.mark.parametrize("name", HANGING)
async def test_it_is_refused_where_it_would_hang(kernel: Kernel, name: str) -> None:
    needs(name)
    await tell(kernel, HANGING[name], 60)
    with pytest.raises(CheckpointError, match=f"{name} has threads without which"):
        await kernel.checkpoint(20)


def needs(library: str) -> None:
    """Skip the test where the library is not installed."""
    package = library.partition(" ")[0]
    if package.isidentifier() and package not in ("a", "what", "reading"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
