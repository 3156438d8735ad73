"""The turns of a session's steps, on fake kernels: every order in which they can meet."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest

from kernels import execution as execution_module
from kernels.errors import BadRequest, KernelStartError, SessionNotFound
from kernels.execution import CodeRequest
from kernels.kernel import Exit
from kernels.limits import Limits
from kernels.registry import Registry
from kernels.result import State, Status
from kernels.run import Run
from kernels.session import SessionState
from kernels.turn import Policy
from kernels.verdict import KEPT
from tests.conftest import until
from tests.kernels.fake_kernel import FakeBackend, FakeKernel

GONE = "session restarted: its variables are gone"
FRESH = ("in a fresh kernel",)


@pytest.fixture
def backend() -> FakeBackend:
    """Its kernels succeed at once; a request for "wait" they do not answer until told to."""

    def answer(kernel: FakeKernel) -> None:
        if kernel.content["code"] != "wait":
            kernel.succeed(str(kernel.content["code"]))

    return FakeBackend(answer)


@pytest.fixture
async def registry(backend: FakeBackend) -> AsyncIterator[Registry]:
    async with Registry(backend, Limits(policy=Policy(grace=0.02))) as registry:
        yield registry


def submit(registry: Registry, code: str = "x", restart: bool = False) -> Run:
    return registry.submit("", "s", CodeRequest(code), 60, restart)


async def waiting_kernel(backend: FakeBackend, run: Run) -> FakeKernel:
    """The kernel in which `run` waits to be answered or interrupted."""
    await until(lambda: run.execution)
    return backend.kernels[-1]


async def test_a_restart_overtakes_what_waits(registry: Registry, backend: FakeBackend) -> None:
    current, waiting = submit(registry, "wait"), submit(registry)
    (await waiting_kernel(backend, current)).obey = FakeKernel.fail
    await current.session.restart()
    stopped = await current.result()
    assert (stopped.status, stopped.state) == (Status.INTERRUPTED, State.LOST)
    assert stopped.notes == ("stopped", GONE)
    following = await waiting.result()
    assert (following.status, following.state, following.notes) == (Status.OK, State.LOST, (GONE,))
    assert len(backend.kernels) == 2
    assert backend.kernels[0].closed


async def test_restarts_at_once_are_one_after_the_other(
    registry: Registry, backend: FakeBackend
) -> None:
    await submit(registry).result()
    session = registry.find("", "s")
    await asyncio.gather(session.restart(), session.restart(), session.restart())
    result = await submit(registry).result()
    assert (result.state, result.notes) == (State.KEPT, ())
    assert len(backend.kernels) == 2


async def test_a_restart_while_the_kernel_starts_ends_the_run_that_wants_it(
    registry: Registry, backend: FakeBackend
) -> None:
    backend.open.clear()
    run = submit(registry)
    await asyncio.sleep(0)
    restart = asyncio.create_task(run.session.restart())
    await asyncio.sleep(0)
    backend.open.set()
    await restart
    result = await run.result()
    assert result.explanation == "Not run: the session was restarted."
    assert result.state is State.KEPT
    assert (await submit(registry).result()).notes == ()


async def test_a_restart_that_is_given_up_leaves_the_session_usable(
    registry: Registry, backend: FakeBackend
) -> None:
    current = submit(registry, "wait")
    kernel = await waiting_kernel(backend, current)
    restart = asyncio.create_task(current.session.restart())
    await until(lambda: kernel.interrupts)
    restart.cancel()
    with pytest.raises(asyncio.CancelledError):
        await restart
    kernel.fail()
    result = await current.result()
    assert (result.status, result.state) == (Status.INTERRUPTED, State.KEPT)
    assert (await submit(registry).result()).notes == ()


async def test_a_close_that_is_given_up_closes_all_the_same(
    registry: Registry, backend: FakeBackend
) -> None:
    current = submit(registry, "wait")
    kernel = await waiting_kernel(backend, current)
    close = asyncio.create_task(registry.close("", "s"))
    await asyncio.sleep(0)
    close.cancel()
    with pytest.raises(asyncio.CancelledError):
        await close
    await until(lambda: kernel.closed)
    with pytest.raises(SessionNotFound):
        registry.find("", "s")


async def test_a_new_session_of_the_name_does_not_wait_for_the_old_ones_end(
    registry: Registry, backend: FakeBackend
) -> None:
    current = submit(registry, "wait")
    await waiting_kernel(backend, current)
    close = asyncio.create_task(registry.close("", "s"))
    await asyncio.sleep(0)
    run = submit(registry)
    assert run.session is not current.session
    assert (await run.result()).status is Status.OK
    await close
    assert current.session.state is SessionState.CLOSED
    assert run.session.state is SessionState.IDLE


async def test_a_stop_while_the_kernel_starts(registry: Registry, backend: FakeBackend) -> None:
    """Nothing of it is run, and the kernel is there for the next one."""
    backend.open.clear()
    run, following = submit(registry, "never"), submit(registry, "next")
    await asyncio.sleep(0)
    run.stop()
    backend.open.set()
    assert (await run.result()).explanation == "Not run: it was stopped before it began."
    assert (await following.result()).status is Status.OK
    (kernel,) = backend.kernels
    assert kernel.requests == 1


async def test_a_kernel_that_does_not_start_fails_its_run_alone(
    registry: Registry, backend: FakeBackend
) -> None:
    backend.failures = ["no luck"]
    first, second = submit(registry), submit(registry)
    with pytest.raises(KernelStartError, match="no luck"):
        await first.result()
    assert (await second.result()).status is Status.OK
    assert registry.find("", "s").runs == []


async def test_nobody_needs_to_hear_of_a_failed_start(
    registry: Registry, backend: FakeBackend
) -> None:
    """A caller that went away leaves no "exception was never retrieved" behind."""
    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    backend.failures = ["no luck"]
    run = submit(registry)
    await asyncio.wait({run.done})
    del run
    assert said == []


class TestTheKernelThatWasPrepared:
    async def test_the_first_run_takes_it(self, registry: Registry, backend: FakeBackend) -> None:
        registry.prepare()
        await until(lambda: backend.kernels)
        assert (await submit(registry).result()).status is Status.OK
        assert len(backend.kernels) == 1

    async def test_a_run_that_comes_early_waits_for_it(
        self, registry: Registry, backend: FakeBackend
    ) -> None:
        backend.open.clear()
        registry.prepare()
        run = submit(registry)
        await asyncio.sleep(0)
        backend.open.set()
        await run.result()
        assert len(backend.kernels) == 1

    async def test_when_it_failed_the_run_starts_its_own(
        self, registry: Registry, backend: FakeBackend
    ) -> None:
        backend.failures = ["no luck"]
        registry.prepare()
        await until(lambda: not backend.failures)
        assert (await submit(registry).result()).status is Status.OK

    async def test_when_it_has_died_nothing_is_said(
        self, registry: Registry, backend: FakeBackend
    ) -> None:
        registry.prepare()
        await until(lambda: backend.kernels)
        backend.kernels[0].end(Exit(signal=9))
        result = await submit(registry).result()
        assert (result.status, result.notes) == (Status.OK, ())
        assert backend.kernels[0].closed


class TestTheEndOfAKernel:
    async def test_the_output_of_a_dying_kernel_is_in_its_result(
        self, registry: Registry, backend: FakeBackend
    ) -> None:
        run = submit(registry, "wait")
        kernel = await waiting_kernel(backend, run)
        kernel.print("last words")
        kernel.end(Exit(signal=11))
        result = await run.result()
        assert (result.status, result.signal, result.state) == (Status.DIED, 11, State.LOST)
        assert len(result.outputs) == 1
        assert kernel.closed
        assert (await submit(registry).result()).notes == FRESH

    async def test_what_a_killed_kernel_had_left_is_in_its_result(
        self, registry: Registry, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A kernel hands over what was under way when it is closed."""
        run = submit(registry, "wait")
        kernel = await waiting_kernel(backend, run)
        close = kernel.close

        async def close_and_say() -> None:
            kernel.print("left over")
            await close()

        monkeypatch.setattr(kernel, "close", close_and_say)
        run.stop()
        result = await run.result()
        assert (result.status, result.state) == (Status.INTERRUPTED, State.LOST)
        assert "left over" in str(result.outputs)

    async def test_a_remote_kernel_that_dies_between_runs(
        self, registry: Registry, backend: FakeBackend
    ) -> None:
        await submit(registry).result()
        session = registry.find("", "s")
        backend.kernels[0].say("status", "", execution_state="restarting")
        assert session.state is SessionState.COLD
        result = await submit(registry).result()
        assert result.state is State.LOST
        assert result.notes == (f"since the last run the kernel ended; {GONE}",)
        assert len(backend.kernels) == 2

    async def test_one_that_does_not_leave_by_itself_is_ended(
        self, registry: Registry, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kernels.tenure._EXIT_GRACE", 0.02)
        await submit(registry).result()
        (kernel,) = backend.kernels
        monkeypatch.setattr(kernel, "end", lambda exit: kernel.print("bye", parent=""))
        assert await registry.close("", "s") == "bye"
        assert kernel.closed

    async def test_a_kernel_of_another_make_is_just_closed(
        self, registry: Registry, backend: FakeBackend
    ) -> None:
        await submit(registry).result()
        (kernel,) = backend.kernels
        kernel.scripted = False
        await registry.close("", "s")
        assert kernel.requests == 1
        assert kernel.closed


async def test_what_is_gone_is_not_called_kept(registry: Registry, backend: FakeBackend) -> None:
    """A stop keeps its own run's variables; those from before its fresh kernel are gone."""
    await submit(registry).result()
    run = submit(registry, "wait", restart=True)
    await until(lambda: run.execution)
    backend.kernels[-1].obey = FakeKernel.fail
    run.stop()
    result = await run.result()
    assert (result.state, result.notes) == (State.LOST, (GONE, "stopped"))
    assert (await submit(registry).result()).notes == ()


class TestWhatThreadsOfEarlierRunsPrint:
    async def test_between_runs(self, registry: Registry, backend: FakeBackend) -> None:
        await submit(registry).result()
        backend.kernels[0].print("from before")
        result = await submit(registry).result()
        assert result.late == "from before"
        assert "from before" not in str(result.outputs)
        assert (await submit(registry).result()).late == ""

    async def test_during_a_run(self, registry: Registry, backend: FakeBackend) -> None:
        run = submit(registry, "wait")
        kernel = await waiting_kernel(backend, run)
        kernel.print("from before", parent="earlier")
        kernel.succeed("mine")
        result = await run.result()
        assert result.late == "from before"
        assert "mine" in str(result.outputs)

    async def test_much_of_it_is_bounded(self, registry: Registry, backend: FakeBackend) -> None:
        await submit(registry).result()
        for _ in range(1000):
            backend.kernels[0].print("x" * 1000)
        late = (await submit(registry).result()).late
        assert len(late) < 5000
        assert "left out" in late


@pytest.mark.parametrize("seed", range(40))
async def test_in_whatever_order_steps_come_their_promises_hold(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run ends, what its result says is consistent, and no kernel is left over."""
    monkeypatch.setattr(execution_module, "_LATE", 0.002)
    monkeypatch.setattr("kernels.tenure._EXIT_GRACE", 0.01)
    chance = random.Random(seed)

    def die(kernel: FakeKernel) -> None:
        kernel.end(Exit(signal=9))

    def ignore(kernel: FakeKernel) -> None:
        """It goes on and on."""

    endings: list[Callable[[FakeKernel], None]] = [
        FakeKernel.succeed,
        FakeKernel.fail,
        FakeKernel.reply,
        die,
        ignore,
    ]

    def answer(kernel: FakeKernel) -> None:
        kernel.obey = chance.choice(endings)
        chance.choice(endings)(kernel)

    backend = FakeBackend(answer)
    policy = Policy(grace=0.002, keep_after_timeout=chance.random() < 0.5)
    runs: list[Run] = []
    steps: list[asyncio.Task[str]] = []
    async with Registry(backend, Limits(policy=policy)) as registry:
        for _ in range(20):
            match chance.randrange(8):
                case 0 | 1 | 2 | 3:
                    restart = chance.random() < 0.2
                    runs.append(registry.submit("", "s", CodeRequest("x"), 0.005, restart))
                case 4 if runs:
                    chance.choice(runs).stop()
                case 5 if registry.sessions(""):
                    steps.append(asyncio.create_task(registry.find("", "s").restart()))
                case 6 if registry.sessions("") and chance.random() < 0.3:
                    steps.append(asyncio.create_task(registry.close("", "s")))
                case 7 if steps and chance.random() < 0.3:
                    chance.choice(steps).cancel()
            if chance.random() < 0.5:
                await asyncio.sleep(chance.choice([0, 0.001, 0.004]))
        await asyncio.gather(*steps, return_exceptions=True)
        for run in runs:
            result = await run.result()
            gone = any("gone" in note for note in result.notes)
            assert gone == (result.state is State.LOST)
            assert not (gone and KEPT in result.notes)
        assert all(session.runs == [] for session in registry.sessions(""))
        await until(lambda: sum(not kernel.closed for kernel in backend.kernels) <= 1)
    assert all(kernel.closed for kernel in backend.kernels)


async def test_an_ended_session_is_remembered_once_and_not_for_ever(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernels.ended._REMEMBERED", 3)
    for name in "abcde":
        await registry.submit("", name, CodeRequest("x"), 5).result()
        await registry.close("", name)
    for name, told in (("a", False), ("b", False), ("c", True), ("d", True), ("e", True)):
        result = await registry.submit("", name, CodeRequest("x"), 5).result()
        assert bool(result.notes) == told


async def test_an_idle_session_in_which_nothing_ran_loses_nothing(backend: FakeBackend) -> None:
    async with Registry(backend, Limits(idle_timeout=0.05)) as registry:
        await submit(registry).result()
        await registry.find("", "s").restart()
        await until(lambda: not registry.sessions(""))
        result = await submit(registry).result()
    assert result.state is State.KEPT
    assert result.notes == (
        "new session: the earlier one of this name ended after 0.05 s without use",
    )


@pytest.mark.parametrize(
    "name", ["", "   ", "x" * 101, "a\nb", "a\0", "ü", "a:b", "a\\b", "<a>", "a\t", "é" * 3]
)
async def test_a_bad_name_is_refused_and_makes_nothing(registry: Registry, name: str) -> None:
    with pytest.raises(BadRequest, match="Choose another name") as refusal:
        registry.submit("", name, CodeRequest("x"), 5)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200
    assert registry.sessions("") == []
    with pytest.raises(BadRequest):
        registry.find("", name)


async def test_names_of_every_allowed_kind(registry: Registry) -> None:
    for name in ("Az09 ._/-", "x" * 100, "-", "..", "/"):
        run = registry.submit("", name, CodeRequest("x"), 5)
        assert (await run.result()).session == name
        assert registry.find("", name) is run.session
