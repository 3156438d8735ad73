"""Onlookers are told of every run and every start of a kernel, once and in order."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kernels.environments.describing import describe_kernelspec
from kernels.environments.environment import Chosen
from kernels.errors import KernelError, KernelStartError, TooManySessions
from kernels.execution import CodeRequest
from kernels.kernelspecs import Kernelspec
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.memory import of_families, own
from kernels.registry import Registry
from kernels.result import Status
from kernels.run import Run
from kernels.steps import Work
from kernels.turn import Policy
from kernels.watch import Kind
from tests.conftest import until
from tests.kernels.fake_kernel import FakeBackend, FakeKernel


@dataclass
class Notes:
    """A watcher that notes what it is told."""

    queued: list[tuple[str, str, Work]] = field(default_factory=list)
    ended: list[tuple[str, str, Status]] = field(default_factory=list)
    started: list[tuple[str, float]] = field(default_factory=list)
    #: Whether the run's summary was there at its end.
    summaries: list[bool] = field(default_factory=list)

    def run_queued(self, owner: str, run: Run, work: Work) -> None:
        assert run.status is Status.RUNNING
        self.queued.append((owner, run.id, work))

    def run_ended(self, owner: str, run: Run) -> None:
        assert run.done.done()
        self.ended.append((owner, run.id, run.status))
        self.summaries.append(run.summary is not None)

    def kernel_started(self, kind: Kind, seconds: float) -> None:
        self.started.append((kind, seconds))


@pytest.fixture
def notes() -> Notes:
    return Notes()


def answer(kernel: FakeKernel) -> None:
    """Run anything at once but "wait", which goes on until it is interrupted."""
    if kernel.content["code"] == "wait":
        kernel.obey = FakeKernel.fail
    else:
        kernel.succeed()


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend(answer)


@pytest.fixture
async def fakes(backend: FakeBackend, notes: Notes) -> AsyncIterator[Registry]:
    async with Registry(backend, Limits(sessions=2, policy=Policy(grace=1.0)), [notes]) as registry:
        yield registry


def submit(
    registry: Registry,
    code: str = "1",
    session: str = "a",
    owner: str = "me",
    spec: Kernelspec | None = None,
) -> Run:
    where = Chosen(describe_kernelspec(spec), spec) if spec is not None else None
    return registry.submit(owner, session, CodeRequest(code), 20, environment=where)


class TestRuns:
    async def test_it_is_told_what_is_asked_for_and_by_whom(
        self, fakes: Registry, notes: Notes
    ) -> None:
        work = CodeRequest("1")
        run = fakes.submit("me", "a", work, 20)
        assert notes.queued == [("me", run.id, work)]
        await run.result()
        assert notes.ended == [("me", run.id, Status.OK)]

    async def test_whoever_waits_for_a_run_comes_after_the_onlookers(
        self, fakes: Registry, notes: Notes
    ) -> None:
        run = submit(fakes)
        told: list[int] = []

        async def wait() -> None:
            await run.result()
            told.append(len(notes.ended))

        await asyncio.gather(*(wait() for _ in range(5)))
        assert told == [1] * 5

    async def test_each_of_many_is_told_once(self, fakes: Registry, notes: Notes) -> None:
        runs = [submit(fakes, session=name) for _ in range(50) for name in "ab"]
        await asyncio.gather(*(run.result() for run in runs))
        assert sorted(notes.ended) == sorted(("me", run.id, Status.OK) for run in runs)

    async def test_one_that_is_stopped(self, fakes: Registry, notes: Notes) -> None:
        run = submit(fakes, "wait")
        await until(lambda: run.began)
        run.stop()
        await run.result()
        assert notes.ended == [("me", run.id, Status.INTERRUPTED)]

    async def test_one_that_never_began(self, fakes: Registry, notes: Notes) -> None:
        first, second = submit(fakes, "wait"), submit(fakes)
        await until(lambda: first.began)
        second.stop()
        first.stop()
        await second.result()
        assert notes.ended[1] == ("me", second.id, Status.INTERRUPTED)
        assert second.began is None

    async def test_those_of_a_session_that_is_closed(self, fakes: Registry, notes: Notes) -> None:
        runs = [submit(fakes, "wait") for _ in range(3)]
        await until(lambda: runs[0].began)
        await fakes.close("me", "a")
        await asyncio.wait([run.done for run in runs])
        assert [each[1:] for each in notes.ended] == [(run.id, Status.INTERRUPTED) for run in runs]

    async def test_one_whose_kernel_cannot_start_has_died(
        self, fakes: Registry, backend: FakeBackend, notes: Notes
    ) -> None:
        backend.failures = ["No kernel today."]
        run = submit(fakes)
        with pytest.raises(KernelStartError):
            await run.result()
        assert notes.ended == [("me", run.id, Status.DIED)]
        assert notes.summaries == [False]
        assert notes.started == []

    async def test_what_is_refused_is_no_run(self, fakes: Registry, notes: Notes) -> None:
        submit(fakes, session="a")
        submit(fakes, session="b")
        with pytest.raises(TooManySessions):
            submit(fakes, session="c")
        with pytest.raises(KernelError):
            submit(fakes, session="bad\nname")
        assert len(notes.queued) == 2

    async def test_every_one_has_ended_when_the_registry_has(
        self, backend: FakeBackend, notes: Notes
    ) -> None:
        async with Registry(backend, Limits(sessions=2), [notes]) as registry:
            runs = [submit(registry, "wait", name) for _ in range(20) for name in "ab"]
            await until(lambda: runs[0].began and runs[1].began)
        assert sorted(notes.ended) == sorted(("me", run.id, Status.INTERRUPTED) for run in runs)

    @pytest.mark.parametrize("count", range(1, 12))
    async def test_so_have_those_that_were_asked_for_in_the_last_moment(
        self, count: int, backend: FakeBackend, notes: Notes
    ) -> None:
        async with Registry(backend, Limits(sessions=2), [notes]) as registry:
            runs = [submit(registry, session=name) for _ in range(count) for name in "ab"]
        assert sorted(each[1] for each in notes.ended) == sorted(run.id for run in runs)

    async def test_one_that_waits_for_its_kernel_when_the_server_ends(
        self, backend: FakeBackend, notes: Notes
    ) -> None:
        backend.open.clear()
        async with Registry(backend, Limits(), [notes]) as registry:
            run = submit(registry)
            await until(lambda: backend.specs)
            asyncio.get_running_loop().call_later(0.05, backend.open.set)
        assert [each[:2] for each in notes.ended] == [("me", run.id)]

    def test_one_that_the_end_of_the_loop_overtakes(
        self, backend: FakeBackend, notes: Notes
    ) -> None:
        async def forget() -> None:
            registry = Registry(backend, Limits(), [notes])
            for _ in range(3):
                submit(registry, "wait")

        # Not one of them gets as far as its first step.
        asyncio.run(forget())
        asyncio.run(backend.close())
        assert [status for _, _, status in notes.ended] == [Status.DIED] * 3
        assert notes.summaries == [False] * 3

    async def test_several_look_on(self, backend: FakeBackend) -> None:
        several = [Notes(), Notes()]
        async with Registry(backend, Limits(), several) as registry:
            await submit(registry).result()
        assert several[0].ended == several[1].ended != []

    async def test_nobody_need_look_on(self, backend: FakeBackend) -> None:
        async with Registry(backend, Limits()) as registry:
            assert (await submit(registry).result()).status is Status.OK


class TestKernels:
    async def test_one_made_ready_and_one_that_is_not(
        self, fakes: Registry, backend: FakeBackend, notes: Notes
    ) -> None:
        fakes.prepare()
        await until(lambda: backend.kernels)
        await submit(fakes, session="a").result()
        await submit(fakes, session="b").result()
        await submit(fakes, session="b").result()
        assert [kind for kind, _ in notes.started] == ["ready", "cold"]

    async def test_one_made_ready_that_has_ended_since_is_not_taken(
        self, fakes: Registry, backend: FakeBackend, notes: Notes
    ) -> None:
        fakes.prepare()
        await until(lambda: backend.kernels)
        backend.kernels[0].exited.set()
        await submit(fakes).result()
        assert [kind for kind, _ in notes.started] == ["cold"]

    async def test_one_that_could_not_be_made_ready(
        self, fakes: Registry, backend: FakeBackend, notes: Notes
    ) -> None:
        backend.failures = ["Not yet."]
        fakes.prepare()
        await until(lambda: not backend.failures)
        await submit(fakes).result()
        assert [kind for kind, _ in notes.started] == ["cold"]

    async def test_one_of_a_kernelspec(self, fakes: Registry, notes: Notes) -> None:
        spec = Kernelspec("mine", "Mine", "python", ("python",), {}, "signal")
        fakes.prepare()
        await submit(fakes, spec=spec).result()
        assert [kind for kind, _ in notes.started] == ["kernelspec"]

    async def test_the_seconds_are_those_that_a_session_waits(
        self, fakes: Registry, backend: FakeBackend, notes: Notes
    ) -> None:
        backend.open.clear()
        run = submit(fakes)
        asyncio.get_running_loop().call_later(0.05, backend.open.set)
        await run.result()
        assert notes.started[0][1] >= 0.04

    async def test_living_ones_are_known(self, fakes: Registry, backend: FakeBackend) -> None:
        assert fakes.pids() == []
        fakes.prepare()
        await until(lambda: backend.kernels)
        await asyncio.sleep(0)
        assert fakes.pids() == [None]
        await submit(fakes, session="a").result()
        await submit(fakes, session="b", owner="you").result()
        assert fakes.pids() == [None, None]
        assert [session.name for session in fakes.everyones()] == ["a", "b"]
        backend.kernels[0].exited.set()
        assert fakes.pids() == [None]


def resident(pid: int | None) -> int | None:
    """The memory of one process and all that it has started."""
    return of_families([pid]).get(pid or 0)


class TestReal:
    async def test_a_program_that_kills_its_kernel(self, projects: Path, notes: Notes) -> None:
        spec = LocalSpec(server_python(), str(projects), kernel_environment())
        async with Registry(LocalBackend(spec), Limits(), [notes]) as registry:
            registry.prepare()
            await until(lambda: registry.is_ready)
            (pid,) = registry.pids()
            await submit(registry, "x = 1").result()
            assert registry.everyones()[0].pid == pid
            assert (resident(pid) or 0) > 10_000_000
            died = submit(registry, "import os; os.kill(os.getpid(), 9)")
            await died.result()
            await submit(registry, "1").result()
        assert [status for _, _, status in notes.ended] == [Status.OK, Status.DIED, Status.OK]
        assert notes.started[0][0] == "ready"
        assert len(notes.started) == 2
        assert resident(pid) is None

    async def test_memory_is_that_of_all_that_a_kernel_has_started(self, projects: Path) -> None:
        spec = LocalSpec(server_python(), str(projects), kernel_environment())
        async with Registry(LocalBackend(spec), Limits()) as registry:
            await submit(registry, "1").result()
            (pid,) = registry.pids()
            before = resident(pid) or 0
            child = (
                "import time; held = bytes(bytearray(b'x') * 50_000_000); print(); time.sleep(60)"
            )
            code = (
                "import subprocess\n"
                f"child = subprocess.Popen([{sys.executable!r}, '-c', {child!r}], stdout=-1)\n"
                "child.stdout.readline()"
            )
            await submit(registry, code).result()
            assert (resident(pid) or 0) - before > 45_000_000

    def test_memory_of_nobody(self) -> None:
        assert resident(None) is None
        assert resident(2**22 + 1) is None
        assert own() > 1_000_000
