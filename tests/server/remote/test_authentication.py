"""Who may come in over HTTP: with a token that holds now, and with nothing else."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastmcp import Client, FastMCP
from fastmcp.client.transports import SSETransport, StreamableHttpTransport
from fastmcp.server.dependencies import get_access_token
from starlette.types import ASGIApp, Receive, Scope, Send

from server.principal import principal
from server.remote.authentication import provider
from server.remote.oauth import OAuthSettings
from server.remote.tokens import Tokens
from tests.server.caller import Mode

INITIALIZE = (
    '{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": '
    '"2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}'
)
LIST = '{"jsonrpc": "2.0", "id": 2, "method": "tools/list"}'


@asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket | None = None) -> AsyncIterator[str]:
    """The app on a free port, or that of `listener`; the URL without a path."""
    listener = listener or free_port()
    config = uvicorn.Config(
        app, ws="none", log_config=None, timeout_graceful_shutdown=1, loop="asyncio"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield url_of(listener)
    finally:
        server.should_exit = True
        await task
        listener.close()


def free_port() -> socket.socket:
    """A socket that takes connections at once, and answers when a server has it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def both(server: FastMCP[Any]) -> ASGIApp:
    """Streamable HTTP and SSE in one application."""
    streamable, sse = (
        server.http_app("/mcp"),
        server.http_app("/sse", transport="sse"),
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        of_sse = scope.get("path", "").startswith(("/sse", "/messages"))
        await (sse if of_sse else streamable)(scope, receive, send)

    return app


def who_server(**options: Any) -> FastMCP[Any]:
    """A server whose one tool tells who calls it, and all that is known of them."""
    server: FastMCP[Any] = FastMCP("who", **options)

    @server.tool
    async def who() -> list[str]:
        return [principal(), repr(get_access_token())]

    return server


async def raw(url: str, method: str, path: str, *headers: str, body: str = "") -> tuple[int, str]:
    """Status and head of the answer to a request that is sent as it stands."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host}:{port}",
        "Accept: application/json, text/event-stream",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    writer.write(("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1"))
    try:
        async with asyncio.timeout(20):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    finally:
        writer.close()
    return int(head.split()[1]), head.lower()


def header(head: str, name: str) -> str:
    """A header's value, in lower case; "" when there is none."""
    found = [line for line in head.split("\r\n") if line.startswith(name + ": ")]
    return found[0].partition(": ")[2] if found else ""


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "state" / "tokens")


@pytest.fixture(params=["tokens", "tokens and logins"])
async def url(request: pytest.FixtureRequest, tokens: Tokens, tmp_path: Path) -> AsyncIterator[str]:
    """A server with tokens alone, and one where users of GitHub may come in, too."""
    oauth = None
    if request.param != "tokens":
        oauth = OAuthSettings(
            "github", "the-id", "the-secret", "", "https://mcp.example.com", ("alice",)
        )
    auth = provider(tokens, oauth, tmp_path / "state" / "oauth")
    async with serving(both(who_server(auth=auth))) as url:
        yield url


async def call(url: str, token: str, mode: Mode = "auto") -> Any:
    transport: Any
    if url.endswith("/sse"):
        transport = SSETransport(url, auth=token)
    else:
        transport = StreamableHttpTransport(url, auth=token)
    async with Client(transport, mode=mode) as client:
        assert [tool.name for tool in await client.list_tools()] == ["who"]
        return (await client.call_tool("who", {})).data


@pytest.mark.parametrize(
    ("path", "mode"), [("/mcp", "auto"), ("/mcp", "legacy"), ("/sse", "legacy")]
)
async def test_a_token_lets_in(url: str, tokens: Tokens, path: str, mode: Mode) -> None:
    """Over every transport; who calls is the token's name, and its text is known to nobody."""
    alice, bob = tokens.new("alice"), tokens.new("bob")
    for token, name in ((alice, "alice"), (bob, "bob")):
        who, known = await call(url + path, token, mode)
        assert who == name
        assert token not in known


BAD = {
    "no credentials": [],
    "an empty header": ["Authorization:"],
    "no token": ["Authorization: Bearer"],
    "an empty token": ["Authorization: Bearer "],
    "a wrong token": ["Authorization: Bearer rmi_" + "x" * 43],
    "half of the token": ["Authorization: Bearer {half}"],
    "more than the token": ["Authorization: Bearer {token}x"],
    "a blank within": ["Authorization: Bearer  x{token}"],
    "the token twice": ["Authorization: Bearer {token} {token}"],
    "a list of tokens": ["Authorization: Bearer {token}, Bearer {token}"],
    "two headers": ["Authorization: Bearer {token}", "Authorization: Bearer {token}"],
    "a good one and a bad one": ["Authorization: Bearer {token}", "authorization: Bearer x"],
    "a bad one and a good one": ["Authorization: Bearer x", "Authorization: Bearer {token}"],
    "a good one and Basic": ["Authorization: Bearer {token}", "Authorization: Basic YTpi"],
    "Basic": ["Authorization: Basic YWxpY2U6c2VjcmV0"],
    "the token as Basic": ["Authorization: Basic {token}"],
    "the token alone": ["Authorization: {token}"],
    "another scheme": ["Authorization: Token {token}"],
    "another header": ["X-Authorization: Bearer {token}"],
    "a cookie": ["Cookie: token={token}; Authorization={token}"],
    "not ASCII": ["Authorization: Bearer \xe9\xff{token}"],
    "a long one": ["Authorization: Bearer " + "x" * 30_000],
    "parts of a web token": ["Authorization: Bearer a.b.c"],
    "an unsigned web token": ["Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."],
}


