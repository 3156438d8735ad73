"""Kernels that are forked from a template: as cold ones in all that a program can see, and none
the worse for whatever becomes of the template."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from kernels.execution import CodeRequest
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.result import Status
from kernels.template import Template
from kernels.turn import Policy
from tests.conftest import ROOT, alive, open_fds, text_of, until
from tests.kernels.differential import displays_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux alone")

#: Processes are counted: no session has one for its checkpoint.
LIMITS = Limits(policy=Policy(checkpoints=False))

FACTS = r"""
import asyncio, ctypes, faulthandler, gc, json, locale, os, re, resource, signal, socket, sys
import threading, warnings

def plain(value):
    return re.sub("0x[0-9a-f]+|[0-9a-f]{12}", "_", repr(value))

def kind(fd):
    try:
        target = os.readlink("/proc/self/fd/" + fd)
    except OSError:
        return "gone"
    return re.sub(r"(?<=rmi-agent-)\w+|[0-9a-f]{12}|\d{3,}", "_", target)

def is_packets(fd):
    try:
        with socket.socket(fileno=os.dup(int(fd))) as sock:
            return sock.type == socket.SOCK_SEQPACKET
    except OSError:
        return False

def prctl(option):
    value = ctypes.c_int()
    ctypes.CDLL(None).prctl(option, ctypes.byref(value), 0, 0, 0)
    return value.value

with open("/proc/self/environ", "rb") as file:
    entries = dict(entry.split(b"=", 1) for entry in file.read().split(b"\0") if b"=" in entry)
