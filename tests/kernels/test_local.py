"""Local kernels: their start, their processes and files, and what is left of them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from kernels import launching, local, processes
from kernels.errors import KernelStartError
from kernels.execution import CodeRequest
from kernels.guest import ring
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.result import Status
from tests.conftest import alive, open_fds, text_of, until


def backend(cwd: Path, python: str = server_python()) -> LocalBackend:
    return LocalBackend(LocalSpec(python, str(cwd), kernel_environment()))


async def ask(registry: Registry, code: str, session: str = "default") -> str:
    return text_of(await registry.submit("", session, CodeRequest(code), 20).result())


async def test_a_python_without_ipykernel_is_told_with_the_remedy(tmp_path: Path) -> None:
    import venv

    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = str(tmp_path / "bare" / "bin" / "python")
    async with Registry(backend(tmp_path, python), Limits()) as registry:
        with pytest.raises(KernelStartError, match=r"has no ipykernel.* pip install ") as caught:
            await ask(registry, "1")
        assert python in str(caught.value)


async def test_a_python_that_fails_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho broken on purpose >&2\nexit 3\n")
    script.chmod(0o755)
    async with Registry(backend(tmp_path, str(script)), Limits()) as registry:
        with pytest.raises(KernelStartError, match="broken on purpose"):
            await ask(registry, "1")


async def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    async with Registry(backend(tmp_path, "/nowhere/python"), Limits()) as registry:
        with pytest.raises(KernelStartError, match="There is no interpreter /nowhere/python"):
            await ask(registry, "1")


async def test_the_first_kernel_may_start_before_the_event_loop(projects: Path) -> None:
    early = await asyncio.to_thread(_launched_without_a_loop, projects)
    async with Registry(early, Limits()) as registry:
        registry.prepare()
        assert await ask(registry, "print('here')") == "here\n"


def _launched_without_a_loop(cwd: Path) -> LocalBackend:
    made = backend(cwd)
    made.launch_early()
    return made


async def test_nothing_is_left_of_many_sessions(projects: Path) -> None:
    """Descriptors, processes and files are as before when sessions have come and gone."""
    made = backend(projects)
    async with Registry(made, Limits()) as registry:
        await ask(registry, "1", "first")
        await registry.close("", "first")
        before = open_fds()
        pids = []
        for number in range(6):
            name = f"s{number}"
            await ask(registry, "import subprocess; p = subprocess.Popen(['sleep', '600'])", name)
            pids.append(registry.find("", name).pid)
            await registry.close("", name)
        assert not any(pid is not None and alive(pid) for pid in pids)
        # libzmq closes its own a little later.
        await until(lambda: open_fds() <= before)
        assert list(made.directory.iterdir()) == []
    assert not made.directory.exists()


async def test_a_kernel_that_ends_when_the_backend_does(projects: Path) -> None:
    """Whoever waits for its end hears of it."""
    made = backend(projects)
    kernel = await made.start()
    closing = asyncio.create_task(kernel.close())
    await asyncio.sleep(0)
    await made.close()
    await asyncio.wait_for(closing, 20)


async def test_children_end_with_their_kernel_and_not_with_another(projects: Path) -> None:
    code = (
        "import subprocess\n"
        "p = subprocess.Popen(['sleep', '600'], start_new_session=True)\nprint(p.pid)"
    )
    async with Registry(backend(projects), Limits()) as registry:
        first = int(await ask(registry, code, "a"))
        second = int(await ask(registry, code, "b"))
        await registry.close("", "a")
        assert not alive(first)
        assert alive(second)
    assert not alive(second)


async def test_a_killed_warden_is_replaced(projects: Path) -> None:
    """Its kernels die with it, which is said; the next run works under a new one."""
    made = backend(projects)
    async with Registry(made, Limits()) as registry:
        child = int(
            await ask(
                registry,
                "import subprocess\n"
                "p = subprocess.Popen(['sleep', '600'], start_new_session=True)\nprint(p.pid)",
            )
        )
        session = registry.find("", "default")
        pid = session.pid
        assert isinstance(made._processes, processes.Warden)
        made._processes._popen.kill()
        made._processes._popen.wait()
        await until(lambda: session.state == "cold")
        result = await registry.submit("", "default", CodeRequest("print(1)"), 20).result()
        assert result.status is Status.OK
        assert any("gone" in note for note in result.notes)
        assert pid is not None
        await until(lambda: not alive(pid))
        await until(lambda: not alive(child))


async def test_a_warden_that_is_gone_starts_nothing_and_says_so(projects: Path) -> None:
    made = backend(projects)
    kernel = await made.start()
    warden = made._processes
    assert isinstance(warden, processes.Warden)
    warden._popen.kill()
    await kernel.exited.wait()
    process = warden.start("late", ["true"], {}, str(projects), [])
    assert process.exited.is_set() and process.gone.is_set()
    assert process.failure == "the process that looks after kernels has died"
    await kernel.close()
    await made.close()


async def test_nothing_is_left_of_a_start_for_which_too_many_files_are_open(
    projects: Path,
) -> None:
    """At whatever step of it."""
    import resource

    made = backend(projects)
    starter = made._living_processes()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Numbers below it that are free are taken before.
    taken = [os.open(os.devnull, os.O_RDONLY)]
    while len(taken) < 20 or taken[-1] != taken[-2] + 1:
        taken.append(os.open(os.devnull, os.O_RDONLY))
    before, launched, refused = open_fds(), None, 0
    while launched is None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1] + 1 + refused, limits[1]))
        try:
            launched = made._launch()
        except KernelStartError as error:
            refused += 1
            assert str(error).startswith("No kernel could be started: Too many open files. ")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        if launched is None:
            assert open_fds() == before
            assert list(made.directory.iterdir()) == []
    launched.release()
    for fd in taken:
        os.close(fd)
    await made.close()
    assert refused > 5
    assert made._processes is starter


async def test_without_fork_kernels_work_all_the_same(
    projects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fallback for platforms without a warden, on this one."""
    monkeypatch.setattr(local.processes, "start_processes", processes.PlainProcesses)
    made = backend(projects)
    async with Registry(made, Limits()) as registry:
        assert await ask(registry, "print('plain')\nimport os") == "plain\n"
        pid = registry.find("", "default").pid
        result = await registry.submit("", "default", CodeRequest("os._exit(4)"), 20).result()
        assert result.status is Status.DIED
        assert result.exit_code == 4
        assert await ask(registry, "print(1)") == "1\n"
    assert pid is not None and not alive(pid)
    assert not made.directory.exists()


