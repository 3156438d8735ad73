"""The class, over stdio and over HTTP with and without tokens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn
from fastmcp import Context, FastMCP
from fastmcp.server.auth import StaticTokenVerifier

from client.mcp_client import RmiMcpClient, ServerError
from tests.client.command import Command
from tests.conftest import ROOT

TOKEN = "a-good-token"


@contextlib.asynccontextmanager
async def serving(path: str, auth: bool = False) -> AsyncIterator[str]:
    """A server at a free port; its URL. Its tools behave like ours as far as it matters here."""
    verifier = StaticTokenVerifier({TOKEN: {"client_id": "me", "scopes": []}}) if auth else None
    mcp: FastMCP[None] = FastMCP("fake", auth=verifier)

    @mcp.tool(output_schema=None)
    async def run_python(ctx: Context, file_name: str) -> str:
        await ctx.report_progress(1.0, message="half of it")
        return f"{file_name}\n{os.getpid()}"

    transport = "sse" if path.endswith("/sse") else "http"
    config = uvicorn.Config(
        mcp.http_app(path=path, transport=transport), port=0, log_level="critical", ws="none"
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
                await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}{path}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await task


class TestOverStdio:
    def test_as_the_readme_has_it_without_the_rest_of_the_project(self, command: Command):
        """`from mcp_client import RmiMcpClient` with the folder `client` alone on the path."""
        program = """
import asyncio
from mcp_client import RmiMcpClient

async def main():
    async with RmiMcpClient() as client:
        print([tool.name for tool in await client.list_tools()][:2])
        print(await client.run_python("hello_world.py", args=["you"]))
        print(await client.run_python("error_test.py"))
        print(await client.run_python("nope.py"))
        result = await client.call("run_code", {"code": "names"})
        print(result.content[0].text, result.is_error, result.meta["rmi-agent/run"]["status"])

asyncio.run(main())
"""
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            cwd=command.cwd,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "client"),
                "PYTHON_PROJECTS_DIR": str(command.projects),
            },
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("['run_python', 'run_code']\nHello, you!\n")
        assert "\n[exit code 0 · " in done.stdout
        assert "ZeroDivisionError: division by zero\n[exit code 1 · " in done.stdout
        assert "\n'nope.py' does not exist" in done.stdout
        assert done.stdout.endswith("\n['you']\n False ok\n")

    async def test_paths_and_command_lines_name_a_server(self, tmp_path: Path):
        script = tmp_path / "a server.py"
        script.write_text("import sys\nsys.exit(' '.join(sys.argv[1:]) or 'no arguments')")
        quoted = f"'{script}' --flag 'a b'"
        for server, words in [(script, "no arguments"), (quoted, "--flag a b")]:
            with pytest.raises(ServerError, match=f"ended before it answered: {words}$"):
                async with RmiMcpClient(server):
                    pass

    async def test_is_used_inside_async_with(self):
        with pytest.raises(RuntimeError, match="async with"):
            await RmiMcpClient().list_tools()


@pytest.mark.parametrize("path", ["/mcp", "/sse"])
class TestOverHttp:
    async def test_runs_and_reports(self, path: str):
        seen: list[tuple[float, str]] = []
        async with serving(path) as url, RmiMcpClient(url) as client:
            assert client.server.startswith("fake ")
            assert [tool.name for tool in await client.list_tools()] == ["run_python"]
            assert await client.run_python("a.py") == f"a.py\n{os.getpid()}"
            arguments = {"file_name": "b.py"}
            await client.call("run_python", arguments, lambda *news: seen.append(news))
        assert seen == [(1.0, "half of it")]

    async def test_token(self, path: str, monkeypatch: pytest.MonkeyPatch):
        async with serving(path, auth=True) as url:
            with pytest.raises(ServerError, match=r"asks for a token \(HTTP 401\); set RMI_TOKEN"):
                async with RmiMcpClient(url):
                    pass
            with pytest.raises(ServerError, match=r"refused the token \(HTTP 401\)"):
                async with RmiMcpClient(url, token="wrong"):
                    pass
            async with RmiMcpClient(url, token=TOKEN) as client:
                assert await client.list_tools()
            monkeypatch.setenv("RMI_TOKEN", TOKEN + "\n")
            async with RmiMcpClient(url) as client:
                assert await client.list_tools()

    async def test_another_address_of_the_same_server(self, path: str):
        async with serving(path) as url:
            base = url.removesuffix(path)
            with pytest.raises(ServerError, match=r"There is no MCP server at .* \(HTTP 404\)"):
                async with RmiMcpClient(f"{base}/other{path}"):
                    pass
            if path == "/mcp":
                async with RmiMcpClient(base) as client:
                    assert await client.list_tools()


def test_a_token_that_is_none_is_not_sent():
    with pytest.raises(ServerError, match="The token has a space"):
        RmiMcpClient("http://127.0.0.1:1/mcp", token="a\nb")
