"""run_notebook: cells in a kernel, their outputs in the file, and what the model is told."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import nbformat
import pytest
from mcp_types import ImageContent, TextContent

from kernels.launching import server_python
from kernels.registry import Registry
from kernels.session import SessionState
from tests.conftest import ROOT, until
from tests.notebooks.files import file_of
from tests.server.caller import META, Caller, Mode

Json = dict[str, Any]


class Notebook:
    """A notebook in the projects directory, run through a client."""

    def __init__(self, caller: Caller, projects: Path) -> None:
        self.caller, self.projects = caller, projects
        self.path = projects / "a.ipynb"

    def write(self, *sources: str | Json, name: str = "a.ipynb", **more: Any) -> None:
        """Cells, each a source or the members of a cell."""
        self.path = self.projects / name
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cells = [{"source": s} if isinstance(s, str) else s for s in sources]
        self.path.write_bytes(file_of(*cells, **more))

    async def run(self, **arguments: Any) -> tuple[list[str], Json]:
        """Texts and facts of the result."""
        return await self.caller.run(
            "run_notebook", file_name=str(self.path.relative_to(self.projects)), **arguments
        )

    async def begin(self, **arguments: Any) -> str:
        """Have it run in the background; the run's id."""
        name = str(self.path.relative_to(self.projects))
        begun = await self.caller.call("run_notebook", file_name=name, background=True, **arguments)
        return str((begun.meta or {})[META]["run_id"])

    async def refusal(self, **arguments: Any) -> str:
        name = str(self.path.relative_to(self.projects))
        return await self.caller.refusal("run_notebook", **{"file_name": name, **arguments})

    def read(self, path: Path | None = None) -> Json:
        """The file, which must be valid."""
        content: Json = json.loads((path or self.path).read_text(encoding="utf-8"))
        nbformat.validate(content)
        return content

    def texts(self) -> list[str]:
        """The text of each cell's outputs in the file."""
        return [
            "".join(_text(output) for output in cell.get("outputs", ()))
            for cell in self.read()["cells"]
        ]


def _text(output: Json) -> str:
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}"
    text = output.get("text") or output["data"].get("text/plain", "")
    return "".join(text)


@pytest.fixture
def mode() -> Mode:
    """All this is the same in both eras; tests/e2e runs a notebook in each."""
    return "auto"


@pytest.fixture
def notebook(caller: Caller, projects: Path) -> Notebook:
    return Notebook(caller, projects)