async def test_the_servers_own_settings_stay_out_of_kernels(
    projects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {**os.environ, "RMI_TOKENS": "a:secret", "MY_DATA": "here"}
    spec = LocalSpec(server_python(), str(projects), kernel_environment(own))
    async with Registry(LocalBackend(spec), Limits()) as registry:
        code = "import os\nprint(os.environ.get('RMI_TOKENS'), os.environ['MY_DATA'])"
        assert await ask(registry, code) == "None here\n"


async def test_garbage_on_the_sockets_is_ignored(projects: Path) -> None:
    """Unsigned and foreign messages to the client's sockets change nothing."""
    import zmq

    made = backend(projects)
    async with Registry(made, Limits()) as registry:
        await ask(registry, "x = 1")
        connection = next(made.directory.iterdir()) / "k"
        context = zmq.Context()
        for port in (1, 4):
            sock = context.socket(zmq.DEALER)
            sock.linger = 200
            sock.connect(f"ipc://{connection}-{port}")
            sock.send(b"garbage")
            sock.send_multipart([b"<IDS|MSG>", b"bad", b"{}", b"{}", b"{}", b"{}"])
            sock.close()
        context.term()
        assert await ask(registry, "print(x)") == "1\n"


def test_a_ring_gives_back_what_was_not_read(tmp_path: Path) -> None:
    """Also around its end; None when the place has been overwritten."""
    path = str(tmp_path / "ring")
    ring.create(path)
    writer = ring.Ring(path)
    writer.append(0, b"a", b"one")
    position = writer.end
    writer.append(1, b"b", "zwei é".encode())
    assert list(ring.unread(path, position) or ()) == [("b", "stderr", "zwei é")]
    for _ in range(5):
        position = writer.end
        writer.append(0, b"c", b"x" * 900_000)
        assert [len(text) for _, _, text in ring.unread(path, position) or ()] == [900_000]
    assert ring.unread(path, 0) is None


def test_socket_paths_stay_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("long" * 30)))
    directory = launching.make_run_directory()
    try:
        assert len(directory) < 80
        assert os.stat(directory).st_mode & 0o777 == 0o700
    finally:
        os.rmdir(directory)


def test_the_interpreter_is_absolute() -> None:
    assert os.path.isabs(server_python())
    assert os.path.samefile(server_python(), sys.executable)
