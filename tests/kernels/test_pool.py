"""Kernels that stand ready: when they are started, who gets them, and what becomes of the rest."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from kernels.environments.describing import describe_kernelspec
from kernels.environments.environment import Chosen
from kernels.execution import CodeRequest
from kernels.kernel import Exit
from kernels.kernelspecs import Kernelspec
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.result import RunResult, Status
from tests.conftest import alive, text_of, until
from tests.kernels.fake_kernel import FakeBackend

ECHO = Kernelspec("echo", "Echo", "python", ("python",), {}, "signal")


@pytest.fixture
async def backend() -> AsyncIterator[FakeBackend]:
    made = FakeBackend()
    yield made
    await made.close()


@pytest.fixture
async def registry(backend: FakeBackend) -> AsyncIterator[Registry]:
    async with Registry(backend, Limits(pool=2)) as registry:
        registry.prepare()
        await until(lambda: registry.is_ready)
        yield registry


async def run(
    registry: Registry, name: str = "s", code: str = "1", spec: Kernelspec | None = None
) -> RunResult:
    where = Chosen(describe_kernelspec(spec), spec) if spec is not None else None
    return await registry.submit("", name, CodeRequest(code), 20, environment=where).result()


class TestWhenTheyAreStarted:
    async def test_as_many_as_are_wanted(self, registry: Registry, backend: FakeBackend) -> None:
        assert len(backend.kernels) == 2
        assert registry.pids() == [None, None]
        assert registry.everyones() == [], "they are no sessions"

    async def test_again_when_one_was_taken(self, registry: Registry, backend: FakeBackend) -> None:
        await run(registry)
        await until(lambda: len(backend.kernels) == 3)

    async def test_when_a_session_took_one_for_its_next_kernel(
        self, registry: Registry, backend: FakeBackend
    ) -> None:
        await run(registry)
        await registry.find("", "s").restart()
        await until(lambda: len(backend.kernels) == 3)
        await run(registry)
        assert backend.kernels[1].requests == 1

    async def test_not_while_anything_runs_but_not_never(
        self,
        registry: Registry,
        backend: FakeBackend,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # Whenever the pool looks at its clock, a hundredth of a second has gone by.
        clock = SimpleNamespace(looks=0)

        def monotonic() -> float:
            clock.looks += 1
            return float(clock.looks) / 100

        clock.monotonic = monotonic
        monkeypatch.setattr("kernels.pool.time", clock)
        monkeypatch.setattr("kernels.pool._AT_LAST", math.inf)
        backend.kernels[0].answer = backend.kernels[1].answer = lambda kernel: None
        waiting = registry.submit("", "long", CodeRequest("wait"), 20)
        # Ten times as long as is quiet enough when nothing runs.
        await until(lambda: backend.kernels[0].requests and clock.looks > 50)
        assert len(backend.kernels) == 2
        monkeypatch.setattr("kernels.pool._AT_LAST", 0.0)
        await until(lambda: len(backend.kernels) == 3)
        assert not waiting.done.done()
        waiting.stop(0)

    async def test_of_a_kernelspec_for_as_long_as_a_session_has_it(
        self, registry: Registry, backend: FakeBackend
    ) -> None:
        await run(registry, spec=ECHO)
        await until(lambda: backend.specs.count(ECHO) == 3)
        await run(registry, "t", spec=ECHO)
        await until(lambda: backend.specs.count(ECHO) == 4)
        spares = [k for k, s in zip(backend.kernels, backend.specs, strict=True) if s == ECHO][2:]
        await registry.close("", "s")
        await registry.close("", "t")
        assert not any(kernel.closed for kernel in spares)
        await run(registry, "u")
        await until(lambda: all(kernel.closed for kernel in spares))

    async def test_none_when_none_are_wanted(self, backend: FakeBackend) -> None:
        async with Registry(backend, Limits(pool=0)) as registry:
            registry.prepare()
            assert registry.is_ready
            await run(registry)
        assert len(backend.kernels) == 1

    async def test_not_over_and_over_when_they_fail(self, backend: FakeBackend) -> None:
        backend.failures = ["no"] * 5
        async with Registry(backend, Limits()) as registry:
            registry.prepare()
            await until(lambda: registry.is_ready)
            assert len(backend.specs) == 1


class TestMemory:
    async def test_they_end_when_it_is_short_and_come_back(
        self, registry: Registry, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        short = [True]
        monkeypatch.setattr("kernels.pool._MEMORY_LOOK", 0.05)
        monkeypatch.setattr("kernels.memory.is_short", lambda: short[0])
        await run(registry)
        await until(lambda: backend.kernels[1].closed)
        assert registry.pids() == [None], "a session keeps its own"
        short[0] = False
        await until(lambda: len(registry.pids()) == 3)


class TestHandOver:
    async def test_one_that_has_died_is_passed_over(
        self, registry: Registry, backend: FakeBackend
    ) -> None:
        backend.kernels[0].end(Exit(signal=9))
        assert (await run(registry)).notes == ()
        assert backend.kernels[0].closed
        assert backend.kernels[1].requests == 1

    async def test_one_whose_taker_goes_away_is_kept(self, backend: FakeBackend) -> None:
        backend.open.clear()
        async with Registry(backend, Limits()) as registry:
            registry.prepare()
            await until(lambda: backend.specs)
            taking = asyncio.create_task(registry._pool.take(None))
            await asyncio.sleep(0)
            taking.cancel()
            await asyncio.wait({taking})
            backend.open.set()
            await until(lambda: registry.pids())
            await run(registry)
            assert backend.kernels[0].requests == 1


class TestReal:
    @pytest.fixture
    async def registry(self, projects: Path) -> AsyncIterator[Registry]:
        spec = LocalSpec(server_python(), str(projects), kernel_environment())
        async with Registry(LocalBackend(spec), Limits()) as registry:
            registry.prepare()
            await until(lambda: registry.is_ready)
            yield registry

    async def test_a_session_gets_the_one_that_is_ready(self, registry: Registry) -> None:
        (pid,) = registry.pids()
        assert text_of(await run(registry, code="import os\nprint(os.getpid())")) == f"{pid}\n"

    async def test_so_does_one_whose_kernel_was_killed(self, registry: Registry) -> None:
        await run(registry)
        await until(lambda: len(registry.pids()) == 2)
        first, ready = registry.pids()
        died = await run(registry, code="import os\nos.kill(os.getpid(), 9)")
        assert died.status is Status.DIED
        assert text_of(await run(registry, code="print(os.getpid())")) == ""
        assert registry.find("", "s").pid == ready != first

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
    async def test_one_that_is_killed_or_stopped_at_hand_over(
        self, registry: Registry, number: signal.Signals
    ) -> None:
        """The run knows nothing of it."""
        (pid,) = registry.pids()
        assert pid is not None
        os.kill(pid, number)
        result = await run(registry, code="print(1)")
        assert (result.status, text_of(result), result.notes) == (Status.OK, "1\n", ())
        taken = registry.find("", "s").pid
        assert (taken == pid) is (number == signal.SIGSTOP)
        assert alive(pid) is (number == signal.SIGSTOP)
