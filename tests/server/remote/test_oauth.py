"""Logins over OAuth: settings, whom they let in, and a whole login at a provider of our own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
import os
import re
import secrets
import stat
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from fastmcp import Client
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from server.remote.authentication import provider
from server.remote.oauth import OAuthSettings, oauth_settings
from server.remote.oauth_providers import admitted
from server.remote.tokens import Tokens
from server.values import SettingError
from tests.server.remote.test_authentication import (
    both,
    call,
    free_port,
    serving,
    url_of,
    who_server,
)

GOOD = {
    "RMI_OAUTH": "github",
    "RMI_OAUTH_CLIENT_ID": "the-id",
    "RMI_OAUTH_CLIENT_SECRET": "the-secret",
    "RMI_PUBLIC_URL": "https://mcp.example.com",
    "RMI_OAUTH_USERS": "alice, bob-2",
}
OIDC = {
    **GOOD,
    "RMI_OAUTH": "oidc",
    "RMI_OAUTH_URL": "https://id.example.com/.well-known/openid-configuration",
}


def test_off_by_default() -> None:
    assert oauth_settings({}) is None
    assert oauth_settings({**GOOD, "RMI_OAUTH": " "}) is None


def test_every_setting() -> None:
    assert oauth_settings(OIDC) == OAuthSettings(
        provider="oidc",
        client_id="the-id",
        client_secret="the-secret",
        url="https://id.example.com/.well-known/openid-configuration",
        public_url="https://mcp.example.com",
        users=("alice", "bob-2"),
    )
    found = oauth_settings({**GOOD, "RMI_PUBLIC_URL": "https://mcp.example.com:8443/"})
    assert found is not None and found.public_url == "https://mcp.example.com:8443"
    assert found.host == "mcp.example.com"


def test_the_secret_is_not_shown() -> None:
    assert "the-secret" not in repr(oauth_settings(GOOD))


@pytest.mark.parametrize(
    ("base", "name", "value"),
    [
        (GOOD, "RMI_OAUTH", "gitlab"),
        (GOOD, "RMI_OAUTH", "GitHub"),
        (GOOD, "RMI_OAUTH_CLIENT_ID", ""),
        (GOOD, "RMI_OAUTH_CLIENT_ID", "two words"),
        (GOOD, "RMI_OAUTH_CLIENT_SECRET", " "),
        (GOOD, "RMI_OAUTH_CLIENT_SECRET", "the-secret\nx"),
        (GOOD, "RMI_PUBLIC_URL", ""),
        (GOOD, "RMI_PUBLIC_URL", "mcp.example.com"),
        (GOOD, "RMI_PUBLIC_URL", "http://mcp.example.com"),
        (GOOD, "RMI_PUBLIC_URL", "https://mcp.example.com/mcp"),
        (GOOD, "RMI_PUBLIC_URL", "https://mcp.example.com?x=1"),
        (GOOD, "RMI_PUBLIC_URL", "https://mcp.example.com#x"),
        (GOOD, "RMI_PUBLIC_URL", "https://mcp.example.com:port"),
        (GOOD, "RMI_PUBLIC_URL", "https://a:the-secret@mcp.example.com"),
        (GOOD, "RMI_PUBLIC_URL", "https://a:the-secret@mcp.example.com:99999"),
        (GOOD, "RMI_PUBLIC_URL", "https://"),
        (GOOD, "RMI_PUBLIC_URL", "https://[::1"),
        (GOOD, "RMI_PUBLIC_URL", "https://a.1"),
        (GOOD, "RMI_PUBLIC_URL", "https://%zz"),
        (GOOD, "RMI_PUBLIC_URL", "https://host:99999"),
        (GOOD, "RMI_OAUTH_URL", "https://id.example.com"),
        (GOOD, "RMI_OAUTH_USERS", ""),
        (GOOD, "RMI_OAUTH_USERS", " , "),
        (GOOD, "RMI_OAUTH_USERS", "*"),
        (GOOD, "RMI_OAUTH_USERS", "alice bob"),
        (GOOD, "RMI_OAUTH_USERS", "alice@example.com"),
        ({**GOOD, "RMI_OAUTH": "google"}, "RMI_OAUTH_USERS", "alice"),
        ({**GOOD, "RMI_OAUTH": "google"}, "RMI_OAUTH_USERS", "*@example.com"),
        (OIDC, "RMI_OAUTH_USERS", "*"),
        (OIDC, "RMI_OAUTH_URL", ""),
        (OIDC, "RMI_OAUTH_URL", "http://id.example.com/x"),
        (OIDC, "RMI_OAUTH_URL", "file:///etc/passwd"),
    ],
)
def test_a_wrong_setting_is_one_line(base: Mapping[str, str], name: str, value: str) -> None:
    with pytest.raises(SettingError) as raised:
        oauth_settings({**base, name: value})
    sentence = str(raised.value)
    assert sentence.startswith(name + " ")
    assert "\n" not in sentence and "the-secret" not in sentence


def listed(name: str, *users: str) -> OAuthSettings:
    return OAuthSettings(name, "the-id", "the-secret", "", "https://mcp.example.com", users)


@pytest.mark.parametrize(
    ("name", "user", "claims", "expected"),
    [
        ("github", "alice", {"login": "alice", "sub": "1"}, True),
        ("github", "Alice", {"login": "aLICE", "sub": "1"}, True),
        ("github", "alice", {"login": "alice2", "sub": "1"}, False),
        ("github", "alice", {"login": "bob", "name": "alice", "email": "alice", "sub": "1"}, False),
        # A login may look like somebody's number.
        ("github", "1", {"login": "bob", "sub": "1"}, False),
        ("github", "alice", {"sub": "1"}, False),
        ("github", "alice", {"login": None, "sub": "1"}, False),
        ("google", "a@x.org", {"sub": "1", "email": "A@x.org", "email_verified": "true"}, True),
        ("google", "a@x.org", {"sub": "1", "email": "a@x.org", "email_verified": True}, True),
        ("google", "a@x.org", {"sub": "1", "email": "a@x.org", "email_verified": "false"}, False),
        ("google", "a@x.org", {"sub": "1", "email": "a@x.org", "email_verified": None}, False),
        ("google", "a@x.org", {"sub": "1", "email": "b@x.org", "email_verified": True}, False),
        ("google", "a@x.org", {"sub": "1", "email": None, "email_verified": True}, False),
        ("google", "123", {"sub": "123", "email": None}, True),
        ("oidc", "auth0|1", {"sub": "auth0|1"}, True),
        ("oidc", "auth0|1", {"sub": "AUTH0|1"}, False),
        ("oidc", "alice", {"sub": "1", "preferred_username": "alice", "name": "alice"}, False),
        ("oidc", "k@x.org", {"sub": "1", "email": "k@x.org", "email_verified": True}, True),
        ("oidc", "k@x.org", {"sub": "1", "email": "k@x.org"}, False),
        ("oidc", "k@x.org", {"sub": "1", "email": "k@x.org", "email_verified": 1.5}, False),
        # The sign for kelvin, which is a k in lower case.
        ("oidc", "k@x.org", {"sub": "1", "email": "\u212a@x.org", "email_verified": True}, False),
    ],
)
def test_who_is_listed(name: str, user: str, claims: dict[str, Any], expected: bool) -> None:
    """By what the provider vouches for, never by what a user may choose."""
    assert admitted(listed(name, "somebody-else", user), claims) is expected


@dataclass
class Provider:
    """An OpenID provider, at which a login is whatever `user` is then."""

    url: str
    user: dict[str, Any]
    #: Seconds for which its ID tokens hold.
    lifetime: int = 300
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    scopes: set[str] = field(default_factory=lambda: {"openid", "email"})
    issued: list[str] = field(default_factory=list)
    refreshed: int = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self.discovery),
                Route("/jwks", self.jwks),
                Route("/authorize", self.authorize),
                Route("/token", self.token, methods=["POST"]),
            ]
        )

    async def discovery(self, request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def jwks(self, request: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    async def authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["client_id"] == "the-id" and asked["code_challenge_method"] == "S256"
        assert set(asked["scope"].split()) == self.scopes
        code = secrets.token_urlsafe()
        self.codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"]})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", 302)

    async def token(self, request: Request) -> Response:
        sent = await request.form()
        basic = base64.b64encode(b"the-id:the-secret").decode()
        assert request.headers["authorization"] == f"Basic {basic}"
        if sent["grant_type"] == "refresh_token":
            assert sent["refresh_token"] == "again"
            self.refreshed += 1
        else:
            asked = self.codes.pop(str(sent["code"]))
            challenge = hashlib.sha256(str(sent["code_verifier"]).encode()).digest()
            assert (
                base64.urlsafe_b64encode(challenge).decode().rstrip("=")
                == (asked["code_challenge"])
            )
        now = int(time.time())
        claims = {"iss": self.url, "aud": "the-id", "iat": now, "exp": now + self.lifetime}
        self.issued.append(secrets.token_urlsafe())
        identity = jwt.encode({"alg": "RS256", "kid": "one"}, claims | self.user, self.key)
        return JSONResponse(
            {
                "access_token": self.issued[-1],
                "id_token": identity,
                "refresh_token": "again",
                "token_type": "Bearer",
                "expires_in": self.lifetime,
                "scope": " ".join(self.scopes),
            }
        )


@dataclass
class Site:
    """A server that trusts the provider."""

    url: str
    tokens: Tokens
    state: Path


ALICE = {"sub": "u-1", "email": "alice@example.com", "email_verified": True, "name": "Alice"}


@pytest.fixture
async def identity() -> AsyncIterator[Provider]:
    listener = free_port()
    found = Provider(url_of(listener), ALICE)
    async with serving(found.app(), listener):
        yield found


@pytest.fixture
async def site(identity: Provider, tmp_path: Path) -> AsyncIterator[Site]:
    listener = free_port()
    url, state = url_of(listener), tmp_path / "state"
    settings = OAuthSettings(
        provider="oidc",
        client_id="the-id",
        client_secret="the-secret",
        url=f"{identity.url}/.well-known/openid-configuration",
        public_url=url,
        users=("alice@example.com", "u-2"),
    )
    tokens = Tokens(state / "tokens")
    server = who_server(auth=await in_thread(tokens, settings, state / "oauth"))
    async with serving(both(server), listener):
        yield Site(url, tokens, state)


async def in_thread(tokens: Tokens, settings: OAuthSettings, directory: Path) -> Any:
    """`provider` asks for the discovery document, which this loop serves."""
    return await asyncio.to_thread(provider, tokens, settings, directory)


CALLBACK = "https://claude.ai/api/mcp/auth_callback"


async def log_in(site: Site, callback: str = CALLBACK) -> dict[str, Any]:
    """As a connector does it: find out, register, log in with PKCE in a browser, and exchange the
    code. The answer of the token endpoint."""
    async with httpx2.AsyncClient() as http:
        challenge = (await http.post(f"{site.url}/mcp")).headers["www-authenticate"]
        (where,) = re.findall(r'resource_metadata="([^"]+)"', challenge)
        resource = (await http.get(where)).json()
        assert resource["resource"] == f"{site.url}/mcp"
        issuer = resource["authorization_servers"][0].rstrip("/")
        assert issuer == site.url
        about = (await http.get(f"{issuer}/.well-known/oauth-authorization-server")).json()
        assert about["code_challenge_methods_supported"] == ["S256"]
        client = {
            "client_name": "A connector",
            "redirect_uris": [callback],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }
        registered = await http.post(about["registration_endpoint"], json=client)
        assert registered.status_code == 201
        client_id = registered.json()["client_id"]

        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": callback,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
            "state": "a state",
            "resource": resource["resource"],
        }
        answer = await http.get(about["authorization_endpoint"], params=asked)
        answer = await http.get(answer.headers["location"])  # the page that asks for consent
        assert "A connector" in answer.text
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.text))
        fields = {name: html.unescape(value) for name, value in fields.items()}
        answer = await http.post(str(answer.url), data={**fields, "action": "approve"})
        answer = await http.get(answer.headers["location"])  # the provider
        answer = await http.get(answer.headers["location"])  # the server's own callback
        back = urlsplit(answer.headers["location"])
        assert back._replace(query="").geturl() == callback
        query = parse_qs(back.query)
        assert query["state"] == ["a state"]
        exchange = {
            "grant_type": "authorization_code",
            "client_id": client_id,
            "code": query["code"][0],
            "redirect_uri": callback,
            "code_verifier": verifier,
            "resource": resource["resource"],
        }
        wrong = {**exchange, "code_verifier": secrets.token_urlsafe(48)}
        assert (await http.post(about["token_endpoint"], data=wrong)).status_code == 401
        answer = await http.post(about["token_endpoint"], data=exchange)
        assert answer.status_code == 200
        granted: dict[str, Any] = answer.json()
        return granted


async def status(site: Site, token: str) -> int:
    async with httpx2.AsyncClient() as http:
        headers = {"authorization": f"Bearer {token}"}
        return (await http.post(f"{site.url}/mcp", headers=headers)).status_code


async def test_a_listed_user_comes_in(site: Site, identity: Provider) -> None:
    """And is, to the server, the issuer and the subject; nothing else of them is kept."""
    token = (await log_in(site))["access_token"]
    who, known = await call(f"{site.url}/mcp", token)
    assert who == f"{identity.url}|u-1"
    assert token not in known and identity.issued[-1] not in known and "Alice" not in known
    assert f"'iss': '{identity.url}'" in known and "'sub': 'u-1'" in known
    assert (await call(f"{site.url}/sse", token))[0] == who
    assert (await call(f"{site.url}/mcp", token, "legacy"))[0] == who


async def test_a_user_listed_by_subject(site: Site, identity: Provider) -> None:
    identity.user = {"sub": "u-2"}
    assert (await call(f"{site.url}/mcp", (await log_in(site))["access_token"]))[0].endswith("|u-2")


@pytest.mark.parametrize(
    "user",
    [
        {"sub": "u-3", "email": "mallory@example.com", "email_verified": True},
        {"sub": "u-3", "email": "alice@example.com", "email_verified": False},
        {"sub": "u-3", "email": "alice@example.com"},
        {"sub": "u-3", "name": "alice@example.com", "preferred_username": "u-2"},
        {"sub": ""},
    ],
)
async def test_nobody_else_does(
    site: Site, identity: Provider, user: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Though the provider lets them log in. The log tells the owner whom to list."""
    identity.user = user
    token = (await log_in(site))["access_token"]
    assert await status(site, token) == 401
    if user["sub"]:
        facts = [getattr(r, "facts", {}) for r in caplog.records if r.name == "rmi.oauth"]
        assert facts and facts[0]["sub"] == user["sub"]


