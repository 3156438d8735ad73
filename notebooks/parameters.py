"""Parameters of a notebook: a cell with values for its variables, where papermill puts it."""

from __future__ import annotations

import ast
import json
import keyword
import math
import re
from collections.abc import Mapping
from typing import Any

from notebooks.errors import BadParameter
from notebooks.notebook import Notebook
from notebooks.reading import Cell

#: The tag of the cell with the notebook's own values, and of the one that is put after it.
PARAMETERS = "parameters"
INJECTED = "injected-parameters"
#: Levels of lists and dicts in a value.
_DEEPEST = 50
#: What has variables of its own.
_APART = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
#: IPython's own syntax: the rest of a line from the mark on is not Python.
_MAGIC = re.compile(r"^([ \t]*(?:[\w, \t]+=[ \t]*)?)[%!].*$", re.MULTILINE)
#: An assignment, in a cell that is not Python.
_ASSIGNED = re.compile(r"^(\w+)[ \t]*(?::[^=\n]+)?=(?!=)", re.MULTILINE)


def inject(notebook: Notebook, parameters: Mapping[str, Any]) -> list[str]:
    """Put a cell that assigns the parameters after the one tagged `parameters`, or first.

    The cell of an earlier injection is exchanged. Values are what JSON can say, and nan and inf;
    without any parameter nothing is done. Returns sentences on what may be a mistake. Raises
    `BadParameter`, and changes nothing then.
    """
    source = _source(parameters)
    if not parameters:
        return []
    if notebook.version[0] < 4:
        raise BadParameter(
            f"The notebook is of version {notebook.version[0]}, which has no tags for parameters. "
            "Upgrade it with edit_notebook first."
        )
    if notebook.language not in ("python", "ipython"):
        raise BadParameter(
            f"The notebook's language is {notebook.language}, and parameters can be given to "
            "Python notebooks only. Set the values in a cell with edit_notebook."
        )
    own = _tagged(notebook, PARAMETERS)
    warnings = [] if not own else _warnings(notebook.cells[own[0]].source, parameters)
    earlier = _tagged(notebook, INJECTED)
    if earlier:
        if notebook.cells[earlier[0]].type != "code":
            notebook.set_type(earlier[0], "code")
        notebook.replace_source(earlier[0], source)
        notebook.clear_result(earlier[0])
        for number in reversed(earlier[1:]):
            notebook.delete(number)
    else:
        cell = Cell(None, "code", source, {"tags": [INJECTED]})
        notebook.insert(own[0] + 1 if own else 0, cell)
    return warnings


def _tagged(notebook: Notebook, tag: str) -> list[int]:
    return [number for number, cell in enumerate(notebook.cells) if tag in cell.tags]


def _source(parameters: Mapping[str, Any]) -> str:
    lines = ["# Parameters"]
    for name, value in parameters.items():
        if not (isinstance(name, str) and name.isidentifier()) or (
            keyword.iskeyword(name) or name == "__debug__"
        ):
            raise BadParameter(
                f"{_shown(name)} cannot be the name of a parameter; it must be a variable of "
                "Python."
            )
        lines.append(f"{name} = {_literal(name, value)}")
    return "\n".join(lines) + "\n"


def _literal(name: str, value: Any, depth: int = 0) -> str:
    """A value as Python has it."""
    if depth > _DEEPEST:
        raise BadParameter(f"The value of {name} is nested more than {_DEEPEST} levels deep.")
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        # Larger ones may be more than the kernel's Python reads in decimal.
        return int.__repr__(value) if value.bit_length() < 10_000 else hex(value)
    if isinstance(value, float):
        return float.__repr__(value) if math.isfinite(value) else f'float("{value}")'
    if isinstance(value, Mapping):
        items = []
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _not_json(name, key)
            items.append(f"{_text(key)}: {_literal(name, inner, depth + 1)}")
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(name, inner, depth + 1) for inner in value) + "]"
    raise _not_json(name, value)


def _text(text: str) -> str:
    """A text as Python has it, in double quotes and on one line."""
    # Python reads all escapes of JSON, which leaves more characters as they are.
    written = json.dumps(text, ensure_ascii=False)
    if written.isprintable():
        return written
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in written
    )


def _not_json(name: str, value: object) -> BadParameter:
    return BadParameter(
        f"The value of {name} cannot be given: {_shown(value)} is nothing that JSON can say."
    )


def _shown(value: object) -> str:
    words = repr(value)
    return words if len(words) <= 60 else words[:59] + "…"


def _warnings(source: str, parameters: Mapping[str, Any]) -> list[str]:
    """A sentence for all parameters that the cell with the notebook's own values does not have."""
    known = assigned(source)
    strange = [name for name in parameters if name not in known]
    if not strange:
        return []
    names = ", ".join(strange)
    words = "is not a variable" if len(strange) == 1 else "are not variables"
    there = f"; it has {', '.join(sorted(known))}" if known else ""
    return [f"{names} {words} of the cell tagged parameters{there}. It was set all the same."]


def assigned(source: str) -> set[str]:
    """The variables that a cell assigns, outside of functions and classes, as far as the cell can
    be read."""
    plain = _MAGIC.sub(r"\1None", source)
    try:
        waiting: list[ast.AST] = [ast.parse(plain)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(_ASSIGNED.findall(source))
    names: set[str] = set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        waiting += [inner for inner in ast.iter_child_nodes(node) if not isinstance(inner, _APART)]
    return names
