"""Kernels of installed kernelspecs: how they are found, and how they run here.

The echo language is in `echo_kernel.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kernels import foreign, kernelspecs, local, processes
from kernels.connection import loopback_connection
from kernels.errors import KernelspecNotFound, KernelStartError
from kernels.execution import CodeRequest, Ending, Execution, FileRequest
from kernels.foreign import ForeignKernel
from kernels.kernel import Message
from kernels.kernelspecs import Kernelspec, find, installed
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.local import LocalBackend, LocalKernel
from kernels.outputs import Text
from kernels.process_kernel import ProcessKernel
from kernels.textlog import Log
from kernels.verdict import outcome_of
from tests.conftest import ROOT, alive, open_fds, until

ECHO = [server_python(), str(ROOT / "tests" / "kernels" / "echo_kernel.py")]
LAUNCHER = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install("name", argv=[...], ...)` puts a kernelspec where Jupyter looks first."""
    base = tmp_path / "jupyter"
    monkeypatch.setenv("JUPYTER_PATH", str(base))
    # Nothing of the user who runs the tests.
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def install(name: str, text: str | None = None, **facts: Any) -> Path:
        file = base / "kernels" / name / "kernel.json"
        file.parent.mkdir(parents=True)
        facts = {"display_name": name, "language": "echo", **facts}
        file.write_text(json.dumps(facts) if text is None else text)
        return file

    return install


@pytest.fixture
async def backend(projects: Path) -> AsyncIterator[LocalBackend]:
    """Starts kernels, and ends them after the test."""
    made = LocalBackend(LocalSpec(server_python(), str(projects), kernel_environment()))
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def echo(install: Install) -> Kernelspec:
    """The echo kernel, interrupted by a signal."""
    install("echo", argv=[*ECHO, "-f", "{connection_file}"])
    return find("echo")


@pytest.fixture
def echo_by_message(install: Install) -> Kernelspec:
    """The echo kernel, interrupted by a message."""
    argv = [*ECHO, "by_message", "-f", "{connection_file}"]
    install("messaged", argv=argv, interrupt_mode="message")
    return find("messaged")


@dataclass
class Done:
    """An execution that is over."""

    ending: Ending
    execution: Execution
    late: Log

    @property
    def text(self) -> str:
        outputs = self.execution.collector.outputs()
        return "".join(output.text for output in outputs if isinstance(output, Text))

    @property
    def outcome(self) -> Any:
        collector = self.execution.collector
        return outcome_of(collector.reply, collector.error)


async def run(
    kernel: ProcessKernel,
    code: str,
    timeout: float = 20.0,
    grace: float = 10.0,
    meanwhile: Callable[[Execution], object] = lambda execution: None,
) -> Done:
    """Run a cell. `meanwhile` is called when it has written something."""
    late = Log(1000, 1000)
    execution = Execution(kernel, CodeRequest(code), late)
    following = asyncio.create_task(execution.follow(timeout, grace))
    await until(lambda: execution.collector.characters or following.done())
    meanwhile(execution)
    return Done(await following, execution, late)


