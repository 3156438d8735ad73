"""HTML as text for a reader, and as a page that opens by itself."""

from __future__ import annotations

import html as entities
import re

from server.images import size_words

#: Characters of text after which no more is read of a page.
_ENOUGH = 100_000
_BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "br", "caption", "dd", "div", "dl", "dt",
    "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr",
    "li", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "thead",
    "title", "tr", "ul",
}  # fmt: skip
_MEDIA = {"img", "iframe", "video", "audio", "source", "embed", "object"}
_UNREAD = {"script", "style", "template", "svg", "math"}
_TAG = re.compile(r"/?([a-zA-Z][a-zA-Z0-9-]*)")
_ATTRIBUTE = re.compile(r"""\b(src|alt|data)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_DATA_URI = re.compile(
    r"data:([\w.+-]{1,40}/[\w.+-]{1,80})[^,\s\"']{0,80},"
    # Lines of base64, as long as they are long.
    r"([A-Za-z0-9+/=%]*(?:\s{1,2}[A-Za-z0-9+/=]{40,})*)"
)
_EMBEDDED = re.compile(r"""["']data:([\w.+/-]{1,80});base64,([A-Za-z0-9+/=\s]*)["']""")
_LONG_RUN = re.compile(r"[A-Za-z0-9+/]{201,}={0,2}")


def text_of(html: str) -> str:
    """What a reader of the page would read, a line for each block and each row of a table.

    Takes time in proportion to the page's length, whatever it holds.
    """
    lines = _Lines()
    at = 0
    while at < len(html) and lines.length < _ENOUGH:
        begin = html.find("<", at)
        if begin < 0:
            begin = len(html)
        lines.add(html[at : min(begin, at + _ENOUGH)])
        if begin == len(html):
            break
        if html.startswith("<!--", begin):
            end = html.find("-->", begin + 4)
            at = len(html) if end < 0 else end + 3
            continue
        tag = _TAG.match(html, begin + 1)
        if tag is None:
            end = html.find(">", begin) if html[begin + 1 : begin + 2] in ("!", "?") else begin
            if end == begin:
                lines.add("<")
            at = len(html) if end < 0 else end + 1
            continue
        end = _end_of_tag(html, begin)
        name = tag[1].lower()
        if name in _UNREAD and html[begin + 1] != "/":
            end = _end_of_unread(html, end, tag[1])
        else:
            lines.tag(name, html[begin + 1 : end])
        at = end + 1
    return lines.text()


def _end_of_tag(html: str, begin: int) -> int:
    """Where the `>` of a tag is. One may stand in an attribute's value, too."""
    end = html.find(">", begin)
    if end >= 0 and html.count('"', begin, end) % 2:
        quote = html.find('"', end)
        end = html.find(">", quote) if quote >= 0 else end
    return len(html) if end < 0 else end


def _end_of_unread(html: str, begin: int, name: str) -> int:
    end = html.find(f"</{name}", begin)
    end = html.find(">", end) if end >= 0 else -1
    return len(html) if end < 0 else end


class _Lines:
    """The text of a page as it is read."""

    def __init__(self) -> None:
        self.length = 0
        self._lines: list[str] = []
        self._line: list[str] = []
        self._pre = self._cells = 0

    def add(self, raw: str) -> None:
        """Text between tags."""
        if not raw:
            return
        text = entities.unescape(raw)
        if self._pre:
            first, *others = text.split("\n")
            self._put(first)
            for other in others:
                self._end()
                self._put(other)
        else:
            words = " ".join(text.split())
            if words.startswith("Your browser does not support"):
                return
            if words:
                before = " " if text[0].isspace() else ""
                self._put(f"{before}{words}{' ' if text[-1].isspace() else ''}")
            elif self._line and not self._line[-1].endswith(" "):
                self._line.append(" ")

    def tag(self, name: str, inside: str) -> None:
        """A tag; `inside` is what stands between its angle brackets."""
        ends = inside.startswith("/")
        if name in ("td", "th"):
            if not ends:
                self._put(" | " if self._cells else "")
                self._cells += 1
        elif name in _BLOCKS:
            self._end()
            self._cells = 0
            if name == "pre":
                self._pre = max(0, self._pre + (-1 if ends else 1))
        elif name in _MEDIA and not ends:
            self._put(_media(name, inside))

    def _put(self, text: str) -> None:
        self.length += len(text)
        self._line.append(text)

    def _end(self) -> None:
        line = "".join(self._line)
        line = line.rstrip() if self._pre else " ".join(line.split())
        if line:
            self._lines.append(line)
            self.length += 1
        self._line = []

    def text(self) -> str:
        self._end()
        return "\n".join(self._lines)


def _media(name: str, inside: str) -> str:
    """A picture, film, sound or page within a page."""
    found = {m[1]: m[2] or m[3] or m[4] or "" for m in _ATTRIBUTE.finditer(inside)}
    source = found.get("src") or found.get("data") or ""
    if source.startswith("data:"):
        head, _, body = source.partition(",")
        return f"[{head[5:105].partition(';')[0] or name}, {size_words(len(body) * 3 // 4)}]"
    if not source and name != "img":
        return ""
    words = " ".join([name, found.get("alt", "")[:100], entities.unescape(source[:200])])
    return f"[{' '.join(words.split())}]"


def embedded(html: str, kind: str) -> list[str]:
    """The base64 texts of what a page carries of a kind such as `image/`."""
    if ";base64," not in html:
        return []
    return [m[2] for m in _EMBEDDED.finditer(html) if m[1].startswith(kind)]


def without_base64(text: str) -> str:
    """`text` with the size in words in the place of what no reader can read."""
    if "data:" in text:
        text = _DATA_URI.sub(_size_of_uri, text)
    return _LONG_RUN.sub(lambda found: f"[… {len(found[0]):,} characters …]", text)


def _size_of_uri(found: re.Match[str]) -> str:
    return f"[{found[1]}, {size_words(len(found[2]) * 3 // 4)}]"


def page(html: str) -> str:
    """A fragment as a whole page; a whole page as it is."""
    start = html[:2_000].lower()
    if "<html" in start or "<!doctype" in start:
        return html
    return (
        '<!DOCTYPE html>\n<html>\n<head><meta charset="utf-8"></head>\n'
        f"<body>\n{html}\n</body>\n</html>\n"
    )
