"""The MCP server over HTTP: how it begins, serves and ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import sys
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

from fastmcp.server.auth import AuthProvider

from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.watch import Watcher
from server import logs
from server.app import build_server, collect_seldom, import_seldom, limits_of, version, warm_up
from server.audit import AuditError, audit_of
from server.page.feeds import Feeds
from server.page.login import Logins
from server.page.pages import Page
from server.remote import revocation
from server.remote.authentication import provider
from server.remote.connections import listen, serving
from server.remote.doors import Doors
from server.remote.http_app import MCP, SSE, build_app
from server.remote.http_settings import HttpSettings
from server.remote.metrics import Metrics
from server.remote.operation import Operation
from server.remote.tokens import TokenError, Tokens
from server.remote.tunnel import Tunnel, client_configuration, open_tunnel
from server.settings import Settings
from server.tracing import Tracing

#: Seconds that calls have to end by themselves when the server ends, and then with their programs
#: interrupted; between interrupt and kill. With the last words, what `connections.serving` takes
#: and what the kernels need it must be less than 5 in all.
_PATIENCE, _INTERRUPTED, _GRACE = 0.8, 1.2, 0.5
_LAST_WORDS = 0.2

_log = logging.getLogger("rmi.http")


class CannotServe(Exception):
    """It cannot begin; the text says why, and what to do."""


class HttpServer:
    """The server on a port of its own, which it takes when it is made. Raises `CannotServe`."""

    def __init__(self, settings: Settings, http: HttpSettings, tunnel: bool) -> None:
        self._settings, self._http, self._with_tunnel = settings, http, tunnel
        self._tokens = tokens = Tokens(settings.state_dir / "tokens", http.tokens)
        self._auth: AuthProvider | None = None
        try:
            tokens.list()
        except TokenError as error:
            raise CannotServe(str(error)) from None
        if tokens or http.oauth is not None:
            self._auth = provider(tokens, http.oauth, settings.state_dir / "oauth")
        else:
            _check_open(http, tunnel)
        logs.set_up(settings.log_level or "info")
        try:
            self._listener = listen(http.host, http.port)
        except OSError as error:
            raise CannotServe(_no_port(http, error)) from None
        self._port: int = self._listener.getsockname()[1]
        self._address = f"http://{_for_url(http.host)}:{self._port}"
        try:
            self._audits = audit_of(settings, self._port)
        except AuditError as error:
            self._listener.close()
            raise CannotServe(str(error)) from None

    async def serve(self, backend: LocalBackend, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then end within five seconds. Raises `TunnelError`."""
        metrics, doors = Metrics(), Doors()
        feeds = Feeds(self._settings.python, self._settings.projects_dir, f"{self._address}/")
        tracing = Tracing(self._settings.projects_dir)
        watchers: list[Watcher] = [metrics, feeds, tracing, *self._audits]
        limits = limits_of(self._settings, self._http.token_sessions, self._http.token_runs)
        usual = self._settings.default
        async with Registry(backend, limits, watchers, usual) as registry:
            registry.prepare(import_seldom)
            metrics.watch(registry)
            feeds.watch(registry)
            middleware = [*self._audits, metrics, doors]
            server = build_server(self._settings, registry, self._auth, middleware, feeds)

            def state() -> str:
                if stop.is_set():
                    return "ending"
                return "ready" if registry.is_ready else "starting"

            Operation(version(), state, metrics.text).add_to(server)
            await warm_up(server)
            collect_seldom()
            async with self._tunnel(stop) as tunnel:
                if tunnel is not None:
                    feeds.url = f"{tunnel.url}/"
                hosts = [each.host for each in (tunnel, self._http.oauth) if each is not None]
                logins = Logins(None if self._auth is None else self._tokens)
                calls = self._http.token_calls
                page = Page(registry, feeds, self._settings, logins, calls, self._audits)
                gate = build_app(server, self._http, hosts, metrics.refused, page.app())

                def revoked(name: str) -> None:
                    feeds.close(name)
                    registry.close_all(self._settings.grace, name)

                watching = asyncio.create_task(revocation.watch(self._tokens, revoked))
                async with serving(gate, self._listener) as listening:
                    self._greet(tunnel)
                    await _until(stop, tunnel, listening)
                    watching.cancel()
                    doors.close()
                    if not await doors.emptied(_PATIENCE):
                        registry.close_all(_GRACE)
                        await doors.emptied(_INTERRUPTED)
                    # Answers over SSE pass through several tasks, and clients ask a last thing.
                    await asyncio.sleep(_LAST_WORDS)
                    gate.close()
        for audit in self._audits:
            audit.close()

    @contextlib.asynccontextmanager
    async def _tunnel(self, stop: asyncio.Event) -> AsyncIterator[Tunnel | None]:
        """The tunnel, if there is to be one; opening it takes its time, and `stop` ends that."""
        if not self._with_tunnel:
            yield None
            return
        async with contextlib.AsyncExitStack() as stack:
            tunnel = open_tunnel(self._port, host=self._http.host)
            opening = asyncio.create_task(stack.enter_async_context(tunnel))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if opening.done():
                yield opening.result()
            else:
                opening.cancel()
                await asyncio.wait({opening})
                yield None

    def _greet(self, tunnel: Tunnel | None) -> None:
        lines = [
            f"RmiAgentMcpServer {version()} serves MCP at {self._address}{MCP}, for older clients "
            f"at {self._address}{SSE}, and shows what happens at {self._address}/.",
            f"Projects directory: {self._settings.projects_dir}",
        ]
        if self._auth is None:
            lines.append(
                "There are no tokens, so every program on this machine may run code here. "
                "`rmi-agent-mcp-server token new NAME` makes one; start the server again then."
            )
        if tunnel is not None:
            lines.append(client_configuration(tunnel.url))
        print("\n".join(lines), file=sys.stderr, flush=True)


async def _until(stop: asyncio.Event, tunnel: Tunnel | None, listening: asyncio.Task[None]) -> None:
    """Until we are to end, or cannot go on."""
    waits: set[asyncio.Task[Any]] = {asyncio.create_task(stop.wait()), listening}
    gone = asyncio.create_task(tunnel.ended()) if tunnel is not None else None
    if gone is not None:
        gone.add_done_callback(_tell_end)
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*waits - {listening}, *([gone] if gone is not None else ())):
            task.cancel()


def _tell_end(gone: asyncio.Task[str]) -> None:
    if not gone.cancelled():
        _log.error("The tunnel has ended: %s The server goes on without it.", gone.result())


def _check_open(http: HttpSettings, tunnel: bool) -> None:
    """Refuse to serve anybody but this machine without tokens."""
    if tunnel:
        why = "A tunnel would let the whole internet run code here, because there are no tokens."
    elif http.allowed_hosts:
        why = "RMI_ALLOWED_HOSTS lets others reach this server, and there are no tokens."
    elif not _is_loopback(http.host):
        why = f"RMI_HOST is {http.host!r}, where others can reach it, and there are no tokens."
    else:
        return
    raise CannotServe(
        f"{why} Make one with `rmi-agent-mcp-server token new NAME`, or set RMI_TOKENS."
    )


def _is_loopback(host: str) -> bool:
    """Whether only programs of this machine can reach it."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)


def _no_port(http: HttpSettings, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {http.port} of {http.host} is taken, perhaps by a server that runs already. "
            "End that one, or set RMI_PORT."
        )
    why = error.strerror or str(error)
    return f"Port {http.port} of {http.host} cannot be had: {why}. Set RMI_HOST or RMI_PORT."


def _for_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
