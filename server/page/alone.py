"""The page beside MCP over stdio: on a port of its own, which only this machine reaches."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from collections.abc import AsyncIterator, Sequence

from fastmcp.server.http import HostOriginGuardMiddleware

from kernels.registry import Registry
from server.audit import Audit
from server.page.feeds import Feeds
from server.page.login import Logins
from server.page.pages import Page
from server.remote import http_settings
from server.remote.connections import listen, serving
from server.remote.gate import Gate
from server.remote.tokens import Tokens
from server.settings import Settings

_HOST = "127.0.0.1"

_log = logging.getLogger("rmi.page")


class PageAlone:
    """The page on `port`, which it takes when it is made; where that is taken, as by another server
    of the same host program, on any other. Where there are tokens it wants one.

    Raises `SettingError`, and OSError where there is no port at all.
    """

    def __init__(self, settings: Settings, port: int) -> None:
        self._settings, self._http = settings, http_settings.load()
        self._listener = _listener(port)
        url = f"http://{_HOST}:{self._listener.getsockname()[1]}/"
        self.feeds = Feeds(settings.python, settings.projects_dir, url)

    @contextlib.asynccontextmanager
    async def shown(self, registry: Registry, audits: Sequence[Audit]) -> AsyncIterator[None]:
        """Serve the page of this registry, one of whose watchers `feeds` is."""
        self.feeds.watch(registry)
        calls = self._http.token_calls
        page = Page(registry, self.feeds, self._settings, self._logins(), calls, audits)
        # Pages from elsewhere, and names that lead here, reach nothing.
        app = HostOriginGuardMiddleware(
            page.app(), allowed_hosts=[], allowed_origins=[], mode="strict"
        )
        async with serving(Gate(app, lambda _: None), self._listener):
            print(f"The page is at {self.feeds.url}", file=sys.stderr, flush=True)
            yield

    def _logins(self) -> Logins:
        tokens = Tokens(self._settings.state_dir / "tokens", self._http.tokens)
        return Logins(tokens or None, shared=True)


def _listener(port: int) -> socket.socket:
    try:
        return listen(_HOST, port)
    except OSError as error:
        _log.warning("Port %d cannot be had for the page: %s.", port, error.strerror or error)
        return listen(_HOST, 0)
