"""Many failures of few sessions: `python -m tests.bench.soak_checkpoints [FAILURES]`, 500 by
default. Each session ends in every way that there is, is rewound and branched in between, and must
go on from where its checkpoint is. At the end nothing is left that was not there before.

Takes a quarter of an hour; not among the tests.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable

import psutil

from kernels.execution import CodeRequest
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.result import RunResult, State, Status
from kernels.turn import Policy
from tests.bench.memory import of_process

_SESSIONS = 4
_STATE = "import numpy as np\nx = np.arange(1_000_000.)\nnoted = []"
_TRAIL = (
    "import subprocess, threading, time\nx[:] = 0\nnoted.append('spoiled')\n"
    "subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
)
_ENDS = (
    "import os; os._exit(1)",
    "import os; os.abort()",
    "import os; os.kill(os.getpid(), 9)",
    "import os; os.killpg(0, 9)",
    "import ctypes; ctypes.string_at(0)",
    "while True: pass",
    "sum(range(10**12))",
    "import time\nwhile True:\n    try: time.sleep(600)\n    except KeyboardInterrupt: pass",
)


class _Soak:
    """One session after another, and how many failures there were."""

    def __init__(self, registry: Registry, backend: LocalBackend, failures: int) -> None:
        self._registry, self._backend, self._left = registry, backend, failures
        self.restored: list[float] = []

    async def _run(self, name: str, code: str, timeout: float = 60) -> RunResult:
        return await self._registry.submit("", name, CodeRequest(code), timeout).result()

    async def _keep(self, name: str, code: str) -> None:
        result = await self._run(name, code)
        assert result.status is Status.OK, result
        await self._until(
            lambda: (
                (facts := self._registry.find("", name).checkpoint) is not None
                and facts.run_id == result.run_id
            )
        )

    async def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            await asyncio.sleep(0.01)

    async def live(self, number: int) -> None:
        chance, name, noted = random.Random(number), f"s{number}", 0
        await self._keep(name, _STATE)
        while self._left > 0:
            self._left -= 1
            await self._fail(name, chance)
            result = await self._run(name, "assert x.sum() == 499999500000.0; print(len(noted))")
            assert result.status is Status.OK and str(noted) in str(result.outputs), result
            noted += 1
            await self._keep(name, f"noted.append({noted})")
            if chance.random() < 0.1:
                new = f"{name}'" if name == f"s{number}" else f"s{number}"
                await self._registry.branch("", name, new.replace("'", "b"))
                await self._registry.close("", name)
                name = new.replace("'", "b")
            elif chance.random() < 0.1:
                await self._registry.rewind("", name)

    async def _fail(self, name: str, chance: random.Random) -> None:
        if chance.random() < 0.1:
            session = self._registry.find("", name)
            os.kill(session.pid or 0, signal.SIGKILL)
            await self._until(lambda: not session.kernel_lives)
            return
        begun = time.perf_counter()
        end = chance.choice(_ENDS)
        result = await self._run(name, _TRAIL + end, 1.0)
        if result.status is Status.DIED:
            self.restored.append(time.perf_counter() - begun)
        assert result.state is State.RESTORED, result

    def processes(self) -> int:
        """Those that the warden looks after."""
        return len(psutil.Process().children(recursive=True))


async def _main(failures: int) -> None:
    # So that a run that has been forgotten shows.
    import kernels.checkpointing

    kernels.checkpointing._RUNS = 1
    me = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        backend = LocalBackend(LocalSpec(server_python(), folder, kernel_environment()))
        limits = Limits(sessions=2 * _SESSIONS, policy=Policy(grace=0.5))
        async with Registry(backend, limits) as registry:
            soak = _Soak(registry, backend, failures)
            await soak._keep("warm", "1")
            before = me.num_fds(), me.num_threads(), of_process(me.pid).uss
            there = soak.processes()
            lives: list[Awaitable[None]] = [soak.live(n) for n in range(_SESSIONS)]
            await asyncio.gather(*lives)
            for session in registry.sessions(""):
                if session.name != "warm":
                    await registry.close("", session.name)
            await soak._until(lambda: soak.processes() == there)
            after = me.num_fds(), me.num_threads(), of_process(me.pid).uss
            print(f"{failures} failures; dying run to its result, median "
                  f"{1000 * sorted(soak.restored)[len(soak.restored) // 2]:.0f} ms")  # fmt: skip
            for what, was, now in zip(("descriptors", "threads", "MB"), before, after, strict=True):
                print(f"{what}: {was:.0f}, then {now:.0f}")


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]) if len(sys.argv) > 1 else 500))
