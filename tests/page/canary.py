"""A server of this machine that hears whoever connects to it."""

from __future__ import annotations

import asyncio
from types import TracebackType

_HEAD = (
    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\naccess-control-allow-origin: *\r\n"
    "access-control-allow-headers: *\r\nconnection: close\r\ncontent-length: {}\r\n\r\n"
)


class Canary:
    """On a port of 127.0.0.1, by TCP and UDP. `heard` has the beginning of all that came, also
    that of connections on which nothing came. `page` is its answer to everything."""

    def __init__(self) -> None:
        self.page = b"<title>elsewhere</title>"
        self.heard: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Canary:
        self._server = await asyncio.start_server(self._hear, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        self._datagrams, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self.heard), ("127.0.0.1", self.port)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._datagrams.close()
        self._server.close()
        await self._server.wait_closed()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(self.heard)
        self.heard.append(b"")
        try:
            self.heard[place] = await reader.read(4096)
            if self.heard[place]:
                writer.write(_HEAD.format(len(self.page)).encode() + self.page)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, heard: list[bytes]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._heard.append(data)
