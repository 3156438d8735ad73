"""OpenTelemetry: a span for each run, below that of the call that asked for it.

Only the API is used, so that nothing is done unless the process has an SDK. A span has facts of a
run, never its code or what it wrote.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from kernels.execution import FileRequest, Request

if TYPE_CHECKING:
    from kernels.run import Run
    from kernels.steps import Work
    from kernels.watch import Kind


class Tracing:
    """Makes the spans, as a `Watcher` of a registry. `projects`: what names of files are relative
    to; without it their folders are left out."""

    def __init__(self, projects: Path | None = None) -> None:
        self._projects = projects
        self._tracer = trace.get_tracer("rmi-agent-mcp-server")
        self._spans: dict[str, Span] = {}

    def run_queued(self, owner: str, run: Run, work: Work) -> None:
        """Its span begins when it is asked for."""
        # This is the context of the call; its span becomes the parent.
        span = self._tracer.start_span("run", kind=SpanKind.INTERNAL)
        if not span.is_recording():
            return
        span.set_attributes({"rmi.session": run.session.name, "rmi.run_id": run.id})
        if isinstance(work, FileRequest):
            span.set_attributes({"rmi.kind": "script", "rmi.file": self._name(work.path)})
        elif isinstance(work, Request):
            span.set_attribute("rmi.kind", "code")
        else:
            span.set_attributes({"rmi.kind": "notebook", "rmi.file": run.title})
        self._spans[run.id] = span

    def run_ended(self, owner: str, run: Run) -> None:
        """Its span ends, with what became of it."""
        span = self._spans.pop(run.id, None)
        if span is None:
            return
        if run.began is not None:
            span.add_event("begun", timestamp=int(run.began * 1e9))
            queued = getattr(span, "start_time", None)
            if isinstance(queued, int):
                span.set_attribute("rmi.queue_seconds", max(0.0, run.began - queued / 1e9))
        status = run.status
        span.set_attribute("rmi.status", str(status))
        if run.summary is not None:
            span.set_attribute("rmi.state", str(run.summary.state))
            if run.summary.exit_code is not None:
                span.set_attribute("rmi.exit_code", run.summary.exit_code)
            if error := run.summary.error:
                # Its message is the program's own, and may hold anything.
                facts = {"exception.type": str(error.get("name"))}
                line = error.get("line")
                span.add_event("exception", facts | ({"rmi.line": line} if line else {}))
        failed = run.summary is None or run.summary.failed
        span.set_status(Status(StatusCode.ERROR, str(status)) if failed else Status(StatusCode.OK))
        span.end()

    def kernel_started(self, kind: Kind, seconds: float) -> None:
        """Nothing is to be noted: it is a part of the time before its run begins."""

    def _name(self, path: Path) -> str:
        if self._projects is not None and path.is_relative_to(self._projects):
            return os.fsencode(path.relative_to(self._projects)).decode("utf-8", "backslashreplace")
        return path.name
