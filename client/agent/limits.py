"""How much one question may take: requests to the model, runs, tokens, time, money."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from client.agent.errors import Ended

if TYPE_CHECKING:
    from pydantic_ai.usage import RunUsage


@dataclass(frozen=True)
class Limits:
    """What one question may take. The comment names the option of each."""

    turns: int = 25  # --max-turns: answers of the model, calls of tools among them
    runs: int = 15  # --max-runs: programs and code that it runs
    tokens: int = 300_000  # --max-tokens: read and written, together
    seconds: float = 900  # --max-seconds: while nobody is being asked
    cost: float | None = None  # --max-cost: US dollars

    def check(self, usage: RunUsage, model: str) -> None:
        """Raise `Ended` when the next request to the model may not be."""
        if usage.requests >= self.turns:
            raise Ended(f"The model has had its {self.turns} turns; --max-turns allows more.")
        if usage.total_tokens >= self.tokens:
            raise Ended(
                f"{usage.total_tokens:,} tokens are used, of {self.tokens:,}; --max-tokens allows "
                "more."
            )
        if self.cost is None or not usage.requests:
            return
        if usage.cost is None:
            raise Ended(
                f"No price is known for {model}, so --max-cost cannot be kept; leave it out."
            )
        if usage.cost >= self.cost:
            raise Ended(
                f"${usage.cost:.4f} are spent, of ${self.cost:.4f}; --max-cost allows more."
            )


class Clock:
    """The time that a question takes; it stands still while somebody is asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._begun = time.monotonic()
        self._paused = 0.0
        self._open = 0
        self._since = 0.0

    @property
    def used(self) -> float:
        """Seconds so far."""
        now = self._since if self._open else time.monotonic()
        return now - self._begun - self._paused

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return self.seconds - self.used

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While this is open, no time passes."""
        if not self._open:
            self._since = time.monotonic()
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._paused += time.monotonic() - self._since

    async def run_out(self) -> None:
        """Return when no time is left."""
        while self.left > 0:  # noqa: ASYNC110 - what is left grows while somebody is asked
            await asyncio.sleep(min(max(self.left, 0.05), 1.0))


def used(usage: RunUsage, runs: int, seconds: float, model: str) -> str:
    """What a question took, as a line of facts."""
    parts = [
        f"{seconds:.1f} s",
        f"{runs} run{'' if runs == 1 else 's'}",
        f"{usage.input_tokens:,} tokens read, {usage.output_tokens:,} written",
    ]
    if usage.unmeasured_requests:
        parts[-1] = f"at least {parts[-1]}"
    if usage.cost is not None:
        parts.append(f"about ${usage.cost:.4f} at list prices")
    elif usage.total_tokens:
        parts.append("its price is not known")
    return f"[{' · '.join([*parts, model])}]"
