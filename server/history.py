"""What was run in a session, as a notebook."""

from __future__ import annotations

from kernels.registry import Registry
from server.checkpoints import origin_words


async def history(registry: Registry, owner: str, name: str) -> str:
    """All that was run in the session of that name, as the text of a notebook; that of a branch
    says first whose variables it began with. Raises `SessionNotFound`."""
    from notebooks.history import notebook_of

    runs = registry.runs(owner, name)
    sessions = [each for each in registry.sessions(owner) if each.name == name]
    return await notebook_of(runs, origin_words(sessions[0] if sessions else runs[-1].session))
