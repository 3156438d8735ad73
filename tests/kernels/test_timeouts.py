"""Runs that do not end by themselves, on real kernels: the result tells the truth."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kernels.execution import CodeRequest, FileRequest
from kernels.limits import Limits
from kernels.outputs import Error
from kernels.registry import Registry
from kernels.result import RunResult, State, Status
from kernels.turn import Policy
from tests.conftest import RunCode, text_of, until

TIMEOUT, GRACE = 1.0, 1.0
#: With them the state would not be lost: see `test_rollbacks`.
CHECKPOINTS = False

OBEYS = {
    "a busy loop": "while True: pass",
    "a sleep": "import time\ntime.sleep(600)",
    "a top-level await": "import asyncio\nawait asyncio.sleep(600)",
    "a blocked subprocess": "import subprocess\nsubprocess.run(['sleep', '600'])",
    "a lock": "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()",
    "a thread to wait for": (
        "import threading, time\n"
        "t = threading.Thread(target=time.sleep, args=(600,), daemon=True)\nt.start()\nt.join()"
    ),
    "a stopped process": (
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nwhile True: pass"
    ),
}
DISOBEYS = {
    "a swallowed KeyboardInterrupt": (
        "import time\nwhile True:\n    try: time.sleep(600)\n    except KeyboardInterrupt: pass"
    ),
    "SIGINT ignored": (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(600)"
    ),
    "a loop in C": "def total():\n    return sum(range(10**12))\ntotal()",
}


@pytest.fixture
def limits() -> Limits:
    return Limits(policy=Policy(grace=GRACE, checkpoints=False))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", ["code", "file"])
@pytest.mark.parametrize("name", [*OBEYS, *DISOBEYS])
async def test_a_run_ends_with_its_time(
    shared_registry: Registry, tmp_path: Path, kind: str, name: str
) -> None:
    """Output so far, where it stood, that the state is lost; and the next run works.

    All in one session: each begins in the kernel that the one before left behind.
    """
    source = f"print('before')\n{ {**OBEYS, **DISOBEYS}[name] }\n"
    path = tmp_path / "hangs.py"
    path.write_text(source)

    async def run(request: CodeRequest | FileRequest, timeout: float = 20) -> RunResult:
        return await shared_registry.submit("", "default", request, timeout).result()

    first = await run(CodeRequest("kept = 1"))
    assert first.execution_count is not None
    cell = f"<cell {first.execution_count + 1}>"
    hangs = CodeRequest(source) if kind == "code" else FileRequest(path, source.encode(), (), "")
    begun = time.monotonic()
    result = await run(hangs, TIMEOUT)
    took = time.monotonic() - begun
    assert took < TIMEOUT + GRACE + 3
    assert result.status is Status.TIMEOUT
    assert result.exit_code is None
    assert result.state is State.LOST
    assert "before\n" in text_of(result)
    assert any("variables are gone" in note for note in result.notes)
    if name in OBEYS:
        words = text_of(result, "stderr") + "".join(
            o.traceback for o in result.outputs if isinstance(o, Error)
        )
        assert "KeyboardInterrupt" in words
        assert ("hangs.py" if kind == "file" else cell) in words
    else:
        assert "did not obey" in result.explanation
        assert ("hangs.py" if kind == "file" else cell) in result.explanation
    after = await run(CodeRequest("'kept' in globals()"))
    assert after.status is Status.OK
    assert "False" in str(after.outputs)


class TestKeepingTheState:
    """The policy `interrupt`: what obeys keeps its variables."""

    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(policy=Policy(grace=GRACE, keep_after_timeout=True, checkpoints=False))

    async def test_state_stays_when_the_kernel_obeys(self, run_code: RunCode) -> None:
        await run_code("kept = 1")
        result = await run_code("while True: pass", timeout=TIMEOUT)
        assert result.status is Status.TIMEOUT
        assert result.state is State.KEPT
        assert not any("gone" in note for note in result.notes)
        assert (await run_code("kept")).state is State.KEPT

    async def test_state_is_lost_when_it_does_not(self, run_code: RunCode) -> None:
        result = await run_code(DISOBEYS["a loop in C"], timeout=TIMEOUT)
        assert result.state is State.LOST
        assert any("gone" in note for note in result.notes)


async def test_a_stopped_run_keeps_its_state(registry: Registry, run_code: RunCode) -> None:
    await run_code("kept = 1")
    run = registry.submit("", "default", CodeRequest("print('on')\nwhile True: pass"), 60)
    await until(lambda: run.characters)
    run.stop()
    result = await run.result()
    assert result.status is Status.INTERRUPTED
    assert result.exit_code == 130
    assert result.state is State.KEPT
    assert (await run_code("kept")).status is Status.OK


async def test_output_of_a_timeout_is_whole(run_file: RunCode, projects: Path) -> None:
    """Everything printed before the end is there, flushed or not."""
    source = "for i in range(5000): print(i)\nprint('last', end='')\nwhile True: pass"
    result = await run_file("prints.py", source, timeout=TIMEOUT)
    expected = "".join(f"{i}\n" for i in range(5000)) + "last"
    assert text_of(result, "stdout") == expected
