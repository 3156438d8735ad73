"""Rows about calls over HTTP: one after another, and from many sessions at once."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.bench import memory
from tests.bench.remote import OLDER, HttpServer

Sample = Callable[[], Awaitable[float]]

_WARM_UP = 20
_CODE = "x = 1 + 1\nprint(x)"
#: Runs of each session in one round.
_RUNS = 40
#: More than any row has at once.
_SESSIONS = {"RMI_MAX_SESSIONS": "40"}


@asynccontextmanager
async def warm(projects: Path) -> AsyncIterator[tuple[Sample, ...]]:
    """A warm call of run_code; a call of a tool that does nothing; a run on a stock kernel."""
    from tests.bench.plain_kernel import PlainKernel

    kernel = await PlainKernel.start()
    try:
        with HttpServer("ours", projects) as ours, HttpServer("bare", projects) as bare:
            async with ours.client() as client, bare.client() as other:
                run_code = client.prepared("run_code", code="1+1")
                nothing = other.prepared("nothing")

                async def mine() -> float:
                    return await client.send(run_code, b'"2\\n')

                async def no_op() -> float:
                    return await other.send(nothing)

                async def raw() -> float:
                    begun = time.perf_counter()
                    await kernel.run("1+1")
                    return time.perf_counter() - begun

                for _ in range(_WARM_UP):
                    for each in (mine, no_op, raw):
                        await each()
                memory.settle(ours.pid)
                yield mine, no_op, raw
    finally:
        await kernel.close()


def throughput(
    sessions: int,
) -> Callable[[Path], AbstractAsyncContextManager[tuple[Sample, ...]]]:
    """Seconds of one run when so many sessions have short runs, one after another in each: over
    HTTP, and on as many stock kernels in this process's loop."""

    @asynccontextmanager
    async def measure(projects: Path) -> AsyncIterator[tuple[Sample, ...]]:
        async with _clients(sessions, projects) as ours, _kernels(sessions) as raw:

            async def mine() -> float:
                return (await _round(ours)).seconds / (sessions * _RUNS)

            async def stock() -> float:
                return (await _round(raw)).seconds / (sessions * _RUNS)

            yield mine, stock

    return measure


def fairness(sessions: int) -> Callable[[Path], AbstractAsyncContextManager[tuple[Sample, ...]]]:
    """The 99th percentile of the calls' latencies in such a round, and their median."""

    @asynccontextmanager
    async def measure(projects: Path) -> AsyncIterator[tuple[Sample, ...]]:
        async with _clients(sessions, projects) as ours:
            slow: list[float] = []
            usual: list[float] = []

            async def take(wanted: list[float]) -> float:
                # A round has both; whichever is asked for first takes it.
                if not wanted:
                    latencies = (await _round(ours)).latencies
                    slow.append(latencies[math.ceil(0.99 * len(latencies)) - 1])
                    usual.append(statistics.median(latencies))
                return wanted.pop(0)

            yield lambda: take(slow), lambda: take(usual)

    return measure


class _Round:
    """What one round took, in all and each call, ordered."""

    def __init__(self, seconds: float, latencies: list[float]) -> None:
        self.seconds, self.latencies = seconds, sorted(latencies)


async def _round(calls: Sequence[Sample]) -> _Round:
    """All at once, each `_RUNS` times in a row."""
    latencies: list[float] = []

    async def one(call: Sample) -> None:
        for _ in range(_RUNS):
            latencies.append(await call())

    begun = time.perf_counter()
    await asyncio.gather(*map(one, calls))
    return _Round(time.perf_counter() - begun, latencies)


@asynccontextmanager
async def _clients(count: int, projects: Path) -> AsyncIterator[list[Sample]]:
    """Calls of as many clients of our server, each of them in a session of its own."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(HttpServer("ours", projects, **_SESSIONS))

        async def begin(number: int) -> Sample:
            client = await stack.enter_async_context(server.client())
            call = client.prepared("run_code", code=_CODE, session=f"load {number}")
            await client.send(call, b'"2\\n')
            return lambda: client.send(call, b'"2\\n')

        calls = [await begin(number) for number in range(count)]
        await _round(calls)
        memory.settle(server.pid)
        yield calls


@asynccontextmanager
async def _kernels(count: int) -> AsyncIterator[list[Sample]]:
    """Runs on as many stock kernels."""
    from tests.bench.plain_kernel import PlainKernel

    kernels: list[PlainKernel] = []

    def runs(kernel: PlainKernel) -> Sample:
        async def run() -> float:
            begun = time.perf_counter()
            await kernel.run(_CODE)
            return time.perf_counter() - begun

        return run

    try:
        for _ in range(count):
            kernels.append(await PlainKernel.start())
        calls = [runs(kernel) for kernel in kernels]
        await _round(calls)
        yield calls
    finally:
        for kernel in kernels:
            await kernel.close()


async def idle_session(projects: Path, further: int = 20) -> float:
    """Megabytes of its own that the server's process has for each further session whose client
    stays connected and does nothing, in the older era, where each has a transport of its own."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(HttpServer("ours", projects, **_SESSIONS))

        async def begin(number: int) -> None:
            client = await stack.enter_async_context(server.client(OLDER))
            call = client.prepared("run_code", code=_CODE, session=f"idle {number}")
            await client.send(call, b"2\\n")

        await begin(0)
        memory.settle(server.pid)
        one = memory.of_process(server.pid).uss
        for number in range(further):
            await begin(number + 1)
        memory.settle(server.pid)
        return (memory.of_process(server.pid).uss - one) / further
