"""Has others' programs check the servers: `python tests/conformance/run.py`.

The official conformance suite runs against the HTTP server, as it is and with the suite's fixtures;
MCP Inspector's command line against the HTTP server and the one over stdio. Both need Node, which
is taken from PATH when it is new enough, and otherwise installed with them into build/, by npm.
Where that cannot be had nothing is checked, and one line says so. The exit code is 1 when anything
fails that is not known to (`EXPECTED` in `suite`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from dotenv import dotenv_values

from tests.conformance.inspection import Inspection, http, stdio
from tests.conformance.node import Missing, Tools, tools
from tests.conformance.outcome import Outcome
from tests.conformance.processes import Processes
from tests.conformance.server import free_port
from tests.conformance.suite import REVISIONS, Suite

ROOT = Path(__file__).resolve().parents[2]
_SERVER = ROOT / "server" / "run_http_server.py"
_FIXTURES = ROOT / "tests" / "conformance" / "server.py"
#: Seconds in which a server must be up.
_STARTING = 60.0


class NotStarted(Exception):
    """A server did not come up; the text is what it said."""


class Server:
    """An HTTP server on a free port, with folders of its own in `folder`."""

    def __init__(self, processes: Processes, script: Path, folder: Path, tokens: str = "") -> None:
        folder.mkdir()
        self._port, self._processes = free_port(), processes
        self._log = folder / "log"
        environ = {
            **settings(folder),
            "RMI_HOST": "127.0.0.1",
            "RMI_PORT": str(self._port),
            "RMI_TOKENS": tokens,
        }
        words = [str(self._port)] if script == _FIXTURES else []
        self._number = processes.start([sys.executable, str(script), *words], environ, self._log)

    async def url(self, path: str = "/mcp") -> str:
        """Where it serves; waits until it does."""
        deadline = time.monotonic() + _STARTING
        while time.monotonic() < deadline and not self._processes.ended(self._number):
            if await self._is_ready():
                return f"http://127.0.0.1:{self._port}{path}"
            await asyncio.sleep(0.05)
        said = self._log.read_text(encoding="utf-8", errors="replace").strip()
        raise NotStarted(f"did not start: {said[-2000:]}")

    async def _is_ready(self) -> bool:
        """Whether it says so: it has its port before it serves, and serves while kernels start."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        try:
            writer.write(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return b" 200 " in await asyncio.wait_for(reader.readline(), _STARTING)
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()


def settings(folder: Path) -> dict[str, str]:
    """Of a server that touches nothing but `folder`; what the caller or a `.env` file has set
    counts for nothing."""
    projects = folder / "projects"
    projects.mkdir()
    names = {*os.environ, *dotenv_values(ROOT / ".env")}
    ours = ("RMI_", "PYTHON_PROJECTS_DIR", "PYTHON_TIMEOUT")
    return {
        # A blank is as good as nothing, which Inspector would refuse to pass on.
        **{name: " " for name in names if name.startswith(ours)},
        "PYTHON_PROJECTS_DIR": str(projects),
        "RMI_STATE_DIR": str(folder / "state"),
    }


class Checks:
    """All scenarios."""

    def __init__(self, tools: Tools, processes: Processes, folder: Path) -> None:
        self._tools, self._processes, self._folder = tools, processes, folder
        self._inspection = Inspection(tools, processes, folder)
        self._token = secrets.token_urlsafe(32)
        tokens = f"inspector:{self._token}"
        self._plain = Server(processes, _SERVER, folder / "plain")
        self._guarded = Server(processes, _SERVER, folder / "guarded", tokens)
        self._fixtures = Server(processes, _FIXTURES, folder / "fixtures")

    async def run(self, tell: Callable[[Outcome], None]) -> None:
        """Run all; `tell` is called with each."""

        async def row(outcomes: AsyncIterator[Outcome]) -> None:
            try:
                async for outcome in outcomes:
                    tell(outcome)
            except NotStarted as error:
                tell(Outcome("a server", False, str(error)))

        # The suite is in a hurry in places, so it has the machine for itself.
        await row(self._suite())
        async with asyncio.TaskGroup() as group:
            group.create_task(row(self._by_stdio_and_sse()))
            group.create_task(row(self._by_http()))

    async def _suite(self) -> AsyncIterator[Outcome]:
        for name, server in (("fixtures", self._fixtures), ("server", self._plain)):
            for revision in REVISIONS:
                where = (name, await server.url(), revision, self._folder)
                async for outcome in Suite(self._tools, self._processes, *where).run():
                    yield outcome

    async def _by_stdio_and_sse(self) -> AsyncIterator[Outcome]:
        folder = self._folder / "stdio"
        folder.mkdir()
        door = stdio({**settings(folder), **self._processes.mark})
        async for outcome in self._inspection.pass_through(door):
            yield outcome
        door = http("sse", await self._plain.url("/sse"))
        async for outcome in self._inspection.pass_through(door, eras=("legacy",)):
            yield outcome

    async def _by_http(self) -> AsyncIterator[Outcome]:
        door = http("http", await self._plain.url())
        async for outcome in self._inspection.pass_through(door):
            yield outcome
        url = await self._guarded.url()
        door = http("token", url, self._token)
        async for outcome in self._inspection.pass_through(door, eras=("modern",)):
            yield outcome
        yield await self._inspection.stay_out(http("no token", url))
        yield await self._inspection.stay_out(http("wrong token", url, self._token[::-1]))


async def check(processes: Processes, folder: Path, tell: Callable[[Outcome], None]) -> None:
    """Get what is needed and run everything. A SIGTERM is taken as an interrupt."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    found = await tools(ROOT / "build" / "conformance", processes)
    await Checks(found, processes, folder).run(tell)


def main() -> int:
    """Check everything. Returns the exit code."""
    begun = time.monotonic()
    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        print(outcome, flush=True)
        outcomes.append(outcome)

    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        folder = Path(name).resolve()
        files = {"MCP_STORAGE_DIR": name, "MCP_CATALOG_PATH": str(folder / "catalog.json")}
        processes = Processes({**os.environ, **files})
        try:
            asyncio.run(check(processes, folder, tell))
        except Missing as error:
            print(f"conformance: skipped ({error})")
            return 0
        except (KeyboardInterrupt, asyncio.CancelledError):
            print("conformance: interrupted")
            return 130
        finally:
            left = processes.end()
        tell(Outcome("no process is left", not left, "; ".join(left)))
        failed = sum(not outcome.good for outcome in outcomes)
        for log in sorted(folder.glob("*/log")) if failed else ():
            said = log.read_text(encoding="utf-8", errors="replace").strip()
            print(f"--- the end of what the server {log.parent.name!r} said:\n{said[-3000:]}")
    expected = sum(outcome.good and bool(outcome.why) for outcome in outcomes)
    took = time.monotonic() - begun
    print(f"{expected} of those that pass fail in a way that is expected. It took {took:.0f} s.")
    print(f"conformance: {len(outcomes) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
