"""Who calls."""

from __future__ import annotations

from fastmcp.server.dependencies import get_access_token


def principal() -> str:
    """The authenticated caller of the request under way, from whom sessions, runs and tasks of
    others are hidden; "" where there is no authentication, and all is everyone's."""
    token = get_access_token()
    return "" if token is None else f"{token.client_id}|{(token.claims or {}).get('sub', '')}"
