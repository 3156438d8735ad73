"""Rows about other environments than the server's own."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from tests.bench import memory
from tests.bench.stdio import Server

Sample = Callable[[], Awaitable[float]]
Sides = tuple[Sample, ...]

#: Seconds that a list of environments may take.
_LISTED = 0.15
#: Prefixes of each kind, fifty in all, and what each of them has: as many packages as an ordinary
#: environment for data.
_CONDAS, _VENVS, _PYENVS, _PACKAGES = 30, 12, 8, 300
#: What is installed where sessions are that are not in the server's environment.
_KERNEL = "ipykernel==7.4.0"


@asynccontextmanager
async def listed(projects: Path) -> AsyncIterator[Sides]:
    """`list_environments` of a server that runs, where there are fifty prefixes."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _make_prefixes(home)
        with Server("ours", projects, **_settings(home)) as server:
            server.initialize()
            server.call("list_environments", "e29")
            memory.settle(server.pid)

            async def ours() -> float:
                return server.call("list_environments", "e29")

            yield ours, _bound


@asynccontextmanager
async def listed_first(projects: Path) -> AsyncIterator[Sides]:
    """The same as the first call of a server that has just begun."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        _make_prefixes(home)

        async def ours() -> float:
            with Server("ours", projects, **_settings(home)) as server:
                server.initialize()
                memory.settle(server.pid)
                return server.call("list_environments", "e29")

        yield ours, _bound


async def _bound() -> float:
    return _LISTED


def _settings(home: Path) -> dict[str, str]:
    """Variables by which a server finds these environments, and no others of this user's."""
    return {"HOME": str(home), "PYENV_ROOT": str(home / ".pyenv"), "JUPYTER_DATA_DIR": str(home)}


def _make_prefixes(home: Path) -> None:
    """Prefixes as conda, venv and pyenv lay them out, as far as files tell."""
    for number in range(_CONDAS):
        prefix = home / "miniforge3" / "envs" / f"e{number}"
        _make(prefix)
        meta = prefix / "conda-meta"
        meta.mkdir()
        (meta / "python-3.12.7-hc5c86c4_0_cpython.json").touch()
        for package in range(_PACKAGES):
            (meta / f"package{package}-1.0-0.json").touch()
    for number in range(_VENVS):
        prefix = home / ".virtualenvs" / f"v{number}"
        _make(prefix)
        (prefix / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.12.7\n")
    for number in range(_PYENVS):
        _make(home / ".pyenv" / "versions" / f"3.12.{number}")


def _make(prefix: Path) -> None:
    site = prefix / "lib" / "python3.12" / "site-packages"
    site.mkdir(parents=True)
    (prefix / "bin").mkdir()
    os.symlink("/bin/sh", prefix / "bin" / "python3.12")
    os.symlink("python3.12", prefix / "bin" / "python")
    (site / "ipykernel-7.0.1.dist-info").mkdir()
    for package in range(_PACKAGES):
        (site / f"package{package}").mkdir()
        (site / f"package{package}-1.0.dist-info").mkdir()


@asynccontextmanager
async def first(projects: Path) -> AsyncIterator[Sides]:
    """The first result in another environment, of a server that has just begun and rested; with
    jupyter_client, of its kernelspec."""
    from jupyter_client.kernelspec import KernelSpecManager

    from tests.bench.plain_kernel import PlainKernel

    with _environment() as (python, kernelspecs):

        async def ours() -> float:
            with Server("ours", projects) as server:
                server.initialize()
                memory.settle(server.pid)
                return server.call("run_code", "2", code="1+1", environment=python)

        async def stock() -> float:
            begun = time.perf_counter()
            manager = KernelSpecManager(kernel_dirs=[str(kernelspecs)])
            kernel = await PlainKernel.start(kernel_name="other", kernel_spec_manager=manager)
            await kernel.run("1+1")
            seconds = time.perf_counter() - begun
            await kernel.close()
            return seconds

        yield ours, stock


@asynccontextmanager
async def pooled(projects: Path) -> AsyncIterator[Sides]:
    """A further session there, whose kernel stands ready; a run in one that is warm."""
    numbers = itertools.count(1)
    with _environment() as (python, _), Server("ours", projects) as server:
        server.initialize()
        for _ in range(20):
            server.call("run_code", "2", code="1+1", environment=python, session="warm")
        memory.settle(server.pid)

        async def ours() -> float:
            name = f"fresh {next(numbers)}"
            seconds = server.call("run_code", "2", code="1+1", environment=python, session=name)
            server.call("close_session", session=name)
            memory.settle(server.pid)
            return seconds

        async def warm() -> float:
            memory.settle(server.pid)
            return server.call("run_code", "2", code="1+1", environment=python, session="warm")

        yield ours, warm


@contextmanager
def _environment() -> Iterator[tuple[str, Path]]:
    """A venv with ipykernel: its Python, and a folder with the kernelspec "other" of it."""
    with tempfile.TemporaryDirectory() as folder:
        prefix, kernelspecs = Path(folder) / "venv", Path(folder) / "kernels"
        python = str(prefix / "bin" / "python")
        for command in (
            [sys.executable, "-m", "venv", str(prefix)],
            [python, "-m", "pip", "install", "--quiet", _KERNEL],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
        file = kernelspecs / "other" / "kernel.json"
        file.parent.mkdir(parents=True)
        argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": argv, "display_name": "Other", "language": "python"}
        file.write_text(json.dumps(spec))
        yield python, kernelspecs