@pytest.mark.parametrize(
    "claims", [{"aud": "another-id"}, {"iss": "https://id.example.com"}, {"exp": 1_700_000_000}]
)
async def test_an_id_token_for_others_or_of_others(
    site: Site, identity: Provider, claims: dict[str, Any]
) -> None:
    identity.user = ALICE | claims
    assert await status(site, (await log_in(site))["access_token"]) == 401


async def test_a_token_works_beside_it(site: Site) -> None:
    token = site.tokens.new("alice")
    assert (await call(f"{site.url}/mcp", token))[0] == "alice"
    site.tokens.revoke("alice")
    assert await status(site, token) == 401
    assert await status(site, "x.y.z") == 401


async def test_the_names_of_tokens_and_logins_do_not_meet(site: Site, identity: Provider) -> None:
    """A token of the name of a subject is somebody else, and so are connections' sessions."""
    token = site.tokens.new("u-1")
    login = (await log_in(site))["access_token"]
    assert (await call(f"{site.url}/mcp", token))[0] == "u-1"
    assert (await call(f"{site.url}/mcp", login))[0] == f"{identity.url}|u-1"
    async with Client(f"{site.url}/mcp", auth=login, mode="legacy") as client:
        session = client.transport.get_session_id()
        async with httpx2.AsyncClient() as http:
            headers = {"authorization": f"Bearer {token}", "mcp-session-id": session}
            assert (await http.delete(f"{site.url}/mcp", headers=headers)).status_code == 404


