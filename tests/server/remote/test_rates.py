"""How many calls a token may make, and how often strangers may register."""

from __future__ import annotations

from typing import Any

from fastmcp.server.auth import AccessToken
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from server.remote.rates import Allowance, Rates


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_ten_seconds_worth_may_come_at_once_and_then_one_by_one() -> None:
    clock = Clock()
    allowance = Allowance(60, clock)
    assert [allowance.take("me") for _ in range(11)] == [0] * 10 + [1]
    clock.now += 0.5
    assert allowance.take("me") == 1, "a refused call costs nothing"
    clock.now += 0.5
    assert [allowance.take("me") for _ in range(2)] == [0, 1]
    assert allowance.take("you") == 0
    clock.now += 1000
    assert [allowance.take("me") for _ in range(11)] == [0] * 10 + [1], "rest is not saved up"


def test_few_calls_a_minute_are_counted_right() -> None:
    clock = Clock()
    allowance = Allowance(1, clock)
    assert allowance.take("me") == 0
    assert allowance.take("me") == 60
    clock.now += 59.5
    assert allowance.take("me") == 1
    clock.now += 0.5
    assert allowance.take("me") == 0


async def status(rates: Rates, path: str, user: Any = None, method: str = "POST") -> int:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await rates({"type": "http", "method": method, "path": path, "user": user}, receive, send)
    return int(sent[0]["status"])


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("served")(scope, receive, send)


async def test_strangers_register_seldom_and_do_nothing_else_here() -> None:
    """What they may not do at all is for others to refuse."""
    rates = Rates(served, Allowance(6))
    assert [await status(rates, "/register") for _ in range(6)] == [200] * 5 + [429]
    assert [await status(rates, "/mcp") for _ in range(10)] == [200] * 10
    assert await status(rates, "/register", method="GET") == 200


async def test_a_tokens_calls_are_counted_over_all_paths() -> None:
    user = AuthenticatedUser(AccessToken(token="", client_id="me", scopes=[]))
    rates = Rates(served, Allowance(12))
    assert [await status(rates, path, user) for path in ("/mcp", "/messages/", "/mcp")] == [
        200,
        200,
        429,
    ]
    other = AuthenticatedUser(AccessToken(token="", client_id="you", scopes=[]))
    assert await status(rates, "/mcp", other) == 200