class TestRunning:
    async def test_all_cells_and_their_outputs_in_the_file(self, notebook: Notebook) -> None:
        notebook.write("x = 20", "print(x)", {"cell_type": "markdown", "source": "# Text"}, "x + 1")
        texts, facts = await notebook.run()
        assert notebook.texts() == ["", "20\n", "", "21"]
        assert [c["execution_count"] for c in notebook.read()["cells"] if "outputs" in c] == [
            1, 2, 3,
        ]  # fmt: skip
        assert facts["status"] == "ok" and facts["exit_code"] == 0
        assert texts[0].startswith("a.ipynb: 3 of 3 cells run. Saved.\n0 c0 ok 0.")
        assert "\n3 c3 ok 0." in texts[0] and "\n2 c2" not in texts[0]
        # Of the output, that of the last cell.
        assert "21" in texts[0] and "20\n" not in texts[0]

    async def test_a_whole_run_begins_in_a_fresh_kernel(self, notebook: Notebook) -> None:
        notebook.write("n = globals().get('n', 0) + 1", "n")
        await notebook.run()
        _, facts = await notebook.run()
        assert notebook.texts() == ["", "1"]
        assert facts["session"] == "notebook a.ipynb"

    async def test_chosen_cells_use_the_living_one(self, notebook: Notebook) -> None:
        notebook.write("n = 1", {"source": "n += 1\nn", "metadata": {"tags": ["more"]}}, "n * 10")
        await notebook.run()
        for cells in ("more", 1, "c1", "1-2", ["c1"]):
            await notebook.run(cells=cells)
        assert notebook.texts() == ["", "7", "60"]

    async def test_a_session_is_shared_both_ways(self, notebook: Notebook) -> None:
        (notebook.projects / "s.py").write_text("loaded = 41")
        notebook.write("result = loaded + 1")
        await notebook.caller.run("run_python", file_name="s.py", session="work")
        _, facts = await notebook.run(session="work")
        texts, _ = await notebook.caller.run("run_code", code="result", session="work")
        assert texts[0] == "42\n" and facts["session"] == "work"

    async def test_its_folder_is_the_working_directory(self, notebook: Notebook) -> None:
        notebook.write("import os\nprint(os.getcwd())", "os.chdir('/')", "os.getcwd()",
                       name="deep/er/a.ipynb")  # fmt: skip
        await notebook.run(session="work")
        assert notebook.texts() == [f"{notebook.projects}/deep/er\n", "", "'/'"]
        # Only its own cells': what else runs in the session stays where it was.
        texts, _ = await notebook.caller.run(
            "run_code", code="import os; os.getcwd()", session="work"
        )
        assert texts[0] == f"{str(notebook.projects)!r}\n"

    async def test_it_stops_at_the_first_cell_that_fails(self, notebook: Notebook) -> None:
        notebook.write("1", "# two\n1/0", "3", "4")
        texts, facts = await notebook.run()
        assert notebook.texts() == ["1", "ZeroDivisionError: division by zero", "", ""]
        assert facts["error"] == {
            "name": "ZeroDivisionError", "value": "division by zero", "line": 2, "file": "a.ipynb",
        }  # fmt: skip
        assert "\n1 c1 error 0." in texts[0] and "----> 2 1/0" in texts[0]
        assert "Not run: cells 2 to 3." in texts[0] and "\x1b" not in texts[0]
        # In the file they are as Jupyter has them.
        assert "\x1b[" in "".join(notebook.read()["cells"][1]["outputs"][0]["traceback"])

    async def test_allow_errors(self, notebook: Notebook) -> None:
        notebook.write("1/0", "'after'")
        texts, facts = await notebook.run(allow_errors=True)
        assert facts["status"] == "ok" and notebook.texts()[1] == "'after'"
        assert "\n0 c0 error 0." in texts[0] and "(allowed)" in texts[0]

    async def test_tags(self, notebook: Notebook) -> None:
        notebook.write(
            {"source": "print('not run')", "metadata": {"tags": ["skip-execution"]}},
            {"source": "1/0", "metadata": {"tags": ["raises-exception"]}},
            {"source": "print('secret')", "metadata": {"tags": ["remove-output"]}},
            "",
            "'end'",
        )
        _, facts = await notebook.run()
        assert facts["status"] == "ok"
        assert notebook.texts() == ["", "ZeroDivisionError: division by zero", "", "", "'end'"]

    async def test_a_cell_that_exits_ends_the_run_well(self, notebook: Notebook) -> None:
        notebook.write("1", "import sys\nsys.exit()", "3")
        texts, facts = await notebook.run()
        assert facts["status"] == "ok" and notebook.texts()[2] == ""
        assert "Not run: cell 2." in texts[0]

    async def test_input_is_what_was_given_and_then_at_its_end(self, notebook: Notebook) -> None:
        notebook.write("a = input()", "b = input()", "a, b", "input()")
        texts, facts = await notebook.run(stdin="one\ntwo\n")
        assert notebook.texts()[2] == "('one', 'two')"
        assert facts["error"]["name"] == "EOFError" and "`stdin`" in texts[0]

    async def test_magics_and_display(self, notebook: Notebook) -> None:
        notebook.write(
            "%matplotlib inline\nimport matplotlib.pyplot as plt", "plt.plot([1, 2]);",
            "!echo shell", "%%time\n1", "get_ipython().__class__.__name__",
        )  # fmt: skip
        _, facts = await notebook.run()
        assert facts["status"] == "ok"
        assert "image/png" in notebook.read()["cells"][1]["outputs"][0]["data"]
        assert notebook.texts()[2] == "shell\n"

    async def test_two_runs_of_two_notebooks_side_by_side(self, notebook: Notebook) -> None:
        notebook.write("'a'")
        notebook.write("'b'", name="b.ipynb")
        await asyncio.gather(
            *(
                notebook.caller.run("run_notebook", file_name=name)
                for name in ("a.ipynb", "b.ipynb")
            )
        )
        assert notebook.texts() == ["'b'"]


