"""Notebooks in sessions with a checkpoint: a notebook's run is one run, whatever it has of cells.

When a cell takes the kernel down, all that the run has done to variables is undone, what it has put
out stays in the file, and the result says both.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp_types import TextContent

from kernels.limits import Limits
from kernels.registry import Registry
from kernels.turn import Policy
from tests.conftest import until
from tests.kernels.eager import back_to, make_eager, until_kept
from tests.server.caller import META, Caller, Mode
from tests.server.test_run_notebook import Notebook

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")

Json = dict[str, Any]
SEGFAULT = "print('last words', flush=True)\nimport os, signal; os.kill(os.getpid(), 11)"
OBEYS = "print('last words', flush=True)\nwhile True: pass"
DEAF = (
    "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "print('last words', flush=True)\nopen('on', 'w').close()\ntime.sleep(600)"
)
#: Code of a cell; the status that it has, and its error in the file.
ENDS = {
    "segfault": (SEGFAULT, "died", "DeadKernelError: The kernel crashed with a segmentation fault"),
    "exit": (
        "print('last words', flush=True)\nimport os; os._exit(3)",
        "died",
        "DeadKernelError: The program ended the kernel's process itself, with exit code 3.",
    ),
    "timeout": (OBEYS, "timeout", "KeyboardInterrupt: "),
    "deaf": (DEAF, "timeout", "CellTimeoutError: timed out after 1 s"),
}


@pytest.fixture
def mode() -> Mode:
    """Nothing of this is the protocol's; tests/e2e has it in both eras."""
    return "auto"


@pytest.fixture
def keep_after_timeout() -> bool:
    return False


@pytest.fixture
def limits(keep_after_timeout: bool) -> Limits:
    return Limits(policy=Policy(grace=1.0, keep_after_timeout=keep_after_timeout))


@pytest.fixture
def notebook(caller: Caller, projects: Path, monkeypatch: pytest.MonkeyPatch) -> Notebook:
    """Every run that succeeds is worth a checkpoint."""
    make_eager(monkeypatch)
    return Notebook(caller, projects)


class Session:
    """One of the server's, and its checkpoint."""

    def __init__(self, caller: Caller, registry: Registry, name: str = "work") -> None:
        self.caller, self.registry, self.name = caller, registry, name

    async def run(self, code: str) -> tuple[str, Json]:
        """What a run of code writes, and its facts."""
        texts, facts = await self.caller.run("run_code", code=code, session=self.name)
        return texts[0], facts

    async def look(self, code: str) -> str:
        """What it prints, in a run that fails, so that the checkpoint stays as it is."""
        text, facts = await self.run(f"print({code}); 1 / 0")
        assert (facts["state"], "restored_to" in facts) == ("kept", False)
        return text.partition("\n")[0]

    async def kept(self, run_id: str) -> str:
        """Wait until the checkpoint is of this run."""
        await until_kept(self.registry.find("", self.name), run_id)
        return run_id

    async def keep(self, code: str) -> str:
        """Run this, and wait for the checkpoint of it."""
        return await self.kept((await self.run(code))[1]["run_id"])


@pytest.fixture
def work(caller: Caller, registry: Registry) -> Session:
    return Session(caller, registry)


