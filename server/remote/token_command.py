"""The command `rmi-agent-mcp-server token`: make, list and revoke tokens of remote clients."""

from __future__ import annotations

import sys

from server.remote import http_settings
from server.remote.tokens import TokenError, Tokens
from server.settings import load
from server.values import SettingError

_USAGE = """\
usage: rmi-agent-mcp-server token new NAME
       rmi-agent-mcp-server token list
       rmi-agent-mcp-server token revoke NAME

Tokens let remote clients in; NAME says whose a token is. A new token is shown once, alone on
standard output. What you make or revoke holds at once, for servers that run, too; with a token
its sessions end. Only a server that was started without any token goes on without."""


def main(words: list[str]) -> int:
    """Do what the words after `token` say. Returns the exit code: 0, 1 when that cannot be done,
    2 when the words or the settings are wrong."""
    if words in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if not (words == ["list"] or (len(words) == 2 and words[0] in ("new", "revoke"))):
        _say(_USAGE)
        return 2
    try:
        directory = load().state_dir / "tokens"
        tokens = Tokens(directory, http_settings.load().tokens)
    except SettingError as error:
        _say(f"rmi-agent-mcp-server: {error}")
        return 2
    try:
        if words[0] == "list":
            _list(tokens)
        elif words[0] == "new":
            _new(tokens, words[1])
        else:
            tokens.revoke(words[1])
            _say(f"The token {words[1]} is revoked.")
    except TokenError as error:
        _say(f"rmi-agent-mcp-server: {error}")
        return 1
    return 0


def _new(tokens: Tokens, name: str) -> None:
    token = tokens.new(name)
    _say(f"The token of {name}, shown this once; clients send it as `Authorization: Bearer TOKEN`:")
    try:
        print(token, flush=True)
    except OSError as error:
        tokens.revoke(name)
        raise TokenError(
            f"The token could not be written to standard output: {error.strerror}. It is revoked."
        ) from None


def _list(tokens: Tokens) -> None:
    found = tokens.list()
    for token in found:
        since = "from RMI_TOKENS"
        if token.created is not None:
            since = f"made {token.created.astimezone():%Y-%m-%d %H:%M}"
        print(f"{token.name}  {since}")
    if not found:
        _say("There are no tokens; `rmi-agent-mcp-server token new NAME` makes one.")


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
