"""Whatever is done to sessions in whatever order, they are what a model of them is that plays it
over: runs that succeed, fail, die, hang or are stopped, idle deaths, branches, rewinds, restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from kernels.errors import SessionError
from kernels.execution import CodeRequest
from kernels.result import RunResult, State, Status
from tests.conftest import text_of, until
from tests.kernels.eager import House, house_of, make_eager

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")

T = TypeVar("T")
NAMES = ("default", "b", "c")
SESSIONS = st.sampled_from(NAMES)
#: How a run ends that takes its kernel with it.
ENDS = {
    "os._exit": "import os; os._exit(1)",
    "SIGKILL": "import os; os.kill(os.getpid(), 9)",
    "abort": "import os; os.abort()",
    "a loop": "while True: pass",
    "a loop in C": "sum(range(10**12))",
}


@dataclass(frozen=True)
class Model:
    """A session: the numbers that its runs have noted, None: it has no kernel; and what its
    checkpoint has of them, after which run."""

    noted: tuple[int, ...] | None = None
    kept: tuple[int, ...] | None = None
    kept_id: str = ""
    #: Whether its kernel has ended since its last run.
    dead: bool = False
    #: Whether it has had a run that left variables.
    used: bool = False


class Histories(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self._runner = self._stack.enter_context(asyncio.Runner())
        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        make_eager(patch)
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        self._made = house_of(Path(folder), sessions=len(NAMES))
        self.house: House = self._do(anext(self._made))
        self.models: dict[str, Model] = {}
        self.number = 0

    def _do(self, work: Awaitable[T]) -> T:
        async def done() -> T:
            return await work

        return self._runner.run(done())

    def teardown(self) -> None:
        async def end() -> None:
            with contextlib.suppress(StopAsyncIteration):
                await anext(self._made)

        with self._stack:
            self._do(end())

    # -- what a run is to say

    def _run(self, name: str, code: str, timeout: float = 20, restart: bool = False) -> RunResult:
        model = self.models.get(name, Model())
        self.number += 1
        note = f"noted = [*globals().get('noted', []), {self.number}]\nprint(noted)\n"
        result = self._do(self.house.run(note + code, name, timeout, restart))
        # What it found.
        found, before = State.KEPT, model.noted
        if restart:
            found, before = (State.LOST if model.used else State.KEPT), None
            model = Model()
        elif model.dead:
            found, before = State.RESTORED, model.kept
            if model.kept is None:
                found = State.LOST if model.used else State.KEPT
        noted = (*(before or ()), self.number)
        assert text_of(result, "stdout").splitlines()[0] == str(list(noted))
        self.models[name] = replace(model, noted=noted, dead=False, used=True)
        ended = result.status is Status.DIED or result.status is Status.TIMEOUT
        if not ended:
            assert result.state is found, result
            assert result.restored_to == (model.kept_id if found is State.RESTORED else None)
        return result

    def _ended(self, name: str, result: RunResult) -> None:
        """It has taken its kernel with it."""
        model = self.models[name]
        if model.kept is None:
            assert (result.state, result.restored_to) == (State.LOST, None)
            self.models[name] = Model()
        else:
            assert (result.state, result.restored_to) == (State.RESTORED, model.kept_id)
            self.models[name] = replace(model, noted=model.kept)

    @initialize()
    def begin(self) -> None:
        self.succeed("default")

    @rule(name=SESSIONS)
    def succeed(self, name: str) -> None:
        """There is a checkpoint of it soon."""
        result = self._run(name, "")
        assert result.status is Status.OK
        self._do(self.house.kept(result.run_id, name))
        model = self.models[name]
        self.models[name] = replace(model, kept=model.noted, kept_id=result.run_id)

    @rule(name=SESSIONS)
    def fail(self, name: str) -> None:
        """Its notes stay, and there is no checkpoint of them."""
        assert self._run(name, "0/0").status is Status.ERROR

    @rule(name=SESSIONS, how=st.sampled_from(sorted(ENDS)))
    def end(self, name: str, how: str) -> None:
        loops = "loop" in how
        result = self._run(name, ENDS[how], 0.3 if loops else 20)
        assert result.status is (Status.TIMEOUT if loops else Status.DIED)
        self._ended(name, result)

    @rule(name=SESSIONS)
    def begin_anew(self, name: str) -> None:
        """With a run that fails, so that there is no checkpoint."""
        assert self._run(name, "0/0", restart=True).status is Status.ERROR

    @rule(name=SESSIONS)
    def restart(self, name: str) -> None:
        if name in self.models:
            self._do(self.house.session(name).restart())
            self.models[name] = Model()

    @rule(name=SESSIONS)
    def kill(self, name: str) -> None:
        """Between two runs."""
        model = self.models.get(name)
        if model is None or model.noted is None or model.dead:
            return
        session = self.house.session(name)
        os.kill(session.pid or 0, signal.SIGKILL)
        self._do(until(lambda: not session.kernel_lives))
        self.models[name] = replace(model, dead=True, noted=model.kept)

    @rule(name=SESSIONS)
    def rewind(self, name: str) -> None:
        if name not in self.models:
            return
        model = self.models[name]
        try:
            rewound = self._do(self.house.registry.rewind("", name))
        except SessionError:
            assert model.kept is None
        else:
            assert rewound.run_id == model.kept_id
            self.models[name] = replace(model, noted=model.kept, dead=False)

    @rule(name=SESSIONS, new=SESSIONS)
    def branch(self, name: str, new: str) -> None:
        if name not in self.models:
            return
        model = self.models[name]
        try:
            branch = self._do(self.house.registry.branch("", name, new))
        except SessionError:
            assert new in self.models or model.noted is None
            if new not in self.models and model.dead:
                # It was tried whether its state can be had, and told with its next run.
                assert model.kept is None
            return
        assert new not in self.models and model.noted is not None
        facts: Any = branch.checkpoint
        self.models[new] = Model(model.noted, model.noted, facts.run_id, used=True)

    @precondition(lambda self: len(self.models) > 1)
    @rule(name=SESSIONS)
    def close(self, name: str) -> None:
        if name in self.models:
            self._do(self.house.registry.close("", name))
            del self.models[name]

    @rule()
    def look(self) -> None:
        """Nothing runs that is of no session."""
        pids = set()
        for name, model in self.models.items():
            session = self.house.session(name)
            assert (session.checkpoint is not None) == (model.kept is not None)
            pids |= {session.checkpoint.pid} if session.checkpoint else set()
            pids |= {session.pid} if session.kernel_lives else set()
            if (making := session.keeper._resuming) is not None:
                # What its next run will find.
                self._do(until(making.done))
                found = making.result()
                pids |= {found[1].pid} if found is not None else set()
        assert self.house.processes() == pids


Histories.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestHistories = pytest.mark.timeout(600)(Histories.TestCase)


async def test_a_long_queue_of_everything(projects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it at once: every run that was asked for has its result, and the session works."""
    make_eager(monkeypatch)
    async for house in house_of(projects):
        await house.keep("n = 0")
        asked: list[Awaitable[Any]] = []
        for number in range(40):
            if number % 5 == 4:
                asked.append(house.registry.rewind("", "default"))
            else:
                code = ("n += 1", "n += 1", "0/0", ENDS["os._exit"])[number % 4]
                run = house.registry.submit("", "default", CodeRequest(code), 20)
                asked.append(run.result())
        for done in await asyncio.gather(*asked, return_exceptions=True):
            assert not isinstance(done, BaseException) or isinstance(done, SessionError), done
            if isinstance(done, RunResult):
                assert done.state in (State.KEPT, State.RESTORED)
        assert int(await house.tell("print(n)")) >= 0
