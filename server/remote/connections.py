"""The HTTP server's connections: those that do nothing are closed, whichever way they do it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.remote.gate import Gate

#: Seconds for a request's head to arrive, from the connection or the last response on.
_HEAD = 20.0
#: A client that has vanished without a word is looked for after so many seconds of silence, so
#: often, so many times; and what it does not acknowledge is waited for as many milliseconds.
_SILENCE, _EVERY, _TIMES, _UNACKNOWLEDGED = 5, 3, 2, 10_000
#: Seconds between two requests of a connection, more than proxies keep one open unused; and at the
#: end for the answers to be sent.
_KEEP_ALIVE, _SENDING = 65, 1


class PatientProtocol(H11Protocol):
    """uvicorn's, which waits for ever for the head of a connection's first request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio sees to it only for sockets that say that they are of TCP. An answer is written in
        # two parts, and without it the second waits for the client to acknowledge the first.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = self.loop.call_later(_HEAD, self._give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and self._head is not None:
            # From now on uvicorn's own limit holds, that between two requests.
            self._head.cancel()
            self._head = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head is not None:
            self._head.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        self._head = None
        if not self.transport.is_closing():
            self.transport.close()

    _head: asyncio.TimerHandle | None = None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises OSError."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    listener = socket.create_server((host, port), family=family, backlog=2048)
    # Those that it accepts have the same options. What a system does not know is left out.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _SILENCE),
        ("TCP_KEEPALIVE", _SILENCE),  # as macOS calls it
        ("TCP_KEEPINTVL", _EVERY),
        ("TCP_KEEPCNT", _TIMES),
        ("TCP_USER_TIMEOUT", _UNACKNOWLEDGED),
    ):
        if (option := getattr(socket, name, None)) is not None:
            with contextlib.suppress(OSError):
                listener.setsockopt(socket.IPPROTO_TCP, option, value)
    return listener


@contextlib.asynccontextmanager
async def serving(gate: Gate, listener: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    """uvicorn at work; the task ends early if it cannot go on. At the end what is to be sent is,
    and all connections are closed."""
    config = uvicorn.Config(
        gate,
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_SENDING,
    )
    server = _Uvicorn(config)
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield task
    finally:
        gate.end_streams()
        server.should_exit = True
        await asyncio.wait({task})


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are ours: its own way of ending knows nothing of programs."""
        yield
