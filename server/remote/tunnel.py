"""A public address for this server: ngrok's agent, started and ended with it."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kernels.launching import kernel_environment
from server.remote.ngrok import HERE, Agent, TunnelError

#: Seconds for a tunnel to come up.
_UP = 20.0

_BY_HAND = """\
ngrok is not installed, so there is no tunnel. The manual way:
  1. Install it from https://ngrok.com/download (macOS: brew install ngrok; Windows: choco install \
ngrok), or pip install pyngrok.
  2. ngrok config add-authtoken YOUR_AUTH_TOKEN
     (yours is at https://dashboard.ngrok.com/get-started/your-authtoken; from here on --tunnel \
does the rest)
  3. ngrok http {port}
  4. Set RMI_ALLOWED_HOSTS to the name that it shows, for instance abc.ngrok.app, and start this \
server again without --tunnel."""

_CONFIGURATION = """\
Streamable HTTP: {url}/mcp
Legacy SSE:      {url}/sse

Claude Code:
  claude mcp add --transport http python {url}/mcp --header "Authorization: Bearer YOUR_TOKEN"

Clients that are configured by a file:
{json}

Command line:
  RMI_TOKEN=YOUR_TOKEN rmi-agent --server {url}/mcp run hello_world.py"""


@dataclass(frozen=True)
class Tunnel:
    """An open tunnel: its address, as in https://x.ngrok.app, and the host name in it."""

    url: str
    host: str
    _agent: Agent = field(repr=False)

    async def ended(self) -> str:
        """Wait until the agent has gone; returns why, in a sentence."""
        await self._agent.over.wait()
        return f"The tunnel {self.url} is closed. {self._agent.last_words()}"


@asynccontextmanager
async def open_tunnel(
    port: int,
    environ: Mapping[str, str] = os.environ,
    *,
    host: str = "127.0.0.1",
    timeout: float = _UP,
) -> AsyncIterator[Tunnel]:
    """A tunnel to the server that listens at `host` and `port`, open inside the block.

    Raises `TunnelError`. The agent is ended with the block. It does not outlive this process
    either, however that ends; on Windows it does when this process is killed.
    """
    host = HERE.get(host, host)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    # Its inspector would keep every request, with its token, on a local page open to everyone.
    argv = [
        await _find(port, environ), "http", address, "--inspect=false",
        "--log", "stdout", "--log-format", "json", "--log-level", "info",
    ]  # fmt: skip
    agent = Agent(argv, kernel_environment(environ))
    try:
        url = await agent.up(port, timeout)
        yield Tunnel(url, urlsplit(url).netloc, agent)
    finally:
        ending = asyncio.create_task(agent.end())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await ending
            raise


def client_configuration(url: str) -> str:
    """What to tell the user of the server at `url`: how clients connect to it."""
    server = {
        "type": "http",
        "url": f"{url}/mcp",
        "headers": {"Authorization": "Bearer YOUR_TOKEN"},
    }
    file = json.dumps({"mcpServers": {"python": server}}, indent=2)
    return _CONFIGURATION.format(url=url, json=file)


async def _find(port: int, environ: Mapping[str, str]) -> str:
    """The agent's executable: the user's, or the one that pyngrok looks after."""
    for name in ("ngrok", "ngrok.exe"):
        if found := shutil.which(name, path=environ.get("PATH", "")):
            return found
    try:
        pyngrok = importlib.import_module("pyngrok.ngrok")
        conf = importlib.import_module("pyngrok.conf")
        failures = importlib.import_module("pyngrok.exception")
    except ImportError:
        raise TunnelError(_BY_HAND.format(port=port)) from None
    try:
        # Downloads the agent when it is not there yet.
        await asyncio.to_thread(pyngrok.install_ngrok)
    except (failures.PyngrokError, OSError) as error:
        raise TunnelError(f"pyngrok could not install ngrok: {error}") from error
    return str(conf.get_default().ngrok_path)
