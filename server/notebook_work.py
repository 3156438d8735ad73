"""What the tools on notebooks do: with files, before a kernel is asked. Imported with the first
call of one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kernels import kernelspecs
from kernels.environments.describing import describe_kernelspec
from kernels.environments.environment import Chosen
from kernels.errors import KernelspecNotFound, SessionNotFound
from kernels.kernelspecs import Kernelspec
from kernels.registry import Registry
from kernels.session import Session
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
from server.environments import Environments
from server.files import FileError, Projects
from server.names import own_session
from server.notebook_files import ProjectNotebook


@dataclass(frozen=True)
class Prepared:
    """A run that can begin, and where."""

    run: NotebookRun
    session: str
    restart: bool
    environment: Chosen | None


class NotebookWork:
    """Works on the notebooks of one projects directory, for the owner of `registry`'s sessions.

    Everything raises `FileError`, `NotebookError` and `KernelError`, and may take as long as the
    disk does: call it in a thread.
    """

    def __init__(
        self, projects: Projects, registry: Registry, environments: Environments, owner: str
    ) -> None:
        self._projects, self._registry, self._owner = projects, registry, owner
        self._environments = environments

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
        asked: Chosen | None = None,
    ) -> Prepared:
        """A run of the notebook; `asked`: the environment that the caller wants for it."""
        notebook, target, seen = self._opened(file_name, output_file)
        words = list(notebook.notes)
        numbers = select(notebook, cells)
        if parameters:
            before = notebook.cells
            words += inject(notebook, parameters)
            numbers = _with_injected(notebook, len(before), numbers)
        path = self._projects.path(file_name)
        shown = self._projects.shown(path)
        own = session is None
        name = own_session("notebook", shown) if session is None else session
        restart = restart or (own and cells is None)
        there = self._session(name)
        if asked is not None:
            _check_language(notebook, asked)
            environment = _started_in(asked, path.parent) if own else asked
        elif there is not None and (not own or not restart or _was_asked_for(there)):
            environment = self._of_session(notebook, there, words)
        else:
            environment = _started_in(self._of_notebook(notebook, words), path.parent)
        spec = environment.kernelspec
        if stdin and spec is not None and spec.ipykernel is None:
            raise NotebookError("Its kernel takes no `stdin`; only kernels of Python do here.")
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
        return Prepared(run, name, restart, environment)

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

    def _session(self, name: str) -> Session | None:
        try:
            return self._registry.find(self._owner, name)
        except SessionNotFound:
            return None

    def _of_notebook(self, notebook: Notebook, words: list[str]) -> Chosen:
        """Where the notebook itself wants to run."""
        spec = _kernelspec(notebook, words)
        if spec is None:
            return self._environments.back()
        return Chosen(describe_kernelspec(spec), spec, "its kernelspec")

    def _of_session(self, notebook: Notebook, there: Session, words: list[str]) -> Chosen:
        """Where a session is that runs the notebook, whatever that wants."""
        spec, has = _kernelspec(notebook, words), there.kernelspec
        spoken = "python" if has is None else has.language.lower()
        if spoken != notebook.language:
            raise NotebookError(
                f"It is written in {notebook.language}, but session {there.name!r} runs {spoken}. "
                "Leave `session` out, or name another."
            )
        if spec is not None and (has is None or has.name != spec.name):
            words.append(
                f"It asks for the kernelspec {notebook.kernelspec!r}, but ran in the kernel of "
                f"session {there.name!r}."
            )
        return there.environment or self._environments.back()

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


def _kernelspec(notebook: Notebook, words: list[str]) -> Kernelspec | None:
    """What the notebook names; None: no particular Python."""
    name, language = notebook.kernelspec, notebook.language
    if not name:
        if language != "python":
            raise NotebookError(
                f"It is written in {language} and names no kernelspec. Choose its kernel in "
                "Jupyter and save it."
            )
        return None
    try:
        spec = kernelspecs.find(name)
    except KernelspecNotFound as error:
        if language != "python":
            raise
        if name.lower() != "python3":
            words.append(f"{error} It ran in the session's Python.")
        return None
    return None if spec.is_default else spec


def _was_asked_for(session: Session) -> bool:
    """Whether a caller has chosen where it is."""
    where = session.environment
    return where is not None and where.kernelspec is not None and not where.why


def _check_language(notebook: Notebook, asked: Chosen) -> None:
    spoken = "python" if asked.kernelspec is None else asked.kernelspec.language.lower()
    if spoken != notebook.language:
        raise NotebookError(
            f"It is written in {notebook.language}, but {asked.environment.name} runs {spoken}. "
            "Name another environment, or none."
        )


def _started_in(environment: Chosen, folder: Path) -> Chosen:
    """Our guest goes into the notebook's folder; other kernels have to be started there."""
    spec = environment.kernelspec
    if spec is None or spec.ipykernel is not None or spec.directory:
        return environment
    return replace(environment, kernelspec=replace(spec, directory=str(folder)))


def _with_injected(notebook: Notebook, before: int, numbers: list[int]) -> list[int]:
    """The numbers of the same cells after parameters were injected, and that of these."""
    place = next(n for n, cell in enumerate(notebook.cells) if INJECTED in cell.tags)
    moved = len(notebook.cells) - before
    numbers = [number + moved if number >= place and moved > 0 else number for number in numbers]
    return sorted({*numbers, place})