class TestACellThatEndsTheKernel:
    @pytest.mark.parametrize("how", ENDS)
    async def test_undoes_the_whole_run_and_the_result_says_so(
        self, notebook: Notebook, work: Session, how: str
    ) -> None:
        """Which cells have run, which have not, and that variables of the former are gone, too; the
        line of facts names the run to which the session is back. So with a second failure."""
        code, status, _ = ENDS[how]
        kept = await work.keep("x = [1]")
        notebook.write("x.append(2); y = 1", "x.append(3); x", code, "x", "y")
        for _ in range(2):
            texts, facts = await notebook.run(session="work", timeout=1)
            lines = texts[0].splitlines()
            assert lines[0] == "a.ipynb: 3 of 5 cells run. Saved."
            assert [line.split()[:3] for line in lines[1:4]] == [
                ["0", "c0", "ok"], ["1", "c1", "ok"], ["2", "c2", status],
            ]  # fmt: skip
            assert lines[4:6] == ["[cell 2 · c2]", "last words"]
            assert lines[-2:] == [
                "Not run: cells 3 to 4.",
                "What cells 0 to 1 left in variables is gone with the kernel.",
            ]
            assert texts[-1].endswith(f" · {back_to(kept)}]")
            assert texts[-1].count("variables") == 1
            assert (facts["status"], facts["state"], facts["restored_to"]) == (
                status, "restored", kept,
            )  # fmt: skip
            assert await work.look("x, 'y' in globals()") == "[1] False"

    @pytest.mark.parametrize("how", ENDS)
    async def test_takes_nothing_from_the_file(
        self, notebook: Notebook, work: Session, how: str
    ) -> None:
        """Outputs of the cells that have run are in it, what the last one has printed, and how it
        ended; cells that were not run have the outputs that they had."""
        code, _, error = ENDS[how]
        await work.keep("x = [1]")
        notebook.write("x.append(2); print(x)", "x", "x", "len(x)")
        _, facts = await notebook.run(session="work")
        await work.kept(facts["run_id"])
        cells = notebook.read()
        cells["cells"][2]["source"] = code.splitlines(keepends=True)
        notebook.path.write_text(json.dumps(cells))
        _, facts = await notebook.run(session="work", timeout=1)
        assert facts["state"] == "restored"
        texts = notebook.texts()
        assert texts[:2] == ["[1, 2, 2]\n", "[1, 2, 2]"]
        assert texts[2].startswith(f"last words\n{error}")
        assert texts[3] == "2"
        *_, last = notebook.read()["cells"][2]["outputs"]
        assert last["output_type"] == "error" and last["traceback"]

    async def test_a_cell_alone_has_no_others_to_tell_of(
        self, notebook: Notebook, work: Session
    ) -> None:
        await work.keep("x = 1")
        notebook.write(SEGFAULT)
        texts, facts = await notebook.run(session="work")
        assert facts["state"] == "restored"
        assert "gone" not in texts[0] and "Not run" not in texts[0]

    async def test_where_it_stood_is_in_the_file(self, notebook: Notebook, work: Session) -> None:
        await work.keep("x = 1")
        notebook.write("def f():\n    sum(range(10**12))\nf()")
        await notebook.run(session="work", timeout=0.5)
        (error,) = notebook.read()["cells"][0]["outputs"]
        assert error["traceback"][:2] == [
            "CellTimeoutError: timed out after 0.5 s",
            "It did not obey the interrupt.",
        ]
        assert error["traceback"][-1].strip().endswith("line 3 in <module>")

    async def test_later_runs_go_on_from_there(self, notebook: Notebook, work: Session) -> None:
        """A notebook that is mended runs in the restored session as in any other."""
        await work.keep("x = [1]")
        notebook.write("x.append(2)", SEGFAULT)
        await notebook.run(session="work")
        notebook.write("x.append(2)", "x")
        _, facts = await notebook.run(session="work")
        assert (facts["status"], facts["state"]) == ("ok", "kept")
        assert notebook.texts() == ["", "[1, 2]"]

    async def test_in_the_background(
        self, caller: Caller, notebook: Notebook, work: Session
    ) -> None:
        kept = await work.keep("x = [1]")
        notebook.write("x.append(2)", SEGFAULT, "3")
        run_id = await notebook.begin(session="work")
        result = await caller.call("get_output", run_id=run_id, wait=20)
        while (facts := (result.meta or {})[META])["status"] == "running":
            result = await caller.call("get_output", run_id=run_id, wait=20)
        assert (facts["state"], facts["restored_to"]) == ("restored", kept)
        text = "\n".join(b.text for b in result.content if isinstance(b, TextContent))
        assert "What cell 0 left in variables is gone with the kernel." in text
        assert back_to(kept) in text

    async def test_one_that_is_stopped_and_does_not_obey(
        self, caller: Caller, notebook: Notebook, work: Session
    ) -> None:
        """As one whose time is up; in the file it was interrupted."""
        kept = await work.keep("x = [1]")
        notebook.write("x.append(2)", DEAF, "3")
        run_id = await notebook.begin(session="work")
        run = work.registry.find_run("", run_id)
        await until((notebook.projects / "on").exists)
        await caller.call("stop_run", session="work")
        result = await run.result()
        assert (result.status, result.restored_to) == ("interrupted", kept)
        assert notebook.texts()[1] == "last words\nKeyboardInterrupt: stopped"
        assert await work.look("x") == "[1]"


class TestWhatIsKept:
    async def test_a_whole_run_that_succeeds(self, notebook: Notebook, work: Session) -> None:
        """It is a run like others: the state after its last cell is that to go back to."""
        await work.keep("x = [1]")
        notebook.write("x.append(2)", "x.append(3)")
        _, facts = await notebook.run(session="work")
        kept = await work.kept(facts["run_id"])
        _, facts = await work.run("x.clear(); import os; os._exit(1)")
        assert (facts["state"], facts["restored_to"]) == ("restored", kept)
        assert await work.look("x") == "[1, 2, 3]"

    async def test_nothing_between_two_cells(self, notebook: Notebook, work: Session) -> None:
        """However long one has taken: what one goes back to is a run, not a part of one."""
        kept = await work.keep("x = [1]")
        notebook.write("import time; x.append(2); time.sleep(1)", "import time; time.sleep(1)",
                       SEGFAULT)  # fmt: skip
        _, facts = await notebook.run(session="work")
        assert facts["restored_to"] == kept
        assert await work.look("x") == "[1]"

    async def test_not_one_that_fails_but_its_variables_stay(
        self, notebook: Notebook, work: Session
    ) -> None:
        """An exception costs nothing, and the kernel that dies after it goes back behind it."""
        kept = await work.keep("x = [1]")
        notebook.write("x.append(2)", "1 / 0", "x.append(3)", SEGFAULT)
        texts, facts = await notebook.run(session="work")
        assert (facts["status"], facts["state"]) == ("error", "kept")
        assert "gone" not in texts[0]
        _, facts = await notebook.run(session="work", cells="2-3")
        assert (facts["state"], facts["restored_to"]) == ("restored", kept)
        assert await work.look("x") == "[1]"

    async def test_one_whose_errors_are_allowed(self, notebook: Notebook, work: Session) -> None:
        await work.keep("x = [1]")
        notebook.write("x.append(2)", "1 / 0", "x.append(3)")
        _, facts = await notebook.run(session="work", allow_errors=True)
        kept = await work.kept(facts["run_id"])
        _, facts = await work.run("import os; os._exit(1)")
        assert facts["restored_to"] == kept
        assert await work.look("x") == "[1, 2, 3]"


