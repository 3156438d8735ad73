"""Sessions on real kernels: side by side, queued, limited, ended; and what they say of it."""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from kernels.errors import (
    RunNotFound,
    SessionError,
    SessionNotFound,
    TooManyRuns,
    TooManySessions,
)
from kernels.execution import CodeRequest
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.outputs import Display
from kernels.registry import Registry
from kernels.result import RunResult, State, Status
from kernels.run import Run
from kernels.session import SessionState
from kernels.turn import Policy
from tests.conftest import RunCode, alive, text_of, until
from tests.kernels.fake_kernel import FakeBackend

GONE = "session restarted: its variables are gone"
KEPT = "the session's variables are kept"
FOREVER = "print('on')\nwhile True: pass"
STUBBORN = """
import time
print('on')
while True:
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        pass
"""


@pytest.fixture
def limits() -> Limits:
    """Without checkpoints: of what there is then, `test_rollbacks` tells."""
    return Limits(policy=Policy(grace=1.0, checkpoints=False))


def submit(registry: Registry, code: str, session: str = "default", **more: Any) -> Run:
    """Queue code; `owner`, `timeout` and `restart` as `Registry.submit` takes them."""
    owner, timeout = more.pop("owner", ""), more.pop("timeout", 20.0)
    return registry.submit(owner, session, CodeRequest(code), timeout, **more)


async def running(registry: Registry, code: str = FOREVER, session: str = "default") -> Run:
    """A run that has begun and said so."""
    run = submit(registry, code, session, timeout=60.0)
    await until(lambda: run.characters)
    return run


def value_of(result: RunResult) -> str:
    """The value that a cell showed."""
    (shown,) = [o for o in result.outputs if isinstance(o, Display)]
    return str(shown.data["text/plain"])


def says_lost(result: RunResult) -> bool:
    """Whether the line of facts tells that variables are gone."""
    return any("gone" in note for note in result.notes)


class TestSideBySide:
    async def test_each_session_has_variables_and_a_process_of_its_own(
        self, registry: Registry, run_code: RunCode
    ) -> None:
        await asyncio.gather(run_code("x = 'a'", "a"), run_code("x = 'b'", "b"))
        results = await asyncio.gather(run_code("x", "a"), run_code("x", "b"))
        assert [value_of(result) for result in results] == ["'a'", "'b'"]
        assert [result.session for result in results] == ["a", "b"]
        pids = {registry.find("", name).pid for name in "ab"}
        assert len(pids) == 2

    async def test_they_run_at_the_same_time(self, registry: Registry, run_code: RunCode) -> None:
        """One waits for what only the other can do."""
        path = "'side by side'"
        wait = f"import os, time\nwhile not os.path.exists({path}): time.sleep(0.01)"
        waiting = submit(registry, wait, "a")
        await run_code(f"open({path}, 'w').close()", "b")
        assert (await waiting.result()).status is Status.OK

    async def test_owners_are_kept_apart(self, registry: Registry) -> None:
        await submit(registry, "x = 1", owner="ann").result()
        other = await submit(registry, "x", owner="bob").result()
        assert other.error is not None
        assert other.error["name"] == "NameError"
        assert len(registry.sessions("ann")) == len(registry.sessions("bob")) == 1
        assert registry.sessions("eve") == []
        with pytest.raises(SessionNotFound):
            registry.find("eve", "default")
        with pytest.raises(RunNotFound, match="There is no run '1', or it is no longer remembered"):
            registry.find_run("eve", "1")
        with pytest.raises(RunNotFound):
            registry.find_run("bob", "1")
        with pytest.raises(SessionNotFound):
            await registry.close("eve", "default")
        assert registry.find("ann", "default") is not registry.find("bob", "default")


