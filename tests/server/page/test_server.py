"""The page of the real HTTP server, beside MCP, behind the same gate."""

from __future__ import annotations

import time
from pathlib import Path

import httpx2

from tests.e2e.http_process import server
from tests.server.page.conftest import CONTROL, SOON, Browser

TOKEN = "t" * 40


async def test_the_page_shows_what_a_client_of_mcp_runs(tmp_path: Path) -> None:
    async with (
        server(tmp_path) as process,
        process.client("newer") as mcp,
        httpx2.AsyncClient(base_url=process.url, timeout=SOON, trust_env=False) as client,
    ):
        browser = Browser(process.url, client)
        index = await client.get("/")
        assert index.status_code == 200
        assert "'unsafe-inline'" not in index.headers["content-security-policy"]
        assert (
            (await client.get("/page/static/code.css"))
            .headers["content-type"]
            .startswith("text/css")
        )
        async with browser.watching() as page:
            await mcp.call_tool("run_code", {"code": "print('hello')"})
            await page.until(lambda: any(run["state"] == "ended" for run in page.runs.values()))
            (run,) = page.runs.values()
            assert page.texts[run["id"]] == "hello\n" and run["session"] == "default"
            assert run["who"]
            begun = time.monotonic()
            assert process.stop() == 0
            assert time.monotonic() - begun < 15


async def test_a_login_ends_with_its_token(tmp_path: Path) -> None:
    """Its refusals are the page's own words, and other hosts are refused as everywhere."""
    async with (
        server(tmp_path, RMI_TOKENS=f"anna:{TOKEN}") as process,
        httpx2.AsyncClient(base_url=process.url, timeout=SOON, trust_env=False) as client,
    ):
        browser = Browser(process.url, client)
        assert "Log in" in (await browser.get("/page/state", 401))["error"]
        wrong = await client.post("/page/login", json={"token": "x" * 40}, headers=CONTROL)
        assert wrong.status_code == 401 and "error" in wrong.json()
        right = await client.post("/page/login", json={"token": TOKEN}, headers=CONTROL)
        assert right.status_code == 204
        assert (await browser.get("/page/state"))["me"] == "anna"
        foreign = await client.get("/page/state", headers={"host": "evil.example"})
        assert foreign.status_code == 421
        async with process.client("newer", TOKEN) as mcp, browser.watching() as page:
            await mcp.call_tool("run_code", {"code": "1"})
            await page.until(lambda: page.runs)
        assert (await client.post("/page/logout", json={}, headers=CONTROL)).status_code == 204
        await browser.get("/page/state", 401)


async def test_who_has_yet_to_log_in_is_not_counted_as_refused(tmp_path: Path) -> None:
    """Who tries a wrong token is."""
    async with (
        server(tmp_path, RMI_TOKENS=f"anna:{TOKEN}") as process,
        httpx2.AsyncClient(base_url=process.url, timeout=SOON, trust_env=False) as client,
    ):

        async def refused() -> float:
            found = await client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
            line = 'rmi_refused_total{reason="authentication"} '
            return float(found.text.partition(line)[2].partition("\n")[0])

        await Browser(process.url, client).get("/page/state", 401)
        assert await refused() == 0
        await client.post("/page/login", json={"token": "x" * 40}, headers=CONTROL)
        assert await refused() == 1
