"""What is measured: pairs of ways to the same end, ours and another, and the bound of each."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.bench import checkpoints, environments, load, memory, notebooks, page, starts, volume
from tests.bench.stdio import COMMANDS, ROOT, Server, environment

#: Does the thing once and returns the seconds that count, or kilobytes.
Sample = Callable[[], Awaitable[float]]
Pair = tuple[Sample, Sample]
#: Ours, and what it is compared with: one sample, or several whose medians are added.
Sides = tuple[Sample, ...]

_HELLO = "hello_world.py"
_IMPORTS = "imports.py"
_IMPORTS_SOURCE = """\
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

print(pd.DataFrame({"a": np.arange(5)}).sum().a, plt.rcParams["figure.dpi"] > 0)
"""
_WARM_UP = 20


def make_projects(path: Path) -> None:
    """Put the scripts into the projects directory that all servers get."""
    shutil.copy(ROOT / "tests" / "test_samples" / _HELLO, path)
    (path / _IMPORTS).write_text(_IMPORTS_SOURCE)
    volume.make_figure(path)


@dataclass(frozen=True)
class Row:
    """One line of the table. `pairs`: how many samples of each side one repeat takes; `quantile`:
    which of our samples, in their order, counts: from 0, the least, to 1. `paired`: its ratio is
    the median of those of neighbouring samples, for what differs less than the machine does from
    one minute to the next."""

    name: str
    title: str
    baseline: str
    bound: float | None
    pairs: int
    measure: Callable[[Path], AbstractAsyncContextManager[Sides]]
    quantile: float = 0.5
    unit: Literal["ms", "kB"] = "ms"
    paired: bool = False


def _calls(ours: Server, other: Server, tool: str, other_tool: str, **arguments: str) -> Pair:
    async def mine() -> float:
        return ours.call(tool, **arguments)

    async def theirs() -> float:
        return other.call(other_tool, **arguments)

    return mine, theirs


@asynccontextmanager
async def _two(
    baseline: str, projects: Path, tool: str, rounds: int = _WARM_UP, **arguments: str
) -> AsyncIterator[Pair]:
    """Warm calls of one tool, on our server and on another."""
    with Server("ours", projects) as ours, Server(baseline, projects) as other:
        for server in (ours, other):
            server.initialize()
            for _ in range(rounds):
                server.call(tool, **arguments)
        memory.settle(ours.pid)
        yield _calls(ours, other, tool, tool, **arguments)


def _warm_code(projects: Path) -> AbstractAsyncContextManager[Pair]:
    return _two("floor", projects, "run_code", code="1+1", expect="2")


def _warm_hello(projects: Path) -> AbstractAsyncContextManager[Pair]:
    return _two("seed", projects, "run_python", file_name=_HELLO, expect="Hello, World!")


def _warm_imports(projects: Path) -> AbstractAsyncContextManager[Pair]:
    # One run before: the second one is what is measured, and each after it.
    return _two("seed", projects, "run_python", 1, file_name=_IMPORTS, expect="10 True")


@asynccontextmanager
async def _warm_client(projects: Path) -> AsyncIterator[Pair]:
    """As `_warm_code`, through FastMCP's own client."""
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport

    def client(name: str) -> Client[StdioTransport]:
        command, *arguments = COMMANDS[name]
        return Client(
            StdioTransport(
                command,
                arguments,
                environment(projects),
                str(ROOT),
                keep_alive=False,
                log_file=Path(os.devnull),
            )
        )

    def sample(to: Client[StdioTransport]) -> Sample:
        async def once() -> float:
            begun = time.perf_counter()
            await to.call_tool("run_code", {"code": "1+1"})
            return time.perf_counter() - begun

        return once

    async with client("ours") as ours, client("floor") as floor:
        pair = sample(ours), sample(floor)
        for _ in range(_WARM_UP):
            for once in pair:
                await once()
        yield pair


def _fresh_server(name: str, projects: Path, then: Callable[[Server], float]) -> Sample:
    """Start a server, do `then`, end it."""

    async def once() -> float:
        with Server(name, projects) as server:
            return then(server)

    return once


def _first_result(server: Server) -> float:
    server.initialize()
    return server.call("run_code", "2", code="1+1")


@asynccontextmanager
async def _first(projects: Path) -> AsyncIterator[Pair]:
    yield (
        _fresh_server("ours", projects, _first_result),
        _fresh_server("floor", projects, _first_result),
    )


@asynccontextmanager
async def _start(projects: Path) -> AsyncIterator[Pair]:
    yield (
        _fresh_server("ours", projects, Server.initialize),
        _fresh_server("bare", projects, Server.initialize),
    )