class TestTheQueue:
    async def test_runs_take_turns_in_their_order(self, registry: Registry) -> None:
        runs = [submit(registry, f"import time\ntime.sleep(0.05)\n{n}") for n in range(5)]
        assert registry.find("", "default").state is SessionState.BUSY
        results = await asyncio.gather(*(run.result() for run in runs))
        assert [value_of(result) for result in results] == list("01234")
        assert [result.execution_count for result in results] == [1, 2, 3, 4, 5]

    async def test_two_calls_at_once_share_one_new_session(self, registry: Registry) -> None:
        first, second = submit(registry, "x = 1"), submit(registry, "x")
        assert first.session is second.session
        assert (await first.result()).status is Status.OK
        assert value_of(await second.result()) == "1"

    async def test_twenty_at_once_in_four_sessions(self, registry: Registry) -> None:
        """Every run gets its own output, and each session's state is that of its own runs."""
        runs = []
        for number in range(20):
            code = f"seen = [*globals().get('seen', []), {number}]\nprint('run {number}')\nseen"
            runs.append(submit(registry, code, f"s{number % 4}"))
        assert len(registry.sessions("")) == 4
        results = await asyncio.gather(*(run.result() for run in runs))
        for number, result in enumerate(results):
            assert text_of(result) == f"run {number}\n"
            assert value_of(result) == str(list(range(number % 4, number + 1, 4)))
            assert result.notes == ()
        assert len({result.run_id for result in results}) == 20

    async def test_what_a_failing_run_leaves_is_there_for_the_next(
        self, registry: Registry
    ) -> None:
        failing, following = submit(registry, "x = 1\n1/0"), submit(registry, "x")
        assert (await failing.result()).status is Status.ERROR
        assert value_of(await following.result()) == "1"

    async def test_time_spent_waiting_does_not_count(self, registry: Registry) -> None:
        first = submit(registry, "import time\ntime.sleep(1.5)")
        second = submit(registry, "1", timeout=1.2)
        assert (await second.result()).status is Status.OK
        assert (await first.result()).status is Status.OK


