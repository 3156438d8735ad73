"""The MCP server, built from its parts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError, ValidationError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.telemetry import suppress_fastmcp_telemetry
from mcp.server.request_state import RequestStateSecurity
from pydantic import ValidationError as PydanticError

from kernels.limits import Limits
from kernels.registry import Registry
from kernels.turn import Policy
from server.document import Faces
from server.questions import Audience
from server.resources import register_resources
from server.settings import Settings
from server.tasks import Tasks
from server.tools import register_tools

if TYPE_CHECKING:
    from fastmcp.server.auth import AuthProvider

INSTRUCTIONS = """\
Runs Python for you: scripts (run_python) and code (run_code) in Jupyter kernels. A session is a \
kernel with a name; its variables stay from run to run, so load data once and go on with it. \
Files are those of the projects directory. The file tools accept only paths in the projects \
directory. Code in a kernel is limited by the isolation level shown; at level `none` it can do \
anything your account can. The isolation level here is `none`."""


#: Levels of lists and objects in an argument.
_MOST_DEPTH = 50


class OneSentence(Middleware):
    """Wrong arguments become one sentence instead of a validation report."""

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        for name, value in (context.message.arguments or {}).items():
            if trouble := _trouble(value):
                raise ToolError(f"The argument {name} {trouble}.", log_level=logging.INFO)
        try:
            return await call_next(context)
        except ValidationError as error:
            cause = error.__cause__
            if isinstance(cause, PydanticError):
                raise ToolError(_sentence(cause)) from None
            raise


def _trouble(value: Any, depth: int = 0) -> str:
    """What is wrong with a value that JSON cannot hold, though some clients send it, or that no
    library would walk through; or ""."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a finite number; it is {value}"
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return "has characters that UTF-8 cannot hold"
    if isinstance(value, list | dict):
        if depth == _MOST_DEPTH:
            return f"is nested more than {_MOST_DEPTH} levels deep"
        parts = value if isinstance(value, list) else [*value, *value.values()]
        return next(filter(None, (_trouble(part, depth + 1) for part in parts)), "")
    return ""


def _sentence(error: PydanticError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    # After the argument's name come places in it, and the kinds that it may be of.
    place = [
        part for number, part in enumerate(first["loc"]) if not number or isinstance(part, int)
    ]
    name = ".".join(map(str, place))[:60]
    name = name if name.isprintable() else ascii(name)
    kind = first["type"]
    if kind == "missing_argument" or kind == "missing":
        return f"The argument {name} is missing."
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"There is no argument {name}; check the tool's parameters."
    value = repr(first["input"])
    shown = value if len(value) <= 60 else value[:60] + "…"
    message = first["msg"].removeprefix("Input ")
    return f"The argument {name} {message}; it is {shown}."


class _NoState:
    """In place of FastMCP's store of state by connection, which nothing here uses."""

    async def get(self, key: str) -> None:
        """There is never anything."""


class Server(FastMCP[Any]):
    """FastMCP that does not import its state store, which would cost the first call 0.15 s."""

    _state_store = _NoState()  # type: ignore[assignment]

    async def _get_tool(self, name: str, version: Any = None) -> Any:
        """FastMCP asks all providers at once, each in a task of its own; here there is one."""
        (provider,) = self.providers
        return await provider.get_tool(name, version)


async def warm_up(server: FastMCP[Any]) -> None:
    """Build what FastMCP builds with the first call of each tool, so that no call waits for it.

    An argument that no tool has fails the check of the arguments, which is what is to be built;
    no tool's body runs.
    """
    # Not all logging: of the kernels that start meanwhile there may be something to say.
    loud = {logger: logger.level for logger in map(logging.getLogger, ("fastmcp", "mcp"))}
    for logger in loud:
        logger.setLevel(logging.ERROR)
    try:
        with suppress_fastmcp_telemetry():
            tools = await server.list_tools()
            # The SDK looks there for arguments that are to be repeated in headers; otherwise it
            # lists all tools to see them, with every call.
            schemas = {tool.name: tool.parameters for tool in tools}
            server._mcp_server.get_tool_input_schema = schemas.get
            for tool in tools:
                with contextlib.suppress(ToolError):
                    await server.call_tool(tool.name, {"warm-up": True})
        await asyncio.to_thread(bool)
    finally:
        for logger, level in loud.items():
            logger.setLevel(level)


def collect_seldom() -> None:
    """Let garbage be collected again, and leave out what there is now, which stays for ever.

    A call makes thousands of objects, nearly all of which go without the collector.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


def import_seldom() -> None:
    """Import what only calls with an environment need; for a moment in which nobody waits."""
    import psutil  # noqa: F401

    import kernels.environments.choosing  # noqa: F401


def limits_of(
    settings: Settings, owner_sessions: int | None = None, owner_runs: int | None = None
) -> Limits:
    """What the settings allow of sessions and runs."""
    policy = Policy(
        settings.grace, settings.keep_after_timeout, settings.max_timeout, settings.checkpoints
    )
    return Limits(
        settings.max_sessions,
        settings.idle_timeout,
        policy,
        owner_sessions,
        owner_runs,
        settings.pool,
    )


def version() -> str:
    """This project's."""
    from importlib import metadata

    try:
        return metadata.version("rmi-agent-mcp-server")
    except metadata.PackageNotFoundError:
        return "0"


def build_server(
    settings: Settings,
    registry: Registry,
    auth: AuthProvider | None = None,
    middleware: Sequence[Middleware] = (),
    audience: Audience | None = None,
) -> FastMCP[Any]:
    """The server over `registry`, which the caller enters and leaves around its use.

    `auth`: who may come in over HTTP. `middleware` sees calls as they come, the first one first.
    `audience`: see `questions.Audience`.
    """
    server = Server(
        "RmiAgentMcpServer",
        instructions=INSTRUCTIONS,
        version=version(),
        strict_input_validation=True,
        # As long as an answer to a program's question may take.
        request_state_security=RequestStateSecurity.ephemeral(ttl=settings.max_timeout),
        middleware=[*middleware, OneSentence()],
        auth=auth,
    )
    faces = Faces()
    register_tools(server, settings, registry, faces, audience)
    register_resources(server, registry, faces)
    server.add_extension(Tasks())
    return server
