"""The result of a notebook's run: a line for each cell, and of two cells the whole output."""

from __future__ import annotations

from collections.abc import Sequence

from fastmcp.tools.base import ToolResult

from kernels.result import RunResult, Status
from kernels.run import Run
from notebooks.running import CellRun, NotebookRun
from server import render
from server.document import Document, Faces, of_reading

#: Lines on cells beyond which those of cells without news are counted, but for some at both ends.
_LINES, _ENDS = 250, 100
#: Images that a cell's line names.
_IMAGES = 10


def tool_result(run: Run, result: RunResult, faces: Faces) -> ToolResult:
    """The answer of run_notebook. May have to read files, and to draw. Raises `OutputGone`."""
    steps = run.steps
    assert isinstance(steps, NotebookRun)
    whole = of_reading(run.id, run.recording.reading(), faces)
    before = "\n".join([_title(steps), *_lines(steps.cells, whole)]) + "\n"
    after = "".join(f"{words}\n" for words in (result.explanation, *steps.words) if words)
    room = render.MAX_TEXT - 400 - len(before) - len(after) - len(render.facts_line(result))
    shown = _shown(steps.cells)
    spans = [(whole.offset(cell.begin), whole.offset(cell.end)) for cell in shown]
    blocks, truncated = render.ranges(whole, run.id, spans, room, faces, before, after)
    blocks.append(render.text_block(render.facts_line(result)))
    facts = render.facts(result, truncated or len(shown) < len(steps.cells))
    return ToolResult(content=blocks, meta={render.META_KEY: facts}, is_error=result.failed)


def _shown(cells: Sequence[CellRun]) -> list[CellRun]:
    """The cells whose output is shown: one that failed, that which ended the run before one that
    did not, and the last."""
    failed = sorted((c for c in cells if c.status is not Status.OK), key=lambda c: c.allowed)
    return list(dict.fromkeys((*failed[:1], *cells[-1:])))


def _title(steps: NotebookRun) -> str:
    if not steps.total:
        return f"{steps.name}: there was no cell to run."
    others = [name for name in steps.saved if name != steps.name]
    where = f" Saved in {', '.join(others)}." if others else " Saved." if steps.saved else ""
    return f"{steps.name}: {len(steps.cells)} of {steps.total} cells run.{where}"


def _lines(cells: Sequence[CellRun], whole: Document) -> list[str]:
    lines = [_line(cell, whole) for cell in cells]
    if len(cells) <= _LINES:
        return lines
    kept: list[str] = []
    passed = 0
    for number, (cell, line) in enumerate(zip(cells, lines, strict=True)):
        at_an_end = number < _ENDS or number >= len(cells) - _ENDS
        if cell.status is Status.OK and not at_an_end:
            passed += 1
            continue
        kept += [f"… {passed} cells more, all ok"] if passed else []
        passed = 0
        kept.append(line)
    return kept


def _line(cell: CellRun, whole: Document) -> str:
    name = str(cell.number) if cell.id is None else f"{cell.number} {cell.id}"
    words = f"{name} {cell.status} {cell.seconds:.2f} s"
    words += " (allowed)" if cell.allowed else ""
    numbers = [item.image for item in whole.images_between(cell.begin, cell.end)]
    if numbers:
        more = ", …" if len(numbers) > _IMAGES else ""
        noun = "image" if len(numbers) == 1 else "images"
        words += f" · {noun} {', '.join(map(str, numbers[:_IMAGES]))}{more}"
    return words
