"""One HTTP request and its response, as the gate sees them pass."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.principal import GONE
from server.remote.refusals import REASONS

#: Seconds for a request to arrive whole.
_WHOLE = 30.0

_log = logging.getLogger("rmi.http")


class Exchange:
    """Stands between uvicorn and the application, for one request.

    The application hears that its client has gone also when the request does not arrive in time,
    and for what only streams, when `ending` is set. `instead` may have another answer to send for
    a status.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        ending: asyncio.Event,
        instead: Callable[[int], ASGIApp | None],
    ) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._ending, self._instead = ending, instead
        self._gone = scope[GONE] = asyncio.Event()
        # Only a GET can be answered by a stream without an end of its own.
        self._streams = scope["method"] == "GET"
        self._begun = time.monotonic()
        self._arrived = self._over = False
        self._is_late = False
        #: What is sent in place of the application's answer.
        self.other: ASGIApp | None = None
        #: Of the response; 0 while there is none.
        self.status = 0

    async def receive(self) -> Message:
        if not self._arrived:
            try:
                async with asyncio.timeout(_WHOLE - (time.monotonic() - self._begun)):
                    message = await self._receive()
            except TimeoutError:
                self._is_late, message = True, {"type": "http.disconnect"}
            self._arrived = not message.get("more_body", False)
        elif self._streams:
            message = await self._receive_or_end()
        else:
            message = await self._receive()
        # After the response uvicorn says so, too; a task that the call has become goes on.
        if message["type"] == "http.disconnect" and not self._over:
            self._gone.set()
        return message

    async def _receive_or_end(self) -> Message:
        receiving = asyncio.ensure_future(self._receive())
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({receiving, ending}, return_when=asyncio.FIRST_COMPLETED)
            return receiving.result() if receiving.done() else {"type": "http.disconnect"}
        finally:
            receiving.cancel()
            ending.cancel()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.other = self._instead(408 if self._is_late else self.status)
        elif message["type"] == "http.response.body":
            self._over = not message.get("more_body", False)
        if self.other is None:
            await self._send(message)

    async def _pass(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        await self._send(message)

    async def finish(self) -> None:
        """Send the other answer if there is one, or complete a stream that was ended. The log has
        a line on it then."""
        if self._is_late and not self.status:
            self.other = self._instead(408)
        if self.other is not None:
            await self.other(self._scope, self._receive, self._pass)
        elif self.status and not self._over and self._ending.is_set():
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        facts: dict[str, Any] = {
            "method": self._scope["method"],
            "path": self._scope["path"],
            "status": self.status,
            "seconds": round(time.monotonic() - self._begun, 3),
        }
        level = logging.INFO if self.status in REASONS else logging.DEBUG
        _log.log(level, "request", extra={"facts": facts})
