"""Checkpoints are the first to go when memory is short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from kernels import memory
from kernels.checkpointing import is_too_dear
from kernels.keeping import SHORT, Keeper

#: Seconds between two looks.
_LOOK = 1.0


async def watch(keepers: Callable[[], Iterable[Keeper]]) -> None:
    """Give up, for ever, those that cost too much."""
    while True:
        await asyncio.sleep(_LOOK)
        await look(keepers())


async def look(keepers: Iterable[Keeper]) -> None:
    """Give up those that cost too much: each that has a large part of the memory that is left, and
    while too little is left for programs, whatever they cost, the dearest first. But for those that
    are just needed."""
    keeping = [keeper for keeper in keepers if keeper.facts is not None]
    if not keeping:
        return
    for keeper in keeping:
        await keeper.measure()
    for keeper in sorted(keeping, key=lambda keeper: -keeper.cost):
        cost, (left, _) = keeper.cost, memory.left()
        if not keeper.is_spare:
            continue
        if memory.is_short():
            await keeper.give_up(SHORT)
        elif is_too_dear(cost, left):
            await keeper.give_up(f"it had grown to {cost / 1e6:.0f} MB")
        else:
            # The others are cheaper.
            return
