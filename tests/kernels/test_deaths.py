"""Kernels that die: noticed at once, explained, nothing printed is lost, the next run works."""

from __future__ import annotations

import os
import signal
import time

import pytest

from kernels.execution import CodeRequest
from kernels.limits import Limits
from kernels.registry import Registry
from kernels.result import State, Status
from kernels.turn import Policy
from tests.conftest import STARTS, RunCode, text_of, until

pytestmark = pytest.mark.parametrize("registry", STARTS, indirect=True)
DEATHS = {
    "os._exit": ("import os\nos._exit(5)", 5, None, "exit code 5"),
    "os._exit(0)": ("import os\nos._exit(0)", 0, None, "exit code 0"),
    "segfault": ("import ctypes\nctypes.string_at(0)", None, signal.SIGSEGV, "segmentation fault"),
    "abort": ("import os\nos.abort()", None, signal.SIGABRT, "SIGABRT"),
    "kill -9": ("import os\nos.kill(os.getpid(), 9)", None, signal.SIGKILL, "killed from outside"),
    "killpg": ("import os\nos.killpg(0, 15)", None, signal.SIGTERM, "SIGTERM"),
}


@pytest.fixture
def limits() -> Limits:
    """Without checkpoints: of what there is then, `test_rollbacks` tells."""
    return Limits(policy=Policy(grace=1.0, checkpoints=False))


@pytest.mark.parametrize("flushed", [True, False], ids=["flushed", "not flushed"])
@pytest.mark.parametrize("name", DEATHS)
async def test_a_death_is_explained(
    run_code: RunCode, run_file: RunCode, name: str, flushed: bool
) -> None:
    source, code, number, words = DEATHS[name]
    await run_code("kept = 1")
    before = f"import os\nprint('printed', flush={flushed})\nos.write(1, b'raw\\n')\n"
    begun = time.monotonic()
    result = await run_file("dies.py", before + source)
    assert time.monotonic() - begun < 5
    assert result.status is Status.DIED
    assert result.exit_code == code
    assert result.signal == number
    assert result.state is State.LOST
    assert text_of(result, "stdout") == "printed\nraw\n"
    assert words in result.explanation
    assert any("variables are gone" in note for note in result.notes)
    if name in ("segfault", "abort"):
        assert "dies.py" in result.explanation
        assert "launch.py" not in result.explanation
    after = await run_code("'kept' in globals()")
    assert after.status is Status.OK
    assert any("fresh kernel" in note for note in after.notes)
    assert "False" in str(after.outputs)


async def test_much_output_before_a_death_is_kept(run_file: RunCode) -> None:
    """Also what was written and not yet sent when the process ended."""
    source = "import os\nfor i in range(15000): print(i)\nos._exit(1)"
    result = await run_file("dies.py", source)
    assert text_of(result) == "".join(f"{i}\n" for i in range(15000))


async def test_a_kill_from_outside_is_noticed_within_a_second(registry: Registry) -> None:
    run = registry.submit("", "default", CodeRequest("print('on')\nwhile True: pass"), 60)
    await until(lambda: run.characters)
    pid = run.session.pid
    assert pid is not None
    begun = time.monotonic()
    os.kill(pid, 9)
    result = await run.result()
    assert time.monotonic() - begun < 1
    assert result.status is Status.DIED
    assert result.signal == 9


async def test_an_idle_kernel_that_was_killed_is_told_with_the_next_run(
    registry: Registry, run_code: RunCode
) -> None:
    await run_code("kept = 1")
    session = registry.find("", "default")
    assert session.pid is not None
    os.kill(session.pid, 9)
    await until(lambda: session.state == "cold")
    result = await run_code("'kept' in globals()")
    assert "False" in str(result.outputs)
    assert result.state is State.LOST
    assert any("killed" in note and "gone" in note for note in result.notes)
    assert (await run_code("1")).notes == ()


async def test_out_of_memory_is_an_error_or_an_explained_death(run_code: RunCode) -> None:
    """Under a memory limit of the process an allocation fails and the kernel lives on."""
    result = await run_code(
        "import resource\nresource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))\n"
        "block = bytearray(6 << 30)"
    )
    assert result.status is Status.ERROR
    assert result.error is not None
    assert result.error["name"] == "MemoryError"
    assert (await run_code("1 + 1")).status is Status.OK
