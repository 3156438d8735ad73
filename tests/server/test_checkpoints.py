"""Checkpoints as tools tell of them: going back, branching, lists, results, metrics, audit."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from fastmcp import Client
from mcp_types import TextResourceContents

from kernels.kept import CheckpointFacts
from kernels.kernel import Exit
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.turn import Policy
from server import checkpoints
from server.app import build_server
from server.audit import Audit
from server.remote.metrics import Metrics
from server.settings import Settings
from tests.conftest import until
from tests.kernels.fake_kernel import FakeBackend
from tests.server.caller import Caller, Mode, both_eras
from tests.server.remote.test_metrics import scrape

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")

SESSIONS = "rmi-agent/sessions"
#: Worth a checkpoint, because it has taken its time.
WORTH = "import time\ntime.sleep(0.5)\nx = [1, 2, 3]"
BACK = (
    "variables are back to what they were after run 1; files, databases and the network are not "
    "undone"
)
#: Waits for a file, then spoils the variable and fails.
ON_GO = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nx = None\n1 / 0"
DIES = "import os; os.kill(os.getpid(), 9)"


@pytest.fixture
def mode() -> Mode:
    """The newer era, except where a test asks for both."""
    return "auto"


async def kept(caller: Caller, registry: Registry, code: str = WORTH) -> None:
    """Have a session with a checkpoint."""
    await caller.run("run_code", code=code)
    await until(lambda: registry.find("", "default").checkpoint)


async def told(caller: Caller) -> list[dict[str, Any]]:
    """What a list tells machines."""
    found: list[dict[str, Any]] = ((await caller.call("list_sessions")).meta or {})[SESSIONS]
    return found


async def read(caller: Caller, uri: str) -> str:
    (found,) = await caller.client.read_resource(uri)
    assert isinstance(found, TextResourceContents)
    return found.text


class TestGoingBack:
    @both_eras
    async def test_variables_are_what_they_were(self, caller: Caller, registry: Registry) -> None:
        await kept(caller, registry)
        await caller.run("run_code", code="x.clear(); y = 1; 1 / 0")
        words = await caller.text("rewind_session")
        assert re.fullmatch(
            r"Session 'default' is back to what it was after run 1, \d+ s ago; files, databases "
            r"and the network are not undone\.",
            words,
        )
        texts, facts = await caller.run("run_code", code="x, 'y' in globals()")
        assert (texts[0], facts["state"]) == ("([1, 2, 3], False)\n", "kept")

    async def test_what_is_not_restored_is_named(self, caller: Caller, registry: Registry) -> None:
        await kept(caller, registry, WORTH + "\nlog = open('a.log', 'w')")
        words = await caller.text("rewind_session")
        assert words.endswith(" undone. Not restored: files open for writing (a.log).")

    async def test_a_run_under_way_is_waited_for(
        self, caller: Caller, registry: Registry, projects: Path
    ) -> None:
        """Whoever waits is told what for."""
        heard = asyncio.Event()

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            if message == "waiting for run 2 to end":
                heard.set()

        await kept(caller, registry)
        run = asyncio.create_task(caller.run("run_code", code=ON_GO))
        await until(lambda: registry.find("", "default").runs)
        back = asyncio.create_task(caller.client.call_tool("rewind_session", progress_handler=hear))
        async with asyncio.timeout(20):
            await heard.wait()
        (projects / "go").touch()
        assert (await run)[1]["status"] == "error"
        assert "is back to what it was after run 1" in str((await back).content)
        assert (await caller.run("run_code", code="x"))[0][0] == "[1, 2, 3]\n"

    @both_eras
    async def test_a_call_that_is_given_up_while_it_waits_undoes_nothing(
        self, caller: Caller, registry: Registry, projects: Path
    ) -> None:
        await kept(caller, registry)
        session, heard = registry.find("", "default"), asyncio.Event()

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.set()

        run = asyncio.create_task(caller.run("run_code", code=ON_GO))
        await until(lambda: session.runs)
        back = asyncio.create_task(caller.client.call_tool("rewind_session", progress_handler=hear))
        async with asyncio.timeout(20):
            await heard.wait()
        back.cancel()
        await asyncio.wait({back})
        await until(lambda: not session._queue._waiters)
        (projects / "go").touch()
        await run
        assert (await caller.run("run_code", code="print(x)"))[0][0] == "None\n"

    async def test_without_a_checkpoint_nothing_changes(
        self, caller: Caller, registry: Registry
    ) -> None:
        await caller.run("run_code", code="x = 1\n1 / 0")
        assert await caller.refusal("rewind_session") == (
            "Session 'default' has no checkpoint to go back to: no run has succeeded yet. Its "
            "variables are as they were."
        )
        assert (await caller.run("run_code", code="x"))[0][0] == "1\n"


class TestBranching:
    @both_eras
    async def test_both_go_on_apart(self, caller: Caller) -> None:
        await caller.run("run_code", code="x = [1]\ndef f(): return x")
        assert await caller.text("branch_session", new_session="b") == (
            "Session 'b' has the variables of session 'default' after run 1. Both go on apart, "
            "with the same files, databases and network."
        )
        await caller.run("run_code", code="x.append(2)", session="b")
        assert (await caller.run("run_code", code="f()", session="b"))[0][0] == "[1, 2]\n"
        assert (await caller.run("run_code", code="f()"))[0][0] == "[1]\n"

    async def test_what_it_lacks_is_named(self, caller: Caller) -> None:
        await caller.run("run_code", code="log = open('a.log', 'w')")
        words = await caller.text("branch_session", new_session="b")
        assert words.endswith(" Shared, or missing in the new one: files open for writing (a.log).")

    async def test_its_history_begins_with_where_it_is_from(self, caller: Caller) -> None:
        """No runs but its own; its notebook says whose variables it began with."""
        await caller.run("run_code", code="x = 1")
        await caller.text("branch_session", new_session="b")
        assert json.loads(await read(caller, "session://b/runs")) == []
        words = "Branched from session 'default' after run 1, whose variables it began with."
        cells = json.loads(await read(caller, "session://b/notebook"))["cells"]
        assert [("".join(cell["source"]), cell["cell_type"]) for cell in cells] == [
            (words, "markdown")
        ]
        await caller.run("run_code", code="x", session="b")
        await caller.text("close_session", session="b")
        notebook = nbformat.reads(await read(caller, "session://b/notebook"), as_version=4)
        nbformat.validate(notebook)
        assert [cell.source for cell in notebook.cells] == [words, "x"]
        cells = json.loads(await read(caller, "session://default/notebook"))["cells"]
        assert ["".join(cell["source"]) for cell in cells] == ["x = 1"]

    async def test_it_is_a_session_like_any_other(self, caller: Caller, registry: Registry) -> None:
        """It has a checkpoint of its own, counts against the limit, and can be branched."""
        await caller.run("run_code", code="x = 1")
        await caller.text("branch_session", new_session="b")
        await caller.text("branch_session", new_session="c", session="b")
        words = await caller.refusal("branch_session", new_session="d")
        assert words.startswith("There are 3 sessions already, the most that RMI_MAX_SESSIONS")
        assert [each["checkpoint"]["run_id"] for each in (await told(caller))[1:]] == ["1", "1"]
        await caller.run("run_code", code=DIES, session="c")
        assert (await caller.run("run_code", code="x", session="c"))[0][0] == "1\n"

    async def test_what_cannot_be_branched_says_why(
        self, caller: Caller, registry: Registry
    ) -> None:
        code = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), name='t', "
        await caller.run("run_code", code=code + "daemon=True).start()")
        assert await caller.refusal("branch_session", new_session="b") == (
            "Session 'default' cannot be branched now: threads are running (t)."
        )
        assert [each.name for each in registry.sessions("")] == ["default"]

    async def test_a_name_is_one_that_is_free(self, caller: Caller) -> None:
        await caller.run("run_code", code="1")
        words = await caller.refusal("branch_session", new_session="default")
        assert words == "There is a session 'default' already. Choose another name."
        words = await caller.refusal("branch_session", new_session="a|b")
        assert words.startswith("A session's name is 1 to 100 letters")


class TestResults:
    @both_eras
    async def test_one_after_which_variables_were_restored(
        self, caller: Caller, registry: Registry
    ) -> None:
        """Words in the line of facts, once; the machine-readable facts name the run."""
        await kept(caller, registry)
        texts, facts = await caller.run("run_code", code=DIES)
        assert texts[-1].startswith("[kernel died · ")
        assert texts[-1].endswith(f" · session default · run 2 · {BACK}]")
        assert (facts["status"], facts["state"], facts["restored_to"]) == ("died", "restored", "1")
        texts, facts = await caller.run("run_code", code="while True: pass", timeout=0.5)
        assert texts[-1].endswith(f" · run 3 · timed out after 0.5 s · {BACK}]")
        assert (facts["status"], facts["state"], facts["restored_to"]) == (
            "timeout", "restored", "1",
        )  # fmt: skip
        texts, facts = await caller.run("run_code", code="x")
        assert (texts[0], facts["state"], "restored_to" in facts) == ("[1, 2, 3]\n", "kept", False)

    async def test_a_name_of_a_file_is_one_line_of_the_facts(
        self, caller: Caller, registry: Registry
    ) -> None:
        await kept(caller, registry, WORTH + "\nlog = open('a\\nb\\x1b[1mc', 'w')")
        texts, _ = await caller.run("run_code", code=DIES)
        assert texts[-1].endswith(f"{BACK}; not restored: files open for writing (a bc)]")

    async def test_the_notebook_tells_it(self, caller: Caller, registry: Registry) -> None:
        await kept(caller, registry)
        await caller.run("run_code", code=DIES)
        cell = json.loads(await read(caller, "session://default/notebook"))["cells"][-1]
        facts = cell["metadata"]["rmi-agent"]
        assert (facts["state"], facts["restored_to"]) == ("restored", "1")
        assert BACK in "".join(cell["outputs"][-1]["text"])

    async def test_the_notebook_tells_where_it_went_back(
        self, caller: Caller, registry: Registry
    ) -> None:
        """What was run then, and what since; also if it went back twice."""
        await kept(caller, registry)
        await caller.run("run_code", code="x = 2; 1 / 0")
        for _ in range(2):
            await caller.text("rewind_session")
        await caller.run("run_code", code="x = 3")
        cells = json.loads(await read(caller, "session://default/notebook"))["cells"]
        assert [cell["cell_type"] for cell in cells] == ["code", "code", "markdown", "code"]
        assert "".join(cells[2]["source"]) == f"Here {BACK}."


class TestTheList:
    async def test_a_checkpoint_is_told(self, caller: Caller, registry: Registry) -> None:
        """To the model in a few words; to machines with its warnings."""
        await kept(caller, registry, WORTH + "\nlog = open('a.log', 'w')")
        keeper = registry.find("", "default").keeper
        await until(lambda: keeper.cost)
        line = await caller.text("list_sessions")
        assert re.search(r" · 1 runs · checkpoint after run 1, \d+ s ago, \d+ MB$", line)
        (facts,) = await told(caller)
        checkpoint = facts["checkpoint"]
        assert facts["no_checkpoint"] == []
        assert checkpoint["run_id"] == "1"
        assert "files open for writing (a.log)" in checkpoint["warnings"]
        assert 0 <= checkpoint["age_s"] < 60 and 0.5 < checkpoint["memory_mb"] < 60

    async def test_that_it_is_too_early_is_told_to_machines_alone(self, caller: Caller) -> None:
        await caller.run("run_code", code="1 / 0")
        assert (await caller.text("list_sessions")).endswith(" · 1 runs")
        (facts,) = await told(caller)
        assert facts["checkpoint"] is None
        assert facts["no_checkpoint"] == ["no run has succeeded yet"]

    async def test_a_refusal_is_told(self, caller: Caller, registry: Registry) -> None:
        await kept(caller, registry)
        thread = "threading.Thread(target=time.sleep, args=(600,), name='t', daemon=True).start()"
        await caller.run("run_code", code=f"import threading\n{thread}")
        for _ in range(2):
            await caller.run("run_code", code="x")
        session = registry.find("", "default")
        await until(lambda: session.no_checkpoint)
        line = await caller.text("list_sessions")
        assert "checkpoint after run 1, " in line
        assert line.endswith(", no newer one: threads are running (t)")
        await caller.text("restart_session")
        await caller.run("run_code", code=f"import threading, time\n{thread}\ntime.sleep(0.5)")
        refused = "threads are running (t)"
        await until(lambda: session.no_checkpoint == (refused,))
        assert (await caller.text("list_sessions")).endswith(f" · no checkpoint: {refused}")

    async def test_that_they_are_off_is_told(self, settings: Settings, projects: Path) -> None:
        backend = LocalBackend(LocalSpec(server_python(), str(projects), kernel_environment()))
        limits = Limits(policy=Policy(grace=1.0, checkpoints=False))
        async with (
            Registry(backend, limits) as registry,
            Client(build_server(settings, registry)) as client,
        ):
            caller = Caller(client)
            await caller.run("run_code", code=WORTH)
            off = "checkpoints are off (RMI_CHECKPOINT=off)"
            assert (await caller.text("list_sessions")).endswith(f" · no checkpoint: {off}")
            assert (await told(caller))[0]["no_checkpoint"] == [off]
            assert off in await caller.refusal("rewind_session")
            assert off in await caller.refusal("branch_session", new_session="b")
            _, facts = await caller.run("run_code", code=DIES)
            assert (facts["state"], "restored_to" in facts) == ("lost", False)

    @pytest.mark.parametrize(
        ("age", "cost", "words"),
        [
            (4.2, 0, "checkpoint after run 12, 4 s ago"),
            (180, 8_100_000, "checkpoint after run 12, 3 min ago, 8 MB"),
            (7300, 100_000, "checkpoint after run 12, 2.0 h ago, under 1 MB"),
        ],
    )
    async def test_words_for_ages_and_sizes(
        self, quick: Caller, fakes: Registry, age: float, cost: int, words: str
    ) -> None:
        await quick.run("run_code", code="1")
        session = fakes.find("", "default")

        class Shown:
            """The session, some time later."""

            checkpoint, no_checkpoint = CheckpointFacts("12", age), ()
            keeper = session.keeper

        session.keeper.cost = cost
        assert checkpoints.fact(Shown()) == words  # type: ignore[arg-type]


async def test_figures(settings: Settings, projects: Path) -> None:
    """How many there are and what they cost; what became of variables with runs that failed."""
    metrics = Metrics()
    backend = LocalBackend(LocalSpec(server_python(), str(projects), kernel_environment()))
    async with (
        Registry(backend, Limits(policy=Policy(grace=1.0)), [metrics]) as registry,
        Client(build_server(settings, registry, middleware=[metrics])) as client,
    ):
        metrics.watch(registry)
        found = await scrape(metrics)
        for outcome in ("restored", "lost"):
            assert ("rmi_rollbacks_total", (("outcome", outcome),)) in found.samples
        assert found.of("rmi_checkpoints") == found.of("rmi_checkpoint_memory_bytes") == 0
        caller = Caller(client)
        await kept(caller, registry)
        keeper = registry.find("", "default").keeper
        keeper.cost = 0
        keeper.stand_aside()
        # However many ask at once.
        found, again = await asyncio.gather(scrape(metrics), scrape(metrics))
        assert found.of("rmi_checkpoint_memory_bytes") == again.of("rmi_checkpoint_memory_bytes")
        assert found.of("rmi_checkpoints") == 1
        assert found.of("rmi_checkpoint_memory_bytes") > 500_000
        await caller.run("run_code", code=DIES)
        await caller.run("run_code", code="x")
        await caller.run("run_code", code=DIES, session="other")
        await caller.text("rewind_session")
        found = await scrape(metrics)
        assert found.of("rmi_rollbacks_total", outcome="restored") == 1
        assert found.of("rmi_rollbacks_total", outcome="lost") == 1
        assert found.of("rmi_calls_total", tool="rewind_session", outcome="ok") == 1


async def test_calls_are_recorded(settings: Settings, fakes: Registry, tmp_path: Path) -> None:
    """With both names, and what came of them."""
    log = tmp_path / "audit.jsonl"
    audit = Audit(log)
    async with Client(build_server(settings, fakes, middleware=[audit])) as client:
        caller = Caller(client)
        await caller.refusal("branch_session", session="one", new_session="two")
        await caller.refusal("rewind_session", session="one")
    audit.close()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["tool"], line["session"], line.get("new"), line["status"]) for line in lines] == [
        ("branch_session", "one", "two", "error"),
        ("rewind_session", "one", None, "error"),
    ]


async def test_a_kernel_that_can_have_none_says_so(
    quick: Caller, fakes: Registry, backend: FakeBackend
) -> None:
    """When it was time for one, and when a branch is asked for."""
    await quick.run("run_code", code="1")
    words = await quick.refusal("branch_session", new_session="b")
    assert words == ("Session 'default' cannot be branched now: kernels of this kind have none.")
    assert [each.name for each in fakes.sessions("")] == ["default"]
    backend.kernels[0].end(Exit(signal=9))
    _, facts = await quick.run("run_code", code="1")
    assert facts["state"] == "lost"