class TestTheResult:
    async def test_images_of_other_cells_by_number(self, notebook: Notebook) -> None:
        draw = "import matplotlib.pyplot as plt\nplt.plot([1]); plt.show()"
        notebook.write(draw, f"{draw}\n{draw}", "'done'")
        result = await notebook.caller.call("run_notebook", file_name="a.ipynb")
        text = result.content[0]
        assert isinstance(text, TextContent)
        assert re.search(r"^0 c0 ok [\d.]+ s · image 1$", text.text, re.M)
        assert re.search(r"^1 c1 ok [\d.]+ s · images 2, 3$", text.text, re.M)
        assert not any(isinstance(block, ImageContent) for block in result.content)
        run_id = (result.meta or {})[META]["run_id"]
        shown = await notebook.caller.call("get_output", run_id=run_id, image=3)
        assert any(isinstance(block, ImageContent) for block in shown.content)

    async def test_two_hundred_cells_do_not_flood_the_context(self, notebook: Notebook) -> None:
        notebook.write(*["print('x' * 5000)"] * 200)
        result = await notebook.caller.call("run_notebook", file_name="a.ipynb")
        texts = [block.text for block in result.content if isinstance(block, TextContent)]
        assert sum(map(len, texts)) < 20_000
        lines = re.findall(r"^\d+ c\d+ ok [\d.]+ s$", texts[0], re.M)
        assert len(lines) == 200

    async def test_long_output_of_a_failing_cell(self, notebook: Notebook) -> None:
        notebook.write("for i in range(9000): print('line', i)\n1/0")
        result = await notebook.caller.call("run_notebook", file_name="a.ipynb")
        text = "".join(b.text for b in result.content if isinstance(b, TextContent))
        assert len(text) < 20_000 and "line 0\n" in text and "ZeroDivisionError" in text
        gap = re.search(r'get_output\(run_id="(\d+)", offset=(\d+)\)', text)
        assert gap is not None
        page = await notebook.caller.call("get_output", run_id=gap[1], offset=int(gap[2]))
        first = page.content[0]
        assert isinstance(first, TextContent)
        # It goes on where the result broke off.
        before = text[: text.index("[… ")].rstrip("\n").splitlines()[-1]
        assert before.startswith("line") and first.text.split("\n")[1].startswith("line")

    async def test_a_cell_cleared_leaves_the_others(self, notebook: Notebook) -> None:
        notebook.write(
            "print('kept')",
            "from IPython.display import clear_output\nprint('gone'); clear_output(); print('new')",
        )
        _, facts = await notebook.run()
        assert notebook.texts() == ["kept\n", "new\n"]
        page = await notebook.caller.call("get_output", run_id=facts["run_id"], offset=0)
        first = page.content[0]
        assert isinstance(first, TextContent)
        assert first.text == "[cell 0 · c0]\nkept\n[cell 1 · c1]\nnew\n"

    async def test_in_the_background(self, notebook: Notebook) -> None:
        notebook.write("import threading", "threading.Event().wait(30)")
        run_id = await notebook.begin()
        while True:
            page = await notebook.caller.call("get_output", run_id=run_id, wait=1)
            line = page.content[-1]
            assert isinstance(line, TextContent)
            if "cell 2 of 2 (cell 1 · c1): threading.Event" in line.text:
                break
        await notebook.caller.text("stop_run", run_id=run_id)
        _, facts = await notebook.caller.run("get_output", run_id=run_id)
        assert (facts["status"], facts["exit_code"]) == ("interrupted", 130)
        assert notebook.texts()[1].startswith("KeyboardInterrupt")


