"""The server's tools as the model has them: shown, asked for, counted, one call at a time."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic_ai import BinaryContent, RunContext, ToolFailed
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage
from pydantic_ai.toolsets.abstract import ToolsetTool

from client.agent.consent import Consent
from client.agent.display import Display
from client.mcp_client import RmiMcpClient, ServerError, text_of
from client.notebook import own_runs, own_session
from client.show import facts_of

if TYPE_CHECKING:
    from fastmcp.client.client import CallToolResult
    from mcp_types import ImageContent

#: Tools that run something, of which there may be so many.
RUNS = ("run_python", "run_code", "run_notebook")
#: Seconds that get_output waits for the rest of a run that asked too often.
_WAIT = 20


class Tools(MCPToolset[None]):
    """The tools of a connected server; all that can run in a session runs in `session`.

    `saved` is called with the messages so far after each call.
    """

    def __init__(
        self,
        client: RmiMcpClient,
        session: str,
        display: Display,
        consent: Consent,
        most_runs: int,
        saved: Callable[[list[ModelMessage]], None],
    ) -> None:
        super().__init__(client.fastmcp, include_instructions=True, prefer_tasks=False)
        self._rmi = client
        self._session = session
        self._display = display
        self._consent = consent
        self._most_runs = most_runs
        self._saved = saved
        self._one = asyncio.Lock()
        self._stopping: asyncio.Task[None] | None = None
        self._where = session
        #: Whether something runs, and how many have run.
        self.running = False
        self.runs = 0

    async def get_tools(self, ctx: RunContext[None]) -> dict[str, ToolsetTool[None]]:
        """The server's tools without the argument `session`, which is ours to choose."""
        tools = await super().get_tools(ctx)
        return {name: self._without_session(tool) for name, tool in tools.items()}

    def _without_session(self, tool: ToolsetTool[None]) -> ToolsetTool[None]:
        schema = dict(tool.tool_def.parameters_json_schema)
        properties = dict(schema.get("properties", {}))
        if properties.pop("session", None) is None:
            return tool
        schema["properties"] = properties
        definition = replace(
            tool.tool_def,
            parameters_json_schema=schema,
            metadata={**(tool.tool_def.metadata or {}), "session": True},
        )
        return replace(tool, tool_def=definition)

    async def call_tool(
        self, name: str, tool_args: dict[str, Any], ctx: RunContext[None], tool: ToolsetTool[None]
    ) -> Any:
        """Show the call, ask for it, make it, show what came of it. Raises `ServerError`."""
        # One at a time: each is shown and asked for by itself, and one may need the other.
        async with self._one:
            arguments = {key: value for key, value in tool_args.items() if key != "session"}
            has_session = (tool.tool_def.metadata or {}).get("session")
            # A notebook has a session of its own, and a run that is named is in one.
            if has_session and name != "run_notebook" and not arguments.get("run_id"):
                arguments["session"] = self._session
            if name in RUNS and self.runs >= self._most_runs:
                sentence = f"All {self._most_runs} runs of this question are used (--max-runs)."
                self._display.say(sentence, "red")
                raise ToolFailed(f"{sentence} Run no more; tell the user how things stand.")
            refusal = await self._consent.ask(name, arguments, self._read)
            if refusal is not None:
                raise ToolFailed(refusal)
            try:
                return await self._call(name, arguments)
            finally:
                self._saved(list(ctx.messages))

    async def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        progress = self._display.running(name)
        self.running = name in RUNS
        self.runs += self.running
        is_notebook = name == "run_notebook"
        file_name = str(arguments.get("file_name", ""))
        self._where = own_session(file_name) if is_notebook else self._session
        try:
            result = await self._rmi.call(
                name, arguments, progress.report, on_part=progress.report_part
            )
            while name in RUNS and (facts_of(result) or {}).get("status") == "running":
                facts = facts_of(result) or {}
                if arguments.get("background"):
                    break
                again = {"run_id": facts["run_id"], "wait": _WAIT}
                result = await self._rmi.call("get_output", again, progress.report)
        finally:
            self.running = False
            self._stopping = None
        self._display.result(name, result)
        if result.is_error and all(block.type != "image" for block in result.content):
            raise ToolFailed(text_of(result))
        return _content(result)

    def stop(self) -> bool:
        """Begin to stop what runs; False when nothing does, or it is being stopped already."""
        if not self.running or self._stopping is not None:
            return False
        self._stopping = asyncio.ensure_future(self._stop())
        return True

    async def _stop(self) -> None:
        # The call that is to be stopped says what has become of a server that is gone.
        with suppress(ServerError):
            stopped = await self._rmi.call("stop_run", {"session": self._where})
            if stopped.is_error and self._where != self._session:
                # The notebook's session has another name; if only one such runs, then it is ours.
                runs = own_runs(text_of(await self._rmi.call("list_sessions")))
                if len(runs) == 1:
                    await self._rmi.call("stop_run", {"run_id": runs[0]})

    async def _read(self, file_name: str, offset: int) -> str | None:
        """For diffs: see `diffs.Read`."""
        found = await self._rmi.call("read_file", {"file_name": file_name, "offset": offset})
        return None if found.is_error else text_of(found)


def _content(result: CallToolResult) -> str | list[str | BinaryContent]:
    """A result for the model: its text as one, and its images where they stand in it."""
    parts: list[str | BinaryContent] = []
    text = ""
    for block in result.content:
        if block.type == "image":
            parts += [text] if text else []
            parts.append(_image(block))
            text = ""
        elif block.type == "text":
            text += ("\n" if text and not text.endswith("\n") else "") + block.text
    parts += [text] if text else []
    return text if len(parts) == 1 and text else parts


def _image(block: ImageContent) -> str | BinaryContent:
    try:
        data = base64.b64decode(block.data, validate=True)
    except binascii.Error:
        return "[an image that cannot be read]"
    return BinaryContent(data, media_type=block.mime_type)
