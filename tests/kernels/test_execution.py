"""One request followed to its end, on a scripted kernel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kernels import execution as execution_module
from kernels.execution import CodeRequest, Ending, Execution, FileRequest
from kernels.kernel import Exit
from kernels.outputs import Text
from kernels.textlog import Log
from tests.kernels.fake_kernel import FakeKernel

#: Far longer than any of these tests takes: an execution that waits for it fails its test.
LONG = 60.0
#: Short, where a time has to pass.
SHORT = 0.02

Answer = Callable[[FakeKernel], None]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is owed after a reply is waited for hardly at all."""
    monkeypatch.setattr(execution_module, "_LATE", SHORT)


def started(answer: Answer) -> tuple[Execution, FakeKernel]:
    kernel = FakeKernel(answer)
    return Execution(kernel, CodeRequest("1+1"), Log(1000, 1000)), kernel


def text_of(execution: Execution) -> str:
    return "".join(o.text for o in execution.collector.outputs() if isinstance(o, Text))


class TestRequests:
    def test_a_file_travels_with_its_bytes_and_arguments(self) -> None:
        request = FileRequest(Path("/p/a.py"), b"\xff\x00", ("x", "y z"), "in")
        assert request.title == "a.py x y z"
        assert request.code() == "# a.py x y z"
        assert request.metadata() == {
            "mode": "file",
            "path": str(Path("/p/a.py")),
            "source": "/wA=",
            "argv": ["x", "y z"],
            "stdin": "in",
        }

    def test_the_title_of_code_is_its_first_line(self) -> None:
        assert CodeRequest("\n\nx = 1\ny = 2").title == "x = 1"
        assert CodeRequest("").title == ""
        assert len(CodeRequest("x" * 100).title) == 60

    async def test_the_kernel_gets_one_request_with_the_metadata(self) -> None:
        execution, kernel = started(FakeKernel.succeed)
        await execution.follow(LONG, LONG)
        assert kernel.requests == 1
        assert kernel.content["code"] == "1+1"
        assert kernel.content["allow_stdin"] is False
        assert kernel.metadata["rmi"] == {"mode": "code", "stdin": ""}


class TestTheNormalEnd:
    async def test_reply_and_idle(self) -> None:
        execution, kernel = started(lambda k: k.succeed("out"))
        assert await execution.follow(LONG, LONG) is Ending.DONE
        assert execution.obeyed
        assert text_of(execution) == "out"
        assert kernel.interrupts == 0

    async def test_idle_before_the_reply(self) -> None:
        def answer(kernel: FakeKernel) -> None:
            kernel.print("a")
            kernel.idle()
            asyncio.get_running_loop().call_later(SHORT, kernel.reply)

        execution, _ = started(answer)
        assert await execution.follow(LONG, LONG) is Ending.DONE
        assert execution.collector.finished

    async def test_output_between_the_reply_and_idle(self) -> None:
        def answer(kernel: FakeKernel) -> None:
            kernel.reply()
            kernel.print("late")
            asyncio.get_running_loop().call_soon(kernel.idle)

        execution, _ = started(answer)
        assert await execution.follow(LONG, LONG) is Ending.DONE
        assert text_of(execution) == "late"

    async def test_a_lost_idle_holds_it_for_a_moment_only(self) -> None:
        execution, _ = started(FakeKernel.reply)
        assert await execution.follow(LONG, LONG) is Ending.DONE
        assert not execution.collector.idle

    async def test_after_the_reply_neither_time_nor_a_stop_makes_it_anything_else(self) -> None:
        def answer(kernel: FakeKernel) -> None:
            kernel.reply()
            execution.stop()

        execution, kernel = started(answer)
        assert await execution.follow(SHORT / 4, LONG) is Ending.DONE
        assert kernel.interrupts == 0

    async def test_a_reply_in_the_moment_in_which_the_time_is_up(self) -> None:
        """A loop that was busy meets both at once."""

        def answer(kernel: FakeKernel) -> None:
            loop = asyncio.get_running_loop()
            loop.call_later(SHORT / 2, time.sleep, 2 * SHORT)
            loop.call_later(SHORT * 1.5, kernel.succeed)

        execution, kernel = started(answer)
        assert await execution.follow(SHORT, LONG) is Ending.DONE
        assert kernel.interrupts == 0

    async def test_ok_in_the_reply_and_an_error_on_iopub(self) -> None:
        def answer(kernel: FakeKernel) -> None:
            kernel.say("error", ename="E", evalue="v", traceback=["E: v"])
            kernel.reply()
            kernel.idle()

        execution, _ = started(answer)
        assert await execution.follow(LONG, LONG) is Ending.DONE
        assert execution.collector.error is not None


