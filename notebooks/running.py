"""Running a notebook: its cells one after another in a session's kernel, its outputs saved."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from kernels.execution import CellRequest, first_line
from kernels.kernel import Message
from kernels.recording import Mark, Recording
from kernels.result import RunResult, State, Status
from kernels.steps import Doing, Send
from notebooks.failures import error_of, line_of
from notebooks.notebook import Notebook
from notebooks.reading import Cell

if TYPE_CHECKING:
    from notebooks.outputs import Outputs

#: Seconds between two looks whether there is something to save.
_LOOK = 0.25
_NO_INPUT = "EOF when reading a line"
_WIDGETS = "application/vnd.jupyter.widget-state+json"


class Store(Protocol):
    """Where the results of cells go; see `saving.Saver`."""

    #: What a file beside is named after; sentences on what became of the file; why it could not be
    #: written, or ""; names of the files that have the results.
    run: str
    notes: list[str]
    trouble: str
    saved: tuple[str, ...]

    def result(
        self,
        number: int,
        outputs: list[dict[str, Any]],
        execution_count: int | None,
        times: Mapping[str, str],
    ) -> None:
        """Take what a cell has left so far."""

    def widgets(self, state: Mapping[str, Any] | None) -> None:
        """Take the state of the widgets."""

    def rested(self, now: float) -> bool:
        """Whether the last save was long enough ago for another, `now` being monotonic seconds."""

    def save(self) -> None:
        """Save; may take long, and never raises."""


@dataclass(frozen=True)
class CellRun:
    """What became of a cell: `status` ok, error, timeout, interrupted or died; `allowed`: an error
    that the run goes on after. From `begin` to `end` of the run's recording is its output."""

    number: int
    id: str | None
    status: Status
    seconds: float
    begin: Mark
    end: Mark
    allowed: bool = False