tag = entries.pop(b"RMI_AGENT_KERNEL").decode()
entries.pop(b"RMI_KERNEL")
mask = os.umask(0o22)
os.umask(mask)
wakeup = signal.set_wakeup_fd(-1)
print(json.dumps({
    "tag": tag == os.environ["RMI_AGENT_KERNEL"],
    "environment at first": sorted(map(repr, entries.items())),
    "environment": {k: v for k, v in os.environ.items() if k != "RMI_AGENT_KERNEL"},
    "path": sys.path, "argv": sys.argv, "original argv": plain(sys.orig_argv[:-1]),
    "executable": sys.executable, "flags": plain(sys.flags), "x": plain(sys._xoptions),
    "cwd": os.getcwd(), "umask": mask, "wakeup": wakeup,
    "signals": {n: plain(signal.getsignal(n)) for n in signal.valid_signals()},
    "blocked": plain(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "locale": [locale.setlocale(locale.LC_ALL), locale.getpreferredencoding()],
    # How many connections of the server's have come by now is not told.
    "descriptors": sorted(k for k in map(kind, os.listdir("/proc/self/fd")) if k[:6] != "socket"),
    "the template's": sum(map(is_packets, os.listdir("/proc/self/fd"))),
    "threads": sorted(t.name for t in threading.enumerate()),
    "tasks": len(os.listdir("/proc/self/task")),
    "main thread": threading.main_thread().native_id == os.getpid(),
    "gc": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
    "filters": plain(warnings.filters),
    "hooks": plain([sys.excepthook, sys.displayhook, sys.unraisablehook, sys.breakpointhook]),
    "meta path": [plain(type(each)) for each in sys.meta_path], "path hooks": len(sys.path_hooks),
    "names": sorted(globals()), "main": sys.modules["__main__"].__dict__ is globals(),
    "recursion": sys.getrecursionlimit(), "switch": sys.getswitchinterval(),
    "policy": plain(asyncio.get_event_loop_policy()),
    "limits": [resource.getrlimit(n) for n in range(16)],
    "nice": os.nice(0), "groups": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
    "death signal": prctl(2), "subreaper": prctl(37),
    "command": plain(open("/proc/self/cmdline").read().split("\0")[:3]),
    "own file": os.environ["RMI_AGENT_KERNEL"] in open("/proc/self/cmdline").read(),
    "parent": open("/proc/%d/cmdline" % os.getppid()).read().split("\0")[3].rpartition("/")[2],
    "faulthandler": faulthandler.is_enabled(),
    "tracing": [sys.gettrace(), sys.getprofile()],
    "debugpy": "debugpy" in sys.modules, "guest": "launch" in sys.modules,
}))
"""


def spec_of(cwd: Path, **options: Any) -> LocalSpec:
    return LocalSpec(server_python(), str(cwd), kernel_environment(), **options)


async def ask(registry: Registry, code: str, session: str = "default") -> str:
    return text_of(await registry.submit("", session, CodeRequest(code), 20).result())


def template_of(backend: LocalBackend) -> Template:
    assert backend._template is not None
    return backend._template


def pid_of(backend: LocalBackend) -> int:
    pid = template_of(backend)._process.pid
    assert pid is not None
    return pid


def is_forked(kernel_pid: int | None) -> bool:
    """As its environment tells it."""
    return "control" in Path(f"/proc/{kernel_pid}/environ").read_text()


class TestAsACold:
    async def test_a_program_finds_the_same(self, projects: Path) -> None:
        """Environment, descriptors, threads, signals, hooks and all that."""
        found = []
        for forks in (False, True):
            async with Registry(LocalBackend(spec_of(projects, forks=forks)), LIMITS) as registry:
                found.append(json.loads(await ask(registry, FACTS)))
                assert is_forked(registry.find("", "default").pid) is forks
        cold, forked = found
        assert {k: (v, cold[k]) for k, v in forked.items() if v != cold[k]} == {}
        assert forked["tag"] is True

    async def test_the_same_with_a_script(self, projects: Path) -> None:
        from kernels.execution import FileRequest

        found = []
        for forks in (False, True):
            async with Registry(LocalBackend(spec_of(projects, forks=forks)), LIMITS) as registry:
                request = FileRequest(projects / "x.py", FACTS.encode(), (), "")
                result = await registry.submit("", "default", request, 20).result()
                found.append(json.loads(text_of(result)))
        assert {k: (v, found[0][k]) for k, v in found[1].items() if v != found[0][k]} == {}

    async def test_two_of_them_draw_different_numbers(self, projects: Path) -> None:
        code = (
            "import random, uuid, tempfile, multiprocessing.process as p\n"
            "import numpy\n"
            "print(random.random())\nprint(numpy.random.random())\n"
            "print(numpy.random.default_rng().random())\nprint(uuid.uuid1())\n"
            "print(tempfile.mktemp())\nprint(bytes(p.current_process().authkey))"
        )
        backend = LocalBackend(spec_of(projects, preload=("numpy", "multiprocessing")))
        async with Registry(backend, LIMITS) as registry:
            await backend.settle()
            first = (await ask(registry, code, "a")).splitlines()
            second = (await ask(registry, code, "b")).splitlines()
            assert len(first) == 6
            assert [a for a, b in zip(first, second, strict=True) if a == b] == []

    async def test_a_hash_seed_that_was_given_is_kept(self, projects: Path) -> None:
        found = []
        env = {**kernel_environment(), "PYTHONHASHSEED": "7"}
        for forks in (False, True):
            spec = LocalSpec(server_python(), str(projects), env, forks=forks)
            async with Registry(LocalBackend(spec), LIMITS) as registry:
                found.append(await ask(registry, "print(hash('a'))"))
        assert found[0] == found[1]


class TestPreloading:
    async def test_a_module_is_there_and_works(self, projects: Path) -> None:
        """Threads of BLAS begin anew in each kernel; figures are shown inline."""
        modules = ("numpy", "pandas", "matplotlib.pyplot")
        backend = LocalBackend(spec_of(projects, preload=modules))
        async with Registry(backend, LIMITS) as registry:
            await backend.settle()
            code = (
                "import sys\nprint('pandas' in sys.modules)\nimport numpy as np\n"
                "print((np.ones((400, 400)) @ np.ones((400, 400)))[0, 0])\n"
                "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])"
            )
            for session in ("a", "b"):
                run = registry.submit("", session, CodeRequest(code), 30)
                result = await run.result()
                assert text_of(result) == "True\n400.0\n"
                assert "image/png" in displays_of(result)[0].data

    @pytest.mark.parametrize(
        ("source", "why"),
        [
            ("import threading, time\nthreading.Thread(target=time.sleep, args=(9,)).start()",
             "starts threads"),
            ("file = open('/etc/hostname')", "leaves a file open"),
            ("1 / 0", "ZeroDivisionError"),
            ("import os\nos._exit(3)", "ends the process"),
            ("import os\nos.kill(os.getpid(), 11)", "ends the process"),
            ("raise SystemExit(4)", "SystemExit"),
        ],
        ids=["threads", "files", "failure", "exit", "crash", "SystemExit"],
    )  # fmt: skip
    async def test_one_that_no_fork_could_bear_is_left_out(
        self,
        projects: Path,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        source: str,
        why: str,
    ) -> None:
        (tmp_path / "modules").mkdir()
        (tmp_path / "modules" / "unfit.py").write_text(source)
        env = {**kernel_environment(), "PYTHONPATH": str(tmp_path / "modules")}
        spec = LocalSpec(server_python(), str(projects), env, preload=("unfit", "colorsys"))
        backend = LocalBackend(spec)
        async with Registry(backend, LIMITS) as registry:
            with caplog.at_level(logging.WARNING):
                await backend.settle()
            (record,) = (r for r in caplog.records if r.name == "rmi.kernels")
            assert record.facts["module"] == "unfit"  # type: ignore[attr-defined]
            assert why in record.facts["why"]  # type: ignore[attr-defined]
            code = "import sys\nprint('unfit' in sys.modules, 'colorsys' in sys.modules)"
            assert await ask(registry, code) == "False True\n"

    async def test_while_it_goes_on_kernels_start_without(
        self, projects: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "slow.py").write_text("import time\ntime.sleep(30)")
        env = {**kernel_environment(), "PYTHONPATH": str(tmp_path)}
        spec = LocalSpec(server_python(), str(projects), env, preload=("slow",))
        async with Registry(LocalBackend(spec), LIMITS) as registry:
            assert await ask(registry, "print(1)") == "1\n"
            assert not is_forked(registry.find("", "default").pid)


class TestFaults:
    async def test_kernels_live_on_without_it_and_the_next_has_another(
        self, projects: Path
    ) -> None:
        backend = LocalBackend(spec_of(projects))
        async with Registry(backend, LIMITS) as registry:
            await ask(registry, "x = 1", "a")
            pid = pid_of(backend)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not template_of(backend).alive)
            assert await ask(registry, "print(x)", "a") == "1\n"
            assert await ask(registry, "print(2)", "b") == "2\n"
            assert pid_of(backend) != pid
            assert is_forked(registry.find("", "b").pid)
            died = await registry.submit(
                "", "a", CodeRequest("import os; os._exit(3)"), 20
            ).result()
            assert (died.status, died.exit_code) == (Status.DIED, 3)

    async def test_one_that_was_stopped_is_replaced(
        self, projects: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The kernel that it was asked for starts cold meanwhile."""
        monkeypatch.setattr("kernels.template._SILENCE", 1.0)
        backend = LocalBackend(spec_of(projects))
        async with Registry(backend, LIMITS) as registry:
            await ask(registry, "x = 1", "a")
            pid = pid_of(backend)
            os.kill(pid, signal.SIGSTOP)
            assert await ask(registry, "print(2)", "b") == "2\n"
            assert not is_forked(registry.find("", "b").pid)
            await until(lambda: not alive(pid))
            assert await ask(registry, "print(3)", "c") == "3\n"
            assert is_forked(registry.find("", "c").pid)
            assert await ask(registry, "print(x)", "a") == "1\n"

    async def test_one_that_is_killed_with_many_forks_under_way(self, projects: Path) -> None:
        """Each session gets one kernel, forked or cold, and nothing else is left."""
        backend = LocalBackend(spec_of(projects))
        async with Registry(backend, LIMITS) as registry:
            await ask(registry, "1", "first")
            asked = [asyncio.create_task(ask(registry, "print(1)", f"s{n}")) for n in range(8)]
            await until(lambda: len(list(backend.directory.iterdir())) > 3)
            os.kill(pid_of(backend), signal.SIGKILL)
            assert await asyncio.gather(*asked) == ["1\n"] * 8
            sessions = registry.everyones()
            pids = {session.pid for session in sessions}
            family = processes_of(backend)
            kernels = {p for p in family if p not in (pid_of(backend), warden_of(backend))}
            assert kernels == pids
            assert len(directories(backend)) == len(sessions)

    async def test_one_that_never_comes_up_is_given_up(
        self, projects: Path, tmp_path: Path
    ) -> None:
        """A Python that can be a kernel, but no template."""
        python = tmp_path / "python"
        fails = f"case $RMI_KERNEL in *control*) echo x >> '{tmp_path}/templates'; exit 1; esac"
        python.write_text(f"#!/bin/sh\n{fails}\nexec '{server_python()}' \"$@\"\n")
        python.chmod(0o755)
        backend = LocalBackend(LocalSpec(str(python), str(projects), kernel_environment()))
        async with Registry(backend, LIMITS) as registry:
            for number in range(5):
                assert await ask(registry, "print(1)", f"s{number}") == "1\n"
        assert (tmp_path / "templates").read_text().split() == ["x"] * 3

    async def test_a_fork_that_nobody_wants_any_more_ends(self, projects: Path) -> None:
        backend = LocalBackend(spec_of(projects))
        async with Registry(backend, LIMITS) as registry:
            await ask(registry, "1", "first")
            starting = asyncio.create_task(backend.start())
            await until(lambda: len(directories(backend)) == 2)
            starting.cancel()
            await asyncio.wait({starting})
            await until(lambda: len(directories(backend)) == 1)
            await until(lambda: len(processes_of(backend)) == 3)

    async def test_nothing_is_left_of_a_server_that_is_killed_while_it_forks(
        self, projects: Path
    ) -> None:
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVER, str(projects), cwd=ROOT, stdout=subprocess.PIPE
        )
        assert server.stdout is not None
        warden, template, directory = (await server.stdout.readline()).split()
        family = psutil.Process(int(warden)).children(recursive=True)
        server.kill()
        await server.wait()
        await until(lambda: not alive(int(warden)) and not alive(int(template)))
        await until(lambda: not any(alive(each.pid) for each in family))
        await until(lambda: not os.path.exists(directory))


