"""Every figure that a script shows or leaves open arrives as an image, whichever way it draws."""

from __future__ import annotations

import base64
import struct

import pytest

from kernels.outputs import Display, Text
from kernels.result import RunResult
from tests.conftest import RESUMED_TOO
from tests.kernels.differential import Bench, displays_of, outcome_of

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("shared_registry", RESUMED_TOO, indirect=True),
]

PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\n"


def images(result: RunResult) -> int:
    """How many PNG images a result has. The run must not have failed."""
    outcome = outcome_of(result)
    assert (outcome.stderr, outcome.exit_code) == ("", 0)
    displays = displays_of(result)
    for display in displays:
        assert base64.b64decode(display.data["image/png"]).startswith(b"\x89PNG")
    return len(displays)


def order(result: RunResult) -> list[str]:
    """Text and images in order."""
    return [o.text if isinstance(o, Text) else type(o).__name__ for o in result.outputs]


async def test_a_figure_that_is_shown(bench: Bench) -> None:
    result = await bench.run(PLOT + "plt.show()")
    assert images(result) == 1
    assert order(result) == ["Display"]


async def test_a_figure_that_is_left_open(bench: Bench) -> None:
    assert images(await bench.run(PLOT)) == 1


async def test_it_is_shown_once(bench: Bench) -> None:
    assert images(await bench.run(PLOT + "plt.show()\nplt.show()")) == 1
    assert images(await bench.run("print(1)")) == 0


async def test_several_figures_come_in_order_with_the_text(bench: Bench) -> None:
    source = (
        "import matplotlib.pyplot as plt\nprint('a')\nplt.plot([1])\nplt.show()\nprint('b')\n"
        "plt.figure(); plt.figure(); print('c')\nplt.show()\nprint('d')\nplt.plot([2])"
    )
    result = await bench.run(source)
    assert order(result) == ["a\n", "Display", "b\nc\n", "Display", "Display", "d\n", "Display"]


async def test_a_figure_that_is_closed_or_only_saved_and_closed(bench: Bench) -> None:
    assert images(await bench.run(PLOT + "plt.close()")) == 0
    assert images(await bench.run(PLOT + "plt.savefig('a.png'); plt.close('all')")) == 0
    assert (bench.folder / "a.png").read_bytes().startswith(b"\x89PNG")


async def test_a_saved_figure_has_the_size_it_would_have(bench: Bench) -> None:
    path = bench.folder / "a.png"
    source = PLOT.replace("\nplt", "\nfig = plt.figure(figsize=(3, 2), dpi=100)\nplt")
    result = await bench.run(source + "fig.savefig('a.png')")
    assert struct.unpack(">II", path.read_bytes()[16:24]) == (300, 200)
    assert images(result) == 1


async def test_a_figure_in_a_script_that_fails(bench: Bench) -> None:
    result = await bench.run(PLOT + "1/0")
    assert result.exit_code == 1
    assert [type(output).__name__ for output in result.outputs] == ["Text", "Display"]
    assert len(displays_of(await bench.run(PLOT + "import sys; sys.exit(3)"))) == 1


async def test_plt_ioff(bench: Bench) -> None:
    assert images(await bench.run("import matplotlib.pyplot as plt; plt.ioff()\n" + PLOT)) == 1
    source = "import matplotlib.pyplot as plt; plt.ioff()\n" + PLOT + "plt.show()"
    assert images(await bench.run(source)) == 1
    # The next one is not affected.
    assert images(await bench.run(PLOT)) == 1
    assert images(await bench.cell(PLOT + "None")) == 1


async def test_figures_drawn_without_pyplot_are_shown_by_display(bench: Bench) -> None:
    source = (
        "from matplotlib.figure import Figure\nfrom IPython.display import display\n"
        "figure = Figure()\nfigure.subplots().plot([1, 2])\ndisplay(figure)"
    )
    assert images(await bench.run(source)) == 1


@pytest.mark.parametrize("choice", ["matplotlib.use('Agg')", "matplotlib.use('svg')"])
async def test_another_backend(bench: Bench, choice: str) -> None:
    """A script that asks for one gets it, and its figures arrive all the same."""
    source = f"import matplotlib; {choice}\n" + PLOT + "print(matplotlib.get_backend())"
    result = await bench.run(source)
    assert images(result) == 1
    assert order(result)[0].lower().strip() in choice.lower()
    # The next script has the kernel's own choice again.
    assert images(await bench.run(PLOT + "plt.show()")) == 1
    assert "inline" in await bench.text("import matplotlib; print(matplotlib.get_backend())")


async def test_a_style_ends_with_its_script(bench: Bench) -> None:
    source = "import matplotlib.pyplot as plt\nprint(plt.rcParams['axes.facecolor'])\n"
    before = await bench.text(source)
    await bench.run("import matplotlib.pyplot as plt\nplt.style.use('dark_background')")
    assert await bench.text(source) == before


async def test_child_processes_do_not_inherit_the_backend(bench: Bench) -> None:
    source = (
        "import subprocess, sys, os\nprint(os.environ.get('MPLBACKEND'))\n"
        "subprocess.run([sys.executable, '-c', "
        "'import matplotlib; print(matplotlib.get_backend())'])"
    )
    assert (await bench.text(source)).lower() == "none\nagg\n"


async def test_a_figure_that_cannot_be_drawn_is_told(bench: Bench) -> None:
    """Without an image, the script itself has not failed."""
    result = await bench.run(PLOT + "plt.title('$\\\\undefined{$')")
    outcome = outcome_of(result)
    assert outcome.stderr.startswith("Traceback (most recent call last):\n  File")
    assert "Unknown symbol: \\undefined" in outcome.stderr
    assert "\x1b" not in outcome.stderr
    assert outcome.exit_code == 0
    assert images(await bench.run(PLOT)) == 1


async def test_cells_show_figures_too(bench: Bench) -> None:
    result = await bench.cell(PLOT + "plt.show()")
    assert images(result) == 1
    assert images(await bench.cell("fig = plt.figure(); plt.plot([1]); None")) == 1


async def test_cells_choose_the_backend_by_magic(bench: Bench) -> None:
    """As notebooks begin; the scripts after it are what they were."""
    result = await bench.cell(f"%matplotlib inline\n{PLOT}None")
    assert images(result) == 1
    assert images(await bench.run(PLOT)) == 1


async def test_pandas_and_numpy_plots(bench: Bench) -> None:
    source = (
        "import numpy as np, pandas as pd\npd.DataFrame({'x': np.arange(3)}).plot()\nprint('drawn')"
    )
    result = await bench.run(source)
    assert images(result) == 1
    assert isinstance(result.outputs[-1], Display)


async def test_matplotlib_may_be_chosen_in_a_fresh_kernel_too(bench: Bench) -> None:
    """The first import of matplotlib in a session is the script's own."""
    bench.session = "fresh"
    source = "import matplotlib\nmatplotlib.use('Agg')\n" + PLOT
    assert images(await bench.run(source)) == 1
    assert images(await bench.run(PLOT)) == 1
