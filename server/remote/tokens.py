"""Tokens of remote clients, by name. What is stored tells which token is right, not the token."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

#: Begins every token that is made here, so that one that got into the wrong place is found.
PREFIX = "rmi_"
_BYTES = 32
#: Far beyond any token: more is not worth hashing.
_LONGEST = 4096
# Windows has devices of these names, in every folder and with every suffix.
_NAME = re.compile(
    r"(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.IGNORECASE
)
_SUFFIX = ".json"
_DIGEST = re.compile(r"[0-9a-f]{64}")
#: A file changed within this time may change again without another time stamp.
_RECENT = 2 * 10**9
_LARGEST = 4096

logger = logging.getLogger("rmi.tokens")


class TokenError(Exception):
    """What could not be done with a token or the folder of tokens, why, and what to do: one or two
    sentences, which hold no token."""


@dataclass(frozen=True)
class Token:
    """What is known of a token."""

    name: str
    #: None: it comes with the settings.
    created: datetime | None


@dataclass(frozen=True)
class _Stored:
    digest: str
    created: datetime


_Stamp = tuple[int, int, int, int, int]


class Tokens:
    """The tokens in a folder, one file for each, and those of the settings.

    Any number of processes may use a folder at once: all see at once what one has changed. The
    folder is made with the first token. `fixed` has the SHA-256 of each token of the settings by
    its name, in hexadecimal digits.
    """

    def __init__(self, directory: Path, fixed: Mapping[str, str] | None = None) -> None:
        self._directory = directory
        self._fixed = dict(fixed or {})
        self._files: dict[str, tuple[_Stamp, _Stored | None]] = {}
        self._warned: set[str] = set()

    def __bool__(self) -> bool:
        """Whether only tokens let in: there are some, or files that were meant to be some."""
        if self._fixed or self._trouble():
            return True
        try:
            return any(name.endswith(_SUFFIX) for name in os.listdir(self._directory))
        except FileNotFoundError:
            return False

    def new(self, name: str) -> str:
        """A new token, which is to be shown once. Raises `TokenError`."""
        if not _NAME.fullmatch(name):
            raise TokenError(
                f"{name[:80]!r} cannot be the name of a token: at most 64 letters, digits and "
                ". _ -, the first a letter or digit, and no name of a Windows device."
            )
        if name in self._fixed:
            raise TokenError(f"RMI_TOKENS has a token {name} already; choose another name.")
        token = PREFIX + secrets.token_urlsafe(_BYTES)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        content = json.dumps({"sha256": _digest(token), "created": created})
        make_private(self._directory)
        path = self._path(name)
        try:
            # One of two that make the same name fails here. The other's file is no token before
            # all of it is written, since half of it is no JSON.
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise TokenError(
                f"There is a token {name} already; revoke it first, or choose another name."
            ) from None
        except OSError as error:
            raise TokenError(f"{path} cannot be written: {error.strerror}.") from None
        try:
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(content)
                file.flush()
                os.fsync(fd)
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise TokenError(f"{path} cannot be written: {error.strerror}.") from None
        return token

    def revoke(self, name: str) -> None:
        """End a token. Raises `TokenError` when there is none of that name, or it must stay."""
        try:
            if not _NAME.fullmatch(name):
                raise FileNotFoundError
            self._path(name).unlink()
        except FileNotFoundError:
            if name in self._fixed:
                raise TokenError(
                    f"The token {name} comes from RMI_TOKENS; take it out there and restart the "
                    "server."
                ) from None
            raise TokenError(
                f"There is no token {name[:80]!r}; `token list` shows those that there are."
            ) from None
        except OSError as error:
            raise TokenError(
                f"{self._path(name)} cannot be removed: {error.strerror}. The token still works."
            ) from None

    def list(self) -> list[Token]:
        """All tokens, by name. Raises `TokenError` when the folder must not be trusted."""
        if trouble := self._trouble():
            raise TokenError(trouble)
        found = {name: Token(name, stored.created) for name, stored in self._stored()}
        found |= {name: Token(name, None) for name in self._fixed}
        return [found[name] for name in sorted(found)]

    def owner(self, token: str) -> str | None:
        """The name of a token; None when it is none. How long that takes tells nothing of it."""
        if len(token) > _LONGEST:
            return None
        digest = _digest(token)
        found = None
        for name, stored in self._stored():
            if hmac.compare_digest(stored.digest, digest):
                found = name
        for name, fixed in self._fixed.items():
            if hmac.compare_digest(fixed, digest):
                found = name
        return found

    def _path(self, name: str) -> Path:
        return self._directory / (name + _SUFFIX)

    def _stored(self) -> Iterator[tuple[str, _Stored]]:
        """What the folder holds now; a file is read again only when it may have changed."""
        if trouble := self._trouble():
            self._warn(trouble)
            return
        files: dict[str, tuple[_Stamp, _Stored | None]] = {}
        recent = time.time_ns() - _RECENT
        with contextlib.suppress(FileNotFoundError), os.scandir(self._directory) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except OSError:  # revoked meanwhile
                    continue
                stamp = (
                    status.st_mtime_ns,
                    status.st_ino,
                    status.st_size,
                    status.st_mode,
                    status.st_uid,
                )
                known = self._files.get(entry.name)
                if known is None or known[0] != stamp or stamp[0] > recent:
                    known = stamp, self._read(entry, status)
                files[entry.name] = known
        self._files = files
        for name, (_, stored) in files.items():
            if stored is not None:
                yield name.removesuffix(_SUFFIX), stored

    def _read(self, entry: os.DirEntry[str], status: os.stat_result) -> _Stored | None:
        name = entry.name.removesuffix(_SUFFIX)
        if name == entry.name or not _NAME.fullmatch(name) or not stat.S_ISREG(status.st_mode):
            self._warn(f"{entry.path!r} is ignored: it is no file of a token.")
            return None
        if _exposed(status):
            self._warn(
                f"{entry.path!r} is ignored: others than you may read or change it. Revoke the "
                "token and make a new one."
            )
            return None
        try:
            with open(entry.path, "rb") as file:
                found = json.loads(file.read(_LARGEST))
            digest, created = found["sha256"], datetime.fromisoformat(found["created"])
            if _DIGEST.fullmatch(digest):
                return _Stored(digest, created)
        except FileNotFoundError:  # revoked meanwhile
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            pass
        # It may be on its way: it is read again until it has had the time.
        if status.st_mtime_ns < time.time_ns() - _RECENT:
            self._warn(
                f"{entry.path!r} is ignored: it cannot be read as a token. Revoke it and make a "
                "new one."
            )
        return None

    def _trouble(self) -> str:
        """Why the folder must not be trusted; "" when it may be, or is not there."""
        try:
            return _folder_trouble(self._directory)
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"{self._directory} cannot be read: {error.strerror}."

    def _warn(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            logger.warning(sentence)


def make_private(directory: Path) -> None:
    """Make a folder for its owner alone, if there is none. Raises `TokenError` when it cannot be
    had, or others may read or change it."""
    try:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        trouble = _folder_trouble(directory)
    except OSError as error:
        raise TokenError(
            f"{directory} cannot be had: {error.strerror}. RMI_STATE_DIR may name another folder."
        ) from None
    if trouble:
        raise TokenError(trouble)


def _folder_trouble(directory: Path) -> str:
    status = os.stat(directory)
    if not stat.S_ISDIR(status.st_mode):
        return f"{directory} is not a folder. RMI_STATE_DIR may name another place."
    if _exposed(status):
        return (
            f"{directory} is not used: it belongs to somebody else, or others may read or change "
            f"it. Make it yours alone (chmod 700 '{directory}'), or set RMI_STATE_DIR."
        )
    return ""


def _exposed(status: os.stat_result) -> bool:
    """Whether others may read or change it. Windows keeps what is in a user's profile private."""
    if sys.platform == "win32":
        return False
    return bool(status.st_mode & 0o077) or status.st_uid != os.geteuid()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