class TestFinding:
    def test_a_kernelspec_comes_complete(self, install: Install) -> None:
        file = install(
            "My.Kernel",
            argv=["{resource_dir}/run", "{prefix}/x", "{else}", "-f={connection_file}"],
            display_name="My Kernel",
            language="mine",
            env={"A": "${HOME}:b"},
            interrupt_mode="message",
        )
        spec = find("MY.kernel")
        assert spec == Kernelspec(
            name="my.kernel",
            display_name="My Kernel",
            language="mine",
            argv=(
                f"{file.parent}/run",
                f"{sys.prefix}/x",
                "{else}",
                "-f={connection_file}",
            ),
            env={"A": "${HOME}:b"},
            interrupt_mode="message",
        )
        assert spec.command("/c.json")[-1] == "-f=/c.json"
        assert spec.environment({"HOME": "/h", "B": "1"}) == {"HOME": "/h", "A": "/h:b", "B": "1"}

    def test_the_usual_python_is_always_there(self, install: Install) -> None:
        spec = find("python3")
        assert spec.argv[0] == server_python()
        assert spec.is_usual and spec.is_default
        assert [s.name for s in installed()].count("python3") == 1

    def test_a_name_that_is_not_there_tells_those_that_are(self, install: Install) -> None:
        install("echo", argv=[*ECHO, "-f", "{connection_file}"])
        with pytest.raises(KernelspecNotFound) as caught:
            find("fortran")
        assert "'fortran'" in str(caught.value)
        assert "echo, " in str(caught.value)
        assert "python3" in str(caught.value)

    @pytest.mark.parametrize("name", ["", "../echo", "a b", "é", "x" * 5000])
    def test_a_name_that_cannot_be_one_is_just_not_there(self, install: Install, name: str) -> None:
        with pytest.raises(KernelspecNotFound) as caught:
            find(name)
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{not json", "is not a valid kernelspec"),
            ("[]", "is not a valid kernelspec"),
            ("null", "is not a valid kernelspec"),
            ("\udcff", "is not a valid kernelspec"),
            ("[" * 100_000, "is not a valid kernelspec"),
            ('{"argv": 1}', "is not a valid kernelspec"),
            ('{"argv": []}', "has no command"),
            ("{}", "has no command"),
            ('{"argv": [1, "{connection_file}"]}', "has no command"),
            ('{"argv": ["run"]}', "without {connection_file}"),
            ('{"argv": ["{connection_file}"], "env": {"A": 1}}', "not text"),
            ('{"argv": ["{connection_file}"], "env": null}', "is not a valid kernelspec"),
            (
                '{"argv": ["{connection_file}"], "interrupt_mode": "shout"}',
                "is not a valid kernelspec",
            ),
            (
                '{"argv": ["{connection_file}"], "metadata":'
                ' {"kernel_provisioner": {"provisioner_name": "k8s"}}}',
                "provisioner",
            ),
        ],
    )
    def test_a_broken_one_is_told_with_its_file_and_hides_no_other(
        self, install: Install, text: str, words: str
    ) -> None:
        file = install("broken", text="")
        file.write_bytes(text.encode("utf-8", "surrogateescape"))
        install("echo", argv=[*ECHO, "-f", "{connection_file}"])
        with pytest.raises(KernelspecNotFound) as caught:
            find("broken")
        message = str(caught.value)
        assert words in message
        assert str(file) in message
        assert "echo, python3" in message
        assert "\n" not in message
        assert [spec.name for spec in installed()] == ["echo", "python3"]

    def test_a_directory_that_may_not_be_read_hides_no_other(
        self, install: Install, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = install("echo", argv=[*ECHO, "-f", "{connection_file}"])
        forbidden, listdir = str(file.parent.parent), os.listdir

        def refuse(path: str) -> list[str]:
            if path == forbidden:
                raise PermissionError(13, "Permission denied", path)
            return listdir(path)

        monkeypatch.setattr(os, "listdir", refuse)
        with pytest.raises(KernelspecNotFound, match="python3"):
            find("echo")
        assert [spec.name for spec in installed()] == ["python3"]

    @pytest.mark.parametrize(
        ("argv", "split"),
        [
            (["py", *LAUNCHER], (["py"], ["-f", "{connection_file}"])),
            (["py", "-m", "ipykernel", "-f={connection_file}"], (["py"], ["-f={connection_file}"])),
            (["py", "-Xa", "-W", "error", *LAUNCHER, "--quiet"],
             (["py", "-Xa", "-W", "error"], ["-f", "{connection_file}", "--quiet"])),
            (["py", "-m", "bash_kernel", "-f", "{connection_file}"], None),
            (["py", "-m"], None),
            (["py", "-c", "-m", "ipykernel_launcher"], None),
            (["py", "run.py", *LAUNCHER], None),
            (["py", *LAUNCHER, "--IPKernelApp.kernel_class=mine.Kernel"], None),
            (["ark", "-f", "{connection_file}"], None),
            (["ark"], None),
        ],
    )  # fmt: skip
    def test_what_an_ipykernel_is(
        self, argv: list[str], split: tuple[list[str], list[str]] | None
    ) -> None:
        assert Kernelspec("a", "A", "x", tuple(argv), {}, "signal").ipykernel == split

    def test_only_the_usual_name_in_this_environment_is_the_usual_kernel(self) -> None:
        usual = Kernelspec("python3", "P", "python", (server_python(), *LAUNCHER), {}, "signal")
        assert usual.is_usual and usual.is_default
        assert not replace(usual, name="mine").is_usual
        assert not replace(usual, argv=("/other/bin/python3", *LAUNCHER)).is_usual
        changed = replace(usual, env={"A": "b"})
        assert changed.is_usual and not changed.is_default
        options = replace(usual, argv=(server_python(), "-O", *LAUNCHER))
        assert options.is_usual and not options.is_default

    def test_a_servers_start_does_not_wait_for_jupyter(self) -> None:
        """`kernels.local` is imported by every start; kernelspecs only when one is named."""
        code = (
            "import sys, kernels.local, kernels.kernelspecs\n"
            "print([m for m in sys.modules if m.startswith(('jupyter', 'traitlets', 'zmq'))])"
        )
        child = [sys.executable, "-c", code]
        done = subprocess.run(child, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("[]\n", "")


class TestIpykernels:
    """Any ipykernel has our guest."""

    async def test_another_environment(
        self, install: Install, backend: LocalBackend, projects: Path, tmp_path: Path
    ) -> None:
        venv.create(tmp_path / "other", with_pip=False, symlinks=True)
        python = str(tmp_path / "other" / "bin" / "python")
        packages = os.pathsep.join(path for path in sys.path if path.endswith("-packages"))
        install(
            "mine",
            argv=[python, "-X", "utf8", *LAUNCHER],
            display_name="My Python",
            language="python",
            env={"MINE": "yes", "PATH": "/mine:${PATH}", "PYTHONPATH": packages},
        )
        kernel = await backend.start(find("mine"))
        assert isinstance(kernel, LocalKernel) and kernel.scripted
        code = "import os, sys\nprint(os.environ['MINE'], sys.flags.utf8_mode, sys.executable)"
        assert (await run(kernel, code)).text == f"yes 1 {python}\n"
        code = "print(os.environ['PATH'])"
        assert (await run(kernel, code)).text == f"/mine:{os.environ['PATH']}\n"
        path = projects / "a.py"
        path.write_text("import sys\nprint(__name__, sys.argv[1:])\nsys.exit(3)\n")
        request = FileRequest(path, path.read_bytes(), ("x",))
        execution = Execution(kernel, request, Log(1000, 1000))
        done = Done(await execution.follow(20, 5), execution, Log(0, 0))
        assert done.text == "__main__ ['x']\n"
        assert done.outcome["exit_code"] == 3

    async def test_the_usual_one_is_the_one_that_is_ready(
        self, install: Install, backend: LocalBackend
    ) -> None:
        backend.launch_early()
        kernel = await backend.start(find("python3"))
        assert backend._early == []
        assert len(list(backend.directory.iterdir())) == 1
        assert (await run(kernel, "print(1)")).text == "1\n"

    async def test_the_usual_one_is_the_sessions_python_whatever_is_added_to_it(
        self, install: Install, projects: Path, tmp_path: Path
    ) -> None:
        chosen = tmp_path / "chosen"
        chosen.write_text(f'#!/bin/sh\nCHOSEN=1 exec {server_python()} "$@"\n')
        chosen.chmod(0o755)
        install("python3", argv=["python", *LAUNCHER], env={"MINE": "2"}, language="python")
        backend = LocalBackend(LocalSpec(str(chosen), str(projects), kernel_environment()))
        try:
            kernel = await backend.start(find("python3"))
            code = "import os\nprint(os.environ['CHOSEN'], os.environ['MINE'])"
            assert (await run(kernel, code)).text == "1 2\n"
        finally:
            await backend.close()

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ("ModuleNotFoundError: No module named 'ipykernel'", "pip install ipykernel"),
            ("ModuleNotFoundError: No module named 'ipykernel.debugger'", "--upgrade ipykernel"),
            ("broken on purpose", "broken on purpose"),
        ],
    )
    async def test_a_python_that_cannot(
        self, install: Install, backend: LocalBackend, tmp_path: Path, said: str, words: str
    ) -> None:
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 1\n')
        python.chmod(0o755)
        install("other", argv=[str(python), *LAUNCHER])
        with pytest.raises(KernelStartError) as caught:
            await backend.start(find("other"))
        assert words in str(caught.value)
        assert str(python) in str(caught.value)

    async def test_a_python_that_is_gone(self, install: Install, backend: LocalBackend) -> None:
        install("gone", argv=["/gone/bin/python", *LAUNCHER])
        with pytest.raises(KernelStartError) as caught:
            await backend.start(find("gone"))
        assert "The kernel 'gone' cannot start" in str(caught.value)
        assert "/gone/bin/python is not there" in str(caught.value)


