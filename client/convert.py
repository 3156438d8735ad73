"""A notebook as a page of HTML or as a Python script, without a server.

The packages that this takes are an extra of ours, so they are loaded when they are needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

#: What a notebook can become, and the suffix of such files.
KINDS = ("html", "py")


class ConvertError(Exception):
    """A notebook cannot be converted. The text is one sentence for the user."""


def convert(source: Path, kind: str, target: Path | None = None, overwrite: bool = False) -> Path:
    """Write the notebook `source` as `kind` (see `KINDS`) and return the file's path.

    Without a `target` the file stands beside the notebook. It is written whole or not at all,
    over an existing one only with `overwrite`. Raises `ConvertError`.
    """
    with _told(source):
        data = source.read_bytes()
    path = source.with_suffix(f".{kind}") if target is None else target
    with _told(path):
        old = _old(path)
        if old is not None and source.samefile(path):
            raise ConvertError(f"{path} is the notebook itself; -o names another file.")
    if old is not None and not overwrite:
        raise ConvertError(f"{path} exists already; --overwrite replaces it, -o names another.")
    # Not every character that JSON can name is one that a file can hold.
    text = _converted(data, source, kind).encode("utf-8", "replace")
    with _told(path):
        _write(Path(os.path.realpath(path)), text, old)
    return path


def _converted(data: bytes, source: Path, kind: str) -> str:
    try:
        # What else is wrong with a notebook is no reason to say more than the result shows.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            notebook = _notebook(data, source)
            return _html(notebook, source) if kind == "html" else _script(notebook, source)
    except _Missing as error:
        raise ConvertError(
            f"Converting to {kind} takes {error}, which {sys.executable} does not have. Install it "
            f"there with pip or uv, as `{error}`; the extra `export` has it, too"
        ) from None
    except (ConvertError, MemoryError):
        raise
    except Exception as error:  # the libraries raise whatever a malformed cell leads to
        reason = str(error).strip().partition("\n")[0][:300] or "it is malformed"
        raise ConvertError(
            f"{source} cannot be converted to {kind}: {type(error).__name__}: {reason}"
        ) from error


def _notebook(data: bytes, source: Path) -> Any:
    """The notebook in the newest form of the format."""
    try:
        text = data.decode("utf-8-sig")
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ConvertError(f"{source} is no notebook: it is not JSON.") from None
    if not isinstance(found, dict) or not ({"cells", "worksheets"} & found.keys()):
        raise ConvertError(f"{source} is no notebook: it has no cells.")
    return _load("nbformat").reads(text, as_version=4)


def _html(notebook: Any, source: Path) -> str:
    exporters = _load("nbconvert.exporters")
    return str(exporters.HTMLExporter().from_notebook_node(notebook, _resources(source))[0])


def _script(notebook: Any, source: Path) -> str:
    metadata = notebook.metadata
    language = metadata.get("language_info", {}).get("name") or metadata.get("kernelspec", {}).get(
        "language"
    )
    if language and str(language).lower() not in ("python", "ipython"):
        raise ConvertError(f"{source} is written in {language}; only Python can become a .py file.")
    with contextlib.suppress(_Missing):
        return str(_load("jupytext").writes(notebook, fmt="py:percent"))
    exporters = _load("nbconvert.exporters")
    return str(exporters.PythonExporter().from_notebook_node(notebook, _resources(source))[0])


def _resources(source: Path) -> dict[str, Any]:
    """What the exporters want to know of the file: the name becomes the page's title."""
    return {"metadata": {"name": source.stem, "path": str(source.absolute().parent)}}


class _Missing(Exception):
    """A package, its name being the text, is not installed."""


def _load(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise _Missing(name.partition(".")[0]) from error


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """The system's errors in the block are told as ones of `path`."""
    try:
        yield
    except FileExistsError:
        raise ConvertError(f"{path} exists already; --overwrite replaces it.") from None
    except FileNotFoundError:
        missing = f"file {path}" if path.parent.exists() else f"folder {path.parent}"
        raise ConvertError(f"There is no {missing}.") from None
    except (OSError, ValueError) as error:  # a name with a NUL character is a ValueError
        raise ConvertError(f"{path}: {getattr(error, 'strerror', None) or error}.") from None


def _old(path: Path) -> os.stat_result | None:
    """The file that there is already."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise ConvertError(f"{path} is no regular file; -o names another.")
    return found


def _write(path: Path, data: bytes, old: os.stat_result | None) -> None:
    """Write a file whole or not at all: a new one, or in the place of `old`."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            if old is not None:
                os.chmod(temporary, stat.S_IMODE(old.st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if old is not None:
            os.replace(temporary, path)
            return
        try:
            # Unlike a move, this never replaces one that has appeared meanwhile.
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without such links
            if path.exists():
                raise FileExistsError from None
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
