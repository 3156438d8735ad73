"""Two sessions from one state, and back to the last checkpoint at will."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from kernels.environments.describing import describe
from kernels.environments.environment import Chosen
from kernels.errors import BadRequest, KernelError, SessionError, SessionNotFound, TooManySessions
from kernels.execution import CodeRequest
from kernels.kernelspecs import Kernelspec
from kernels.launching import kernel_environment, server_python
from kernels.result import State, Status
from kernels.turn import Policy
from tests.conftest import alive, is_steady, open_fds, text_of, until
from tests.kernels.eager import NOT_UNDONE, House
from tests.kernels.test_rollbacks import SETUP, SPOIL, THREAD, TOLD
from tests.kernels.visitor import attached

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")


async def refusal(asked: object) -> str:
    with pytest.raises(KernelError) as caught:
        await asked  # type: ignore[misc]
    said = str(caught.value)
    assert said.endswith(".") and "\n" not in said
    return said


class TestBranches:
    async def test_both_have_the_state_and_go_on_apart(self, house: House) -> None:
        """All kinds of it."""
        await house.run("task = __import__('types').SimpleNamespace(cancel=int)")
        await house.run(SETUP)
        before = await house.tell(TOLD)
        branch = await house.registry.branch("", "default", "b")
        assert branch is house.session("b")
        assert branch.has_variables and branch.count == 0
        await house.tell(SPOIL, "b")
        assert await house.tell(TOLD) == before
        assert await house.tell("print(x, v.sum(), 'A' in globals())", "b") == "0 0.0 False"

    async def test_what_is_the_same_and_what_is_not(self, house: House) -> None:
        """Random numbers go on alike; process, files of ours and output are each one's own."""
        await house.run("import random, os; random.random(); print('once')")
        await house.registry.branch("", "default", "b")
        both = [await house.tell("print(random.random())", name) for name in ("default", "b")]
        assert both[0] == both[1]
        pids = [await house.tell("print(os.getpid())", name) for name in ("default", "b")]
        assert pids == [str(house.session(name).pid) for name in ("default", "b")]
        result = await house.run("print('mine')", "b")
        assert (text_of(result), result.state, result.notes) == ("mine\n", State.KEPT, ())
        assert house.directories() == 2

    async def test_a_branch_keeps_a_checkpoint(self, house: House) -> None:
        """From its first moment on, and as any session later; the other's stays as it was."""
        kept = await house.keep("x = 1")
        failed = await house.run("x = 2; 0/0")
        branch = await house.registry.branch("", "default", "b")
        assert branch.checkpoint is not None
        assert branch.checkpoint.run_id == failed.run_id
        assert branch.no_checkpoint == ()
        assert house.session().checkpoint.run_id == kept  # type: ignore[union-attr]
        result = await house.run("x = 3; os = __import__('os'); os._exit(1)", "b")
        assert (result.state, result.restored_to) == (State.RESTORED, failed.run_id)
        assert await house.tell("print(x)", "b") == "2"
        result = await house.run("x = 4; os = __import__('os'); os._exit(1)")
        assert (result.state, result.restored_to) == (State.RESTORED, kept)
        assert await house.tell("print(x)") == "1"

    async def test_a_branch_of_a_branch_outlives_both(self, house: House) -> None:
        await house.run("x = [1]")
        await house.registry.branch("", "default", "b")
        await house.run("x.append(2)", "b")
        await house.registry.branch("", "b", "c")
        await house.registry.close("", "default")
        await house.registry.close("", "b")
        session = house.session("c")
        assert await house.tell("x.append(3); print(x)", "c") == "[1, 2, 3]"
        await house.kept(house.registry.history("")[-1].id, "c")
        assert house.processes() == {session.pid, session.checkpoint.pid}  # type: ignore[union-attr]

    async def test_a_busy_session_waits_its_turn(self, house: House) -> None:
        """Behind the runs that were asked for before, and before those that come later."""
        await house.run("x = 0")
        first = house.registry.submit(
            "", "default", CodeRequest("import time; time.sleep(0.5); x += 1"), 20
        )
        second = house.registry.submit("", "default", CodeRequest("x += 1"), 20)
        branching = asyncio.ensure_future(house.registry.branch("", "default", "b"))
        await asyncio.sleep(0)
        third = house.registry.submit("", "default", CodeRequest("x += 1"), 20)
        await branching
        assert (first.status, second.status) == (Status.OK, Status.OK)
        await third.result()
        assert await house.tell("print(x)", "b") == "2"
        assert await house.tell("print(x)") == "3"

    async def test_runs_of_the_branch_may_be_asked_for_at_once(self, house: House) -> None:
        await house.run("x = 1")
        async with asyncio.TaskGroup() as tasks:
            for name in "bc":
                tasks.create_task(house.registry.branch("", "default", name))
        results = await asyncio.gather(*(house.tell("print(x)", n) for n in ("default", "b", "c")))
        assert results == ["1"] * 3

    async def test_one_whose_kernel_has_ended_is_of_its_checkpoint(self, house: House) -> None:
        await house.keep("x = 1")
        session = house.session()
        os.kill(session.pid or 0, signal.SIGKILL)
        await until(lambda: not session.kernel_lives)
        await house.registry.branch("", "default", "b")
        assert await house.tell("print(x)", "b") == "1"
        result = await house.run("print(x)")
        assert (text_of(result), result.state) == ("1\n", State.RESTORED)

    async def test_it_is_in_the_same_environment(self, house: House, projects: Path) -> None:
        argv = (sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}")
        spec = Kernelspec("mine", "Mine", "python", argv, {"MINE": "1"}, "signal")
        where = Chosen(describe(server_python(), projects, kernel_environment()), spec)
        request = CodeRequest("x = 1")
        await house.registry.submit("", "default", request, 60, environment=where).result()
        branch = await house.registry.branch("", "default", "b")
        assert branch.environment is not None and where.is_as(branch.environment)
        assert await house.tell("import os; print(x, os.environ['MINE'])", "b") == "1 1"

    async def test_warnings_are_told(self, house: House, tmp_path: Path) -> None:
        await house.run(f"f = open({str(tmp_path / 'log.txt')!r}, 'w')")
        branch = await house.registry.branch("", "default", "b")
        assert branch.checkpoint is not None
        assert branch.checkpoint.warnings == ("files open for writing (log.txt)",)
        assert branch.checkpoint.age_s >= 0
        memory = await asyncio.to_thread(branch.checkpoint.private_memory)
        assert 0 < memory < 100_000_000

    async def test_a_name_that_was_used_before_begins_with_the_state(self, house: House) -> None:
        """What became of the earlier session of that name is no news of this one."""
        await house.run("x = 1")
        await house.run("y = 1", "b")
        await house.registry.close("", "b")
        await house.registry.branch("", "default", "b")
        result = await house.run("print(x)", "b")
        assert (text_of(result), result.state, result.notes) == ("1\n", State.KEPT, ())


