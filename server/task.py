"""One call of a tool as a task: it goes on without its caller, who asks how it gets on."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from fastmcp import Context, FastMCP
from fastmcp.exceptions import FastMCPError
from fastmcp.tools.base import InputRequiredToolResult, Tool, ToolResult
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolResult,
    InputRequiredResult,
    InputResponseRequestParams,
    InputResponses,
    TextContent,
)
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

#: Seconds that a result is kept.
KEPT = 900
#: Milliseconds that a client is asked to leave between two questions.
_POLL = 1000

_log = logging.getLogger(__name__)


class TaskState(BaseModel):
    """A task as the client sees it."""

    # Built when it is first needed, which spares the start of the server half a millisecond.
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, defer_build=True)

    result_type: Literal["task", "complete"]
    task_id: str
    status: Literal["working", "input_required", "completed", "failed", "cancelled"]
    created_at: str
    last_updated_at: str
    ttl_ms: int
    poll_interval_ms: int = _POLL
    status_message: str | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    input_requests: dict[str, Any] | None = None


class Task:
    """A task. `owner` is whoever may know of it."""

    def __init__(self, owner: str) -> None:
        #: Whoever has it may see the result and stop the run, so it must not be guessed.
        self.id = secrets.token_urlsafe(24)
        self.owner = owner
        #: None once it is over; then nothing of the call is held any more.
        self.work: asyncio.Task[ToolResult] | None = None
        #: When something was last told, asked or answered, or it ended; seconds since the epoch.
        self.changed = self._created = time.time()
        self._message: str | None = None
        self._outcome: dict[str, Any] = {"status": "working"}
        #: Open questions to the client. Their keys are new in each round, as is demanded.
        self._questions: dict[str, Any] = {}
        self._answers: dict[str, Any] = {}
        self._answered = asyncio.Event()
        self._round = 0

    def begin(self, server: FastMCP[Any], tool: Tool, arguments: dict[str, Any]) -> None:
        """Have the tool called."""
        work = self._work(_TaskContext(server, self), tool, arguments)
        self.work = asyncio.create_task(work, name=f"task {self.id}")
        self.work.add_done_callback(self._end)

    async def _work(
        self, context: _TaskContext, tool: Tool, arguments: dict[str, Any]
    ) -> ToolResult:
        async with context:
            while True:
                result = await tool.run(arguments)
                if not isinstance(result, InputRequiredToolResult):
                    return result
                # As a client without tasks would, which calls again with the answers.
                asked = result.input_required
                context.answers = await self._ask(asked)
                context.state = asked.request_state

    def _end(self, work: asyncio.Task[ToolResult]) -> None:
        self.work, self._message, self._questions = None, None, {}
        self.changed = time.time()
        if work.cancelled():
            self._outcome = {"status": "cancelled"}
            return
        error = work.exception()
        if isinstance(error, MCPError):
            self._outcome = {"status": "failed", "error": _dump(error.error)}
            return
        # A failing tool has an answer, as when it is called without a task.
        result = _answer(work.result()) if error is None else _refusal(error)
        self._outcome = {"status": "completed", "result": _dump(result)}

    def tell(self, message: str) -> None:
        """Have the client read how it gets on."""
        self._message, self.changed = message, time.time()

    async def _ask(self, asked: InputRequiredResult) -> InputResponses:
        self._round += 1
        requests = asked.input_requests or {}
        self._questions = {f"{self._round}.{key}": _dump(each) for key, each in requests.items()}
        self._answers = {}
        self.changed = time.time()
        self._answered.clear()
        if self._questions:
            await self._answered.wait()
        return self._answers

    def answer(self, responses: Mapping[str, Any]) -> None:
        """Take the client's answers; those to no open question are ignored."""
        for key in self._questions.keys() & responses.keys():
            name = key.partition(".")[2]
            try:
                params = InputResponseRequestParams.model_validate(
                    {"inputResponses": {name: responses[key]}}
                )
            except ValidationError:
                raise MCPError(INVALID_PARAMS, f"The response {key!r} is none.") from None
            self._answers.update(params.input_responses or {})
            del self._questions[key]
            self.changed = time.time()
        if not self._questions:
            self._answered.set()

    def state(self, result_type: Literal["task", "complete"]) -> TaskState:
        """What the client is to know now."""
        # A run may wait long for its turn, so the promise begins anew while it goes on.
        until = self.changed if self.work is None else time.time()
        outcome = self._outcome
        if self._questions:
            outcome = {"status": "input_required", "input_requests": dict(self._questions)}
        return TaskState(
            result_type=result_type,
            task_id=self.id,
            created_at=_iso(self._created),
            last_updated_at=_iso(self.changed),
            ttl_ms=int((until - self._created + KEPT) * 1000),
            status_message=self._message,
            **outcome,
        )


class _TaskContext(Context):
    """What a tool has in place of its caller's context."""

    def __init__(self, server: FastMCP[Any], task: Task) -> None:
        super().__init__(server)
        self._task = task
        self.answers: InputResponses | None = None
        self.state: str | None = None

    async def report_progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        if message is not None:
            self._task.tell(message)

    @property
    def input_responses(self) -> InputResponses | None:
        return self.answers

    @property
    def request_state(self) -> str | None:
        return self.state


def _answer(result: ToolResult) -> CallToolResult:
    return CallToolResult(
        content=result.content,
        structured_content=result.structured_content,
        is_error=result.is_error,
        _meta=result.meta,
    )


def _refusal(error: BaseException) -> CallToolResult:
    words = str(error)
    if not isinstance(error, FastMCPError):
        _log.error("A task failed", exc_info=error)
        words = f"The server failed to carry this out: {words or type(error).__name__}."
    return CallToolResult(content=[TextContent(type="text", text=words)], is_error=True)


def _dump(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