async def test_two_users_at_once(site: Site, identity: Provider) -> None:
    first = (await log_in(site))["access_token"]
    identity.user = {"sub": "u-2"}
    second = (await log_in(site))["access_token"]
    names = [(await call(f"{site.url}/mcp", token))[0] for token in (first, second)]
    assert names == [f"{identity.url}|u-1", f"{identity.url}|u-2"]


async def test_a_login_outlives_its_id_token(site: Site, identity: Provider) -> None:
    """As long as the provider renews it; what it says then counts."""
    identity.lifetime = 1
    granted = await log_in(site)
    async with httpx2.AsyncClient() as http:
        about = (await http.get(f"{site.url}/.well-known/oauth-authorization-server")).json()
        client_id = jwt_claims(granted["access_token"])["client_id"]
        again = {
            "grant_type": "refresh_token",
            "client_id": client_id,
            "refresh_token": granted["refresh_token"],
        }
        identity.lifetime = 300
        answer = await http.post(about["token_endpoint"], data=again)
        assert answer.status_code == 200
        assert identity.refreshed == 1
        assert (await call(f"{site.url}/mcp", answer.json()["access_token"]))[0].endswith("|u-1")
        identity.user = {"sub": "u-9"}
        again["refresh_token"] = answer.json()["refresh_token"]
        answer = await http.post(about["token_endpoint"], data=again)
        assert await status(site, answer.json()["access_token"]) == 401


