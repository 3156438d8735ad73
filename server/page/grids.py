"""Tables in HTML, as data frames have them, taken into the page itself: they look like it, are
read by screen readers, and need no frame."""

from __future__ import annotations

import re
from html import escape, unescape

from server import tables
from server.page.highlighting import sendable

#: Rows and characters of what is put into the page.
MAX_ROWS, MAX_CHARACTERS = 300, 300_000
_DEEP = 30
#: One piece of such HTML. There is nothing else in it, or it is no such HTML.
_PIECE = re.compile(
    r"(?P<text>[^<]+)|<style[^<>]{0,100}>(?P<style>[^<]{0,4000})</style>|<(?P<ends>/?)(?P<name>"
    r"div|small|p|table|thead|tbody|tfoot|tr|th|td|caption|b|i|em|strong|code|br|sub|sup|span)"
    r'(?P<attributes>(?:\s{1,20}[a-z]{1,20}="[^"<>]{0,200}"){0,20})\s{0,20}/?>'
)
_ATTRIBUTE = re.compile(r'([a-z]+)="([^"]*)"')
_ALIGN = re.compile(r"\s*text-align:\s*(left|right|center)\s*;?\s*")
#: What means nothing without the styles of another page.
_DROPPED = ("class", "border", "id", "scope")
#: The styles that pandas and polars give to every table.
_USUAL = re.compile(r"(?:\s*\.dataframe\b[^{}]*\{[^{}]*\})*\s*")


def table_html(html: str) -> str | None:
    """HTML that is a table and nothing else but words, written anew; None for any other.

    A long one loses its last rows, which are counted.
    """
    if "<table" not in html:
        return None
    made: list[str] = []
    opened: list[str] = []
    at = rows = length = 0
    while at < len(html):
        piece = _PIECE.match(html, at)
        if piece is None:
            return None
        at = piece.end()
        if piece["text"] is not None:
            text = escape(sendable(unescape(piece["text"])))
        elif piece["style"] is not None:
            text = ""
            if _USUAL.fullmatch(piece["style"]) is None:
                return None
        else:
            tag = _tag(piece, opened)
            if tag is None:
                return None
            text = tag
            rows += tag == "</tr>"
        length += len(text)
        if length > 2 * MAX_CHARACTERS:
            return None
        made.append(text)
        # In the middle of nothing but rows.
        if text == "</tr>" and (rows == MAX_ROWS or length > MAX_CHARACTERS):
            made += [f"</{name}>" for name in reversed(opened)]
            if "<tr" in html[at:]:
                words = f"The first {rows:,} rows of a {tables.shape(html)}"
                made.append(f'<p class="cut">{escape(words)}; the download has them all.</p>')
            return "".join(made)
    return None if opened else "".join(made)


def _tag(piece: re.Match[str], opened: list[str]) -> str | None:
    """A tag with what is kept of its attributes; None where it does not belong."""
    name = piece["name"]
    if name == "br":
        return "<br>"
    if piece["ends"]:
        return f"</{name}>" if opened and opened.pop() == name else None
    kept = ""
    if name == "th":
        kept = ' scope="col"' if "thead" in opened else ' scope="row"'
    for key, value in _ATTRIBUTE.findall(piece["attributes"]):
        if key == "style":
            side = _ALIGN.fullmatch(value)
            if side is None:
                return None
            kept += f' class="{side[1]}"'
        elif key in ("colspan", "rowspan"):
            if not re.fullmatch(r"\d{1,4}", value):
                return None
            kept += f' {key}="{value}"'
        elif key not in _DROPPED:
            return None
    opened.append(name)
    return f"<{name}{kept}>" if len(opened) <= _DEEP else None
