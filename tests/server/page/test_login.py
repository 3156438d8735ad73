"""A token, once, and then a cookie: who is logged in, for how long, and who is not."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from server.page.login import COOKIE, Logins
from server.remote.tokens import Tokens

#: Of a server on port 80, as these are.
NAME = f"{COOKIE}_80"
HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens")


@pytest.fixture
def logins(tokens: Tokens, clock: Clock) -> Logins:
    return Logins(tokens, clock=clock)


class Browser:
    """Keeps cookies, as browsers do."""

    def __init__(self, logins: Logins, base: str = "http://testserver") -> None:
        async def who(request: Request) -> Response:
            return JSONResponse(logins.owner(request))

        routes = [
            Route("/who", who),
            Route("/page/login", logins.log_in, methods=["POST"]),
            Route("/page/logout", logins.log_out, methods=["POST"]),
        ]
        self.client = TestClient(Starlette(routes=routes), base_url=base)

    def log_in(self, token: object, **headers: str) -> Any:
        return self.client.post(
            "/page/login", content=json.dumps({"token": token}), headers=headers
        )

    def who(self) -> str | None:
        found: str | None = self.client.get("/who").json()
        return found


@pytest.fixture
def browser(logins: Logins) -> Iterator[Browser]:
    yield Browser(logins)


def test_without_tokens_everybody_is_everyone() -> None:
    logins = Logins(None)
    assert not logins.needed
    browser = Browser(logins)
    assert browser.who() == ""
    answer = browser.log_in("x")
    assert answer.status_code == 204 and "set-cookie" not in answer.headers


def test_a_token_is_exchanged_for_a_cookie(tokens: Tokens, browser: Browser) -> None:
    token = tokens.new("alice")
    assert browser.who() is None
    answer = browser.log_in(token)
    assert (answer.status_code, answer.content) == (204, b"")
    assert browser.who() == "alice"
    name, _, attributes = answer.headers["set-cookie"].partition("=")
    value, *attributes = attributes.split("; ")
    assert name == NAME
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", value)
    assert token not in answer.headers["set-cookie"]
    assert {each.lower() for each in attributes} == {"httponly", "path=/", "samesite=strict"}


def test_every_login_has_a_cookie_of_its_own(tokens: Tokens, logins: Logins) -> None:
    """Also a second one of the same browser, whose first is over then."""
    token = tokens.new("alice")
    one, two = Browser(logins), Browser(logins)
    one.log_in(token)
    two.log_in(token)
    first = one.client.cookies[NAME]
    assert first != two.client.cookies[NAME]
    one.log_in(token)
    assert one.who() == two.who() == "alice"
    stale = Browser(logins)
    stale.client.cookies.set(NAME, first)
    assert stale.who() is None


def test_what_is_kept_is_no_cookie(tokens: Tokens, logins: Logins, browser: Browser) -> None:
    token = tokens.new("alice")
    browser.log_in(token)
    kept = repr(vars(logins))
    assert browser.client.cookies[NAME] not in kept and token not in kept


@pytest.mark.parametrize(
    ("base", "headers", "secure"),
    [
        ("http://testserver", {}, False),
        ("https://testserver", {}, True),
        ("http://testserver", {"x-forwarded-proto": "https"}, True),
        ("http://testserver", {"x-forwarded-proto": "https, http"}, True),
        ("http://testserver", {"x-forwarded-proto": "http"}, False),
        ("http://testserver", {"forwarded": "for=1.2.3.4;proto=https"}, True),
        ("http://testserver", {"origin": "https://public.example"}, True),
        ("http://testserver", {"origin": "http://testserver"}, False),
    ],
)
def test_by_https_the_cookie_stays_with_https(
    tokens: Tokens, logins: Logins, base: str, headers: dict[str, str], secure: bool
) -> None:
    """Also behind a proxy that says so, or a browser that does."""
    answer = Browser(logins, base).log_in(tokens.new("alice"), **headers)
    assert ("secure" in answer.headers["set-cookie"].lower().split("; ")) is secure


@pytest.mark.parametrize("token", ["", "rmi_x", "alice", "x" * 5000, "\0", "\udcff", "é"])
def test_what_is_no_token_lets_nobody_in(tokens: Tokens, browser: Browser, token: str) -> None:
    tokens.new("alice")
    answer = browser.log_in(token)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "not known" in answer.json()["error"]
    assert browser.who() is None


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b"{}", b'{"token": 1}', b'{"token": null}', b"[" * 8000]
)
def test_what_is_no_login_is_said(tokens: Tokens, browser: Browser, body: bytes) -> None:
    tokens.new("alice")
    answer = browser.client.post("/page/login", content=body)
    assert answer.status_code == 400 and "token" in answer.json()["error"]


def test_a_long_body_is_not_read(tokens: Tokens, browser: Browser) -> None:
    tokens.new("alice")
    assert browser.log_in("x" * 10_000).status_code == 413


@pytest.mark.parametrize("cookie", ["", "x", "x" * 43, "x" * 4000, "%00", "a b"])
def test_other_cookies_are_nobody(tokens: Tokens, browser: Browser, cookie: str) -> None:
    browser.log_in(tokens.new("alice"))
    stranger = browser.client
    stranger.cookies.clear()
    assert stranger.get("/who", headers={"cookie": f"{NAME}={cookie}"}).json() is None


def test_twelve_hours_of_idleness_end_it(tokens: Tokens, browser: Browser, clock: Clock) -> None:
    browser.log_in(tokens.new("alice"))
    for _ in range(5):
        clock.now += 11.9 * HOUR
        assert browser.who() == "alice"
    clock.now += 12 * HOUR
    assert browser.who() is None
    clock.now -= 6 * HOUR
    assert browser.who() is None


def test_a_revoked_token_ends_its_logins(tokens: Tokens, logins: Logins) -> None:
    """And a later one of the same name does not bring them back."""
    alice, bob = Browser(logins), Browser(logins)
    alice.log_in(tokens.new("alice"))
    bob.log_in(tokens.new("bob"))
    tokens.revoke("alice")
    assert (alice.who(), bob.who()) == (None, "bob")
    tokens.new("alice")
    assert alice.who() is None


def test_a_folder_that_is_not_trusted_lets_nobody_in(
    tokens: Tokens, logins: Logins, browser: Browser, tmp_path: Path
) -> None:
    token = tokens.new("alice")
    browser.log_in(token)
    (tmp_path / "tokens").chmod(0o755)
    assert browser.who() is None
    assert browser.log_in(token).status_code == 401


def test_tokens_of_the_settings_log_in(tmp_path: Path) -> None:
    secret = "s" * 40
    fixed = {"fixed": hashlib.sha256(secret.encode()).hexdigest()}
    browser = Browser(Logins(Tokens(tmp_path / "none", fixed)))
    assert browser.log_in(secret).status_code == 204
    assert browser.who() == "fixed"


def test_logging_out(tokens: Tokens, logins: Logins, browser: Browser) -> None:
    browser.log_in(tokens.new("alice"))
    cookie = browser.client.cookies[NAME]
    answer = browser.client.post("/page/logout")
    assert answer.status_code == 204 and "max-age=0" in answer.headers["set-cookie"].lower()
    assert NAME not in browser.client.cookies
    kept = browser.client.get("/who", headers={"cookie": f"{NAME}={cookie}"})
    assert kept.json() is None


def test_only_so_many_logins_are_kept(tokens: Tokens, logins: Logins, clock: Clock) -> None:
    """The one that was used longest ago goes first."""
    token = tokens.new("alice")
    first, used, browser = Browser(logins), Browser(logins), Browser(logins)
    first.log_in(token)
    used.log_in(token)
    for _ in range(998):
        clock.now += 1
        browser.client.cookies.clear()
        assert browser.log_in(token).status_code == 204
    assert used.who() == first.who() == "alice"
    assert used.who() == "alice"
    for count in range(999):
        clock.now += 1
        browser.client.cookies.clear()
        browser.log_in(token)
        if count == 997:
            assert used.who() == "alice"
    assert (first.who(), used.who()) == (None, "alice")
    assert len(logins._logins) == 1000


def test_attempts_are_limited(tokens: Tokens, browser: Browser, clock: Clock) -> None:
    """Also that with the right token, so that nothing is learnt from the answer."""
    token = tokens.new("alice")
    assert [browser.log_in("x").status_code for _ in range(11)] == [401] * 10 + [429]
    refused = browser.log_in(token)
    assert refused.status_code == 429
    assert "Wait 1 s" in refused.json()["error"] and refused.headers["retry-after"] == "1"
    clock.now += 1
    assert browser.log_in(token).status_code == 204


def test_servers_on_other_ports_have_cookies_of_other_names(
    tokens: Tokens, logins: Logins, browser: Browser
) -> None:
    """Browsers send the cookies of one port of a machine to all its others."""
    browser.log_in(tokens.new("alice"))
    other = TestClient(browser.client.app, base_url="http://testserver:8001")
    other.cookies.set(NAME, browser.client.cookies[NAME])
    assert other.get("/who").json() is None


def test_where_sessions_have_no_owners_whoever_has_logged_in_sees_them(tokens: Tokens) -> None:
    browser = Browser(Logins(tokens, shared=True))
    assert browser.who() is None
    browser.log_in(tokens.new("alice"))
    assert browser.who() == ""
