"""Rows about checkpoints: what they cost a session that is well, and what one saves that is not."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from kernels.execution import CodeRequest
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.result import State, Status
from kernels.session import Session
from kernels.turn import Policy

Sample = Callable[[], Awaitable[float]]
Sides = tuple[Sample, ...]
Measure = Callable[[Path], AbstractAsyncContextManager[Sides]]

#: Runs that count as one sample of what takes a few milliseconds.
_RUNS = 30
#: An idle checkpoint may have so many bytes for itself.
_IDLE = 10_000_000
#: A small session's state; half a gigabyte, and one, of numbers.
_SMALL = "import json, re\nx = {n: str(n) for n in range(1000)}"
_LARGE = "import numpy as np\nx = np.ones({megabytes} * 125_000)"
_READS = "x.sum()"


class _Sessions:
    """Sessions in this process, without a server around them."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._count = 0

    async def run(self, code: str, name: str = "s") -> float:
        """Seconds of a run that succeeds."""
        begun = time.perf_counter()
        result = await self.registry.submit("", name, CodeRequest(code), 300).result()
        seconds = time.perf_counter() - begun
        if result.status is not Status.OK:
            raise RuntimeError(f"{code}: {result.explanation or result.error}")
        return seconds

    async def die(self) -> float:
        """Seconds from a failure until the first result in the restored session; the run that
        dies sleeps before that."""
        died = self.registry.submit("", "s", CodeRequest(_DIES), 300)
        result = await died.result()
        if result.state is not State.RESTORED:
            raise RuntimeError(f"not restored: {result.notes}")
        await self.run("1")
        return time.time() - float(_text(result.outputs[0]))

    async def fresh(self) -> float:
        """A new session, to its first result."""
        self._count += 1
        name = f"fresh {self._count}"
        seconds = await self.run("1", name)
        await self.registry.close("", name)
        return seconds

    @property
    def session(self) -> Session:
        return self.registry.find("", "s")

    async def keep(self, code: str) -> float:
        """Run something of which there is a checkpoint then; seconds until there is."""
        before = self.session.checkpoint if self.registry.sessions("") else None
        begun = time.perf_counter()
        while True:
            await self.run(code)
            for _ in range(300):
                now = self.session.checkpoint
                if now is not None and (before is None or now.run_id != before.run_id):
                    return time.perf_counter() - begun
                await asyncio.sleep(0.001)


#: Says when, and ends its kernel.
_DIES = "import os, time\nprint(time.time(), flush=True)\nos._exit(1)"


def _text(output: object) -> str:
    return str(getattr(output, "text", ""))


@asynccontextmanager
async def _sessions(projects: Path, checkpoints: bool = True) -> AsyncIterator[_Sessions]:
    spec = LocalSpec(server_python(), str(projects), kernel_environment())
    backend, policy = LocalBackend(spec), Policy(checkpoints=checkpoints)
    async with Registry(backend, Limits(sessions=100, pool=0, policy=policy)) as registry:
        await backend.settle()
        yield _Sessions(registry)


def warm(pause: float, count: int = _RUNS) -> Measure:
    """`count` runs of a small session, each so many seconds after the one before; the same without
    checkpoints."""

    @asynccontextmanager
    async def measure(projects: Path) -> AsyncIterator[Sides]:
        async with _sessions(projects) as ours, _sessions(projects, False) as without:

            def sample(of: _Sessions) -> Sample:
                async def runs() -> float:
                    seconds = []
                    for _ in range(count):
                        await asyncio.sleep(pause)
                        seconds.append(await of.run("1"))
                    # The mean: only some of them come after a checkpoint.
                    return statistics.fmean(seconds)

                return runs

            for each in (ours, without):
                await each.run(_SMALL)
                for _ in range(20):
                    await each.run("1")
            await ours.keep("x")
            yield sample(ours), sample(without)

    return measure


@asynccontextmanager
async def failure(projects: Path) -> AsyncIterator[Sides]:
    """From the end of a kernel to the first result of the restored session; a new session whose
    kernel is forked, to its first result."""
    async with _sessions(projects) as sessions:
        await sessions.run(_SMALL)
        await sessions.keep("x")
        yield sessions.die, sessions.fresh


@asynccontextmanager
async def large(projects: Path) -> AsyncIterator[Sides]:
    """The first run after a checkpoint of 500 MB, which reads them; without."""
    async with _sessions(projects) as ours, _sessions(projects, False) as without:
        for each in (ours, without):
            await each.run(_LARGE.format(megabytes=500))
            await each.run(_READS)
        await ours.keep(_READS)

        async def mine() -> float:
            await ours.keep(_READS)
            # The old one's memory is given back by then.
            await asyncio.sleep(0.05)
            return await ours.run(_READS)

        async def other() -> float:
            await without.run(_READS)
            await asyncio.sleep(0.05)
            return await without.run(_READS)

        yield mine, other


@asynccontextmanager
async def idle(projects: Path) -> AsyncIterator[Sides]:
    """Kilobytes that the checkpoint of an idle small session has for itself; the bound."""
    async with _sessions(projects) as sessions:

        async def ours() -> float:
            await sessions.keep(_SMALL)
            await asyncio.sleep(0.1)
            facts = sessions.session.checkpoint
            return (facts.private_memory() if facts else 0) / 1000

        async def bound() -> float:
            return _IDLE / 1000

        yield ours, bound


@asynccontextmanager
async def gigabyte(projects: Path) -> AsyncIterator[Sides]:
    """What a session of 1 GB pays for its checkpoint and for going on from it, to the first
    result; the run that has built it."""
    async with _sessions(projects) as sessions:

        async def ours() -> float:
            await sessions.run(_LARGE.format(megabytes=1000))
            return await sessions.keep("1") + await sessions.die()

        async def built() -> float:
            return await sessions.run(_LARGE.format(megabytes=1000))

        yield ours, built
