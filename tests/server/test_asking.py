"""A program that asks, through the tools, in both eras of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.elicitation import ElicitResult

from kernels.registry import Registry
from kernels.session import SessionState
from server.app import build_server
from server.questions import MOST_ROUNDS
from server.settings import Settings
from tests.conftest import until
from tests.server.caller import META, Caller, Mode

Handler = Callable[..., Awaitable[ElicitResult]]
Connect = Callable[..., AbstractAsyncContextManager[Caller]]
DIALOGUE = "name = input('Name? ')\nage = int(input('Age? '))\nprint(f'{name} is {age}')"


class User:
    """Answers with the next of `answers`: None declines, an event is waited for."""

    def __init__(self, *answers: str | asyncio.Event | None) -> None:
        self._answers = list(answers)
        #: What was asked.
        self.asked: list[str] = []

    async def __call__(self, message: str, *_: Any) -> ElicitResult[Any]:
        self.asked.append(message)
        answer = self._answers.pop(0)
        if isinstance(answer, asyncio.Event):
            await answer.wait()
            answer = "late"
        if answer is None:
            return ElicitResult(action="decline")
        return ElicitResult(action="accept", content={"answer": answer})


@pytest.fixture
def connect(settings: Settings, registry: Registry, mode: Mode) -> Connect:
    """`connect(user)` is a client whose user can be asked."""

    @asynccontextmanager
    async def connected(user: User) -> AsyncIterator[Caller]:
        server = build_server(settings, registry)
        async with Client(server, mode=mode, elicitation_handler=user) as client:
            yield Caller(client)

    return connected


async def test_the_user_is_asked_and_the_program_goes_on(connect: Connect) -> None:
    user = User("Ann", "5")
    async with connect(user) as caller:
        texts, facts = await caller.run("run_code", code=DIALOGUE)
    assert user.asked == ["Name?", "Age?"]
    assert texts[0] == "Name? Ann\nAge? 5\nAnn is 5\n"
    assert (facts["run_id"], facts["status"]) == ("1", "ok")


async def test_a_script_asks_after_its_stdin(connect: Connect, settings: Settings) -> None:
    (settings.projects_dir / "asks.py").write_text(DIALOGUE)
    user = User("7")
    async with connect(user) as caller:
        texts, _ = await caller.run("run_python", file_name="asks.py", stdin="Bob\n")
    assert user.asked == ["Age?"]
    assert texts[0].endswith("Bob is 7\n")


async def test_a_password_is_called_secret_and_not_shown(connect: Connect) -> None:
    user = User("s3cret")
    async with connect(user) as caller:
        code = "import getpass\nlen(getpass.getpass('Key: '))"
        texts, _ = await caller.run("run_code", code=code)
    assert "secret" in user.asked[0]
    assert "s3cret" not in "".join(texts)
    assert "6" in texts[-2]


async def test_a_declined_question_ends_the_input(connect: Connect) -> None:
    user = User(None)
    async with connect(user) as caller:
        texts, facts = await caller.run("run_code", code="input('Name? ')")
    assert facts["error"]["name"] == "EOFError"
    assert "give the answers in `stdin`" in "".join(texts)


async def test_who_cannot_be_asked_is_told_of_stdin(caller: Caller) -> None:
    texts, facts = await caller.run("run_code", code="input('Name? ')")
    assert facts["error"]["name"] == "EOFError"
    assert (
        "The program asked for input ('Name? ') and its stdin was at its end; "
        "give the answers in `stdin`, one line each." in texts[0]
    )


async def test_the_clock_stands_still_meanwhile(connect: Connect, registry: Registry) -> None:
    answer = asyncio.Event()
    async with connect(User(answer)) as caller:
        call = asyncio.create_task(caller.run("run_code", code="input()", timeout=0.5))
        await until(lambda: registry.sessions("") and registry.sessions("")[0].runs)
        run = registry.find_run("", "1")
        await until(lambda: run.question)
        begun = run.seconds
        await until(lambda: run.seconds > begun + 0.8)
        answer.set()
        texts, facts = await call
    assert (texts[0], facts["status"]) == ("late\n'late'\n", "ok")


async def test_a_run_that_is_stopped_asks_no_more(connect: Connect, registry: Registry) -> None:
    async with connect(User(asyncio.Event())) as caller:
        call = asyncio.create_task(caller.call("run_code", code="input()"))
        await until(lambda: registry.sessions("") and registry.sessions("")[0].runs)
        run = registry.find_run("", "1")
        await until(lambda: run.question)
        await caller.call("stop_run", run_id="1")
        assert run.status == "interrupted"
        assert registry.find("", "default").state is SessionState.IDLE
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_more_questions_than_one_call_may_ask(connect: Connect, mode: Mode) -> None:
    count = MOST_ROUNDS + 3
    user = User(*(str(number) for number in range(count)))
    async with connect(user) as caller:
        code = f"sum(int(input()) for _ in range({count}))"
        result = await caller.call("run_code", code=code)
        facts = (result.meta or {})[META]
        while facts["status"] == "running":
            assert mode == "auto"
            result = await caller.call("get_output", run_id="1", wait=20)
            facts = (result.meta or {})[META]
    assert len(user.asked) == count
    assert f"\n{sum(range(count))}\n" in "".join(getattr(b, "text", "") for b in result.content)


async def test_a_run_in_the_background_asks_who_looks_after_it(
    connect: Connect, registry: Registry
) -> None:
    user = User("Ann", "5")
    async with connect(user) as caller:
        await caller.call("run_code", code=DIALOGUE, background=True)
        run = registry.find_run("", "1")
        await until(lambda: run.question)
        assert user.asked == []
        while run.summary is None:
            result = await caller.call("get_output", run_id="1", wait=20)
        result = await caller.call("get_output", run_id="1")
    assert user.asked == ["Name?", "Age?"]
    assert "Ann is 5" in str(result.content)


async def test_somebody_else_sees_what_it_waits_for(
    connect: Connect, caller: Caller, registry: Registry
) -> None:
    async with connect(User()) as other:
        await other.call("run_code", code=DIALOGUE, background=True)
        run = registry.find_run("", "1")
        await until(lambda: run.question)
        result = await caller.call("get_output", run_id="1")
        assert "[the program waits for an answer to 'Name? ']" in str(result.content)
        await caller.call("stop_run", run_id="1")
