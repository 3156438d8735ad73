"""How requests of the page are answered: JSON, or one sentence why not."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from kernels.errors import BadRequest, KernelError, OutputGone, RunNotFound, SessionNotFound
from server.page.views import encoded

Handler = Callable[[Request, str], Awaitable[Response]]
#: Bytes of a request's body.
_BODY = 2 * 1024 * 1024


class Refused(Exception):
    """The request is refused with this status, for the reason that the text gives."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def answer(value: Any, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(encoded(value), status, media_type="application/json")


def refusal(status: int, words: str, **more: Any) -> Response:
    """One sentence why not."""
    return answer({"error": words, **more}, status)


def download(data: bytes, name: str, mime: str = "application/octet-stream") -> Response:
    """A file that a browser saves under `name`."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in name)
    # Names of sessions may hold slashes.
    exact = quote(name.replace("/", "_").replace("\\", "_"), safe="", errors="replace")
    headers = {"content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"}
    return Response(data, media_type=mime, headers=headers)


async def guarded(handler: Handler, request: Request, owner: str | None) -> Response:
    """The handler's answer for `owner`, None being somebody who has not logged in."""
    if owner is None:
        return refusal(401, "Log in with a token first.", login=True)
    try:
        return await handler(request, owner)
    except Refused as error:
        return refusal(error.status, str(error))
    except KernelError as error:
        return refusal(_status(error), str(error))
    except ClientDisconnect:
        return Response(status_code=400)


def _status(error: KernelError) -> int:
    match error:
        case RunNotFound() | SessionNotFound():
            return 404
        case OutputGone():
            return 410
        case BadRequest():
            return 400
    return 409


def number(request: Request, name: str, default: int, most: int) -> int:
    """A number of the query, from 0 to `most`. Raises `Refused`."""
    given = request.query_params.get(name)
    if given is None:
        return default
    if not (given.isascii() and given.isdecimal() and len(given) < 16):
        raise Refused(400, f"{name} must be a number, 0 or more.")
    return min(int(given), most)


async def body(request: Request) -> dict[str, Any]:
    """The object that a request brings. Raises `Refused`."""
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > _BODY:
            raise Refused(413, "The request has more than 2 MiB; send less at once.")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(400, "The request must be a JSON object.")
    return found
