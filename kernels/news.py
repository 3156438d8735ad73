"""What the next result of a session has to say besides its own: what has become of it meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kernels.result import RunResult, State
from kernels.verdict import GONE, KEPT


class News:
    """Phrases, and what they tell of the session's variables, until a result has said them."""

    def __init__(self) -> None:
        self._phrases: list[str] = []
        self._lost = False
        self._restored_to: str | None = None

    def add(self, phrase: str, lost: bool = False, restored_to: str | None = None) -> None:
        """Have the next result say it. `lost`: it tells that the variables are gone;
        `restored_to`: that they are as after the run of this id."""
        self._phrases.append(phrase)
        self._lost = self._lost or lost
        self._restored_to = restored_to or self._restored_to

    def clear(self) -> None:
        """Whoever is to know has been told."""
        self._phrases, self._lost, self._restored_to = [], False, None

    def tell(self, result: RunResult, more: Sequence[str] = ()) -> RunResult:
        """The result with all of it, which is told then, and with `more`."""
        notes = dict.fromkeys((*self._phrases, *more, *result.notes))
        lost = self._lost or result.state is State.LOST
        # The later of the two is what they are now.
        restored_to = result.restored_to or self._restored_to
        if lost or restored_to:
            # This run's are kept perhaps, but not those of the runs before it.
            notes.pop(KEPT, None)
        state = State.LOST if lost else State.RESTORED if restored_to else State.KEPT
        self.clear()
        return replace(
            result,
            state=state,
            restored_to=None if lost else restored_to,
            notes=tuple(notes),
        )


def restored(result: RunResult, run_id: str, words: str) -> RunResult:
    """The result of a run with which the variables went, when they are as after the run of that id
    again; `words` say so."""
    notes = tuple(words if note == GONE else note for note in result.notes)
    if words not in notes:
        notes += (words,)
    return replace(result, state=State.RESTORED, restored_to=run_id, notes=notes)
