"""Fixtures that ask the user, in both eras of the protocol, and calls that become tasks.

Where the suite leaves the form of a question open, it is put as the tools of this server put what
a program asks.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import PromptResult
from fastmcp.tools.base import ToolResult
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    INTERNAL_ERROR,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
)

from kernels.questions import Question
from server import questions, tasks
from tests.conformance.fixtures import text

Outcome = ToolResult | InputRequiredResult


def add_asking(server: FastMCP[Any]) -> None:
    """Add all of this module to `server`."""
    for tool in (*_ASKING, greet, *_TASKS):
        server.tool(tool, description=f"Fixture: {tool.__name__}.", output_schema=None)
    server.prompt(test_input_required_result_prompt, description="Fixture: a prompt that asks.")
    tasks.RUN_TOOLS |= {tool.__name__ for tool in _TASKS}


def _elicit(message: str, **fields: str) -> ElicitRequest:
    properties = {name: {"type": kind} for name, kind in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    params = ElicitRequestFormParams(message=message, requested_schema=schema)
    return ElicitRequest(params=params)


def _sample(prompt: str) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=text(prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=9))


def _ask(state: str | None = None, **requests: InputRequest) -> InputRequiredResult:
    return InputRequiredResult(input_requests=requests, request_state=state)


def _answers(ctx: Context, *keys: str) -> bool:
    """Whether the call brings an answer to each question."""
    return set(keys) <= set(ctx.input_responses or {})


def _field(ctx: Context, key: str, field: str) -> Any:
    response = (ctx.input_responses or {}).get(key)
    return (response.content or {}).get(field) if isinstance(response, ElicitResult) else None


# Calls that ask while they go on, in the older protocol


async def test_sampling(ctx: Context, prompt: str) -> ToolResult:
    message = SamplingMessage(role="user", content=text(prompt))
    params = CreateMessageRequestParams(messages=[message], max_tokens=100)
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    request = CreateMessageRequest(params=params)
    result = await ctx.session.send_request(request, CreateMessageResult, metadata=related)
    return ToolResult([text(f"LLM response: {result.content}")])


async def test_elicitation(ctx: Context, message: str) -> ToolResult:
    """As the tools of this server ask what a program asks."""
    answer = await questions.ask_now(ctx, Question(1, message))
    return ToolResult([text(f"User response: {answer}")])


async def test_elicitation_sep1034_defaults(ctx: Context) -> ToolResult:
    return await _form(
        ctx,
        name={"type": "string", "default": "John Doe"},
        age={"type": "integer", "default": 30},
        score={"type": "number", "default": 95.5},
        status={
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        verified={"type": "boolean", "default": True},
    )


async def test_elicitation_sep1330_enums(ctx: Context) -> ToolResult:
    plain = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": f"Choice {n}"} for n in (1, 2, 3)]
    names = ["Option One", "Option Two", "Option Three"]
    return await _form(
        ctx,
        untitledSingle={"type": "string", "enum": plain},
        titledSingle={"type": "string", "oneOf": titled},
        legacyEnum={"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": names},
        untitledMulti={"type": "array", "items": {"type": "string", "enum": plain}},
        titledMulti={"type": "array", "items": {"anyOf": titled}},
    )


async def _form(ctx: Context, **fields: dict[str, Any]) -> ToolResult:
    schema = {"type": "object", "properties": fields, "required": []}
    params = ElicitRequestFormParams(message="Please fill this in", requested_schema=schema)
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    request = ElicitRequest(params=params)
    result = await ctx.session.send_request(request, ElicitResult, metadata=related)
    words = json.dumps(result.content or {})
    return ToolResult([text(f"Elicitation completed: action={result.action}, content={words}")])


# Calls that need answers to go on, in the newer protocol


async def test_input_required_result_elicitation(ctx: Context) -> Outcome:
    if name := _field(ctx, "user_name", "name"):
        return ToolResult([text(f"Hello, {name}!")])
    return _ask(user_name=_elicit("What is your name?", name="string"))


async def test_input_required_result_sampling(ctx: Context) -> Outcome:
    if _answers(ctx, "capital_question"):
        return ToolResult([text("Sampled")])
    return _ask(capital_question=_sample("What is the capital of France?"))


async def test_input_required_result_list_roots(ctx: Context) -> Outcome:
    if _answers(ctx, "client_roots"):
        return ToolResult([text("Roots listed")])
    return _ask(client_roots=ListRootsRequest())


async def test_input_required_result_multiple_inputs(ctx: Context) -> Outcome:
    if ctx.request_state == "all" and _answers(ctx, "user_name", "greeting", "client_roots"):
        return ToolResult([text("All answered")])
    return _ask(
        "all",
        user_name=_elicit("What is your name?", name="string"),
        greeting=_sample("Generate a greeting"),
        client_roots=ListRootsRequest(),
    )


async def test_input_required_result_capabilities(ctx: Context) -> Outcome:
    if ctx.input_responses:
        return ToolResult([text("capabilities-ok")])
    requests: dict[str, InputRequest] = {}
    declared = ctx.session.client_capabilities
    if questions.can_ask(ctx):
        requests["elicit_input"] = _elicit("What?", value="string")
    if declared is not None and declared.sampling is not None:
        requests["sample_input"] = _sample("What?")
    return InputRequiredResult(input_requests=requests)


async def test_input_required_result_request_state(ctx: Context) -> Outcome:
    if answer := questions.answered(ctx):
        return ToolResult([text(f"state-ok: {answer.run_id}")])
    return questions.asking(Question(1, "Please confirm"), "of a run")


async def test_input_required_result_tampered_state(ctx: Context) -> Outcome:
    return await test_input_required_result_request_state(ctx)


async def test_input_required_result_multi_round(ctx: Context) -> Outcome:
    answer = questions.answered(ctx)
    if answer is not None and answer.round == 2:
        return ToolResult([text("Multi-round complete")])
    serial = 1 if answer is None else answer.serial + 1
    return questions.asking(Question(serial, f"Question {serial}?"), "of a run", answer)


async def test_input_required_result_prompt(ctx: Context) -> Any:
    if context := _field(ctx, "user_context", "context"):
        return PromptResult(f"Prompt with context: {context}")
    return _ask(user_context=_elicit("What context should the prompt use?", context="string"))


# Calls that become tasks, by the extension of this server


async def greet(name: str) -> ToolResult:
    return ToolResult([text(f"Hello, {name}!")])


async def slow_compute(seconds: float, label: str = "") -> ToolResult:
    await asyncio.sleep(seconds)
    return ToolResult([text(f"{label}: computed for {seconds} s")])


async def failing_job() -> ToolResult:
    await asyncio.sleep(0.1)
    raise ToolError("This job always fails")


async def protocol_error_job() -> ToolResult:
    await asyncio.sleep(0.1)
    raise MCPError(INTERNAL_ERROR, "This job panics")


async def confirm_delete(ctx: Context, filename: str) -> Outcome:
    if _answers(ctx, "confirm"):
        return ToolResult([text(f"{filename}: {_field(ctx, 'confirm', 'confirm')}")])
    return _ask(confirm=_elicit(f"Delete {filename}?", confirm="boolean"))


async def multi_input(ctx: Context) -> Outcome:
    if _answers(ctx, "first", "second"):
        return ToolResult([text("Both answered")])
    return _ask(first=_elicit("Name?", name="string"), second=_elicit("Name?", name="string"))


_ASKING = (
    test_sampling,
    test_elicitation,
    test_elicitation_sep1034_defaults,
    test_elicitation_sep1330_enums,
    test_input_required_result_elicitation,
    test_input_required_result_sampling,
    test_input_required_result_list_roots,
    test_input_required_result_multiple_inputs,
    test_input_required_result_capabilities,
    test_input_required_result_request_state,
    test_input_required_result_tampered_state,
    test_input_required_result_multi_round,
)
_TASKS = (
    slow_compute,
    failing_job,
    protocol_error_job,
    confirm_delete,
    multi_input,
)
