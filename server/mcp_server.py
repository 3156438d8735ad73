"""The MCP server over stdio: `python server/mcp_server.py`.

Nothing but MCP is written to standard output. The first kernel is launched before the heavy
imports, so that it is ready when the client has shaken hands.
"""

from __future__ import annotations

import gc
import os
import sys

if __package__ in (None, ""):
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from typing import TYPE_CHECKING

from kernels.launching import LocalSpec, kernel_environment
from kernels.local import LocalBackend
from server.settings import SettingError, Settings, load

if TYPE_CHECKING:
    import asyncio

_USAGE = """\
usage: rmi-agent-mcp-server

Serves MCP over standard input and output, as Claude Desktop and Claude Code start it.
Settings are environment variables or lines of a .env file; .env.example lists them."""


def main(argv: list[str] | None = None) -> int:
    """Serve until the client goes away or a signal comes. Returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if words:
        print(f"rmi-agent-mcp-server: unknown argument {words[0]!r}; try --help.", file=sys.stderr)
        return 2
    try:
        settings = load()
    except SettingError as error:
        print(f"rmi-agent-mcp-server: {error}", file=sys.stderr)
        return 2
    spec = LocalSpec(settings.python, str(settings.projects_dir), kernel_environment())
    backend = LocalBackend(spec)
    backend.launch_early()
    # Importing makes many objects that live for ever; collecting garbage meanwhile costs time.
    gc.disable()
    os.environ.setdefault("FASTMCP_LOG_LEVEL", "WARNING")
    import asyncio

    import server.app  # noqa: F401

    # Windows' default loop cannot watch the kernels' sockets.
    factory = asyncio.SelectorEventLoop if sys.platform == "win32" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        code = runner.run(_serve(settings, backend))
    sys.stdout.flush()
    sys.stderr.flush()
    # The transport's reader thread may still wait for input; it must not hold the process.
    os._exit(code)


async def _serve(settings: Settings, backend: LocalBackend) -> int:
    import asyncio

    from kernels.registry import Limits, Registry
    from kernels.turn import Policy
    from server.app import build_server, warm_up

    policy = Policy(settings.grace, settings.keep_after_timeout, settings.max_timeout)
    limits = Limits(settings.max_sessions, settings.idle_timeout, policy)
    async with Registry(backend, limits) as registry:
        registry.prepare()
        server = build_server(settings, registry)
        await warm_up(server)
        gc.freeze()
        gc.enable()
        serving = asyncio.create_task(server.run_stdio_async(show_banner=False))
        stopped = _on_signal()
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done() and serving.exception() is not None:
            print(f"rmi-agent-mcp-server: {serving.exception()}", file=sys.stderr)
            return 1
    return 0


def _on_signal() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    import asyncio
    import signal

    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, event.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(event.set))
    return event


if __name__ == "__main__":
    sys.exit(main())
