"""A client that checks what holds for every answer of every tool."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from fastmcp import Client
from mcp_types import CallToolResult, TextContent

Mode = Literal["auto", "legacy"]
#: For what the protocol may change, in a module whose `mode` is the newer era.
both_eras = pytest.mark.parametrize("mode", ["auto", "legacy"])
NAMES = {
    "run_python", "run_code", "get_output", "stop_run", "list_sessions", "list_variables",
    "restart_session", "close_session", "branch_session", "rewind_session",
    "list_files", "read_file", "write_file", "list_environments",
    "run_notebook", "read_notebook", "edit_notebook",
}  # fmt: skip
META = "rmi-agent/run"


class Caller:
    """Calls tools and checks what holds for every answer."""

    def __init__(self, client: Client[Any]) -> None:
        self.client = client

    async def call(self, tool: str, **arguments: Any) -> CallToolResult:
        result = await self.client.call_tool_mcp(tool, arguments)
        assert result.structured_content is None
        return result

    async def text(self, tool: str, **arguments: Any) -> str:
        """The one text that a tool answers."""
        result = await self.call(tool, **arguments)
        assert not result.is_error
        (block,) = result.content
        assert isinstance(block, TextContent)
        return block.text

    async def refusal(self, tool: str, **arguments: Any) -> str:
        """The one sentence with which a call is refused."""
        result = await self.call(tool, **arguments)
        assert result.is_error
        (block,) = result.content
        assert isinstance(block, TextContent)
        assert META not in (result.meta or {})
        assert "\n" not in block.text
        assert "Error calling tool" not in block.text
        assert "pydantic" not in block.text
        assert block.text.endswith((".", "…")) or tool not in NAMES
        assert len(block.text) < 600
        return block.text

    async def run(self, tool: str, **arguments: Any) -> tuple[list[str], dict[str, Any]]:
        """Texts and facts of a run."""
        result = await self.call(tool, **arguments)
        facts = (result.meta or {})[META]
        assert result.is_error == (facts["status"] != "ok")
        texts = [block.text for block in result.content if isinstance(block, TextContent)]
        assert texts[-1].startswith("[")
        return texts, facts
