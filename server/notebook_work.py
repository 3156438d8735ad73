"""What the tools on notebooks do: with files, before a kernel is asked. Imported with the first
call of one of them."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kernels import kernelspecs
from kernels.errors import KernelspecNotFound, SessionNotFound
from kernels.kernelspecs import Kernelspec
from kernels.registry import Registry
from notebooks import percent
from notebooks.editing import edit
from notebooks.errors import NotebookError
from notebooks.listing import listing
from notebooks.notebook import Notebook
from notebooks.parameters import INJECTED, inject
from notebooks.running import NotebookRun
from notebooks.saving import Saver
from notebooks.selection import select
from notebooks.storage import Stamp
from server.files import FileError, Projects
from server.notebook_files import ProjectNotebook

#: Characters of a session's name that may be a notebook's.
_NAME = 80


@dataclass(frozen=True)
class Prepared:
    """A run that can begin, and where."""

    run: NotebookRun
    session: str
    restart: bool
    kernelspec: Kernelspec | None


class NotebookWork:
    """Works on the notebooks of one projects directory, for the owner of `registry`'s sessions.

    Everything raises `FileError`, `NotebookError` and `KernelError`, and may take as long as the
    disk does: call it in a thread.
    """

    def __init__(self, projects: Projects, registry: Registry, owner: str) -> None:
        self._projects, self._registry, self._owner = projects, registry, owner

    def prepare(
        self,
        file_name: str,
        parameters: dict[str, Any] | None,
        cells: Any,
        output_file: str | None,
        allow_errors: bool,
        session: str | None,
        stdin: str,
        restart: bool,
    ) -> Prepared:
        notebook, target, seen = self._opened(file_name, output_file)
        words = list(notebook.notes)
        numbers = select(notebook, cells)
        if parameters:
            before = notebook.cells
            words += inject(notebook, parameters)
            numbers = _with_injected(notebook, len(before), numbers)
        path = self._projects.path(file_name)
        kernelspec = self._kernelspec(notebook, path.parent, session, words)
        if stdin and kernelspec is not None and kernelspec.ipykernel is None:
            raise NotebookError("Its kernel takes no `stdin`; only kernels of Python do here.")
        name = path.relative_to(self._projects.root)
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        run = NotebookRun(
            shown,
            notebook,
            numbers,
            Saver(target, notebook, seen),
            str(path.parent),
            stdin,
            allow_errors,
            words,
        )
        own = session is None
        return Prepared(
            run,
            session_of(shown) if session is None else session,
            restart or (own and cells is None),
            kernelspec,
        )

    def _opened(
        self, file_name: str, output_file: str | None
    ) -> tuple[Notebook, ProjectNotebook, Stamp | None]:
        """The notebook, where its outputs go, and what that holds now."""
        if file_name.endswith(".py"):
            _, source = self._projects.source(file_name)
            notebook = percent.notebook_of(source)
            target = ProjectNotebook(
                self._projects, output_file or f"{file_name.removesuffix('.py')}.ipynb"
            )
            seen = target.stamp()
            if output_file is None and seen is not None:
                if not percent.is_of_a_script(Notebook.parse(target.read()[0])):
                    raise FileError(
                        f"{target.name!r} exists and was not made from the script; set "
                        "output_file to say where its outputs go."
                    )
            return notebook, target, seen
        file = ProjectNotebook(self._projects, file_name)
        data, stamp = file.read()
        notebook = Notebook.parse(data)
        if output_file is None:
            return notebook, file, stamp
        target = ProjectNotebook(self._projects, output_file)
        return notebook, target, target.stamp()

    def _kernelspec(
        self, notebook: Notebook, folder: Path, session: str | None, words: list[str]
    ) -> Kernelspec | None:
        """What the notebook's kernel is to be; None: the session's usual Python."""
        name, language = notebook.kernelspec, notebook.language
        spec = None
        if name:
            try:
                spec = kernelspecs.find(name)
            except KernelspecNotFound as error:
                if language != "python":
                    raise
                if name.lower() != "python3":
                    words.append(f"{error} It ran in the session's Python.")
        elif language != "python":
            raise NotebookError(
                f"It is written in {language} and names no kernelspec. Choose its kernel in "
                "Jupyter and save it."
            )
        if spec is not None and spec.is_default:
            spec = None
        elif spec is not None and spec.ipykernel is None:
            # Our guest goes into the notebook's folder; other kernels have to be started there.
            spec = replace(spec, directory=str(folder))
        if session is None:
            return spec
        try:
            there = self._registry.find(self._owner, session).kernelspec
        except SessionNotFound:
            return spec
        spoken = "python" if there is None else there.language.lower()
        if spoken != language:
            raise NotebookError(
                f"It is written in {language}, but session {session!r} runs {spoken}. "
                "Leave `session` out, or name another."
            )
        if spec is not None and (there is None or there.name != spec.name):
            words.append(
                f"It asks for the kernelspec {name!r}, but ran in the kernel of session "
                f"{session!r}."
            )
        return there

    def read(self, file_name: str, cell: int | str | None, offset: int, limit: int) -> str:
        data, _ = ProjectNotebook(self._projects, file_name).read()
        return listing(Notebook.parse(data), cell, offset, limit)

    def edit(self, file_name: str, operations: list[dict[str, Any]], create: bool) -> str:
        file = ProjectNotebook(self._projects, file_name)
        if create:
            notebook, stamp = Notebook.new(), None
        else:
            data, stamp = file.read()
            notebook = Notebook.parse(data)
        done = edit(notebook, operations)
        file.write(notebook.pieces(), stamp)
        words = [f"{file.name} made." if create else f"{file.name} changed.", *done]
        return "\n".join(words)


def session_of(name: str) -> str:
    """The name of a notebook's own session."""
    plain = re.sub(r"[^\w./ \-]", "_", name, flags=re.ASCII)
    if plain != name or len(plain) > _NAME:
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        plain = f"{plain[-_NAME:]} {digest}"
    return f"notebook {plain}"


def _with_injected(notebook: Notebook, before: int, numbers: list[int]) -> list[int]:
    """The numbers of the same cells after parameters were injected, and that of these."""
    place = next(n for n, cell in enumerate(notebook.cells) if INJECTED in cell.tags)
    moved = len(notebook.cells) - before
    numbers = [number + moved if number >= place and moved > 0 else number for number in numbers]
    return sorted({*numbers, place})
