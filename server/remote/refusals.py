"""How requests are refused, in words for people."""

from __future__ import annotations

from collections.abc import Mapping

from mcp_types import INVALID_REQUEST
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import Scope

#: Why a request was refused, by the status of its answer.
REASONS = {
    401: "authentication",
    403: "host",
    408: "slow",
    413: "size",
    421: "host",
    429: "rate",
}
CHALLENGE = {"www-authenticate": "Bearer"}


def refuse(status: int, words: str, headers: Mapping[str, str]) -> JSONResponse:
    """The answer to a refused request: an error of JSON-RPC, whose words clients show."""
    error = {"code": INVALID_REQUEST, "message": words}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status, headers)


def in_our_words(scope: Scope, status: int, tokens: bool) -> JSONResponse | None:
    """What is said in place of a refusal by FastMCP, which has other words or none; `tokens`: also
    where a token is missing."""
    if status not in (401, 403, 408, 413, 421):
        return None
    headers = Headers(scope=scope)
    if status == 408:
        words = "The request did not arrive in time. Send it again."
        return refuse(408, words, {"connection": "close"})
    if status == 413:
        return refuse(413, "The request has more than 4 MiB. Send less at once.", {})
    if status == 421:
        words = "This server is not known by the name in Host; RMI_ALLOWED_HOSTS can allow it."
        return refuse(421, words, {})
    if status == 403 and "origin" in headers:
        words = "Pages of this Origin may not use this server; RMI_ALLOWED_ORIGINS can allow it."
        return refuse(403, words, {})
    if status == 401 and tokens and len(headers.getlist("authorization")) < 2:
        given = headers.get("authorization", "")
        if given[:7].lower() == "bearer " and given[7:].strip():
            words = "This token is not known here; it may be misspelt or revoked."
            return refuse(401, words, {"www-authenticate": 'Bearer error="invalid_token"'})
        words = (
            "This server needs a token: send `Authorization: Bearer TOKEN`. Whoever runs it makes "
            "one with `rmi-agent-mcp-server token new NAME`."
        )
        return refuse(401, words, CHALLENGE)
    return None
