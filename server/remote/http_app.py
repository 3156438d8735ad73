"""The HTTP server's application: MCP over streamable HTTP and legacy SSE, behind one gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.http import HostOriginGuardMiddleware
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from server.page.pages import is_of_page
from server.remote.gate import Gate
from server.remote.http_settings import HttpSettings
from server.remote.rates import Allowance, Rates

MCP, SSE, MESSAGES = "/mcp", "/sse", "/messages"


def build_app(
    server: FastMCP[Any],
    settings: HttpSettings,
    hosts: Sequence[str],
    refused: Callable[[str], None],
    page: ASGIApp | None = None,
) -> Gate:
    """The application over `server`, whose authentication and further routes it takes over.

    `hosts` are names of the server beside those of the settings. For `refused` see `Gate`; `page`
    answers requests for itself (see `page.pages`).
    """
    limits = [Middleware(Rates, allowance=Allowance(settings.token_calls))]
    options: dict[str, Any] = {"middleware": limits, "host_origin_protection": False}
    streamable = server.http_app(MCP, **options)
    sse = server.http_app(SSE, transport="sse", **options)

    # Merging the two into one would lose what each has around its routes.
    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        of_sse = path.startswith(MESSAGES) or path.endswith(SSE)
        await (sse if of_sse else streamable)(scope, receive, send)

    app: ASGIApp = dispatch
    if settings.allowed_origins:
        app = CORSMiddleware(
            app,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["mcp-session-id", "www-authenticate"],
        )
    if page is not None:
        app = _beside(page, app)
    # Around everything, so that a page in a browser reaches nothing at all.
    app = HostOriginGuardMiddleware(
        app,
        allowed_hosts=[*settings.allowed_hosts, *hosts],
        allowed_origins=[*settings.allowed_origins, *_own_origins(settings)],
        mode="strict",
    )
    return Gate(app, refused, tokens=settings.oauth is None)


def _beside(page: ASGIApp, others: ASGIApp) -> ASGIApp:
    """The page is no part of what pages of allowed origins may use, so it stands outside that."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        is_its = scope["type"] == "http" and is_of_page(scope["path"])
        await (page if is_its else others)(scope, receive, send)

    return dispatch


def _own_origins(settings: HttpSettings) -> list[str]:
    """Those of the pages of an OAuth login, behind a proxy that does not say it was asked by
    https."""
    return [settings.oauth.public_url] if settings.oauth is not None else []
