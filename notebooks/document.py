"""Notebook documents. The only user of nbformat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from notebooks.errors import NotANotebook

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
    return None


def upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """A notebook's content in version 4.5, as it is written: long texts as lists of lines.

    Raises `NotANotebook`.
    """
    import nbformat
    from nbformat.v4.rwbase import split_lines

    try:
        node = nbformat.from_dict(dict(content))  # type: ignore[no-untyped-call]
        node = nbformat.convert(node, 4)  # type: ignore[no-untyped-call]
        node = nbformat.v4.upgrade(node, from_version=4, from_minor=node.nbformat_minor)  # type: ignore[no-untyped-call]
    except Exception as error:
        raise NotANotebook(f"It could not be brought to version 4.5: {error}.") from None
    split: dict[str, Any] = split_lines(node)  # type: ignore[no-untyped-call]
    return split


def joined_outputs(outputs: Sequence[Mapping[str, Any]], major: int) -> Sequence[Mapping[str, Any]]:
    """Outputs as a file of version `major` has them, in version 4 and with their texts joined."""
    if major < 4:
        import nbformat
        from nbformat.v4.convert import upgrade_output

        nodes = [
            nbformat.from_dict(_joined_texts(output))  # type: ignore[no-untyped-call]
            for output in outputs
        ]
        return [upgrade_output(node) for node in nodes]  # type: ignore[no-untyped-call]
    return [_mapped(output, _joined) for output in outputs]


def _joined_texts(output: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: "".join(value) if isinstance(value, list) and name != "traceback" else value
        for name, value in output.items()
    }


def split_outputs(outputs: Sequence[Mapping[str, Any]], major: int) -> Sequence[Mapping[str, Any]]:
    """Outputs of version 4 as a file of version `major` has them, long texts as lists of lines."""
    if major < 4:
        from nbformat.v4.convert import downgrade_output

        return [downgrade_output(dict(output)) for output in outputs]  # type: ignore[no-untyped-call]
    return [_mapped(output, _split) for output in outputs]


#: Forms other than text/* that are written line by line.
_LINES = ("application/javascript", "image/svg+xml")


def _split(mime: str, value: Any) -> Any:
    by_line = mime.startswith("text/") or mime in _LINES
    return value.splitlines(True) if by_line and isinstance(value, str) else value


def _joined(mime: str, value: Any) -> Any:
    if mime == "application/json" or mime.endswith("+json") or not isinstance(value, list):
        return value
    return "".join(value) if all(isinstance(line, str) for line in value) else value


def _mapped(output: Mapping[str, Any], change: Callable[[str, Any], Any]) -> dict[str, Any]:
    changed = dict(output)
    if "data" in changed:
        changed["data"] = {mime: change(mime, form) for mime, form in changed["data"].items()}
    if output.get("output_type") == "stream":
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
