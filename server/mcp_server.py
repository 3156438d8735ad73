"""The MCP server: `python server/mcp_server.py`, over stdio unless told otherwise.

Over stdio nothing but MCP is written to standard output. The first kernel is launched before the
heavy imports, so that it is ready when the client has shaken hands.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys

if __package__ in (None, ""):
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from kernels.launching import LocalSpec, kernel_environment
from kernels.local import LocalBackend
from server.settings import Settings, load, page_port
from server.values import SettingError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from kernels.watch import Watcher
    from server.audit import Audit
    from server.page.alone import PageAlone
    from server.remote.http_server import HttpServer

_USAGE = """\
usage: rmi-agent-mcp-server [--page PORT | --http | --tunnel] [--check]
       rmi-agent-mcp-server token new NAME | token list | token revoke NAME
       rmi-agent-mcp-server doctor [--json]

Without options it serves MCP over standard input and output, as Claude Desktop and Claude Code
start it.

  --page     besides, shows what happens on a page of this machine: http://127.0.0.1:PORT/
  --http     serves remote clients: MCP over HTTP at /mcp, for older clients over SSE at /sse,
             and the page at /
  --tunnel   the same, and makes it reachable from everywhere through ngrok
  --check    only checks the settings: their values, and names that are misspelt
  token      makes, lists and revokes the tokens with which remote clients come in
  doctor     checks what it needs on this machine; exit code 1 when a check fails

Settings are environment variables or lines of a .env file; .env.example lists them."""


def main(argv: list[str] | None = None) -> int:
    """Serve until the client goes away or a signal comes; the process ends then. Returns the exit
    code of all that does not get so far."""
    words = sys.argv[1:] if argv is None else argv
    if words in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if words[:1] == ["token"]:
        from server.remote import token_command

        return token_command.main(words[1:])
    if words[:1] == ["doctor"]:
        from server import doctor

        return doctor.main(words[1:])
    try:
        page, words = _page_option(words)
        known = ("--http", "--tunnel", "--check")
        if unknown := [word for word in words if word not in known]:
            return _complain(f"unknown argument {unknown[0]!r}; try --help.")
        if "--check" in words:
            from server.checking import check

            check()
            return 0
        if words and page is not None:
            return _complain("--page is for stdio; over HTTP the page is at / of the server.")
        settings = load()
        if words:
            return _serve_http(settings, "--tunnel" in words)
        return _serve_stdio(settings if page is None else replace(settings, page=page))
    except SettingError as error:
        return _complain(str(error))


def _page_option(words: list[str]) -> tuple[int | None, list[str]]:
    """The port after `--page`, if there is one, and the other words."""
    if "--page" not in words:
        return None, words
    at = words.index("--page")
    port = page_port({"--page": "".join(words[at + 1 : at + 2]) or "none"}, "--page")
    return port, words[:at] + words[at + 2 :]


def _complain(sentence: str, code: int = 2) -> int:
    print(f"rmi-agent-mcp-server: {sentence}", file=sys.stderr)
    return code


def _serve_stdio(settings: Settings) -> NoReturn:
    # Whoever starts it could as well install by hand; clients from elsewhere could not.
    settings = replace(settings, allow_install=settings.allow_install is not False)
    backend = _backend(settings)
    backend.launch_early()
    _before_imports()
    import server.app  # noqa: F401
    from server import logs

    logs.set_up(settings.log_level or "warning")
    _run(_over_stdio(settings, backend))


def _serve_http(settings: Settings, tunnel: bool) -> int:
    from server.remote import http_settings

    http = http_settings.load()
    _before_imports()
    from server.remote.http_server import CannotServe, HttpServer

    try:
        server = HttpServer(settings, http, tunnel)
    except CannotServe as error:
        return _complain(str(error))
    backend = _backend(settings)
    backend.launch_early()
    _run(_over_http(server, backend))


def _backend(settings: Settings) -> LocalBackend:
    env = plain = kernel_environment()
    if settings.default is not None and settings.default.kernelspec is not None:
        env = settings.default.kernelspec.environment(plain)
    return LocalBackend(
        LocalSpec(
            settings.python,
            str(settings.projects_dir),
            env,
            preload=settings.preload,
            plain=plain,
        )
    )


def _before_imports() -> None:
    # Importing makes many objects that live for ever; collecting garbage meanwhile costs time.
    gc.disable()
    os.environ.setdefault("FASTMCP_LOG_LEVEL", "WARNING")
    if "opentelemetry.sdk" not in sys.modules and "OTEL_PYTHON_TRACER_PROVIDER" not in os.environ:
        # Spans that nobody records cost every call some 0.1 ms.
        os.environ.setdefault("FASTMCP_TELEMETRY_MODE", "off")


def _run(serving: Coroutine[Any, Any, int]) -> NoReturn:
    import asyncio

    # Windows' default loop cannot watch the kernels' sockets.
    factory = asyncio.SelectorEventLoop if sys.platform == "win32" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        code = runner.run(serving)
        _flush_spans()
        sys.stdout.flush()
        sys.stderr.flush()
        # A thread may still read from the client, or draw for it; it must not hold the process.
        os._exit(code)


def _flush_spans() -> None:
    """Have an OpenTelemetry SDK, if there is one, send what it has, in a second at most."""
    if "opentelemetry.sdk" not in sys.modules:
        return
    import threading

    from opentelemetry import trace

    if (flush := getattr(trace.get_tracer_provider(), "force_flush", None)) is not None:
        thread = threading.Thread(target=flush, daemon=True)
        thread.start()
        thread.join(1.0)


async def _over_stdio(settings: Settings, backend: LocalBackend) -> int:
    import asyncio

    from kernels.registry import Registry
    from server.app import build_server, collect_seldom, import_seldom, limits_of, warm_up
    from server.tracing import Tracing

    audits: list[Audit] = []
    if settings.audit_log is not None:
        from server.audit import AuditError, audit_of

        try:
            audits = audit_of(settings)
        except AuditError as error:
            await backend.close()
            return _complain(str(error))
    page: PageAlone | None = None
    if settings.page is not None:
        from server.page.alone import PageAlone

        try:
            page = PageAlone(settings, settings.page)
        except (SettingError, OSError) as error:
            await backend.close()
            return _complain(str(error))
    watchers: list[Watcher] = [Tracing(settings.projects_dir), *audits]
    if page is not None:
        watchers.append(page.feeds)
    async with contextlib.AsyncExitStack() as stack:
        registry = Registry(backend, limits_of(settings), watchers, settings.default)
        await stack.enter_async_context(registry)
        registry.prepare(import_seldom)
        feeds = page.feeds if page is not None else None
        server = build_server(settings, registry, middleware=audits, audience=feeds)
        await warm_up(server)
        if page is not None:
            await stack.enter_async_context(page.shown(registry, audits))
        collect_seldom()
        serving = asyncio.create_task(server.run_stdio_async(show_banner=False))
        stopped = _on_signal()
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done() and serving.exception() is not None:
            return _complain(str(serving.exception()), 1)
    return 0


async def _over_http(server: HttpServer, backend: LocalBackend) -> int:
    from server.remote.ngrok import TunnelError

    try:
        await server.serve(backend, _on_signal())
    except TunnelError as error:
        return _complain(str(error), 1)
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
