"""What every HTTP request passes first, whoever sends it and whatever it is for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.principal import GONE

_log = logging.getLogger("rmi.http")
#: Answered until the very end, because they tell of it.
_OPERATION = ("/health", "/ready", "/metrics")
#: As secrets stand in addresses, which proxies, histories and logs keep.
_SECRETS = {"token", "access_token", "api_key", "apikey", "key", "authorization"}


class Gate:
    """Refuses what no handler should see, tells handlers when their client has gone, and ends the
    streams that would never end by themselves when the server does.

    `refused` is told the reason of every refusal, whoever refused: "authentication", "host",
    "size" or "rate".
    """

    def __init__(self, app: ASGIApp, refused: Callable[[str], None]) -> None:
        self._app, self._refused = app, refused
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
        exchange = _Exchange(scope, receive, send, self._ending)
        try:
            if refusal := self._refusal(scope):
                await refusal(scope, receive, exchange.send)
            else:
                await self._app(scope, exchange.receive, exchange.send)
                await exchange.finish()
        finally:
            exchange.log()
            if reason := _REASONS.get(exchange.status):
                self._refused(reason)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        if self._closed and scope["path"] not in _OPERATION:
            words = "The server is ending. Connect again when it has been started again."
            return _refuse(503, words, {"connection": "close", "retry-after": "5"})
        if len(Headers(scope=scope).getlist("authorization")) > 1:
            return _refuse(401, "There are two Authorization headers; send one.", _CHALLENGE)
        names = {name.lower() for name, _ in parse_qsl(scope["query_string"].decode("latin-1"))}
        if names & _SECRETS and not scope["path"].startswith(_OAUTH):
            words = "A token in an address is not taken; send it as `Authorization: Bearer TOKEN`."
            return _refuse(401, words, _CHALLENGE)
        return None


_REASONS = {401: "authentication", 403: "host", 413: "size", 421: "host", 429: "rate"}
_CHALLENGE = {"www-authenticate": "Bearer"}
#: FastMCP's own pages, whose queries are those of the standard.
_OAUTH = ("/authorize", "/auth/", "/consent", "/token", "/register", "/.well-known/")


def _refuse(status: int, words: str, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse({"error": words}, status, headers)


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, ending: asyncio.Event) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        # Only a GET can be a stream without an end of its own.
        self._ending = ending if scope["method"] == "GET" else None
        self._gone = scope[GONE] = asyncio.Event()
        self._begun = time.monotonic()
        self.status = 0
        self._over = False

    async def receive(self) -> Message:
        if self._ending is None:
            message = await self._receive()
        else:
            message = await self._receive_or_end(self._ending)
        if message["type"] == "http.disconnect":
            self._gone.set()
        return message

    async def _receive_or_end(self, ending: asyncio.Event) -> Message:
        receiving = asyncio.ensure_future(self._receive())
        waiting = asyncio.ensure_future(ending.wait())
        try:
            await asyncio.wait({receiving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            return await receiving if receiving.done() else {"type": "http.disconnect"}
        finally:
            receiving.cancel()
            waiting.cancel()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self._over = not message.get("more_body", False)
        await self._send(message)

    async def finish(self) -> None:
        """Complete a stream that we have ended."""
        if self.status and not self._over and self._ending is not None and self._ending.is_set():
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    def log(self) -> None:
        facts: dict[str, Any] = {
            "method": self._scope["method"],
            "path": self._scope["path"],
            "status": self.status,
            "seconds": round(time.monotonic() - self._begun, 3),
        }
        level = logging.INFO if self.status in _REASONS else logging.DEBUG
        _log.log(level, "request", extra={"facts": facts})
