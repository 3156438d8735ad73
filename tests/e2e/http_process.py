"""The real HTTP server, as a process on a port of its own, and clients of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import psutil
from fastmcp import Client
from fastmcp.client.transports import SSETransport, StreamableHttpTransport

from tests.conftest import ROOT

#: The newer era, the older one, and the older one over SSE.
Way = Literal["newer", "older", "sse"]
SCRIPT = [sys.executable, str(ROOT / "server" / "run_http_server.py")]


class HttpProcess:
    """A server process. `log` is what it has written to stderr so far."""

    def __init__(self, folder: Path, *options: str, **settings: str) -> None:
        self.projects = folder / "projects"
        self.projects.mkdir(parents=True, exist_ok=True)
        own = {name: value for name, value in os.environ.items() if not name.startswith("RMI_")}
        self.process = subprocess.Popen(
            [*SCRIPT, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **own,
                "PYTHON_PROJECTS_DIR": str(self.projects),
                "RMI_STATE_DIR": str(folder / "state"),
                "RMI_PORT": "0",
                **settings,
            },
            cwd="/",
        )
        self.log = ""
        self._ended = False
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._more:
                self.log += line
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def wait(self, words: str = "serves MCP at") -> HttpProcess:
        """Until it has said so; that it serves, unless told otherwise."""
        with self._more:
            assert self._more.wait_for(lambda: words in self.log or self._ended, 60), self.log
        assert words in self.log, self.log
        return self

    @property
    def url(self) -> str:
        found = re.search(r"serves MCP at (http://\S+)/mcp", self.log)
        assert found is not None, self.log
        return found[1]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, way: Way, token: str | None = None, **options: Any) -> Client[Any]:
        """A client that has not connected yet."""
        if way == "sse":
            return Client(SSETransport(f"{self.url}/sse", auth=token), **options)
        mode = "auto" if way == "newer" else "legacy"
        transport = StreamableHttpTransport(f"{self.url}/mcp", auth=token)
        return Client(transport, mode=mode, **options)

    def family(self) -> list[int]:
        """Every process below it."""
        try:
            return [child.pid for child in psutil.Process(self.process.pid).children(True)]
        except psutil.NoSuchProcess:
            return []

    def stop(self, number: int = signal.SIGTERM, timeout: float = 20) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(timeout)
        self._reader.join(5)
        return code

    def end(self) -> None:
        """Whatever state it is in."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self.process.poll() is None:
                self.stop()
        self.process.kill()
        self.process.wait()
        self._reader.join(5)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@asynccontextmanager
async def server(folder: Path, *options: str, **settings: str) -> AsyncIterator[HttpProcess]:
    """One that serves, ended at the end."""
    process = HttpProcess(folder, *options, **settings)
    try:
        yield process.wait()
    finally:
        process.end()
