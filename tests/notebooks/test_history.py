"""What was run in a session, as a notebook that Jupyter reads and can run again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from kernels.execution import CodeRequest
from kernels.registry import Registry
from kernels.result import RunResult
from notebooks.history import notebook_of
from tests.conftest import RunCode

PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
TABLE = "import pandas as pd\npd.DataFrame({'a': [1, 2]})"


async def notebook(registry: Registry, name: str = "default") -> Any:
    """The notebook of a session, which must be a valid one."""
    text = await notebook_of(registry.runs("", name))
    document = nbformat.reads(text, as_version=4)
    nbformat.validate(document)
    assert (document.nbformat, document.nbformat_minor) == (4, 5)
    return document


def plain(document: Any) -> list[list[Any]]:
    """The outputs of each cell as text, streams joined; how a traceback looks is not the point."""
    found = []
    for cell in document.cells:
        outputs: list[Any] = []
        for output in cell.outputs:
            if output.output_type == "stream":
                if outputs and outputs[-1][0] == output.name:
                    outputs[-1][1] += output.text
                else:
                    outputs.append([output.name, output.text])
            elif output.output_type == "error":
                outputs.append(["error", output.ename, output.evalue])
            else:
                outputs.append([output.output_type, sorted(output.data), output.data["text/plain"]])
        found.append(outputs)
    return found


async def test_run_again_it_gives_the_same_outputs(
    registry: Registry, run_code: RunCode, run_file: RunCode, tmp_path: Path
) -> None:
    await run_code("x = [1, 2]\nprint('a', x)\nx")
    script = "import sys\nprint('out')\nprint('err', file=sys.stderr)\ny = sum(x)\n"
    await run_file("script.py", script)
    await run_code(PLOT)
    await run_code(TABLE)
    await run_code("print('before')\n1 / 0")
    await run_code(
        "from IPython.display import HTML, Markdown, display\ndisplay(Markdown('# m'), y)"
    )
    await run_code("import time\nfor n in range(3):\n    print(n, end='\\r')\nprint('done')")
    document = await notebook(registry)
    assert [cell.execution_count for cell in document.cells] == [1, 2, 3, 4, 5, 6, 7]
    again = copy.deepcopy(document)
    client = NotebookClient(
        again, timeout=60, allow_errors=True, resources={"metadata": {"path": tmp_path}}
    )
    await client.async_execute()
    expected = plain(again)
    # Jupyter stores a carriage return as it came, ours is carried out already.
    assert expected[6] == [["stdout", "0\r1\r2\rdone\n"]]
    assert plain(document)[:6] == expected[:6]
    assert plain(document)[6] == [["stdout", "done\n"]]


async def test_each_cell_tells_what_became_of_its_run(
    registry: Registry, run_code: RunCode, run_file: RunCode
) -> None:
    await run_file("exits.py", "import sys\nsys.exit(3)", "a", "b")
    await run_code("import time\ntime.sleep(60)", timeout=0.3)
    exits, hangs = (await notebook(registry)).cells
    assert exits.id == "run-1"
    assert exits.source == "import sys\nsys.exit(3)"
    facts = exits.metadata["rmi-agent"]
    assert (facts["title"], facts["exit_code"], facts["status"]) == ("exits.py a b", 3, "error")
    times = exits.metadata["execution"]
    assert times["iopub.execute_input"] <= times["shell.execute_reply"]
    assert hangs.metadata["rmi-agent"]["state"] == "lost"
    last = hangs.outputs[-1]
    assert (last.output_type, last.name) == ("stream", "stderr")
    assert "timed out after 0.3 s" in last.text


async def test_a_run_under_way_and_one_that_is_forgotten(
    registry: Registry, run_code: RunCode
) -> None:
    await run_code("'old'")
    run = registry.submit("", "default", CodeRequest("while True: pass"), 60)
    registry.find_run("", "1").recording.drop()
    old, busy = (await notebook(registry)).cells
    assert old.outputs[0].text == "[its code and output are no longer kept]\n"
    assert (busy.source, busy.outputs) == ("while True: pass", [])
    assert busy.metadata["rmi-agent"]["status"] == "running"
    run.stop()
    await run.result()


async def test_one_that_did_not_start_says_why(tmp_path: Path) -> None:
    from tests.kernels.fake_kernel import FakeBackend

    backend = FakeBackend()
    backend.failures.append("There is no kernel.")
    from kernels.limits import Limits

    async with Registry(backend, Limits()) as registry:
        run = registry.submit("", "default", CodeRequest("1"), 60)
        await run.news(0, 20)
        (cell,) = (await notebook(registry)).cells
        assert cell.outputs[0].text == "There is no kernel.\n"


async def test_much_and_odd_output_is_in_it(registry: Registry, run_code: RunCode) -> None:
    source = "print('\\ud800\\0é\\x1b[31m')\nfor n in range(100_000): print('line', n)"
    result: RunResult = await run_code(source)
    assert result.status == "ok"
    (cell,) = (await notebook(registry)).cells
    text = "".join(output.text for output in cell.outputs)
    assert text.startswith("\\ud800\0é\x1b[31m\nline 0\n")
    assert text.endswith("line 99999\n")
    assert "left out" in text
    assert len(text) < 250_000


async def test_a_closed_session_still_has_one_and_a_new_one_its_own(
    registry: Registry, run_code: RunCode
) -> None:
    await run_code("'first'")
    await registry.close("", "default")
    assert [cell.source for cell in (await notebook(registry)).cells] == ["'first'"]
    await run_code("'second'")
    assert [cell.source for cell in (await notebook(registry)).cells] == ["'second'"]
