"""Saving what a run leaves in its notebook, without ever writing over what others have saved."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from notebooks.errors import NotANotebook, NotebookError
from notebooks.merging import places
from notebooks.notebook import Notebook
from notebooks.storage import Conflict, NotebookFile, Stamp, Unusable

#: How often others may save while one save of ours is under way.
_ATTEMPTS = 10
#: Seconds between two saves, and how many times as long as the last one took.
_BETWEEN, _SHARE = 1.0, 10
#: Bytes of a file name, which may have 255 at most.
_LONGEST_NAME = 240


@dataclass(frozen=True)
class _Result:
    outputs: list[dict[str, Any]]
    execution_count: int | None
    times: Mapping[str, str]


class Saver:
    """Where the results of a run's cells go: into its notebook's file, by `save`.

    If somebody else has saved the file meanwhile, the results are put into what they have saved:
    into those cells that are there as they were run. If that cannot be for all of them, or not at
    all, the whole notebook as it was run is saved beside. `notebook` is the saver's own from now
    on; numbers of cells are always those that it has now. `stamp`: of the file as it was read;
    None: it is to be a new one. `run`: what a file beside is named after.

    `save` is to be called in a thread, as often as it has `rested` and at the end; calls wait for
    each other. All else returns at once and may be called meanwhile.
    """

    def __init__(
        self, file: NotebookFile, notebook: Notebook, stamp: Stamp | None, run: str = ""
    ) -> None:
        self.run = run
        #: Sentences on what became of the file, by the last save.
        self.notes: list[str] = []
        #: Why the last save failed, or "". What it was to save is kept for the next one.
        self.trouble = ""
        #: Names of the files that the results are in, as far as they are saved.
        self.saved: tuple[str, ...] = ()
        self._file, self._stamp = file, stamp
        self._ran = self._notebook = notebook
        #: Where the cells that were run are in `_notebook`; None: they are its own.
        self._places: dict[int, int] | None = None
        self._results: dict[int, _Result] = {}
        self._widgets: Mapping[str, Any] | None = None
        self._beside: tuple[NotebookFile, Stamp] | None = None
        self._beside_is_old = True
        #: Why something is beside, and whether nothing is where it belongs.
        self._reason = self._problem = ""
        # What is handed over while a save is under way waits in `_new`, under `_handing`.
        self._saving, self._handing = threading.Lock(), threading.Lock()
        self._new: dict[int, _Result] = {}
        self._unsaved = False
        self._last = time.monotonic()
        self._seconds = 0.0

    @property
    def notebook(self) -> Notebook:
        """The notebook as it was saved last, with the changes of others."""
        return self._notebook

    def result(
        self,
        number: int,
        outputs: list[dict[str, Any]],
        execution_count: int | None,
        times: Mapping[str, str],
    ) -> None:
        """Take what a cell has left so far, for `Notebook.set_result` at the next save."""
        with self._handing:
            self._new[number] = _Result(outputs, execution_count, times)
            self._unsaved = True

    def widgets(self, state: Mapping[str, Any] | None) -> None:
        """Take the state of the widgets, for the notebook's metadata; None: there are none, and
        what stands there stays."""
        if state is not None:
            with self._handing:
                self._widgets = state
                self._unsaved = True

    def rested(self, now: float) -> bool:
        """Whether the last save, or the reading of the notebook, was long enough ago for another.

        `now`: monotonic seconds.
        """
        return now - self._last >= max(_BETWEEN, _SHARE * self._seconds)

    def save(self) -> None:
        """Save what is unsaved, and put back into the file what others took out of it. Never
        raises: `trouble` tells."""
        with self._saving:
            began = time.monotonic()
            try:
                self._save()
                self.trouble = ""
            except NotebookError as error:
                self._fail(str(error))
            except Exception as error:
                # Whatever it is, the run goes on: its results are still here.
                kind = type(error).__name__
                self._fail(f"{self._file.name!r} could not be saved: {kind}: {error}.")
            self._last = time.monotonic()
            self._seconds = self._last - began

    def _fail(self, trouble: str) -> None:
        self.trouble = trouble
        with self._handing:
            self._unsaved = True

    def _save(self) -> None:
        new = self._take()
        if not self._results and self._widgets is None:
            return
        if not new and not self.trouble and not self._problem and self._is_as_saved():
            return
        self._problem = self._put()
        lost = self._lost()
        self._reason = self._problem or (self._words_for(lost) if lost else "")
        try:
            # Once it is there, it is kept up with the run.
            if self._reason or self._beside is not None:
                self._save_beside()
        finally:
            self._tell(in_place=not self._problem and self._has_place())

    def _take(self) -> bool:
        """Put what was handed over into the notebook. Returns whether there was anything."""
        with self._handing:
            new, self._new = self._new, {}
            widgets, changed, self._unsaved = self._widgets, self._unsaved, False
        self._results.update(new)
        self._beside_is_old |= changed
        for number, result in new.items():
            _set(self._ran, number, result)
            if self._places is not None and number in self._places:
                _set(self._notebook, self._places[number], result)
        if changed and widgets is not None:
            _set_widgets(self._ran, widgets)
            if self._has_place():
                _set_widgets(self._notebook, widgets)
        return changed

    def _is_as_saved(self) -> bool:
        try:
            return self._file.stamp() == self._stamp
        except Unusable:
            return False

    def _put(self) -> str:
        """Have the results in the file, as far as they have a place. Returns why they are not."""
        for _ in range(_ATTEMPTS):
            try:
                if self._has_place():
                    self._stamp = self._file.write(self._notebook.pieces(), self._stamp)
                elif not self._is_as_saved():
                    raise Conflict("")
                return ""
            except Conflict:
                try:
                    self._merge()
                except NotANotebook as error:
                    return (
                        f"{self._file.name!r} was changed by somebody else during the run and "
                        f"cannot be read as a notebook now. {error}"
                    )
                except Unusable as error:
                    return self._words_if_gone() or str(error)
        return f"{self._file.name!r} is being changed by somebody else all the time."

    def _words_if_gone(self) -> str:
        try:
            gone = self._file.stamp() is None
        except Unusable:
            return ""
        return f"{self._file.name!r} was deleted or renamed during the run." if gone else ""

    def _merge(self) -> None:
        """Go on with what somebody else has saved, and the results put into it."""
        data, stamp = self._file.read()
        theirs = Notebook.parse(data)
        self._places = places(self._ran.cells, theirs.cells)
        self._notebook, self._stamp = theirs, stamp
        for number, result in self._results.items():
            if number in self._places:
                _set(theirs, self._places[number], result)
        if self._widgets is not None and self._has_place():
            _set_widgets(theirs, self._widgets)

    def _has_place(self) -> bool:
        return self._places is None or any(number in self._places for number in self._results)

    def _lost(self) -> list[int]:
        known = self._places
        return [] if known is None else sorted(n for n in self._results if n not in known)

    # -- beside

    def _save_beside(self) -> None:
        """Have the notebook as it was run beside the file, each time under the same name."""
        if self._beside is not None and not self._beside_is_old:
            return
        if self._beside is not None:
            file, stamp = self._beside
            with contextlib.suppress(Conflict):
                self._written_beside(file, stamp)
                return
            # Somebody has changed our copy, which is theirs now.
            self._beside = None
        for name in self._names():
            with contextlib.suppress(Conflict):
                self._written_beside(self._file.sibling(name), None)
                return
        raise Unusable(
            f"The outputs could not be saved beside {self._file.name!r}: too many such files."
        )

    def _written_beside(self, file: NotebookFile, expected: Stamp | None) -> None:
        self._beside = file, file.write(self._ran.pieces(), expected)
        self._beside_is_old = False

    def _names(self) -> Iterator[str]:
        stem, suffix = os.path.splitext(PurePath(self._file.path).name)
        label = f"outputs of run {self.run}" if self.run else "outputs"
        for number in range(1, 100):
            rest = f" ({label})" + (f" {number}" if number > 1 else "") + suffix
            while len(os.fsencode(stem + rest)) > _LONGEST_NAME:
                stem = stem[:-1]
            yield stem + rest

    # -- what is told

    def _words_for(self, lost: list[int]) -> str:
        shown = ", ".join(map(str, lost[:10])) + (", …" if len(lost) > 10 else "")
        cells, them = ("Cell", "is") if len(lost) == 1 else ("Cells", "are")
        return (
            f"{cells} {shown} {them} not in {self._file.name!r} as executed: somebody else has "
            "saved it otherwise during the run."
        )

    def _tell(self, in_place: bool) -> None:
        self.notes = []
        if in_place and self._places is not None:
            self.notes.append(
                f"{self._file.name!r} was changed by somebody else during the run; that is kept, "
                "and the outputs were put into it."
            )
        names = [self._file.name] if in_place else []
        if self._beside is not None:
            name = self._beside[0].name
            names.append(name)
            reason = f"{self._reason} So the" if self._reason else "The"
            self.notes.append(f"{reason} notebook as it was run, with its outputs, is in {name!r}.")
        self.saved = tuple(names)


def _set(notebook: Notebook, number: int, result: _Result) -> None:
    notebook.set_result(number, result.outputs, result.execution_count, result.times)


def _set_widgets(notebook: Notebook, state: Mapping[str, Any]) -> None:
    if notebook.metadata.get("widgets") != state:
        notebook.set_metadata("widgets", state)
