"""Markdown as HTML of the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from kernels.transcript import clean
from server.page.formulas import MAX_FORMULA, MAX_FORMULAS, formula
from server.page.highlighting import code_html, cut_words, preformatted, text_html

#: Characters that are read, but for the pictures in them; more takes seconds.
MAX_MARKDOWN = 50_000
#: Characters of the pictures in a text.
_MAX_PICTURES = 20_000_000
#: Columns of a table; the rows of a wider one, however short, take seconds.
_MAX_COLUMNS = 200
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]{200,}")
_PLACE = re.compile(r"data:image/png;base64,rmi(\d{1,6})")
_LINK = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
_SHOWN = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+")
_PYTHON = ("python", "py", "python3", "ipython", "ipython3", "pycon")


def markdown_html(text: str) -> str:
    """Markdown with tables and formulas. Its HTML is shown as text, its links go to http, https
    and mailto, and its pictures are those that it holds itself: others are named."""
    text = clean(text)
    pictures: list[str] = []

    def taken(found: re.Match[str]) -> str:
        pictures.append(found[0])
        return f"data:image/png;base64,rmi{len(pictures) - 1}"

    if "data:image/" in text and len(text) <= _MAX_PICTURES:
        text = _PICTURE.sub(taken, text)
    read = text
    if len(text) > MAX_MARKDOWN:
        read = text[: max(text.rfind("\n", 0, MAX_MARKDOWN), MAX_MARKDOWN // 2)]
    try:
        wide = any(line.count("|") > _MAX_COLUMNS for line in read.split("\n"))
        html: str = (_TABLELESS if wide else _PARSER).render(read, {"pictures": pictures})
    except Exception:  # text that the parser stumbles over is still text
        return preformatted(text)
    missing = len(text) - len(read)
    return html + (cut_words(missing) if missing else "")


def _is_fit(url: str) -> bool:
    return bool(_LINK.match(url) or _SHOWN.fullmatch(url))


def _dollars(state: StateInline, silent: bool) -> bool:
    """$…$ and $$…$$: no blank within the single dollars, and no digit after them."""
    source, at = state.src, state.pos
    if source[at] != "$":
        return False
    marks = "$$" if source.startswith("$$", at) else "$"
    begin = at + len(marks)
    end = source.find(marks, begin, begin + MAX_FORMULA)
    while marks == "$" and end > 0 and source[end - 1] == "\\":
        end = source.find(marks, end + 1, begin + MAX_FORMULA)
    after = end + len(marks)
    if end <= begin or after > state.posMax:
        return False
    if marks == "$" and (
        source[begin].isspace() or source[end - 1].isspace() or source[after : after + 1].isdigit()
    ):
        return False
    if not silent:
        token = state.push("formula", "", 0)
        token.content, token.markup = source[begin:end], marks
    state.pos = after
    return True


class _Renderer(RendererHTML):
    """HTML without anything that the page would not have."""

    def formula(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        spent = env.get("formulas", 0) + len(token.content)
        env["formulas"] = spent
        made = formula(token.content, token.markup == "$$") if spent <= MAX_FORMULAS else None
        return made or text_html(f"{token.markup}{token.content}{token.markup}")

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        words = self.renderInlineAsText(token.children or [], options, env)
        source = str(token.attrs.get("src", ""))
        pictures, place = env["pictures"], _PLACE.fullmatch(source)
        if place is not None and int(place[1]) < len(pictures):
            source = pictures[int(place[1])]
        if not _SHOWN.fullmatch(source):
            return f'<span class="other">[picture: {escape(words or "without a name")}]</span>'
        return f'<img src="{escape(source)}" alt="{escape(words)}">'

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        words = tokens[idx].info.split()
        name = words[0].lower() if words else ""
        return code_html(tokens[idx].content, "python" if name in _PYTHON else name)

    def code_block(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        return code_html(tokens[idx].content, "text")

    def link_open(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        address = str(tokens[idx].attrs.get("href", ""))
        # Links do not stand in links.
        env["end"] = "</a>" if _LINK.match(address) else "</span>"
        if not _LINK.match(address):
            return "<span>"
        return f'<a href="{escape(address)}" rel="noopener noreferrer" target="_blank">'

    def link_close(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        return str(env["end"])

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f'<th scope="col" class="{_side(tokens[idx])}">'

    def td_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f'<td class="{_side(tokens[idx])}">'


def _side(cell: Token) -> str:
    """To which side a cell is set: the parser says so in a style, which the page does not take."""
    side = str(cell.attrs.get("style", "")).removeprefix("text-align:")
    return side if side in ("right", "center") else "left"


def _parser(tables: bool) -> MarkdownIt:
    options: dict[str, Any] = {"html": False, "linkify": False, "typographer": False}
    parser = MarkdownIt("commonmark", options, renderer_cls=_Renderer)
    parser.enable(["table", "strikethrough"] if tables else "strikethrough")
    parser.inline.ruler.before("escape", "formula", _dollars)
    parser.validateLink = _is_fit  # type: ignore[method-assign]
    return parser


_PARSER, _TABLELESS = _parser(True), _parser(False)
