"""Asking the user what a program asks, as an elicitation, in both eras of the protocol.

Up to 2025-11-25 the server asks while the call goes on: `ask_now`. From 2026-07-28 on the call
returns `asking(...)`; the client calls the tool again with the same arguments, and then
`answered` tells which run goes on and with what. `asks_by_result` says which of the two it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

import anyio
from fastmcp import Context
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from kernels.questions import Question
from kernels.transcript import clean

#: How often one call may ask by its result: after as many rounds clients give the call up.
MOST_ROUNDS = 10
#: Title of the field of a secret answer: the protocol's schemas have no other word for it.
SECRET = "Secret answer"
_KEY = "answer"


@dataclass(frozen=True)
class Answer:
    """What a repeated call brings: for which run and question, and the text, None when the user
    declined. `given` is False when the client has called again without any word on it. `round`
    counts, from 1, how often the call has asked."""

    run_id: str
    serial: int
    text: str | None
    given: bool = True
    round: int = 1

    @property
    def seen(self) -> int:
        """The number of the last question that needs not be asked any more."""
        return self.serial if self.given else self.serial - 1


class Audience(Protocol):
    """Who looks on at a page of the server, and may answer where the client cannot."""

    @property
    def url(self) -> str:
        """Where the page is."""

    def is_there(self, owner: str) -> bool:
        """Whether somebody looks at the runs of this owner now."""


def can_ask(ctx: Context) -> bool:
    """Whether the client of this call says that it can put a form to its user."""
    if ctx.is_background_task or ctx.request_context is None:
        return False
    session = ctx.session
    declared = session.client_capabilities
    elicitation = declared.elicitation if declared is not None else None
    if elicitation is None:
        return False
    # None of both is how clients before 2025-11-25 say that they can show forms.
    forms = elicitation.form is not None or elicitation.url is None
    return forms and (asks_by_result(ctx) or session.can_send_request)


def asks_by_result(ctx: Context) -> bool:
    """Whether this connection's questions are results of calls (see the module's docstring)."""
    request = ctx.request_context
    return request is not None and request.protocol_version in MODERN_PROTOCOL_VERSIONS


async def ask_now(ctx: Context, question: Question) -> str | None:
    """The user's answer; None when there is none: declined, cancelled, or a client that fails.

    Cancel it when the question is not open any more.
    """
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    try:
        result = await ctx.session.send_request(_form(question), ElicitResult, metadata=related)
    except (MCPError, ValidationError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        return None
    return _text(result)


def asking(question: Question, run_id: str, before: Answer | None = None) -> InputRequiredResult:
    """The result of a call that needs the answer to go on; `before`: what this call brought."""
    rounds = before.round + 1 if before is not None else 1
    state = json.dumps({"run": run_id, "question": question.serial, "round": rounds})
    return InputRequiredResult(input_requests={_KEY: _form(question)}, request_state=state)


def answered(ctx: Context) -> Answer | None:
    """What a repeated call brings; None: it is a first one."""
    try:
        state = json.loads(ctx.request_state or "null")
        run_id, serial, rounds = str(state["run"]), int(state["question"]), int(state["round"])
    except (ValueError, TypeError, KeyError):
        return None
    response = (ctx.input_responses or {}).get(_KEY)
    if not isinstance(response, ElicitResult):
        return Answer(run_id, serial, None, given=False, round=rounds)
    return Answer(run_id, serial, _text(response), round=rounds)


def _form(question: Question) -> ElicitRequest:
    message = clean(question.prompt).strip() or "The program asks for input."
    title, described = "Answer", "What the program reads."
    if question.password:
        message += "\nThe answer is secret: the program reads it unseen, as a password."
        title, described = SECRET, "What the program reads unseen."
    field = {"type": "string", "title": title, "description": described}
    schema = {"type": "object", "properties": {_KEY: field}, "required": [_KEY]}
    params = ElicitRequestFormParams(message=message, requested_schema=schema)
    return ElicitRequest(params=params)


def _text(result: ElicitResult) -> str | None:
    text = (result.content or {}).get(_KEY) if result.action == "accept" else None
    return text if isinstance(text, str) else None
