"""A server in a process of its own, and the least MCP client that can talk to it.

A full client takes longer for a call than some of the servers do, which would blur every ratio.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT = 120.0

#: How each server is started, by name.
COMMANDS: Mapping[str, Sequence[str]] = {
    "ours": (sys.executable, "server/mcp_server.py"),
    "cold": (sys.executable, "tests/bench/servers/cold.py"),
    "bare": (sys.executable, "tests/bench/servers/bare.py"),
    "image": (sys.executable, "tests/bench/servers/image.py"),
    "seed": (sys.executable, "tests/bench/servers/seed.py"),
    "floor": (sys.executable, "-m", "tests.bench.servers.floor"),
}


def environment(projects: Path) -> dict[str, str]:
    """What a server gets: this process's environment, without settings of ours."""
    own = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RMI_", "FASTMCP_", "PYTHON_"))
    }
    return {**own, "PYTHON_PROJECTS_DIR": str(projects)}


class Server:
    """A running server. Entering starts it, leaving ends it and waits for that.

    Calls block; each of them raises `RuntimeError` when the answer is an error.
    """

    def __init__(
        self,
        name: str,
        projects: Path,
        command: Sequence[str] | None = None,
        folder: Path = ROOT,
        **settings: str,
    ) -> None:
        """`name` is one of `COMMANDS`, unless there is a `command`; `folder` is where it runs."""
        self.name = name
        self._command = COMMANDS[name] if command is None else command
        self._folder = folder
        self._environment = {**environment(projects), **settings}
        self._number = 0
        self._buffer = bytearray()
        #: Bytes of the last answer.
        self.received = 0

    def __enter__(self) -> Server:
        self._words = tempfile.TemporaryFile()
        self.started = time.perf_counter()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            cwd=self._folder,
            env=self._environment,
            bufsize=0,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._words.close()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def initialize(self) -> float:
        """Shake hands. Returns the seconds from the start of the process to the answer."""
        self._request(
            "initialize",
            protocolVersion="2025-11-25",
            capabilities={},
            clientInfo={"name": "bench", "version": "1"},
        )
        answered = time.perf_counter() - self.started
        self._send({"method": "notifications/initialized"})
        return answered

    def call(self, tool: str, expect: str = "", **arguments: object) -> float:
        """Call a tool. Returns the seconds it took; its text must contain `expect`."""
        begun = time.perf_counter()
        result = self.ask(tool, arguments)
        seconds = time.perf_counter() - begun
        text = "".join(block.get("text", "") for block in result["content"])
        if result.get("isError") or expect not in text:
            raise RuntimeError(f"{self.name}: {tool} answered: {text}")
        return seconds

    def ask(self, tool: str, arguments: Mapping[str, object]) -> Any:
        """Call a tool. Returns its result as it came, which may be an error of the tool's."""
        return self._request("tools/call", name=tool, arguments=arguments)

    def _request(self, method: str, **parameters: object) -> Any:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": parameters})
        while True:
            line = self._line()
            if not line.startswith(b"{"):
                # Some servers print there what is no message.
                continue
            answer = json.loads(line)
            if answer.get("id") == self._number and "method" not in answer:
                if "error" in answer:
                    raise RuntimeError(f"{self.name}: {method} answered: {answer['error']}")
                self.received = len(line)
                return answer["result"]

    def _send(self, message: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        file = self._process.stdout.fileno()
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            ready, _, _ = select.select([file], [], [], _TIMEOUT)
            data = os.read(file, 1 << 16) if ready else b""
            if not data:
                self._words.seek(0)
                words = self._words.read()[-2000:].decode("utf-8", "replace")
                raise RuntimeError(f"{self.name}: no answer. Its last words: {words}")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line
