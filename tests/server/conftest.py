"""Servers in memory, each test in both eras of the protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastmcp import Client

from kernels.limits import Limits
from kernels.registry import Registry
from kernels.turn import Policy
from server.app import build_server
from server.settings import Settings
from tests.kernels.fake_kernel import FakeBackend, FakeKernel

pytest.register_assert_rewrite("tests.server.caller")

from tests.server.caller import Caller, Mode  # noqa: E402


@pytest.fixture
def settings(projects: Path) -> Settings:
    return Settings(
        projects_dir=projects,
        timeout=20,
        max_timeout=3600,
        keep_after_timeout=False,
        grace=1,
        max_sessions=3,
        idle_timeout=3600,
        python="/the/python",
        pool=1,
        preload=(),
        state_dir=projects.parent / "state",
        log_level=None,
        audit_log=None,
        page=None,
    )


@pytest.fixture
def limits() -> Limits:
    return Limits(sessions=3, policy=Policy(grace=1.0))


@pytest.fixture
def backend() -> FakeBackend:
    """Its kernels print what they are given to run; "wait" they leave unanswered."""

    def answer(kernel: FakeKernel) -> None:
        if kernel.content["code"] != "wait":
            kernel.succeed(str(kernel.content["code"]))

    return FakeBackend(answer)


@pytest.fixture
async def fakes(backend: FakeBackend, limits: Limits) -> AsyncIterator[Registry]:
    """Sessions on fake kernels, where what a kernel does is not the question."""
    async with Registry(backend, limits) as registry:
        yield registry


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


@pytest.fixture
async def caller(settings: Settings, registry: Registry, mode: Mode) -> AsyncIterator[Caller]:
    """Over real kernels."""
    async with Client(build_server(settings, registry), mode=mode) as client:
        yield Caller(client)


@pytest.fixture
async def quick(settings: Settings, fakes: Registry, mode: Mode) -> AsyncIterator[Caller]:
    """Over fake kernels."""
    async with Client(build_server(settings, fakes), mode=mode) as client:
        yield Caller(client)
