"""Notebook documents. The only user of nbformat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: A cell as nbformat 4.5 describes it.
Cell = dict[str, Any]

#: Whose entry in a cell's metadata is ours.
METADATA_KEY = "rmi-agent"


def code_cell(
    ident: str,
    source: str,
    outputs: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    execution_count: int | None = None,
    times: Mapping[str, str] | None = None,
) -> Cell:
    """A code cell that was executed; `facts` are kept under our key in its metadata, `times`
    where JupyterLab looks for them."""
    metadata: dict[str, Any] = {METADATA_KEY: dict(facts)}
    if times:
        metadata["execution"] = dict(times)
    return {
        "cell_type": "code",
        "id": ident,
        "metadata": metadata,
        "source": source,
        "execution_count": execution_count,
        "outputs": [dict(output) for output in outputs],
    }


def dumps(cells: Sequence[Cell]) -> str:
    """The text of a Python notebook with these cells."""
    # Slow to import, and seldom needed.
    import nbformat

    metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python"}
        | {"name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook = {"cells": [*cells], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    node = nbformat.from_dict(notebook)  # type: ignore[no-untyped-call]
    text: str = nbformat.writes(node)  # type: ignore[no-untyped-call]
    # A lone surrogate cannot be written to a file.
    return text.encode("utf-8", "backslashreplace").decode()