class TestLimits:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(sessions=2, policy=Policy(grace=1.0, checkpoints=False))

    async def test_one_too_many_is_refused_and_changes_nothing(
        self, registry: Registry, run_code: RunCode
    ) -> None:
        await run_code("x = 1", "idle one")
        busy = await running(registry, session="busy one")
        before = registry.sessions("")
        with pytest.raises(TooManySessions) as refusal:
            submit(registry, "1", "third")
        message = str(refusal.value)
        assert "2 sessions" in message
        assert re.search(r"Close one first: idle one \(idle \d+ s\)\.$", message)
        assert "busy one" not in message
        assert registry.sessions("") == before
        with pytest.raises(SessionNotFound):
            registry.find("", "third")
        busy.stop()
        await busy.result()
        assert (await run_code("x", "idle one")).run_id == "3", "a refusal takes no number"

    async def test_with_none_idle_it_says_to_wait(self, registry: Registry) -> None:
        runs = [await running(registry, session=name) for name in "ab"]
        with pytest.raises(TooManySessions, match="Wait for one to end"):
            submit(registry, "1", "c")
        for run in runs:
            run.stop()

    async def test_an_owner_has_limits_of_its_own(self, projects: Path) -> None:
        """They do not hold where all is everybody's."""
        limits = Limits(policy=Policy(grace=1.0, checkpoints=False), owner_sessions=1, owner_runs=2)
        async with Registry(FakeBackend(), limits) as registry:
            waiting = [submit(registry, "1", "a", owner="ann")]
            with pytest.raises(TooManySessions, match=r"You have 1 sessions already.*TOKEN"):
                submit(registry, "1", "b", owner="ann")
            waiting.append(submit(registry, "1", "a", owner="ann"))
            with pytest.raises(TooManyRuns, match=r"2 of your runs wait or run already"):
                submit(registry, "1", "a", owner="ann")
            for owner in ("bob", "", ""):
                waiting.append(submit(registry, "1", "a", owner=owner))
            waiting.append(submit(registry, "1", "b"))
            waiting.append(submit(registry, "1", "b"))
            for run in waiting:
                run.stop(0.1)
            for run in waiting:
                await run.result()

    async def test_who_runs_much_forgets_its_own_first(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kernels.history._RUNS", 4)
        async with Registry(FakeBackend(lambda kernel: kernel.succeed("")), Limits()) as registry:
            ann = submit(registry, "1", "a", owner="ann")
            await ann.result()
            bobs = []
            for _ in range(6):
                bobs.append(submit(registry, "1", "b", owner="bob"))
                await bobs[-1].result()
            assert registry.find_run("ann", ann.id) is ann
            assert [run.id for run in registry.runs("bob", "b")] == [run.id for run in bobs[-3:]]
            with pytest.raises(RunNotFound):
                registry.find_run("bob", bobs[0].id)

    async def test_an_others_session_is_not_named(self, registry: Registry) -> None:
        for name in ("secret", "plans"):
            await submit(registry, "1", name, owner="ann").result()
        with pytest.raises(TooManySessions) as refusal:
            submit(registry, "1", owner="bob")
        assert "secret" not in str(refusal.value)

    async def test_closing_one_makes_room(self, registry: Registry, run_code: RunCode) -> None:
        await asyncio.gather(run_code("1", "a"), run_code("1", "b"))
        await registry.close("", "a")
        assert (await run_code("1", "c")).status is Status.OK


class TestTheIdleEnd:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(idle_timeout=0.4, policy=Policy(grace=1.0, checkpoints=False))

    async def test_an_unused_session_ends_and_the_next_run_says_so(
        self, registry: Registry, run_code: RunCode
    ) -> None:
        await run_code("x = 1", "a")
        pid = registry.find("", "a").pid
        assert pid is not None
        await until(lambda: not registry.sessions(""))
        await until(lambda: not alive(pid))
        with pytest.raises(SessionNotFound, match="Sessions now: none"):
            registry.find("", "a")
        result = await run_code("'x' in globals()", "a")
        assert value_of(result) == "False"
        assert result.state is State.LOST
        (note,) = result.notes
        assert note == (
            "new session: the earlier one of this name ended after 0.4 s without use; "
            "its variables are gone"
        )
        after = await run_code("1", "a")
        assert (after.notes, after.state) == ((), State.KEPT)

    async def test_a_session_in_use_does_not_end(self, registry: Registry) -> None:
        run = submit(registry, "import time\ntime.sleep(1)\n'done'")
        assert value_of(await run.result()) == "'done'"
        assert registry.sessions("") == [run.session]


class TestRestart:
    async def test_by_argument_with_earlier_runs(self, run_code: RunCode) -> None:
        await run_code("x = 1")
        result = await run_code("'x' in globals()", restart=True)
        assert value_of(result) == "False"
        assert (result.state, result.notes) == (State.LOST, (GONE,))
        assert result.execution_count == 1
        after = await run_code("1")
        assert (after.state, after.notes) == (State.KEPT, ())

    async def test_by_argument_with_nothing_to_lose(self, run_code: RunCode) -> None:
        result = await run_code("1", restart=True)
        assert (result.state, result.notes) == (State.KEPT, ())

    async def test_asked_for(self, registry: Registry, run_code: RunCode) -> None:
        """Whoever asks has the answer, so the next run says nothing."""
        await run_code("import atexit\natexit.register(print, 'at exit')\nx = 1")
        session = registry.find("", "default")
        pid = session.pid
        assert await session.restart() == "at exit\n"
        assert pid is not None
        assert not alive(pid)
        assert session.state is SessionState.COLD
        result = await run_code("'x' in globals()")
        assert value_of(result) == "False"
        assert (result.state, result.notes) == (State.KEPT, ())

    async def test_it_ends_the_run_under_way_and_comes_before_waiting_ones(
        self, registry: Registry, run_code: RunCode
    ) -> None:
        await run_code("x = 1")
        current = await running(registry)
        waiting = submit(registry, "'x' in globals()")
        await current.session.restart()
        stopped, following = await current.result(), await waiting.result()
        assert stopped.status is Status.INTERRUPTED
        assert (stopped.state, stopped.notes) == (State.LOST, ("stopped", GONE))
        assert value_of(following) == "False"
        assert (following.state, following.notes) == (State.LOST, (GONE,))


class TestClose:
    async def test_it_ends_the_kernel_and_the_next_run_says_that_it_is_new(
        self, registry: Registry, run_code: RunCode
    ) -> None:
        await run_code("import atexit\natexit.register(print, 'at exit')", "a")
        session = registry.find("", "a")
        pid = session.pid
        assert await registry.close("", "a") == "at exit\n"
        assert pid is not None
        assert not alive(pid)
        assert session.state is SessionState.CLOSED
        with pytest.raises(SessionError, match="just been closed"):
            session.submit("9", CodeRequest("1"), 5)
        result = await run_code("1", "a")
        assert result.notes == ("new session: the earlier one of this name was closed",)
        assert result.state is State.KEPT
        assert (await run_code("1", "a")).notes == ()

    async def test_runs_under_way_and_waiting_end_with_it(
        self, registry: Registry, run_code: RunCode
    ) -> None:
        current = await running(registry)
        waiting = submit(registry, "open('never', 'w')")
        await registry.close("", "default")
        for result in (await current.result(), await waiting.result()):
            assert result.status is Status.INTERRUPTED
            assert result.state is State.LOST
            assert "session closed: its variables are gone" in result.notes
        assert (await waiting.result()).explanation == "Not run: the session was closed."
        assert value_of(await run_code("import os\nos.path.exists('never')")) == "False"

    async def test_an_unknown_one_is_refused_by_naming_the_others(
        self, registry: Registry, run_code: RunCode
    ) -> None:
        with pytest.raises(SessionNotFound, match=r"no session 'x'\. Sessions now: none\."):
            await registry.close("", "x")
        await run_code("1", "a")
        with pytest.raises(SessionNotFound, match="Sessions now: a"):
            await registry.close("", "x")


class TestStops:
    async def test_a_running_one_keeps_the_state(
        self, registry: Registry, run_code: RunCode
    ) -> None:
        await run_code("x = 1")
        run = await running(registry)
        run.stop()
        result = await run.result()
        assert (result.status, result.exit_code) == (Status.INTERRUPTED, 130)
        assert (result.state, result.notes) == (State.KEPT, ("stopped", KEPT))
        assert value_of(await run_code("x")) == "1"

    async def test_one_that_does_not_obey_loses_it(
        self, registry: Registry, run_code: RunCode
    ) -> None:
        run = await running(registry, STUBBORN)
        run.stop()
        result = await run.result()
        assert result.status is Status.INTERRUPTED
        assert (result.exit_code, result.state) == (None, State.LOST)
        assert result.notes == ("stopped", GONE)
        assert (await run_code("1")).notes == ("in a fresh kernel",)

    async def test_a_waiting_one_is_not_run_and_the_others_are(self, registry: Registry) -> None:
        current = await running(registry)
        waiting, last = submit(registry, "open('never', 'w')"), submit(registry, "2")
        waiting.stop()
        current.stop()
        result = await waiting.result()
        assert result.status is Status.INTERRUPTED
        assert result.explanation == "Not run: it was stopped before it began."
        assert (result.state, result.notes, result.outputs) == (State.KEPT, (), ())
        assert value_of(await last.result()) == "2"

    async def test_at_any_moment_of_its_beginning_the_state_stays(self, registry: Registry) -> None:
        """An interrupt that comes before the program has begun is not lost, and costs nothing."""
        await submit(registry, "kept = 1").result()
        for number in range(60):
            run = submit(registry, "while True: pass")
            for _ in range(number % 20):
                await asyncio.sleep(0.0002 * (number % 3))
            run.stop()
            assert (await run.result()).state is State.KEPT
        assert value_of(await submit(registry, "kept").result()) == "1"

    async def test_a_callback_before_the_program_does_not_swallow_it(
        self, registry: Registry, projects: Path
    ) -> None:
        """Nor does what comes after the callback begin for good."""
        callback = (
            "import time\n"
            "def before(info):\n    open('within', 'w').close(); time.sleep(20)\n"
            "get_ipython().events.register('pre_run_cell', before); kept = 1"
        )
        await submit(registry, callback).result()
        run = submit(registry, "while True: pass")
        await until((projects / "within").exists)
        run.stop()
        result = await run.result()
        assert (result.status, result.state) == (Status.INTERRUPTED, State.KEPT)

    async def test_a_run_is_found_by_its_number_then_and_later(self, registry: Registry) -> None:
        run = await running(registry)
        assert registry.find_run("", run.id) is run
        run.stop()
        await run.result()
        assert registry.find_run("", run.id) is run

    async def test_a_waiter_that_goes_away_does_not_touch_the_run(self, registry: Registry) -> None:
        run = submit(registry, "import time\ntime.sleep(0.3)\n'done'")
        waiter = asyncio.create_task(run.result())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert value_of(await run.result()) == "'done'"


class TestLostState:
    """It is said exactly when it is so."""

    async def test_an_idle_kernel_that_was_killed(
        self, registry: Registry, run_code: RunCode
    ) -> None:
        await run_code("x = 1")
        session = registry.find("", "default")
        assert session.pid is not None
        os.kill(session.pid, 9)
        await until(lambda: session.state is SessionState.COLD)
        result = await run_code("1")
        assert result.state is State.LOST
        assert result.notes == (
            f"since the last run the kernel was killed from outside (SIGKILL); {GONE}",
        )
        after = await run_code("1")
        assert (after.state, after.notes) == (State.KEPT, ())

    async def test_nothing_is_lost_with_a_kernel_in_which_nothing_ran(
        self, registry: Registry, run_code: RunCode
    ) -> None:
        """Not run, therefore nothing to lose: a stop that comes while the kernel starts."""
        run = submit(registry, "1")
        await asyncio.sleep(0)
        run.stop()
        assert (await run.result()).explanation == "Not run: it was stopped before it began."
        session = registry.find("", "default")
        if session.pid is not None:
            os.kill(session.pid, 9)
            await until(lambda: session.state is SessionState.COLD)
        result = await run_code("1")
        assert (result.state, result.notes) == (State.KEPT, ())

    async def test_a_timeout_under_the_policy_restart(self, run_code: RunCode) -> None:
        result = await run_code(FOREVER, timeout=0.5)
        assert (result.status, result.state) == (Status.TIMEOUT, State.LOST)
        assert result.notes == ("timed out after 0.5 s", GONE)
        after = await run_code("1")
        assert (after.state, after.notes) == (State.KEPT, ("in a fresh kernel",))
        assert (await run_code("1")).notes == ()

    class TestUnderThePolicyInterrupt:
        @pytest.fixture
        def limits(self) -> Limits:
            return Limits(policy=Policy(grace=0.5, keep_after_timeout=True, checkpoints=False))

        async def test_a_timeout_that_is_obeyed_and_one_that_is_not(
            self, run_code: RunCode
        ) -> None:
            await run_code("x = 1")
            obeyed = await run_code(FOREVER, timeout=0.5)
            assert (obeyed.status, obeyed.state) == (Status.TIMEOUT, State.KEPT)
            assert obeyed.notes == ("timed out after 0.5 s", KEPT)
            assert value_of(await run_code("x")) == "1"
            ignored = await run_code(STUBBORN, timeout=0.5)
            assert (ignored.status, ignored.state) == (Status.TIMEOUT, State.LOST)
            assert ignored.notes == ("timed out after 0.5 s", GONE)
            assert (await run_code("1")).notes == ("in a fresh kernel",)

    async def test_ordinary_runs_never_say_it(self, run_code: RunCode) -> None:
        for code in ("1", "1/0", "raise SystemExit(3)", "exit()", "print('gone')"):
            result = await run_code(code)
            assert result.state is State.KEPT
            assert not says_lost(result)


async def test_a_session_tells_its_state_age_and_use(registry: Registry, run_code: RunCode) -> None:
    begun = time.monotonic()
    await run_code("1")
    session = registry.find("", "default")
    assert session.state is SessionState.IDLE
    assert (session.count, session.runs) == (1, [])
    assert session.pid is not None
    assert session.has_variables
    run = await running(registry)
    assert str(session.state) == "busy"
    assert session.idle_seconds == 0
    assert session.runs == [run]
    run.stop()
    await run.result()
    assert 0 <= session.idle_seconds < session.age <= time.monotonic() - begun


async def test_leaving_the_registry_ends_everything(projects: Path, limits: Limits) -> None:
    backend = LocalBackend(LocalSpec(server_python(), str(projects), kernel_environment()))
    async with Registry(backend, limits) as registry:
        runs = [await running(registry, session=name) for name in "ab"]
        pids = [run.session.pid for run in runs]
    for run, pid in zip(runs, pids, strict=True):
        assert (await run.result()).status is Status.INTERRUPTED
        assert pid is not None
        assert not alive(pid)
