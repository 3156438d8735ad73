"""All that was run in a session, as a notebook that shows what happened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from kernels.errors import KernelError, OutputGone
from kernels.outputs import Display, Error, Omitted, Output, Text
from kernels.result import RunResult, Status
from kernels.run import Run
from notebooks.document import Cell, code_cell, dumps, markdown_cell

_NONE: Mapping[str, str] = {}


async def notebook_of(runs: Iterable[Run], words: Mapping[str, str] = _NONE) -> str:
    """The notebook's text: a cell for each run, with its output, times, and what became of it.

    `words`: Markdown for a cell of its own after the run of that id; of "": above them all. Outputs
    that are no longer kept are named so. A run under way has none yet.
    """
    cells = [markdown_cell("before", words[""])] if words.get("") else []
    for run in runs:
        cells.append(await _cell(run))
        if run.id in words:
            cells.append(markdown_cell(f"after-{run.id}", words[run.id]))
    return dumps(cells)


async def _cell(run: Run) -> Cell:
    facts: dict[str, Any] = {"run_id": run.id, "title": run.title, "status": str(run.status)}
    try:
        source = run.source
    except OutputGone:
        return code_cell(f"run-{run.id}", f"# {run.title}", [_stream("stdout", _GONE)], facts)
    if not run.done.done():
        return code_cell(f"run-{run.id}", source, [], facts)
    try:
        result = await run.result()
    except KernelError as error:
        outputs = [_stream("stderr", f"{error}\n")]
        return code_cell(f"run-{run.id}", source, outputs, facts)
    facts |= {
        "exit_code": result.exit_code,
        "duration_s": round(result.duration, 4),
        "state": str(result.state),
    }
    if result.restored_to is not None:
        facts["restored_to"] = result.restored_to
    outputs = [*_outputs(result)]
    count = result.execution_count
    return code_cell(f"run-{run.id}", source, outputs, facts, count, _times(run, result))


_GONE = "[its code and output are no longer kept]\n"


def _times(run: Run, result: RunResult) -> dict[str, str]:
    """When it began and ended, under the names that JupyterLab gives them."""
    if run.began is None:
        return {}
    began, ended = (
        datetime.fromtimestamp(seconds, UTC).isoformat()
        for seconds in (run.began, run.began + result.duration)
    )
    return {"iopub.execute_input": began, "shell.execute_reply": ended}


def _outputs(result: RunResult) -> Iterator[dict[str, Any]]:
    if result.late.strip():
        yield _stream("stdout", f"[from a thread of an earlier run]\n{result.late}")
    for output in result.outputs:
        yield _output(output, result.execution_count)
    if result.status not in (Status.OK, Status.ERROR):
        words = " · ".join((str(result.status), *result.notes))
        yield _stream("stderr", f"[{words}]\n{result.explanation}")


def _output(output: Output, count: int | None) -> dict[str, Any]:
    match output:
        case Text(stream, text):
            return _stream(stream, text)
        case Omitted():
            return _stream("stdout", f"\n{output.words}\n")
        case Error(name, value, traceback):
            lines = traceback.splitlines()
            return {"output_type": "error", "ename": name, "evalue": value, "traceback": lines}
        case Display(data, metadata, is_result):
            try:
                shown = {"data": dict(data), "metadata": dict(metadata)}
            except OutputGone:
                return _stream("stdout", "[a display that is no longer kept]\n")
            if is_result:
                return {"output_type": "execute_result", "execution_count": count, **shown}
            return {"output_type": "display_data", **shown}


def _stream(name: str, text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}
