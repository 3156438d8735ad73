"""What was run and written, as resources for clients that read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from fastmcp import FastMCP
from fastmcp.exceptions import ResourceError
from fastmcp.resources import ResourceContent, ResourceResult

from kernels.errors import KernelError
from kernels.registry import Registry
from kernels.run import Run
from server import pages
from server.document import Faces
from server.history import history
from server.principal import by_event, principal

#: Characters of a text that are given at once; `offset` has the rest.
_MOST = 800_000
#: Bytes that an event may have: some clients end the connection at 1 MiB. And characters, each of
#: which may become twelve bytes of JSON.
_EVENT = 960_000
_MOST_IN_EVENT = _EVENT // 12


class Resources:
    """The resources over one registry."""

    def __init__(self, registry: Registry, faces: Faces) -> None:
        self._registry = registry
        self._faces = faces

    async def text(self, run_id: str, offset: int = 0) -> str:
        """All text that a run has written, from character `offset` on."""
        try:
            run = self._registry.find_run(principal(), run_id)
            most = _MOST_IN_EVENT if by_event() else _MOST
            return await pages.text(run, offset, most, self._faces)
        except KernelError as error:
            raise ResourceError(str(error)) from None

    async def output(self, run_id: str, number: int) -> ResourceResult:
        """A display of a run in every form that says more than its text."""
        try:
            run = self._registry.find_run(principal(), run_id)
            forms = await pages.forms(run, number, self._faces)
        except KernelError as error:
            raise ResourceError(str(error)) from None
        _check_size(*(body for _, body in forms))
        return ResourceResult([ResourceContent(body, mime_type=mime) for mime, body in forms])

    async def runs(self, session: str) -> str:
        """The runs of a session, as JSON."""
        try:
            runs = self._registry.runs(principal(), session)
        except KernelError as error:
            raise ResourceError(str(error)) from None
        facts = json.dumps([_facts(run) for run in runs], ensure_ascii=False, indent=1)
        _check_size(facts)
        return facts

    async def notebook(self, session: str) -> str:
        """All that was run in a session, as a Jupyter notebook."""
        try:
            notebook = await history(self._registry, principal(), session)
        except KernelError as error:
            raise ResourceError(str(error)) from None
        _check_size(notebook)
        return notebook


def _check_size(*bodies: str | bytes) -> None:
    """Refuse what would end the client's connection."""
    if not by_event():
        return
    size = sum(len(body.encode() if isinstance(body, str) else body) for body in bodies)
    sent = sum(
        len(json.dumps(body)) if isinstance(body, str) else len(body) * 4 // 3 for body in bodies
    )
    if sent > _EVENT:
        raise ResourceError(
            f"This has {size:,} bytes, more than many clients take over this connection. Read it "
            "over /mcp in protocol 2026-07-28 or newer, or have the program write it to a file."
        )


def _facts(run: Run) -> dict[str, Any]:
    began = None
    if run.began is not None:
        began = datetime.fromtimestamp(run.began, UTC).isoformat(timespec="seconds")
    return {
        "run_id": run.id,
        "title": run.title,
        "status": str(run.status),
        "exit_code": run.summary.exit_code if run.summary is not None else None,
        "began": began,
        "duration_s": round(run.seconds, 4),
        "text": f"run://{run.id}/text",
    }


def register_resources(server: FastMCP[Any], registry: Registry, faces: Faces) -> None:
    """Add every resource to `server`."""
    resources = Resources(registry, faces)
    for uri, function, mime, words in (
        ("run://{run_id}/text{?offset}", resources.text, "text/plain", "What a run has written."),
        (
            "run://{run_id}/outputs/{number}",
            resources.output,
            "text/html",
            "A display of a run in its richest forms: HTML, SVG, the image as it was made.",
        ),
        ("session://{session*}/runs", resources.runs, "application/json", "A session's runs."),
        (
            "session://{session*}/notebook",
            resources.notebook,
            "application/x-ipynb+json",
            "All that was run in a session, with its outputs, as a Jupyter notebook.",
        ),
    ):
        server.resource(uri, name=function.__name__, mime_type=mime, description=words)(function)
