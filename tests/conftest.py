"""Fixtures over real kernels. Each test that asks for `registry` has kernels of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from statistics import median_low
from typing import cast

import pytest

from kernels.execution import CodeRequest, Execution, FileRequest
from kernels.kernelspecs import Kernelspec
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.process_kernel import ProcessKernel
from kernels.registry import Registry
from kernels.result import RunResult
from kernels.textlog import Log
from kernels.turn import Policy
from kernels.verdict import outcome_of

ROOT = Path(__file__).resolve().parent.parent

# A shell starts what it puts into the background with Ctrl-C ignored, which all that the tests
# start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


#: Files that take longest, much of it in waiting: begun first, none of them is left over at the
#: end, when all others are done. (So that the order counts, pytest-xdist must not sort.)
LONGEST = (
    "tests/client/agent/test_chat.py",
    "tests/client/agent/test_trouble.py",
    "tests/client/agent/test_ask.py",
    "tests/e2e/test_http.py",
    "tests/kernels/test_rollbacks.py",
    "tests/kernels/test_timeouts.py",
    "tests/kernels/test_histories.py",
    "tests/client/test_notebook_command.py",
    "tests/e2e/test_stdio.py",
    "tests/client/test_cli.py",
    "tests/e2e/test_http_refusals.py",
    "tests/server/test_tasks.py",
    "tests/kernels/test_sessions.py",
    "tests/kernels/test_scripts.py",
    "tests/client/test_terminal.py",
    "tests/test_bench.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {ROOT / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    """An empty projects directory, which is also the kernels' working directory."""
    path = (tmp_path / "projects").resolve()
    path.mkdir()
    return path


@pytest.fixture
def limits() -> Limits:
    """Limits of `registry`; a test overrides this fixture for others."""
    return Limits(policy=Policy(grace=1.0))


#: How kernels come to be, for `registry` as its parameter: started, forked from a template (as
#: where there is no parameter), that and taken from the pool, or made of a forked one's checkpoint.
STARTS = (
    "cold",
    "forked",
    "pooled",
    pytest.param(
        "resumed",
        marks=pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone"),
    ),
)


#: For what runs in kernels of the two kinds that differ most.
RESUMED_TOO = ("forked", STARTS[-1])

#: Uses what a kernel has of streams, displays, threads, loops, processes and signals, and leaves
#: nothing behind.
USE = """
def use():
    import concurrent.futures, ctypes, os, signal, subprocess, sys, threading, time
    from IPython.display import HTML, clear_output, display
    print('out'); print('err', file=sys.stderr); print('x' * 200_000)
    os.write(1, b'fd'); ctypes.CDLL(None).puts(b'c'); subprocess.run(['echo', 'child'])
    shown = display(HTML('1'), display_id=True); shown.update(HTML('y' * 200_000)); clear_output()
    thread = threading.Thread(target=print, args=('thread',)); thread.start(); thread.join()
    with concurrent.futures.ThreadPoolExecutor(2) as pool: list(pool.map(print, 'ab'))
    try: os.kill(os.getpid(), signal.SIGINT); time.sleep(60)
    except KeyboardInterrupt: pass
    try: input('?')
    except EOFError: pass
use(); del use
get_ipython().run_cell_magic('bash', '', 'echo bash')
get_ipython().run_line_magic('timeit', '-n1 -r1 1')
"""


class ResumingBackend(LocalBackend):
    """Every kernel has been resumed from a checkpoint of another, which was used before, and has
    ended."""

    async def start(self, spec: Kernelspec | None = None) -> ProcessKernel:
        kernel = await super().start(spec)
        if kernel.scripted:
            execution = Execution(kernel, CodeRequest(USE), Log(1000, 1000))
            await execution.follow(20, 1)
            assert outcome_of(execution.collector.reply, None)["exit_code"] == 0
        checkpoint = await kernel.checkpoint(20)
        await kernel.close()
        if checkpoint is None:
            return await super().start(spec)
        try:
            return cast(ProcessKernel, await checkpoint.resume())
        finally:
            await checkpoint.close()


def backend_of(start: str, cwd: Path, env: Mapping[str, str]) -> LocalBackend:
    """A backend whose kernels come to be so."""
    kind = ResumingBackend if start == "resumed" else LocalBackend
    return kind(LocalSpec(server_python(), str(cwd), env, forks=start != "cold"))


async def begin(registry: Registry, start: str) -> None:
    """Have the kernels of its first session come to be so."""
    if start == "pooled":
        registry.prepare()
        await until(lambda: registry.is_ready)


@pytest.fixture
async def registry(
    projects: Path, limits: Limits, request: pytest.FixtureRequest
) -> AsyncIterator[Registry]:
    """Sessions on real local kernels, all ended after the test."""
    start = getattr(request, "param", "forked")
    async with Registry(backend_of(start, projects, kernel_environment()), limits) as registry:
        await begin(registry, start)
        yield registry


RunCode = Callable[..., Awaitable[RunResult]]


@pytest.fixture
def run_code(registry: Registry) -> RunCode:
    """`await run_code("1+1", session="a", timeout=20)`"""

    async def run(
        code: str,
        session: str = "default",
        timeout: float = 20,
        restart: bool = False,
        stdin: str = "",
    ) -> RunResult:
        request = CodeRequest(code, stdin)
        return await registry.submit("", session, request, timeout, restart).result()

    return run


@pytest.fixture
def run_file(registry: Registry, projects: Path) -> RunCode:
    """`await run_file("a.py", source, *args)`: writes the file, if there is a source; runs it."""

    async def run(
        name: str,
        source: str | bytes | None = None,
        *args: str,
        session: str = "default",
        timeout: float = 20,
        restart: bool = False,
        stdin: str = "",
    ) -> RunResult:
        path = projects / name
        if source is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.encode() if isinstance(source, str) else source)
        request = FileRequest(path, path.read_bytes(), args, stdin)
        return await registry.submit("", session, request, timeout, restart).result()

    return run


def text_of(result: RunResult, stream: str | None = None) -> str:
    """All text of a result, or that of one stream."""
    from kernels.outputs import Text

    return "".join(
        o.text for o in result.outputs if isinstance(o, Text) and stream in (None, o.stream)
    )


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until `condition()` holds; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


def is_steady(counts: Sequence[int]) -> bool:
    """Whether they end where they began. Single ones may differ: libzmq opens and closes by itself
    what it connects."""
    part = len(counts) // 3
    return median_low(counts[:part]) == median_low(counts[-part:])


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def open_fds() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))
