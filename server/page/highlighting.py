"""Text and code as HTML of the page, and the styles of what is rendered."""

from __future__ import annotations

from functools import lru_cache
from html import escape

from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexer import Lexer  # type: ignore[import-untyped]
from pygments.lexers import JsonLexer, PythonLexer  # type: ignore[import-untyped]

from kernels.outputs import Omitted
from kernels.transcript import clean

#: Characters of a text that are put into the page; a longer one loses its middle.
MAX_TEXT = 200_000
#: Characters that are coloured, and those of a line in them: the lexer's time grows faster than
#: its text. What is longer is shown without colours.
MAX_COLOURED, _MAX_LINE = 50_000, 2_000
#: Characters of code; it loses its end.
MAX_CODE = 500_000

_GROUPS = {
    "keyword": "k kc kd kn kp kr kt ow",
    "string": "s sa sb sc dl sd s2 se sh si sx sr s1 ss",
    "number": "m mb mf mh mi mo il",
    "comment": "c ch cm cp cpf c1 cs",
    "name": "nf fm nc ne nd nt",
    "builtin": "nb bp",
}
#: Legible (4.5 : 1 at least) on the page's papers, in the light and in the dark.
LIGHT = {
    "keyword": "#7a2e8c",
    "string": "#2a6418",
    "number": "#8c4300",
    "comment": "#5b5c54",
    "name": "#1c528f",
    "builtin": "#0a5e57",
    "bad": "#a8321f",
    "wash": "#fbeae5",
}
DARK = {
    "keyword": "#d7a3e8",
    "string": "#a8d08d",
    "number": "#f0b37e",
    "comment": "#a1a49b",
    "name": "#8fc1f5",
    "builtin": "#7fd0c4",
    "bad": "#f2917d",
    "wash": "#3a2420",
}
_RULES = """\
.traceback .failing { color: var(--code-bad); background: var(--code-wash);
  box-shadow: inset 3px 0 var(--code-bad); font-weight: 600; }
.traceback .line { display: block; }
.traceback .error { color: var(--code-bad); font-weight: 600; }
.rendered .left { text-align: left; }
.rendered .center { text-align: center; }
.rendered .right { text-align: right; }
.rendered .cut { color: var(--code-comment); }
"""


def sendable(text: str) -> str:
    """`text` with escapes for lone surrogates, which cannot be sent."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def text_html(text: str) -> str:
    """A text as it is, without colours and movements of a cursor."""
    return escape(clean(text))


def shortened(text: str, most: int = MAX_TEXT) -> str:
    """A text without its middle where it is too long; what is missing is counted."""
    if len(text) <= most:
        return text
    first, last = most * 2 // 3, len(text) - most // 3
    gap = Omitted(last - first, text.count("\n", first, last)).words
    return f"{text[:first]}\n{gap}\n{text[last:]}"


def preformatted(text: str) -> str:
    """A text with its lines as they are."""
    return f'<pre class="text">{text_html(shortened(text))}</pre>'


def cut_words(missing: int, of: str = "characters") -> str:
    """A line that says how much is left out at the end."""
    return f'<p class="cut">{missing:,} more {of} are left out; the download has them.</p>'


def code_html(source: str, lexer: str = "python") -> str:
    """Code with classes for its colours, in a span of the class `line` for every line.

    `lexer`: `python`, `json`, or anything else for no colours.
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    missing = max(0, len(source) - MAX_CODE)
    lines = sendable(source[:MAX_CODE]).split("\n")
    found = _coloured(lines, lexer) if len(source) <= MAX_COLOURED else None
    shown = found or [escape(line) for line in lines]
    body = "".join(f'<span class="line">{line}\n</span>' for line in shown)
    return f'<pre class="code"><code>{body}</code></pre>{cut_words(missing) if missing else ""}'


def _coloured(lines: list[str], name: str) -> list[str] | None:
    """The lines as HTML; None where they are better shown as they are."""
    lexer = _lexer(name)
    if lexer is None or max(map(len, lines)) > _MAX_LINE:
        return None
    # Blanks in empty lines cost the lexer minutes.
    source = "\n".join("" if line.isspace() else line for line in lines)
    found = highlight(source, lexer, _formatter()).removesuffix("\n").split("\n")
    return found if len(found) == len(lines) else None


@lru_cache
def _lexer(name: str) -> Lexer | None:
    made = {"python": PythonLexer, "json": JsonLexer}.get(name)
    return made(stripnl=False, ensurenl=True) if made is not None else None


@lru_cache
def _formatter() -> HtmlFormatter[str]:
    return HtmlFormatter(nowrap=True)


def css() -> str:
    """The styles of all that is rendered, for light and dark."""
    rules = [f":root {{ {_variables(LIGHT)} }}"]
    rules.append(f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}")
    for group, classes in _GROUPS.items():
        names = ", ".join(f".code .{name}" for name in classes.split())
        rules.append(f"{names} {{ color: var(--code-{group}); }}")
    return "\n".join([*rules, _RULES])


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--code-{name}: {colour};" for name, colour in colours.items())