def jwt_claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


async def test_what_is_stored_is_private_and_encrypted(site: Site, identity: Provider) -> None:
    """And outlives the server, whose users need not log in again."""
    granted = await log_in(site)
    folder = site.state / "oauth"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    stored = "".join(file.read_text() for file in files)
    for secret in ("the-secret", "alice@example.com", "again", "A connector", *granted.values()):
        assert not isinstance(secret, str) or len(secret) < 5 or secret not in stored
    if os.name != "nt":
        assert {stat.S_IMODE(f.stat().st_mode) for f in files if "info" not in f.name} == {0o600}

    settings = OAuthSettings(
        "oidc",
        "the-id",
        "the-secret",
        f"{identity.url}/.well-known/openid-configuration",
        site.url,
        ("u-1",),
    )
    again = await in_thread(site.tokens, settings, folder)
    again.set_mcp_path("/mcp")
    assert await again.verify_token(granted["access_token"]) is not None
    nobody = await in_thread(site.tokens, replace(settings, users=("u-2",)), folder)
    nobody.set_mcp_path("/mcp")
    assert await nobody.verify_token(granted["access_token"]) is None


async def test_a_folder_that_others_reach_is_refused(identity: Provider, tmp_path: Path) -> None:
    (tmp_path / "oauth").mkdir(mode=0o755)
    settings = listed("github", "alice")
    with pytest.raises(SettingError, match=r"RMI_STATE_DIR: .*chmod 700"):
        provider(Tokens(tmp_path / "tokens"), settings, tmp_path / "oauth")


