"""What those who run the server ask it: whether it lives, whether it is ready, and its figures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastmcp import FastMCP
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from server.remote.metrics import CONTENT_TYPE
from server.remote.refusals import CHALLENGE, refuse


class Operation:
    """The pages. `version`: the server's; `state`: says "ready", or what it is instead; `metrics`:
    its figures, in Prometheus' format."""

    def __init__(
        self, version: str, state: Callable[[], str], metrics: Callable[[], Awaitable[bytes]]
    ) -> None:
        self._version, self._state, self._metrics = version, state, metrics

    def add_to(self, server: FastMCP[Any]) -> None:
        """Have `server`'s HTTP application answer them."""
        for page in (self.health, self.ready, self.metrics):
            server.custom_route(f"/{page.__name__}", ["GET"], include_in_schema=False)(page)
        self._guarded = server.auth is not None

    async def health(self, _: Request) -> Response:
        """Alive. Anyone may know."""
        return JSONResponse({"status": "alive", "version": self._version})

    async def ready(self, _: Request) -> Response:
        """Whether a run would begin at once. Anyone may know."""
        if (state := self._state()) == "ready":
            return JSONResponse({"status": state})
        return JSONResponse({"status": state}, 503, {"retry-after": "1"})

    async def metrics(self, request: Request) -> Response:
        """The figures, for whoever has a token where there are any."""
        # FastMCP guards the routes of MCP alone; it has looked at the token all the same.
        if self._guarded and not isinstance(request.scope.get("user"), AuthenticatedUser):
            words = "The figures need a token: send `Authorization: Bearer TOKEN`."
            return refuse(401, words, CHALLENGE)
        return Response(await self._metrics(), media_type=CONTENT_TYPE)
