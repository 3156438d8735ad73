"""Notebook documents. The only user of nbformat."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from notebooks.errors import NotANotebook
from notebooks.layout import Lines

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


def markdown_cell(ident: str, source: str) -> Cell:
    """A cell of Markdown."""
    return {"cell_type": "markdown", "id": ident, "metadata": {}, "source": source}


def problem(content: Mapping[str, Any]) -> str | None:
    """What is wrong with a notebook's content by the schema of its version, in a few words."""
    import nbformat

    try:
        nbformat.validate(dict(content))
    except nbformat.ValidationError as error:
        where = "".join(f"[{part!r}]" for part in getattr(error, "path", ()) or ())
        words = str(getattr(error, "message", error)).strip().partition("\n")[0]
        words = words if len(words) <= 200 else words[:199] + "…"
        return f"{words} (at {where})" if where else words
    except Exception as error:
        # It stumbles over some versions that there never were, as 3.1.
        return f"nothing is known of its version ({type(error).__name__})"
    return None


def upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a notebook of version 3 in version 4.5, as it is written: long texts as lists
    of lines. Raises `NotANotebook`.
    """
    import nbformat
    from nbformat.v4.rwbase import split_lines, strip_transient

    try:
        node = nbformat.from_dict(_complete(content))  # type: ignore[no-untyped-call]
        node = nbformat.convert(node, 4)  # type: ignore[no-untyped-call]
        for cell in node.cells:
            for output in cell.get("outputs", ()):
                _parse_json(output)
        split: dict[str, Any] = split_lines(strip_transient(node))  # type: ignore[no-untyped-call]
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        raise NotANotebook(
            f"It could not be brought to version 4.5 ({words}). Open and save it in Jupyter."
        ) from None
    return split


def _complete(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a notebook of version 3 with all that its upgrade takes for granted."""
    sheets = []
    for sheet in content["worksheets"]:
        cells = []
        for cell in sheet.get("cells", []):
            if cell["cell_type"] == "code":
                code = {"input": "", "outputs": []} | cell
                code["input"] = joined_lines(code["input"])
                code["outputs"] = [_joined_texts(output) for output in code["outputs"]]
                cells.append(code)
            else:
                cells.append({**cell, "source": joined_lines(cell.get("source", ""))})
        sheets.append({**sheet, "cells": cells})
    return {"metadata": {}, **content, "worksheets": sheets}


#: Forms of an output that version 3 writes line by line, under the names that it has for them.
_LINES_3 = ("text", "html", "svg", "latex", "javascript", "json")


def joined_lines(value: Any) -> str:
    """A text of version 3, in which the ends of lines may be missing in a list of them."""
    if not isinstance(value, list):
        return value if isinstance(value, str) else ""
    # It was split wherever Python sees the end of a line.
    with_ends = value and len(f"{value[0]}.".splitlines()) > 1
    return ("" if with_ends else "\n").join(value)


def _joined_texts(output: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: joined_lines(value) if name in _LINES_3 and _are_texts(value) else value
        for name, value in output.items()
    }


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def joined_outputs(outputs: Sequence[Mapping[str, Any]], major: int) -> Sequence[Mapping[str, Any]]:
    """Outputs as a file of version `major` has them, in version 4 and with their texts joined."""
    if major < 4:
        return [_upgraded_output(_joined_texts(output)) for output in outputs]
    return [_mapped(output, _joined) for output in outputs]


def _upgraded_output(output: dict[str, Any]) -> Mapping[str, Any]:
    import nbformat
    from nbformat.v4.convert import upgrade_output

    try:
        node = nbformat.from_dict(output)  # type: ignore[no-untyped-call]
        upgraded: dict[str, Any] = upgrade_output(node)  # type: ignore[no-untyped-call]
        _parse_json(upgraded)
    except (AttributeError, KeyError, TypeError, ValueError):
        # It breaks the schema; what it is can still be seen.
        return output
    return upgraded


def _parse_json(output: dict[str, Any]) -> None:
    """Make values of the JSON texts that version 3 has, which nbformat means to do and does not."""
    data = output.get("data", {})
    if isinstance(written := data.get("application/json"), str):
        data["application/json"] = json.loads(written)


def split_outputs(outputs: Sequence[Mapping[str, Any]], major: int) -> Sequence[Mapping[str, Any]]:
    """Outputs of version 4 as a file of version `major` has them, long texts as lists of lines."""
    if major < 4:
        return [_downgraded_output(output) for output in outputs]
    return [_mapped(output, _split) for output in outputs]


def _downgraded_output(output: Mapping[str, Any]) -> dict[str, Any]:
    from nbformat.v4.convert import downgrade_output, from_mime_key

    copied = dict(output)
    if "data" in copied:
        copied["data"] = dict(copied["data"])
    older: dict[str, Any] = downgrade_output(copied)  # type: ignore[no-untyped-call]
    if older.get("output_type") == "pyout" and older.get("prompt_number") is None:
        older["prompt_number"] = 0
    # Forms for which version 3 has no name of its own keep theirs, if they are text.
    for mime, form in (output.get("data") or {}).items():
        known = from_mime_key({mime: form})  # type: ignore[no-untyped-call]
        if isinstance(form, str) and not known:
            older[mime] = form
    return {
        name: value.splitlines(True) if name in _LINES_3 and isinstance(value, str) else value
        for name, value in older.items()
    }


#: Forms other than text/* that are written line by line.
_LINES = ("application/javascript", "image/svg+xml")


def _split(mime: str, value: Any) -> Any:
    by_line = mime.startswith("text/") or mime in _LINES
    return Lines(value) if by_line and isinstance(value, str) else value


def _joined(mime: str, value: Any) -> Any:
    if mime == "application/json" or mime.endswith("+json") or not _are_texts(value):
        return value
    return "".join(value)


def _mapped(output: Mapping[str, Any], change: Callable[[str, Any], Any]) -> dict[str, Any]:
    """An output with its forms or its text changed, where they are what they should be."""
    changed = dict(output)
    if isinstance(data := output.get("data"), Mapping):
        changed["data"] = {mime: change(mime, form) for mime, form in data.items()}
    if output.get("output_type") == "stream" and "text" in output:
        changed["text"] = change("text/plain", output["text"])
    return changed


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
