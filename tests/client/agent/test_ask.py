"""`rmi-agent ask` and `chat` as processes in a pipe."""

from __future__ import annotations

import json

import pytest

from tests.client.agent.conftest import KEYS, PATIENCE, Agent, scripted
from tests.client.agent.provider import Call, Provider, Say

pytestmark = pytest.mark.timeout(4 * PATIENCE)

#: Prints the names of secrets in the environments of the kernel and of every process above it, up
#: to the command itself.
LOOKS_FOR_KEYS = """
import os, pathlib
found, pid = [dict(os.environ)], os.getpid()
while True:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    pid = int(status.split("PPid:")[1].split()[0])
    folder = pathlib.Path(f"/proc/{pid}")
    if b"mcp_client.py" in (folder / "cmdline").read_bytes() or pid < 2:
        break
    found.append({"": (folder / "environ").read_text()})
words = [word for one in found for word in ("secret-of", "API_KEY") if word in str(one)]
print("looked at", len(found) > 1, words)
"""


def test_neither_server_nor_kernel_gets_a_key(agent: Agent, provider: Provider) -> None:
    """Of all the keys that are set, none is in the environment of a process that the command has
    started, and none in what is sent or saved, but for the one header."""
    scripted(provider, Call("run_code", code=LOOKS_FOR_KEYS), Say("done"))
    done = agent("ask", "--yes", "look")
    assert done.returncode == 0, done.stderr
    assert "looked at True []" in done.stderr
    (saved,) = (agent.state / "conversations").glob("*.jsonl")
    for text in (done.stdout, done.stderr, saved.read_text(), *(a.text for a in provider.asked)):
        assert not any(key in text for key in KEYS.values())


def test_without_a_key(agent: Agent) -> None:
    nothing = dict.fromkeys(KEYS, "")
    done = agent.plain("ask", "--yes", "hello", **nothing)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "rmi-agent: There is no key: set ANTHROPIC_API_KEY, OPENAI_API_KEY or GEMINI_API_KEY in "
        "the environment or in .env.\n"
    )


def test_nothing_runs_unasked(agent: Agent, provider: Provider) -> None:
    """Where nobody can be asked, leave has to be given beforehand; nothing is sent anywhere."""
    done = agent("ask", "run hello_world.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "rmi-agent: Nobody can be asked here before something runs; --yes allows it all.\n"
    )
    assert provider.asked == []


def test_a_conversation_is_gone_on_with(agent: Agent, provider: Provider) -> None:
    """--resume sends what was said before, to the same model at the same address."""
    scripted(provider, Say("Seven."), Say("I said seven."))
    first = agent("ask", "--yes", "think of a number")
    (saved,) = (agent.state / "conversations").glob("*.jsonl")
    assert f"--resume {saved.stem} goes on with it" in first.stderr
    second = agent.plain("ask", "--yes", "--resume", "last", "which was it?")
    assert second.stdout == "I said seven.\n", second.stderr
    messages = json.dumps(provider.asked[1].body["messages"])
    assert "think of a number" in messages and "Seven." in messages
    assert "which was it?" in messages
    listed = agent.plain("chat", "--list")
    assert listed.stdout == f"{saved.stem}  openai:gpt-5-mini  think of a number\n"
    assert len(list((agent.state / "conversations").iterdir())) == 1


def test_questions_in_a_pipe(agent: Agent, provider: Provider) -> None:
    """`chat` reads one question a line; what all have taken is said at the end."""
    scripted(provider, Say("One."), Say("Two."))
    done = agent("chat", "--yes", "--no-save", stdin="first\n\nsecond\nexit\nthird\n")
    assert (done.returncode, done.stdout) == (0, "One.\nTwo.\n"), done.stderr
    assert "[2 questions: " in done.stderr
    assert len(provider.asked) == 2
    assert not agent.state.exists() or not list(agent.state.rglob("*.jsonl"))


def test_a_server_that_is_not_there(agent: Agent, provider: Provider) -> None:
    done = agent("ask", "--yes", "--server", "http://127.0.0.1:9/mcp", "hello")
    assert (done.returncode, provider.asked) == (2, [])
    assert done.stderr.startswith("rmi-agent: The server http://127.0.0.1:9/mcp cannot be reached")
    assert done.stderr.count("\n") == 1
