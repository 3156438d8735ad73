"""Sessions that have ended, for the next one of the same name to say so."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

#: Ended sessions remembered.
_REMEMBERED = 1000


@dataclass(frozen=True)
class Ended:
    """How a session ended, and whether it took variables with it that nobody was told of."""

    how: str
    lost: bool = False

    @property
    def news(self) -> str:
        """What the first result of the next one says."""
        return f"new session: the earlier one of this name {self.how}"


class Memory:
    """The last end of each session, by its owner and name. The oldest are forgotten."""

    def __init__(self) -> None:
        self._ended: OrderedDict[tuple[str, str], Ended] = OrderedDict()

    def add(self, key: tuple[str, str], ended: Ended) -> None:
        """Remember it."""
        self._ended[key] = ended
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    def take(self, key: tuple[str, str]) -> Ended | None:
        """The end of the session of that name, which is forgotten now."""
        return self._ended.pop(key, None)
