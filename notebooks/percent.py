"""Scripts with `# %%` cells, as notebooks. The only user of jupytext here."""

from __future__ import annotations

import re
import sys

from notebooks.errors import NotANotebook
from notebooks.notebook import Notebook

_MARK = re.compile(r"^# ?%%", re.MULTILINE)


def notebook_of(source: bytes) -> Notebook:
    """The notebook that a script stands for. Raises `NotANotebook`."""
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotANotebook(f"It is not UTF-8 text, from byte {error.start} on.") from None
    if not _MARK.search(text):
        raise NotANotebook("It has no `# %%` cells; run it with run_python, as a script.")
    try:
        import jupytext  # type: ignore[import-untyped]
    except ImportError:
        raise NotANotebook(
            f"To run the `# %%` cells of a script, the server's Python {sys.executable} needs "
            "jupytext. Install it there with pip or uv; the extra `export` has it, too."
        ) from None
    notebook = jupytext.reads(text, fmt="py:percent")
    return Notebook.parse(jupytext.writes(notebook, fmt="ipynb").encode())


def is_of_a_script(notebook: Notebook) -> bool:
    """Whether a notebook was made from a script, so that another may take its place."""
    made = notebook.metadata.get("jupytext")
    # Notebooks that jupytext keeps equal to another file say in which formats.
    return isinstance(made, dict) and "formats" not in made
