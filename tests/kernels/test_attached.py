"""Other clients of a session's kernel: what they run is the session's history, and nobody else's
output, time or fault."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.execution import CodeRequest
from kernels.kernel import Message
from kernels.limits import Limits
from kernels.outputs import Display, Error
from kernels.registry import Registry
from kernels.result import RunResult, State, Status
from kernels.run import Run
from kernels.session import Session, SessionState
from kernels.turn import Policy
from kernels.visits import NOTE
from notebooks.history import notebook_of
from tests.conftest import RunCode, text_of, until
from tests.kernels.fake_kernel import FakeBackend, FakeKernel
from tests.kernels.visitor import attached

GONE = "session restarted: its variables are gone"
both_starts = pytest.mark.parametrize("registry", ["cold", "forked"], indirect=True)
STUBBORN = """
import time
print('on', flush=True)
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


@pytest.fixture
async def session(registry: Registry, run_code: RunCode) -> Session:
    """One with a kernel, in which x is 1."""
    await run_code("x = 1")
    return registry.find("", "default")


def submit(registry: Registry, code: str, timeout: float = 20) -> Run:
    return registry.submit("", "default", CodeRequest(code), timeout)


def waits_for(path: Path) -> str:
    """Code that goes on until there is such a file."""
    return f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.01)"


async def visits(registry: Registry, number: int = 1) -> list[Run]:
    """So many runs of attached clients, all over: the server hears of them when their client does,
    or a little later."""
    await until(lambda: len(registry.history("")) == number + 1)
    await until(lambda: all(run.done.done() for run in registry.history("")))
    return registry.history("")[1:]


async def visit_of(registry: Registry, title: str) -> Run:
    """The run of an execution of an attached client's, once it is there."""
    await until(lambda: [run for run in registry.history("") if run.title.startswith(title)])
    return next(run for run in registry.history("") if run.title.startswith(title))


