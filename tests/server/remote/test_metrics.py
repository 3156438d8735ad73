"""What is counted, as a scrape sees it after real calls."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastmcp import Client
from prometheus_client.parser import text_string_to_metric_families

from kernels.execution import CodeRequest
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from server.app import build_server, warm_up
from server.remote.metrics import CONTENT_TYPE, Metrics
from server.settings import Settings
from tests.conftest import ROOT, until
from tests.kernels.fake_kernel import FakeBackend
from tests.server.caller import NAMES, Caller, Mode

Labels = tuple[tuple[str, str], ...]


class Figures:
    """One scrape."""

    def __init__(self, text: bytes) -> None:
        self.samples: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                self.samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value

    def of(self, name: str, **labels: str) -> float:
        """The value; 0 where there is none."""
        return self.samples.get((name, tuple(sorted(labels.items()))), 0)


async def scrape(metrics: Metrics) -> Figures:
    return Figures(await metrics.text())


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def fakes(backend: FakeBackend, limits: Limits, metrics: Metrics) -> AsyncIterator[Registry]:
    async with Registry(backend, limits, [metrics]) as registry:
        metrics.watch(registry)
        yield registry


@pytest.fixture
async def quick(
    settings: Settings, fakes: Registry, mode: Mode, metrics: Metrics
) -> AsyncIterator[Caller]:
    server = build_server(settings, fakes, middleware=[metrics])
    await warm_up(server)
    async with Client(server, mode=mode) as client:
        yield Caller(client)


class TestRuns:
    async def test_they_are_counted_by_status(
        self, quick: Caller, metrics: Metrics, backend: FakeBackend
    ) -> None:
        await quick.run("run_code", code="hello")
        await quick.run("run_code", code="wait", timeout=0.05)
        found = await scrape(metrics)
        assert found.of("rmi_runs_total", status="ok") == 1
        assert found.of("rmi_runs_total", status="timeout") == 1
        for status in ("error", "interrupted", "died"):
            assert ("rmi_runs_total", (("status", status),)) in found.samples
            assert found.of("rmi_runs_total", status=status) == 0
        assert ("rmi_runs_total", (("status", "running"),)) not in found.samples

    async def test_their_durations_fall_into_buckets(self, quick: Caller, metrics: Metrics) -> None:
        await quick.run("run_code", code="hello")
        found = await scrape(metrics)
        assert found.of("rmi_run_duration_seconds_count") == 1
        assert found.of("rmi_run_duration_seconds_bucket", le="3600.0") == 1
        assert ("rmi_run_duration_seconds_bucket", (("le", "0.005"),)) in found.samples

    async def test_one_whose_kernel_cannot_start_has_died_and_took_no_time(
        self, quick: Caller, metrics: Metrics, backend: FakeBackend
    ) -> None:
        backend.failures = ["No kernel today."]
        await quick.refusal("run_code", code="hello")
        found = await scrape(metrics)
        assert found.of("rmi_runs_total", status="died") == 1
        assert found.of("rmi_run_duration_seconds_count") == 0
        assert found.of("rmi_kernel_starts_total", kind="cold") == 0

    async def test_those_that_wait_and_those_that_run(
        self, fakes: Registry, metrics: Metrics
    ) -> None:
        runs = [fakes.submit("", "a", CodeRequest("wait"), 20) for _ in range(3)]
        runs.append(fakes.submit("me", "b", CodeRequest("wait"), 20))
        await until(lambda: runs[0].began and runs[3].began)
        found = await scrape(metrics)
        assert found.of("rmi_runs_running") == 2
        assert found.of("rmi_runs_waiting") == 2
        assert found.of("rmi_sessions", state="busy") == 2
        for name in ("a", "b"):
            await fakes.close("me" if name == "b" else "", name)
        found = await scrape(metrics)
        assert found.of("rmi_runs_running") == found.of("rmi_runs_waiting") == 0
        assert found.of("rmi_sessions", state="busy") == 0

    async def test_output_is_counted_in_bytes(
        self, quick: Caller, metrics: Metrics, backend: FakeBackend
    ) -> None:
        await quick.run("run_code", code="é" * 10)
        assert (await scrape(metrics)).of("rmi_output_bytes_total") == 20
        # This much is read in a thread.
        backend.kernels[0].answer = lambda kernel: kernel.succeed("é" * 3_000_000)
        await quick.run("run_code", code="much")
        for _ in range(1000):
            if (found := (await scrape(metrics)).of("rmi_output_bytes_total")) > 20:
                break
        assert found == 6_000_020


class TestSessionsAndKernels:
    async def test_sessions_by_state(
        self, quick: Caller, metrics: Metrics, backend: FakeBackend
    ) -> None:
        found = await scrape(metrics)
        for state in ("cold", "idle", "busy"):
            assert ("rmi_sessions", (("state", state),)) in found.samples
        await quick.run("run_code", code="1", session="a")
        await quick.run("run_code", code="1", session="b")
        backend.kernels[0].exited.set()
        found = await scrape(metrics)
        assert found.of("rmi_sessions", state="cold") == 1
        assert found.of("rmi_sessions", state="idle") == 1
        assert found.of("rmi_kernels") == 1

    async def test_starts_by_kind(
        self, quick: Caller, fakes: Registry, metrics: Metrics, backend: FakeBackend
    ) -> None:
        fakes.prepare()
        await until(lambda: backend.kernels)
        for name in ("a", "b"):
            await quick.run("run_code", code="1", session=name)
        found = await scrape(metrics)
        assert found.of("rmi_kernel_starts_total", kind="ready") == 1
        assert found.of("rmi_kernel_starts_total", kind="cold") == 1
        assert found.of("rmi_kernel_starts_total", kind="kernelspec") == 0
        assert found.of("rmi_kernel_start_seconds_count", kind="cold") == 1

    async def test_memory_of_real_ones(self, projects: Path, metrics: Metrics) -> None:
        backend = LocalBackend(LocalSpec(server_python(), str(projects), kernel_environment()))
        async with Registry(backend, Limits(), [metrics]) as registry:
            metrics.watch(registry)
            assert (await scrape(metrics)).of("rmi_kernel_memory_bytes") == 0
            await registry.submit("", "a", CodeRequest("print('x' * 100)"), 20).result()
            found = await scrape(metrics)
            assert found.of("rmi_kernels") == 1
            assert found.of("rmi_kernel_memory_bytes") > 10_000_000
            assert found.of("rmi_server_memory_bytes") > 10_000_000
            assert found.of("rmi_output_bytes_total") == 101
            assert found.of("rmi_run_duration_seconds_sum") > 0

    async def test_the_loop_goes_on_while_memory_is_measured(
        self, fakes: Registry, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop, free = asyncio.get_running_loop(), asyncio.Event()

        def measured(pids: object) -> tuple[int, int]:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(20)
            loop.call_soon_threadsafe(free.set)
            return 1, 2

        monkeypatch.setattr("server.remote.metrics._measured", measured)
        found = await scrape(metrics)
        assert free.is_set()
        assert found.of("rmi_kernel_memory_bytes") == 1

    async def test_it_works_before_there_is_a_registry(self) -> None:
        found = await scrape(Metrics())
        assert found.of("rmi_kernels") == 0
        assert found.of("rmi_server_memory_bytes") > 0


class TestCalls:
    async def test_they_are_counted_by_tool_and_outcome(
        self, quick: Caller, metrics: Metrics
    ) -> None:
        await quick.call("list_sessions")
        await quick.call("run_code", code="1")
        await quick.call("run_code", code="wait", timeout=0.05)
        await quick.refusal("close_session", session="none")
        await quick.refusal("run_code", codes="1")
        found = await scrape(metrics)
        assert found.of("rmi_calls_total", tool="list_sessions", outcome="ok") == 1
        assert found.of("rmi_calls_total", tool="run_code", outcome="ok") == 1
        assert found.of("rmi_calls_total", tool="run_code", outcome="error") == 2
        assert found.of("rmi_calls_total", tool="close_session", outcome="error") == 1

    async def test_warming_up_is_no_call(self, quick: Caller, metrics: Metrics) -> None:
        found = await scrape(metrics)
        assert not [name for name, _ in found.samples if name == "rmi_calls_total"]

    async def test_one_that_its_client_gives_up(
        self, quick: Caller, fakes: Registry, metrics: Metrics
    ) -> None:
        call = asyncio.create_task(quick.call("run_code", code="wait"))
        await until(lambda: fakes.everyones() and fakes.everyones()[0].runs)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        for _ in range(1000):
            found = await scrape(metrics)
            if found.of("rmi_calls_total", tool="run_code", outcome="cancelled"):
                return
        raise AssertionError("it is not counted")

    async def test_refusals_by_reason(self, metrics: Metrics) -> None:
        for reason in ("authentication", "rate", "rate", "whatever\nelse"):
            metrics.refused(reason)
        found = await scrape(metrics)
        assert found.of("rmi_refused_total", reason="authentication") == 1
        assert found.of("rmi_refused_total", reason="rate") == 2
        assert found.of("rmi_refused_total", reason="other") == 1
        assert ("rmi_refused_total", (("reason", "host"),)) in found.samples
        assert ("rmi_refused_total", (("reason", "size"),)) in found.samples


async def test_no_label_has_what_callers_choose(quick: Caller, metrics: Metrics) -> None:
    """Neither names of sessions, files, tools and owners, nor text of programs."""
    for number in range(20):
        await quick.call(f"marker_{number}", a="marker")
        await quick.call("run_code", code=f"marker {number}", session="marker")
        await quick.call("run_python", file_name=f"marker{number}.py")
    text = (await metrics.text()).decode()
    assert "marker" not in text
    values = set(re.findall(r'(?:tool|outcome|status|state|kind|reason)="([^"]*)"', text))
    assert values <= NAMES | {
        "other", "ok", "error", "timeout", "interrupted", "died", "cold", "idle", "busy", "ready",
        "kernelspec", "restored", "lost", "authentication", "rate", "host", "size", "slow",
    }  # fmt: skip
    assert Figures(text.encode()).of("rmi_calls_total", tool="other", outcome="error") == 20


def test_the_content_type_is_that_of_prometheus() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=")


def test_the_server_over_stdio_does_without_the_library() -> None:
    code = (
        "import sys, server.mcp_server, server.app, server.tools\n"
        "assert 'prometheus_client' not in sys.modules\n"
        "assert 'server.remote.metrics' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_two_servers_in_a_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.refused("rate")
    assert Figures(asyncio.run(one.text())).of("rmi_refused_total", reason="rate") == 1
    assert Figures(asyncio.run(other.text())).of("rmi_refused_total", reason="rate") == 0