SERVER = """
import asyncio, sys
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.local import LocalBackend

async def main():
    backend = LocalBackend(LocalSpec(server_python(), sys.argv[1], kernel_environment()))
    await backend.start()
    starts = [asyncio.create_task(backend.start()) for _ in range(16)]
    while len(list(backend.directory.iterdir())) < 8:
        await asyncio.sleep(0)
    pids = backend._processes._popen.pid, backend._template._process.pid
    print(*pids, backend.directory, flush=True)
    await asyncio.gather(*starts)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def warden_of(backend: LocalBackend) -> int:
    return int(backend._processes._popen.pid)  # type: ignore[union-attr]


def processes_of(backend: LocalBackend) -> list[int]:
    warden = psutil.Process(warden_of(backend))
    return [warden.pid, *(each.pid for each in warden.children(recursive=True) if alive(each.pid))]


def directories(backend: LocalBackend) -> list[Path]:
    return [path for path in backend.directory.iterdir() if (path / "ring").exists()]


@pytest.mark.slow
async def test_two_hundred_sessions_leave_nothing(projects: Path) -> None:
    """Opened, used and closed: descriptors, threads, processes and files are as before."""
    backend = LocalBackend(spec_of(projects))
    async with Registry(backend, replace(LIMITS, sessions=300)) as registry:

        async def live(name: str) -> None:
            assert await ask(registry, "print(1)", name) == "1\n"
            await registry.close("", name)

        for number in range(4):
            await live(f"warm {number}")
        fds, threads = open_fds(), psutil.Process().num_threads()
        family = processes_of(backend)
        there = {number: psutil.Process(number).num_fds() for number in family}
        for start in range(0, 200, 4):
            await asyncio.gather(*(live(f"s{start + number}") for number in range(4)))
        await until(lambda: open_fds() <= fds)
        assert psutil.Process().num_threads() <= threads
        assert processes_of(backend) == family
        assert {number: psutil.Process(number).num_fds() for number in family} == there
        assert directories(backend) == []
        zombies = [
            each.pid
            for each in psutil.Process(family[0]).children()
            if each.status() == psutil.STATUS_ZOMBIE
        ]
        assert zombies == []