class TestParameters:
    async def test_they_go_in_and_run(self, notebook: Notebook) -> None:
        notebook.write({"source": "alpha = 1\nbeta = 2", "metadata": {"tags": ["parameters"]}},
                       "alpha, beta")  # fmt: skip
        before = notebook.path.read_bytes()
        texts, _ = await notebook.run(parameters={"alpha": 0.5, "gamma": [1, None]},
                                      output_file="out.ipynb")  # fmt: skip
        assert notebook.path.read_bytes() == before
        content = notebook.read(notebook.projects / "out.ipynb")
        assert content["cells"][1]["metadata"]["tags"] == ["injected-parameters"]
        assert _text(content["cells"][2]["outputs"][0]) == "(0.5, 2)"
        assert "gamma" in texts[0] and "Saved in out.ipynb." in texts[0]

    async def test_with_chosen_cells(self, notebook: Notebook) -> None:
        notebook.write({"source": "a = 1", "metadata": {"tags": ["parameters"]}}, "a", "a * 2")
        await notebook.run(parameters={"a": 21}, cells=2)
        assert notebook.texts() == ["", "", "", "42"]

    async def test_bad_ones_change_nothing(self, notebook: Notebook) -> None:
        notebook.write("1")
        before = notebook.path.read_bytes()
        assert "1x" in await notebook.refusal(parameters={"1x": 1})
        assert "class" in await notebook.refusal(parameters={"class": 1})
        assert notebook.path.read_bytes() == before


class TestSaving:
    async def test_only_outputs_counts_and_times_change(self, notebook: Notebook) -> None:
        source = b'{"zeta": [1,2],\r\n\t"cells" : [ {"source":["1+1"] ,"metadata":{"my":{"b":1, "a":2}},\r\n "cell_type":"code","execution_count":null,"outputs":[], "id":"q"} ],\r\n "metadata":{}, "nbformat_minor":5,"nbformat":4}'  # noqa: E501
        notebook.path.write_bytes(source)
        os.chmod(notebook.path, 0o640)
        await notebook.run()
        after = notebook.path.read_bytes()
        assert notebook.path.stat().st_mode & 0o777 == 0o640
        assert after.startswith(b'{"zeta": [1,2],\r\n\t"cells" : [ {"source":["1+1"] ,')
        assert after.endswith(b' "id":"q"} ],\r\n "metadata":{}, "nbformat_minor":5,"nbformat":4}')
        assert b'"my":{"b":1, "a":2}' in after and b'"execution_count":1' in after

    async def test_what_somebody_saved_meanwhile_stays(self, notebook: Notebook) -> None:
        notebook.write("import os", "while not os.path.exists('go'): pass\n'mine'", "'last'")
        running = asyncio.create_task(notebook.run())
        await until(lambda: notebook.read()["cells"][0]["execution_count"] == 1)
        theirs = notebook.read()
        theirs["cells"].insert(0, {"cell_type": "markdown", "id": "new", "metadata": {},
                                   "source": ["their text"]})  # fmt: skip
        notebook.path.write_text(json.dumps(theirs, indent=1))
        (notebook.projects / "go").touch()
        await running
        assert [c["id"] for c in notebook.read()["cells"]] == ["new", "c0", "c1", "c2"]
        assert notebook.texts() == ["", "", "'mine'", "'last'"]

    async def test_after_a_death_all_is_there(self, notebook: Notebook) -> None:
        notebook.write("print('before')", "print('last words', flush=True)\nimport os; os._exit(3)",
                       "3")  # fmt: skip
        texts, facts = await notebook.run()
        assert facts["status"] == "died" and facts["exit_code"] == 3
        dead = "DeadKernelError: The program ended the kernel's process itself, with exit code 3."
        assert notebook.texts() == ["before\n", f"last words\n{dead}", ""]
        assert "its variables are gone" in texts[-1]
        assert "Not run: cell 2.\nWhat cell 0 left in variables is gone" in texts[0]

    async def test_a_timeout_is_for_each_cell(self, notebook: Notebook) -> None:
        sleep = "import time; time.sleep(0.6)"
        notebook.write(sleep, sleep, "print('begun', flush=True)\nwhile True: pass", "4")
        _, facts = await notebook.run(timeout=1)
        assert facts["status"] == "timeout" and facts["state"] == "lost"
        assert notebook.texts()[2].startswith("begun\n")

    async def test_the_state_of_widgets(self, notebook: Notebook) -> None:
        """That of all widgets which the notebook's cells show, run now or before."""
        notebook.write("import ipywidgets", *(f"ipywidgets.IntText({n})" for n in (111, 222)))

        def values() -> list[int]:
            (form,) = notebook.read()["metadata"]["widgets"].values()
            states = [state["state"] for state in form["state"].values()]
            return sorted(state["value"] for state in states if "value" in state)

        await notebook.run()
        assert values() == [111, 222]
        await notebook.run(cells=2)
        assert 111 in values() and 222 in values()
        await notebook.run()
        assert values() == [111, 222]

    async def test_progress_tells_the_cell(self, notebook: Notebook) -> None:
        notebook.write("import time", "time.sleep(1.5) # slow")
        heard: list[tuple[float, float | None, str | None]] = []

        async def hear(progress: float, total: float | None, message: str | None) -> None:
            heard.append((progress, total, message))

        await notebook.caller.client.call_tool(
            "run_notebook", {"file_name": "a.ipynb"}, progress_handler=hear
        )
        progress, total, message = heard[-1]
        assert 1 < progress < 2 and total == 2
        assert message is not None and "cell 2 of 2 (cell 1 · c1): time.sleep(1.5)" in message


