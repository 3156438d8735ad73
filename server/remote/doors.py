"""Whether calls are let in, and how many are inside."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastmcp.exceptions import ToolError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext


class Doors(Middleware):
    """Lets tool calls in until it is closed; then waits for those inside to be answered."""

    def __init__(self) -> None:
        self._closed = False
        self._inside = 0
        self._change = asyncio.Event()

    def close(self) -> None:
        """Refuse every further call."""
        self._closed = True

    async def emptied(self, seconds: float) -> bool:
        """Wait until nobody is inside, at most `seconds`. Whether that is so."""
        try:
            async with asyncio.timeout(seconds):
                while self._inside:
                    self._change.clear()
                    await self._change.wait()
        except TimeoutError:
            return False
        return True

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        if self._closed:
            raise ToolError(
                "The server is ending and takes no more calls. Call again when it has been "
                "started again; variables are gone then.",
                log_level=logging.INFO,
            )
        self._inside += 1
        try:
            return await call_next(context)
        finally:
            self._inside -= 1
            self._change.set()
