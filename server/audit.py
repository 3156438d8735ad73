"""The audit log: who called what, when, and what came of it, as JSON, a line each.

It holds sizes and hashes, never contents: no code, no output, no input, no credential. Its lines:

- `"event": "call"`, when a tool call, the reading of a resource or a control of the page has been
  answered;
- `"event": "end"`, when what that call left going on is over: a task, or a run in the background.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastmcp.resources.base import ResourceResult
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools.base import InputRequiredToolResult, ToolResult
from mcp_types import ImageContent, TextContent

from kernels.execution import FileRequest, Request
from server.journal import Journal
from server.logs import blotted
from server.principal import principal
from server.render import META_KEY
from server.settings import Settings
from server.task import TaskState

if TYPE_CHECKING:
    from kernels.run import Run
    from kernels.steps import Work
    from kernels.watch import Kind

#: Characters of what a caller has chosen.
_MOST = 200
#: Arguments that lines have, and under which keys.
_NAMED = {"session": "session", "new_session": "new", "run_id": "run", "file_name": "file"}
_RUN = re.compile(r"run://([^/]+)/")
_SESSION = re.compile(r"session://(.+)/")
_log = logging.getLogger("rmi.audit")


class AuditError(Exception):
    """The audit log cannot be written; the text says why, and what to do."""


def audit_of(settings: Settings, port: int | None = None) -> list[Audit]:
    """The audit log that is asked for, or none. On a `port` there is one unless it is refused.

    Raises `AuditError`.
    """
    if settings.audit_log == "off" or (settings.audit_log is None and port is None):
        return []
    if settings.audit_log is not None:
        return [Audit(Path(settings.audit_log).expanduser().absolute())]
    return [Audit(settings.state_dir / f"audit-{port}.jsonl")]


@dataclass
class _Call:
    """A call under way."""

    facts: dict[str, Any]
    begun: float = field(default_factory=time.perf_counter)
    run: Run | None = None


#: The call in whose context a run is asked for.
_call: ContextVar[_Call | None] = ContextVar("audited call", default=None)


class Audit(Middleware):
    """Writes the log. As the outermost middleware it sees every call; as a `Watcher` of the
    registry it knows their runs, without which lines lack those in the background.

    Raises `AuditError`. Later, what cannot be written is lost, and the server's log says so.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._journal = Journal(path)
        except (OSError, ValueError) as error:
            raise AuditError(
                f"The audit log {path} cannot be written: {_reason(error)}. Set RMI_AUDIT_LOG to "
                "another file, or to `off`."
            ) from None
        self._lost = 0

    def close(self) -> None:
        """Close the file."""
        self._journal.close()

    # -- calls

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        """Record a call of a tool."""
        arguments = context.message.arguments or {}
        facts = {**_who(context), "tool": _short(context.message.name)}
        return await self._record(context, call_next, {**facts, **_of_arguments(arguments)})

    async def on_read_resource(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        """Record the reading of a resource."""
        uri = str(context.message.uri)
        facts = {**_who(context), "resource": _short(uri)}
        for pattern, key in ((_RUN, "run"), (_SESSION, "session")):
            if found := pattern.match(uri):
                facts[key] = _short(found[1])
        return await self._record(context, call_next, facts)

    async def on_request(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        """Record what is done to a task."""
        if context.method not in ("tasks/cancel", "tasks/update"):
            return await call_next(context)
        message = context.message if isinstance(context.message, Mapping) else {}
        ident = message.get("taskId")
        facts = {**_who(context), "request": context.method, "task": _short_id(ident)}
        return await self._record(context, call_next, facts)

    async def _record(
        self,
        context: MiddlewareContext[Any],
        call_next: CallNext[Any, Any],
        facts: dict[str, Any],
    ) -> Any:
        if context.fastmcp_context is None or context.fastmcp_context.request_context is None:
            # The server warms itself up.
            return await call_next(context)
        return await self._recorded(facts, partial(call_next, context))

    async def of_page(
        self, who: str, control: str, more: Mapping[str, Any], act: Callable[[], Awaitable[Any]]
    ) -> Any:
        """Record what somebody has done on the page; the result of `act`, which does it.

        `control`: what it is called. `more`: its arguments, as those of a tool.
        """
        facts = {"who": _short(who), "transport": "page", "control": _short(control)}
        return await self._recorded({**facts, **_of_arguments(more)}, act)

    async def _recorded(self, facts: dict[str, Any], act: Callable[[], Awaitable[Any]]) -> Any:
        call = _Call(facts)
        token = _call.set(call)
        try:
            result = await act()
        except asyncio.CancelledError:
            self._answered(call, "cancelled")
            raise
        except Exception:
            self._answered(call, "error")
            raise
        finally:
            _call.reset(token)
        if isinstance(result, TaskState):
            self._begun(call, result)
        else:
            self._answered(call, *_outcome(result))
        return result

    def _answered(self, call: _Call, status: str, more: Mapping[str, Any] | None = None) -> None:
        """Record the answer of a call."""
        self._write("call", call, {"status": status, **(more or {})})
        self._follow(call)

    def _begun(self, call: _Call, task: TaskState) -> None:
        """Record that a call has become a task, and later the task's end."""
        call.facts["task"] = _short_id(task.task_id)
        self._write("call", call, {"status": "task"})
        name = f"task {task.task_id}"
        for work in asyncio.all_tasks():
            if work.get_name() == name:
                work.add_done_callback(partial(self._task_ended, call))
                return
        # It was over before the caller knew of it.
        result = task.result or {}
        known = (result.get("_meta") or {}).get(META_KEY) or {}
        status = known.get("status") or ("error" if result.get("isError") else task.status)
        self._write("end", call, {"status": status})
        self._follow(call)

    def _task_ended(self, call: _Call, work: asyncio.Task[Any]) -> None:
        if work.cancelled():
            self._write("end", call, {"status": "cancelled"})
        elif work.exception() is not None:
            self._write("end", call, {"status": "error"})
        else:
            status, more = _outcome(work.result())
            self._write("end", call, {"status": status, **more})
        self._follow(call)

    def _follow(self, call: _Call) -> None:
        """Record the end of the run that a call has left going on, once it is over."""
        run = call.run
        if run is not None and not run.done.done():
            run.done.add_done_callback(
                lambda _: self._write("end", call, {"status": str(run.status)})
            )

    # -- runs

    def run_queued(self, owner: str, run: Run, work: Work) -> None:
        """Note whose call has asked for the run, and what is run."""
        call = _call.get()
        if call is None:
            return
        call.run = run
        call.facts |= {"session": _short(run.session.name), "run": run.id}
        if isinstance(work, FileRequest):
            call.facts["sha256"] = hashlib.sha256(work.source).hexdigest()
        elif not isinstance(work, Request):
            call.facts["sha256"] = _hash(work.source)

    def run_ended(self, owner: str, run: Run) -> None:
        """Nothing is to be noted: the line of the call, or that of its end, tells."""

    def kernel_started(self, kind: Kind, seconds: float) -> None:
        """Nothing is to be noted."""

    # -- lines

    def _write(self, event: str, call: _Call, more: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        seconds = round(time.perf_counter() - call.begun, 6)
        line = {"time": now, "event": event, **call.facts, **more, "duration_s": seconds}
        try:
            self._journal.write(json.dumps(line, separators=(",", ":")).encode())
        except OSError as error:
            if not self._lost:
                _log.warning(
                    "The audit log %s cannot be written (%s); calls go on without it.",
                    self._path,
                    _reason(error),
                )
            self._lost += 1
            return
        if self._lost:
            _log.warning("The audit log is written again; %d of its lines are lost.", self._lost)
            self._lost = 0


def _who(context: MiddlewareContext[Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {"who": _short(principal())}
    if context.fastmcp_context is not None and context.fastmcp_context.transport is not None:
        facts["transport"] = context.fastmcp_context.transport
    return facts


def _of_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a call before its answer."""
    facts: dict[str, Any] = {}
    for name, key in _NAMED.items():
        if name in arguments:
            facts[key] = _short(arguments[name])
    for name in ("code", "content"):
        if isinstance(text := arguments.get(name), str):
            facts["sha256"] = _hash(text)
    return {**facts, "argument_bytes": _size(arguments)}


def _outcome(result: Any) -> tuple[str, dict[str, Any]]:
    """What came of a call: the run's status if there is one, and the facts of the answer."""
    if isinstance(result, InputRequiredToolResult):
        return "asks", {}
    if isinstance(result, ToolResult):
        size = sum(_size_of_block(block) for block in result.content)
        known = (result.meta or {}).get(META_KEY)
        more: dict[str, Any] = {"result_bytes": size}
        if not isinstance(known, Mapping):
            return ("error" if result.is_error else "ok"), more
        more |= {"run": known.get("run_id"), "session": known.get("session")}
        return str(known.get("status")), more
    if isinstance(result, ResourceResult):
        return "ok", {"result_bytes": sum(_size(each.content) for each in result.contents)}
    return "ok", {}


def _size_of_block(block: Any) -> int:
    """Bytes of a text, or of what an image has as text."""
    if isinstance(block, TextContent):
        return _size(block.text)
    return _size(block.data) if isinstance(block, ImageContent) else 0


def _size(value: Any) -> int:
    """Bytes of a value from JSON, however deep, without what separates its parts."""
    total, left = 0, [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            total += len(value if value.isascii() else value.encode("utf-8", "surrogatepass"))
        elif isinstance(value, bytes):
            total += len(value)
        elif isinstance(value, Mapping):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            left += value
        elif value is not None:
            total += len(str(value))
    return total


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _short(value: Any) -> str:
    """The beginning of what a caller has chosen, which may be anything."""
    text = value[: _MOST + 1] if isinstance(value, str) else f"[{type(value).__name__}]"
    return blotted(text if len(text) <= _MOST else text[: _MOST - 1] + "…")


def _short_id(task: Any) -> str:
    """What a task is known by here: its whole id would let others see its result."""
    return task[:8] if isinstance(task, str) else ""


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).rstrip(".")