@asynccontextmanager
async def _first_call(projects: Path, pause: float = 0.0) -> AsyncIterator[Pair]:
    def first(server: Server) -> float:
        server.initialize()
        time.sleep(pause)
        return server.call("list_files", _HELLO)

    with Server("ours", projects) as warm:
        warm.initialize()
        for _ in range(_WARM_UP):
            warm.call("list_files")
        memory.settle(warm.pid)

        async def again() -> float:
            # In a row: a server that has just rested is slower, which would excuse ours.
            calls = [warm.call("list_files", _HELLO) for _ in range(5)]
            await asyncio.sleep(pause)
            return warm.call("list_files", _HELLO) if pause else statistics.median(calls)

        yield _fresh_server("ours", projects, first), again


def _first_call_later(projects: Path) -> AbstractAsyncContextManager[Pair]:
    return _first_call(projects, 0.3)


@asynccontextmanager
async def _session(projects: Path, count: int = 1) -> AsyncIterator[Pair]:
    """`count` new sessions one right after the other; the last one counts."""
    from tests.bench.plain_kernel import PlainKernel

    numbers = itertools.count(1)
    with Server("ours", projects) as server:
        server.initialize()
        server.call("run_code", "2", code="1+1")
        memory.settle(server.pid)

        async def ours() -> float:
            names = [f"fresh {next(numbers)}" for _ in range(count)]
            for name in names:
                seconds = server.call("run_code", "2", code="1+1", session=name)
            for name in names:
                server.call("close_session", session=name)
            # What it still does must not slow the other side down.
            memory.settle(server.pid)
            return seconds

        async def stock() -> float:
            kernels = []
            for _ in range(count):
                begun = time.perf_counter()
                kernels.append(await PlainKernel.start())
                await kernels[-1].run("1+1")
                seconds = time.perf_counter() - begun
            for kernel in kernels:
                await kernel.close()
            return seconds

        yield ours, stock


def _second_session(projects: Path) -> AbstractAsyncContextManager[Pair]:
    return _session(projects, 2)


