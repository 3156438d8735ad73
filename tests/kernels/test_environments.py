"""Sessions and the environments that they live in."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from kernels import local, start_errors
from kernels.environments import probing
from kernels.environments.environment import Activation, Chosen, Environment, kernelspec_of
from kernels.errors import BadRequest, KernelStartError, SessionError
from kernels.execution import CodeRequest, FileRequest
from kernels.kernel import Exit
from kernels.kernelspecs import Kernelspec
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.result import RunResult, State
from kernels.session import SessionState
from tests.conftest import text_of, until
from tests.kernels.fake_kernel import FakeBackend


def of(python: str, name: str, why: str = "", **variables: str) -> Chosen:
    """An environment of this interpreter."""
    where = Environment(name, "venv", python, Path(python).parent.parent, "3.12.1", "7.0.1")
    return Chosen(where, kernelspec_of(where, Activation(variables)), why)


ONE, OTHER = of("/one/bin/python", "venv:one"), of("/other/bin/python", "venv:other")
#: Kernels of no Python.
ECHO = Chosen(
    Environment("kernelspec:echo", "kernelspec", "", version="echo"),
    Kernelspec("echo", "Echo", "echo", ("echo", "{connection_file}"), {}, "signal"),
)


@pytest.fixture
async def backend() -> AsyncIterator[FakeBackend]:
    made = FakeBackend()
    yield made
    await made.close()


@pytest.fixture
async def fakes(backend: FakeBackend) -> AsyncIterator[Registry]:
    async with Registry(backend, Limits()) as registry:
        yield registry


async def run(
    registry: Registry,
    where: Chosen | None = None,
    restart: bool = False,
    name: str = "s",
    code: str = "1",
) -> RunResult:
    return await registry.submit("", name, CodeRequest(code), 20, restart, where).result()


class TestASessionsLife:
    async def test_its_kernels_are_of_its_environment_restarts_included(
        self, fakes: Registry, backend: FakeBackend
    ) -> None:
        await run(fakes, ONE)
        await run(fakes)
        await run(fakes, restart=True)
        await fakes.find("", "s").restart()
        await run(fakes)
        assert backend.specs == [ONE.kernelspec] * 3

    async def test_without_one_it_is_the_usual(self, fakes: Registry, backend: FakeBackend) -> None:
        assert (await run(fakes)).environment is None
        assert backend.specs == [None]

    async def test_another_one_is_refused_with_the_way(self, fakes: Registry) -> None:
        await run(fakes, ONE)
        with pytest.raises(SessionError) as refusal:
            await run(fakes, OTHER)
        assert str(refusal.value) == (
            "Session 's' lives in Python 3.12.1 (venv:one), not in Python 3.12.1 (venv:other). Set "
            "restart to begin anew there, without its variables, or name another session."
        )
        assert (await run(fakes)).environment == ONE

    async def test_the_usual_one_is_another_one_too(self, fakes: Registry) -> None:
        await run(fakes, ONE)
        usual = replace(OTHER, kernelspec=None)
        with pytest.raises(SessionError, match=r"not in Python 3\.12\.1"):
            await run(fakes, usual)
        await run(fakes, usual, name="t")
        with pytest.raises(SessionError, match="lives in the server's usual Python, not in"):
            await run(fakes, ONE, name="t")

    async def test_the_same_by_another_activation_is_the_same(self, fakes: Registry) -> None:
        await run(fakes, ONE)
        again = of("/one/bin/python", "venv:one", STAMP="2")
        assert (await run(fakes, again)).environment == ONE

    async def test_a_restart_takes_it_as_it_is_activated_now(
        self, fakes: Registry, backend: FakeBackend
    ) -> None:
        await run(fakes, ONE)
        again = of("/one/bin/python", "venv:one", STAMP="2")
        result = await run(fakes, again, restart=True)
        assert result.environment == again
        assert backend.specs == [ONE.kernelspec, again.kernelspec]

    async def test_restart_moves_it_and_says_what_is_lost(
        self, fakes: Registry, backend: FakeBackend
    ) -> None:
        await run(fakes, ONE)
        result = await run(fakes, OTHER, restart=True)
        assert result.environment == OTHER
        assert result.state is State.LOST
        assert result.notes == (
            "new session: the earlier one of this name was in another environment",
        )
        assert backend.kernels[0].closed

    async def test_one_without_a_kernel_may_be_elsewhere_without_restart(
        self, fakes: Registry, backend: FakeBackend
    ) -> None:
        """There is nothing to lose: an environment that does not work is no trap."""
        backend.failures = ["It does not work."]
        with pytest.raises(KernelStartError):
            await run(fakes, ONE)
        result = await run(fakes, OTHER)
        assert (result.environment, result.notes) == (OTHER, ())
        backend.kernels[-1].end(Exit(signal=9))
        assert fakes.find("", "s").state is SessionState.COLD
        result = await run(fakes, ONE)
        assert (result.environment, result.state) == (ONE, State.LOST)

    async def test_two_at_once_have_one_session(
        self, fakes: Registry, backend: FakeBackend
    ) -> None:
        results = await asyncio.gather(run(fakes, ONE), run(fakes, ONE))
        assert [result.environment for result in results] == [ONE, ONE]
        assert backend.specs == [ONE.kernelspec]

    async def test_of_two_that_want_two_the_second_is_refused(self, fakes: Registry) -> None:
        first = fakes.submit("", "s", CodeRequest("1"), 20, environment=ONE)
        with pytest.raises(SessionError, match="venv:other"):
            fakes.submit("", "s", CodeRequest("1"), 20, environment=OTHER)
        assert (await first.result()).environment == ONE

    async def test_a_file_is_not_for_kernels_of_other_languages(
        self, fakes: Registry, backend: FakeBackend
    ) -> None:
        """A session that was elsewhere stays as it is."""
        await run(fakes, ONE)
        request = FileRequest(Path("/x.py"), b"", (), "")
        for name in ("s", "new"):
            with pytest.raises(BadRequest, match=r"a kernel of Echo, which runs no \.py file"):
                fakes.submit("", name, request, 20, True, ECHO)
        assert (await run(fakes)).environment == ONE
        assert len(backend.specs) == 1


class TestTheUsualOne:
    async def test_results_say_what_decided_it(self, backend: FakeBackend) -> None:
        usual = of("/one/bin/python", "conda:ds", "environment.yml")
        async with Registry(backend, Limits(), usual=usual) as registry:
            result = await run(registry)
            assert result.environment is not None
            assert result.environment.title == "Python 3.12.1 (conda:ds) by environment.yml"
            # The backend starts it as its own.
            assert backend.specs == [None]

    async def test_what_could_not_be_followed_is_told_once(self, backend: FakeBackend) -> None:
        own = replace(ONE, kernelspec=None, notes=("environment.yml names what is not there.",))
        async with Registry(backend, Limits(), usual=own) as registry:
            first, second = await run(registry), await run(registry)
            assert first.notes == ("environment.yml names what is not there",)
            assert first.environment is None
            assert second.notes == ()

    async def test_notes_of_a_call_are_its_results(self, fakes: Registry) -> None:
        first = fakes.submit("", "s", CodeRequest("1"), 20)
        second = fakes.submit("", "s", CodeRequest("1"), 20, notes=("uv is not there",))
        assert (await first.result()).notes == ()
        assert (await second.result()).notes == ("uv is not there",)


class TestThePool:
    async def test_one_kind_is_kept_for_each_environment_as_it_is_activated_last(
        self, backend: FakeBackend
    ) -> None:
        async with Registry(backend, Limits(pool=1)) as registry:
            registry.prepare()
            await until(lambda: registry.is_ready)
            again = of("/one/bin/python", "venv:one", STAMP="2")
            await run(registry, ONE)
            await until(lambda: backend.specs == [None, ONE.kernelspec, ONE.kernelspec])
            await run(registry, again, name="t")
            await until(lambda: backend.specs[3:] == [again.kernelspec] * 2)
            await run(registry, again, name="u")
            await until(lambda: backend.specs[5:] == [again.kernelspec])
            assert backend.kernels[2].closed, "what was activated before is of no use"


class TestAPythonThatDoesNotStart:
    """Told in a sentence that says why, whatever the kernel itself could say."""

    @pytest.fixture
    async def registry(self, projects: Path) -> AsyncIterator[Registry]:
        spec = LocalSpec(server_python(), str(projects), kernel_environment())
        async with Registry(LocalBackend(spec), Limits(pool=0)) as registry:
            yield registry

    async def refusal(self, registry: Registry, python: Path) -> str:
        with pytest.raises(KernelStartError) as caught:
            await run(registry, of(str(python), "venv:here"))
        words = str(caught.value)
        assert str(python) in words
        assert "\n" not in words and len(words) < 500
        return words

    def program(self, folder: Path, content: bytes) -> Path:
        file = folder / "env" / "bin" / "python"
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        file.chmod(0o755)
        return file

    async def test_it_is_of_another_architecture(self, registry: Registry, tmp_path: Path) -> None:
        # An ELF file for a processor that nobody has (EM_FR20).
        header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 0x21, 1) + bytes(40)
        python = self.program(tmp_path, header)
        assert "no program for this machine" in await self.refusal(registry, python)

    async def test_it_hangs(
        self, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody waits for as long as a start may take."""
        monkeypatch.setattr(local, "_LONG", 0.2)
        monkeypatch.setattr(probing.probe, "__defaults__", (0.5,))
        python = self.program(tmp_path, b"#!/bin/sh\necho loading >&2\nexec sleep 600\n")
        words = await self.refusal(registry, python)
        assert "did not answer within 0.5 s" in words
        assert "loading" in words

    async def test_it_is_slow_but_works(
        self, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A look at it does no harm."""
        monkeypatch.setattr(local, "_LONG", 0.0)
        looked = []
        trouble_of = start_errors.trouble_of
        monkeypatch.setattr(local, "trouble_of", lambda *a: looked.append(a) or trouble_of(*a))
        python = self.program(tmp_path, f'#!/bin/sh\nexec "{server_python()}" "$@"\n'.encode())
        assert (await run(registry, of(str(python), "venv:here"))).exit_code == 0
        assert looked

    async def test_it_is_too_old(self, registry: Registry, tmp_path: Path) -> None:
        old = next(iter(sorted((Path.home() / ".pyenv" / "versions").glob("3.[67].*"))), None)
        if old is None:
            pytest.skip("there is no Python 3.6 or 3.7 on this machine")
        words = await self.refusal(registry, old / "bin" / "python")
        assert f"Python {old.name}" in words

    async def test_it_may_not_be_executed(self, registry: Registry, tmp_path: Path) -> None:
        python = self.program(tmp_path, b"")
        python.chmod(0o644)
        assert "may not be" in await self.refusal(registry, python)

    async def test_it_is_gone_while_a_session_lives_there(
        self, registry: Registry, tmp_path: Path
    ) -> None:
        """The session lives on; its restart is refused until it is there again, or with an
        environment that is."""
        python = self.program(tmp_path, f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'.encode())
        where = of(str(python), "venv:here")
        await run(registry, where, code="kept = 1")
        shutil.rmtree(python.parent.parent)
        assert text_of(await run(registry, code="print(kept)")) == "1\n"
        with pytest.raises(KernelStartError, match="is not there") as caught:
            await run(registry, restart=True)
        assert "venv:here" in str(caught.value)
        result = await run(registry, of(server_python(), "venv:other"))
        assert result.state is State.KEPT or result.notes

    async def test_a_session_is_activated(self, registry: Registry) -> None:
        """With all that its environment sets, to the letter."""
        where = of(server_python(), "venv:here", VIRTUAL_ENV="/a $HOME b", PATH=os.environ["PATH"])
        code = "import os; print(os.environ['VIRTUAL_ENV'])"
        assert text_of(await run(registry, where, code=code)) == "/a $HOME b\n"


async def test_what_the_usual_one_is_activated_with_is_not_for_others(projects: Path) -> None:
    plain = kernel_environment()
    spec = LocalSpec(
        server_python(), str(projects), {**plain, "CONDA_PREFIX": "/usual"}, plain=plain
    )
    async with Registry(LocalBackend(spec), Limits(pool=0)) as registry:
        code = "import os; print(os.environ.get('CONDA_PREFIX'))"
        assert text_of(await run(registry, code=code)) == "/usual\n"
        other = of(server_python(), "venv:other")
        result = await run(registry, other, name="t", code=code)
        assert text_of(result) == f"{plain.get('CONDA_PREFIX')}\n"
