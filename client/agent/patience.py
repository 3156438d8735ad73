"""Asking a provider again that is busy for a moment, and saying so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic_ai import RetryModelRequest, exceptions
from pydantic_ai.messages import ModelResponse

from client.agent.limits import Clock
from client.agent.models import Choice

#: Seconds to wait when the provider does not say how long; then it is given up.
_WAITS = (2.0, 5.0, 15.0)
_PASSING = (
    exceptions.ModelRateLimitError,
    exceptions.ModelUnavailableError,
    exceptions.ModelServerError,
)


class Patience:
    """Waits as long as the provider asks, if the question's time allows it, and at most three times
    for one answer."""

    def __init__(self, choice: Choice, clock: Clock, say: Callable[[str], None]) -> None:
        self._choice = choice
        self._clock = clock
        self._say = say

    async def __call__(
        self, ctx: Any, /, *, request_context: Any, error: Exception
    ) -> ModelResponse:
        """pydantic-ai's hook for a request that failed: ask again, or pass the error on."""
        attempt = int(request_context.attempt)
        if not isinstance(error, _PASSING) or attempt > len(_WAITS):
            raise error
        asked = error.retry_after
        seconds = _WAITS[attempt - 1] if asked is None else max(asked, 0.0)
        if seconds >= self._clock.left:
            raise error
        is_limit = isinstance(error, exceptions.ModelRateLimitError)
        why = "has had too many requests" if is_limit else "cannot answer at present"
        how = "" if asked is None else ", as it asks"
        self._say(f"{self._choice.title} {why}; waiting {seconds:g} s{how}.")
        await asyncio.sleep(seconds)
        raise RetryModelRequest