@both_starts
class TestARun:
    async def test_is_what_an_attached_client_executes(
        self, registry: Registry, session: Session, run_code: RunCode
    ) -> None:
        """It has an id and its code as title, and its result says who ran it; variables are
        shared in both directions."""
        async with attached(session) as visitor:
            await visitor.run("y = x + 1\nprint(y)\ny")
        assert visitor.printed == "2\n"
        (run,) = await visits(registry)
        assert registry.find_run("", run.id) is run
        result = await run.result()
        assert (run.title, run.source) == ("y = x + 1", "y = x + 1\nprint(y)\ny")
        assert (result.status, result.exit_code, result.state) == (Status.OK, 0, State.KEPT)
        assert result.notes == (NOTE,)
        assert result.execution_count == 2
        assert text_of(result) == "2\n"
        assert [o.data["text/plain"] for o in result.outputs if isinstance(o, Display)] == ["2"]
        later = await run_code("print(y)")
        assert (text_of(later), later.late, later.notes) == ("2\n", "", ())
        assert (session.count, session.state) == (3, SessionState.IDLE)

    async def test_has_the_rich_outputs_and_errors_of_a_plain_kernel(
        self, registry: Registry, session: Session
    ) -> None:
        """Magics, figures, frames, tracebacks with colours, the signs of a front end."""
        async with attached(session) as visitor:
            plot = "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]);"
            assert (await visitor.run(plot))["status"] == "ok"
            await visitor.run("import pandas\npandas.DataFrame({'a': [1]})")
            await visitor.run("'IPKernelApp' in get_ipython().config")
            reply = await visitor.run("1 / 0")
        assert (reply["status"], reply["ename"]) == ("error", "ZeroDivisionError")
        drawn, frame, sign, failed = [await run.result() for run in await visits(registry, 4)]
        kinds = [set(o.data) for o in (*drawn.outputs, *frame.outputs) if isinstance(o, Display)]
        assert kinds == [{"image/png", "text/plain"}, {"text/html", "text/plain"}]
        (shown,) = [o for o in sign.outputs if isinstance(o, Display)]
        assert shown.data["text/plain"] == "True"
        assert (failed.status, failed.exit_code) == (Status.ERROR, 1)
        assert (failed.error or {})["name"] == "ZeroDivisionError"
        (error,) = [o for o in failed.outputs if isinstance(o, Error)]
        assert "\x1b[" in error.traceback

    async def test_is_no_question_of_a_front_end(
        self, registry: Registry, session: Session
    ) -> None:
        """Completion, inspection and history are answered; silent executions are nobody's news."""
        async with attached(session) as visitor:
            assert "%less" in (await visitor.ask("complete", "%les"))["matches"]
            assert (await visitor.ask("inspect", "x"))["found"]
            history = (await visitor.ask("history"))["history"]
            assert [entry[2] for entry in history][-1] == "x = 1"
            assert (await visitor.run("z = 1", silent=True))["status"] == "ok"
        assert [run.title for run in registry.history("")] == ["x = 1"]
        assert session.state is SessionState.IDLE

    async def test_asks_the_client_that_runs_it(self, registry: Registry, session: Session) -> None:
        async with attached(session) as visitor:
            await visitor.run("name = input('Who? ')\nprint('Hello', name)", answer="you")
        assert visitor.printed == "Hello you\n"
        (visit,) = await visits(registry)
        result = await visit.result()
        assert (result.status, text_of(result)) == (Status.OK, "Hello you\n")

    async def test_ends_with_its_kernel_and_keeps_what_it_printed(
        self, registry: Registry, session: Session, run_code: RunCode, tmp_path: Path
    ) -> None:
        go = tmp_path / "go"
        async with attached(session) as visitor:
            visitor.client.execute(f"{waits_for(go)}\nprint('last words')\nos._exit(3)")
            visit = await visit_of(registry, "import os")
            go.touch()
            result = await visit.result()
        assert (result.status, result.state, result.exit_code) == (Status.DIED, State.LOST, 3)
        assert text_of(result) == "last words\n"
        assert "exit code 3" in result.explanation
        later = await run_code("print('x' in globals())")
        assert (text_of(later), later.state) == ("False\n", State.LOST)
        assert any(GONE in note for note in later.notes)

    @pytest.mark.parametrize("date", ["", "yesterday", "2999-01-01T00:00:00Z"])
    async def test_is_executed_whatever_its_client_says_of_the_time(
        self, registry: Registry, session: Session, date: str
    ) -> None:
        """A browser's clock is another one, and not all clients have one."""
        async with attached(session) as visitor:
            message = visitor.client.session.msg("execute_request", {"code": "print('on')"})
            message["header"]["date"] = date
            visitor.client.shell_channel.send(message)
            visit = await visit_of(registry, "print('on')")
            result = await visit.result()
        assert (result.status, text_of(result)) == (Status.OK, "on\n")

    @pytest.mark.parametrize("code", ["exit", "quit()"])
    async def test_may_leave_its_client_and_never_takes_the_kernel_along(
        self, registry: Registry, session: Session, run_code: RunCode, code: str
    ) -> None:
        """The client is told to go, and to keep the kernel; runs of ours have python's `exit`."""
        async with attached(session) as visitor:
            reply = await visitor.run(code)
        assert reply["payload"] == [{"source": "ask_exit", "keepkernel": True}]
        assert (await run_code("exit(3)")).exit_code == 3
        assert text_of(await run_code("print(x)")) == "1\n"


