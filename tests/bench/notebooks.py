"""Rows about notebooks: many small cells, one with its kernel's start, one with large outputs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.bench import memory
from tests.bench.stdio import Server

Sample = Callable[[], Awaitable[float]]
Pair = tuple[Sample, Sample]

_CELLS, _WHOLE, _LARGE = "cells.ipynb", "whole.ipynb", "large.ipynb"
_EMPTY = "empty.ipynb"
#: Fifty cells that print 1 MB each.
_PRINTS = "print(('x' * 99 + '\\n') * 10_000)"


def make_notebooks(path: Path) -> None:
    """Put the notebooks into the projects directory."""
    write(path / _CELLS, [f"x = {number}" for number in range(200)])
    write(path / _WHOLE, [f"print({number})" for number in range(20)])
    write(path / _LARGE, [_PRINTS] * 50)
    write(path / _EMPTY, [])


def write(path: Path, sources: list[str]) -> None:
    """Write a notebook with one code cell for each of the sources."""
    cells = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"c{number}",
            "metadata": {},
            "outputs": [],
            "source": [source],
        }
        for number, source in enumerate(sources)
    ]
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": spec}} | {
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


async def _nbclient(projects: Path, name: str) -> float:
    """Run a notebook by nbclient and write it; the seconds without its kernel's start."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(projects / name, as_version=4)
    client = NotebookClient(notebook, resources={"metadata": {"path": str(projects)}})
    async with client.async_setup_kernel():
        begun = time.perf_counter()
        for number, cell in enumerate(notebook.cells):
            await client.async_execute_cell(cell, number)
        nbformat.write(notebook, projects / f"out-{name}")
        return time.perf_counter() - begun


@asynccontextmanager
async def _cells(projects: Path, other: Sample) -> AsyncIterator[Pair]:
    with Server("ours", projects) as server:
        server.initialize()
        server.call("run_code", "2", code="1+1", session="nb")

        async def ours() -> float:
            return server.call("run_notebook", "200 of 200", file_name=_CELLS, session="nb")

        yield ours, other


@asynccontextmanager
async def cells_nbclient(projects: Path) -> AsyncIterator[Pair]:
    """200 small cells, kernel running, against nbclient."""
    make_notebooks(projects)

    async def other() -> float:
        return await _nbclient(projects, _CELLS)

    async with _cells(projects, other) as pair:
        yield pair


@asynccontextmanager
async def cells_papermill(projects: Path) -> AsyncIterator[Pair]:
    """200 small cells, kernel running, against papermill as it comes."""
    make_notebooks(projects)

    def papermill(name: str) -> float:
        import papermill as pm

        begun = time.perf_counter()
        pm.execute_notebook(projects / name, projects / f"out-{name}", progress_bar=False)
        return time.perf_counter() - begun

    async def other() -> float:
        # The start of its kernel does not count.
        return await asyncio.to_thread(lambda: papermill(_CELLS) - papermill(_EMPTY))

    async with _cells(projects, other) as pair:
        yield pair


@asynccontextmanager
async def whole(projects: Path) -> AsyncIterator[Pair]:
    """A notebook of 20 cells in a fresh kernel, against the command `jupyter execute`."""
    make_notebooks(projects)
    program = "from nbclient.cli import main; main()"
    command = [sys.executable, "-c", program, "--inplace", str(projects / f"out-{_WHOLE}")]
    with Server("ours", projects) as server:
        server.initialize()
        server.call("run_code", "2", code="1+1")

        async def ours() -> float:
            seconds = server.call("run_notebook", "20 of 20", file_name=_WHOLE)
            memory.settle(server.pid)
            return seconds

        async def execute() -> float:
            source = (projects / _WHOLE).read_text()
            (projects / f"out-{_WHOLE}").write_text(source)
            begun = time.perf_counter()
            process = await asyncio.create_subprocess_exec(
                *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ}
            )
            if await process.wait():
                raise RuntimeError("jupyter execute failed")
            return time.perf_counter() - begun

        yield ours, execute


@asynccontextmanager
async def large(projects: Path) -> AsyncIterator[Pair]:
    """50 MB of outputs, kernel running, against nbclient."""
    make_notebooks(projects)
    with Server("ours", projects) as server:
        server.initialize()
        server.call("run_code", "2", code="1+1", session="nb")

        async def ours() -> float:
            seconds = server.call(
                "run_notebook", "50 of 50", file_name=_LARGE, session="nb", timeout=300
            )
            write(projects / _LARGE, [_PRINTS] * 50)
            return seconds

        async def other() -> float:
            return await _nbclient(projects, _LARGE)

        yield ours, other


def growth(projects: Path) -> tuple[memory.Memory, memory.Memory]:
    """The server before a notebook of 50 MB of outputs, and its most while it ran and saved it."""
    make_notebooks(projects)
    with Server("ours", projects) as server:
        server.initialize()
        server.call("run_code", "2", code="1+1", session="nb")
        memory.settle(server.pid)
        before = memory.of_process(server.pid)
        server.call("run_notebook", "50 of 50", file_name=_LARGE, session="nb", timeout=300)
        return before, memory.most_of_process(server.pid)