class TestTimeLimits:
    async def test_a_kernel_that_obeys(self) -> None:
        execution, kernel = started(lambda k: k.print("so far"))
        kernel.obey = FakeKernel.fail
        assert await execution.follow(SHORT, LONG) is Ending.TIMEOUT
        assert execution.obeyed
        assert kernel.interrupts == 1
        assert text_of(execution) == "so far"
        assert execution.collector.error is not None

    async def test_a_kernel_that_does_not(self) -> None:
        execution, kernel = started(lambda k: k.print("so far"))
        kernel.trace = "Current thread"
        begun = time.monotonic()
        assert await execution.follow(SHORT, SHORT) is Ending.TIMEOUT
        assert time.monotonic() - begun < 5
        assert not execution.obeyed
        assert execution.stack == "Current thread"
        assert text_of(execution) == "so far"
        assert not kernel.closed, "its end is the caller's"

    async def test_obeying_without_idle_is_obeying(self) -> None:
        execution, kernel = started(lambda k: None)
        kernel.obey = lambda k: k.reply(status="error")
        assert await execution.follow(SHORT, LONG) is Ending.TIMEOUT
        assert execution.obeyed

    async def test_a_kernel_that_the_interrupt_ends(self) -> None:
        execution, kernel = started(lambda k: None)
        kernel.obey = lambda k: k.end(Exit(signal=2))
        assert await execution.follow(SHORT, LONG) is Ending.TIMEOUT
        assert not execution.obeyed

    async def test_output_alone_is_no_end(self) -> None:
        """A program that prints on and on does not reset its time."""

        def answer(kernel: FakeKernel) -> None:
            kernel.print(".")
            if not kernel.interrupts:
                asyncio.get_running_loop().call_later(SHORT / 10, answer, kernel)

        execution, kernel = started(answer)
        kernel.obey = FakeKernel.fail
        assert await execution.follow(SHORT * 3, LONG) is Ending.TIMEOUT


class TestStops:
    async def test_a_stop_interrupts_at_once(self) -> None:
        execution, kernel = started(lambda k: execution.stop())
        kernel.obey = FakeKernel.fail
        assert await execution.follow(LONG, LONG) is Ending.STOPPED
        assert execution.obeyed
        assert kernel.interrupts == 1

    async def test_a_stop_before_it_is_followed_counts(self) -> None:
        execution, kernel = started(lambda k: None)
        kernel.obey = FakeKernel.fail
        execution.stop()
        assert await execution.follow(LONG, LONG) is Ending.STOPPED

    async def test_a_stop_has_a_grace_of_its_own(self) -> None:
        execution, _ = started(lambda k: execution.stop(SHORT))
        assert await execution.follow(LONG, LONG) is Ending.STOPPED
        assert not execution.obeyed

    async def test_a_stop_during_the_grace_of_a_timeout_changes_nothing(self) -> None:
        execution, kernel = started(lambda k: None)

        def obey(kernel: FakeKernel) -> None:
            execution.stop()
            asyncio.get_running_loop().call_later(SHORT, kernel.fail)

        kernel.obey = obey
        assert await execution.follow(SHORT, LONG) is Ending.TIMEOUT
        assert execution.obeyed