class TestItsOwnSession:
    NAME = "notebook a.ipynb"

    async def test_chosen_cells_go_back_to_the_run_before(
        self, caller: Caller, notebook: Notebook, registry: Registry
    ) -> None:
        """After a whole run, work on one cell costs nothing but that cell."""
        dies = "import os\nif len(x) > 2: os.abort()"
        notebook.write("x = [1]", "x.append(2)", dies)
        _, facts = await notebook.run()
        kept = await Session(caller, registry, self.NAME).kept(facts["run_id"])
        for _ in range(2):
            texts, facts = await notebook.run(cells="1-2")
            assert (facts["state"], facts["restored_to"]) == ("restored", kept)
            assert "What cell 1 left in variables is gone with the kernel." in texts[0]

    async def test_a_whole_run_has_nothing_to_go_back_to(
        self, caller: Caller, notebook: Notebook, registry: Registry
    ) -> None:
        """It begins in a fresh kernel, which is told; so is the next run."""
        notebook.write("x = [1]", "x.append(2)")
        _, facts = await notebook.run()
        await Session(caller, registry, self.NAME).kept(facts["run_id"])
        notebook.write("x = [1]", "x.append(2)", SEGFAULT, "x")
        texts, facts = await notebook.run()
        assert (facts["state"], "restored_to" in facts) == ("lost", False)
        assert "What cells 0 to 1 left in variables is gone with the kernel." in texts[0]
        assert texts[-1].endswith(" · session restarted: its variables are gone]")
        texts, facts = await notebook.run(cells=1)
        assert facts["error"]["name"] == "NameError"
        assert "in a fresh kernel" in texts[-1]

    async def test_parameters_of_the_run_are_undone_with_it(
        self, caller: Caller, notebook: Notebook, registry: Registry
    ) -> None:
        """The file says what they were; the session has those of the run to which it is back."""
        cells = (
            {"source": "n = 1", "metadata": {"tags": ["parameters"]}},
            "print(n)",
            "import os\nif n > 2: os._exit(n)",
        )
        notebook.write(*cells)
        _, facts = await notebook.run(parameters={"n": 2})
        session = Session(caller, registry, self.NAME)
        kept = await session.kept(facts["run_id"])
        notebook.write(*cells)
        texts, facts = await notebook.run(parameters={"n": 3}, cells="0-2")
        assert (facts["exit_code"], facts["state"], facts["restored_to"]) == (3, "restored", kept)
        assert "What cells 0 to 2 left in variables is gone with the kernel." in texts[0]
        assert notebook.texts()[1:] == [
            "",
            "3\n",
            "DeadKernelError: The program ended the kernel's process itself, with exit code 3.",
        ]
        assert await session.look("n") == "2"


@pytest.mark.parametrize("keep_after_timeout", [True])
class TestWhereATimeoutKeepsTheState:
    async def test_a_cell_that_obeys_undoes_nothing(
        self, notebook: Notebook, work: Session
    ) -> None:
        await work.keep("x = [1]")
        notebook.write("x.append(2)", f"x.append(3)\n{OBEYS}", "x")
        texts, facts = await notebook.run(session="work", timeout=1)
        assert (facts["status"], facts["state"], "restored_to" in facts) == (
            "timeout", "kept", False,
        )  # fmt: skip
        assert "gone" not in texts[0]
        assert texts[-1].endswith(" · timed out after 1 s · the session's variables are kept]")
        assert notebook.texts() == ["", "last words\nKeyboardInterrupt: ", ""]
        assert await work.look("x") == "[1, 2, 3]"

    async def test_one_that_does_not_goes_back(self, notebook: Notebook, work: Session) -> None:
        kept = await work.keep("x = [1]")
        notebook.write("x.append(2)", DEAF, "x")
        _, facts = await notebook.run(session="work", timeout=1)
        assert (facts["state"], facts["restored_to"]) == ("restored", kept)
        assert await work.look("x") == "[1]"

    async def test_one_that_ends_well_on_the_interrupt_was_too_long_all_the_same(
        self, notebook: Notebook, work: Session
    ) -> None:
        """The file says so, where the program itself does not."""
        await work.keep("x = [1]")
        code = "import time\ntry: time.sleep(600)\nexcept KeyboardInterrupt: x.append(2)"
        notebook.write(code, "x")
        _, facts = await notebook.run(session="work", timeout=1)
        assert (facts["status"], facts["state"]) == ("timeout", "kept")
        assert notebook.texts() == ["CellTimeoutError: timed out after 1 s", ""]
        assert await work.look("x") == "[1, 2]"
