"""Runs as tasks, for clients that have MCP's extension of that name.

Such a client need not hold its call open: it gets a task at once, asks how that gets on, and has
the result with the last answer. The tools are the same for everybody and know nothing of it. The
protocol up to 2025-11-25 has no extensions; there, calls are answered as ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastmcp import Context
from fastmcp.exceptions import FastMCPError
from fastmcp.server.dependencies import get_http_request
from fastmcp.server.extensions import (
    MethodBinding,
    ServerExtension,
    ToolCallContinuation,
    ToolCallOutcome,
)
from fastmcp.utilities.tasks import TASKS_EXTENSION_ID
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import INVALID_PARAMS, CallToolRequestParams, RequestParams
from mcp_types.jsonrpc import HEADER_MISMATCH, MISSING_REQUIRED_CLIENT_CAPABILITY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, Field

from server.principal import principal
from server.task import KEPT, Task, TaskState

#: The tools whose calls become tasks.
RUN_TOOLS = frozenset({"run_python", "run_code", "run_notebook"})
#: The most results that are kept.
MOST = 100

_Request = ServerRequestContext[Any, Any]


# Built when a client first needs them, which spares the start of the server half a millisecond.
class _TaskParams(RequestParams, defer_build=True):
    task_id: str = Field(alias="taskId")


class _UpdateParams(_TaskParams, defer_build=True):
    input_responses: dict[str, Any] = Field(alias="inputResponses")


class Tasks(ServerExtension):
    """The extension. Its tasks live in this process and end with the server, at the latest."""

    identifier = TASKS_EXTENSION_ID

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def methods(self) -> Sequence[MethodBinding]:
        """The requests about tasks."""
        handlers: dict[str, tuple[type[BaseModel], Any]] = {
            "tasks/get": (_TaskParams, self._get),
            "tasks/update": (_UpdateParams, self._update),
            "tasks/cancel": (_TaskParams, self._cancel),
        }
        versions = frozenset(MODERN_PROTOCOL_VERSIONS)
        return [MethodBinding(name, *each, versions) for name, each in handlers.items()]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, context: Context, call_next: ToolCallContinuation
    ) -> ToolCallOutcome:
        """Answer a run with a task, if the client has said with this call that it takes one."""
        request = context.request_context
        if (
            params.name not in RUN_TOOLS
            or request is None
            or request.protocol_version not in MODERN_PROTOCOL_VERSIONS
            or context.client_extension_settings(self.identifier) is None
        ):
            return await call_next()
        tool = await context.fastmcp.get_tool(params.name)
        if tool is None:
            return await call_next()
        task = Task(principal())
        task.begin(context.fastmcp, tool, params.arguments or {})
        work = task.work
        assert work is not None
        try:
            # Wrong arguments show in its first step, and are refused as in any other call.
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            work.cancel()
            raise
        if work.done() and isinstance(error := work.exception(), FastMCPError):
            raise error
        self._forget()
        self._tasks[task.id] = task
        return task.state("task")

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[None]:
        """End the tasks with the server."""
        try:
            yield
        finally:
            works = [task.work for task in self._tasks.values() if task.work is not None]
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            self._tasks.clear()

    async def _get(self, ctx: _Request, params: _TaskParams) -> TaskState:
        return self._find(ctx, params.task_id).state("complete")

    async def _update(self, ctx: _Request, params: _UpdateParams) -> dict[str, Any]:
        self._find(ctx, params.task_id).answer(params.input_responses)
        return {}

    async def _cancel(self, ctx: _Request, params: _TaskParams) -> dict[str, Any]:
        work = self._find(ctx, params.task_id).work
        if work is not None:
            work.cancel()
            await asyncio.wait({work})
        return {}

    def _find(self, ctx: _Request, task_id: str) -> Task:
        """The caller's task of that id; whoever may not see it learns no more than that."""
        if self.client_settings(ctx) is None:
            raise MCPError(
                MISSING_REQUIRED_CLIENT_CAPABILITY,
                f"This request needs the extension {self.identifier}, which the client has not "
                "declared with it.",
                {"requiredCapabilities": {"extensions": {self.identifier: {}}}},
            )
        _check_route(task_id)
        self._forget()
        task = self._tasks.get(task_id)
        if task is None or task.owner != principal():
            raise MCPError(
                INVALID_PARAMS,
                f"There is no task {task_id[:80]!r}. Results of tasks are kept for "
                f"{KEPT // 60} minutes, and end with the server.",
            )
        return task

    def _forget(self) -> None:
        over = [task for task in self._tasks.values() if task.work is None]
        over.sort(key=lambda task: task.changed)
        for number, task in enumerate(over, MOST - len(over)):
            if number < 0 or time.time() - task.changed > KEPT:
                del self._tasks[task.id]


def _check_route(task_id: str) -> None:
    """Refuse a request that HTTP routers were told is about another task."""
    try:
        header = get_http_request().headers.get(MCP_NAME_HEADER)
    except RuntimeError:
        return  # not over HTTP
    if header is not None and decode_header_value(header) != task_id:
        raise MCPError(HEADER_MISMATCH, f"The header {MCP_NAME_HEADER} names another task.")
