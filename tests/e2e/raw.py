"""A raw MCP client over stdio: what is on the wire, and the server's process in our own hands."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, alive

SERVER = [sys.executable, str(ROOT / "server" / "mcp_server.py")]


class RawServer:
    """A server process. `lines` are all lines that it has written to stdout."""

    def __init__(self, projects: Path, *options: str, **settings: str) -> None:
        environment = {**os.environ, "PYTHON_PROJECTS_DIR": str(projects), **settings}
        self.process = subprocess.Popen(
            [*SERVER, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
        )
        self.lines: list[str] = []
        self._buffer = b""
        self._ids = 0

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, method: str, **params: Any) -> int:
        """Send a request; returns its id."""
        self._ids += 1
        self.send({"id": self._ids, "method": method, "params": params})
        return self._ids

    def answer(self, number: int, timeout: float = 20) -> dict[str, Any]:
        """The answer to a request; other messages on the way are kept in `lines`."""
        deadline = time.monotonic() + timeout
        while True:
            for line in self.lines:
                message = json.loads(line)
                if message.get("id") == number and "method" not in message:
                    return dict(message)
            self.read(deadline - time.monotonic())

    def read(self, timeout: float) -> None:
        """Read what there is; raises TimeoutError when nothing comes in time."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], max(0, timeout))
        if not ready:
            raise TimeoutError(f"no answer; so far: {self.lines[-3:]}")
        data = os.read(self.process.stdout.fileno(), 1 << 20)
        if not data:
            raise EOFError("the server has closed its output")
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        self.lines += [line.decode() for line in lines]

    def initialize(self) -> None:
        client = {"name": "raw", "version": "0"}
        self.answer(
            self.ask("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=client)
        )
        self.send({"method": "notifications/initialized"})

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its result."""
        answer = self.answer(self.ask("tools/call", name=tool, arguments=arguments))
        return dict(answer["result"])

    def family(self) -> list[int]:
        """Every process below the server's."""
        import psutil

        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [child.pid for child in children]

    def end(self) -> None:
        """Close everything, whatever state it is in."""
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        self.process.kill()
        self.process.wait()


def gone_within(pids: list[int], seconds: float) -> list[int]:
    """The processes that are still there after `seconds`; returns as soon as there are none."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(alive(pid) for pid in pids):
            return []
        time.sleep(0.01)
    return [pid for pid in pids if alive(pid)]
