"""Sessions and runs as the page shows them: plain values, ready to be JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from fastmcp.server.dependencies import get_context

from kernels.environments.describing import describe
from kernels.errors import KernelError
from kernels.execution import FileRequest
from kernels.run import Run
from kernels.session import Session
from kernels.steps import Once, Work
from kernels.transcript import clean
from server import checkpoints

if TYPE_CHECKING:
    from kernels.kernelspecs import Kernelspec
    from notebooks.running import NotebookRun

#: Characters of an unfinished line, its end, and of what a caller has chosen.
_LINE, _MOST = 500, 200
#: Who asks for the runs of this context, where no client of MCP does.
asker: ContextVar[str] = ContextVar("asker", default="")


@dataclass(frozen=True)
class Asked:
    """What was asked for: "code", "script" or "notebook"; its file, if any; and by whom."""

    kind: str
    file: str | None = None
    who: str = ""


class Askings:
    """What each run was asked as. Runs that nobody else remembers are forgotten here, too."""

    def __init__(self, projects: Path) -> None:
        self._projects = projects
        self._known: WeakKeyDictionary[Run, Asked] = WeakKeyDictionary()

    def note(self, run: Run, work: Work) -> None:
        """Call it in the context of whoever asks."""
        kind, file = "code", None
        if isinstance(work, FileRequest):
            kind, file = "script", self._shown(work.path)
        elif (notebook := _notebook(work)) is not None:
            kind, file = "notebook", notebook.name
        self._known[run] = Asked(kind, file, asker.get() or _client())

    def of(self, run: Run) -> Asked:
        """What the run was asked as, as far as it is known."""
        known = self._known.get(run)
        return known or Asked("code" if isinstance(run.steps, Once) else "notebook")

    def _shown(self, path: Path) -> str:
        inside = path.is_relative_to(self._projects)
        return clean(str(path.relative_to(self._projects) if inside else path))


def _client() -> str:
    """The name of the client of the call under way, as it gives itself; "" where there is none."""
    try:
        params = get_context().session.client_params
    except (RuntimeError, AttributeError):
        return ""
    name = params.client_info.name if params is not None else ""
    return clean(str(name))[:_MOST]


@dataclass(frozen=True)
class Description:
    """A Python in words: "Python 3.12.1", and the name of its environment, "conda:ds"; that is ""
    where it has none but its path."""

    python: str
    environment: str


@lru_cache(maxsize=100)
def described(python: str) -> Description:
    """Of the interpreter at this path; looked at once."""
    found = describe(python)
    name = "" if found.kind == "python" else clean(found.name)
    return Description(f"Python {found.version}".strip(), name)


def session_view(session: Session, memory: int | None, usual: Description) -> dict[str, Any]:
    """S of the page's protocol. `memory` in bytes; `usual`: the Python of its kernels, where they
    have no kernelspec."""
    spec = session.kernelspec
    own = usual if spec is None else _described(spec)
    return {
        "name": session.name,
        "state": str(session.state),
        "age": round(session.age, 1),
        "idle": round(session.idle_seconds, 1),
        "memory": memory,
        "python": own.python,
        "environment": own.environment,
        "runs": session.count,
        "waiting": max(0, len(session.runs) - 1),
        **checkpoints.facts(session),
        "no_checkpoint": checkpoints.reasons(session),
    }


def _described(spec: Kernelspec) -> Description:
    title, name = clean(spec.display_name), clean(spec.name)
    if title.endswith(f" ({name})"):
        # It was made for an environment, by whose name it goes.
        return Description(title.removesuffix(f" ({name})"), name)
    environment = described(spec.argv[0]).environment if spec.ipykernel is not None else ""
    return Description(title, environment)


def run_view(run: Run, asked: Asked) -> dict[str, Any]:
    """R of the page's protocol."""
    ended, summary, recording = run.done.done(), run.summary, run.recording
    error, doing, question = (summary.error if summary else None), run.steps.doing, run.question
    state = "ended" if ended else "waiting" if run.began is None else "running"
    return {
        "id": run.id,
        "session": run.session.name,
        "kind": asked.kind,
        "title": clean(run.title),
        "file": asked.file,
        "who": asked.who,
        "state": state,
        "status": str(run.status) if ended else None,
        "exit_code": summary.exit_code if summary else None,
        "began": run.began,
        "seconds": round(run.seconds, 3),
        "length": recording.length,
        "clears": recording.clears,
        "line": "" if ended else clean(run.line[-_LINE:]),
        "outputs": len(recording.places),
        "words": _words(run) if ended else "",
        "kept": str(summary.state) != "lost" if summary else None,
        "restored_to": summary.restored_to if summary else None,
        "trouble": recording.trouble,
        "gone": recording.gone,
        "error": _error(error) if error and state == "ended" else None,
        "doing": None
        if doing is None
        else {"words": clean(doing.words), "done": round(doing.done, 2), "total": doing.total},
        "question": None
        if question is None
        else {
            "serial": question.serial,
            "prompt": clean(question.prompt),
            "password": question.password,
        },
    }


def _notebook(steps: object) -> NotebookRun | None:
    """The steps, if they are a notebook's; their module is imported with the first of them."""
    module = sys.modules.get("notebooks.running")
    return steps if module is not None and isinstance(steps, module.NotebookRun) else None


def _words(run: Run) -> str:
    """What became of it and of the session's variables, where that is not as usual."""
    if run.summary is not None:
        parts = [" · ".join(run.summary.notes), run.summary.explanation]
        if (notebook := _notebook(run.steps)) is not None:
            parts += notebook.words
        return clean("\n".join(part for part in parts if part))
    failure = None if run.done.cancelled() else run.done.exception()
    if isinstance(failure, KernelError):
        return clean(str(failure))
    return "It did not begin: its kernel could not start, or the server's end overtook it."


def _error(error: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": clean(str(error.get("name", ""))),
        "value": clean(str(error.get("value", "")))[:2_000],
        "line": error.get("line"),
    }


def parts_view(run: Run) -> list[dict[str, Any]] | None:
    """The cells of a notebook's run, with their places in its output; None for another run."""
    steps = _notebook(run.steps)
    if steps is None:
        return None
    parts: list[dict[str, Any]] = []
    for number, label in enumerate(steps.labels):
        part: dict[str, Any] = {"label": clean(label), "state": "waiting", "seconds": None}
        part |= {"at": None, "end": None, "outputs": None}
        if number < len(steps.cells):
            cell = steps.cells[number]
            part |= {"state": str(cell.status), "seconds": round(cell.seconds, 3)}
            part |= {"at": cell.begin.at, "end": cell.end.at}
            part["outputs"] = [cell.begin.places + 1, cell.end.places + 1]
        elif number == len(steps.cells) and not run.done.done() and run.execution is not None:
            # Its part began below its heading, which is a line of its own.
            now, begin = run.recording.mark, steps.begin
            part |= {"state": "running", "at": begin.at, "end": now.at}
            part["outputs"] = [begin.places + 1, now.places + 1]
        parts.append(part)
    return parts


def encoded(value: Any) -> bytes:
    """As JSON in UTF-8; what UTF-8 cannot hold is escaped, which JSON can."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "backslashreplace")
