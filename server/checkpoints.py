"""What users are told of checkpoints, and what they have done with them."""

from __future__ import annotations

from typing import Any

from kernels.keeping import NOT_YET
from kernels.registry import Registry
from kernels.session import Session
from kernels.transcript import clean


async def rewind(registry: Registry, owner: str, name: str) -> str:
    """Have a session go back to its checkpoint; a sentence or two that tell what has become of it.
    Raises as `Registry.rewind`."""
    found = await registry.rewind(owner, name)
    words = (
        f"Session {name!r} is back to what it was after run {found.run_id}, "
        f"{span(found.age_s)} ago; files, databases and the network are not undone."
    )
    warnings = clean(", ".join(found.warnings))
    return f"{words} Not restored: {warnings}." if warnings else words


async def branch(registry: Registry, owner: str, name: str, new_name: str) -> str:
    """Have a second session with the same state; a sentence or two that tell of it. Raises as
    `Registry.branch`."""
    session = await registry.branch(owner, name, new_name)
    checkpoint, origin = session.checkpoint, session.origin
    after = f" after run {origin.run_id}" if origin is not None else ""
    warnings = clean(", ".join(checkpoint.warnings)) if checkpoint is not None else ""
    words = (
        f"Session {new_name!r} has the variables of session {name!r}{after}. Both go on apart, "
        "with the same files, databases and network."
    )
    return f"{words} Shared, or missing in the new one: {warnings}." if warnings else words


def reasons(session: Session) -> list[str]:
    """Why it has no checkpoint, or no newer one, without those that time will mend."""
    return [clean(reason) for reason in session.no_checkpoint if reason not in NOT_YET]


def fact(session: Session) -> str:
    """Its checkpoint in a few words, or why it has none; "" where there is nothing to be said.
    What it costs is what was measured last."""
    why = "; ".join(reasons(session))
    checkpoint = session.checkpoint
    if checkpoint is None:
        return f"no checkpoint: {why}" if why else ""
    words = [f"checkpoint after run {checkpoint.run_id}", f"{span(checkpoint.age_s)} ago"]
    if cost := session.keeper.cost:
        words.append("under 1 MB" if cost < 500_000 else f"{cost / 1e6:.0f} MB")
    return ", ".join(words) + (f", no newer one: {why}" if why else "")


def facts(session: Session) -> dict[str, Any]:
    """The same for machines, with all reasons; `memory_mb` is None before it is measured."""
    checkpoint, cost = session.checkpoint, session.keeper.cost
    return {
        "checkpoint": None
        if checkpoint is None
        else {
            "run_id": checkpoint.run_id,
            "age_s": round(checkpoint.age_s, 1),
            "memory_mb": round(cost / 1e6, 1) if cost else None,
            "warnings": [clean(warning) for warning in checkpoint.warnings],
        },
        "no_checkpoint": [clean(reason) for reason in session.no_checkpoint],
    }


def origin_words(session: Session) -> str:
    """A sentence on where its state is from; "" if it has begun with nothing."""
    origin = session.origin
    if origin is None:
        return ""
    return (
        f"Branched from session {origin.session!r} after run {origin.run_id}, whose variables it "
        "began with."
    )


def span(seconds: float) -> str:
    """A time in its largest unit alone."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
