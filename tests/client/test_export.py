"""`rmi-agent sessions export`, from a server that goes on between two commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import nbformat
import pytest
import uvicorn

from kernels.registry import Registry
from server.app import build_server
from tests.client.command import Command
from tests.client.conftest import make_command
from tests.conftest import RunCode
from tests.server.conftest import settings  # noqa: F401


@pytest.fixture
async def url(settings, registry: Registry) -> AsyncIterator[str]:  # noqa: F811
    """Where our server listens."""
    app = build_server(settings, registry).http_app(path="/mcp")
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws="none"))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(20):
            while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
    finally:
        server.should_exit = server.force_exit = True
        await task


@pytest.fixture
def command(tmp_path: Path) -> Command:
    folder = tmp_path / "command"
    folder.mkdir()
    return make_command(folder)


async def test_what_was_run_is_in_a_new_file(url: str, command: Command, run_code: RunCode):
    await run_code("x = 20\nx + 1", session="a b/c")
    file = command.cwd / "a.ipynb"
    words = ("--server", url, "sessions", "export", "a b/c", str(file))
    done = await asyncio.to_thread(command, *words)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"Session 'a b/c' is in {file}.\n"
    notebook = nbformat.read(file, 4)
    nbformat.validate(notebook)
    (cell,) = notebook.cells
    assert (cell.source, cell.outputs[0].data["text/plain"]) == ("x = 20\nx + 1", "21")
    before = file.read_bytes()
    again = await asyncio.to_thread(command, *words)
    assert again.returncode == 2
    assert again.stderr == f"rmi-agent: File exists: {file}.\n"
    assert file.read_bytes() == before


async def test_without_such_a_session_no_file_is_made(url: str, command: Command):
    file = command.cwd / "a.ipynb"
    done = await asyncio.to_thread(command, "--server", url, "sessions", "export", "no", str(file))
    assert done.returncode == 2
    assert "There is no session 'no'" in done.stderr
    assert not file.exists()
