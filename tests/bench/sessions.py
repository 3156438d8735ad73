"""`python -m tests.bench.sessions`: what a thousand sessions leave behind."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass, fields

import psutil

from kernels.execution import CodeRequest
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.result import Status

#: More than the runs that are remembered.
_WARM_UP_RUNS, _WARM_UP_SESSIONS = 2200, 100
_AT_ONCE = 4
#: Megabytes by which memory may differ.
_SLACK = 5.0
_CODE = CodeRequest("x = 1\nprint(x)")


@dataclass(frozen=True)
class Look:
    """What there is at one moment. `memory`: megabytes that this process has for itself; `family`:
    those of all processes that it has started, together."""

    files: int
    threads: int
    processes: int
    zombies: int
    temporary: int
    memory: float
    family: float

    def exceeds(self, before: Look) -> list[str]:
        """Of what there is more than before."""
        return [
            field.name
            for field, now, then in zip(fields(self), astuple(self), astuple(before), strict=True)
            if now > then + (_SLACK if field.type == "float" else 0)
        ]


def _look(backend: LocalBackend) -> Look:
    gc.collect()
    own = psutil.Process()
    zombies, family = 0, 0.0
    started = own.children(recursive=True)
    for process in started:
        with contextlib.suppress(psutil.Error):
            zombies += process.status() == psutil.STATUS_ZOMBIE
            family += process.memory_full_info().uss / 1e6
    files = own.num_fds() if os.name == "posix" else 0
    temporary = sum(len(folders) + len(names) for _, folders, names in os.walk(backend.directory))
    uss = own.memory_full_info().uss / 1e6
    return Look(files, own.num_threads(), len(started), zombies, temporary, uss, family)


async def _measure(count: int) -> tuple[Look, Look]:
    with tempfile.TemporaryDirectory(prefix="rmi-bench-") as projects:
        backend = LocalBackend(LocalSpec(server_python(), projects, kernel_environment()))
        async with Registry(backend, Limits(sessions=_AT_ONCE + 1)) as registry:
            registry.prepare()

            async def run(name: str) -> None:
                result = await registry.submit("", name, _CODE, 60).result()
                if result.status is not Status.OK:
                    raise RuntimeError(f"{name}: {result.explanation or result.error}")

            async def live(name: str) -> None:
                await run(name)
                await registry.close("", name)

            await _each(run, ["warm"] * _WARM_UP_RUNS)
            await registry.close("", "warm")
            await _each(live, [f"before {number}" for number in range(_WARM_UP_SESSIONS)])
            before = await _rested(registry, backend)
            await _each(live, [f"session {number}" for number in range(count)])
            return before, await _rested(registry, backend)


async def _each(act: Callable[[str], Awaitable[None]], names: list[str]) -> None:
    for start in range(0, len(names), _AT_ONCE):
        await asyncio.gather(*map(act, names[start : start + _AT_ONCE]))


async def _rested(registry: Registry, backend: LocalBackend) -> Look:
    """A look when the pool is full and nothing more ends."""
    look, again = None, _look(backend)
    while not registry.is_ready or look is None or astuple(look)[:5] != astuple(again)[:5]:
        await asyncio.sleep(1)
        look, again = again, _look(backend)
    return again


def main(argv: list[str] | None = None) -> int:
    """Returns 1 when something is left behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sessions", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="sessions (1000)")
    before, after = asyncio.run(_measure(parser.parse_args(argv).count))
    print(f"{'':10}{'before':>8}{'after':>8}")
    for field, then, now in zip(fields(before), astuple(before), astuple(after), strict=True):
        print(f"{field.name:10}{then:8.5g}{now:8.5g}")
    more = after.exceeds(before)
    print(f"There is more of: {', '.join(more)}." if more else "Nothing is left behind.")
    return 1 if more else 0


if __name__ == "__main__":
    sys.exit(main())
