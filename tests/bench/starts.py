"""Rows about fresh sessions: what they cost from the pool, from a fork, and many at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import psutil

from kernels.execution import CodeRequest, FileRequest
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.result import Status
from kernels.steps import Work
from tests.bench import memory
from tests.bench.stdio import Server

Sample = Callable[[], Awaitable[float]]
Sides = tuple[Sample, ...]
Measure = Callable[[Path], AbstractAsyncContextManager[Sides]]

_CODE = CodeRequest("print(1)")
#: Steps of a program that is still at it when a kernel is started all the same (see `Pool`).
_LONG = 60_000_000
_PRELOADED = ("numpy", "pandas", "matplotlib.pyplot")


class _Engine:
    """Sessions in this process, without a server around them."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._numbers = itertools.count(1)

    async def run(self, name: str, work: Work = _CODE) -> float:
        begun = time.perf_counter()
        result = await self.registry.submit("", name, work, 60).result()
        seconds = time.perf_counter() - begun
        if result.status is not Status.OK:
            raise RuntimeError(f"{name}: {result.explanation or result.error}")
        return seconds

    async def fresh(self, work: Work = _CODE) -> float:
        """A new session, to its first result."""
        name = f"fresh {next(self._numbers)}"
        seconds = await self.run(name, work)
        await self.registry.close("", name)
        return seconds

    async def many(self, count: int) -> float:
        """As many new sessions at once, to the last of their first results."""
        names = [f"fresh {next(self._numbers)}" for _ in range(count)]
        begun = time.perf_counter()
        await asyncio.gather(*(self.run(name) for name in names))
        seconds = time.perf_counter() - begun
        await asyncio.gather(*(self.registry.close("", name) for name in names))
        return seconds

    async def has_one_ready(self) -> None:
        """Wait for that."""
        await _until(lambda: len(self.registry.pids()) > len(self.registry.everyones()))
        # What is left over of its start must not slow down what is measured.
        await asyncio.sleep(0.1)


@asynccontextmanager
async def _engine(projects: Path, pool: int = 0, **options: object) -> AsyncIterator[_Engine]:
    spec = LocalSpec(server_python(), str(projects), kernel_environment(), **options)  # type: ignore[arg-type]
    backend = LocalBackend(spec)
    async with Registry(backend, Limits(sessions=100, pool=pool)) as registry:
        await backend.settle()
        registry.prepare()
        engine = _Engine(registry)
        await engine.fresh()
        yield engine


@asynccontextmanager
async def pooled(projects: Path) -> AsyncIterator[Sides]:
    """A new session whose kernel stands ready; a run in one that is warm."""
    async with _engine(projects, pool=1) as engine:
        for _ in range(20):
            await engine.run("warm")

        async def ours() -> float:
            await engine.has_one_ready()
            return await engine.fresh()

        async def warm() -> float:
            await engine.has_one_ready()
            return await engine.run("warm")

        yield ours, warm


@asynccontextmanager
async def pooled_call(projects: Path) -> AsyncIterator[Sides]:
    """The same as a call of run_python over stdio; that of the seed."""
    numbers = itertools.count(1)
    with Server("ours", projects) as ours, Server("seed", projects) as seed:
        for server in (ours, seed):
            server.initialize()
            server.call("run_python", file_name="hello_world.py")
        memory.settle(ours.pid)

        async def mine() -> float:
            name = f"fresh {next(numbers)}"
            seconds = ours.call("run_python", file_name="hello_world.py", session=name)
            ours.call("close_session", session=name)
            memory.settle(ours.pid)
            return seconds

        async def theirs() -> float:
            return seed.call("run_python", file_name="hello_world.py")

        yield mine, theirs


@asynccontextmanager
async def forked(projects: Path) -> AsyncIterator[Sides]:
    """A new session whose kernel is forked; a stock kernel."""
    async with _engine(projects) as engine:
        yield engine.fresh, _stock(1)


@asynccontextmanager
async def preloaded(projects: Path) -> AsyncIterator[Sides]:
    """A script that imports much, in a new session with all that preloaded; `python` of it."""
    path = projects / "imports.py"
    async with _engine(projects, preload=_PRELOADED) as engine:
        work = FileRequest(path, path.read_bytes(), (), "")

        async def mine() -> float:
            return await engine.fresh(work)

        async def python() -> float:
            begun = time.perf_counter()
            subprocess.run(  # noqa: ASYNC221
                [sys.executable, str(path)], check=True, capture_output=True
            )
            return time.perf_counter() - begun

        yield mine, python


