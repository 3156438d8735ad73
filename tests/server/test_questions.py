"""Questions put to real clients, in both eras of the protocol; the program is a list of prompts."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import uvicorn
from fastmcp import Client, Context, FastMCP
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport
from fastmcp.tools.base import ToolResult
from mcp.client._input_required import InputRequiredRoundsExceededError
from mcp.server.request_state import RequestStateSecurity
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolResult,
    ElicitationCapability,
    ElicitRequestFormParams,
    FormElicitationCapability,
    InputRequiredResult,
    TextContent,
    UrlElicitationCapability,
)

from kernels.questions import Question
from server.questions import (
    MOST_ROUNDS,
    SECRET,
    Answer,
    answered,
    ask_now,
    asking,
    asks_by_result,
    can_ask,
)
from tests.conftest import until

ROOT = Path(__file__).resolve().parents[2]
Mode = Literal["auto", "legacy"]


def build(ttl: float = 600) -> FastMCP[Any]:
    """A server with a tool that asks each of `prompts`, and says what it was told."""
    server: FastMCP[Any] = FastMCP(
        "asks", request_state_security=RequestStateSecurity.ephemeral(ttl=ttl)
    )
    #: What "runs" were told so far, by their ids.
    runs: dict[str, list[str | None]] = {}

    async def ask(
        ctx: Context, prompts: list[str], password: bool = False
    ) -> ToolResult | InputRequiredResult:
        if not can_ask(ctx):
            return ToolResult("nobody to ask")
        questions = [Question(n, prompt, password) for n, prompt in enumerate(prompts, 1)]
        if not asks_by_result(ctx):
            return ToolResult(repr([await ask_now(ctx, question) for question in questions]))
        answer = answered(ctx)
        if answer is None:
            run_id = str(len(runs) + 1)
            runs[run_id] = []
        else:
            run_id = answer.run_id
            if answer.given:
                runs[run_id].append(answer.text)
        seen = answer.seen if answer is not None else 0
        if seen < len(questions):
            return asking(questions[seen], run_id, answer)
        return ToolResult(repr(runs[run_id]))

    async def give_up(ctx: Context) -> str:
        """Asks, and goes on when the client has shown the question."""
        task = asyncio.ensure_future(ask_now(ctx, Question(1, "Name? ")))
        await server.shown.wait()  # type: ignore[attr-defined]
        task.cancel()
        await asyncio.wait({task})
        return f"cancelled: {task.cancelled()}"

    server.tool(ask, output_schema=None)
    server.tool(give_up, output_schema=None)
    return server


class User:
    """Answers questions; None declines. Keeps the forms that it was shown."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.forms: list[ElicitRequestFormParams] = []

    async def __call__(self, message: str, type: Any, params: Any, context: Any) -> Any:
        assert params.message == message
        self.forms.append(params)
        answer = self.answers.pop(0)
        if answer is None:
            return ElicitResult(action="decline")
        return {"answer": answer}

    @property
    def messages(self) -> list[str]:
        return [form.message for form in self.forms]

    @property
    def field(self) -> dict[str, Any]:
        """The one field of the last form."""
        schema = self.forms[-1].requested_schema
        assert schema["required"] == ["answer"]
        ((name, field),) = schema["properties"].items()
        assert name == "answer"
        return dict(field)


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


Connect = Callable[..., Any]


@pytest.fixture
def connect(mode: Mode) -> Connect:
    """`async with connect(user) as client`: to a server in memory, in each era."""

    @asynccontextmanager
    async def connected(user: Any, **options: Any) -> AsyncIterator[Client[Any]]:
        async with Client(build(), mode=mode, elicitation_handler=user, **options) as client:
            yield client

    return connected


async def told(client: Client[Any], *prompts: str, **arguments: Any) -> str:
    """What the tool says in the end."""
    result = await client.call_tool_mcp("ask", {"prompts": list(prompts), **arguments})
    return text_of(result)


