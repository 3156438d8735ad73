"""The agent on a projects directory with the samples, before a provider on this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_ai.models import Model

from client.agent.consent import Keyboard
from client.agent.conversation import Conversation
from client.agent.display import Display
from client.agent.history import History, Saved
from client.agent.limits import Limits
from client.agent.models import Choice, build, choose
from client.connection import Connection
from client.progress import Progress
from tests.client.agent.provider import Provider, Scripted
from tests.client.command import Command, Terminal
from tests.client.conftest import make_command

#: Seconds to wait for what comes in a few, on a machine with much else to do: a command imports
#: the libraries of three providers.
PATIENCE = 120
#: How `--model` names a model of each API.
MODELS = {
    "chat": "openai:gpt-5-mini",
    "responses": "openai-responses:gpt-5-mini",
    "anthropic": "anthropic:claude-sonnet-4-5",
    "google": "google:gemini-2.5-flash",
}
KEYS = {
    "OPENAI_API_KEY": "sk-secret-of-openai",
    "ANTHROPIC_API_KEY": "sk-secret-of-anthropic",
    "GEMINI_API_KEY": "secret-of-gemini",
}
#: What a developer may have set, and what the library's own look at the network would need.
BARE = {
    **dict.fromkeys(("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL"), ""),
    "GOOGLE_API_KEY": "",
    "NO_PROXY": "127.0.0.1",
}


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider; a test sets its `script`."""
    with Provider() as made:
        yield made


class Agent:
    """`rmi-agent ask` and `chat` as processes, with the provider's address and keys."""

    def __init__(self, command: Command, provider: Provider, state: Path) -> None:
        self.command = command
        self.projects = command.projects
        self.state = state
        self._provider = provider
        self._environment = {**KEYS, **BARE, "RMI_STATE_DIR": str(state)}

    def args(self, api: str, *args: str) -> list[str]:
        verb, *rest = args
        address = self._provider.base(api)
        return [verb, "--model", MODELS[api], "--base-url", address, *rest]

    def __call__(
        self, *args: str, api: str = "chat", stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it in pipes, to its end."""
        return self._run(self.args(api, *args), stdin, environment)

    def plain(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The same with no option but these."""
        return self._run(list(args), "", environment)

    def _run(
        self, args: list[str], stdin: str, environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        with self.command.start(*args, **{**self._environment, **environment}) as process:
            try:
                out, err = process.communicate(stdin, timeout=PATIENCE)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def on_terminal(self, *args: str, api: str = "chat", **environment: str) -> Terminal:
        """Start it on a terminal."""
        environment = {**self._environment, **environment}
        return self.command.on_terminal(*self.args(api, *args), **environment)


@pytest.fixture
def agent(tmp_path: Path, provider: Provider) -> Agent:
    """`agent("ask", "--yes", "run hello_world.py", api="google")`"""
    return Agent(make_command(tmp_path), provider, tmp_path / "state")


class Talk:
    """A conversation in this process, as the command has it, over a real server over stdio."""

    def __init__(self, connection: Connection, folder: Path, choice: Choice) -> None:
        self.connection = connection
        self.history = History(folder / "conversations")
        self.saved = Saved("test", "agent")
        self.choice = choice
        #: Another model than the choice, pydantic-ai's own for tests.
        self.model: Model | None = None
        self.limits = Limits(seconds=60)
        self.images = folder / "images"
        self.keyboard: Keyboard | None = None
        self.stream = True

    def make(self) -> Conversation:
        """The conversation."""
        return Conversation(
            self.model or build(self.choice),
            self.choice,
            self.saved,
            self.history,
            self.limits,
            Display(Progress(), self.images),
            self.keyboard,
            is_free=self.keyboard is None,
            stream=self.stream,
        )

    def ask(self, question: str) -> str:
        """Have a question answered; the sentence on what went wrong, or ""."""
        conversation = self.make()
        try:
            return self.connection.attend(
                lambda client: conversation.ask(client, question), conversation.stop
            ).trouble
        finally:
            if self.model is None:
                self.connection.attend(lambda client: conversation.close(), lambda: False)


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples, in a directory of the module's own."""
    return make_command(tmp_path_factory.mktemp("agent")).projects


@pytest.fixture(scope="module")
def connection(projects: Path) -> Iterator[Connection]:
    """A connection to a server over stdio, for all tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHON_PROJECTS_DIR", str(projects))
        with Connection(None) as connection:
            yield connection


@pytest.fixture
def talk(connection: Connection, tmp_path: Path, provider: Provider) -> Talk:
    """A conversation with a model of chat completions, unless a test sets another `choice`."""
    return Talk(connection, tmp_path, choice_of("chat", provider))


def choice_of(api: str, provider: Provider) -> Choice:
    """The choice that the command would make."""
    return choose(KEYS, MODELS[api], provider.base(api))


def scripted(provider: Provider, *replies: Scripted) -> Provider:
    """The provider with this script."""
    provider.script = list(replies)
    return provider
