"""What the conformance suite expects a server to have, beside what every server has.

Names, arguments and texts are the suite's. What asks the user, and what becomes a task, stands in
`asking`.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Annotated, Any

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import Message, PromptResult
from fastmcp.resources import ResourceContent, ResourceResult
from fastmcp.tools import FunctionTool
from fastmcp.tools.base import ToolResult
from mcp.shared.exceptions import MCPError
from mcp_types import (
    AudioContent,
    Completion,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)
from mcp_types.jsonrpc import MISSING_REQUIRED_CLIENT_CAPABILITY
from pydantic import Field

#: One red pixel, and a sound of no length.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC"
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="

#: Seconds between two messages of one call.
_PAUSE = 0.02


def add_fixtures(server: FastMCP[Any]) -> None:
    """Add all of this module to `server`."""
    for tool in _TOOLS:
        server.tool(tool, description=_description(tool), output_schema=None)
    server.add_tool(_schema_tool())
    for uri, resource, mime in _RESOURCES:
        server.resource(uri, description=_description(resource), mime_type=mime)(resource)
    for prompt in _PROMPTS:
        server.prompt(prompt, description=_description(prompt))
    server.completion(lambda reference, argument, context: Completion(values=["test"], total=1))


def _description(function: Any) -> str:
    return f"Fixture: {function.__name__}."


def text(words: str) -> TextContent:
    """A text as content."""
    return TextContent(type="text", text=words)


def _image() -> ImageContent:
    return ImageContent(type="image", data=PNG, mime_type="image/png")


def _embedded(uri: str, words: str, mime: str = "text/plain") -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, text=words, mime_type=mime)
    return EmbeddedResource(type="resource", resource=contents)


# Tools


async def test_simple_text() -> ToolResult:
    return ToolResult([text("This is a simple text response for testing.")])


async def test_image_content() -> ToolResult:
    return ToolResult([_image()])


async def test_audio_content() -> ToolResult:
    return ToolResult([AudioContent(type="audio", data=WAV, mime_type="audio/wav")])


async def test_embedded_resource() -> ToolResult:
    words = "This is an embedded resource content."
    return ToolResult([_embedded("test://embedded-resource", words)])


async def test_multiple_content_types() -> ToolResult:
    data = json.dumps({"test": "data", "value": 123})
    resource = _embedded("test://mixed-content-resource", data, "application/json")
    return ToolResult([text("Multiple content types test:"), _image(), resource])


async def test_error_handling() -> ToolResult:
    raise ToolError("This tool intentionally returns an error for testing")


async def test_tool_with_logging(ctx: Context) -> ToolResult:
    for words in ("started", "processing data", "completed"):
        await ctx.info(f"Tool execution {words}")
        await asyncio.sleep(_PAUSE)
    return ToolResult([text("Tool with logging executed successfully")])


async def test_logging_tool(ctx: Context) -> ToolResult:
    await ctx.info("Only for clients that have asked for it")
    return ToolResult([text("Logging evaluated")])


async def test_tool_with_progress(ctx: Context) -> ToolResult:
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(_PAUSE)
    return ToolResult([text("Tool with progress executed successfully")])


async def test_streaming_elicitation(ctx: Context) -> ToolResult:
    await ctx.report_progress(50, 100)
    return ToolResult([text("Streaming complete")])


async def test_reconnection(ctx: Context) -> ToolResult:
    await ctx.close_sse_stream()
    await asyncio.sleep(_PAUSE)
    return ToolResult([text("Reconnection test completed successfully.")])


async def test_missing_capability(ctx: Context) -> ToolResult:
    declared = ctx.session.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool needs sampling.",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return ToolResult([text("Success")])


async def test_custom_header(
    word: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Word"})],
) -> ToolResult:
    return ToolResult([text(word)])


def _schema_tool() -> FunctionTool:
    """A tool whose schema has the words of JSON Schema 2020-12 that few schemas have."""

    async def json_schema_2020_12_tool() -> ToolResult:
        return ToolResult([text("Called")])

    address = {
        "$anchor": "addressDef",
        "type": "object",
        "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
    }
    strings = {name: {"type": "string"} for name in ("name", "phone", "email")}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": address},
        "properties": {
            **strings,
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
    }
    tool = FunctionTool.from_function(json_schema_2020_12_tool, description="Fixture: a schema.")
    return tool.model_copy(update={"parameters": schema, "output_schema": None})


# Resources


async def static_text() -> str:
    return "This is the content of the static text resource."


async def static_binary() -> ResourceResult:
    return ResourceResult([ResourceContent(base64.b64decode(PNG), mime_type="image/png")])


async def template(id: str) -> str:
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


# Prompts


async def test_simple_prompt() -> str:
    return "This is a simple prompt for testing."


async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


# The argument's name is the suite's.
async def test_prompt_with_embedded_resource(resourceUri: str) -> PromptResult:
    resource = _embedded(resourceUri, "Embedded resource content for testing.")
    return PromptResult([Message(resource), Message("Please process the embedded resource above.")])


async def test_prompt_with_image() -> PromptResult:
    return PromptResult([Message(_image()), Message("Please analyze the image above.")])


_TOOLS = (
    test_simple_text,
    test_image_content,
    test_audio_content,
    test_embedded_resource,
    test_multiple_content_types,
    test_error_handling,
    test_tool_with_logging,
    test_logging_tool,
    test_tool_with_progress,
    test_streaming_elicitation,
    test_reconnection,
    test_missing_capability,
    test_custom_header,
)
_RESOURCES = (
    ("test://static-text", static_text, "text/plain"),
    ("test://static-binary", static_binary, "image/png"),
    ("test://template/{id}/data", template, "application/json"),
)
_PROMPTS = (
    test_simple_prompt,
    test_prompt_with_arguments,
    test_prompt_with_embedded_resource,
    test_prompt_with_image,
)
