"""Where memory or processes are short: a checkpoint costs no run its success, what was killed is
told, and the server goes on. Under real limits of the system."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernels.errors import SessionError
from kernels.result import State, Status
from tests.conftest import ROOT, text_of, until
from tests.e2e import raw
from tests.e2e.test_checkpoints import kept, said
from tests.kernels.eager import House
from tests.kernels.groups import Group, group_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")

MEGABYTE = 1 << 20
#: Of which a server without a session takes 60.
LIMIT = 700 * MEGABYTE
FILL = "x = bytearray(b'x') * (200 << 20)"
#: Of which a checkpoint then has what was there.
REWRITE = "for i in range(0, len(x), 4096): x[i] = 1\n"
#: What fits beside that in 700 MB, unless there is the checkpoint, too; and what never does.
MORE = "y = []\nfor _ in range(28): y.append(bytearray(b'y') * (10 << 20))\n"
TOO_MUCH = "z = []\nwhile True: z.append(bytearray(b'z') * (10 << 20))\n"
DIES = "import os; os._exit(1)"


@pytest.fixture
def group() -> Iterator[Group]:
    limits = ("memory.limit_in_bytes", "memory.max")
    swap = {"memory.memsw.limit_in_bytes": LIMIT, "memory.swap.max": 0}
    with group_of("memory", {**dict.fromkeys(limits, LIMIT), **swap}) as group:
        yield group


class Limited:
    """See `limited`."""

    def __init__(self, group: Group, projects: Path, watch: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kernels.limited", group.processes, projects, watch],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))

    def run(self, code: str) -> dict[str, Any]:
        return self.ask(code=code)


@pytest.fixture
def limited(group: Group, projects: Path, request: pytest.FixtureRequest) -> Iterator[Limited]:
    limited = Limited(group, projects, getattr(request, "param", "on"))
    with limited.process:
        yield limited
        limited.process.communicate(timeout=20)
    assert limited.process.returncode == 0


class TestALimitOfMemory:
    @pytest.mark.parametrize("limited", ["off"], indirect=True)
    def test_the_system_ends_the_checkpoint_first(self, limited: Limited, group: Group) -> None:
        """A run that there is no room for beside it goes on, and has its state."""
        last = limited.run(FILL)
        facts = limited.ask(kept=last["run_id"])
        assert facts["left"][1] == LIMIT
        result = limited.run(REWRITE + MORE + "print(x[0], len(y))")
        assert (result["status"], result["state"], result["text"]) == ("ok", "kept", "1 28\n")
        assert result["notes"] == []
        assert group.killed() == 1
        facts = limited.ask()
        assert facts["checkpoint"] is None
        assert facts["no_checkpoint"] == [
            "it has ended: memory was short, or somebody has killed it"
        ]
        assert facts["pids"] == [facts["pid"]]
        # What memory was short for, was that run: this one does it by itself.
        result = limited.run("import os; os.kill(os.getpid(), 9)")
        assert (result["status"], result["state"]) == ("died", "lost")
        assert result["explanation"] == "The kernel was killed from outside (SIGKILL)."

    def test_we_end_it_before_the_system_must(self, limited: Limited, group: Group) -> None:
        """Where the run takes its time."""
        last = limited.run(FILL)
        facts = limited.ask(kept=last["run_id"])
        (checkpoint,) = set(facts["pids"]) - {facts["pid"]}
        waits = (
            "import os, time; until = time.monotonic() + 20\n"
            f"while os.path.exists('/proc/{checkpoint}') and time.monotonic() < until:\n"
            "    time.sleep(0.01)\n"
        )
        result = limited.run(REWRITE + waits + MORE + "print(x[0], len(y))\n0/0")
        assert (result["status"], result["state"], result["text"]) == ("error", "kept", "1 28\n")
        assert group.killed() == 0
        (reason,) = limited.ask()["no_checkpoint"]
        assert reason == "memory is short" or reason.startswith("it had grown to ")

    @pytest.mark.parametrize("limited", ["on", "off"], indirect=True)
    def test_a_run_that_needs_more_than_there_is(self, limited: Limited) -> None:
        """It is told to have been killed for memory, and that the variables are gone with the
        checkpoint, which went first. The next runs have what they need, and a checkpoint."""
        limited.ask(kept=limited.run(FILL)["run_id"])
        result = limited.run(TOO_MUCH)
        assert result["status"] == "died"
        assert "ran out of memory" in result["explanation"]
        assert result["state"] == "lost"
        gone, why = result["notes"]
        assert gone == "session restarted: its variables are gone"
        assert re.match("no checkpoint: (it has ended: )?(memory|it had grown to)", why)
        again = limited.run(FILL + "\nprint('z' in globals())")
        assert (again["status"], again["text"]) == ("ok", "False\n")
        facts = limited.ask(kept=again["run_id"])
        assert len(facts["pids"]) == 2
        result = limited.run(DIES)
        assert (result["state"], result["restored_to"]) == ("restored", again["run_id"])

    def test_the_real_server_goes_on(
        self, group: Group, projects: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And answers, though its kernel was killed for memory."""
        enter = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', str(group.processes)]
        monkeypatch.setattr(raw, "SERVER", [*enter, *raw.SERVER])
        server = raw.RawServer(projects)
        try:
            server.initialize()
            kept(server, FILL)
            result = server.call("run_code", code=TOO_MUCH)
            assert "ran out of memory" in said(result)
            assert "session restarted: its variables are gone" in said(result)
            assert result["_meta"]["rmi-agent/run"]["state"] == "lost"
            assert "default: " in said(server.call("list_sessions"))
            assert said(server.call("run_code", code="print('x' in globals())")).startswith("False")
        finally:
            family = server.family()
            server.end()
            assert raw.gone_within(family, 5) == []


