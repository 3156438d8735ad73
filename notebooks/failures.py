"""What a notebook's file says of a cell that failed. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kernels.result import RunResult, Status
from kernels.transcript import clean

#: Errors of cells that their kernel did not end: it died, or their time was up, or they were
#: stopped. Under the names that other programs which execute notebooks give them.
_NAMES = {
    Status.DIED: "DeadKernelError",
    Status.TIMEOUT: "CellTimeoutError",
    Status.INTERRUPTED: "KeyboardInterrupt",
}
_LINE = re.compile(r"(?:Cell In\s*\[\d+\]|<ipython-input-[^>]*>)[^\n]*?line (\d+)")


def error_of(result: RunResult) -> dict[str, Any] | None:
    """The content of an error that says why the execution of a cell was cut off; None: it was
    not."""
    name = _NAMES.get(result.status)
    if name is None:
        return None
    words = result.explanation.splitlines()
    if result.status is not Status.DIED:
        # That its time was up, or that it was stopped, comes first.
        words = [*result.notes[:1], *words]
    value, *more = words or [""]
    return {"ename": name, "evalue": value, "traceback": [f"{name}: {value}", *more]}


def line_of(outputs: Sequence[Mapping[str, Any]]) -> int | None:
    """The line of a cell in which the error among its outputs is."""
    found = None
    for output in outputs:
        if output.get("output_type") == "error":
            for match in _LINE.finditer(clean("\n".join(output.get("traceback") or ()))):
                found = found or int(match[1])
    return found
