"""A server over HTTP in a process of its own, and the least client that can talk to it.

As with stdio.py, a full client would take longer for a call than the servers do: here requests
are made ready as bytes, and of a response only what frames it is looked at.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal

from tests.bench.stdio import ROOT, environment
from tests.bench.waiting import ServerProcess

_TIMEOUT = 120.0
_HOST = "127.0.0.1"

#: Protocol versions.
Era = Literal["2026-07-28", "2025-11-25"]
NEWER: Era = "2026-07-28"
OLDER: Era = "2025-11-25"

#: How each server is started, by name; the port comes as the last word, and as a setting.
COMMANDS: Mapping[str, Sequence[str]] = {
    "ours": (sys.executable, "server/run_http_server.py"),
    "bare": (sys.executable, "tests/bench/servers/bare.py"),
}


class HttpServer(ServerProcess):
    """A running server. Entering starts it and waits until it takes connections."""

    def __init__(self, name: str, projects: Path, **settings: str) -> None:
        self.name = name
        self._projects, self._settings = projects, settings

    def __enter__(self) -> HttpServer:
        self._state = tempfile.TemporaryDirectory(prefix="rmi-bench-state-")
        self.port = _free_port()
        own = {"RMI_PORT": str(self.port), "RMI_STATE_DIR": self._state.name, **self._settings}
        words = [] if self.name == "ours" else [str(self.port)]
        command = [*COMMANDS[self.name], *words]
        return self.enter(self.name, command, ROOT, {**environment(self._projects), **own})

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._state.cleanup()

    def _answers(self) -> bool:
        try:
            socket.create_connection((_HOST, self.port), 5).close()
        except OSError:
            return False
        return True

    @asynccontextmanager
    async def client(self, era: Era = NEWER) -> AsyncIterator[Client]:
        """A client that is connected, and in the older era has shaken hands and listens."""
        client = Client(self.port)
        try:
            if era == OLDER:
                await client.shake_hands()
            yield client
        finally:
            client.close()


class Client:
    """One client of a server, with one call at a time on a connection that stays open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._era: Era = NEWER
        self._session = ""
        self._wire: _Wire | None = None
        #: On which the server could say something by itself.
        self._stream: _Wire | None = None

    def prepared(self, tool: str, **arguments: object) -> bytes:
        """A call, to be sent any number of times."""
        parameters: dict[str, object] = {"name": tool, "arguments": arguments}
        if self._era == NEWER:
            parameters["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": NEWER,
                "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        return self._request("tools/call", {"id": 1, "params": parameters}, tool)

    async def send(self, call: bytes, expect: bytes = b"") -> float:
        """Send a prepared call. Returns the seconds until its answer was there, which must
        contain `expect`; raises `RuntimeError` when it does not."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                if self._wire is None:
                    self._wire = await _Wire.open(self._port)
                begun = time.perf_counter()
                answer = await self._wire.exchange(call)
                seconds = time.perf_counter() - begun
        except (OSError, EOFError) as error:
            raise RuntimeError(f"There is no answer: {error!r}") from None
        if b'"result"' not in answer or b'"isError":true' in answer or expect not in answer:
            raise RuntimeError(f"The answer is {answer.decode('utf-8', 'replace')[:500]}")
        return seconds

    async def shake_hands(self) -> None:
        """Begin a connection of the older era, and listen to what the server might say."""
        self._era = OLDER
        self._wire = await _Wire.open(self._port)
        who = {"name": "bench", "version": "1"}
        hello = {"protocolVersion": OLDER, "capabilities": {}, "clientInfo": who}
        await self._wire.exchange(self._request("initialize", {"id": 0, "params": hello}))
        self._session = self._wire.header("mcp-session-id")
        await self._wire.exchange(self._request("notifications/initialized", {}))
        self._stream = await _Wire.open(self._port)
        await self._stream.begin(self._head("GET"))

    def close(self) -> None:
        """Close its connections."""
        for wire in (self._wire, self._stream):
            if wire is not None:
                wire.close()

    def _request(self, method: str, message: Mapping[str, object], tool: str = "") -> bytes:
        body = json.dumps({"jsonrpc": "2.0", "method": method, **message}).encode()
        more = {"content-type": "application/json", "content-length": str(len(body))}
        if self._era == NEWER:
            more |= {"mcp-method": method, "mcp-name": tool}
        return self._head("POST", **more) + body

    def _head(self, verb: str, **more: str) -> bytes:
        fields = {
            "host": f"{_HOST}:{self._port}",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": self._era,
            **more,
        }
        if self._session:
            fields["mcp-session-id"] = self._session
        lines = [f"{verb} /mcp HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class _Wire:
    """A connection, as HTTP/1.1 has it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._head = b""

    @classmethod
    async def open(cls, port: int) -> _Wire:
        return cls(*await asyncio.open_connection(_HOST, port))

    async def begin(self, request: bytes) -> None:
        """Send a request; returns when the head of the response has come."""
        self._writer.write(request)
        self._head = await self._reader.readuntil(b"\r\n\r\n")
        if not self._head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 202 ")):
            raise RuntimeError(f"The answer is {self._head.decode('latin-1')}")

    async def exchange(self, request: bytes) -> bytes:
        """Send a request; returns the body of its response."""
        await self.begin(request)
        if self.header("transfer-encoding") != "chunked":
            return await self._reader.readexactly(int(self.header("content-length") or 0))
        parts: list[bytes] = []
        while True:
            size = int(await self._reader.readline(), 16)
            parts.append(await self._reader.readexactly(size + 2))
            if not size:
                return b"".join(parts)

    def header(self, name: str) -> str:
        """A field of the last response's head, or ""."""
        at = self._head.lower().find(f"\r\n{name}: ".encode())
        if at < 0:
            return ""
        value = self._head[at + len(name) + 4 :].partition(b"\r\n")[0]
        return value.decode("latin-1")

    def close(self) -> None:
        """Close it."""
        self._writer.close()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((_HOST, 0))
        return int(sock.getsockname()[1])
