"""Other clients of a session's kernel, when it goes back to a checkpoint, or is branched.

A kernel that takes another's place has a connection of its own: who was attached to the one that
is gone is attached to nothing, and finds the next under the session's name.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from client.attach import find_here
from kernels.result import State, Status
from kernels.session import Session, SessionState
from kernels.visits import NOTE
from tests.conftest import text_of, until
from tests.kernels.eager import House, back_to
from tests.kernels.test_attached import STUBBORN, visit_of
from tests.kernels.visitor import Visitor, attached

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")


def found(house: House) -> dict[str, Path]:
    """The sessions that `rmi-agent sessions attach` finds, each with its connection file."""
    here = house.backend.directory
    sessions = [each for each in find_here([here.parent]) if each.file.is_relative_to(here)]
    names = {each.name: each.file for each in sessions}
    assert len(names) == len(sessions)
    return names


async def works(visitor: Visitor, session: Session, x: str) -> None:
    """All that a front end asks of a kernel is answered, in which x is this."""
    before = session.count
    reply = await visitor.run("print(x)")
    assert (reply["status"], visitor.printed) == ("ok", f"{x}\n")
    assert "%less" in (await visitor.ask("complete", "%les"))["matches"]
    assert (await visitor.ask("inspect", "x"))["found"]
    assert (await visitor.ask("is_complete", "for _ in x:"))["status"] == "incomplete"
    assert (await visitor.ask("kernel_info"))["status"] == "ok"
    await visitor.run("said = input('who? ')", answer="me")
    assert (await visitor.run("assert said == 'me'"))["status"] == "ok"
    # The server hears of it when its client does, or a little later.
    await until(lambda: session.count >= before + 3 and session.state is SessionState.IDLE)


class TestTheNextKernel:
    @pytest.mark.parametrize("how", ["died", "timeout", "rewound"])
    async def test_is_found_and_answers_all_that_the_one_before_did(
        self, house: House, how: str
    ) -> None:
        """Under the session's name, with a file of its own; that of the kernel before is gone, and
        so are those who were attached to it."""
        kept = await house.keep("x = [1]")
        session = house.session()
        before = session.connection_file
        assert before is not None and found(house) == {"default": before}
        async with attached(session) as visitor:
            if how == "rewound":
                await house.registry.rewind("", "default")
            else:
                code = "import os; os._exit(1)" if how == "died" else "sum(range(10**12))"
                result = await house.run(f"x.append(2); {code}", timeout=1)
                assert (result.status, result.restored_to) == (how, kept)
            visitor.client.execute("x.append(3)")
            after = session.connection_file
            assert after is not None and after != before and not before.exists()
            assert found(house) == {"default": after}
            async with attached(session) as another:
                await works(another, session, "[1]")
        runs = [run.title for run in house.registry.history("")]
        assert "x.append(3)" not in runs and "print(x)" in runs

    async def test_has_what_they_ran_recorded_as_before(self, house: House) -> None:
        """As a run of the session, after which there is a checkpoint like after any other."""
        await house.keep("x = [1]")
        for number in range(2, 4):
            assert (await house.run("import os; os._exit(1)")).state is State.RESTORED
            async with attached(house.session()) as visitor:
                await visitor.run(f"x.append({number}); print(x)")
                run = await visit_of(house.registry, f"x.append({number})")
            result = await run.result()
            assert (result.status, result.notes, text_of(result)) == (
                Status.OK, (NOTE,), f"{list(range(1, number + 1))}\n",
            )  # fmt: skip
            await house.kept(run.id)


class TestWhatTheyRun:
    async def test_is_stopped_and_costs_no_more_than_itself(self, house: House) -> None:
        """Code that does not obey ends the kernel; its run says where the session is then, and so
        does the next one."""
        kept = await house.keep("x = [1]")
        async with attached(house.session()) as visitor:
            visitor.client.execute(f"x.append(2)\n{STUBBORN}")
            await until(lambda: len(house.registry.history("")) == 2)
            visit = house.registry.history("")[-1]
            await until(lambda: visit.recording.length)
            visit.stop()
            result = await visit.result()
        assert (result.status, result.state, result.restored_to) == (
            Status.INTERRUPTED, State.RESTORED, kept,
        )  # fmt: skip
        assert result.notes == (NOTE, "stopped", back_to(kept))
        result = await house.run("print(x)")
        assert (text_of(result), result.restored_to, result.notes) == (
            "[1]\n", kept, (back_to(kept),),
        )  # fmt: skip

    async def test_takes_the_kernel_from_a_run_that_waits_for_it(self, house: House) -> None:
        """The run has the state of the checkpoint, and is told why."""
        kept = await house.keep("x = [1]")
        async with attached(house.session()) as visitor:
            visitor.client.execute("import os, time; time.sleep(0.5); os._exit(7)")
            await until(lambda: house.session().runs)
            result = await house.run("print(x)")
        assert (text_of(result), result.status) == ("[1]\n", Status.OK)
        assert (result.state, result.restored_to) == (State.RESTORED, kept)
        (note,) = result.notes
        assert note.startswith("since the last run the program ended the kernel's process itself")
        assert note.endswith(back_to(kept))

    async def test_is_not_cut_short_by_a_branch_and_goes_on_in_the_first(
        self, house: House
    ) -> None:
        """Who is attached to a session stays so; its branch is another kernel, for others."""
        await house.keep("x = [1]")
        async with attached(house.session()) as visitor:
            await house.registry.branch("", "default", "b")
            assert set(found(house)) == {"default", "b"}
            await visitor.run("x.append(2)")
            async with attached(house.session("b")) as another:
                await another.run("x.append(3)")
                await works(another, house.session("b"), "[1, 3]")
            await works(visitor, house.session(), "[1, 2]")
        for name, x in (("default", "[1, 2]"), ("b", "[1, 3]")):
            titles = [run.title for run in house.registry.runs("", name)]
            assert ("x.append(2)" in titles) == (name == "default")
            assert ("x.append(3)" in titles) == (name == "b")
            assert await house.tell("print(x)", name) == x

    async def test_a_shutdown_of_theirs_costs_no_variables(self, house: House) -> None:
        """Who shuts the kernel down in Jupyter ends it for all, but not what the session knows."""
        kept = await house.keep("x = [1]")
        session = house.session()
        async with attached(session) as visitor:
            visitor.client.shutdown()
            await until(lambda: not session.kernel_lives)
        result = await house.run("print(x)")
        assert (text_of(result), result.state, result.restored_to) == (
            "[1]\n", State.RESTORED, kept,
        )  # fmt: skip
        assert result.notes == (
            f"since the last run an attached client has shut the kernel down; {back_to(kept)}",
        )

    @pytest.mark.parametrize("how", ["died", "timeout"])
    async def test_waits_behind_a_run_that_ends_the_kernel_and_is_never_begun(
        self, house: House, how: str
    ) -> None:
        """It went to a kernel that is no more, so it has done nothing; no run of the session tells
        of it."""
        kept = await house.keep("x = [1]")
        session = house.session()
        code = "import os, time\nopen('on', 'w').close()\n" + (
            "time.sleep(0.5)\nos._exit(1)" if how == "died" else "sum(range(10**12))"
        )
        async with attached(session) as visitor:
            running = asyncio.create_task(house.run(code, timeout=1.5))
            await until((Path(house.backend.spec.cwd) / "on").exists)
            visitor.client.execute("x.append(2)")
            result = await running
        assert (result.status, result.restored_to) == (how, kept)
        assert await house.tell("print(x)") == "[1]"
        assert [run.title for run in house.registry.history("")].count("x.append(2)") == 0
