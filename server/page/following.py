"""What pages know of one run's output, and what they are to be told next."""

from __future__ import annotations

from typing import Any

from kernels.errors import OutputGone
from kernels.recording import Mark
from kernels.run import Run

#: Characters of a run's text, and outputs of it, that are told at once. Of more a page only sees
#: that there is more.
_TEXT, _OUTPUTS = 64 * 1024, 500


class Followed:
    """How much of a run has been told."""

    def __init__(self) -> None:
        self._at = self._clears = self._exchanges = 0
        self._floor = Mark(0, 0)
        self._shown: list[object] = []
        self._view: dict[str, Any] = {}

    @classmethod
    def from_now(cls, run: Run) -> Followed:
        """Whoever listens knows all that there is so far."""
        known = cls()
        recording = run.recording
        known._at, known._clears = recording.length, recording.clears
        known._exchanges, known._floor = recording.exchanges, recording.floor
        known._shown = [place.slot.value for place in recording.places]
        return known

    def is_new(self, view: dict[str, Any]) -> bool:
        """Whether the run's view says something new, but for the time that it has taken."""
        view_without_time = {**view, "seconds": 0}
        old, self._view = self._view, view_without_time
        return old != view_without_time

    def look(self, run: Run, ended: bool, event: dict[str, list[Any]]) -> None:
        """Add what has come to `event`."""
        recording = run.recording
        facts = {"run": run.id, "clears": recording.clears}
        if recording.clears != self._clears:
            # Parts that have begun since lie behind this one.
            floor, self._clears = self._floor, recording.clears
            event["cleared"].append({**facts, "at": floor.at, "outputs": floor.places})
            self._at = min(self._at, floor.at)
            del self._shown[floor.places :]
        self._floor = recording.floor
        self._look_at_outputs(run, ended, facts, event)
        length = recording.length
        if length > self._at:
            at, self._at = self._at, length
            if length - at <= _TEXT:
                try:
                    text = recording.reading().read(at, length)
                except OutputGone:
                    return
                event["text"].append({**facts, "at": at, "text": text})

    def _look_at_outputs(
        self, run: Run, ended: bool, facts: dict[str, Any], event: dict[str, list[Any]]
    ) -> None:
        places, shown = run.recording.places, self._shown
        # What stands for those that are left out counts without being exchanged.
        exchanged = run.recording.exchanges != self._exchanges or (ended and bool(shown))
        self._exchanges = run.recording.exchanges
        if not exchanged and len(places) == len(shown):
            return
        told = 0
        for index in range(0 if exchanged else len(shown), len(places)):
            value = places[index].slot.value
            if index < len(shown):
                if shown[index] is value:
                    continue
                shown[index] = value
            else:
                shown.append(value)
            if told < _OUTPUTS:
                told += 1
                event["outputs"].append({**facts, "n": index + 1, "at": places[index].at})
