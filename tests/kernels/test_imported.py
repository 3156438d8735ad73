"""A kernel tells which modules it has imported, also during a run; new kernels know of none that
was replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kernels.errors import KernelError
from kernels.execution import CodeRequest
from kernels.imported import imported_of
from kernels.kernel import Kernel
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from tests.conftest import RunCode, text_of, until
from tests.kernels.fake_kernel import FakeKernel

NAMES = ("colorsys", "xml.dom.minidom", "wave", "no such")


def kernel_of(registry: Registry) -> Kernel:
    kernel = registry.find("", "default")._kernel
    assert kernel is not None
    return kernel


async def test_it_tells_which_of_the_names_it_has_imported(
    registry: Registry, run_code: RunCode
) -> None:
    await run_code("import colorsys, xml.dom.minidom")
    session = registry.find("", "default")
    assert await session.imported(NAMES) == {"colorsys", "xml.dom.minidom"}
    assert await session.imported(()) == frozenset()


async def test_it_tells_while_a_program_runs(registry: Registry, projects: Path) -> None:
    begun = projects / "begun"
    code = f"import wave\nopen({str(begun)!r}, 'w').close()\nwhile True: pass"
    run = registry.submit("", "default", CodeRequest(code), 100)
    await until(begun.exists)
    assert await imported_of(kernel_of(registry), NAMES, patience=20) == {"wave"}
    run.stop()
    await run.result()


async def test_no_code_of_the_programs_runs_for_it(registry: Registry, run_code: RunCode) -> None:
    """Whatever the program has put among the modules."""
    await run_code(
        "import sys, colorsys\n"
        "class Trap(str):\n"
        "    def __hash__(self): return hash('wave')\n"
        "    def __eq__(self, other): ran.append(1); return True\n"
        "ran = []\nsys.modules[Trap('x')] = sys; ran.clear()\nsys.modules['odd'] = None"
    )
    assert await imported_of(kernel_of(registry), NAMES, patience=20) == {"colorsys"}
    assert text_of(await run_code("print(ran)")) == "[]\n"


async def test_a_session_without_a_kernel_has_imported_nothing(
    registry: Registry, run_code: RunCode
) -> None:
    await run_code("import colorsys")
    session = registry.find("", "default")
    await session.restart()
    assert await session.imported(NAMES) == frozenset()


@pytest.mark.parametrize("told", [None, {}, {"imported": 3}])
async def test_one_that_does_not_tell_is_a_sentence(told: dict[str, object] | None) -> None:
    kernel = FakeKernel()
    kernel.told = told
    with pytest.raises(KernelError, match=r"did not tell within 2 s .*\.$"):
        await imported_of(kernel, NAMES)


async def test_a_kernel_of_another_language_does_not_tell() -> None:
    kernel = FakeKernel()
    kernel.scripted = False
    with pytest.raises(KernelError, match="Only kernels of Python"):
        await imported_of(kernel, NAMES)


async def test_kernels_that_begin_after_a_change_have_imported_nothing_old(
    tmp_path: Path, projects: Path
) -> None:
    """Neither those that stood ready, nor what new ones are forked from, with all that is
    imported there."""
    library = tmp_path / "site-packages"
    library.mkdir()
    thing = library / "thing.py"
    thing.write_text("version = 1")
    environment = {**kernel_environment(), "PYTHONPATH": str(library)}
    spec = LocalSpec(server_python(), str(projects), environment, preload=("thing",))
    async with Registry(LocalBackend(spec), Limits()) as registry:

        async def version(session: str) -> str:
            request = CodeRequest("import thing; print(thing.version)")
            return text_of(await registry.submit("", session, request, 60).result())

        registry.prepare()
        await until(lambda: registry.is_ready, 60)
        assert await version("a") == "1\n"
        await until(lambda: registry.is_ready, 60)
        thing.write_text("version = 2")
        os.utime(thing, (1, 1))
        assert await version("b") == "1\n"
        await registry.renew()
        # The living one keeps what it has.
        assert await version("a") == "1\n"
        assert await version("c") == "2\n"
        assert await version("d") == "2\n"
