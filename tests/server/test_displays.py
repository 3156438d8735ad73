"""Displays of real libraries, and of no library, as a model gets them."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import PIL.Image
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from kernels.execution import CodeRequest
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.outputs import Display, Error, Output
from kernels.registry import Registry
from server.displays import MAX_TEXT, Shown, present, resource
from tests.conftest import ROOT

HTML, SVG, PLAIN = "text/html", "image/svg+xml", "text/plain"
#: What a text may have beyond its limit: the words that say what is missing.
SLACK = 1_500


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernels(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    """A kernel for all tests of the module."""
    spec = LocalSpec(server_python(), str(tmp_path_factory.mktemp("cwd")), kernel_environment())
    async with Registry(LocalBackend(spec), Limits()) as registry:
        yield registry


Run = Callable[[str], Awaitable[list[Output]]]


@pytest.fixture
def run(kernels: Registry) -> Run:
    """`await run(code)`: what the code writes and displays."""

    async def run(code: str) -> list[Output]:
        request = CodeRequest(code, "")
        return list((await kernels.submit("", "s", request, 60, False).result()).outputs)

    return run


@pytest.fixture
def display(run: Run) -> Callable[[str], Awaitable[Display]]:
    """`await display(code)`: the last of what the code displays."""

    async def display(code: str) -> Display:
        outputs = await run(code)
        assert outputs
        assert isinstance(outputs[-1], Display), outputs
        return outputs[-1]

    return display


Show = Callable[[str], Awaitable[Shown]]


@pytest.fixture
def show(display: Callable[[str], Awaitable[Display]]) -> Show:
    """`await show(code)`: the last display of the code, as a model gets it."""

    async def show(code: str) -> Shown:
        return seen(await display(code))

    return show


def seen(display: Display) -> Shown:
    """A display as a model gets it; checks what holds for every one."""
    data = dict(display.data)
    shown = present(data, display.metadata)
    assert len(shown.text) <= MAX_TEXT + SLACK
    assert not re.search(r"[A-Za-z0-9+/=]{201}", shown.text)
    for mime in shown.more:
        kind, content = resource(data, mime)
        assert kind == mime
        assert content
        if kind == HTML and isinstance(data.get(HTML, ""), str):
            assert re.match(r"\s*<!DOCTYPE html>|\s*<html", str(content), re.IGNORECASE)
    return shown


def absent(*modules: str) -> Any:
    """Makes it so that these cannot be imported."""
    return mock.patch.dict(sys.modules, dict.fromkeys(modules))


def pixels(shown: Shown) -> PIL.Image.Image:
    assert shown.picture is not None
    with PIL.Image.open(io.BytesIO(shown.picture.raw)) as image:
        assert image.size == (shown.picture.width, shown.picture.height)
        return image.convert("RGB")


def png(width: int = 8, height: int = 8) -> str:
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), "red").save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


in_kernel = pytest.mark.asyncio(loop_scope="module")

PLOT = """
%config InlineBackend.figure_formats = ['{}']
import matplotlib.pyplot as plt
plt.plot([1, 3, 2]); plt.title('Growth'); plt.show()
"""
FIGURE = "<Figure size 640x480 with 1 Axes>"


@in_kernel
class TestMatplotlib:
    async def test_a_figure_is_a_picture(self, show: Show) -> None:
        shown = await show(PLOT.format("png"))
        assert shown.picture is not None
        assert shown.picture.mime == "image/png"
        assert (shown.text, shown.more) == (FIGURE, ())
        assert len(pixels(shown).getcolors(MANY) or []) > 10

    async def test_a_figure_for_dense_screens_names_both_sizes(self, show: Show) -> None:
        shown = await show(PLOT.format("retina"))
        width, height = pixels(shown).size
        assert shown.text == f"shown at {width // 2} × {height // 2}, {FIGURE}"

    async def test_svg_is_drawn_and_is_a_resource(self, display: Any) -> None:
        found = await display(PLOT.format("svg"))
        shown = seen(found)
        assert shown.text == f"drawn from SVG, {FIGURE}"
        assert len(pixels(shown).getcolors(MANY) or []) > 10
        assert shown.more == (SVG,)
        assert resource(found.data, SVG) == (SVG, found.data[SVG])

    async def test_svg_without_a_renderer_is_words(self, display: Any) -> None:
        found = await display(PLOT.format("svg"))
        with absent("resvg_py"):
            shown = seen(found)
        assert shown.picture is None
        assert re.fullmatch(re.escape(FIGURE) + r"\n\[SVG drawing, \d\d kB\]", shown.text)
        assert shown.more == (SVG,)

    async def test_pdf_is_its_kind_and_size(self, display: Any) -> None:
        found = await display(PLOT.format("pdf"))
        shown = seen(found)
        assert re.fullmatch(re.escape(FIGURE) + r"\n\[application/pdf, \d kB\]", shown.text)
        assert shown.more == ("application/pdf",)
        content = resource(found.data, "application/pdf")[1]
        assert isinstance(content, bytes)
        assert content.startswith(b"%PDF")

    async def test_several_forms_of_one_figure(self, show: Show) -> None:
        shown = await show(PLOT.format("png', 'svg"))
        assert shown.picture is not None
        assert (shown.text, shown.more) == (FIGURE, (SVG,))


MANY = 1 << 24
PANDAS = "import pandas as pd, numpy as np\n"
WHOLE = "with pd.option_context('display.max_rows', None, 'display.max_columns', None): "


@in_kernel
class TestFrames:
    async def test_a_short_one_is_its_text(self, show: Show) -> None:
        shown = await show(f"{PANDAS}pd.DataFrame({{'a': [1, 2], 'b': ['x', 'y']}})")
        assert shown == Shown("   a  b\n0  1  x\n1  2  y", None, (HTML,))

    async def test_one_that_pandas_has_cut_is_as_it_is(self, show: Show) -> None:
        shown = await show(f"{PANDAS}pd.DataFrame(np.arange(90_000).reshape(3000, 30))")
        assert shown.text.endswith("\n\n[3000 rows x 30 columns]")
        assert "left out" not in shown.text

    async def test_a_long_one_is_cut_with_its_shape(self, show: Show) -> None:
        frame = "pd.DataFrame({'a': range(5000), 'b': 'x'})"
        shown = await show(f"{PANDAS}{WHOLE}display({frame})")
        lines = shown.text.split("\n")
        assert len(lines) <= 62
        assert lines[:2] == ["         a  b", "0        0  x"]
        assert re.fullmatch(r"\[… 4,9\d\d lines left out …\]", lines[38])
        assert lines[-2:] == ["4999  4999  x", "[table of 5,000 rows × 2 columns]"]

    async def test_a_wide_one_keeps_a_part_of_each_of_its_parts(self, show: Show) -> None:
        """pandas puts columns that do not fit the line below the others."""
        frame = "pd.DataFrame(np.arange(6000).reshape(200, 30))"
        shown = await show(f"{PANDAS}{WHOLE}display({frame})")
        assert len(shown.text) <= 8_500
        assert len(shown.text.split("\n")) <= 65
        for column in (0, 15, 29):
            assert re.search(rf" {column}\b.*\n0 ", shown.text)
        assert shown.text.endswith("\n[table of 200 rows × 30 columns]")

    async def test_long_lines_are_cut(self, show: Show) -> None:
        options = f"{WHOLE[:-3]}, 'display.width', None, 'display.max_colwidth', None): "
        shown = await show(f"{PANDAS}{options}display(pd.DataFrame({{'a': ['x ' * 5000] * 50}}))")
        assert len(shown.text) <= 8_500
        assert " …\n" in shown.text
        assert shown.text.endswith("[table of 50 rows × 1 columns]")

    async def test_a_series_is_its_text(self, show: Show) -> None:
        shown = await show(f"{PANDAS}pd.Series(range(1000), name='s')")
        assert shown.text.endswith("Name: s, Length: 1000, dtype: int64")
        assert shown.more == ()

    async def test_a_long_series_is_whole_for_it_has_no_other_form(self, show: Show) -> None:
        shown = await show(f"{PANDAS}{WHOLE}display(pd.Series(range(5000)))")
        assert shown.text.count("\n") == 5000
        assert shown.more == ()

    async def test_a_styled_one_is_read_from_its_html(self, show: Show) -> None:
        shown = await show(f"{PANDAS}pd.DataFrame({{'a': [1, 2]}}).style.highlight_max()")
        assert shown == Shown("| a\n0 | 1\n1 | 2", None, (HTML,))

    async def test_polars(self, show: Show) -> None:
        shown = await show("import polars as pl\npl.DataFrame({'a': range(1000)})")
        assert shown.text.startswith("shape: (1_000, 1)\n┌─────┐\n")
        assert shown.more == (HTML,)

    async def test_a_long_one_of_polars(self, show: Show) -> None:
        shown = await show(
            "with pl.Config(tbl_rows=-1): display(pl.DataFrame({'a': range(5000), 'b': 1}))"
        )
        assert shown.text.startswith("shape: (5_000, 2)\n")
        assert len(shown.text.split("\n")) <= 62
        assert re.search(r"\n\[… 4,9\d\d lines left out …\]\n", shown.text)

    async def test_a_lazy_one_is_its_plan(self, show: Show) -> None:
        shown = await show("pl.DataFrame({'a': [1]}).lazy()")
        assert shown.text.startswith("naive plan: (run LazyFrame.explain(optimized=True)")


def parsed(page: str | bytes, before: str) -> Any:
    """The JSON in a page after some words."""
    assert isinstance(page, str)
    return json.JSONDecoder().raw_decode(page, page.index(before) + len(before))[0]


@in_kernel
class TestPlots:
    async def test_plotly_is_words_and_a_page(self, display: Any) -> None:
        found = await display(
            "import plotly.express as px\n"
            "px.scatter(x=[1, 2, 3], y=[3, 1, 2], title='A </script> of it', labels={'x': 'time'})"
        )
        shown = seen(found)
        assert shown == Shown(
            "[plotly figure · scatter (3 points) · title 'A </script> of it'"
            " · x axis 'time' · y axis 'y']",
            None,
            (HTML,),
        )
        _, page = resource(found.data, HTML)
        assert parsed(page, 'newPlot("plot", ')[0]["type"] == "scatter"
        assert str(page).count("</script>") == 2

    @pytest.mark.parametrize(
        ("figure", "words"),
        [
            ("px.bar(x=['a', 'b'], y=[1, 2])", "bar (2 points)"),
            ("px.pie(names=['a', 'b'], values=[1, 2])", "pie (2 points)"),
            ("px.imshow([[1, 2, 3], [4, 5, 6]])", "heatmap '0' (2 × 3)"),
            ("px.line({'t': [1, 2], 'a': [1, 2], 'b': [2, 1]}, x='t', y=['a', 'b'])",
             "scatter 'a' (2 points), scatter 'b' (2 points)"),
            ("go.Figure()", "no traces"),
            ("go.Figure([go.Bar(y=[1])] * 20)", "bar (1 point), 12 more"),
        ],
    )  # fmt: skip
    async def test_kinds_of_plotly(self, show: Show, figure: str, words: str) -> None:
        code = "import plotly.express as px, plotly.graph_objects as go\n"
        assert words in (await show(code + figure)).text

    CHART = (
        "import altair as alt, pandas as pd\n"
        "chart = alt.Chart(pd.DataFrame({'a': [1, 2], 'b': [3, 4]}), title='Chart')"
        ".mark_point().encode(x='a', y='mean(b)')\n"
    )
    CHART_WORDS = "Vega chart · point · x: a, y: mean of b · 2 rows · title 'Chart'"

    async def test_altair_is_a_picture_and_a_page(self, display: Any) -> None:
        found = await display(self.CHART + "chart")
        shown = seen(found)
        assert (shown.text, shown.more) == (self.CHART_WORDS, (HTML,))
        assert len(pixels(shown).getcolors(MANY) or []) > 10
        assert "vegaEmbed" in str(resource(found.data, HTML)[1])

    async def test_altair_without_a_renderer_is_words(self, display: Any) -> None:
        found = await display(self.CHART + "chart")
        with absent("vl_convert"):
            assert seen(found) == Shown(f"[{self.CHART_WORDS}]", None, (HTML,))

    async def test_altair_as_json_has_a_page_too(self, display: Any) -> None:
        found = await display(
            self.CHART + "with alt.renderers.enable('mimetype'): display(chart | chart)"
        )
        assert HTML not in found.data
        shown = seen(found)
        assert shown.picture is not None
        assert (shown.text, shown.more) == (self.CHART_WORDS, (HTML,))
        assert len(parsed(resource(found.data, HTML)[1], '"#plot", ')["hconcat"]) == 2

    @pytest.mark.parametrize(
        ("chart", "words"),
        [
            ("alt.Chart({!r}).mark_bar().encode(x='a:Q')", "bar · x: a"),
            ("alt.Chart(alt.Data(values=[{{'u': {!r}}}])).mark_image().encode(url='u:N')",
             "image · url: u · 1 row"),
            ("alt.Chart(alt.Data(values=[{{}}])).mark_image(url={!r})", "image · 1 row"),
        ],
        ids=["data", "images", "image"],
    )  # fmt: skip
    async def test_charts_fetch_nothing(self, display: Any, chart: str, words: str) -> None:
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_error(404)

        with HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                address = f"http://127.0.0.1:{server.server_port}/a.csv"
                shown = seen(await display(f"import altair as alt\n{chart.format(address)}"))
            finally:
                server.shutdown()
                thread.join()
        assert shown == Shown(f"[Vega chart · {words}]", None, (HTML,))
        assert asked == []

    async def test_bokeh_is_words_and_a_page(self, run: Run) -> None:
        outputs = await run(
            "from bokeh.plotting import figure, show\nfrom bokeh.io import output_notebook\n"
            "output_notebook()\np = figure(title='Lines', x_axis_label='time')\n"
            "p.line([1, 2, 3], [4, 5, 6]); p.scatter([1], [4]); show(p)"
        )
        displays = [output for output in outputs if isinstance(output, Display)]
        *others, last = displays
        assert len(others) == 3
        # Where the plot stands in a page, and the library's loading.
        assert [seen(each) for each in others] == [Shown("")] * 3
        assert seen(last) == Shown(
            "[bokeh plot · line (3 points), scatter (1 point) · title 'Lines' · axis 'time']",
            None,
            (HTML,),
        )
        _, page = resource(last.data, HTML)
        document = parsed(page, "embed_items(")
        (place,) = re.findall(r'<div id="([\w-]+)">', str(page))
        assert f'"{place}"' in str(page).partition("embed_items")[2]
        (version,) = {root["version"] for root in document.values()}
        assert f"bokeh-{version}.min.js" in str(page)

    async def test_widgets_are_their_text(self, show: Show) -> None:
        shown = await show("import ipywidgets\nipywidgets.IntSlider(value=3)")
        assert shown == Shown("IntSlider(value=3)")


ALONE = [
    ("Markdown('# h\\n\\n*x*')", "# h\n\n*x*", ()),
    ("Latex('$x$')", "$x$", ()),
    ("Math('x')", "$\\displaystyle x$", ()),
    ("JSON({'a': [1, 'é'], 'b': None})", '{"a":[1,"é"],"b":null}', ()),
    ("HTML('<h1>A</h1><p>b &amp; <b>c</b></p><ul><li>d</li></ul>')", "A\nb & c\nd", (HTML,)),
    ("HTML('<script>x</script>')", "<IPython.core.display.HTML object>\n[HTML, 18 bytes]", (HTML,)),
    ("IFrame('https://example.org/', 3, 2)", "[iframe https://example.org/]", (HTML,)),
    ("Image(url='https://example.org/a.png')", "[img https://example.org/a.png]", (HTML,)),
    ("Audio(b'0' * 5000, rate=1)", "[audio/wav, 5 kB]", (HTML,)),
    ("Audio([0, 1] * 5000, rate=8000)", "[audio/wav, 20 kB]", (HTML,)),
    ("Video(data=b'0' * 9000, mimetype='video/mp4', embed=True)", "[video/mp4, 9 kB]", (HTML,)),
    ("Javascript('x()')",
     "<IPython.core.display.Javascript object>\n[application/javascript, 3 bytes]",
     ("application/javascript",)),
    ("display({'application/pdf': 'AAAA' * 500}, raw=True)", "[application/pdf, 2 kB]",
     ("application/pdf",)),
]  # fmt: skip


@in_kernel
class TestIPython:
    @pytest.mark.parametrize(("code", "text", "more"), ALONE, ids=lambda value: str(value)[:12])
    async def test_its_own_kinds(
        self, show: Show, code: str, text: str, more: tuple[str, ...]
    ) -> None:
        assert await show(f"from IPython.display import *\n{code}") == Shown(text, None, more)

    @pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
    async def test_images(self, show: Show, kind: str) -> None:
        shown = await show(
            "import io, PIL.Image\nfrom IPython.display import Image\nfile = io.BytesIO()\n"
            f"PIL.Image.new('RGB', (60, 40), 'red').save(file, {kind!r})\n"
            f"Image(file.getvalue(), format={kind!r}, width=30)"
        )
        assert shown.picture is not None
        assert shown.picture.mime == f"image/{kind}"
        assert (shown.text, shown.more) == ("shown 30 pixels wide", ())
        assert pixels(shown).size == (60, 40)

    async def test_pillows(self, show: Show) -> None:
        shown = await show("PIL.Image.new('RGB', (60, 40), 'red')")
        assert pixels(shown).getpixel((1, 1)) == (255, 0, 0)
        assert shown.text.startswith("<PIL.Image.Image image mode=RGB size=60x40")

    async def test_svg(self, show: Show) -> None:
        shown = await show(f"from IPython.display import SVG\nSVG({DRAWING!r})")
        assert (shown.text, shown.more) == ("drawn from SVG", (SVG,))
        assert pixels(shown).getpixel((5, 5)) == (0, 0, 255)

    async def test_a_failing_html_form_leaves_the_text(self, run: Run) -> None:
        outputs = await run(
            "class Bad:\n    def _repr_html_(self): raise ValueError('no form')\n"
            "    def __repr__(self): return 'a bad one'\nBad()"
        )
        assert any(isinstance(output, Error) and "no form" in output.value for output in outputs)
        (display,) = [output for output in outputs if isinstance(output, Display)]
        assert seen(display) == Shown("a bad one")

    async def test_rubbish_is_shown_as_far_as_it_goes(self, show: Show) -> None:
        shown = await show(
            "class Rubbish:\n    def _repr_mimebundle_(self, **k):\n        return {"
            "'image/png': 'rubbish', 'text/html': 5, 'text/plain': ['x'], 'x/y': b'abc',"
            " 'text/latex': None, 'text/markdown': {'a': 1}}\nRubbish()"
        )
        assert shown.picture is None
        assert "image/png, 7 bytes, which cannot be read" in shown.text
        assert set(shown.more) == {"image/png", "text/html", "x/y", "text/markdown"}


WHITE = (255, 255, 255)
DRAWING = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"><title>Blue</title>'
    '<rect width="20" height="10" fill="blue"/><text>words</text></svg>'
)


class TestBundles:
    @pytest.mark.parametrize(
        ("data", "text"),
        [
            ({}, ""),
            ({PLAIN: ""}, ""),
            ({PLAIN: "p"}, "p"),
            ({PLAIN: "\x1b[31mp\x1b[0m"}, "p"),
            ({PLAIN: None}, ""),
            ({HTML: ""}, ""),
            ({HTML: "<table>\n <tr><td>1</td></tr>\n\n</table>"}, "1"),
            ({HTML: "<pre>a  b\n c</pre>x<br>y"}, "a  b\n c\nx\ny"),
            ({HTML: "a<img src='data:image/x;base64,AAAA' alt=x>b"}, "a[image/x, 3 bytes]b"),
            ({HTML: "a <!-- no --> < 5 <a title='>'>b</a>"}, "a < 5 '>b"),
            ({PLAIN: "p", HTML: "<b>h</b>"}, "p"),
            ({PLAIN: "<a.B object at 0x7f>", HTML: "<b>h</b>"}, "h"),
            ({PLAIN: "<a.B at 0x7f>", "x/y": "abc"}, "<a.B at 0x7f>\n[x/y, 3 bytes]"),
            ({PLAIN: "<b>", HTML: "<b>h</b>"}, "<b>"),
            ({"image/png": "no base64!", PLAIN: "p"}, "p"),
            ({"image/png": "", PLAIN: "p"}, "p"),
            ({"image/png": ["list"], PLAIN: "p"}, "p"),
            ({"image/png": "AAAA", PLAIN: "<Figure>"},
             "<Figure>\n[image/png, 3 bytes, which cannot be read]"),
            ({"image/jpeg": "AAAA"}, "[image/jpeg, 3 bytes, which cannot be read]"),
            ({"application/x": "?"}, "[application/x, 1 byte]"),
            ({"application/x+json": {"a": 1}}, "[application/x+json, 7 bytes]"),
            ({"audio/mpeg": "A" * 4000}, "[audio/mpeg, 3 kB]"),
            ({"audio/mpeg": "A" * 4000, PLAIN: "song"}, "song\n[audio/mpeg, 3 kB]"),
            ({"text/csv": "a,b\n"}, "a,b\n"),
            ({"application/json": 0}, "0"),
            ({"text/latex": "", PLAIN: "p"}, "p"),
            ({"text/markdown": "![](data:image/png;base64," + "A" * 400 + ") x"},
             "![]([image/png, 300 bytes]) x"),
            ({"application/json": {"a": "A" * 400}}, '{"a":"[… 400 characters …]"}'),
            ({"application/vnd.plotly.v1+json": {}}, "[plotly figure · no traces]"),
            ({"application/vnd.bokehjs_exec.v0+json": "", "application/javascript": "docs_json = "},
             "[application/javascript, 12 bytes]"),
        ],
    )  # fmt: skip
    def test_the_text(self, data: dict[str, Any], text: str) -> None:
        shown = present(data, {})
        assert (shown.text, shown.picture) == (text, None)

    def test_what_a_bundle_calls_a_picture_does_not_count(self) -> None:
        shown = present({"image/gif": png()}, {})
        assert shown.picture is not None
        assert shown.picture.mime == "image/png"

    def test_the_next_picture_is_taken_for_one_that_cannot_be_read(self) -> None:
        shown = present({"image/png": "AAAA", "image/jpeg": png(), PLAIN: "p"}, {})
        assert shown.picture is not None
        assert (shown.text, shown.more) == ("p", ("image/png",))

    def test_the_only_picture_of_a_page_is_shown(self) -> None:
        html = f'<p>Look: <img src="data:image/png;base64,{png(30, 20)}"></p>'
        shown = present({PLAIN: "<a.B object>", HTML: html}, {})
        assert shown.picture is not None
        assert shown.picture.words.startswith("PNG 30 × 20")
        assert (shown.text, shown.more) == ("Look:", (HTML,))

    @pytest.mark.parametrize(
        ("stated", "words"),
        [
            ({"width": 8, "height": 8}, ""),
            ({"width": 4, "height": 4}, "shown at 4 × 4"),
            ({"width": 4.4}, "shown 4 pixels wide"),
            ({"height": 99}, "shown 99 pixels high"),
            ({"width": "50%", "height": None}, ""),
            ({"width": -1, "height": float("nan")}, ""),
            ("rubbish", ""),
        ],
    )
    def test_a_stated_size_is_told_where_it_is_another(self, stated: Any, words: str) -> None:
        assert present({"image/png": png()}, {"image/png": stated}).text == words

    @pytest.mark.parametrize("mime", [PLAIN, "text/markdown", "text/latex", "application/json"])
    def test_what_is_long_is_cut_and_a_resource(self, mime: str) -> None:
        words = "some words\n" * 500_000
        shown = present({mime: words}, {})
        assert MAX_TEXT - 200 < len(shown.text) < MAX_TEXT + SLACK
        gap = re.search(r"\[… ([\d,]+) characters \([\d,]+ lines\) left out …\]", shown.text)
        assert gap is not None
        assert shown.more == (mime,)

    def test_text_that_fits_is_whole(self) -> None:
        assert present({PLAIN: "x" * MAX_TEXT}, {}) == Shown("x" * MAX_TEXT)

    @pytest.mark.parametrize("metadata", [None, 5, [], {"image/png": None}])
    def test_metadata_may_be_rubbish(self, metadata: Any) -> None:
        assert present({"image/png": png()}, metadata).picture is not None

    @pytest.mark.parametrize(
        "hostile",
        [
            "<" * 300_000, "<a\n" * 90_000, '<a "' * 90_000, "<!--" * 70_000, "<!" * 150_000,
            "<script>" * 40_000, "<img src='data:" * 20_000, "data:a/b;" * 30_000,
            "&#" * 100_000, "vega.github.io/schema" + '{"' * 100_000, "<table" + "<tr" * 90_000,
            "docs_json = {" * 20_000, "<svg " * 60_000, "\x1b]" * 150_000,
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("mime", [HTML, SVG, PLAIN, "text/markdown", "application/javascript"])
    def test_what_is_made_to_take_long_does_not(self, hostile: str, mime: str) -> None:
        """A quadratic step would take minutes, and the test would be ended."""
        data = {mime: hostile}
        if mime == "application/javascript":
            data["application/vnd.bokehjs_exec.v0+json"] = ""
        with absent("resvg_py"):
            assert len(present(data, {}).text) <= MAX_TEXT + SLACK
            assert len(present({PLAIN: hostile, **data}, {}).text) <= MAX_TEXT + SLACK


class TestSvg:
    def test_its_words_without_a_renderer(self) -> None:
        with absent("resvg_py"):
            shown = present({SVG: DRAWING, PLAIN: "<a.B object at 0x7f>"}, {})
        assert shown.picture is None
        assert shown.text.endswith(f"[SVG drawing, {len(DRAWING)} bytes]\nBlue words")

    @pytest.mark.parametrize("svg", ["", "rubbish", "<svg", "<html></html>", DRAWING[:90]])
    def test_what_is_none(self, svg: str) -> None:
        shown = present({SVG: svg, PLAIN: "p"}, {})
        assert shown.picture is None
        assert shown.text == f"p\n[SVG drawing, {len(svg)} bytes]"

    @pytest.mark.parametrize(
        "size",
        [
            'width="100000" height="50000"', 'width="1000in" height="500in"',
            'viewBox="0 0 100000 50000"', 'width="90000" viewBox="0 0 2 1"',
        ],
    )  # fmt: skip
    def test_a_huge_one_is_drawn_small(self, size: str) -> None:
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect width="9" height="9"/></svg>'
        shown = present({SVG: svg}, {})
        assert shown.picture is not None
        assert (shown.picture.width, shown.picture.height) == (1568, 784)

    def test_no_other_file_is_read(self, tmp_path: Path) -> None:
        file = tmp_path / "a.png"
        file.write_bytes(base64.b64decode(png()))
        begin = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
        for source, colour in ((f"data:image/png;base64,{png()}", (255, 0, 0)), (file, WHITE)):
            svg = f'{begin}<image width="9" height="9" href = "{source}"/></svg>'
            assert pixels(present({SVG: svg}, {})).getpixel((5, 5)) == colour
        hidden = f"<!DOCTYPE svg [<!ENTITY a '{file}'>]>{begin}<image href='&a;'/></svg>"
        assert present({SVG: hidden}, {}).picture is None

    def test_one_that_ends_its_renderer_does_not_end_the_server(self) -> None:
        svg = '<svg xmlns="http://www.w3.org/2000/svg" width="1e5%" height="300000"><rect/></svg>'
        shown = present({SVG: svg}, {})
        assert shown.picture is None or shown.picture.width <= 1568
        pattern = (
            '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><pattern id="p" '
            'width="900000" height="900000" patternUnits="userSpaceOnUse"><rect width="9" '
            'height="9"/></pattern><rect width="9" height="9" fill="url(#p)"/></svg>'
        )
        assert present({SVG: pattern}, {}).more == (SVG,)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    | st.sampled_from([png(), png()[:60], "A" * 999, DRAWING, "<table><tr><td>" + "A" * 999]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["data", "layout", "title", "text", "type", "x", "y", "z", "bdata", "dtype",
                         "shape", "mark", "encoding", "field", "$schema", "layer", "datasets",
                         "width", "height", "xaxis", "name", "values", "roots"])
        | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
MIMES = st.sampled_from(
    [
        HTML, SVG, "image/png", "image/jpeg", "image/bmp", "text/markdown", "text/latex",
        "application/json", "application/javascript", "application/pdf", "audio/wav", "x/y", "",
        "application/vnd.plotly.v1+json", "application/vnd.vegalite.v6+json",
        "application/vnd.vega.v6+json", "application/vnd.bokehjs_exec.v0+json",
        "application/vnd.jupyter.widget-view+json", "text/x",
    ]
)  # fmt: skip


@given(
    st.dictionaries(MIMES, VALUES, max_size=5),
    st.none() | VALUES.filter(lambda v: not isinstance(v, str)) | st.text(max_size=50),
    VALUES | st.dictionaries(MIMES, VALUES, max_size=3),
)
def test_no_bundle_is_too_bad(data: dict[str, Any], plain: Any, metadata: Any) -> None:
    if plain is not None:
        data[PLAIN] = plain
    with absent("resvg_py", "vl_convert"):
        shown = present(data, metadata)
    assert "cannot be shown" not in shown.text
    assert len(shown.text) <= MAX_TEXT + SLACK
    assert not re.search(r"[A-Za-z0-9+/=]{201}", shown.text)
    assert len(set(shown.more)) == len(shown.more)
    assert set(shown.more) <= {*data, HTML}
    for mime in {*data, HTML, "no/thing"}:
        kind, content = resource(data, mime)
        assert kind == mime
        assert isinstance(content, str | bytes)
    if data and not shown.text and shown.picture is None:
        assert not shown.more


class TestResources:
    def test_html_is_a_whole_page(self) -> None:
        kind, page = resource({HTML: "<b>é</b>"}, HTML)
        assert kind == HTML
        assert str(page).startswith('<!DOCTYPE html>\n<html>\n<head><meta charset="utf-8">')
        assert "<b>é</b>" in str(page)

    @pytest.mark.parametrize("page", ["<!doctype html><b>x</b>", "\n<HTML><p>x</HTML>"])
    def test_a_whole_page_is_as_it_is(self, page: str) -> None:
        assert resource({HTML: page}, HTML) == (HTML, page)

    def test_base64_forms_are_bytes(self) -> None:
        assert resource({"audio/wav": "QUJD"}, "audio/wav") == ("audio/wav", b"ABC")
        raw = base64.b64decode(png())
        assert resource({"image/png": png()}, "image/png") == ("image/png", raw)

    def test_what_is_no_base64_is_text(self) -> None:
        assert resource({"image/png": "é"}, "image/png") == ("image/png", "é")

    def test_json_is_text(self) -> None:
        assert resource({"x/y+json": {"é": [1]}}, "x/y+json") == ("x/y+json", '{"é":[1]}')

    def test_lone_surrogates_are_escapes(self) -> None:
        assert resource({"x/y": "a\ud800"}, "x/y") == ("x/y", "a\\ud800")


def test_text_costs_no_import() -> None:
    """Nor does the import of the module itself."""
    code = (
        "import sys\nfrom server.displays import present\n"
        "assert present({'text/plain': '1', 'text/html': '<b>'}, {}).text == '1'\n"
        "print([m for m in ('PIL', 'resvg_py', 'vl_convert') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