class TestRunsOfTheSession:
    async def test_wait_while_an_attached_client_has_the_kernel(
        self, registry: Registry, session: Session, tmp_path: Path
    ) -> None:
        """The session says so, the time does not count, and no output goes astray."""
        there = tmp_path / "there"
        async with attached(session) as visitor:
            visiting = asyncio.ensure_future(visitor.run(f"{waits_for(there)}\nprint('theirs')"))
            visit = await visit_of(registry, "import os")
            ours = submit(registry, "print('ours')", timeout=0.3)
            await asyncio.sleep(0.6)
            assert (session.state, session.runs) == (SessionState.BUSY, [visit, ours])
            assert (visit.status, visit.place, ours.place) == (Status.RUNNING, 0, 1)
            assert session.idle_seconds == 0
            there.touch()
            result = await ours.result()
            await visiting
        assert (result.status, text_of(result), result.late) == (Status.OK, "ours\n", "")
        theirs = await visit.result()
        assert (text_of(theirs), visitor.printed) == ("theirs\n", "theirs\n")

    async def test_are_stopped_without_a_word_to_the_kernel_while_they_wait(
        self, registry: Registry, session: Session, tmp_path: Path
    ) -> None:
        there = tmp_path / "there"
        async with attached(session) as visitor:
            visiting = asyncio.ensure_future(visitor.run(waits_for(there)))
            await visit_of(registry, "import os")
            ours = submit(registry, "print('ours')")
            await until(lambda: session.runs[1:] == [ours])
            ours.stop()
            result = await ours.result()
            assert result.explanation == "Not run: it was stopped before it began."
            there.touch()
            assert (await visiting)["status"] == "ok"

    async def test_are_not_left_out_because_a_cell_of_theirs_failed(
        self, registry: Registry, session: Session
    ) -> None:
        """A kernel leaves out what a client has asked for behind a cell of its own that fails."""
        async with attached(session) as visitor:
            visitor.client.execute("import time\ntime.sleep(0.3)\n1 / 0")
            # At once, so that it waits in the kernel and not here.
            ours = submit(registry, "print('ours')")
            visitor.client.execute("print('left out')")
            result = await ours.result()
            await until(lambda: not session.runs)
        assert (result.status, text_of(result)) == (Status.OK, "ours\n")

    async def test_still_have_their_time_limit_afterwards(
        self, registry: Registry, session: Session
    ) -> None:
        async with attached(session) as visitor:
            await visitor.run("y = 2")
        result = await submit(registry, "while True: pass", timeout=0.3).result()
        assert (result.status, result.notes[0]) == (Status.TIMEOUT, "timed out after 0.3 s")

    async def test_have_nothing_of_a_thread_that_an_attached_client_left(
        self, registry: Registry, session: Session, run_code: RunCode, tmp_path: Path
    ) -> None:
        """What it prints later is text of an earlier run, and is called that."""
        there = tmp_path / "there"
        body = waits_for(there).replace("\n", "\n    ")
        thread = f"import threading\ndef work():\n    {body}\n    print('late', flush=True)\n"
        async with attached(session) as visitor:
            await visitor.run(f"{thread}t = threading.Thread(target=work); t.start()")
        there.touch()
        result = await run_code("t.join(); print('ours')")
        assert text_of(result) == "ours\n"
        later = await run_code("1")
        assert result.late + later.late == "late\n"


