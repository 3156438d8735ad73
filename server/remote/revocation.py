"""What belongs to a token ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from server.remote.tokens import TokenError, Tokens

#: Seconds between two looks.
_PAUSE = 1.0


async def watch(tokens: Tokens, revoked: Callable[[str], None]) -> None:
    """Call `revoked` with the name of each token that is there no more, for ever."""
    known = _names(tokens)
    while True:
        await asyncio.sleep(_PAUSE)
        try:
            now = _names(tokens)
        except TokenError:
            continue  # the folder is not readable; nobody comes in meanwhile
        for name in known - now:
            revoked(name)
        known = now


def _names(tokens: Tokens) -> set[str]:
    return {token.name for token in tokens.list()}
