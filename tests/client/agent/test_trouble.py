"""What can go wrong is one clear sentence, and the conversation is kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.models.test import TestModel

from client.agent.history import Saved
from client.agent.limits import Limits
from client.agent.models import choose
from client.connection import Connection
from client.mcp_client import RmiMcpClient
from tests.client.agent.conftest import KEYS, MODELS, Talk, choice_of, scripted
from tests.client.agent.provider import Call, Cut, Fail, Garbage, Provider, Reply, Say, Wait

APIS = pytest.mark.parametrize("api", MODELS)
TITLES = {"responses": "", "chat": "", "anthropic": "Anthropic", "google": "Google"}
VARIABLES = {"anthropic": "ANTHROPIC_API_KEY", "google": "GEMINI_API_KEY"}


def kept(talk: Talk) -> str:
    """All that is saved of the conversation."""
    return (talk.history._path("test")).read_text()


@APIS
@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Fail(401), "{title} refused the key (HTTP 401); check {variable}."),
        (Fail(404), "{title} has no model '{model}' (HTTP 404)"),
        (Fail(400, message="bad\nrequest"), "{title} refused the request (HTTP 400): bad request."),
        (Garbage(), "{title} answered with what is no answer of a model: "),
        (Cut("This answer is never"), "The connection to {title} broke off in the middle"),
    ],
    ids=["wrong key", "no such model", "bad request", "no JSON", "cut off"],
)
def test_a_provider_that_fails(
    talk: Talk, provider: Provider, api: str, reply: Reply, sentence: str
) -> None:
    """For every provider the same sentence, with no word of a library's; the question is kept and
    the next one goes on."""
    scripted(provider, reply)
    talk.choice = choice_of(api, provider)
    trouble = talk.ask("are you there?")
    title = TITLES[api] or f"The model server {provider.url.removeprefix('http://')}"
    variable = VARIABLES.get(api, "OPENAI_API_KEY")
    expected = sentence.format(title=title, variable=variable, model=talk.choice.model)
    assert trouble.startswith(expected)
    assert "\n" not in trouble and not any(key in trouble for key in KEYS.values())
    assert "are you there?" in kept(talk)
    scripted(provider, Say("Here I am."))
    assert talk.ask("and now?") == ""
    assert "are you there?" in provider.asked[-1].text and "Here I am." in kept(talk)


@APIS
def test_a_rate_limit_is_waited_for_as_told(
    talk: Talk, provider: Provider, capfd: pytest.CaptureFixture[str], api: str
) -> None:
    """It is said for how long, and nothing is lost; so it is for a provider that is overloaded."""
    scripted(provider, Fail(429, "1"), Fail(503, "1"), Say("Here I am."))
    talk.choice = choice_of(api, provider)
    assert talk.ask("hello") == ""
    answer, shown = capfd.readouterr()
    assert answer == "Here I am.\n"
    assert "has had too many requests; waiting 1 s, as it asks.\n" in shown
    assert "cannot answer at present; waiting 1 s, as it asks.\n" in shown


def test_a_wait_beyond_the_limit_is_not_begun(talk: Talk, provider: Provider) -> None:
    scripted(provider, Fail(429, "3600"))
    trouble = talk.ask("hello")
    assert trouble.endswith("has had too many requests (HTTP 429); it asks to wait 3,600 s.")


def test_no_network(talk: Talk, provider: Provider) -> None:
    talk.choice = choose(KEYS, "anthropic:claude-sonnet-4-5", "http://127.0.0.1:9")
    assert talk.ask("hello") == (
        "Anthropic cannot be reached at http://127.0.0.1:9; check the network."
    )


def test_a_model_that_calls_for_ever(talk: Talk, provider: Provider) -> None:
    """--max-turns ends it; what it did is kept."""
    scripted(provider, Call("list_files"))
    talk.limits = Limits(turns=3)
    assert talk.ask("go") == "The model has had its 3 turns; --max-turns allows more."
    assert len(provider.asked) == 3
    assert kept(talk).count('"tool_name":"list_files"') >= 3
    provider.script = [Say("Stopped.")]
    assert talk.ask("stop it") == ""


def test_a_model_that_runs_for_ever(
    talk: Talk, provider: Provider, capfd: pytest.CaptureFixture[str]
) -> None:
    """Beyond --max-runs nothing is run, and the model is told so."""
    scripted(provider, *[Call("run_code", code="1")] * 3, Say("I have to stop."))
    talk.limits = Limits(runs=2)
    assert talk.ask("go") == ""
    shown = capfd.readouterr().err
    assert "All 2 runs of this question are used (--max-runs).\n" in shown
    assert shown.count("[exit code 0") == 2
    assert "Run no more" in provider.asked[3].text


def test_tokens_and_money(talk: Talk, provider: Provider) -> None:
    scripted(provider, Call("list_files"))
    talk.limits = Limits(tokens=200)
    assert talk.ask("go") == "240 tokens are used, of 200; --max-tokens allows more."
    talk.limits = Limits(cost=0.0001)
    assert talk.ask("go").endswith(" are spent, of $0.0001; --max-cost allows more.")
    talk.choice = choose(KEYS, "openai:llama", provider.base("chat"))
    assert talk.ask("go") == (
        "No price is known for openai:llama, so --max-cost cannot be kept; leave it out."
    )


def test_time_that_is_over(talk: Talk, provider: Provider) -> None:
    """The run that is under way is stopped."""
    scripted(provider, Call("run_code", code="import time\nwhile True: time.sleep(0.1)"))
    talk.limits = Limits(seconds=1)
    assert talk.ask("go") == "1 s are over; --max-seconds allows more."
    provider.script = [Call("run_code", code="'free'"), Say("done")]
    provider.asked.clear()
    talk.limits = Limits(seconds=60)
    assert talk.ask("is it free?") == ""
    assert "'free'" in provider.asked[1].text


def test_tools_that_are_none(talk: Talk, provider: Provider) -> None:
    """It is told which there are; one that does not listen is ended."""
    scripted(provider, Call("execute"), Call("list_files"), Say("Found it."))
    assert talk.ask("go") == ""
    assert "run_python" in provider.asked[1].body["messages"][-1]["content"]
    scripted(provider, Call("execute"))
    provider.asked.clear()
    trouble = talk.ask("go")
    assert trouble.startswith("The model gpt-5-mini gave an answer that cannot be used: ")
    assert "execute" in trouble
    assert len(provider.asked) < 10


def test_arguments_that_are_wrong(talk: Talk, provider: Provider) -> None:
    """The server's sentence is the model's to read."""
    scripted(provider, Call("run_python", file="hello_world.py"), Say("Sorry."))
    assert talk.ask("go") == ""
    assert "The argument file_name is missing" in provider.asked[1].text


def test_a_server_that_dies_in_the_middle(
    tmp_path: Path, projects: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_PROJECTS_DIR", str(projects))
    code = (
        "import os, signal; os.kill(int(open('/proc/%d/stat' % os.getppid()).read().split()[3]), 9)"
    )
    scripted(provider, Call("run_code", code=code + "; os.kill(os.getppid(), 9)"))
    with Connection(None) as connection:
        talk = Talk(connection, tmp_path, choice_of("chat", provider))
        trouble = talk.ask("go")
    assert trouble.startswith("The server of this project went away during the call")
    assert "run_code" in kept(talk)


def test_being_given_up_keeps_what_there_was(talk: Talk, provider: Provider) -> None:
    """As Ctrl-C does, when nothing runs."""
    go = threading.Event()

    scripted(provider, Call("list_files"), Wait("never", go))

    async def give_up(client: RmiMcpClient) -> None:
        conversation = talk.make()
        asking = asyncio.ensure_future(conversation.ask(client, "go"))
        while len(provider.asked) < 2:  # noqa: ASYNC110 - asked in another thread
            await asyncio.sleep(0.01)
        assert not conversation.stop()
        asking.cancel()
        await asyncio.wait({asking})
        await conversation.close()

    try:
        talk.connection.attend(give_up, lambda: False)
    finally:
        go.set()
    assert "hello_world.py" in kept(talk)
    provider.script = [Say("Going on.")]
    assert talk.ask("go on") == ""
    assert "hello_world.py" in provider.asked[-1].text


def test_whatever_model_pydantic_ai_has(
    talk: Talk, provider: Provider, capfd: pytest.CaptureFixture[str]
) -> None:
    """A function in the place of a model, and pydantic-ai's own that calls a tool by itself."""

    async def calls_and_answers(
        messages: list[ModelMessage], info: AgentInfo
    ) -> AsyncIterator[str | DeltaToolCalls]:
        if len(messages) == 1:
            yield {0: DeltaToolCall("run_code", '{"code": "print(6 * 7)"}', tool_call_id="1")}
        else:
            yield "It is "
            yield "42."

    talk.choice = choice_of("chat", provider)
    talk.model = FunctionModel(stream_function=calls_and_answers)
    assert talk.ask("what is 6 times 7?") == ""
    answer, shown = capfd.readouterr()
    assert answer == "It is 42.\n"
    assert "  42\n  [exit code 0 · " in shown
    # It calls none where there is a conversation already.
    talk.saved = Saved("other", "agent")
    talk.model = TestModel(call_tools=["list_files"], custom_output_text="There are some.")
    assert talk.ask("which files are there?") == ""
    answer, shown = capfd.readouterr()
    assert answer == "There are some.\n"
    assert "▸ list_files" in shown
    assert provider.asked == []
