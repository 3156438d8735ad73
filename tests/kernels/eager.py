"""Sessions of which a checkpoint is worth it after every run, and what their tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from kernels.execution import CodeRequest
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.result import RunResult, Status
from kernels.session import Session
from kernels.turn import Policy
from tests.conftest import alive, text_of, until

NOT_UNDONE = "files, databases and the network are not undone"


def back_to(run_id: str) -> str:
    """What a result says that goes back to the state after that run."""
    return f"variables are back to what they were after run {run_id}; {NOT_UNDONE}"


async def until_kept(session: Session, run_id: str) -> None:
    """Wait until there is a checkpoint of that run."""
    await until(lambda: session.checkpoint is not None and session.checkpoint.run_id == run_id)
    # What the one before it was, has ended.
    await until(lambda: session.keeper._taking is None)


def make_eager(patch: pytest.MonkeyPatch) -> None:
    """However small the state, a checkpoint is due after each success, and at once."""
    patch.setattr("kernels.checkpointing._RUNS", 1)
    patch.setattr("kernels.checkpointing._QUIET", 0.0)


class House:
    """A registry over real kernels, and shorthands."""

    def __init__(self, registry: Registry, backend: LocalBackend) -> None:
        self.registry, self.backend = registry, backend

    def session(self, name: str = "default") -> Session:
        return self.registry.find("", name)

    async def run(
        self, code: str, session: str = "default", timeout: float = 20, restart: bool = False
    ) -> RunResult:
        return await self.registry.submit("", session, CodeRequest(code), timeout, restart).result()

    async def tell(self, code: str, session: str = "default") -> str:
        """What a run that succeeds has printed."""
        result = await self.run(code, session)
        assert result.status is Status.OK, result
        return text_of(result).strip()

    async def keep(self, code: str, session: str = "default") -> str:
        """Run what succeeds, and wait for the checkpoint of it. Returns the run's id."""
        result = await self.run(code, session)
        assert result.status is Status.OK, result
        await self.kept(result.run_id, session)
        return result.run_id

    async def kept(self, run_id: str, session: str = "default") -> None:
        """Wait until there is a checkpoint of that run."""
        await until_kept(self.session(session), run_id)

    def processes(self) -> set[int]:
        """All that the warden looks after, without the template."""
        warden = psutil.Process(self.backend._processes._popen.pid)  # type: ignore[union-attr]
        found = {each.pid for each in warden.children(recursive=True) if alive(each.pid)}
        if self.backend._template is not None:
            found.discard(self.backend._template._process.pid or 0)
        return found

    def directories(self) -> int:
        """How many kernels have files."""
        return sum((path / "connection.json").exists() for path in self.backend.directory.iterdir())


async def house_of(
    projects: Path, policy: Policy | None = None, sessions: int = 16
) -> AsyncIterator[House]:
    """One with these limits."""
    backend = LocalBackend(LocalSpec(server_python(), str(projects), kernel_environment()))
    limits = Limits(sessions=sessions, policy=policy or Policy(grace=0.5))
    async with Registry(backend, limits) as registry:
        await backend.settle()
        yield House(registry, backend)
