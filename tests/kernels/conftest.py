"""A kernel that the scripts of one module share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kernels.launching import kernel_environment
from kernels.limits import Limits
from kernels.registry import Registry
from kernels.turn import Policy

pytest.register_assert_rewrite("tests.kernels.differential")

from tests.conftest import backend_of, begin  # noqa: E402
from tests.kernels.differential import ENVIRONMENT, Bench  # noqa: E402


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
