"""Whoever is killed at whatever step of keeping a state or of going on from it: whoever asked is
answered, what is told of the variables is true, the session goes on, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from kernels import sparing
from kernels.errors import KernelError, SessionError
from kernels.execution import CodeRequest
from kernels.processes import Warden
from kernels.result import State, Status
from tests.conftest import alive, text_of, until
from tests.kernels.eager import House
from tests.kernels.holding import Holds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")

#: Fails, so that it is no new checkpoint.
LOOK = "print(globals().get('x'))\n0/0"
DIES = "import os; x = 3; os._exit(1)"
KERNEL, CHECKPOINT, ITSELF, WARDEN = "the kernel", "the checkpoint", "itself", "the warden"


@pytest.fixture
def holds(tmp_path: Path) -> Holds:
    folder = tmp_path / "steps"
    folder.mkdir()
    return Holds(folder)


async def ready(house: House, holds: Holds) -> str:
    """Have a checkpoint of `x = 1`, made of a kernel that can be held. Returns the run's id."""
    return await house.keep(holds.code + "\nx = 1")


def kill(house: House, victim: str, at_the_step: int) -> None:
    """With SIGKILL. Who is to know it may not know it yet."""
    session, warden = house.session(), house.backend._processes
    pid = {
        KERNEL: session.pid,
        CHECKPOINT: session.checkpoint and session.checkpoint.pid,
        ITSELF: at_the_step,
        WARDEN: warden._popen.pid,  # type: ignore[union-attr]
    }[victim]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def adopted(house: House, pid: int) -> int:
    """Wait until this process is the warden's child: until then it belongs to what makes it, and is
    killed with that. Returns it."""
    warden = house.backend._processes._popen.pid  # type: ignore[union-attr]
    await until(lambda: psutil.Process(pid).ppid() == warden)
    return pid


async def tidy(house: House) -> None:
    """There are no more processes and files than of a kernel and a checkpoint for each session."""

    def there() -> set[int | None]:
        sessions = house.registry.sessions("")
        pids = {each.pid for each in sessions if each.kernel_lives}
        return pids | {each.checkpoint.pid for each in sessions if each.checkpoint is not None}

    def found() -> set[int]:
        # One that was killed a moment ago may have no successor yet.
        with contextlib.suppress(psutil.NoSuchProcess):
            return house.processes()
        return set()

    await until(lambda: found() == there())
    lives = [each for each in house.registry.sessions("") if each.kernel_lives]
    await until(lambda: house.directories() == len(lives))


async def goes_on(house: House, name: str = "default") -> None:
    """The session has checkpoints, and survives by them, as ever."""
    kept = await house.keep("x = 5", name)
    result = await house.run(DIES, name)
    assert (result.state, result.restored_to) == (State.RESTORED, kept)
    assert await house.tell("print(x)", name) == "5"


@dataclass(frozen=True)
class Case:
    """`victim` is killed at `step`. `state`, `x`: of the next look at the variables; "": that of
    the run that is named."""

    step: str
    state: State
    x: str


def cases(state: State, x: str, *steps: str) -> list[Case]:
    return [Case(step, state, x) for step in steps]


ASKED, WRITES, FORKED = STEPS_OF_THE_KERNEL = (
    "the kernel looks around",
    "the kernel copies its pages",
    "the kernel has forked",
)
COPIES = ("it is not adopted", "the copy lets go", "the copy says so")
TAKING = {
    KERNEL: [
        *cases(State.RESTORED, "1", ASKED, WRITES, "its maker sees it off", FORKED),
        # Its answer may have been quicker.
        *cases(State.RESTORED, "", *COPIES),
    ],
    ITSELF: cases(State.KEPT, "2", *COPIES),
    CHECKPOINT: cases(State.KEPT, "2", *STEPS_OF_THE_KERNEL, *COPIES),
    WARDEN: cases(State.LOST, "None", ASKED, FORKED, *COPIES),
}


