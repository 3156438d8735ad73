"""The memory that the kernels of some sessions take, measured now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kernels.memory import of_families
from kernels.session import Session

#: Seconds between two measurements, of the time of which they take this part at most.
_PAUSE, _PART = 2.0, 0.003


class Weighing:
    """What was measured last."""

    def __init__(self) -> None:
        self._found: dict[int, int | None] = {}
        self._measuring: asyncio.Task[None] | None = None
        self._next = 0.0

    def of(self, session: Session) -> int | None:
        """Bytes; None where that is not known."""
        return self._found.get(id(session)) if session.kernel_lives else None

    def measure(self, sessions: Sequence[Session]) -> None:
        """Begin to measure, in a thread, if it is time."""
        if self._measuring is None and asyncio.get_running_loop().time() >= self._next:
            pids = {id(each): each.pid for each in sessions if each.kernel_lives and each.pid}
            self._measuring = asyncio.create_task(self._measure(pids))

    async def _measure(self, pids: dict[int, int]) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            found = await asyncio.to_thread(of_families, pids.values())
        finally:
            self._measuring = None
            self._next = begun + max(_PAUSE, (loop.time() - begun) / _PART)
        # Small changes are no news.
        self._found = {
            key: old if _alike(old := self._found.get(key), new := found.get(pid)) else new
            for key, pid in pids.items()
        }


def _alike(old: int | None, new: int | None) -> bool:
    return old is not None and new is not None and abs(old - new) < max(1_000_000, old // 50)