@pytest.mark.parametrize("path", ["/nothing", "/jwks", "/token"])
async def test_no_discovery_document_is_one_line(
    identity: Provider, tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(listed("oidc", "alice"), url=identity.url + path)
    with pytest.raises(SettingError) as raised:
        await in_thread(Tokens(tmp_path / "tokens"), settings, tmp_path / "oauth")
    assert str(raised.value).startswith("RMI_OAUTH_URL is ") and "\n" not in str(raised.value)
    assert not any(record.exc_info for record in caplog.records)


def test_a_provider_that_is_not_there(tmp_path: Path) -> None:
    listener = free_port()
    url = url_of(listener)
    listener.close()
    settings = replace(listed("oidc", "alice"), url=url)
    with pytest.raises(SettingError, match="RMI_OAUTH_URL is ") as raised:
        provider(Tokens(tmp_path / "tokens"), settings, tmp_path / "oauth")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["github", "google"])
async def test_the_known_providers(name: str, tmp_path: Path) -> None:
    """As far as they go without the provider: the way to its login page."""
    listener = free_port()
    settings = replace(
        listed(name, "alice" if name == "github" else "a@x.org"), public_url=url_of(listener)
    )
    tokens = Tokens(tmp_path / "tokens")
    server = who_server(auth=provider(tokens, settings, tmp_path / "oauth"))
    async with serving(both(server), listener) as url, httpx2.AsyncClient() as http:
        about = (await http.get(f"{url}/.well-known/oauth-authorization-server")).json()
        callback = "http://127.0.0.1:1/callback"
        client = {"redirect_uris": [callback], "client_name": "A program"}
        registered = (await http.post(about["registration_endpoint"], json=client)).json()
        asked = {
            "response_type": "code",
            "client_id": registered["client_id"],
            "redirect_uri": callback,
            "code_challenge": "x" * 43,
            "code_challenge_method": "S256",
        }
        answer = await http.get(about["authorization_endpoint"], params=asked)
        answer = await http.get(answer.headers["location"])
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.text))
        answer = await http.post(str(answer.url), data={**fields, "action": "approve"})
        where = urlsplit(answer.headers["location"])
        assert where.hostname in ("github.com", "accounts.google.com")
        query = parse_qs(where.query)
        assert query["client_id"] == ["the-id"]
        assert query["redirect_uri"] == [f"{url}/auth/callback"]
        scopes = query["scope"][0].split()
        assert scopes[0] == ("read:user" if name == "github" else "openid")
        assert (await call(f"{url}/mcp", tokens.new("x")))[0] == "x"