class TestKernels:
    async def test_an_unknown_kernelspec_of_python(self, notebook: Notebook) -> None:
        spec = {"name": "not-here", "display_name": "X", "language": "python"}
        notebook.write("'ran'", metadata={"kernelspec": spec})
        texts, facts = await notebook.run()
        assert facts["status"] == "ok" and notebook.texts() == ["'ran'"]
        assert "'not-here'" in texts[0] and "It ran in the session's Python." in texts[0]

    async def test_an_unknown_kernelspec_of_another_language(self, notebook: Notebook) -> None:
        spec = {"name": "not-here", "display_name": "X", "language": "cobol"}
        notebook.write("MOVE", metadata={"kernelspec": spec})
        assert "'not-here'" in await notebook.refusal()

    async def test_another_language(
        self, notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The echo kernel knows nothing of us; its notebook runs as any other."""
        file = tmp_path / "jupyter" / "kernels" / "echo" / "kernel.json"
        file.parent.mkdir(parents=True)
        echo = str(ROOT / "tests" / "kernels" / "echo_kernel.py")
        argv = [server_python(), echo, "-f", "{connection_file}"]
        file.write_text(json.dumps({"argv": argv, "display_name": "Echo", "language": "echo"}))
        monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
        spec = {"name": "echo", "display_name": "Echo", "language": "echo"}
        notebook.write("hello", "where .", "fail on purpose", "never", name="sub/a.ipynb",
                       metadata={"kernelspec": spec})  # fmt: skip
        texts, facts = await notebook.run()
        folder = notebook.path.parent
        assert notebook.texts() == ["hello\n", f"{folder}\n", "Error: on purpose", ""]
        assert facts["error"]["name"] == "Error" and "2 c2 error" in texts[0]
        # Chosen cells use the living kernel; a session of Python is not taken for it.
        texts, facts = await notebook.run(cells=0)
        assert facts["status"] == "ok" and facts["session"] == "notebook sub/a.ipynb"
        own = facts["session"]
        (notebook.projects / "s.py").write_text("1")
        for tool, more in (("run_python", {"file_name": "s.py"}), ("list_variables", {})):
            assert await notebook.caller.refusal(tool, session=own, **more)
        await notebook.caller.run("run_code", code="1", session="py")
        assert "Echo" in await notebook.caller.text("list_sessions")
        assert "echo" in await notebook.refusal(session="py")
        assert "stdin" in await notebook.refusal(stdin="x")

    async def test_a_session_of_another_language(self, notebook: Notebook) -> None:
        await notebook.caller.run("run_code", code="1", session="py")
        spec = {"name": "", "display_name": "X", "language": "cobol"}
        notebook.write("MOVE", metadata={"kernelspec": spec})
        assert "cobol" in await notebook.refusal(session="py")


class TestScriptsWithCells:
    async def test_they_run_into_a_notebook_beside(self, notebook: Notebook) -> None:
        (notebook.projects / "s.py").write_text("# %% [markdown]\n# Text\n# %%\nx = 2\n# %%\nx\n")
        for _ in range(2):
            texts, _ = await notebook.caller.run("run_notebook", file_name="s.py")
            assert "Saved in s.ipynb." in texts[0]
        notebook.path = notebook.projects / "s.ipynb"
        assert notebook.texts() == ["", "", "2"]

    async def test_a_notebook_of_somebody_else_is_not_taken(self, notebook: Notebook) -> None:
        (notebook.projects / "a.py").write_text("# %%\n1")
        notebook.write("'theirs'")
        text = await notebook.caller.refusal("run_notebook", file_name="a.py")
        assert "output_file" in text

    async def test_a_script_without_cells(self, notebook: Notebook) -> None:
        (notebook.projects / "s.py").write_text("print(1)")
        assert "run_python" in await notebook.caller.refusal("run_notebook", file_name="s.py")


class TestBadInput:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "empty"),
            (b"{", "not JSON"),
            (b"[]", "not a notebook"),
            (b'{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "cells"),
            (b'{"nbformat": 9}', "version"),
            (b"\xff\xfe", "UTF-8"),
        ],
    )
    async def test_what_is_no_notebook(
        self, notebook: Notebook, content: bytes, words: str
    ) -> None:
        notebook.path.write_bytes(content)
        assert words in await notebook.refusal()
        assert notebook.path.read_bytes() == content

    async def test_arguments(self, notebook: Notebook, tmp_path: Path) -> None:
        notebook.write("1")
        before = notebook.path.read_bytes()
        assert "99" in await notebook.refusal(cells=99)
        assert "nope" in await notebook.refusal(cells="nope")
        assert "does not exist" in await notebook.refusal(file_name="b.ipynb")
        assert "outside" in await notebook.refusal(file_name="../b.ipynb")
        assert ".ipynb" in await notebook.refusal(output_file="b.txt")
        assert "outside" in await notebook.refusal(output_file="../b.ipynb")
        (notebook.projects / "link.ipynb").symlink_to(notebook.path)
        assert "link" in await notebook.refusal(file_name="link.ipynb")
        assert notebook.path.read_bytes() == before

    async def test_a_notebook_without_cells(self, notebook: Notebook) -> None:
        notebook.write()
        texts, facts = await notebook.run()
        assert "no cell to run" in texts[0] and facts["status"] == "ok"

    async def test_duplicate_ids_are_set_right_and_told(self, notebook: Notebook) -> None:
        notebook.write({"source": "1", "id": "same"}, {"source": "2", "id": "same"})
        texts, _ = await notebook.run()
        assert "that an earlier cell has, were exchanged: cell 1." in texts[0]
        assert notebook.texts() == ["1", "2"]

    @pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
    async def test_a_read_only_folder(self, notebook: Notebook) -> None:
        notebook.write("'ran'")
        os.chmod(notebook.projects, 0o500)
        try:
            texts, facts = await notebook.run()
        finally:
            os.chmod(notebook.projects, 0o700)
        assert facts["status"] == "ok" and "read-only" in texts[0]

    async def test_a_killed_kernel_between_two_runs(
        self, notebook: Notebook, registry: Registry
    ) -> None:
        notebook.write("import os\npid = os.getpid()\nprint(pid)", "2")
        await notebook.run()
        os.kill(int(notebook.texts()[0]), signal.SIGKILL)
        session = registry.find("", "notebook a.ipynb")
        await until(lambda: session.state is SessionState.COLD)
        _, facts = await notebook.run(cells=1)
        assert facts["status"] == "ok" and notebook.texts()[1] == "2"
