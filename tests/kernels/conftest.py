"""A kernel that the scripts of one module share, and sessions with checkpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kernels.launching import kernel_environment
from kernels.limits import Limits
from kernels.registry import Registry
from kernels.turn import Policy

pytest.register_assert_rewrite("tests.kernels.differential")

from tests.conftest import backend_of, begin, until  # noqa: E402
from tests.kernels.differential import ENVIRONMENT, Bench  # noqa: E402
from tests.kernels.eager import House, house_of, make_eager  # noqa: E402
from tests.kernels.holding import left_of  # noqa: E402


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_registry(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Registry]:
    """Sessions for all tests of a module. Its parameter is one of `STARTS`. A module whose
    `CHECKPOINTS` is False tests what becomes of sessions that have none."""
    start = getattr(request, "param", "forked")
    folder = tmp_path_factory.mktemp("cwd").resolve()
    backend = backend_of(start, folder, kernel_environment(ENVIRONMENT))
    policy = Policy(grace=1.0, checkpoints=getattr(request.module, "CHECKPOINTS", True))
    async with Registry(backend, Limits(policy=policy)) as registry:
        await begin(registry, start)
        yield registry


@pytest.fixture
def bench(shared_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """An empty folder, and the kernel in which all tests of the module run their scripts."""
    return Bench(tmp_path_factory.mktemp("scripts").resolve(), shared_registry)


@pytest.fixture
def policy() -> Policy:
    """That of `house`."""
    return Policy(grace=0.5)


@pytest.fixture
async def house(
    projects: Path, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    """At most three sessions, and a checkpoint after every run that succeeds. Nothing is left in
    the end."""
    make_eager(monkeypatch)
    async for house in house_of(projects, policy, sessions=3):
        folder = house.backend.directory
        yield house
    await until(lambda: not left_of(folder))
    assert not folder.exists()
