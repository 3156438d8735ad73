"""What every HTTP request passes first, whoever sends it and whatever it is for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from server.remote.exchange import Exchange
from server.remote.refusals import CHALLENGE, REASONS, in_our_words, refuse

#: Answered until the very end, because they tell of it.
_OPERATION = ("/health", "/ready", "/metrics")
#: As secrets stand in addresses, which proxies, histories and logs keep.
_SECRETS = {"token", "access_token", "api_key", "apikey", "key", "authorization"}
#: FastMCP's own pages, whose queries are those of the standard.
_OAUTH = ("/authorize", "/auth/", "/consent", "/token", "/register", "/.well-known/")
#: In the scope of a request whose refusals are sent as they are.
OWN_WORDS = "rmi.words"


class Gate:
    """Refuses what no handler should see, tells handlers when their client has gone, and ends the
    streams that would never end by themselves when the server does.

    `refused` is told the reason of every refusal, whoever refused (see `refusals.REASONS`).
    `tokens`: those without the right one are told so in words for tokens, and not for OAuth.
    """

    def __init__(self, app: ASGIApp, refused: Callable[[str], None], tokens: bool = True) -> None:
        self._app, self._refused, self._tokens = app, refused, tokens
        self._closed = False
        self._ending = asyncio.Event()

    def close(self) -> None:
        """Let no request in any more."""
        self._closed = True

    def end_streams(self) -> None:
        """End the streams on which clients wait for what the server might say."""
        self._ending.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(
            scope,
            receive,
            send,
            self._ending,
            lambda status: (
                None if OWN_WORDS in scope else in_our_words(scope, status, self._tokens)
            ),
        )
        try:
            exchange.other = self._refusal(scope)
            if exchange.other is None:
                await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            pass
        finally:
            await exchange.finish()
            # A page that is told to log in first has been refused nothing.
            is_first_look = OWN_WORDS in scope and scope["method"] == "GET"
            if (reason := REASONS.get(exchange.status)) and not is_first_look:
                self._refused(reason)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        if self._closed and scope["path"] not in _OPERATION:
            words = "The server is ending. Connect again when it has been started again."
            return refuse(503, words, {"connection": "close", "retry-after": "5"})
        if len(Headers(scope=scope).getlist("authorization")) > 1:
            return refuse(401, "There are two Authorization headers; send one.", CHALLENGE)
        query = scope["query_string"].decode("latin-1")
        if query and not scope["path"].startswith(_OAUTH):
            if {name.lower() for name, _ in parse_qsl(query)} & _SECRETS:
                words = (
                    "A token in an address is not taken; send it as `Authorization: Bearer TOKEN`."
                )
                return refuse(401, words, CHALLENGE)
        return None