DOORS = (
    ("POST", "/mcp"),
    ("GET", "/mcp"),
    ("DELETE", "/mcp"),
    ("GET", "/sse"),
    ("POST", "/messages/"),
)


@pytest.mark.parametrize("case", BAD)
async def test_bad_credentials_are_401(url: str, tokens: Tokens, case: str) -> None:
    token = tokens.new("alice")
    lines = [line.replace("{token}", token).replace("{half}", token[:24]) for line in BAD[case]]
    given = any(line.lower().startswith("authorization: bearer ") for line in lines)
    # A header that ends with a blank has lost it when it arrives.
    given = given and case != "an empty token"
    for method, path in DOORS:
        status, head = await raw(url, method, path, *lines, body=LIST if method == "POST" else "")
        assert (method, path, status) == (method, path, 401)
        challenge = header(head, "www-authenticate")
        assert challenge.split()[0] == "bearer"
        assert ('error="invalid_token"' in challenge) == given
        assert token.lower() not in head


@pytest.mark.parametrize("path", ["/mcp?token={}", "/mcp?access_token={}", "/sse?token={}"])
async def test_a_token_in_the_url_is_none(url: str, tokens: Tokens, path: str) -> None:
    method = "GET" if path.startswith("/sse") else "POST"
    status, _ = await raw(url, method, path.format(tokens.new("alice")), body=LIST)
    assert status == 401


async def test_the_schemes_name_has_no_case(url: str, tokens: Tokens) -> None:
    line = f"authorization: bEARER {tokens.new('alice')}"
    assert (await raw(url, "POST", "/mcp", line, body=INITIALIZE))[0] == 200


async def test_no_restart_for_new_and_revoked_tokens(url: str, tokens: Tokens) -> None:
    async def status(token: str) -> int:
        line = f"Authorization: Bearer {token}"
        return (await raw(url, "POST", "/mcp", line, body=INITIALIZE))[0]

    elsewhere = Tokens(tokens._directory)
    for _ in range(3):
        token = elsewhere.new("alice")
        assert await status(token) == 200
        elsewhere.revoke("alice")
        assert await status(token) == 401


async def test_a_connections_session_is_its_tokens_alone(url: str, tokens: Tokens) -> None:
    """In the older protocol; others find nothing, as with an id that nobody has."""
    alice, bob = (f"Authorization: Bearer {tokens.new(name)}" for name in ("alice", "bob"))
    _, head = await raw(url, "POST", "/mcp", alice, body=INITIALIZE)
    session = f"mcp-session-id: {header(head, 'mcp-session-id')}"
    assert session != "mcp-session-id: "
    for method in ("POST", "GET", "DELETE"):
        body = LIST if method == "POST" else ""
        assert (await raw(url, method, "/mcp", bob, session, body=body))[0] == 404
    assert (await raw(url, "POST", "/mcp", session, body=LIST))[0] == 401
    assert (await raw(url, "POST", "/mcp", alice, session, body=LIST))[0] == 200


async def test_an_sse_connection_is_its_tokens_alone(url: str, tokens: Tokens) -> None:
    alice, bob = (f"Authorization: Bearer {tokens.new(name)}" for name in ("alice", "bob"))
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /sse HTTP/1.1\r\nHost: {host}:{port}\r\n{alice}\r\n\r\n".encode())
    async with asyncio.timeout(20):
        path = (await reader.readuntil(b"session_id=") + await reader.readexactly(32)).decode()
    path = path[path.index("/messages") :]
    try:
        assert (await raw(url, "POST", path, bob, body=LIST))[0] == 404
        assert (await raw(url, "POST", path, body=LIST))[0] == 401
        assert (await raw(url, "POST", path, alice, body=LIST))[0] == 202
    finally:
        writer.close()


async def test_the_challenge_names_where_to_log_in(url: str, tokens: Tokens) -> None:
    """Only where logins are possible, which they are for /mcp."""
    login = (await raw(url, "GET", "/.well-known/oauth-protected-resource/mcp"))[0] == 200
    _, head = await raw(url, "POST", "/mcp", body=LIST)
    where = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"
    expected = f'bearer resource_metadata="{where}"' if login else "bearer"
    assert header(head, "www-authenticate") == expected
    _, head = await raw(url, "GET", "/sse")
    assert header(head, "www-authenticate") == "bearer"


async def test_no_log_has_a_token(
    url: str, tokens: Tokens, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    loggers = [logging.getLogger(name) for name in ("fastmcp", "mcp", "uvicorn", "rmi")]
    levels = [log.level for log in loggers]
    token = tokens.new("alice")
    for log in loggers:
        log.setLevel(logging.DEBUG)
        log.addHandler(caplog.handler)
    try:
        for line in (f"Authorization: Bearer {token}", f"Authorization: Bearer {token[:-1]}!"):
            for body in (INITIALIZE, LIST, "{"):
                await raw(url, "POST", "/mcp", line, body=body)
                await raw(url, "POST", "/mcp", line, line, body=body)
        tokens.revoke("alice")
        await raw(url, "POST", "/mcp", f"Authorization: Bearer {token}", body=LIST)
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)
            log.removeHandler(caplog.handler)
    assert "401" in caplog.text
    assert token[4:20] not in caplog.text + "".join(repr(r.__dict__) for r in caplog.records)