class TestAnEnd:
    async def test_code_that_does_not_obey_loses_the_kernel_and_the_next_run_says_so(
        self, registry: Registry, session: Session, run_code: RunCode
    ) -> None:
        async with attached(session) as visitor:
            visitor.client.execute(STUBBORN)
            visit = await visit_of(registry, "import time")
            await until(lambda: visit.recording.length)
            visit.stop()
            result = await visit.result()
        assert (result.status, result.state) == (Status.INTERRUPTED, State.LOST)
        assert result.notes == (NOTE, "stopped", GONE)
        assert result.explanation.startswith("It did not obey the interrupt.")
        assert text_of(result) == "on\n"
        later = await run_code("print('x' in globals())")
        assert (text_of(later), later.notes, later.state) == ("False\n", (GONE,), State.LOST)

    @pytest.mark.parametrize("code", ["import time\ntime.sleep(600)", STUBBORN])
    async def test_a_restart_ends_what_an_attached_client_runs(
        self, registry: Registry, session: Session, run_code: RunCode, code: str
    ) -> None:
        async with attached(session) as visitor:
            visitor.client.execute(code)
            visit = await visit_of(registry, "import time")
            await session.restart()
            result = await visit.result()
        assert (result.status, result.state) == (Status.INTERRUPTED, State.LOST)
        assert GONE in result.notes
        assert not session.runs
        later = await run_code("print('x' in globals())")
        assert (text_of(later), later.notes) == ("False\n", ())

    async def test_a_restart_with_the_next_run_counts_its_variables_as_lost(
        self, registry: Registry, session: Session, run_code: RunCode
    ) -> None:
        await session.restart()
        await run_code("pass")
        async with attached(session) as visitor:
            await visitor.run("y = 2")
        await until(lambda: session.has_variables and not session.runs)
        result = await run_code("print('y' in globals())", restart=True)
        assert (text_of(result), result.notes) == ("False\n", (GONE,))

    async def test_closing_the_session_ends_it_too(
        self, registry: Registry, session: Session
    ) -> None:
        async with attached(session) as visitor:
            visitor.client.execute("import time\ntime.sleep(600)")
            visit = await visit_of(registry, "import time")
            await registry.close("", "default")
            result = await visit.result()
        assert (result.status, result.state) == (Status.INTERRUPTED, State.LOST)
        assert "session closed: its variables are gone" in result.notes

    async def test_a_client_that_shuts_the_kernel_down_is_named(
        self, registry: Registry, session: Session, run_code: RunCode
    ) -> None:
        async with attached(session) as visitor:
            visitor.client.shutdown()
            await until(lambda: not session.kernel_lives)
        result = await run_code("print('x' in globals())")
        assert (text_of(result), result.state) == ("False\n", State.LOST)
        assert result.notes == (
            f"since the last run an attached client has shut the kernel down; {GONE}",
        )

    async def test_a_client_that_dies_leaves_its_run_going_on(
        self, registry: Registry, session: Session, run_code: RunCode, tmp_path: Path
    ) -> None:
        there = tmp_path / "there"
        client = (
            "import sys, time\n"
            "from jupyter_client import BlockingKernelClient\n"
            "c = BlockingKernelClient(connection_file=sys.argv[1])\n"
            "c.load_connection_file(); c.start_channels(); c.wait_for_ready()\n"
            "c.execute(sys.argv[2]); time.sleep(600)\n"
        )
        code = f"{waits_for(there)}\nprint('done')\nw = 3"
        words = [sys.executable, "-c", client, str(session.connection_file), code]
        process = subprocess.Popen(words)  # noqa: ASYNC220 - it must not end with the loop
        try:
            visit = await visit_of(registry, "import os")
            ours = submit(registry, "print(w)", timeout=5)
            os.kill(process.pid, signal.SIGKILL)
        finally:
            process.kill()
            process.wait()
        there.touch()
        result = await visit.result()
        assert (result.status, text_of(result)) == (Status.OK, "done\n")
        assert text_of(await ours.result()) == "3\n"


class TestAnInterrupt:
    """Here a kernel has all the time that a busy machine needs to obey."""

    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(policy=Policy(grace=30, checkpoints=False))

    async def test_stop_interrupts_the_attached_clients_code(
        self, registry: Registry, session: Session, run_code: RunCode
    ) -> None:
        async with attached(session) as visitor:
            visiting = asyncio.ensure_future(visitor.run("import time\ntime.sleep(600)"))
            visit = await visit_of(registry, "import time")
            visit.stop()
            result = await visit.result()
            assert (await visiting)["ename"] == "KeyboardInterrupt"
        assert (result.status, result.state) == (Status.INTERRUPTED, State.KEPT)
        assert result.notes == (NOTE, "stopped", "the session's variables are kept")
        assert text_of(await run_code("print(x)")) == "1\n"

    async def test_a_question_that_nobody_answers_any_more_can_be_stopped(
        self, registry: Registry, session: Session, run_code: RunCode
    ) -> None:
        async with attached(session) as visitor:
            visitor.client.execute("input('Still there? ')", allow_stdin=True)
            visit = await visit_of(registry, "input(")
            assert await visitor.client.get_stdin_msg(timeout=20)
        visit.stop()
        result = await visit.result()
        assert (result.status, result.state) == (Status.INTERRUPTED, State.KEPT)
        assert text_of(await run_code("print(x)")) == "1\n"


class TestHowItIsFound:
    async def test_facts_lie_beside_the_connection_file_for_the_user_alone(
        self, session: Session
    ) -> None:
        file = session.connection_file
        assert file is not None
        facts = file.with_name("session.json")
        assert json.loads(facts.read_text()) == {
            "session": "default",
            "owner": "",
            "server": os.getpid(),
        }
        for path in (facts, file, file.parent, file.parent.parent):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path

    async def test_they_go_with_the_kernel(self, session: Session) -> None:
        file = session.connection_file
        assert file is not None
        await session.restart()
        assert session.connection_file is None
        assert not file.parent.exists()


