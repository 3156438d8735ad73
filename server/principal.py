"""Who calls, by what way, and whether they are still there."""

from __future__ import annotations

import asyncio

from fastmcp.server.dependencies import get_access_token, get_context, get_http_request
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

#: Under which name a request's scope has the event that its client has gone.
GONE = "rmi.gone"


def principal() -> str:
    """The authenticated caller of the request under way, from whom sessions, runs and tasks of
    others are hidden; "" where there is no authentication, and all is everyone's.

    That is the name of a token, or the issuer and subject of an OAuth login, whatever client it
    came through.
    """
    token = get_access_token()
    if token is None:
        return ""
    claims = token.claims or {}
    subject = token.subject or claims.get("sub")
    return f"{claims.get('iss', '')}|{subject}" if subject else token.client_id


def gone() -> asyncio.Event | None:
    """Set when the client has closed the connection on which it waits for an answer. None where
    that cancels the call, or is not known."""
    try:
        found = get_http_request().scope.get(GONE)
    except RuntimeError:
        return None  # not over HTTP
    return found if isinstance(found, asyncio.Event) else None


def by_event() -> bool:
    """Whether the answer goes to the client as one server-sent event, which must not be large:
    over HTTP in the older protocol, and over SSE."""
    try:
        get_http_request()
    except RuntimeError:
        return False
    request = get_context().request_context
    return request is None or request.protocol_version not in MODERN_PROTOCOL_VERSIONS
