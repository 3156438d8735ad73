"""Conversations kept in files, to be gone on with: whole or not at all, and private."""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.agent.errors import AgentError

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage

_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,60}")
_TITLE = 60


@dataclass
class Saved:
    """A conversation. `messages` are pydantic-ai's; who talks in it changes them and saves it."""

    name: str
    session: str
    model: str = ""
    #: The model's address, where it is not its provider's: a local model's conversation must not
    #: be sent to somebody else for want of an option.
    address: str = ""
    #: The beginning of its first question.
    title: str = ""
    messages: list[ModelMessage] = field(default_factory=list)


class History:
    """The conversations of a folder, which is made when the first one is saved."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def new(self, session: str) -> Saved:
        """A conversation that is not saved yet."""
        name = f"{time.strftime('%Y-%m-%d-%H%M%S')}-{secrets.token_hex(2)}"
        return Saved(name, session)

    def save(self, conversation: Saved) -> None:
        """Write it, in place of what was saved of it before. Raises `AgentError`."""
        from pydantic_ai.messages import ModelMessagesTypeAdapter

        facts = {
            "version": _VERSION,
            "session": conversation.session,
            "model": conversation.model,
            "address": conversation.address,
            "title": conversation.title[:_TITLE],
        }
        # The facts are the first line, so that a list need not read the images of the others.
        data = json.dumps(facts).encode() + b"\n"
        data += ModelMessagesTypeAdapter.dump_json(conversation.messages)
        path = self._path(conversation.name)
        temporary = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
        try:
            self._make_private()
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise AgentError(
                f"The conversation cannot be saved in {self._folder}: {error.strerror}."
            ) from None

    def load(self, name: str) -> Saved:
        """The conversation of this name; "last": the one that was saved last. Raises
        `AgentError`."""
        from pydantic_ai.messages import ModelMessagesTypeAdapter

        saved, rest = self._read(name)
        try:
            saved.messages = ModelMessagesTypeAdapter.validate_json(rest)
        except ValueError:
            raise self._unreadable(saved.name) from None
        return saved

    def facts(self, name: str) -> Saved:
        """The same without its messages."""
        return self._read(name)[0]

    def _read(self, name: str) -> tuple[Saved, bytes]:
        if name == "last":
            names = [one.name for one in self.list()]
            if not names:
                raise AgentError(f"No conversation is saved in {self._folder}.")
            name = names[0]
        try:
            first, _, rest = self._path(name).read_bytes().partition(b"\n")
            facts = _facts(first)
        except FileNotFoundError:
            raise AgentError(
                f"There is no conversation {name!r}; `rmi-agent chat --list` lists them."
            ) from None
        except OSError as error:
            raise AgentError(f"{self._path(name)} cannot be read: {error.strerror}.") from None
        except ValueError:
            raise self._unreadable(name) from None
        return Saved(name, **facts), rest

    def _unreadable(self, name: str) -> AgentError:
        return AgentError(f"{self._path(name)} is no conversation that can be read.")

    def list(self) -> list[Saved]:
        """The conversations without their messages, the one that was saved last first."""
        found: list[tuple[int, Saved]] = []
        with suppress(FileNotFoundError, NotADirectoryError):
            for path in self._folder.glob("*.jsonl"):
                # One that is removed meanwhile, or is none, is not listed.
                with suppress(OSError, ValueError), path.open("rb") as file:
                    facts = _facts(file.readline())
                    stamp = os.fstat(file.fileno()).st_mtime_ns
                    found.append((stamp, Saved(path.stem, **facts)))
        return [saved for _, saved in sorted(found, key=lambda pair: pair[0], reverse=True)]

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """While this is open, nobody else goes on with the conversation. Raises `AgentError` when
        somebody does."""
        if sys.platform == "win32":
            yield
            return
        import fcntl

        try:
            self._make_private()
            file = open(self._path(name).with_suffix(".lock"), "w")  # noqa: SIM115
        except OSError as error:
            raise AgentError(
                f"The conversation cannot be saved in {self._folder}: {error.strerror}."
            ) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Somebody who held it may have removed it just now.
                os.stat(file.name)
            except OSError:
                raise AgentError(f"Somebody else goes on with the conversation {name}.") from None
            try:
                yield
            finally:
                with suppress(OSError):
                    os.unlink(file.name)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise AgentError(f"{name!r} is no name of a conversation.")
        return self._folder / f"{name}.jsonl"

    def _make_private(self) -> None:
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        status = os.stat(self._folder)
        exposed = False
        # Windows keeps what is in a user's profile private.
        if sys.platform != "win32":
            exposed = bool(status.st_mode & 0o077) or status.st_uid != os.geteuid()
        if not stat.S_ISDIR(status.st_mode) or exposed:
            raise AgentError(
                f"{self._folder} is not yours alone; make it so (chmod 700), or set RMI_STATE_DIR."
            )


def _facts(line: bytes) -> dict[str, Any]:
    """The first line of a file. Raises ValueError."""
    facts = json.loads(line)
    if not isinstance(facts, dict) or facts.get("version") != _VERSION:
        raise ValueError("of another kind")
    return {name: str(facts.get(name, "")) for name in ("session", "model", "address", "title")}
