"""The samples, through the real SDKs, a provider over HTTP, the real server over stdio and real
kernels: success, an error explained and fixed, a file that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.client.agent.conftest import KEYS, MODELS, Talk, choice_of, scripted
from tests.client.agent.provider import Asked, Call, Provider, Say

APIS = pytest.mark.parametrize("api", MODELS)


def key_in(asked: Asked) -> str:
    headers = asked.headers
    found = headers.get("x-api-key") or headers.get("x-goog-api-key") or headers["authorization"]
    return found.removeprefix("Bearer ")


@APIS
def test_an_error_is_explained_and_fixed(
    talk: Talk, projects: Path, provider: Provider, capfd: pytest.CaptureFixture[str], api: str
) -> None:
    """The model reads the traceback, writes the fix, runs again, and says what it was. Each call
    is shown with what came of it, the write as a diff; the answer alone is standard output."""
    source = (projects / "error_test.py").read_text()
    fixed = source.replace("total / people", "total / people if people else 0")
    (projects / "fails.py").write_text(source)

    def write(asked: Asked) -> Call:
        assert asked.streams
        assert "ZeroDivisionError: division by zero" in asked.text
        return Call("write_file", file_name="fails.py", content=fixed, overwrite=True)

    scripted(
        provider,
        Call("run_python", file_name="fails.py"),
        write,
        Call("run_python", file_name="fails.py"),
        Say("It divided by zero guests.\nIt runs now."),
    )
    talk.choice = choice_of(api, provider)
    assert talk.ask("run fails.py and fix what fails") == ""
    answer, shown = capfd.readouterr()
    assert answer == "It divided by zero guests.\nIt runs now.\n"
    assert (projects / "fails.py").read_text() == fixed

    first, written, second = (shown.index(part) for part in ("▸ run_", "▸ write_", "[exit code 0"))
    assert first < written < second
    assert "  Planning a party for 8 guests\n" in shown
    assert "  ZeroDivisionError: division by zero\n  [exit code 1 · " in shown
    assert "  -    return total / people\n  +    return total / people if people else 0\n" in shown
    facts = r" s · 2 runs · 400 tokens read, 80 written · about \$0\.00\d+ at list prices · "
    assert re.search(facts, shown)
    assert [asked.api for asked in provider.asked] == [api] * 4
    assert key_in(provider.asked[0]) in KEYS.values()


@APIS
def test_success_not_streamed(
    talk: Talk, provider: Provider, capfd: pytest.CaptureFixture[str], api: str
) -> None:
    """With --no-stream the answer comes whole. (For Anthropic pydantic-ai streams it all the same,
    because that provider refuses long answers in one piece.)"""
    scripted(
        provider, Call("run_python", file_name="calculator.py"), Say("All of its checks pass.")
    )
    talk.choice, talk.stream = choice_of(api, provider), False
    assert talk.ask("does calculator.py work?") == ""
    answer, shown = capfd.readouterr()
    assert answer == "All of its checks pass.\n"
    assert "  7 + 5 = 12\n" in shown
    assert "[exit code 0 · " in shown
    assert [asked.streams for asked in provider.asked] == [api == "anthropic"] * 2
    assert "All checks passed." in provider.asked[1].text


def test_a_file_that_is_not_there(
    talk: Talk, provider: Provider, capfd: pytest.CaptureFixture[str]
) -> None:
    """The refusal is the model's to read, and it looks for the file."""

    def look(asked: Asked) -> Call:
        assert "calc.py" in asked.text and "does not exist" in asked.text
        return Call("list_files", pattern="calc*")

    scripted(
        provider,
        Call("run_python", file_name="calc.py"),
        look,
        Say("There is no calc.py; did you mean calculator.py?"),
    )
    assert talk.ask("run calc.py") == ""
    answer, shown = capfd.readouterr()
    assert "did you mean calculator.py?" in answer
    assert "calculator.py" in provider.asked[2].text
    assert "▸ run_python calc.py\n" in shown


def test_images_are_saved_named_and_seen_by_the_model(
    talk: Talk, provider: Provider, capfd: pytest.CaptureFixture[str]
) -> None:
    scripted(provider, Call("run_python", file_name="plot_sine.py"), Say("Two curves."))
    talk.choice = choice_of("anthropic", provider)
    assert talk.ask("draw it") == ""
    (saved,) = talk.images.iterdir()
    assert saved.read_bytes().startswith(b"\x89PNG")
    assert f"saved as {saved}]" in capfd.readouterr().err
    assert '"media_type": "image/png"' in provider.asked[1].text


def test_all_runs_are_in_one_session(talk: Talk, provider: Provider) -> None:
    """The model has no say in it: no tool but those on sessions has that argument for it."""
    scripted(
        provider,
        Call("run_code", code="x = 41"),
        Call("run_code", code="x + 1"),
        Say("done"),
    )
    talk.saved.session = "a session"
    assert talk.ask("count") == "", talk.saved
    assert "42" in provider.asked[2].text and "session a session" in provider.asked[2].text
    tools = {tool["function"]["name"]: tool for tool in provider.asked[0].body["tools"]}
    assert "session" not in tools["run_code"]["function"]["parameters"]["properties"]


def test_the_servers_own_instructions_reach_the_model(talk: Talk, provider: Provider) -> None:
    scripted(provider, Say("hello"))
    talk.ask("hello")
    assert "isolation level here is `none`" in provider.asked[0].text


def test_a_run_that_is_named_is_stopped_wherever_it_is(talk: Talk, provider: Provider) -> None:
    """A run in the background is the model's to follow and to stop."""

    def stop(asked: Asked) -> Call:
        (run,) = re.findall(r"run (\d+)", asked.body["messages"][-1]["content"])[:1]
        return Call("stop_run", run_id=run)

    code = "import time\nwhile True: time.sleep(0.1)"
    scripted(
        provider,
        Call("run_code", code=code, background=True, timeout=600),
        stop,
        Say("Stopped."),
    )
    assert talk.ask("begin, and stop it") == ""
    assert "is missing" not in provider.asked[2].text
    stopped = provider.asked[2].body["messages"][-1]["content"]
    assert "error" not in stopped.lower(), stopped