GITHUB = {"id": 583231, "login": "Alice", "name": "A.", "email": "typed@example.com", "bio": "x"}
GOOGLE = {
    "aud": "the-id",
    "sub": "1081",
    "scope": "openid https://www.googleapis.com/auth/userinfo.email",
    "expires_in": "3599",
    "email": "alice@x.org",
    "email_verified": "true",
}


@pytest.mark.parametrize(
    ("name", "users", "answer", "expected"),
    [
        ("github", "alice", GITHUB, "https://github.com|583231"),
        ("github", "alice", {**GITHUB, "login": "mallory", "name": "alice"}, None),
        ("google", "alice@x.org", GOOGLE, "https://accounts.google.com|1081"),
        ("google", "1081", {**GOOGLE, "email": None}, "https://accounts.google.com|1081"),
        ("google", "alice@x.org", {**GOOGLE, "email_verified": "false"}, None),
        ("google", "alice@x.org", {**GOOGLE, "email": "mallory@x.org"}, None),
        ("google", "alice@x.org", {**GOOGLE, "aud": "another-id"}, None),
    ],
)
async def test_what_the_known_providers_say(
    identity: Provider,
    tmp_path: Path,
    name: str,
    users: str,
    answer: dict[str, Any],
    expected: str | None,
) -> None:
    """A login of which their answers are as they document them, and the rest is real."""

    def respond(request: httpx2.Request) -> httpx2.Response:
        scopes = {"x-oauth-scopes": "read:user"}
        if request.url.path in ("/user", "/tokeninfo"):
            return httpx2.Response(200, json=answer, headers=scopes)
        if request.url.path == "/user/repos":
            return httpx2.Response(200, json=[], headers=scopes)
        return httpx2.Response(200, json={"name": "A."})

    listener = free_port()
    settings = replace(listed(name, users), public_url=url_of(listener))
    tokens = Tokens(tmp_path / "tokens")
    auth: Any = provider(tokens, settings, tmp_path / "oauth")
    upstream = auth.server
    upstream._upstream_authorization_endpoint = f"{identity.url}/authorize"
    upstream._upstream_token_endpoint = f"{identity.url}/token"
    upstream._token_validator._http_client = httpx2.AsyncClient(
        transport=httpx2.MockTransport(respond)
    )
    identity.scopes = set(upstream.required_scopes)
    async with serving(both(who_server(auth=auth)), listener) as url:
        site = Site(url, tokens, tmp_path)
        token = (await log_in(site))["access_token"]
        if expected is None:
            assert await status(site, token) == 401
        else:
            who, known = await call(f"{url}/mcp", token)
            assert who == expected
            assert "bio" not in known and "typed@example.com" not in known
    await upstream._token_validator._http_client.aclose()
