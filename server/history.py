"""What was run in a session, as a notebook."""

from __future__ import annotations

from kernels.registry import Registry
from server.checkpoints import origin_words


async def history(registry: Registry, owner: str, name: str) -> str:
    """All that was run in the session of that name, as the text of a notebook, with where its
    variables are from that no run has made: another session, an earlier run. Raises
    `SessionNotFound`."""
    from notebooks.history import notebook_of

    runs = registry.runs(owner, name)
    sessions = [each for each in registry.sessions(owner) if each.name == name]
    session = sessions[0] if sessions else runs[-1].session
    words = {run_id: f"Here {back.words}." for run_id, back in session.rewinds.items()}
    return await notebook_of(runs, {"": origin_words(session), **words})
