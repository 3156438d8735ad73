"""Who is not let in over HTTP, what bad requests come to, and what one token sees of another."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp_tasks.client import TasksClientExtension
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS

from tests.conftest import ROOT
from tests.e2e.http_process import HttpProcess, Way
from tests.e2e.test_http import WAITS, WAYS, run, start, text
from tests.server.test_tasks import ask, begin

MINE, YOURS = "mine-" + "m" * 40, "yours-" + "y" * 40
VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}
NEWER = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": VERSION,
    "mcp-method": "tools/list",
}
OLDER = {name: NEWER[name] for name in ("content-type", "accept")}
LIST = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}
).encode()
BEARER = ("Authorization", f"Bearer {MINE}")
MESSAGES = "/messages/?session_id=" + "0" * 32


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpProcess]:
    """A server with two tokens."""
    process = HttpProcess(
        tmp_path_factory.mktemp("guarded"),
        RMI_TOKENS=f"me:{MINE},you:{YOURS}",
        RMI_ALLOWED_HOSTS="public.example",
        RMI_ALLOWED_ORIGINS="https://page.example",
        RMI_LOG_LEVEL="debug",
        RMI_TOKEN_SESSIONS="4",
        RMI_TOKEN_RUNS="3",
    )
    try:
        yield process.wait()
    finally:
        process.end()
        assert MINE not in process.log
        assert YOURS not in process.log
        for file in (process.projects.parent / "state").rglob("*.jsonl"):
            assert MINE not in file.read_text()


@pytest.fixture(scope="module")
def open_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpProcess]:
    """A server without tokens."""
    process = HttpProcess(tmp_path_factory.mktemp("open"))
    try:
        yield process.wait()
    finally:
        process.end()


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers = response.status, response.headers
        self.body = response.read()

    @property
    def error(self) -> str:
        """The one sentence with which a request is refused."""
        words = json.loads(self.body)["error"]["message"]
        assert isinstance(words, str)
        assert words.endswith(".")
        return words


def send(
    server: HttpProcess,
    *headers: tuple[str, str],
    method: str = "POST",
    path: str = "/mcp",
    body: bytes | None = LIST,
    usual: Mapping[str, str] = NEWER,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=any(name == "Host" for name, _ in headers))
        for name, value in (*usual.items(), *headers):
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        if body:
            with contextlib.suppress(OSError):  # it has answered before it had all
                connection.send(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()


class TestCredentials:
    @pytest.mark.parametrize(
        ("path", "method", "usual"),
        [
            ("/mcp", "POST", NEWER),
            ("/mcp", "POST", OLDER),
            ("/mcp", "GET", OLDER),
            ("/mcp", "DELETE", OLDER),
            ("/sse", "GET", OLDER),
            (MESSAGES, "POST", OLDER),
            ("/metrics", "GET", {}),
        ],
    )
    @pytest.mark.parametrize(
        ("headers", "sentence"),
        [
            ([], "This server needs a token: "),
            ([("Authorization", "")], "This server needs a token: "),
            ([("Authorization", "Bearer ")], "This server needs a token: "),
            ([("Authorization", "Basic bWU6eA==")], "This server needs a token: "),
            ([("Authorization", MINE)], "This server needs a token: "),
            ([("Authorization", "Bearer wrong")], "This token is not known here"),
            ([("Authorization", f"Bearer {MINE[:-1]}")], "This token is not known here"),
            ([("Authorization", f"Bearer {MINE}{MINE}")], "This token is not known here"),
            ([("Authorization", "Bearer me")], "This token is not known here"),
            ([BEARER, BEARER], "There are two Authorization headers"),
        ],
    )
    def test_without_the_right_ones_nothing_is_served(
        self,
        guarded: HttpProcess,
        path: str,
        method: str,
        usual: Mapping[str, str],
        headers: list[tuple[str, str]],
        sentence: str,
    ) -> None:
        body = LIST if method == "POST" else None
        answer = send(guarded, *headers, path=path, method=method, usual=usual, body=body)
        assert answer.status == 401
        assert answer.error.startswith(sentence)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["server"] is None

    def test_with_the_right_one_it_is(self, guarded: HttpProcess) -> None:
        assert send(guarded, BEARER).status == 200
        assert send(guarded, ("authorization", f"bearer {YOURS}")).status == 200

    @pytest.mark.parametrize("name", ["token", "access_token", "Token", "api_key"])
    @pytest.mark.parametrize("path", ["/mcp", "/sse"])
    def test_a_token_in_the_address_is_refused_even_beside_a_right_one(
        self, guarded: HttpProcess, name: str, path: str
    ) -> None:
        for headers in ([], [BEARER]):
            answer = send(guarded, *headers, path=f"{path}?{name}={MINE}")
            assert answer.status == 401
            assert answer.error.startswith("A token in an address is not taken")

    def test_some_pages_need_none(self, guarded: HttpProcess) -> None:
        health = send(guarded, method="GET", path="/health", body=None, usual={})
        assert (health.status, json.loads(health.body)["status"]) == (200, "alive")
        ready = send(guarded, method="GET", path="/ready", body=None, usual={})
        assert (ready.status, json.loads(ready.body)["status"]) in (
            (200, "ready"),
            (503, "starting"),
        )
        with_one = send(guarded, BEARER, method="GET", path="/metrics", body=None, usual={})
        assert with_one.status == 200
        assert b'rmi_refused_total{reason="authentication"}' in with_one.body

    async def test_tokens_are_made_and_revoked_while_it_serves(self, guarded: HttpProcess) -> None:
        state = guarded.projects.parent / "state"
        made = await command(state, "new", "laptop")
        token = made.strip()
        assert len(token) >= 43
        async with guarded.client("newer", token) as client:
            assert await client.list_tools()
            assert token not in "".join(
                path.read_text() for path in state.rglob("*") if path.is_file()
            )
            assert "laptop" in await command(state, "list")
            await command(state, "revoke", "laptop")
            with pytest.raises(MCPError, match="This token is not known here"):
                await client.call_tool("list_sessions", {})
        assert stat.S_IMODE((state / "tokens").stat().st_mode) == 0o700
        assert "laptop" not in await command(state, "list")

    async def test_with_a_token_all_that_was_its_own_ends(self, guarded: HttpProcess) -> None:
        state = guarded.projects.parent / "state"
        token = (await command(state, "new", "leaked")).strip()
        async with guarded.client("newer", token) as client:
            call = await start(client, WAITS, session="mine")
            await command(state, "revoke", "leaked")
            async with asyncio.timeout(30):
                result = await call
            assert "session closed: its variables are gone" in text(result)
        token = (await command(state, "new", "leaked")).strip()
        async with guarded.client("newer", token) as client:
            assert "no session yet" in text(await client.call_tool("list_sessions"))
        await command(state, "revoke", "leaked")


async def command(state: Path, *words: str) -> str:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "server" / "mcp_server.py"), "token", *words),
        env={"RMI_STATE_DIR": str(state), "PYTHON_PROJECTS_DIR": str(state)},
        stdout=subprocess.PIPE,
    )
    printed, _ = await child.communicate()
    assert child.returncode == 0
    return printed.decode()


class TestBrowsers:
    @pytest.mark.parametrize("path", ["/mcp", "/sse", "/health", "/metrics", "/nothing"])
    def test_a_foreign_host_reaches_nothing(
        self, guarded: HttpProcess, open_: HttpProcess, path: str
    ) -> None:
        for server in (guarded, open_):
            for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000"):
                answer = send(server, BEARER, ("Host", host), path=path)
                assert answer.status == 421
                assert "RMI_ALLOWED_HOSTS" in answer.error

    def test_a_foreign_origin_reaches_nothing(
        self, guarded: HttpProcess, open_: HttpProcess
    ) -> None:
        for server in (guarded, open_):
            for origin in ("https://evil.example", "null", "file://", "http://127.0.0.1.evil.org"):
                for method in ("POST", "GET", "OPTIONS"):
                    answer = send(server, BEARER, ("Origin", origin), method=method)
                    assert answer.status == 403
                    assert "RMI_ALLOWED_ORIGINS" in answer.error

    def test_what_the_settings_allow_is_let_in(self, guarded: HttpProcess) -> None:
        assert send(guarded, BEARER, ("Host", "public.example")).status == 200
        page = ("Origin", "https://page.example")
        answer = send(guarded, BEARER, page)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        ask = ("Access-Control-Request-Method", "POST")
        assert send(guarded, page, ask, method="OPTIONS", body=None).status == 200


BROKEN = {
    "5 MB": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"' + b"a" * 5_000_000 + b'"}}',
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "half": LIST[: len(LIST) // 2],
    "no text": b"\xff\xfe\x00",
    "empty": b"",
    "number": b"1",
    "list": b"[]",
    "no method": b'{"jsonrpc":"2.0","id":1}',
}


class TestBadRequests:
    @pytest.mark.parametrize("kind", BROKEN)
    @pytest.mark.parametrize(
        ("path", "usual"), [("/mcp", NEWER), ("/mcp", OLDER), (MESSAGES, OLDER)]
    )
    def test_a_bad_body_is_refused_and_the_server_lives(
        self, guarded: HttpProcess, kind: str, path: str, usual: Mapping[str, str]
    ) -> None:
        answer = send(guarded, BEARER, body=BROKEN[kind], path=path, usual=usual)
        assert 400 <= answer.status < 500
        assert (answer.status == 413) == (kind == "5 MB")
        assert send(guarded, BEARER).status == 200

    @pytest.mark.parametrize(
        "content_type",
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""],
    )
    def test_a_wrong_content_type_is_refused(self, guarded: HttpProcess, content_type: str) -> None:
        """What a page can send to other hosts without asking is among them."""
        for usual in (NEWER, OLDER):
            wrong = {**usual, "content-type": content_type}
            assert 400 <= send(guarded, BEARER, usual=wrong).status < 500

    async def test_arguments_nested_deeply_are_one_sentence(self, guarded: HttpProcess) -> None:
        deep: Any = "x"
        for _ in range(100):
            deep = [deep]
        async with guarded.client("newer", MINE) as client:
            result = await client.call_tool_mcp("run_python", {"file_name": "a.py", "args": deep})
        assert text(result) == "The argument args is nested more than 50 levels deep."

    async def test_slow_and_idle_connections_do_not_disturb(self, guarded: HttpProcess) -> None:
        connections = []
        try:
            for number in range(260):
                connection = await asyncio.open_connection("127.0.0.1", guarded.port)
                connections.append(connection)
                if number < 200:
                    connection[1].write(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            async with guarded.client("newer", MINE) as client:
                async with asyncio.timeout(30):
                    assert "2" in text(await run(client, "1 + 1"))
                await client.call_tool("close_session")
        finally:
            for _, writer in connections:
                writer.close()


class TestTwoTokens:
    @pytest.fixture
    async def me(self, guarded: HttpProcess, way: Way) -> AsyncIterator[Client[Any]]:
        async with guarded.client(way, MINE) as client:
            yield client

    @pytest.fixture
    async def you(self, guarded: HttpProcess, way: Way) -> AsyncIterator[Client[Any]]:
        async with guarded.client(way, YOURS) as client:
            yield client

    @pytest.fixture(params=WAYS)
    def way(self, request: pytest.FixtureRequest) -> Way:
        found: Way = request.param
        return found

    async def test_neither_sees_the_others_sessions_runs_and_resources(
        self, me: Client[Any], you: Client[Any], way: Way
    ) -> None:
        """Not found, as if they were not there."""
        secret = await run(me, "x = 'hidden'; print(x)", session=way)
        run_id = (secret.meta or {})["rmi-agent/run"]["run_id"]
        assert way not in text(await you.call_tool_mcp("list_sessions", {}))
        for tool, arguments in (
            ("get_output", {"run_id": run_id}),
            ("stop_run", {"run_id": run_id}),
            ("stop_run", {"session": way}),
            ("list_variables", {"session": way}),
            ("restart_session", {"session": way}),
            ("close_session", {"session": way}),
            ("rewind_session", {"session": way}),
            ("branch_session", {"session": way, "new_session": f"{way} 2"}),
        ):
            refused = await you.call_tool_mcp(tool, arguments)
            assert refused.is_error
            assert text(refused).startswith("There is no ")
            assert "hidden" not in text(refused)
        for uri in (
            f"run://{run_id}/text",
            f"run://{run_id}/outputs/1",
            f"session://{way}/runs",
            f"session://{way}/notebook",
        ):
            with pytest.raises(MCPError, match="There is no "):
                await you.read_resource(uri)
        own = await run(you, "'x' in globals()", session=way)
        assert "False" in text(own), "the same name is another session"
        assert "hidden" in text(await run(me, "x", session=way))
        for client in (me, you):
            await client.call_tool("close_session", {"session": way})

    async def test_neither_sees_the_others_tasks(self, guarded: HttpProcess) -> None:
        """Nor stops them."""
        options = {"extensions": [TasksClientExtension()]}
        async with (
            guarded.client("newer", MINE, **options) as me,
            guarded.client("newer", YOURS, **options) as you,
        ):
            task = await begin(me, "run_code", code="6 * 7", session="task")
            for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                code, words = await ask(you, method, task.task_id)
                assert code == INVALID_PARAMS
                assert words.startswith("There is no task")
            state = await task.wait()
            assert "42" in str(state.result)
            await me.call_tool("close_session", {"session": "task"})

    async def test_each_has_limits_of_its_own(
        self, me: Client[Any], you: Client[Any], way: Way
    ) -> None:
        names = [f"{way} {number}" for number in range(4)]
        for name in names:
            assert not (await run(me, "1", session=name)).is_error
        refused = text(await run(me, "1", session="one more"))
        assert refused.startswith("You have 4 sessions already")
        assert names[0] in refused
        assert not (await run(you, "1", session=way)).is_error
        calls = [await start(me, WAITS, session=name) for name in names[:3]]
        refused = text(await run(me, "1", session=names[3]))
        assert refused.startswith("3 of your runs wait or run already")
        assert not (await run(you, "1", session=way)).is_error
        for name in names:
            await me.call_tool("close_session", {"session": name})
        await asyncio.gather(*calls)
        await you.call_tool("close_session", {"session": way})


def test_too_many_calls_are_refused_until_there_is_room(tmp_path: Path) -> None:
    """Each token has its own; six a minute may come at once as one."""
    process = HttpProcess(tmp_path, RMI_TOKENS=f"me:{MINE},you:{YOURS}", RMI_TOKEN_CALLS="12")
    try:
        process.wait()
        statuses = [send(process, BEARER).status for _ in range(4)]
        assert statuses[:2] == [200, 200]
        assert statuses[-1] == 429
        refused = send(process, BEARER)
        assert refused.error.startswith("Too many calls: at most 12 a minute.")
        assert 1 <= int(refused.headers["retry-after"]) <= 5
        assert send(process, ("Authorization", f"Bearer {YOURS}")).status == 200
        assert send(process, method="GET", path="/health", body=None, usual={}).status == 200
    finally:
        process.end()