def text_of(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


class TestBothEras:
    async def test_the_user_is_asked_with_the_prompt(self, connect: Connect) -> None:
        """The client calls the tool again by itself, where the era has it so."""
        user = User("Ada", "36")
        async with connect(user) as client:
            assert await told(client, "Name? ", "Age? ") == "['Ada', '36']"
        assert user.messages == ["Name?", "Age?"]
        assert user.field == {
            "type": "string",
            "title": "Answer",
            "description": user.field["description"],
        }

    @pytest.mark.parametrize("answer", ["", "Zoë ☃ 😀", "two\nlines\n", " "])
    async def test_answers_arrive_as_they_are(self, connect: Connect, answer: str) -> None:
        async with connect(User(answer)) as client:
            assert await told(client, "? ") == repr([answer])

    async def test_a_declined_question_has_no_answer(self, connect: Connect) -> None:
        async with connect(User(None, "b")) as client:
            assert await told(client, "a ", "b ") == "[None, 'b']"

    async def test_nor_has_a_cancelled_one(self, connect: Connect) -> None:
        async def cancel(*args: Any) -> Any:
            return ElicitResult(action="cancel")

        async with connect(cancel) as client:
            assert await told(client, "a ") == "[None]"

    async def test_nor_one_that_is_answered_with_something_else(self, connect: Connect) -> None:
        async def answer(*args: Any) -> Any:
            return ElicitResult(action="accept", content={"other": "x"})

        async with connect(answer) as client:
            assert await told(client, "a ") == "[None]"

    async def test_a_secret_is_marked_as_such(self, connect: Connect) -> None:
        """In the form's title and in words: schemas of the protocol know no password."""
        user = User("s3cret")
        async with connect(user) as client:
            assert await told(client, "PIN: ", password=True) == "['s3cret']"
        assert user.messages[0].startswith("PIN:\nThe answer is secret")
        assert user.field["title"] == SECRET

    @pytest.mark.parametrize(
        ("prompt", "message"),
        [
            ("", "The program asks for input."),
            (" \n", "The program asks for input."),
            ("\x1b[1mName\x1b[0m? ", "Name?"),
            ("1) a\n2) b\n> ", "1) a\n2) b\n>"),
            ("\ud800?", "\\ud800?"),
        ],
    )
    async def test_the_message_is_readable(self, mode: Mode, prompt: str, message: str) -> None:
        result = asking(Question(1, prompt), "12")
        assert result.input_requests is not None
        (request,) = result.input_requests.values()
        assert request.params is not None
        assert request.params.message == message  # type: ignore[union-attr]

    async def test_a_client_that_cannot_ask_is_not_asked(self, connect: Connect) -> None:
        async with connect(None) as client:
            assert await told(client, "a ") == "nobody to ask"


class TestWhileTheCallGoesOn:
    """Up to 2025-11-25."""

    async def test_a_client_that_fails_has_no_answer(self) -> None:
        async def fail(*args: Any) -> Any:
            raise RuntimeError("no form")

        async with Client(build(), mode="legacy", elicitation_handler=fail) as client:
            assert await told(client, "a ") == "[None]"

    async def test_there_is_no_end_to_the_questions(self) -> None:
        count = MOST_ROUNDS + 5
        user = User(*map(str, range(count)))
        async with Client(build(), mode="legacy", elicitation_handler=user) as client:
            assert await told(client, *["? "] * count) == repr([str(n) for n in range(count)])

    async def test_asking_can_be_given_up(self) -> None:
        """When the program does not wait any more; the client's form may still be open."""
        server = build()
        shown = server.shown = asyncio.Event()  # type: ignore[attr-defined]

        async def show(*args: Any) -> Any:
            shown.set()
            await asyncio.Event().wait()

        async with Client(server, mode="legacy", elicitation_handler=show) as client:
            assert text_of(await client.call_tool_mcp("give_up", {})) == "cancelled: True"


class TestByResult:
    """From 2026-07-28 on."""

    async def first(self, client: Client[Any], *prompts: str) -> InputRequiredResult:
        """The first answer to a call, which the client does not go on with by itself."""
        return await self.call(client, list(prompts))

    @staticmethod
    async def call(client: Client[Any], prompts: list[str], **more: Any) -> Any:
        return await client.session.call_tool(
            "ask", {"prompts": prompts}, allow_input_required=True, **more
        )

    async def test_the_state_travels_with_the_client(self) -> None:
        """It names run and question; a call without any word on it is asked again."""
        async with Client(build(), elicitation_handler=User()) as client:
            first = await self.first(client, "a ")
            again = await self.call(client, ["a "], request_state=first.request_state)
            assert isinstance(again, InputRequiredResult)
            assert again.input_requests == first.input_requests
            result = await self.call(
                client,
                ["a "],
                request_state=again.request_state,
                input_responses={"answer": ElicitResult(action="accept", content={"answer": "x"})},
            )
            assert text_of(result) == "['x']"

    @pytest.mark.parametrize("state", ["forged", "", '{"run": "1", "question": 1, "round": 1}'])
    async def test_it_cannot_be_forged(self, state: str) -> None:
        async with Client(build(), elicitation_handler=User()) as client:
            with pytest.raises(MCPError, match="requestState"):
                await self.call(client, ["a "], request_state=state)

    async def test_nor_used_for_another_call(self) -> None:
        async with Client(build(), elicitation_handler=User()) as client:
            first = await self.first(client, "a ")
            with pytest.raises(MCPError, match="requestState"):
                await self.call(client, ["b "], request_state=first.request_state)

    async def test_clients_give_a_call_up_after_so_many_rounds(self) -> None:
        async with Client(build(), elicitation_handler=User(*["x"] * MOST_ROUNDS)) as client:
            assert await told(client, *["? "] * MOST_ROUNDS) == repr(["x"] * MOST_ROUNDS)
        async with Client(build(), elicitation_handler=User(*["x"] * MOST_ROUNDS)) as client:
            with pytest.raises(InputRequiredRoundsExceededError):
                await told(client, *["? "] * (MOST_ROUNDS + 1))

    async def test_a_client_that_fails_gives_the_call_up(self) -> None:
        """The server does not hear of it."""

        async def fail(*args: Any) -> Any:
            raise RuntimeError("no form")

        async with Client(build(), elicitation_handler=fail) as client:
            with pytest.raises(MCPError, match="no form"):
                await told(client, "a ")

    async def test_an_answer_that_comes_too_late_is_refused(self) -> None:
        """After the `ttl` of the server's `RequestStateSecurity`, 600 s where it has none."""
        async with Client(build(ttl=1e-6), elicitation_handler=User("x")) as client:
            with pytest.raises(MCPError, match="expired"):
                await told(client, "a ")


@asynccontextmanager
async def served(server: FastMCP[Any]) -> AsyncIterator[str]:
    """The address of `server` over HTTP."""
    app = server.http_app(path="/mcp")
    http = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(http.serve([listening]))
        await until(lambda: http.started)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        http.should_exit = True
        await serving


class TestTransports:
    async def test_stdio(self, mode: Mode) -> None:
        code = "from tests.server.test_questions import build; build().run(show_banner=False)"
        transport = StdioTransport(
            sys.executable, ["-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        user = User("Ada", None)
        async with Client(transport, mode=mode, elicitation_handler=user) as client:
            assert await told(client, "Name? ", "Age? ") == "['Ada', None]"

    async def test_http(self, mode: Mode) -> None:
        user = User("Ada", None)
        async with (
            served(build()) as url,
            Client(url, mode=mode, elicitation_handler=user) as client,
        ):
            assert await told(client, "Name? ", "Age? ") == "['Ada', None]"


class TestWhoCanBeAsked:
    @pytest.mark.parametrize(
        ("declared", "channel", "expected"),
        [
            (None, True, False),
            (ElicitationCapability(), True, True),
            (ElicitationCapability(form=FormElicitationCapability()), True, True),
            (ElicitationCapability(url=UrlElicitationCapability()), True, False),
            (ElicitationCapability(), False, False),
        ],
    )
    def test_by_what_the_client_has_declared(
        self, declared: ElicitationCapability | None, channel: bool, expected: bool
    ) -> None:
        """Forms, which an empty capability means, too; and a channel to ask over."""
        assert can_ask(context(declared, channel)) is expected

    def test_nobody_in_a_background_task(self) -> None:
        assert not can_ask(context(ElicitationCapability(), True, is_background_task=True))

    def test_nobody_without_a_request(self) -> None:
        assert not can_ask(context(ElicitationCapability(), True, request_context=None))

    def test_what_was_seen(self) -> None:
        assert Answer("1", 3, "x").seen == Answer("1", 3, None).seen == 3
        assert Answer("1", 3, None, given=False).seen == 2


def context(declared: ElicitationCapability | None, channel: bool, **more: Any) -> Any:
    """What a call has to say of its client, in the old era."""
    session = SimpleNamespace(
        client_capabilities=SimpleNamespace(elicitation=declared), can_send_request=channel
    )
    request = SimpleNamespace(protocol_version="2025-11-25")
    facts = {"is_background_task": False, "request_context": request, **more}
    return SimpleNamespace(session=session, **facts)
