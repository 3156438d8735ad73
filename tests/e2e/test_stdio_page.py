"""The page of the real server over stdio: on a port of this machine, beside MCP."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.raw import RawServer, gone_within
from tests.server.page.conftest import CONTROL, SOON, Browser

TOKEN = "t" * 40
ASKS = "try:\n    print('got', input('Name? '))\nexcept EOFError:\n    print('nobody')"


@pytest.fixture
def server(projects: Path) -> Iterator[RawServer]:
    server = RawServer(projects, "--page", "0")
    server.initialize()
    yield server
    server.end()


def text(result: dict[str, Any]) -> str:
    return "\n".join(block.get("text", "") for block in result["content"])


def url_of(server: RawServer) -> str:
    """Where the page is, as the server tells a model."""
    found = re.search(r"shown at (http://127\.0\.0\.1:\d+)/$", text(server.call("list_sessions")))
    assert found is not None
    return found[1]


def client_of(url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, timeout=SOON, trust_env=False)


async def test_it_shows_what_the_client_runs(server: RawServer) -> None:
    """Nobody has to log in where there are no tokens; nothing but the page is to be had there."""
    async with client_of(url_of(server)) as client:
        server.call("run_code", code="print('over stdio')")
        browser = Browser("", client)
        state = await browser.get("/page/state")
        assert state["login"] is False and state["sessions"][0]["python"].startswith("Python 3.")
        (run,) = state["runs"]
        assert run["who"] == "raw"
        assert (await browser.get(f"/page/runs/{run['id']}/text"))["text"] == "over stdio\n"
        assert (await client.get("/")).headers["content-type"].startswith("text/html")
        done = await browser.do(do="run", session="default", code="print('from the page')")
        assert "from the page" in text(server.call("get_output", run_id=done["run"], wait=20))
        assert (await client.post("/mcp", json={})).status_code in (403, 404)
        assert (await client.get("/page/state", headers={"host": "x.example"})).status_code == 421
        assert all(line.startswith("{") for line in server.lines), "only MCP is on the wire"


@pytest.mark.parametrize("ending", ["end of input", "SIGTERM", "SIGKILL"])
async def test_it_ends_with_the_server(server: RawServer, ending: str) -> None:
    """A page that is open keeps nothing alive."""
    async with client_of(url_of(server)) as client, Browser("", client).watching() as page:
        server.call("run_code", code="1")
        await page.until(lambda: page.runs)
        family = [server.process.pid, *server.family()]
        if ending == "end of input":
            assert server.process.stdin is not None
            server.process.stdin.close()
        else:
            server.process.send_signal(getattr(signal, ending))
        server.process.wait(20)
        assert gone_within(family, 10) == []


async def test_a_port_that_is_taken(projects: Path) -> None:
    """A second server of the same host has its page elsewhere, and MCP in any case."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        server = RawServer(projects, RMI_PAGE=str(taken))
        try:
            server.initialize()
            url = url_of(server)
            assert not url.endswith(f":{taken}")
            async with client_of(url) as client:
                assert (await client.get("/")).status_code == 200
        finally:
            server.end()


async def test_with_tokens_it_wants_one(projects: Path, tmp_path: Path) -> None:
    """Whoever has one sees what the client of this server does, who needs none."""
    state = str(tmp_path / "state")
    server = RawServer(projects, RMI_PAGE="0", RMI_TOKENS=f"anna:{TOKEN}", RMI_STATE_DIR=state)
    try:
        server.initialize()
        async with client_of(url_of(server)) as client:
            browser = Browser("", client)
            await browser.get("/page/state", 401)
            right = await client.post("/page/login", json={"token": TOKEN}, headers=CONTROL)
            assert right.status_code == 204
            server.call("run_code", code="1")
            assert len((await browser.get("/page/state"))["runs"]) == 1
    finally:
        server.end()


async def test_a_program_asks_whoever_looks(server: RawServer) -> None:
    """The client cannot be asked; without a page its programs meet the end of the input."""
    assert "nobody" in text(server.call("run_code", code=ASKS))
    async with client_of(url_of(server)) as client:
        browser = Browser("", client)
        async with browser.watching() as page:
            number = server.ask("tools/call", name="run_code", arguments={"code": ASKS})
            await page.until(lambda: any(run["question"] for run in page.runs.values()))
            (asking,) = [run for run in page.runs.values() if run["question"]]
            assert asking["question"]["prompt"] == "Name? "
            await browser.do(do="answer", run=asking["id"], serial=1, text="Ann")
            assert "got Ann" in text(server.answer(number)["result"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--page"], "--page is 'none'; it must be a whole number from 0 to 65535."),
        (["--page", "http"], "--page is 'http'; it must be a whole number from 0 to 65535."),
        (["--page", "0", "--http"], "--page is for stdio; over HTTP the page is at /"),
    ],
)
def test_wrong_options_are_one_sentence(projects: Path, options: list[str], words: str) -> None:
    server = RawServer(projects, *options)
    assert server.process.stderr is not None
    try:
        assert server.process.wait(20) == 2
        assert words in server.process.stderr.read().decode()
    finally:
        server.end()
