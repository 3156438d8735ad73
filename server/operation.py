"""What those who run the server ask it: whether it lives, whether it is ready, and its figures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastmcp import FastMCP
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

CONTENT_TYPE = "text/plain"


class Operation:
    """The pages. `version`: the server's; `ready`: why it is not, or ""; `metrics`: its figures,
    in Prometheus' format."""

    def __init__(
        self, version: str, ready: Callable[[], str], metrics: Callable[[], Awaitable[bytes]]
    ) -> None:
        self._version, self._ready, self._metrics = version, ready, metrics

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
        if why := self._ready():
            return JSONResponse({"status": why}, 503, {"retry-after": "1"})
        return JSONResponse({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """The figures, for whoever has a token where there are any."""
        # FastMCP guards the routes of MCP alone; it has looked at the token all the same.
        if self._guarded and not isinstance(request.scope.get("user"), AuthenticatedUser):
            words = "The figures need a token: send `Authorization: Bearer TOKEN`."
            return JSONResponse({"error": words}, 401, {"www-authenticate": "Bearer"})
        return Response(await self._metrics(), media_type=CONTENT_TYPE)
