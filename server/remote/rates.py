"""How many calls a token may make."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.types import ASGIApp, Receive, Scope, Send

from server.remote.refusals import refuse

#: Seconds' worth of calls that may come at once.
_BURST = 10.0
#: Where strangers leave something behind, by the standard for OAuth; and how often a minute.
_REGISTER, _STRANGERS = "/register", 30


class Allowance:
    """What each caller may still do: `calls` a minute, ten seconds' worth of them at once."""

    def __init__(self, calls: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.calls, self._clock = calls, clock
        self._rate = calls / 60
        self._most = max(1.0, self._rate * _BURST)
        #: How many calls each has left, and when that was so.
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, who: str) -> int:
        """Take one call; 0, or the seconds until there is one."""
        now = self._clock()
        left, since = self._left.get(who, (self._most, now))
        left = min(self._most, left + (now - since) * self._rate)
        if left < 1:
            return max(1, math.ceil((1 - left) / self._rate))
        self._left[who] = left - 1, now
        return 0


class Rates:
    """Answers 429 to a token that sends more than its allowance, and to strangers that register
    clients by the dozen. Stands behind the authentication, which says whose request it is."""

    def __init__(self, app: ASGIApp, allowance: Allowance) -> None:
        self._app, self._allowance = app, allowance
        self._strangers = Allowance(_STRANGERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            user, allowance = scope.get("user"), None
            if isinstance(user, AuthenticatedUser):
                allowance = self._allowance
            elif scope["path"] == _REGISTER:
                allowance = self._strangers
            if allowance is not None and (wait := allowance.take(_who(user))):
                words = f"Too many calls: at most {allowance.calls} a minute. Wait {wait} s."
                await refuse(429, words, {"retry-after": str(wait)})(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _who(user: object) -> str:
    if not isinstance(user, AuthenticatedUser):
        return ""
    token = user.access_token
    return f"{token.client_id}|{token.subject or ''}"