class TestALimitOfAddresses:
    """RLIMIT_AS, which a program sets itself, or the server was started with."""

    @pytest.mark.parametrize("room", [500, 100, 20])
    async def test_what_is_too_much_is_an_error_of_the_program(
        self, house: House, room: int
    ) -> None:
        """Nothing is rolled back. When the kernel ends nevertheless, there is what is told: it
        takes room to go on from a checkpoint, too."""
        await house.run(
            "import resource\nsize = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
            f"size += {room} << 20; resource.setrlimit(resource.RLIMIT_AS, (size, size))\n0/0"
        )
        run_id = (await house.run("x = 1")).run_id
        result = await house.run("y = 1; z = bytearray(600 << 20)")
        assert result.error is not None and result.error["name"] == "MemoryError"
        assert (result.status, result.state) == (Status.ERROR, State.KEPT)
        assert await house.tell("print(x, y); del y") == "1 1"
        await until(lambda: house.session().checkpoint or house.session().no_checkpoint)
        result = await house.run(DIES)
        assert result.state in (State.RESTORED, State.LOST)
        if room == 500:
            assert result.state is State.RESTORED
        there = text_of(await house.run("print(globals().get('x'))")).strip()
        assert there == ("1" if result.state is State.RESTORED else "None"), run_id

    def test_one_of_the_server(self, projects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        limits = ["sh", "-c", 'ulimit -v 4000000; exec "$0" "$@"']
        monkeypatch.setattr(raw, "SERVER", [*limits, *raw.SERVER])
        server = raw.RawServer(projects)
        try:
            server.initialize()
            after = kept(server)
            result = server.call("run_code", code="x.append(4); y = bytearray(8 << 30)")
            assert "MemoryError" in said(result)
            assert said(server.call("run_code", code="print(x); 0/0")).startswith("[1, 2, 3, 4]")
            facts = server.call("run_code", code=DIES)["_meta"]["rmi-agent/run"]
            assert (facts["state"], facts["restored_to"]) == ("restored", after)
            assert said(server.call("run_code", code="print(x)")).startswith("[1, 2, 3]\n")
        finally:
            server.end()


@pytest.fixture
def few() -> Iterator[Group]:
    """A group of which the number of processes and threads can be limited."""
    with group_of("pids", {"pids.max": "max"}) as group:
        yield group


class TestALimitOfProcesses:
    """A control group's. That of a user, RLIMIT_NPROC, does not hold for all users."""

    @pytest.mark.parametrize("room", [0, 1])
    async def test_no_copy_can_be_made(self, few: Group, house: House, room: int) -> None:
        """A reason why there is no newer checkpoint, and a refusal of whoever asks for a branch;
        runs go on. `room`: a copy is forked by way of another process."""
        first = await house.keep("x = 1")
        session = house.session()
        few.take(session.pid)
        few.write("pids.max", int(few.read("pids.current")) + room)
        assert await house.tell("x = 2; print(x)") == "2"
        await until(lambda: session.no_checkpoint)
        (reason,) = session.no_checkpoint
        assert reason.startswith("there can be no copy: ")
        with pytest.raises(SessionError, match="cannot be branched now: there can be no copy: "):
            await house.registry.branch("", "default", "b")
        assert await house.tell("x = 3; print(x)") == "3"
        result = await house.run(DIES)
        assert (result.state, result.restored_to) == (State.RESTORED, first)
        assert await house.tell("print(x)") == "1"
        await house.kept(house.registry.history("")[-1].id)

    @pytest.mark.parametrize("room", [0, 1, 2, 4])
    async def test_no_kernel_can_be_made_of_one(self, few: Group, house: House, room: int) -> None:
        """The result says that the variables are gone, and a fresh kernel takes the next run. A
        rewind leaves them as they are. `room`: for threads, too, but not for all of them."""
        for rewinds in (False, True):
            await house.keep("x = 1")
            session = house.session()
            assert session.checkpoint is not None
            few.take(session.checkpoint.pid)
            few.write("pids.max", 1 + room)
            if rewinds:
                with pytest.raises(SessionError, match="no kernel could be made of it"):
                    await house.registry.rewind("", "default")
                assert await house.tell("print(x)") == "1"
            else:
                result = await house.run(DIES)
                assert (result.status, result.state) == (Status.DIED, State.LOST)
                assert session.no_checkpoint == ("no kernel could be made of it",)
                assert await house.tell("print('x' in globals())") == "False"
            with contextlib.suppress(OSError):
                few.write("pids.max", "max")
            await house.kept(house.registry.history("")[-1].id)
            assert house.session().checkpoint is not None
            there = {session.pid, session.checkpoint.pid}  # type: ignore[union-attr]
            await until(lambda: house.processes() == there)  # noqa: B023