class TestDeath:
    async def test_a_kernel_that_ends(self) -> None:
        def answer(kernel: FakeKernel) -> None:
            kernel.print("last words")
            kernel.end(Exit(code=5))

        execution, _ = started(answer)
        assert await execution.follow(LONG, LONG) is Ending.DIED
        assert text_of(execution) == "last words"

    async def test_one_that_had_ended_before(self) -> None:
        kernel = FakeKernel()
        kernel.end(Exit(code=5))
        execution = Execution(kernel, CodeRequest(""), Log(10, 10))
        assert await execution.follow(LONG, LONG) is Ending.DIED

    async def test_one_that_ends_after_its_reply_has_done_its_work(self) -> None:
        def answer(kernel: FakeKernel) -> None:
            kernel.reply()
            kernel.end(Exit(code=0))

        execution, _ = started(answer)
        assert await execution.follow(LONG, LONG) is Ending.DONE

    @pytest.mark.parametrize("state", ["restarting", "dead"])
    async def test_a_remote_engine_says_it_without_a_parent(self, state: str) -> None:
        execution, _ = started(lambda k: k.say("status", "", execution_state=state))
        assert await execution.follow(LONG, LONG) is Ending.DIED

    async def test_in_the_grace_too(self) -> None:
        execution, kernel = started(lambda k: None)
        kernel.obey = lambda k: k.say("status", "", execution_state="restarting")
        assert await execution.follow(SHORT, LONG) is Ending.TIMEOUT
        assert not execution.obeyed

    @pytest.mark.parametrize(
        ("parent", "state"),
        [("", "idle"), ("", "busy"), ("other", "restarting"), ("other", "dead")],
    )
    async def test_other_states_are_no_death(self, parent: str, state: str) -> None:
        def answer(kernel: FakeKernel) -> None:
            kernel.say("status", parent, execution_state=state)
            kernel.succeed("alive")

        execution, _ = started(answer)
        assert await execution.follow(LONG, LONG) is Ending.DONE
        assert text_of(execution) == "alive"


class TestForeignMessages:
    async def test_text_of_earlier_runs_is_kept_apart(self) -> None:
        def answer(kernel: FakeKernel) -> None:
            kernel.print("thread ", parent="earlier")
            kernel.print("mine")
            kernel.print("again", "stderr", parent="")
            kernel.say("display_data", "earlier", data={"text/plain": "x"}, metadata={})
            kernel.succeed()

        execution, _ = started(answer)
        assert await execution.follow(LONG, LONG) is Ending.DONE
        assert text_of(execution) == "mine"
        assert len(execution.collector.outputs()) == 1
        assert execution.late.text() == "thread again"

    async def test_replies_to_others_do_not_end_it(self) -> None:
        def answer(kernel: FakeKernel) -> None:
            mine, kernel.request = kernel.request, "other"
            kernel.succeed()
            kernel.request = mine
            asyncio.get_running_loop().call_later(SHORT, kernel.succeed, "mine")

        execution, _ = started(answer)
        assert await execution.follow(LONG, LONG) is Ending.DONE
        assert text_of(execution) == "mine"

    @pytest.mark.parametrize("type", ["stream", "status", "error", "nonsense"])
    async def test_garbage_is_passed_over(self, type: str) -> None:
        def answer(kernel: FakeKernel) -> None:
            for parent in (kernel.request, "other", ""):
                kernel.say(type, parent)
                kernel.say(type, parent, name=3, text=None, execution_state=[])
            kernel.succeed("fine")

        execution, _ = started(answer)
        assert await execution.follow(LONG, LONG) is Ending.DONE
        assert text_of(execution) == "fine"
        assert execution.late.text() == ""


async def test_nothing_is_left_when_it_is_over() -> None:
    before = asyncio.all_tasks()
    execution, _ = started(FakeKernel.succeed)
    await execution.follow(LONG, LONG)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