class TestTaking:
    """After a run that sets `x = 2`, in idle time."""

    @pytest.mark.parametrize("victim", TAKING)
    async def test_a_kill(
        self, house: House, holds: Holds, victim: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The checkpoint before stays until there is another, unless it is killed itself."""
        for case in TAKING[victim]:
            kept = await ready(house, holds)
            session = house.session()
            holds.arm(case.step)
            second = await house.run("x = 2")
            at_the_step = await holds.reached()
            # It waits so long for the word of a copy that cannot speak any more.
            monkeypatch.setattr("kernels.checkpoint._SETTLING", 0.5)
            kill(house, victim, at_the_step)
            if victim in (KERNEL, WARDEN):
                await until(lambda: not session.kernel_lives)  # noqa: B023
            holds.go_on()
            await until(lambda: session.keeper._taking is None)  # noqa: B023
            monkeypatch.setattr("kernels.checkpoint._SETTLING", 5.0)
            result = await house.run(LOOK)
            found = text_of(result, "stdout").strip()
            assert result.state is case.state, case
            assert found == (case.x or {kept: "1", second.run_id: "2"}[str(result.restored_to)])
            assert any("gone" in note for note in result.notes) == (case.state is State.LOST)
            await tidy(house)
        await goes_on(house)

    async def test_a_copy_that_does_not_come_to_its_word_is_ended(
        self, house: House, holds: Holds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is not waited for for ever, nor does it stay."""
        await ready(house, holds)
        holds.arm("the copy lets go")
        await house.run("x = 2")
        copy = await holds.reached()
        monkeypatch.setattr("kernels.checkpoint._SETTLING", 0.2)
        await until(lambda: house.session().keeper._taking is None)
        await until(lambda: not alive(copy))
        monkeypatch.setattr("kernels.checkpoint._SETTLING", 5.0)
        await goes_on(house)


ASKED_FOR = "the checkpoint is asked"
BEGUN = "the new kernel has begun"
MADE = (
    "it is not adopted",
    "the new kernel opens all anew",
    "the new kernel is nearly there",
    BEGUN,
)
RESUMING = {
    ITSELF: cases(State.LOST, "None", ASKED_FOR, *MADE),
    CHECKPOINT: cases(State.RESTORED, "1", *MADE),
    WARDEN: cases(State.LOST, "None", ASKED_FOR, *MADE[:2]),
}
#: The kernel that is left, too.
REWINDING = {**RESUMING, KERNEL: cases(State.RESTORED, "1", ASKED_FOR, *MADE)}


# A kernel that is being made is part of the checkpoint's family until it has a session and an id of
# its own: killed just there, a checkpoint takes it with it, or does not.


class TestResuming:
    """After a run that has ended its kernel, or on request."""

    @pytest.mark.parametrize("victim", RESUMING)
    async def test_a_kill(self, house: House, holds: Holds, victim: str) -> None:
        """The result says which variables there are, and it is so. A kernel that is made lives on
        without what it was made of."""
        for case in RESUMING[victim]:
            await ready(house, holds)
            holds.arm(case.step)
            run = house.registry.submit("", "default", CodeRequest(DIES), 20)
            kill(house, victim, await adopted(house, await holds.reached()))
            holds.go_on()
            result = await run.result()
            assert (result.status, result.state) == (Status.DIED, case.state), case
            assert any("gone" in note for note in result.notes) == (case.state is State.LOST)
            result = await house.run(LOOK)
            assert (text_of(result, "stdout"), result.state) == (f"{case.x}\n", State.KEPT)
            await tidy(house)
        await goes_on(house)

    @pytest.mark.parametrize("victim", REWINDING)
    async def test_a_kill_in_a_rewind(self, house: House, holds: Holds, victim: str) -> None:
        """One that fails leaves the variables as they are, if their kernel lives."""
        for case in REWINDING[victim]:
            await ready(house, holds)
            await house.run("x = 2; 0/0")
            session = house.session()
            holds.arm(case.step)
            rewinding = asyncio.ensure_future(house.registry.rewind("", "default"))
            kill(house, victim, await adopted(house, await holds.reached()))
            holds.go_on()
            if case.state is State.RESTORED:
                await rewinding
            else:
                with pytest.raises(SessionError, match="no checkpoint to go back to"):
                    await rewinding
            if victim == WARDEN:
                await until(lambda: not session.kernel_lives)  # noqa: B023
            x = {State.RESTORED: "1", State.LOST: "None" if victim == WARDEN else "2"}[case.state]
            result = await house.run(LOOK)
            assert text_of(result, "stdout") == f"{x}\n", case
            assert result.state is (State.LOST if victim == WARDEN else State.KEPT)
            await tidy(house)
        await goes_on(house)

    async def test_one_that_does_not_answer(
        self, house: House, holds: Holds, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It has begun, and has its time to be asked whether it is there; then it is ended."""
        monkeypatch.setattr("kernels.checkpoint.PROBE", 0.3)
        await ready(house, holds)
        holds.arm(BEGUN)
        run = house.registry.submit("", "default", CodeRequest(DIES), 20)
        silent = await holds.reached()
        assert (await run.result()).state is State.LOST
        assert not alive(silent)
        assert house.session().no_checkpoint == ("no kernel could be made of it",)
        await tidy(house)
        monkeypatch.setattr("kernels.checkpoint.PROBE", 5.0)
        await goes_on(house)

    @pytest.mark.parametrize("short", [False, True])
    async def test_what_is_just_needed_is_not_given_up(
        self, house: House, holds: Holds, monkeypatch: pytest.MonkeyPatch, short: bool
    ) -> None:
        """Though memory is short: without a kernel it has the state for itself alone."""
        await ready(house, holds)
        kept = await house.keep("y = bytearray(b'y') * 100_000_000")
        monkeypatch.setattr("kernels.memory.left", lambda: (250_000_000, 10**9))
        holds.arm(ASKED_FOR)
        run = house.registry.submit("", "default", CodeRequest(DIES), 20)
        await holds.reached()
        monkeypatch.setattr("kernels.memory.is_short", lambda: short)
        await sparing.look([house.session().keeper])
        assert house.session().checkpoint is not None
        monkeypatch.undo()
        holds.go_on()
        result = await run.result()
        assert (result.state, result.restored_to) == (State.RESTORED, kept)
        assert await house.tell("print(x, len(y))") == "1 100000000"


BRANCHING = {
    KERNEL: [ASKED, FORKED, *COPIES],
    ITSELF: [*COPIES, ASKED_FOR, "the new kernel opens all anew", "the new kernel is nearly there"],
    WARDEN: [FORKED, "the copy lets go", "the new kernel opens all anew"],
}


class TestBranching:
    """After a run that has set `x = 2` and failed."""

    @pytest.mark.parametrize("victim", BRANCHING)
    async def test_a_kill(
        self, house: House, holds: Holds, victim: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """There is a branch, with the state that there was, or one sentence says why there is none,
        and then nothing of it is left. The session goes on, from its checkpoint if need be."""
        for step in BRANCHING[victim]:
            kept = await ready(house, holds)
            await house.run("x = 2; 0/0")
            session = house.session()
            holds.arm(step)
            branching = asyncio.ensure_future(house.registry.branch("", "default", "b"))
            at_the_step = await holds.reached()
            monkeypatch.setattr("kernels.checkpoint._SETTLING", 0.5)
            kill(house, victim, at_the_step)
            if victim != ITSELF:
                await until(lambda: not session.kernel_lives)  # noqa: B023
            holds.go_on()
            try:
                await branching
            except SessionError as error:
                said = str(error)
                assert said.endswith(".") and "\n" not in said
                assert len(house.registry.sessions("")) == 1, step
            else:
                # Its answer was quicker.
                assert victim == KERNEL and step in COPIES, step
                assert text_of(await house.run(LOOK, "b"), "stdout") == "2\n"
                await house.registry.close("", "b")
            monkeypatch.setattr("kernels.checkpoint._SETTLING", 5.0)
            result = await house.run(LOOK)
            x, state, restored_to = {
                KERNEL: ("1", State.RESTORED, kept),
                ITSELF: ("2", State.KEPT, None),
                WARDEN: ("None", State.LOST, None),
            }[victim]
            assert (text_of(result, "stdout"), result.state) == (f"{x}\n", state), step
            assert result.restored_to == restored_to
            await tidy(house)
        await goes_on(house)


class TestAnyTime:
    @pytest.mark.parametrize("seed", range(3))
    async def test_whoever_it_is_and_whenever(self, house: House, seed: int) -> None:
        """Ten kills, at moments that nobody has chosen."""
        chance = random.Random(seed)
        values: dict[str | None, int] = {}
        for number in range(10):
            kept = await house.run(f"x = {number}")
            values[kept.run_id] = number
            if chance.random() < 0.7:
                await house.kept(kept.run_id)
            does = chance.choice(("nothing", "run", "die", "rewind", "branch"))
            asked = asyncio.ensure_future(self._ask(house, does))
            await asyncio.sleep(chance.random() * 0.05)
            victim = chance.choice((KERNEL, KERNEL, CHECKPOINT, CHECKPOINT, WARDEN))
            # There may be none just now.
            with contextlib.suppress(AssertionError, ProcessLookupError):
                kill(house, victim, 0)
            async with asyncio.timeout(20):
                await asked
                result = await house.run(LOOK)
                if result.status is Status.DIED:
                    # It was asked before anybody knew.
                    result = await house.run(LOOK)
            found = text_of(result, "stdout").strip()
            if result.state is State.RESTORED:
                assert found == str(values[result.restored_to])
            else:
                assert found in ("None", *map(str, values.values()))
            if "b" in [each.name for each in house.registry.sessions("")]:
                await house.registry.close("", "b")
            await tidy(house)
        await goes_on(house)

    async def _ask(self, house: House, does: str) -> None:
        try:
            if does == "rewind":
                await house.registry.rewind("", "default")
            elif does == "branch":
                await house.registry.branch("", "default", "b")
            elif does != "nothing":
                code = DIES if does == "die" else "import time; time.sleep(0.02)\n0/0"
                result = await house.run(code)
                assert result.status in (Status.ERROR, Status.DIED)
        except KernelError as error:
            assert str(error).endswith(".") and "\n" not in str(error)


class TestTheWarden:
    async def test_nothing_is_left_when_nobody_has_asked_since(
        self, house: House, holds: Holds
    ) -> None:
        """Its directory is removed by whoever is left."""
        await ready(house, holds)
        kill(house, WARDEN, 0)
        await until(lambda: not house.session().kernel_lives)

    async def test_one_that_is_cut_off_is_done_with(self, house: House, holds: Holds) -> None:
        """Whatever it does: would it end by itself, it would take the next one's files with it."""
        await ready(house, holds)
        old = house.backend._processes
        assert isinstance(old, Warden)
        os.kill(old._popen.pid, signal.SIGSTOP)
        old._socket.shutdown(socket.SHUT_RDWR)
        await until(lambda: not house.session().kernel_lives)
        result = await house.run(LOOK)
        assert (text_of(result, "stdout"), result.state) == ("None\n", State.LOST)
        assert not alive(old._popen.pid)
        await goes_on(house)
