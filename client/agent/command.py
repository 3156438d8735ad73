"""What the commands `ask` and `chat` do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from client.agent.consent import Keyboard
from client.agent.display import Display, visible
from client.agent.errors import AgentError
from client.agent.history import History, Saved
from client.agent.models import Choice, build, choose
from client.agent.options import limits_of
from client.agent.values import read, state_folder
from client.asking import can_ask
from client.connection import Connection
from client.mcp_client import ServerError
from client.progress import Progress
from client.show import FAILED, INTERRUPTED, complain, note

if TYPE_CHECKING:
    from client.agent.conversation import Conversation

#: The session of a conversation, when none is named.
_SESSION = "agent"
#: The exit code of a question that has no whole answer.
_UNANSWERED = 1
_PACKAGES = ("pydantic_ai", "anthropic", "google", "openai")
_MISSING = (
    "The agent needs packages that are not installed; `./setup.sh --llm` installs them, or "
    "`pip install -e '.[llm]'` in the checkout."
)
_LEAVE = ("exit", "quit")


def perform(options: argparse.Namespace) -> int:
    """Do the command and return its exit code. Raises `ServerError` and KeyboardInterrupt."""
    try:
        return _perform(options)
    except AgentError as error:
        complain(visible(str(error)))
        return FAILED


def _perform(options: argparse.Namespace) -> int:
    values = read()
    history = History(state_folder(values))
    if options.command == "chat" and options.list:
        for one in history.list():
            print(visible(f"{one.name}  {one.model}  {one.title}"))
        return 0
    if find_spec("pydantic_ai") is None:
        raise AgentError(_MISSING)
    keyboard = Keyboard() if can_ask() else None
    if keyboard is None and not options.yes:
        raise AgentError("Nobody can be asked here before something runs; --yes allows it all.")
    named, address = options.model, options.base_url
    if options.resume and not named:
        # A conversation is gone on with by its own model, at its own address.
        before = history.facts(options.resume)
        named, address = before.model, address or before.address
    choice = choose(values, named, address)
    with Progress() as progress, ExitStack() as stack:
        progress.begin("rmi-agent", "connecting")
        if keyboard is not None:
            keyboard.before = progress.clear
        connection = stack.enter_context(Connection(options.server, keyboard))
        conversation, saved = _conversation(options, history, choice, progress, keyboard)
        if not options.no_save:
            stack.enter_context(history.held(saved.name))
        stack.callback(connection.attend, lambda client: conversation.close(), lambda: False)
        progress.clear()
        talk = _Talk(connection, conversation, options)
        kept = "" if options.no_save else f"--resume {saved.name} goes on with it."
        try:
            code = talk.ask(options.question) if options.command == "ask" else talk.chat()
        except KeyboardInterrupt:
            note(f"Given up. {kept}".strip(), "red")
            raise
        if kept and saved.messages:
            note(f"The conversation is saved; {kept}")
        return code


def _conversation(
    options: argparse.Namespace,
    history: History,
    choice: Choice,
    progress: Progress,
    keyboard: Keyboard | None,
) -> tuple[Conversation, Saved]:
    """The conversation that the options ask for, and what is saved of it."""
    try:
        # The libraries take seconds to import, in which the server starts.
        from client.agent.conversation import Conversation

        model = build(choice)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        raise AgentError(_MISSING) from None
    saved = history.load(options.resume) if options.resume else history.new(_SESSION)
    saved.session = options.session or saved.session
    conversation = Conversation(
        model,
        choice,
        saved,
        None if options.no_save else history,
        limits_of(options),
        Display(progress, options.images),
        keyboard,
        is_free=options.yes,
        stream=not options.no_stream,
    )
    return conversation, saved


class _Talk:
    """Questions of the user, over an open connection."""

    def __init__(
        self, connection: Connection, conversation: Conversation, options: argparse.Namespace
    ) -> None:
        self._connection = connection
        self._conversation = conversation
        self._is_free = options.yes

    def ask(self, question: str) -> int:
        """Have one question answered; the exit code. Raises KeyboardInterrupt."""
        conversation = self._conversation
        if not question.strip():
            raise AgentError("The question is empty.")
        answer = self._connection.attend(
            lambda client: conversation.ask(client, question), conversation.stop
        )
        if not answer.trouble:
            return 0
        complain(visible(answer.trouble))
        return _UNANSWERED

    def chat(self) -> int:
        """Read questions and have each answered, until there are no more; the exit code."""
        on_terminal = sys.stdin.isatty()
        name = self._conversation.model
        note(f"{self._connection.server} · {name} · Ctrl-D leaves")
        code = 0
        try:
            for question in _questions(on_terminal):
                try:
                    code = self.ask(question)
                except KeyboardInterrupt:
                    if not on_terminal:
                        raise
                    note("Given up.", "red")
                    code = INTERRUPTED
                if code == _UNANSWERED and self._is_alone():
                    return FAILED
        except KeyboardInterrupt:
            print()
            return INTERRUPTED
        finally:
            if total := self._conversation.total():
                note(total)
        return 0 if on_terminal else code

    def _is_alone(self) -> bool:
        """Whether the server is gone."""
        try:
            self._connection.list_tools()
        except ServerError:
            return True
        return False


def _questions(on_terminal: bool) -> Iterator[str]:
    if on_terminal:
        with suppress(ImportError):
            import readline  # noqa: F401 - input() edits lines with it
    while True:
        try:
            # Not `for line in sys.stdin`, which reads ahead.
            line = input("> ") if on_terminal else sys.stdin.readline()
        except EOFError:
            print()
            return
        if not on_terminal and not line:
            return
        if line.strip() in _LEAVE:
            return
        if line.strip():
            yield line.strip()
