"""Spans of runs, as OpenTelemetry's own SDK receives them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from opentelemetry import trace
from opentelemetry.util._once import Once

from kernels.execution import CodeRequest
from kernels.limits import Limits
from kernels.registry import Registry
from server.app import build_server
from server.settings import Settings
from server.tracing import Tracing
from tests.conftest import until
from tests.kernels.fake_kernel import FakeBackend, FakeKernel
from tests.server.caller import Caller, Mode

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="opentelemetry-sdk is not installed")
MARKER = "marker-7461"


class Spans:
    """What has been exported."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter

    def all(self) -> Sequence[Any]:
        return self._exporter.get_finished_spans()  # type: ignore[no-any-return]

    def runs(self) -> list[Any]:
        return [span for span in self.all() if span.name == "run"]

    def one(self) -> Any:
        (span,) = self.runs()
        return span


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """An SDK is configured, for this test alone."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    trace.set_tracer_provider(provider)
    yield Spans(exporter)
    provider.shutdown()


@pytest.fixture
async def fakes(
    backend: FakeBackend, limits: Limits, spans: Spans, projects: Path
) -> AsyncIterator[Registry]:
    async with Registry(backend, limits, [Tracing(projects)]) as registry:
        yield registry


@pytest.fixture
async def quick(settings: Settings, fakes: Registry, mode: Mode) -> AsyncIterator[Caller]:
    async with Client(build_server(settings, fakes), mode=mode) as client:
        yield Caller(client)


def attributes(span: Any) -> dict[str, Any]:
    return {name.removeprefix("rmi."): value for name, value in span.attributes.items()}


class TestARun:
    async def test_it_is_below_the_call_that_asks_for_it(self, quick: Caller, spans: Spans) -> None:
        await quick.run("run_code", code="1")
        run = spans.one()
        parents = [span for span in spans.all() if span.context.span_id == run.parent.span_id]
        assert [span.name for span in parents] == ["tools/call run_code"]
        assert run.context.trace_id == parents[0].context.trace_id

    async def test_it_has_the_facts_of_its_run(self, quick: Caller, spans: Spans) -> None:
        _, facts = await quick.run("run_code", code="1", session="mine")
        found = attributes(spans.one())
        assert 0 <= found.pop("queue_seconds") < 20
        assert found == {
            "session": "mine",
            "run_id": facts["run_id"],
            "kind": "code",
            "status": "ok",
            "exit_code": 0,
            "state": "kept",
        }
        assert spans.one().status.status_code is trace.StatusCode.OK
        assert [event.name for event in spans.one().events] == ["begun"]

    async def test_of_a_script_the_file_is_named_below_the_projects(
        self, quick: Caller, spans: Spans, projects: Path
    ) -> None:
        (projects / "deep").mkdir()
        (projects / "deep" / "a.py").write_text(f"# {MARKER}")
        await quick.run("run_python", file_name="deep/a.py", args=[MARKER])
        found = attributes(spans.one())
        assert (found["kind"], found["file"]) == ("script", "deep/a.py")

    async def test_without_the_projects_only_its_name_is_known(
        self, backend: FakeBackend, spans: Spans, projects: Path
    ) -> None:
        from kernels.execution import FileRequest

        async with Registry(backend, Limits(), [Tracing()]) as registry:
            await registry.submit("", "a", FileRequest(projects / "d" / "a.py", b"1"), 20).result()
        assert attributes(spans.one())["file"] == "a.py"

    async def test_of_a_notebook(self, quick: Caller, spans: Spans, projects: Path) -> None:
        from notebooks.notebook import Notebook

        (projects / "n.ipynb").write_text(
            json.dumps(
                {
                    "nbformat": 4,
                    "nbformat_minor": 5,
                    "metadata": {},
                    "cells": [
                        {
                            "cell_type": "code", "id": "a", "metadata": {}, "source": MARKER,
                            "outputs": [], "execution_count": None,
                        }
                    ],
                }
            )
        )  # fmt: skip
        assert Notebook.parse((projects / "n.ipynb").read_bytes()).cells
        await quick.run("run_notebook", file_name="n.ipynb")
        found = attributes(spans.one())
        assert (found["kind"], found["file"]) == ("notebook", "n.ipynb")
        assert MARKER not in spans.one().to_json()

    async def test_its_wait_is_measured(self, fakes: Registry, spans: Spans) -> None:
        first = fakes.submit("", "a", CodeRequest("wait"), 20)
        second = fakes.submit("", "a", CodeRequest("1"), 20)
        await until(lambda: first.began and first.seconds > 0.05)
        first.stop()
        await second.result()
        span = next(each for each in spans.runs() if attributes(each)["run_id"] == second.id)
        assert attributes(span)["queue_seconds"] >= 0.05
        (begun,) = span.events
        assert span.start_time + 50_000_000 <= begun.timestamp <= span.end_time


class TestFailures:
    async def test_an_exception_is_an_event_without_its_message(
        self, quick: Caller, spans: Spans, backend: FakeBackend
    ) -> None:
        def fail(kernel: FakeKernel) -> None:
            kernel.print(MARKER)
            kernel.say("error", ename="KeyError", evalue=MARKER, traceback=[MARKER])
            error = {"name": "KeyError", "value": MARKER, "line": 7, "file": MARKER}
            kernel.reply(rmi={"exit_code": 1, "error": error})
            kernel.idle()

        backend.answer = fail
        await quick.run("run_code", code=MARKER)
        span = spans.one()
        assert span.status.status_code is trace.StatusCode.ERROR
        assert span.status.description == "error"
        assert attributes(span)["exit_code"] == 1
        event = next(event for event in span.events if event.name == "exception")
        assert dict(event.attributes) == {"exception.type": "KeyError", "rmi.line": 7}
        assert MARKER not in span.to_json()

    async def test_a_timeout(self, quick: Caller, spans: Spans) -> None:
        await quick.run("run_code", code="wait", timeout=0.05)
        found = attributes(spans.one())
        assert (found["status"], found["state"]) == ("timeout", "lost")
        assert "exit_code" not in found
        assert spans.one().status.status_code is trace.StatusCode.ERROR

    async def test_a_kernel_that_cannot_start(
        self, quick: Caller, spans: Spans, backend: FakeBackend
    ) -> None:
        backend.failures = ["No kernel today."]
        await quick.refusal("run_code", code="1")
        found = attributes(spans.one())
        assert found["status"] == "died"
        assert "queue_seconds" not in found
        assert spans.one().status.status_code is trace.StatusCode.ERROR

    async def test_those_that_never_begin_when_the_server_ends(
        self, backend: FakeBackend, spans: Spans
    ) -> None:
        async with Registry(backend, Limits(), [Tracing()]) as registry:
            for _ in range(5):
                registry.submit("", "a", CodeRequest("wait"), 20)
        assert [attributes(span)["status"] for span in spans.runs()] == ["interrupted"] * 5


class TestWithoutAnSdk:
    async def test_nothing_is_kept(self, backend: FakeBackend) -> None:
        tracing = Tracing()
        async with Registry(backend, Limits(), [tracing]) as registry:
            run = registry.submit("", "a", CodeRequest("1"), 20)
            assert tracing._spans == {}
            await run.result()

    async def test_with_one_nothing_is_kept_of_what_is_over(
        self, backend: FakeBackend, spans: Spans
    ) -> None:
        tracing = Tracing()
        async with Registry(backend, Limits(), [tracing]) as registry:
            run = registry.submit("", "a", CodeRequest("1"), 20)
            assert len(tracing._spans) == 1
            await run.result()
            assert tracing._spans == {}
