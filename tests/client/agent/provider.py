"""Model providers on this machine: a real HTTP server that speaks the wire formats of OpenAI (chat
completions and responses), Anthropic and Gemini, streamed and not, and answers from a script."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.client.agent import wire


@dataclass(frozen=True)
class Say:
    """The model says something."""

    text: str


class Call:
    """The model calls a tool."""

    def __init__(self, tool: str, **arguments: Any) -> None:
        self.tool = tool
        self.arguments = arguments


@dataclass(frozen=True)
class Fail:
    """The provider refuses."""

    status: int
    retry_after: str = ""
    message: str = "no"


@dataclass(frozen=True)
class Cut:
    """The connection ends in the middle of the answer."""

    text: str


@dataclass(frozen=True)
class Garbage:
    """An answer that is no JSON."""


@dataclass(frozen=True)
class Wait:
    """The model says something once it is let go on."""

    text: str
    go: threading.Event


@dataclass
class Asked:
    """A request as it came."""

    api: str
    headers: dict[str, str]
    body: dict[str, Any]
    streams: bool

    @property
    def text(self) -> str:
        """All of it, as JSON."""
        return json.dumps(self.body, ensure_ascii=False)


Reply = Say | Call | Fail | Cut | Garbage | Wait
#: A reply, several calls at once, or what makes one of what has been asked.
Scripted = Reply | list[Call] | Callable[[Asked], "Reply"]


@dataclass
class Provider:
    """A provider that gives the replies of `script` one after the other; the last one for ever."""

    script: list[Scripted] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Provider:
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._app(),
                host="127.0.0.1",
                port=0,
                log_level="critical",
                lifespan="off",
                ws="none",
            )
        )
        started = threading.Event()

        async def serve() -> None:
            serving = asyncio.ensure_future(self._server.serve())
            while not (self._server.started or serving.done()):  # noqa: ASYNC110 - no event is set
                await asyncio.sleep(0.01)
            port = self._server.servers[0].sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            started.set()
            await serving

        self._thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
        self._thread.start()
        assert started.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(20)

    def base(self, api: str) -> str:
        """The base URL that a client of this API is given."""
        return f"{self.url}/v1" if api in ("chat", "responses") else self.url

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/responses", self._responses, methods=["POST"]),
                Route("/v1/messages", self._messages, methods=["POST"]),
                Route("/v1beta/models/{rest:path}", self._gemini, methods=["POST"]),
            ]
        )

    async def _chat(self, request: Request) -> Response:
        return await self._answer("chat", request)

    async def _responses(self, request: Request) -> Response:
        return await self._answer("responses", request)

    async def _messages(self, request: Request) -> Response:
        return await self._answer("anthropic", request)

    async def _gemini(self, request: Request) -> Response:
        return await self._answer("google", request)

    async def _answer(self, api: str, request: Request) -> Response:
        body = await request.json()
        streams = bool(body.get("stream")) or "streamGenerateContent" in request.url.path
        asked = Asked(api, dict(request.headers), body, streams)
        number = len(self.asked)
        self.asked.append(asked)
        scripted = self.script[min(number, len(self.script) - 1)]
        reply: Any = scripted(asked) if callable(scripted) else scripted
        if isinstance(reply, Fail):
            headers = {"retry-after": reply.retry_after} if reply.retry_after else None
            return JSONResponse(wire.error(api, reply.status, reply.message), reply.status, headers)
        if isinstance(reply, Garbage):
            kind = "text/event-stream" if streams else "application/json"
            name = "event: message_start\n" if api == "anthropic" else ""
            return Response(f"{name}data: {{<html>not here</html>\n\n", media_type=kind)
        if isinstance(reply, Wait):
            await asyncio.to_thread(reply.go.wait, 60)
        text = reply.text if isinstance(reply, Say | Cut | Wait) else ""
        calls = reply if isinstance(reply, list) else [reply] if isinstance(reply, Call) else []
        parts = [(call.tool, call.arguments) for call in calls]
        model = body.get("model") or request.path_params["rest"].partition(":")[0]
        if not streams:
            return JSONResponse(wire.whole(api, number, text, parts, model))
        events = wire.streamed(api, number, text, parts, model)
        kept = max(2, len(events) // 2) if isinstance(reply, Cut) else None
        return StreamingResponse(self._send(events, kept), media_type="text/event-stream")

    async def _send(self, events: list[str], kept: int | None) -> AsyncIterator[str]:
        for event in events[:kept]:
            yield event
        if kept is not None:
            # The server ends the connection without the end of the chunks.
            raise ConnectionResetError