@asynccontextmanager
async def restart(projects: Path) -> AsyncIterator[Sides]:
    """Restart to first result, ours and stock."""
    from tests.bench.plain_kernel import PlainKernel

    async with _engine(projects, pool=1) as engine:
        await engine.run("s")
        kernel = await PlainKernel.start()

        async def mine() -> float:
            await engine.has_one_ready()
            begun = time.perf_counter()
            await engine.registry.find("", "s").restart()
            await engine.run("s")
            return time.perf_counter() - begun

        async def stock() -> float:
            begun = time.perf_counter()
            await kernel.restart()
            await kernel.run("print(1)")
            return time.perf_counter() - begun

        try:
            yield mine, stock
        finally:
            await kernel.close()


def at_once(count: int) -> Measure:
    """So many new sessions at once, to all first results; as many stock kernels."""

    @asynccontextmanager
    async def measure(projects: Path) -> AsyncIterator[Sides]:
        async with _engine(projects) as engine:
            yield lambda: engine.many(count), _stock(count)

    return measure


@asynccontextmanager
async def close(projects: Path) -> AsyncIterator[Sides]:
    """The end of a session, until its processes are gone; of a stock kernel."""
    from tests.bench.plain_kernel import PlainKernel

    async with _engine(projects) as engine:

        async def mine() -> float:
            await engine.run("s")
            pid = engine.registry.find("", "s").pid
            begun = time.perf_counter()
            closing = asyncio.create_task(engine.registry.close("", "s"))
            await _until(lambda: pid is None or not psutil.pid_exists(pid))
            seconds = time.perf_counter() - begun
            await closing
            return seconds

        async def stock() -> float:
            kernel = await PlainKernel.start()
            begun = time.perf_counter()
            await kernel.close()
            return time.perf_counter() - begun

        yield mine, stock


@asynccontextmanager
async def refill(projects: Path) -> AsyncIterator[Sides]:
    """Two programs that compute for some seconds at once, just after the one ready kernel has been
    taken; the same where none is to be ready."""
    work = CodeRequest(f"total = 0\nfor number in range({_LONG}):\n    total += number % 7")

    async def computed(engine: _Engine) -> float:
        return max(await asyncio.gather(engine.run("a", work), engine.run("b", work)))

    async with _engine(projects, pool=1) as ours, _engine(projects) as without:
        for engine in (ours, without):
            await asyncio.gather(engine.run("a"), engine.run("b"))

        async def mine() -> float:
            await ours.has_one_ready()
            await ours.fresh()
            return await computed(ours)

        async def other() -> float:
            await without.fresh()
            return await computed(without)

        yield mine, other


@asynccontextmanager
async def server_start(projects: Path) -> AsyncIterator[Sides]:
    """Start to `initialize` answered; the same with neither forks nor pool."""

    def once(name: str) -> Sample:
        async def start() -> float:
            with Server(name, projects) as server:
                return server.initialize()

        return start

    yield once("ours"), once("cold")


def _stock(count: int) -> Sample:
    """Starts stock kernels at once, to the last of their first results."""
    from tests.bench.plain_kernel import PlainKernel

    async def sample() -> float:
        with tempfile.TemporaryDirectory(prefix="rmi-bench-") as folder:

            async def first(number: int) -> PlainKernel:
                # Started at once, they would take each other's TCP ports.
                kernel = await PlainKernel.start(f"{folder}/{number}" if count > 1 else "")
                await kernel.run("print(1)")
                return kernel

            begun = time.perf_counter()
            kernels = await asyncio.gather(*map(first, range(count)))
            seconds = time.perf_counter() - begun
            await asyncio.gather(*(kernel.close() for kernel in kernels))
            return seconds

    return sample


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def idle_memory(
    projects: Path, count: int = 32
) -> tuple[memory.Memory, memory.Memory, memory.Memory, memory.Memory]:
    """One of so many idle sessions, and one stock kernel; all of these sessions with the processes
    that serve them, but for this one, and all of these stock kernels."""
    from tests.bench.plain_kernel import PlainKernel

    async with _engine(projects) as engine:
        await asyncio.gather(*(engine.run(f"s{number}") for number in range(count)))
        pid = engine.registry.find("", "s0").pid
        assert pid is not None
        memory.settle(pid)
        ours, all_ours = memory.of_process(pid), _below_this()
    kernels = [await PlainKernel.start() for _ in range(count)]
    for kernel in kernels:
        await kernel.run("print(1)")
    all_stock = _below_this()
    stock = memory.of_process(psutil.Process().children()[0].pid)
    for kernel in kernels:
        await kernel.close()
    return ours, stock, all_ours, all_stock


def _below_this() -> memory.Memory:
    total = memory.Memory(0, 0, 0)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            total += memory.of_process(child.pid)
    return total
