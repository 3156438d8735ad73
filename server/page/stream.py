"""News as server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from server.page.feed import Feed

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # Proxies that gather what they pass on are asked not to.
    (b"x-accel-buffering", b"no"),
]
#: Seconds that sending an event may take; and between two times that it is asked who this is.
_SENDING, _ASKING = 0.002, 3.0
#: Also tells the browser how soon it is to come again.
_BEGIN = b"retry: 500\n\n"


class Stream(Response):
    """The news of `feed` after `mark`, until the client goes or `welcome` is False, which is asked
    every few seconds, before something is sent."""

    def __init__(
        self,
        feed: Feed,
        mark: str,
        welcome: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(media_type="text/event-stream")
        self._feed, self._mark, self._welcome, self._clock = feed, mark, welcome, clock
        # It was when the stream was asked for.
        self._asked = clock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        reader = self._feed.enter(self._mark)
        gone = asyncio.create_task(_gone(receive))

        def end(_: asyncio.Task[None]) -> None:
            reader.closed = True
            reader.wake.set()

        gone.add_done_callback(end)
        try:
            await send(_body(_BEGIN))
            while not reader.closed:
                if data := self._feed.take(reader):
                    # Signs of life are sent where there are no news.
                    if not self._is_welcome():
                        break
                    began = time.perf_counter()
                    await send(_body(data))
                    # Waiting for a slow client costs nobody anything.
                    self._feed.spent += min(time.perf_counter() - began, _SENDING)
                else:
                    await reader.wake.wait()
        finally:
            self._feed.leave(reader)
            gone.cancel()
        if not gone.done() or gone.cancelled():
            await send(_body(b"", more=False))

    def _is_welcome(self) -> bool:
        now = self._clock()
        if now - self._asked < _ASKING:
            return True
        self._asked = now
        return self._welcome()


def _body(data: bytes, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