class TestTheHistory:
    async def test_is_exported_with_what_attached_clients_ran(
        self, registry: Registry, session: Session
    ) -> None:
        async with attached(session) as visitor:
            await visitor.run("print('theirs')")
        await visits(registry)
        cells = json.loads(await notebook_of(registry.runs("", "default")))["cells"]
        assert ["".join(cell["source"]) for cell in cells] == ["x = 1", "print('theirs')"]
        assert "".join(cells[1]["outputs"][0]["text"]) == "theirs\n"

    async def test_is_told_to_watchers_outside_of_the_call_that_started_the_kernel(
        self, projects: Path
    ) -> None:
        """An audit log or a span would otherwise take it for a part of that call."""
        from contextvars import ContextVar

        call: ContextVar[str] = ContextVar("call", default="none")
        told: list[tuple[str, str]] = []

        class Notes:
            def run_queued(self, owner: str, run: Run, work: object) -> None:
                told.append((run.title, call.get()))

            def run_ended(self, owner: str, run: Run) -> None:
                told.append((f"end of {run.title}", str(run.status)))

            def kernel_started(self, kind: str, seconds: float) -> None:
                pass

        def answer(kernel: FakeKernel) -> None:
            theirs(kernel, "t1", "theirs")
            kernel.succeed()

        async with Registry(FakeBackend(answer), Limits(), [Notes()]) as registry:
            call.set("ours")
            await registry.submit("", "a", CodeRequest("ours"), 20).result()
            await until(lambda: len(told) == 4)
        assert told[:2] == [("ours", "ours"), ("theirs", "none")]
        assert sorted(told[2:]) == [("end of ours", "ok"), ("end of theirs", "ok")]


def theirs(kernel: FakeKernel, ident: str, code: str, ends: bool = True) -> None:
    """What a kernel publishes of an execution that another client has asked for."""

    def say(kind: str, **content: object) -> None:
        kernel.on_message(Message("iopub", kind, ident, content, foreign="execute_request"))

    say("status", execution_state="busy")
    say("execute_input", code=code, execution_count=7)
    if ends:
        say("status", execution_state="idle")


class TestARunThatWaitsInTheKernel:
    """It was sent in the moment in which an attached client's came first."""

    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(policy=Policy(grace=0.2, checkpoints=False))

    async def begin(self, registry: Registry, backend: FakeBackend, timeout: float) -> Run:
        run = registry.submit("", "a", CodeRequest("ours"), timeout)
        await until(lambda: backend.kernels and backend.kernels[0].requests)
        theirs(backend.kernels[0], "t1", "theirs", ends=False)
        return run

    async def test_has_its_time_only_afterwards(self, limits: Limits) -> None:
        backend = FakeBackend(lambda kernel: None)
        async with Registry(backend, limits) as registry:
            run = await self.begin(registry, backend, timeout=0.1)
            await asyncio.sleep(0.3)
            kernel = backend.kernels[0]
            assert (kernel.interrupts, run.place) == (0, 1)
            kernel.on_message(status("t1", "idle"))
            kernel.succeed("done")
            result = await run.result()
        assert (result.status, text_of(result)) == (Status.OK, "done")
        # The other's time is not this one's.
        assert result.duration < 0.3

    async def test_is_stopped_when_the_kernel_takes_it_up(self, limits: Limits) -> None:
        """An interrupt before would hit the other one's code."""
        backend = FakeBackend(lambda kernel: None)
        async with Registry(backend, limits) as registry:
            run = await self.begin(registry, backend, timeout=20)
            kernel = backend.kernels[0]
            kernel.obey = lambda kernel: kernel.fail()
            run.stop()
            await asyncio.sleep(0.3)
            assert kernel.interrupts == 0
            kernel.on_message(status("t1", "idle"))
            result = await run.result()
        assert (result.status, kernel.interrupts) == (Status.INTERRUPTED, 1)

    async def test_ends_with_the_session_all_the_same(self, limits: Limits) -> None:
        backend = FakeBackend(lambda kernel: None)
        async with Registry(backend, limits) as registry:
            run = await self.begin(registry, backend, timeout=20)
            await registry.close("", "a")
            result: RunResult = await run.result()
        assert (result.status, result.state) == (Status.INTERRUPTED, State.LOST)


def status(ident: str, state: str) -> Message:
    content = {"execution_state": state}
    return Message("iopub", "status", ident, content, foreign="execute_request")