class NotebookRun:
    """The steps of a run (see `kernels.steps.Steps`) that executes the cells `numbers` of a
    notebook and hands what they leave to `store`."""

    ask = False

    def __init__(
        self,
        name: str,
        notebook: Notebook,
        numbers: Collection[int],
        store: Store,
        directory: str = "",
        stdin: str = "",
        allow_errors: bool = False,
        words: Iterable[str] = (),
    ) -> None:
        self.name = self.title = name
        #: What the result says of the notebook besides.
        self.words = list(words)
        #: Names of the files that have the results, once it is over.
        self.saved: tuple[str, ...] = ()
        #: The cells that were executed, in order.
        self.cells: list[CellRun] = []
        #: How many were to be.
        self.total = 0
        cells = notebook.cells
        self._todo = [
            (number, cell)
            for number, cell in ((number, cells[number]) for number in numbers)
            if cell.type == "code" and cell.source.strip() and "skip-execution" not in cell.tags
        ]
        self.total = len(self._todo)
        #: How they are called.
        self.labels = [named(number, cell.id) for number, cell in self._todo]
        self._store: Store | None = store
        # Of a notebook that is run as a whole no widget stays.
        chosen = set(numbers)
        whole = all(cell.type != "code" or n in chosen for n, cell in enumerate(cells))
        self._earlier = None if whole else notebook.metadata.get("widgets")
        self._directory, self._stdin, self._allow_errors = directory, stdin, allow_errors
        self._outputs: Outputs | None = None
        self._send: Send | None = None
        self._current: tuple[int, Cell] | None = None
        self._recording: Recording | None = None
        #: Where the output of the one under way begins.
        self.begin = Mark(0, 0)
        self._since = 0.0
        self._changed: set[int] = set()
        self._silent: set[int] = set()
        self._stopped = ""
        self._saving: asyncio.Task[None] | None = None

    def queued(self, run_id: str) -> None:
        """Note the id that the run has."""
        if self._store is not None:
            self._store.run = run_id

    @property
    def source(self) -> str:
        """The cells' sources, each below a line that names it."""
        parts = (f"# %% {named(number, cell.id)}\n{cell.source}" for number, cell in self._todo)
        return "\n\n".join(parts)

    @property
    def doing(self) -> Doing | None:
        """Which cell is executed."""
        if self._current is None:
            return None
        number, cell = self._current
        seconds, done = time.monotonic() - self._since, len(self.cells)
        words = (
            f"cell {done + 1} of {self.total} ({named(number, cell.id)}): "
            f"{first_line(cell.source)}; {seconds:.0f} s"
        )
        # A cell does not say how far it is: it gets on, ever more slowly.
        return Doing(words, done + seconds / (seconds + 10), self.total)

    def next(self, recording: Recording) -> CellRequest | None:
        """The next cell."""
        if self._stopped or len(self.cells) == self.total:
            return None
        number, cell = self._current = self._todo[len(self.cells)]
        self._recording = recording
        self.begin, self._since = recording.mark, time.monotonic()
        recording.begin_part(f"[{named(number, cell.id)}]")
        first = not self.cells
        return CellRequest(cell.source, self._directory, first, self._stdin if first else "")

    def began(self, request: str, send: Send) -> None:
        """Note whose messages are those of the cell."""
        assert self._current is not None
        self._send = send
        if self._outputs is None:
            from notebooks.outputs import Outputs

            self._outputs = Outputs(send=self._say)
            assert self._store is not None
            saving = self._save_at_times(self._store, self._outputs)
            self._saving = asyncio.create_task(saving)
        number, cell = self._current
        self._outputs.begin(str(number), request)
        self._changed.add(number)
        if "remove-output" in cell.tags:
            self._silent.add(number)

    def _say(self, kind: str, content: Mapping[str, Any]) -> None:
        if self._send is not None:
            self._send(kind, content)

    def receive(self, message: Message) -> None:
        """Take a message of the kernel."""
        if self._outputs is not None:
            self._changed.update(map(int, self._outputs.feed(message)))

    def ended(self, result: RunResult) -> RunResult:
        """A cell is over."""
        assert self._current is not None and self._recording is not None
        number, cell = self._current
        failed = result.status is Status.ERROR
        error = dict(result.error or {})
        if failed and error.get("name") == "SystemExit" and error.get("value") in ("", "0", "None"):
            self._stopped = f"{named(number, cell.id)} ended the run (SystemExit)"
            result = replace(result, status=Status.OK, exit_code=0, error=None)
            failed = False
        allowed = failed and (self._allow_errors or "raises-exception" in cell.tags)
        self.cells.append(
            CellRun(
                number,
                cell.id,
                result.status,
                result.duration,
                self.begin,
                self._recording.mark,
                allowed,
            )
        )
        if self._outputs is not None and (told := error_of(result)) is not None:
            self._outputs.cut_off(str(number), told)
        self._changed.add(number)
        self._current = None
        if allowed:
            return replace(result, status=Status.OK, exit_code=0, error=None)
        if failed:
            self._stopped = f"{named(number, cell.id)} failed"
            line = line_of(self._outputs.of(str(number))) if self._outputs is not None else None
            result = replace(result, error={**error, "file": self.name, "line": line})
            if error.get("name") == "EOFError" and error.get("value") == _NO_INPUT:
                words = (
                    "The cell asked for input and its stdin was at its end; give the answers in "
                    "`stdin`, one line each."
                )
                result = replace(result, explanation=words)
        return result

    async def close(self, result: RunResult) -> RunResult:
        """Save all that is not saved yet, and say what was not run."""
        if self._saving is not None:
            self._saving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._saving
        store, outputs = self._store, self._outputs
        if store is not None and outputs is not None:
            self._hand_over(store, outputs)
            store.widgets(self._with_earlier(outputs.widget_state()))
            self._note_left_out(outputs)
        if store is not None:
            await asyncio.to_thread(store.save)
            self.saved = store.saved
            self.words += [*store.notes, store.trouble] if store.trouble else store.notes
        left = [number for number, _ in self._todo[len(self.cells) :]]
        if left:
            self.words.append(f"Not run: {_numbers(left)}.")
        undone = [cell.number for cell in self.cells[:-1]]
        if undone and result.state is State.LOST:
            self.words.append(f"What {_numbers(undone)} left in variables is gone with the kernel.")
        return result

    def _with_earlier(self, state: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """The state of the widgets, and of those that cells show which were not executed."""
        if state is None or self._earlier is None:
            return state
        with contextlib.suppress(KeyError, TypeError):
            states = {**self._earlier[_WIDGETS]["state"], **state[_WIDGETS]["state"]}
            return {**state, _WIDGETS: {**state[_WIDGETS], "state": states}}
        return state

    def _note_left_out(self, outputs: Outputs) -> None:
        numbers = [cell.number for cell in self.cells if outputs.left_out(str(cell.number))]
        if numbers:
            self.words.append(
                f"Not all output of {_numbers(numbers)} is in the file: there was too much of it."
            )

    def release(self) -> None:
        """Let go what only a running one needs, the notebook with its outputs first."""
        self._outputs = self._send = self._recording = self._current = None
        self._store = self._earlier = self._saving = None
        self._todo = []
        self._changed.clear()

    async def _save_at_times(self, store: Store, outputs: Outputs) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            if self._changed and store.rested(time.monotonic()):
                self._hand_over(store, outputs)
                await asyncio.to_thread(store.save)

    def _hand_over(self, store: Store, outputs: Outputs) -> None:
        """Give what has changed to the store."""
        for number in sorted(self._changed):
            key = str(number)
            shown = [] if number in self._silent else outputs.of(key)
            store.result(number, shown, outputs.count(key), outputs.times(key))
        self._changed.clear()


def named(number: int, ident: str | None) -> str:
    """A cell's name: its number, and its id if it has one."""
    return f"cell {number}" if ident is None else f"cell {number} · {ident}"


def _numbers(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"cell {numbers[0]}"
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"cells {numbers[0]} to {numbers[-1]}"
    shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return f"cells {shown}"