#: In the order of the table; few repeats of what takes seconds.
ROWS = (
    Row("warm", 'run_code("1+1"), warm', "floor", 0.9, 20, _warm_code),
    Row("warm-client", "the same through FastMCP's client", "floor", None, 20, _warm_client),
    Row("hello", "run_python of hello_world, warm", "seed", 0.5, 20, _warm_hello),
    Row("imports", "numpy, pandas, pyplot, second run", "seed", 0.05, 1, _warm_imports),
    Row("first-result", "first result after initialize", "floor", 0.6, 1, _first),
    Row("session", "a further session, first result", "stock", 0.6, 1, _session),
    Row("session-2", "a second one right after it", "stock", None, 1, _second_session),
    Row("pool", "a session from the pool", "a warm run", 2.0, 2, starts.pooled),
    Row("pool-mcp", "the same over MCP", "seed", 1.0, 1, starts.pooled_call),
    Row("forked", "a session from a fork", "stock", 0.1, 1, starts.forked),
    Row("preloaded", "imports.py, preloaded, new session", "python", 0.1, 1, starts.preloaded),
    Row("restart", "restart to first result", "stock", 0.1, 1, starts.restart),
    Row("at-once-8", "8 new sessions at once", "stock", 0.15, 1, starts.at_once(8)),
    Row("at-once-32", "32 new sessions at once", "stock", 0.12, 1, starts.at_once(32)),
    Row("refill", "two long runs, pool refilled", "no pool", 1.05, 1, starts.refill, paired=True),
    Row(
        "cp-warm",
        "a small run, at once",
        "no checkpoints",
        1.5,
        3,
        checkpoints.warm(0),
        paired=True,
    ),
    Row(
        "cp-later",
        "30 ms after another",
        "no checkpoints",
        1.02,
        3,
        checkpoints.warm(0.03),
        paired=True,
    ),
    Row(
        "cp-paused",
        "150 ms after another",
        "no checkpoints",
        1.02,
        3,
        checkpoints.warm(0.15, 12),
        paired=True,
    ),
    Row("cp-failure", "a kernel's end, to a result", "a fork", 1.2, 2, checkpoints.failure),
    Row(
        "cp-large",
        "500 MB, read after a checkpoint",
        "no checkpoints",
        1.05,
        2,
        checkpoints.large,
        paired=True,
    ),
    Row("cp-idle", "an idle checkpoint's memory", "10 MB", 1.0, 1, checkpoints.idle, 1.0, "kB"),
    Row("cp-1gb", "1 GB: checkpoint, end, result", "building it", None, 1, checkpoints.gigabyte),
    Row("env-first", "first result in another venv", "stock", 0.7, 1, environments.first),
    Row("env-pool", "a further session there", "a warm run", 3.0, 2, environments.pooled),
    Row("env-list", "list_environments, 50 prefixes", "150 ms", 1.0, 5, environments.listed),
    Row("env-list-first", "the same, first call", "150 ms", None, 1, environments.listed_first),
    Row("close", "a session's processes gone", "stock", 0.3, 2, starts.close),
    Row("start-forks", "start, with forks and pool", "cold", 1.05, 2, starts.server_start),
    Row("start", "start to initialize answered", "bare", 1.05, 2, _start),
    Row("first-call", "first list_files, at once", "itself warm", 3.0, 2, _first_call),
    Row("first-call-idle", "the same, 300 ms later", "itself warm", None, 2, _first_call_later),
    Row("volume", "100 MB of text, 200 figures of 100 kB", "raw loop", 1.3, 1, volume.volume),
    Row("figure", "a result with a figure of 1 MB", "no-op tool", 2.0, 5, volume.figure),
    Row("nb-cells", "a notebook of 200 cells", "nbclient", 0.8, 1, notebooks.cells_nbclient),
    Row("nb-papermill", "the same", "papermill", 0.1, 1, notebooks.cells_papermill),
    Row("nb-whole", "20 cells in a fresh kernel", "execute", 0.5, 1, notebooks.whole),
    Row("nb-large", "50 cells, 50 MB of outputs", "nbclient", 1.0, 1, notebooks.large),
    Row("page", "the last page of 100 MB", "50 ms", 1.0, 5, volume.page),
    Row("http-warm", 'run_code("1+1") over HTTP, warm', "no-op + raw run", 1.1, 20, load.warm),
    Row("load-8", "a run, 8 sessions at once", "raw loop", 1.25, 1, load.throughput(8)),
    Row("load-32", "a run, 32 sessions at once", "raw loop", 1.25, 1, load.throughput(32)),
    Row("fair-8", "99th percentile, 8 sessions", "its median", 10.0, 1, load.fairness(8)),
    Row("fair-32", "99th percentile, 32 sessions", "its median", 10.0, 1, load.fairness(32)),
    Row("live-print", "a print, until a page has it", "100 ms", 1.0, 10, page.output),
    Row("live-print-95", "its 95th percentile", "100 ms", None, 10, page.output, 0.95),
    Row("live-shown", "a print, until Chromium shows it", "100 ms", 1.0, 10, page.browser),
    Row("live-shown-95", "its 95th percentile", "100 ms", None, 10, page.browser, 0.95),
    Row("live-ten", "a short run, ten pages open", "no page", 1.053, 6, page.ten, paired=True),
    Row("live-volume", "longest block of a page, 100 MB", "500 ms", 1.0, 1, page.volume, 1.0),
    Row("live-figures", "the same, 200 figures", "500 ms", 1.0, 1, page.figures, 1.0),
    Row("live-events", "news of a run of 100 MB", "1 MB", 1.0, 1, page.events, 1.0, "kB"),
    Row("live-paint", "the page's first paint", "100 kB", 1.0, 1, page.paint, 1.0, "kB"),
)


def memory_lines(projects: Path) -> list[tuple[str, str, memory.Memory, memory.Memory, str]]:
    """(name, title, ours, the other's, which other): what servers and sessions occupy."""
    with Server("ours", projects) as ours, Server("floor", projects) as floor:
        for server in (ours, floor):
            server.initialize()
            server.call("run_code", "2", code="1+1")
            memory.settle(server.pid)
        alone = memory.of_process(ours.pid), memory.of_process(floor.pid)
        one = memory.of_family(ours.pid), memory.of_family(floor.pid)
        for name in ("a", "b"):
            ours.call("run_code", "2", code="1+1", session=name)
        memory.settle(ours.pid)
        further = memory.of_family(ours.pid).per(one[0], 2)
        kernel = one[1].per(alone[1], 1)
    forked, stock, sessions, kernels = asyncio.run(starts.idle_memory(projects))
    before, most = volume.growth(projects)
    plain, largest = notebooks.growth(projects)
    return [
        ("memory-server", "server process, USS / PSS / RSS", *alone, "floor"),
        ("memory-all", "with helpers and one idle session", *one, "floor"),
        ("memory-session", "each further idle session", further, kernel, "floor"),
        ("memory-forked", "an idle forked kernel", forked, stock, "stock"),
        ("memory-32", "32 idle sessions, the server not counted", sessions, kernels, "stock"),
        ("memory-volume", "after the volume row; RSS: the most ever", most, before, "before it"),
        ("memory-notebook", "after nb-large; RSS: the most ever", largest, plain, "before it"),
    ]
