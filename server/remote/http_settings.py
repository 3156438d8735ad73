"""The settings of the HTTP server, which stdio has no use for."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from server.remote.oauth import OAuthSettings, oauth_settings
from server.values import SettingError, count, read, text, words

#: As of the tokens that this server makes.
TOKEN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LEAST_TOKEN = 32
_HOST = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class HttpSettings:
    """The comment names the variable of each."""

    host: str  # RMI_HOST
    port: int  # RMI_PORT
    #: The SHA-256 of each token by its name, in hexadecimal digits.
    tokens: Mapping[str, str] = field(repr=False)  # RMI_TOKENS
    #: Names under which clients may reach the server, beside those of this machine.
    allowed_hosts: tuple[str, ...]  # RMI_ALLOWED_HOSTS
    #: Pages that may reach it from a browser.
    allowed_origins: tuple[str, ...]  # RMI_ALLOWED_ORIGINS
    #: What one token may have: calls a minute, runs that wait or run, sessions.
    token_calls: int  # RMI_TOKEN_CALLS
    token_runs: int  # RMI_TOKEN_RUNS
    token_sessions: int  # RMI_TOKEN_SESSIONS
    oauth: OAuthSettings | None  # RMI_OAUTH and what begins so


def load(environ: Mapping[str, str] = os.environ) -> HttpSettings:
    """The settings of this process, from what `values.read` finds. Raises `SettingError`."""
    values = read(environ)
    return HttpSettings(
        host=_host(values),
        port=count(values, "RMI_PORT", 8000, 0, 65535),
        tokens=_tokens(values),
        allowed_hosts=tuple(_allowed_host(name) for name in words(values, "RMI_ALLOWED_HOSTS")),
        allowed_origins=tuple(_origin(url) for url in words(values, "RMI_ALLOWED_ORIGINS")),
        token_calls=count(values, "RMI_TOKEN_CALLS", 1200, most=1_000_000),
        token_runs=count(values, "RMI_TOKEN_RUNS", 16),
        token_sessions=count(values, "RMI_TOKEN_SESSIONS", 8),
        oauth=oauth_settings(values),
    )


def _host(values: Mapping[str, str]) -> str:
    host = text(values, "RMI_HOST") or "127.0.0.1"
    if not _is_host(host):
        raise SettingError(
            f"RMI_HOST is {host!r}; it must be the name or address of a network interface of this "
            "machine, as 127.0.0.1 or 0.0.0.0."
        )
    return host


def _is_host(name: str) -> bool:
    if ":" not in name:
        return _HOST.fullmatch(name) is not None
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _tokens(values: Mapping[str, str]) -> dict[str, str]:
    """No message says what stands where a token is expected."""
    found: dict[str, str] = {}
    for number, item in enumerate(words(values, "RMI_TOKENS"), 1):
        name, colon, token = item.partition(":")
        if not (colon and TOKEN_NAME.fullmatch(name)):
            raise SettingError(
                f"RMI_TOKENS: item {number} must be name:token, the name of letters, digits and "
                ". _ - only."
            )
        if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable():
            raise SettingError(
                f"RMI_TOKENS: the token of {name} must have at least {_LEAST_TOKEN} plain "
                "characters; `rmi-agent-mcp-server token new` makes a good one."
            )
        if name in found:
            raise SettingError(f"RMI_TOKENS has two tokens of the name {name}.")
        found[name] = hashlib.sha256(token.encode()).hexdigest()
    return found


def _allowed_host(name: str) -> str:
    if not _is_host(name.removeprefix("*.")):
        raise SettingError(
            f"RMI_ALLOWED_HOSTS has {name!r}; give host names alone, as example.ngrok.app, without "
            "a scheme, port or path."
        )
    return name.lower()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or port == -1
        or url != f"{parts.scheme}://{parts.netloc}"
        or "@" in parts.netloc
    ):
        raise SettingError(
            f"RMI_ALLOWED_ORIGINS has {url!r}; give origins, as https://example.org or "
            "http://localhost:6274."
        )
    return url
