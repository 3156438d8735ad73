"""What can go wrong with a model, as sentences for the user.

- `AgentError`: something is wrong before a question can be asked.
- `Ended`: a limit of the user's ended the answer to a question; the conversation is kept.

What providers and pydantic-ai raise is translated here and nowhere else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from client.mcp_client import ServerError

if TYPE_CHECKING:
    from client.agent.models import Choice

_MOST = 300


class AgentError(Exception):
    """The agent cannot begin; the text is one sentence for the user."""


class Ended(Exception):
    """The answer to a question was ended by a limit; the text is one sentence for the user."""


def sentence(error: BaseException, choice: Choice) -> str:
    """What went wrong in the answer to a question, and what to do, in one line."""
    if isinstance(error, Ended | AgentError | ServerError):
        return str(error)
    # A key that a provider repeats in its answer goes no further.
    text = _words(error, choice)
    return text.replace(choice.key, "…") if choice.key else text


def _words(error: BaseException, choice: Choice) -> str:
    from pydantic_ai import exceptions as e

    name, model = choice.title, choice.model
    status = getattr(error, "status_code", None)
    http = f" (HTTP {status})" if status else ""
    match error:
        case e.ModelAuthenticationError():
            return f"{name} refused the key{http}; check {choice.variable}."
        case e.ModelNotFoundError():
            near = getattr(error, "suggested_model_id", None)
            hint = f"; did you mean {near}?" if near else "; --model names another."
            return f"{name} has no model {model!r}{http}{hint}"
        case e.ModelQuotaExceededError():
            return f"The account at {name} has no quota or credit left{http}."
        case e.ModelRateLimitError():
            return f"{name} has had too many requests{http}{_later(error)}"
        case e.ModelUnavailableError() | e.ModelServerError():
            return f"{name} cannot answer at present{http}{_later(error)}"
        case e.ModelContextWindowExceededError():
            return f"The conversation is too long for {model}; begin a new one."
        case e.ModelRequestTimeout() | e.ModelTimeoutError():
            return f"{name} did not answer in time; try again."
        case e.ModelConnectionError():
            if error.phase in ("connect", "pool"):
                where = f" at {choice.base_url}" if choice.base_url else ""
                return f"{name} cannot be reached{where}; check the network."
            return f"The connection to {name} broke off in the middle of an answer; try again."
        case e.ModelHTTPError():
            return f"{name} refused the request{http}: {_said(error)}."
        case e.ContentFilterError():
            return f"{name} held the answer back (its content filter)."
        case e.ModelAPIError():
            return f"{name} answered with what is no answer of a model: {_line(str(error))}."
        case e.UnexpectedModelBehavior() if "without content" in str(error):
            return f"{name} sent an empty answer; try again."
        case e.UnexpectedModelBehavior():
            return f"The model {model} gave an answer that cannot be used: {_line(str(error))}."
    return f"The answer of {model} failed: {type(error).__name__}: {_line(str(error))}."


def _later(error: BaseException) -> str:
    seconds = getattr(error, "retry_after", None)
    return f"; it asks to wait {seconds:,.0f} s." if seconds else "; try again later."


def _said(error: BaseException) -> str:
    """The words of a provider's error, found in the shapes that they have."""
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else body
    message = inner.get("message") if isinstance(inner, dict) else inner
    return _line(str(message or "it does not say why"))


def _line(text: str) -> str:
    line = " ".join(re.sub(r"[^\x20-\x7e\xa0-\U0010ffff]", " ", text).split())
    return (line[:_MOST] + "…" if len(line) > _MOST else line).rstrip(".")
