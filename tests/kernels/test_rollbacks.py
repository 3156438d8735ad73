"""A session whose kernel ends goes on from its checkpoint: as it was after an earlier run."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from kernels import sparing
from kernels.environments.describing import describe
from kernels.environments.environment import Chosen
from kernels.execution import CodeRequest, FileRequest
from kernels.kernelspecs import Kernelspec
from kernels.launching import kernel_environment, server_python
from kernels.result import State, Status
from kernels.turn import Policy
from tests.conftest import alive, text_of, until
from tests.kernels.eager import House, back_to, house_of, make_eager
from tests.kernels.test_checkpoints import DEATHS, STATES
from tests.kernels.visitor import attached

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")

#: Hangs that no interrupt ends.
DEAF = {
    "a loop in C": "sum(range(10**12))",
    "a swallowed KeyboardInterrupt": (
        # (In `while True: pass` no handler catches it before Python 3.13.)
        "import time\nwhile True:\n    try: time.sleep(600)\n    except KeyboardInterrupt: pass"
    ),
    "SIGINT ignored": (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(600)"
    ),
}
TASK = (
    "import asyncio\nasync def tick():\n    global ticks\n    while True:\n"
    "        await asyncio.sleep(0.01)\n        ticks += 1\n"
    "ticks = 0; task = asyncio.get_running_loop().create_task(tick())"
)
SETUP = "\n".join(code for name, (code, _) in STATES.items() if name != "what IPython knows")
TOLD = "print({" + ", ".join(
    f"{name!r}: ({shows})" for name, (_, shows) in STATES.items() if name != "what IPython knows"
) + "})"  # fmt: skip
SPOIL = (
    "x = 0; v[:] = 0; up(); next(g); ticks = -10**9; task.cancel()\n"
    "random.random(); np.random.random(); del A, mine; ax.plot([1]); c.execute('delete from t')\n"
    "import subprocess, threading, time\n"
    "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    "threading.Thread(target=lambda: [time.sleep(0.01) or print('thread') for _ in range(9**9)],"
    " daemon=True).start()\nprint(f'child={child.pid}', flush=True)\n"
)

THREAD = (
    "import threading; stop = threading.Event()\n"
    "thread = threading.Thread(target=stop.wait, name='mine', daemon=True); thread.start()"
)


class TestEnds:
    @pytest.mark.parametrize("kind", ["code", "file"])
    async def test_whatever_ends_the_kernel_the_state_is_as_before(
        self, house: House, tmp_path: Path, kind: str
    ) -> None:
        """Arrays, classes, generators, closures, modules, figures, random numbers, tasks: all that
        a run has changed is as before it, whichever way it took its kernel down. Nothing of it is
        left: no child, no output of a thread, no process, no file of ours.

        All in one session: each death is of a kernel that was resumed after the one before.
        """
        await house.run(TASK)
        await house.run(SETUP)
        before = await house.tell(TOLD)
        kept = house.registry.history("")[-1].id
        await house.kept(kept)
        for name, code in {**DEATHS, **DEAF}.items():
            request: CodeRequest | FileRequest = CodeRequest(SPOIL + code)
            if kind == "file":
                path = tmp_path / "dies.py"
                path.write_text(SPOIL + code)
                request = FileRequest(path, path.read_bytes())
            result = await house.registry.submit("", "default", request, 1.0).result()
            assert result.status in (Status.DIED, Status.TIMEOUT), name
            assert (result.state, result.restored_to) == (State.RESTORED, kept), name
            assert back_to(kept) in result.notes, name
            assert name not in DEAF or "did not obey" in result.explanation, name
            assert not any("gone" in note for note in result.notes), name
            child = int(re.findall(r"child=(\d+)", text_of(result))[0])
            assert not alive(child), name
            session = house.session()
            assert session.checkpoint is not None and session.checkpoint.run_id == kept
            assert house.processes() == {session.pid, session.checkpoint.pid}, name
            assert house.directories() == 1
            after = await house.run(TOLD + "\n0/0")
            # It fails, so that the checkpoint stays; and only for the reason that it was given.
            assert text_of(after, "stdout").strip() == before, name
            assert (after.state, after.restored_to, after.late) == (State.KEPT, None, ""), name
            assert after.notes == (), name
        goes_on = "import asyncio; n = ticks; await asyncio.sleep(0.2); print(ticks > n)"
        assert await house.tell(goes_on) == "True"

    async def test_a_kernel_that_ends_between_two_runs(self, house: House) -> None:
        """The next run begins in the restored state, and its result tells why."""
        kept = await house.keep("x = 1")
        session = house.session()
        assert session.pid is not None
        os.kill(session.pid, signal.SIGKILL)
        await until(lambda: not session.kernel_lives)
        result = await house.run("print(x)")
        assert (text_of(result), result.status) == ("1\n", Status.OK)
        assert (result.state, result.restored_to) == (State.RESTORED, kept)
        (note,) = result.notes
        assert note.startswith("since the last run the kernel was killed") and back_to(kept) in note
        assert (await house.run("x")).state is State.KEPT

    async def test_the_kernel_that_takes_its_place_may_end_before_it_is_needed(
        self, house: House
    ) -> None:
        """It is made at once, and waits for the next run."""
        kept = await house.keep("x = 1")
        session = house.session()
        old, checkpoint = session.pid, session.checkpoint
        os.kill(old or 0, signal.SIGKILL)
        making = session.keeper
        await until(lambda: making._resuming is not None and making._resuming.done())
        found = making._resuming and making._resuming.result()
        assert found is not None and checkpoint is not None
        assert house.processes() == {found[1].pid, checkpoint.pid}
        os.kill(found[1].pid or 0, signal.SIGKILL)
        await found[1].exited.wait()
        result = await house.run("print(x)")
        assert (text_of(result), result.restored_to) == ("1\n", kept)

    @pytest.mark.parametrize("how", ["close", "restart", "rewind"])
    async def test_or_not_be_needed_at_all(self, house: House, how: str) -> None:
        """Nothing of it is left then."""
        await house.keep("x = 1")
        session = house.session()
        os.kill(session.pid or 0, signal.SIGKILL)
        await until(lambda: not session.kernel_lives)
        if how == "close":
            await house.registry.close("", "default")
        elif how == "restart":
            await session.restart()
        else:
            await house.registry.rewind("", "default")
        there = {session.pid, session.checkpoint and session.checkpoint.pid} - {None}
        assert house.processes() == there
        assert len(there) == (2 if how == "rewind" else 0)

    async def test_it_may_end_again_at_once(self, house: House) -> None:
        """The checkpoint stays, however often."""
        kept = await house.keep("x = 1")
        for _ in range(3):
            result = await house.run("import os; x = 2; os._exit(1)")
            assert (result.state, result.restored_to) == (State.RESTORED, kept)
        session = house.session()
        assert session.pid is not None
        os.kill(session.pid, signal.SIGKILL)
        await until(lambda: not session.kernel_lives)
        result = await house.run("import os; os._exit(1)")
        assert (result.status, result.state) == (Status.DIED, State.RESTORED)
        assert await house.tell("print(x)") == "1"

    async def test_what_failed_since_is_rolled_back_too(self, house: House) -> None:
        """An exception leaves the state as it stands; no checkpoint is of it."""
        kept = await house.keep("x = 1")
        failed = await house.run("x = 2; 0/0")
        assert (failed.state, failed.status) == (State.KEPT, Status.ERROR)
        result = await house.run("print(x); import os; os._exit(1)")
        assert text_of(result) == "2\n"
        assert result.restored_to == kept
        assert await house.tell("print(x)") == "1"

    async def test_a_stopped_run(self, house: House) -> None:
        """One that obeys keeps what it has done; one that does not is rolled back."""
        kept = await house.keep("x = 1")
        for code, state, value in (
            ("x = 2; print('on')\nwhile True: pass", State.KEPT, "2"),
            ("x = 3; print('on')\n" + DEAF["SIGINT ignored"], State.RESTORED, "1"),
        ):
            run = house.registry.submit("", "default", CodeRequest(code), 60)
            await until(lambda run=run: run.characters)  # type: ignore[misc]
            run.stop()
            result = await run.result()
            assert (result.status, result.state) == (Status.INTERRUPTED, state)
            assert result.restored_to == (kept if state is State.RESTORED else None)
            # And fails, so that this is no new checkpoint.
            assert text_of(await house.run("print(x); 0/0"), "stdout") == value + "\n"

    async def test_warnings_are_in_the_result(self, house: House, tmp_path: Path) -> None:
        kept = await house.keep(f"f = open({str(tmp_path / 'log.txt')!r}, 'w'); f.write('a')")
        assert house.session().checkpoint.warnings == (  # type: ignore[union-attr]
            "files open for writing (log.txt)",
        )
        result = await house.run("import os; os._exit(1)")
        words = f"{back_to(kept)}; not restored: files open for writing (log.txt)"
        assert words in result.notes

    @pytest.mark.parametrize("policy", [Policy(grace=0.5, keep_after_timeout=True)])
    async def test_a_timeout_that_obeys_keeps_its_state_where_that_is_wanted(
        self, house: House
    ) -> None:
        kept = await house.keep("x = 1")
        result = await house.run("x = 2\nwhile True: pass", timeout=0.5)
        assert (result.status, result.state) == (Status.TIMEOUT, State.KEPT)
        result = await house.run("print(x); x = 3; " + DEAF["a loop in C"], timeout=0.5)
        assert text_of(result) == "2\n"
        assert (result.state, result.restored_to) == (State.RESTORED, kept)

    async def test_runs_that_wait_meanwhile_go_on_in_it(self, house: House) -> None:
        await house.keep("x = 1")
        dies = house.registry.submit("", "default", CodeRequest("import os; os._exit(1)"), 20)
        waits = house.registry.submit("", "default", CodeRequest("print(x)"), 20)
        assert (await dies.result()).state is State.RESTORED
        result = await waits.result()
        assert (text_of(result), result.state) == ("1\n", State.KEPT)


class TestNone:
    """Sessions that have no checkpoint lose their state, as ever; why, is told and can be asked."""

    async def test_one_that_is_killed(self, house: House) -> None:
        await house.keep("x = 1")
        session = house.session()
        os.kill(session.checkpoint.pid, signal.SIGKILL)  # type: ignore[union-attr,arg-type]
        await until(lambda: session.checkpoint is None)
        (reason,) = session.no_checkpoint
        assert "killed" in reason
        result = await house.run("import os; os._exit(1)")
        assert (result.state, result.restored_to) == (State.LOST, None)
        assert result.notes == (
            "session restarted: its variables are gone",
            "no checkpoint: it has ended: memory was short, or somebody has killed it",
        )
        result = await house.run("'x' in globals()")
        assert result.notes == ("in a fresh kernel",)

    async def test_one_that_does_not_answer(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A fresh kernel takes its place, and nothing of it is left."""
        monkeypatch.setattr("kernels.checkpoint.PROBE", 0.5)
        monkeypatch.setattr("kernels.local.PROBE", 0.5)
        await house.keep("x = 1")
        session = house.session()
        os.kill(session.checkpoint.pid, signal.SIGSTOP)  # type: ignore[union-attr,arg-type]
        result = await house.run("import os; os._exit(1)")
        assert result.state is State.LOST
        assert result.notes[-1] == "no checkpoint: no kernel could be made of it"
        assert house.processes() == set()
        assert await house.tell("print('x' in globals())") == "False"
        assert session.checkpoint is not None or session.no_checkpoint

    @pytest.mark.parametrize("how", ["restart", "restart=True", "close"])
    async def test_a_new_beginning_drops_it(self, house: House, how: str) -> None:
        await house.keep("x = 1")
        old = house.session().checkpoint
        assert old is not None and old.pid is not None
        if how == "restart":
            await house.session().restart()
        elif how == "close":
            await house.registry.close("", "default")
        else:
            result = await house.run("0/0", restart=True)
            assert result.state is State.LOST
        assert not alive(old.pid)
        result = await house.run("import os; os._exit(1)")
        assert result.state is State.LOST
        assert house.session().no_checkpoint == ("no run has succeeded yet",)

    async def test_what_cannot_be_copied_is_named(self, house: House) -> None:
        """The one of an earlier run stays, and is still true."""
        kept = await house.keep("x = 1")
        session = house.session()
        await house.run(f"x = 2; {THREAD}")
        await until(lambda: session.no_checkpoint)
        assert session.no_checkpoint == ("threads are running (mine)",)
        result = await house.run("import os; os._exit(1)")
        assert (result.state, result.restored_to) == (State.RESTORED, kept)
        assert await house.tell("print(x)") == "1"

    async def test_what_has_kept_it_from_being_is_told_with_the_loss(self, house: House) -> None:
        """Whether a run ends the kernel, or it ends in between."""
        why = "no checkpoint: threads are running (mine)"
        await house.run(THREAD)
        await until(lambda: house.session().no_checkpoint == (why.partition(": ")[2],))
        result = await house.run("import os; os._exit(1)")
        assert result.notes == ("session restarted: its variables are gone", why)
        await house.run(THREAD)
        session = house.session()
        await until(lambda: session.no_checkpoint == (why.partition(": ")[2],))
        os.kill(session.pid, signal.SIGKILL)  # type: ignore[arg-type]
        await until(lambda: not session.kernel_lives)
        result = await house.run("x = 1")
        assert (result.state, result.notes[-1]) == (State.LOST, why)
        assert (await house.run("x")).notes == ()

    @pytest.mark.parametrize("policy", [Policy(grace=0.5, checkpoints=False)])
    async def test_when_they_are_off(self, house: House) -> None:
        await house.run("x = 1")
        session = house.session()
        assert session.no_checkpoint == ("checkpoints are off (RMI_CHECKPOINT=off)",)
        assert (await house.run("import os; os._exit(1)")).state is State.LOST
        assert house.processes() == set()

    async def test_on_other_platforms(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kernels.keeping.sys.platform", "darwin")
        run = house.registry.submit("", "default", CodeRequest("x = 1"), 20)
        monkeypatch.undo()
        await run.result()
        assert house.session().no_checkpoint == ("this platform has none, they need Linux",)

    async def test_before_it_is_worth_it(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kernels.checkpointing._RUNS", 3)
        monkeypatch.setattr("kernels.checkpointing._SHARE", 0.0)
        monkeypatch.setattr("kernels.checkpointing._GROWTH", 10**12)
        await house.run("0/0")
        session = house.session()
        assert session.no_checkpoint == ("no run has succeeded yet",)
        await house.run("x = 1")
        assert session.no_checkpoint == ("too little has been run yet for one to be worth it",)
        assert (await house.run("import os; os._exit(1)")).state is State.LOST
        await house.run("x = 1")
        await house.run("x = 1")
        await house.keep("x = 1")


class TestIdleTime:
    async def test_none_is_taken_while_runs_wait(self, house: House) -> None:
        """Of twenty that were asked for at once it is the last after which there is one."""
        runs = [house.registry.submit("", "default", CodeRequest("1"), 20) for _ in range(20)]
        session = house.session()
        for run in runs[:-1]:
            await run.result()
            assert session.checkpoint is None
        await house.kept(runs[-1].id)

    async def test_a_run_that_comes_goes_first(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What has not been asked for yet is not, until nothing runs again."""
        monkeypatch.setattr("kernels.checkpointing._QUIET", 60.0)
        monkeypatch.setattr("kernels.checkpointing._SHARE", 0.0)
        await house.run("x = 1")
        session = house.session()
        assert session.checkpoint is None
        assert session.no_checkpoint == ("it is taken as soon as nothing runs",)
        assert (await house.run("x = 2")).status is Status.OK
        assert (await house.run("import os; os._exit(1)")).state is State.LOST
        monkeypatch.setattr("kernels.checkpointing._QUIET", 0.0)
        await house.keep("x = 3")

    async def test_runs_that_come_in_its_midst_lose_nothing(self, house: House) -> None:
        """They come at any moment, of taking it or of giving up the one before."""
        await house.run("n = 0")
        for number in range(60):
            await asyncio.sleep(number % 12 / 1000)
            result = await house.run("n += 1; print(n)")
            assert text_of(result) == f"{number + 1}\n"
            assert result.notes == () and result.late == ""
        session = house.session()
        last = house.registry.history("")[-1].id
        await house.kept(last)
        assert house.processes() == {session.pid, session.checkpoint.pid}  # type: ignore[union-attr]

    async def test_what_an_attached_client_runs_counts(self, house: House) -> None:
        await house.keep("x = 1")
        async with attached(house.session()) as visitor:
            await visitor.run("x = 2")
            await until(lambda: len(house.registry.history("")) == 2)
            theirs = house.registry.history("")[-1]
            await house.kept(theirs.id)
            await visitor.run("x = 3; 0/0")
        result = await house.run("print(x); import os; os._exit(1)")
        assert text_of(result) == "3\n"
        assert (result.state, result.restored_to) == (State.RESTORED, theirs.id)
        assert await house.tell("print(x)") == "2"

    async def test_what_an_attached_client_runs_may_end_the_kernel(self, house: House) -> None:
        """Its run says where the session is then, and so does the next one, which finds it so."""
        kept = await house.keep("x = 1")
        async with attached(house.session()) as visitor:
            visitor.client.execute("x = 2; import os; os._exit(1)")
            await until(lambda: len(house.registry.history("")) == 2)
        theirs = await house.registry.history("")[-1].result()
        assert (theirs.status, theirs.state) == (Status.DIED, State.RESTORED)
        assert theirs.restored_to == kept and back_to(kept) in theirs.notes
        result = await house.run("print(x)")
        assert (text_of(result), result.state) == ("1\n", State.RESTORED)

    async def test_kernels_of_other_environments(self, house: House, projects: Path) -> None:
        """As those of the server's own, and what goes on from theirs is there, too."""
        environ = kernel_environment()
        argv = (sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}")
        spec = Kernelspec("mine", "Mine", "python", argv, {"MINE": "1"}, "signal")
        where = Chosen(describe(server_python(), projects, environ), spec)
        request = CodeRequest("x = 1")
        run = house.registry.submit("", "default", request, 60, environment=where)
        await house.kept((await run.result()).run_id)
        result = await house.run("import os; os._exit(1)")
        assert (result.state, result.restored_to) == (State.RESTORED, run.id)
        assert result.environment is not None
        assert await house.tell("import os; print(x, os.environ['MINE'])") == "1 1"


class TestMemory:
    async def test_one_that_costs_too_much_is_given_up(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What a run has changed since, its checkpoint has for itself."""
        await house.keep("x = bytearray(100_000_000)")
        session = house.session()
        await sparing.look([session.keeper])
        assert session.checkpoint is not None
        await house.run("for i in range(0, len(x), 4096): x[i] = 1\n0/0")
        monkeypatch.setattr("kernels.memory.left", lambda: (250_000_000, 10**9))
        await sparing.look([session.keeper])
        assert session.checkpoint is None
        (reason,) = session.no_checkpoint
        assert reason.startswith("it had grown to ") and reason.endswith(" MB")
        await until(lambda: house.processes() == {session.pid})

    async def test_what_one_costs_is_the_same_for_all_who_ask(self, house: House) -> None:
        """At the same time, too: none of them has what it was before."""
        await house.keep("x = bytearray(100_000_000)")
        keeper = house.session().keeper
        await house.run("for i in range(0, len(x), 4096): x[i] = 1\n0/0")
        first = asyncio.create_task(keeper.measure())
        await asyncio.sleep(0)
        await keeper.measure()
        assert keeper.cost > 90_000_000
        await first

    async def test_the_system_ends_checkpoints_first(self, house: House) -> None:
        """And what goes on from one no sooner than any kernel."""
        reads = "print(open('/proc/self/oom_score_adj').read())"
        before = await house.tell(reads)
        await house.keep("x = 1")
        checkpoint = house.session().checkpoint
        assert checkpoint is not None
        with open(f"/proc/{checkpoint.pid}/oom_score_adj") as file:  # noqa: ASYNC230
            assert file.read() == "900\n"
        await house.run("import os; os._exit(1)")
        assert await house.tell(reads) == before

    async def test_a_limit_of_the_programs_own_holds_and_does_no_harm(self, house: House) -> None:
        """What is too much is an error, of which nothing is rolled back."""
        kept = await house.keep(
            "import resource\nresource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))\n"
            "x = bytearray(300_000_000)"
        )
        for _ in range(2):
            result = await house.run("y = 1; x = bytearray(6 << 30)")
            assert result.error is not None and result.error["name"] == "MemoryError"
            assert result.state is State.KEPT
            result = await house.run("print(y, len(x)); import os; os.abort()")
            assert text_of(result) == "1 300000000\n"
            assert (result.state, result.restored_to) == (State.RESTORED, kept)

    async def test_all_go_when_memory_is_short(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The dearest first, as long as it is; and no others are taken."""
        for name in "ab":
            await house.keep("x = bytearray(30_000_000)", name)
        await house.run("for i in range(0, len(x), 4096): x[i] = 1\n0/0", "b")
        a, b = house.session("a"), house.session("b")
        monkeypatch.setattr("kernels.memory.is_short", lambda: b.checkpoint is not None)
        await sparing.look([a.keeper, b.keeper])
        assert a.checkpoint is not None and b.checkpoint is None
        assert b.no_checkpoint == ("memory is short",)
        monkeypatch.setattr("kernels.memory.is_short", lambda: True)
        await house.run("y = 1", "b")
        await house.run("y = 2", "b")
        await until(lambda: not b.keeper._taking)
        assert b.checkpoint is None and b.no_checkpoint == ("memory is short",)

    async def test_they_are_looked_after(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await house.keep("x = 1")
        monkeypatch.setattr("kernels.memory.is_short", lambda: True)
        await until(lambda: house.session().checkpoint is None)


async def test_nothing_is_left_of_a_registry(
    projects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither process nor file, whatever state its checkpoints are in."""
    make_eager(monkeypatch)
    async for house in house_of(projects):
        await house.keep("x = 1", "kept")
        await house.run("x = 1", "about to be")
        await house.keep("x = 1", "killed")
        os.kill(house.session("killed").pid or 0, signal.SIGKILL)
        pids = house.processes()
        assert len(pids) >= 4
        folder = house.backend.directory
    await until(lambda: not any(map(alive, pids)))
    assert not folder.exists()