class TestRefusals:
    """One clear sentence, before anything is started."""

    async def test_sessions_that_are_not_there(self, house: House) -> None:
        await house.keep("x = 1")
        there = house.processes()
        for owner, name in (("", "other"), ("somebody", "default")):
            with pytest.raises(SessionNotFound, match=f"There is no session '{name}'"):
                await house.registry.branch(owner, name, "b")
            with pytest.raises(SessionNotFound, match=f"There is no session '{name}'"):
                await house.registry.rewind(owner, name)
        assert house.processes() == there

    async def test_names_that_cannot_be(self, house: House) -> None:
        await house.run("x = 1")
        with pytest.raises(BadRequest, match="A session's name is"):
            await house.registry.branch("", "default", "a*")
        for _ in range(2):
            said = await refusal(house.registry.branch("", "default", "default"))
            assert said == "There is a session 'default' already. Choose another name."
        assert len(house.registry.sessions("")) == 1

    async def test_too_many_sessions(self, house: House) -> None:
        for name in "abc":
            await house.run("x = 1", name)
        with pytest.raises(TooManySessions, match="There are 3 sessions already"):
            await house.registry.branch("", "a", "d")

    async def test_two_for_the_same_name(self, house: House) -> None:
        """Whichever comes first; of the other nothing is left."""
        await house.keep("x = 1")
        both = [house.registry.branch("", "default", "b") for _ in range(2)]
        results = await asyncio.gather(*both, return_exceptions=True)
        (said,) = [str(r) for r in results if isinstance(r, SessionError)]
        assert said == "There is a session 'b' already. Choose another name."
        names = ("default", "b")
        pids = {house.session(n).pid for n in names}
        pids |= {house.session(n).checkpoint.pid for n in names}  # type: ignore[union-attr]
        assert house.processes() == pids

    async def test_a_session_without_variables(self, house: House) -> None:
        await house.run("x = 1")
        await house.session().restart()
        said = await refusal(house.registry.branch("", "default", "b"))
        assert said.startswith("Session 'default' has no variables")

    async def test_a_state_that_cannot_be_copied(self, house: House) -> None:
        await house.run(THREAD)
        said = await refusal(house.registry.branch("", "default", "b"))
        assert said == "Session 'default' cannot be branched now: threads are running (mine)."
        assert house.processes() == {house.session().pid}
        assert len(house.registry.sessions("")) == 1

    @pytest.mark.parametrize("policy", [Policy(grace=0.5, checkpoints=False)])
    async def test_when_checkpoints_are_off(self, house: House) -> None:
        await house.run("x = 1")
        said = await refusal(house.registry.branch("", "default", "b"))
        off = "checkpoints are off (RMI_CHECKPOINT=off)"
        assert said == f"Session 'default' cannot be branched now: {off}."
        said = await refusal(house.registry.rewind("", "default"))
        assert said.startswith(f"Session 'default' has no checkpoint to go back to: {off}.")

    async def test_a_session_that_is_closed_meanwhile(self, house: House) -> None:
        await house.run("x = 1")
        request = CodeRequest("import time; time.sleep(60)")
        run = house.registry.submit("", "default", request, 100)
        await until(lambda: run.began)
        asked = [
            asyncio.ensure_future(house.registry.branch("", "default", "b")),
            asyncio.ensure_future(house.registry.rewind("", "default")),
        ]
        await asyncio.sleep(0)
        await house.registry.close("", "default")
        for each in asked:
            assert "has just been closed" in await refusal(each)
        assert house.processes() == set()

    async def test_one_that_fails_leaves_no_session(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await house.keep("x = 1")
        there = house.processes()

        async def fails(*_: object) -> None:
            raise OSError("no more files")

        monkeypatch.setattr("kernels.checkpoint.LocalCheckpoint.resume", fails)
        said = await refusal(house.registry.branch("", "default", "b"))
        assert said.startswith("Session 'b' could not be made: no kernel could be made of it")
        monkeypatch.undo()
        assert len(house.registry.sessions("")) == 1
        assert house.processes() == there
        assert await house.tell("print(x)") == "1"


class TestRewinds:
    async def test_the_state_is_that_of_the_checkpoint(self, house: House) -> None:
        kept = await house.keep("x = 1")
        await house.run("x = 2; 0/0")
        rewound = await house.registry.rewind("", "default")
        assert (rewound.run_id, rewound.warnings) == (kept, ())
        words = f"variables are back to what they were after run {kept}; {NOT_UNDONE}"
        assert rewound.words == words
        result = await house.run("print(x)\n0/0")
        assert (text_of(result, "stdout"), result.notes) == ("1\n", ())
        assert result.state is State.KEPT, "whoever has rewound it knows"
        assert (await house.registry.rewind("", "default")).run_id == kept

    async def test_it_waits_its_turn_and_later_runs_are_told(self, house: House) -> None:
        kept = await house.keep("x = 1")
        first = house.registry.submit(
            "", "default", CodeRequest("import time; time.sleep(0.5); x = 2; 0/0"), 20
        )
        rewinding = asyncio.ensure_future(house.registry.rewind("", "default"))
        await asyncio.sleep(0)
        later = house.registry.submit("", "default", CodeRequest("print(x)"), 20)
        assert (await rewinding).run_id == kept
        assert first.status is Status.ERROR
        result = await later.result()
        assert (text_of(result), result.state) == ("1\n", State.RESTORED)
        assert result.restored_to == kept

    async def test_what_an_attached_client_runs_is_not_cut_off(self, house: House) -> None:
        """A branch has what it has done, a rewind undoes it."""
        kept = await house.keep("x = 1")
        for undone in (False, True):
            async with attached(house.session()) as visitor:
                visitor.client.execute("import time; time.sleep(0.5); x += 1; 0/0")
                await until(lambda: house.session().runs)
                theirs = house.session().runs[0]
                if undone:
                    assert (await house.registry.rewind("", "default")).run_id == kept
                else:
                    await house.registry.branch("", "default", "b")
                assert (theirs.status, theirs.summary and theirs.summary.state) == (
                    Status.ERROR,
                    State.KEPT,
                )
        assert await house.tell("print(x)", "b") == "2"
        assert await house.tell("print(x)") == "1"

    async def test_without_a_checkpoint_nothing_changes(self, house: House) -> None:
        """A session that has none, or whose checkpoint is good for nothing, keeps its state."""
        await house.run("x = 1; " + THREAD)
        said = await refusal(house.registry.rewind("", "default"))
        assert said == (
            "Session 'default' has no checkpoint to go back to: threads are running (mine). Its "
            "variables are as they were."
        )
        await house.keep("y = 1", "b")
        session = house.session("b")
        os.kill(session.checkpoint.pid, signal.SIGKILL)  # type: ignore[union-attr,arg-type]
        await until(lambda: session.checkpoint is None)
        said = await refusal(house.registry.rewind("", "b"))
        assert "it has ended" in said
        assert await house.tell("print(x)") == "1"
        assert await house.tell("print(y)", "b") == "1"

    async def test_children_of_what_is_undone_are_gone(self, house: House) -> None:
        await house.keep("x = 1")
        child = await house.tell(
            "import subprocess; c = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
            "print(c.pid)"
        )
        await house.registry.rewind("", "default")
        assert not alive(int(child))
        session = house.session()
        assert house.processes() == {session.pid, session.checkpoint.pid}  # type: ignore[union-attr]

    async def test_whoever_asks_may_go_away(self, house: House) -> None:
        """What has begun is done all the same, so that nothing is left half-way; what still waits
        for its turn is not."""
        await house.keep("x = 1")
        await house.run("x = 2; 0/0")
        asking = [
            asyncio.ensure_future(house.registry.rewind("", "default")),
            asyncio.ensure_future(house.registry.branch("", "default", "b")),
        ]
        await asyncio.sleep(0)
        for _ in range(2):
            for each in asking:
                each.cancel()
            await asyncio.sleep(0)
        await asyncio.wait(asking)
        assert all(each.cancelled() for each in asking)
        assert await house.tell("print(x)") == "1"
        branching = asyncio.ensure_future(house.registry.branch("", "default", "c"))
        await asyncio.sleep(0)
        branching.cancel()
        await asyncio.wait({branching})
        assert [session.name for session in house.registry.sessions("")] == ["default", "c"]
        assert await house.tell("print(x)", "c") == "1"


async def test_a_chain_of_twenty_does_not_grow(house: House) -> None:
    """Deaths, rewinds and branches in turn, each of what the one before has left."""
    name = "default"
    await house.keep("x = 0")
    counts = []
    for number in range(20):
        if number % 3 == 0:
            result = await house.run("import os; x = -1; os._exit(1)", name)
            assert result.state is State.RESTORED
        elif number % 3 == 1:
            await house.registry.rewind("", name)
        else:
            await house.registry.branch("", name, f"s{number}")
            await house.registry.close("", name)
            name = f"s{number}"
        assert await house.tell("x += 1; print(x)", name) == str(number + 1)
        await house.kept(house.registry.history("")[-1].id, name)
        session = house.session(name)
        kernel = psutil.Process(session.pid)
        counts.append((kernel.num_fds(), kernel.num_threads(), open_fds()))
        assert house.processes() == {session.pid, session.checkpoint.pid}  # type: ignore[union-attr]
        assert house.directories() == 1
    for kind in zip(*counts, strict=True):
        assert is_steady(kind), counts
