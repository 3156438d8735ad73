"""Sessions in every Python of this machine, with each ipykernel: the same in all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from kernels.environments.choosing import chosen
from kernels.environments.describing import describe
from kernels.errors import SessionError
from kernels.execution import CodeRequest, FileRequest
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from kernels.result import State, Status
from kernels.turn import Policy
from tests.conftest import text_of, until
from tests.kernels.differential import ENVIRONMENT, Bench, Case, displays_of
from tests.kernels.environments.venvs import PAIRS, Made, Make, maker

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="session")
def venvs(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return maker(tmp_path_factory.mktemp("venvs"))


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: f"3.{pair[0]}-ipykernel{pair[1]}")
def made(request: pytest.FixtureRequest, venvs: Make) -> Made:
    return venvs(*request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(made: Made, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """A session there, of a server whose own Python is another, as in use."""
    folder = tmp_path_factory.mktemp("cwd").resolve()
    environ = kernel_environment(ENVIRONMENT)
    spec = LocalSpec(server_python(), str(folder), environ)
    async with Registry(LocalBackend(spec), Limits(policy=Policy(grace=1.0))) as registry:
        where = chosen(describe(made.python, folder, environ), environ)
        request = CodeRequest("import sys; print(sys.executable)")
        result = await registry.submit("", "here", request, 60, environment=where).result()
        assert text_of(result) == f"{made.python}\n"
        yield Bench(folder, registry, "here", made.python)


SCRIPTS = {
    "what it is": "import sys\nprint(sys.version, sys.prefix, sys.argv, __name__)\n",
    "its exit code": "import sys\nprint('a')\nsys.exit(3)\n",
    "its last words": "import sys\nsys.exit('no')\n",
    "both streams": "import sys\nprint('out')\nprint('err', file=sys.stderr)\n",
    "the recursion limit": "import sys\nprint(sys.getrecursionlimit())\n",
    "a fork": (
        "import os\npid = os.fork()\nif not pid:\n    print('child')\n    raise SystemExit\n"
        "os.waitpid(pid, 0)\nprint('parent')\n"
    ),
    "child processes": (
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'print(1)'])\n"
        "print(subprocess.check_output(['echo', 'x']))\n"
    ),
    "a pool": (
        "import multiprocessing\nif __name__ == '__main__':\n"
        "    with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "        print(pool.map(abs, [-1, -2]))\n"
    ),
    "asyncio": "import asyncio\nasync def f(): print('in')\nasyncio.run(f())\n",
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_script_says_and_returns_what_python_does(bench: Bench, name: str) -> None:
    await bench.same(Case(SCRIPTS[name], ("a", "b c")))


async def test_a_thread_that_fails_has_the_traceback_that_python_gives(bench: Bench) -> None:
    """But for the script's folder, which Python 3.8 leaves out."""
    source = "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()\n"
    said = text_of(await bench.run(source)).replace(f"{bench.folder}/", "")
    assert said == bench.python().stderr.replace(f"{bench.folder}/", "")


async def test_an_exception_has_its_traceback(bench: Bench) -> None:
    """As of `python` with the file's whole path, which Python 3.8 tells as it was given."""
    result = await bench.run("def f():\n    1 / 0\nf()\n")
    assert (result.exit_code, result.status) == (1, Status.ERROR)
    words = text_of(result)
    assert words.startswith("Traceback (most recent call last):\n")
    assert f'File "{bench.folder / "x.py"}", line 2, in f' in words
    assert "ipykernel" not in words and "guest" not in words


async def test_standard_input_is_what_the_call_gives(bench: Bench) -> None:
    result = await bench.run("print(input() + '!')", stdin="hello\n")
    assert text_of(result) == "hello!\n"


async def test_a_cell_shows_its_value_in_every_form(bench: Bench) -> None:
    source = "class A:\n    def _repr_html_(self): return '<b>1</b>'\n\nA()"
    display = displays_of(await bench.cell(source))[-1]
    assert display.data["text/html"] == "<b>1</b>"
    assert await bench.shown("await __import__('asyncio').sleep(0, 42)") == "42"


async def test_variables_stay_from_a_script_to_a_cell(bench: Bench) -> None:
    await bench.run("kept = 7\n")
    assert await bench.shown("kept + 1") == "8"
    found = await bench.registry.find("", "here").variables()
    assert "kept" in [variable.name for variable in found.shown]


async def test_an_interrupt_keeps_the_state(bench: Bench) -> None:
    await bench.cell("kept = 1")
    run = bench.registry.submit("", "here", CodeRequest("import time; time.sleep(600)"), 60)
    await until(lambda: run.execution is not None)
    run.stop()
    result = await run.result()
    assert (result.status, result.exit_code) == (Status.INTERRUPTED, 130)
    assert await bench.shown("kept") == "1"


async def test_a_timeout_begins_another_kernel_in_the_same_place(bench: Bench, made: Made) -> None:
    """Where there are checkpoints, it goes on from one: what the run has done is gone anyway."""
    path = bench.write("loop.py", "lost = 1\nwhile True: pass\n")
    if sys.platform == "linux":
        await bench.text("import time; time.sleep(0.5)")
        await until(lambda: bench.registry.find("", "here").checkpoint is not None)
    request = FileRequest(path, path.read_bytes(), (), "")
    result = await bench.registry.submit("", "here", request, 1).result()
    assert (result.status, result.exit_code) == (Status.TIMEOUT, None)
    assert result.state is (State.RESTORED if sys.platform == "linux" else State.LOST)
    assert await bench.text("import sys; print(sys.executable, 'lost' in globals())") == (
        f"{made.python} False\n"
    )


async def test_a_kernel_that_is_killed_comes_back_there(bench: Bench, made: Made) -> None:
    result = await bench.cell("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert (result.status, result.signal) == (Status.DIED, 9)
    result = await bench.cell("import sys; print(sys.executable)")
    assert text_of(result) == f"{made.python}\n"


async def test_results_say_where_they_ran(bench: Bench, made: Made) -> None:
    result = await bench.cell("1")
    assert result.environment is not None
    where = result.environment.environment
    assert (where.version, where.ipykernel) == (made.version, made.ipykernel)
    assert os.path.dirname(where.python) == str(Path(made.python).parent)


async def test_another_environment_is_refused(bench: Bench) -> None:
    own = chosen(describe(server_python()), {})
    with pytest.raises(SessionError, match=r"'here' lives in Python .* Set restart to begin anew"):
        bench.registry.submit("", "here", CodeRequest("1"), 20, environment=own)
