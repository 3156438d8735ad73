"""Who looks at the page: a token, given once, is exchanged for a cookie."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from server.remote.rates import Allowance
from server.remote.tokens import Token, TokenError, Tokens

#: How the names of cookies begin.
COOKIE = "rmi_page"
_BYTES = 32
#: Seconds without a request after which a login is over.
_IDLE = 12 * 3600.0
#: Beyond that the one that was used longest ago is over.
_MOST = 1000
#: Attempts a minute that one address has (ten at once), and how many addresses are remembered.
_ATTEMPTS, _ADDRESSES = 60, 1000
#: Far beyond any token.
_LONGEST = 8192


@dataclass
class _Login:
    #: As it was when it logged in: a token made later under the same name is another one.
    token: Token
    used: float


class Logins:
    """The logins of this process. Nothing of them is written anywhere.

    `tokens`: those that let in, however else clients may log in to MCP; None where everybody may
    look, which is for servers that only this machine reaches. `shared`: whoever has logged in sees
    the sessions of everybody, as where clients need no token.
    """

    def __init__(
        self,
        tokens: Tokens | None,
        shared: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens, self._shared, self._clock = tokens, shared, clock
        #: By the hash of the cookie; that used longest ago first.
        self._logins: dict[str, _Login] = {}
        self._forget_attempts()

    @property
    def needed(self) -> bool:
        """Whether one must log in at all."""
        return self._tokens is not None

    def owner(self, request: HTTPConnection) -> str | None:
        """Whose sessions and runs this request may see: "" where all are everyone's; None when it
        must log in first.

        A login ends with its token, so streams ask again from time to time.
        """
        if self._tokens is None:
            return ""
        key = _key(request)
        login = self._logins.pop(key, None)
        if login is None:
            return None
        now = self._clock()
        if now - login.used >= _IDLE or not self._is_there(login.token):
            return None
        login.used = now
        self._logins[key] = login
        return "" if self._shared else login.token.name

    async def log_in(self, request: Request) -> Response:
        """Answer a POST of {"token"}: 204 and the cookie; 401, 400 or 429 and {"error"}."""
        if self._tokens is None:
            return Response(status_code=204)
        if wait := self._attempt(request):
            words = f"Too many attempts to log in. Wait {wait} s and try again."
            return JSONResponse({"error": words}, 429, {"retry-after": str(wait)})
        token = await _token(request)
        if token is None:
            return JSONResponse({"error": "Send a token, as JSON with a `token` in it."}, 400)
        found = self._verified(token)
        if found is None:
            words = (
                "This token is not known here; it may be misspelt or revoked. "
                "`rmi-agent-mcp-server token new NAME` makes one."
            )
            return JSONResponse({"error": words}, 401)
        self._end(request)
        cookie = secrets.token_urlsafe(_BYTES)
        self._logins[_hash(cookie)] = _Login(found, self._clock())
        while len(self._logins) > _MOST:
            del self._logins[next(iter(self._logins))]
        response = Response(status_code=204)
        _set_cookie(response, request, cookie)
        return response

    async def log_out(self, request: Request) -> Response:
        """Answer a POST; whoever sends it is logged out then."""
        self._end(request)
        response = Response(status_code=204)
        _set_cookie(response, request, None)
        return response

    def _end(self, request: HTTPConnection) -> None:
        self._logins.pop(_key(request), None)

    def _verified(self, token: str) -> Token | None:
        assert self._tokens is not None
        name = self._tokens.owner(token)
        try:
            return next((each for each in self._tokens.list() if each.name == name), None)
        except TokenError:  # the folder must not be trusted any more
            return None

    def _is_there(self, token: Token) -> bool:
        assert self._tokens is not None
        try:
            return token in self._tokens.list()
        except TokenError:
            return False

    def _attempt(self, request: Request) -> int:
        """Count one; 0, or the seconds until there may be another."""
        address = request.client.host if request.client else ""
        if address not in self._addresses:
            if len(self._addresses) >= _ADDRESSES:
                self._forget_attempts()
            self._addresses.add(address)
        return self._attempts.take(address)

    def _forget_attempts(self) -> None:
        self._addresses: set[str] = set()
        self._attempts = Allowance(_ATTEMPTS, self._clock)


async def _token(request: Request) -> str | None:
    """What the body of a login has; None when it is no such body."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST:
            raise HTTPException(413)
    try:
        found = json.loads(body)["token"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return found.strip() if isinstance(found, str) else None


def _key(request: HTTPConnection) -> str:
    return _hash(request.cookies.get(_cookie(request), ""))


def _cookie(request: HTTPConnection) -> str:
    """Cookies know no ports, so that of another server of this machine has another name."""
    return f"{COOKIE}_{(request.scope.get('server') or ('', 0))[1]}"


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode(errors="surrogatepass")).hexdigest()


def _set_cookie(response: Response, request: HTTPConnection, value: str | None) -> None:
    """It lasts as long as the browser runs, or, with None, not a moment longer."""
    response.set_cookie(
        _cookie(request),
        value or "",
        max_age=None if value else 0,
        path="/",
        secure=_by_https(request),
        httponly=True,
        samesite="strict",
    )


def _by_https(request: HTTPConnection) -> bool:
    """Whether the browser asked by https, which a proxy before us has ended. A lie about that only
    keeps the liar's own cookie from being sent."""
    headers = request.headers
    forwarded = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return (
        request.url.scheme == "https"
        or forwarded == "https"
        or "proto=https" in headers.get("forwarded", "").partition(",")[0].lower()
        or headers.get("origin", "").startswith("https://")
    )