class TestForeignKernels:
    """Any other kernel runs as it is."""

    async def test_a_cell(self, install: Install, backend: LocalBackend, projects: Path) -> None:
        install("echo", argv=[*ECHO, "-f", "{connection_file}"], env={"MINE": "${HOME}!"})
        kernel = await backend.start(find("echo"))
        assert isinstance(kernel, ForeignKernel) and not kernel.scripted
        done = await run(kernel, "hello\nenv MINE\nwhere")
        assert done.ending is Ending.DONE
        assert done.text == f"hello\n{os.environ['HOME']}!\n{projects}\n"
        assert done.outcome == {"exit_code": 0, "error": None}
        assert done.execution.collector.execution_count == 1
        assert await kernel.stack() == ""

    async def test_an_error(self, backend: LocalBackend, echo: Kernelspec) -> None:
        done = await run(await backend.start(echo), "before\nfail on purpose\nafter")
        assert done.ending is Ending.DONE
        assert done.text == "before\n"
        assert done.outcome["exit_code"] == 1
        assert done.outcome["error"]["name"] == "Error"
        assert done.outcome["error"]["value"] == "on purpose"

    async def test_many_messages_are_all_collected(
        self, backend: LocalBackend, echo: Kernelspec
    ) -> None:
        done = await run(await backend.start(echo), "count 500")
        assert done.text == "".join(f"{number}\n" for number in range(500))

    async def test_what_is_written_beside_the_messages_is_not_the_programs(
        self, backend: LocalBackend, echo: Kernelspec
    ) -> None:
        """Neither in its result nor among the late text; and much of it stops nothing."""
        kernel = await backend.start(echo)
        line = "raw " + "x" * 1000
        done = await run(kernel, "\n".join([line] * 300 + ["end"]))
        assert done.text == "end\n"
        assert done.late.text() == ""

    @pytest.mark.parametrize("spec", ["echo", "echo_by_message"])
    @pytest.mark.parametrize("how", ["timeout", "stop"])
    async def test_an_interrupt(
        self, backend: LocalBackend, spec: str, how: str, request: pytest.FixtureRequest
    ) -> None:
        """It comes as the kernelspec says, and the kernel lives on."""
        kernel = await backend.start(request.getfixturevalue(spec))
        if how == "stop":
            done = await run(kernel, "sleep", meanwhile=Execution.stop)
        else:
            done = await run(kernel, "sleep", timeout=0.5)
        assert done.ending is (Ending.STOPPED if how == "stop" else Ending.TIMEOUT)
        assert done.execution.obeyed
        assert done.text == "sleeping\n"
        assert done.outcome["error"]["name"] == "Interrupted"
        assert (await run(kernel, "on")).text == "on\n"

    async def test_an_interrupt_reaches_what_the_kernel_has_started(
        self, backend: LocalBackend, echo: Kernelspec
    ) -> None:
        """As Ctrl-C in a terminal does; the kernel itself may be the child of a script."""
        kernel = await backend.start(echo)
        done = await run(kernel, "child", meanwhile=Execution.stop)
        assert done.execution.obeyed
        assert done.text == f"sleeping\nchild ended: {-signal.SIGINT}\n"

    async def test_a_script_that_starts_the_kernel(
        self, install: Install, backend: LocalBackend, tmp_path: Path
    ) -> None:
        script = tmp_path / "run.sh"
        script.write_text(f'trap "" TERM\n{" ".join(ECHO)} -f "$1"\n')
        install("scripted", argv=["sh", str(script), "{connection_file}"])
        kernel = await backend.start(find("scripted"))
        done = await run(kernel, "sleep", meanwhile=Execution.stop)
        assert done.execution.obeyed
        await kernel.close()
        assert list(backend.directory.iterdir()) == []

    async def test_one_that_does_not_obey_is_killed(
        self, backend: LocalBackend, echo: Kernelspec
    ) -> None:
        kernel = await backend.start(echo)
        done = await run(kernel, "spawn\ndeaf", grace=0.3, meanwhile=Execution.stop)
        assert done.ending is Ending.STOPPED
        assert not done.execution.obeyed
        child, pid = int(done.text.split()[0]), kernel.pid
        assert pid is not None and alive(pid) and alive(child)
        await kernel.close()
        assert not alive(pid) and not alive(child)
        assert list(backend.directory.iterdir()) == []

    @pytest.mark.parametrize(
        ("command", "code", "number"), [("exit 7", 7, None), ("sleep", None, 9)]
    )
    async def test_a_death_is_noticed_at_once_and_explained(
        self,
        backend: LocalBackend,
        echo: Kernelspec,
        command: str,
        code: int | None,
        number: int | None,
    ) -> None:
        kernel = await backend.start(echo)

        def kill(execution: Execution) -> None:
            if number is not None and kernel.pid is not None:
                os.kill(kernel.pid, number)

        begun = time.monotonic()
        done = await run(kernel, f"hello\n{command}", timeout=60, meanwhile=kill)
        # A bound for what would otherwise be found by its timeout.
        assert time.monotonic() - begun < 20
        assert done.ending is Ending.DIED
        assert kernel.exit is not None
        assert (kernel.exit.code, kernel.exit.signal) == (code, number)
        assert done.outcome == {}
        await kernel.close()
        assert list(backend.directory.iterdir()) == []

    async def test_a_dead_ones_last_words_are_passed_on(
        self, install: Install, backend: LocalBackend, tmp_path: Path
    ) -> None:
        """What it wrote beside the messages since the last request."""
        script = tmp_path / "run.sh"
        script.write_text(f'{" ".join(ECHO)} -f "$1"\necho "the core has melted" >&2\nexit 3\n')
        install("melting", argv=["sh", str(script), "{connection_file}"])
        kernel = await backend.start(find("melting"))
        await run(kernel, "raw long ago")
        done = await run(kernel, "raw it gets hot\nexit 1")
        assert done.ending is Ending.DIED
        assert done.text == "it gets hot\nthe core has melted\n"
        assert kernel.exit is not None and kernel.exit.code == 3

    async def test_a_death_between_runs(self, backend: LocalBackend, echo: Kernelspec) -> None:
        kernel = await backend.start(echo)
        heard: list[Message] = []
        kernel.on_message = heard.append
        assert kernel.pid is not None
        os.kill(kernel.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            await kernel.exited.wait()
        assert kernel.exit is not None and kernel.exit.signal == signal.SIGKILL

    async def test_one_at_rest_is_asked_to_end_and_one_that_runs_is_not(
        self,
        backend: LocalBackend,
        echo: Kernelspec,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """So that it can remove what it made."""
        monkeypatch.setattr(foreign, "_LEAVE", 60.0)
        resting, running = await asyncio.gather(backend.start(echo), backend.start(echo))
        await run(resting, f"tidy {tmp_path / 'resting'}")
        await resting.close()
        assert (tmp_path / "resting").read_text() == "tidied"
        cell = CodeRequest(f"tidy {tmp_path / 'running'}\nsleep")
        execution = Execution(running, cell, Log(1000, 1000))
        await until(lambda: execution.collector.characters)
        await running.close()
        assert not (tmp_path / "running").exists()

    async def test_nothing_is_left_of_many(self, backend: LocalBackend, echo: Kernelspec) -> None:
        """Processes, descriptors and files are as before when kernels have come and gone."""
        await (await backend.start(echo)).close()
        before = open_fds()
        for _ in range(3):
            kernel = await backend.start(echo)
            child = int((await run(kernel, "spawn")).text)
            assert alive(child)
            pid = kernel.pid
            await kernel.close()
            assert pid is not None and not alive(pid) and not alive(child)
        # libzmq closes its own a moment later.
        await until(lambda: open_fds() <= before)
        assert list(backend.directory.iterdir()) == []
        assert backend._kernels == set()

    async def test_the_end_of_the_server_ends_them(self, projects: Path, echo: Kernelspec) -> None:
        backend = LocalBackend(LocalSpec(server_python(), str(projects), kernel_environment()))
        kernels = await asyncio.gather(*(backend.start(echo) for _ in range(3)))
        child = int((await run(kernels[0], "spawn")).text)
        pids = [kernel.pid for kernel in kernels]
        await backend.close()
        assert not any(pid is not None and alive(pid) for pid in (*pids, child))
        assert not backend.directory.exists()

    async def test_without_fork_they_work_all_the_same(
        self, projects: Path, echo: Kernelspec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The fallback for platforms without a warden, on this one: there an interrupt must not
        reach the server, in whose process group the kernel is."""
        monkeypatch.setattr(local.processes, "start_processes", processes.PlainProcesses)
        spec = LocalSpec(server_python(), str(projects), kernel_environment())
        backend = LocalBackend(spec)
        try:
            kernel = await backend.start(echo)
            assert (await run(kernel, "plain")).text == "plain\n"
            done = await run(kernel, "sleep", meanwhile=Execution.stop)
            assert done.execution.obeyed
            pid = kernel.pid
            assert (await run(kernel, "exit 4")).ending is Ending.DIED
            assert kernel.exit is not None and kernel.exit.code == 4
            again = await backend.start(echo)
            assert (await run(again, "again")).text == "again\n"
        finally:
            await backend.close()
        assert pid is not None and not alive(pid)
        assert again.pid is not None and not alive(again.pid)
        assert not backend.directory.exists()


class TestForeignKernelsThatDoNotStart:
    """One sentence says why, and nothing is left of them."""

    async def refusal(self, backend: LocalBackend, spec: Kernelspec) -> KernelStartError:
        with pytest.raises(KernelStartError):
            await backend.start(spec)
        before = open_fds()
        with pytest.raises(KernelStartError) as caught:
            await backend.start(spec)
        # libzmq closes its own a moment later.
        await until(lambda: open_fds() <= before)
        assert list(backend.directory.iterdir()) == []
        assert backend._kernels == set()
        return caught.value

    @pytest.mark.parametrize("program", ["/nowhere/kernel", "no-such-program"])
    async def test_its_program_is_not_there(
        self, install: Install, backend: LocalBackend, program: str
    ) -> None:
        install("absent", argv=[program, "{connection_file}"])
        error = await self.refusal(backend, find("absent"))
        assert str(error) == (
            f"The kernel 'absent' cannot start: its program {program} is not there or may not "
            "be run. Install it again, or choose another kernel."
        )

    async def test_it_ends_at_once(self, install: Install, backend: LocalBackend) -> None:
        argv = ["sh", "-c", 'echo "no licence" >&2; exit 5', "{connection_file}"]
        install("ends", argv=argv)
        error = await self.refusal(backend, find("ends"))
        assert "'ends' ended while it started: no licence." in str(error)
        assert error.detail == "no licence\n"

    async def test_it_ends_without_a_word(self, install: Install, backend: LocalBackend) -> None:
        install("mute", argv=["sh", "-c", "exit 5", "{connection_file}"])
        error = await self.refusal(backend, find("mute"))
        assert "exit status 5" in str(error)

    async def test_it_never_answers(
        self, install: Install, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local, "_START_TIMEOUT", 0.5)
        argv = ["sh", "-c", "echo loading; exec sleep 600", "{connection_file}"]
        install("silent", argv=argv)
        error = await self.refusal(backend, find("silent"))
        assert "did not answer within 0.5 s" in str(error)
        assert "The last that it said: loading." in str(error)
        assert error.detail == "loading\n"

    async def test_it_never_stops_talking(
        self, install: Install, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(local, "_START_TIMEOUT", 0.5)
        install("chatty", argv=["yes", "{connection_file}"])
        error = await self.refusal(backend, find("chatty"))
        assert "did not answer within 0.5 s" in str(error)
        assert len(str(error)) < 500 and len(error.detail) <= 4000


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are free until then")
class TestPorts:
    def test_nobody_gets_the_ports_of_a_kernel_by_chance(self) -> None:
        """They stay its own until it listens there."""
        connection, held = loopback_connection("a")
        ports = {connection[name] for name in connection if name.endswith("_port")}
        assert len(ports) == 5
        with held:
            for _ in range(2000):
                with socket.socket() as other:
                    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    other.bind(("127.0.0.1", 0))
                    assert other.getsockname()[1] not in ports
            for port in ports:
                with socket.socket() as kernel, socket.socket() as client:
                    kernel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    kernel.bind(("127.0.0.1", port))
                    with pytest.raises(ConnectionRefusedError):
                        client.connect(("127.0.0.1", port))
                    kernel.listen()
                    with socket.create_connection(("127.0.0.1", port), 5):
                        pass


def test_the_module_says_what_it_is_asked(install: Install) -> None:
    """What is read is what is on the disk now."""
    install("late", argv=["late", "{connection_file}"])
    assert kernelspecs.find("late").argv == ("late", "{connection_file}")
