"""The forms of a display that are read: formulas, Markdown, JSON, text, and words about others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kernels.transcript import clean
from server import displays
from server.page.formulas import latex_html
from server.page.highlighting import MAX_TEXT, code_html, preformatted, sendable, text_html
from server.page.markdown import markdown_html

Kind = Literal["image", "svg", "frame", "markup", "text", "other"]

_PLAIN, _JSON = "text/plain", "application/json"
_SVG, _MARKDOWN, _LATEX = "image/svg+xml", "text/markdown", "text/latex"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_CUT_JSON = '<p class="cut">The rest is left out; the download has it.</p>'
#: Characters of the words about a display.
_LABEL = 200


@dataclass(frozen=True)
class Shown:
    """A display as the page has it.

    `html` is safe within the page (for `markup`, `text` and `other`); `body` are the bytes, of
    the type `mime`, that the page loads from an address of its own (for `image`, `svg`, `frame`).
    `alt` says in words what it is. `size` is that of `body` or of the form shown, in bytes;
    `width` and `height` are those at which a picture is to be shown, in pixels.
    """

    kind: Kind
    html: str
    mime: str
    alt: str
    body: bytes | None = None
    size: int = 0
    width: int | None = None
    height: int | None = None


def written(forms: Mapping[str, Any]) -> Shown | None:
    """A display that is written; None when it is not."""
    for mime, write in ((_LATEX, latex_html), (_MARKDOWN, markdown_html)):
        text = forms.get(mime)
        if isinstance(text, str) and text.strip():
            name = "Formula" if mime == _LATEX else "Text"
            words = f"{name}: {line(text)}"
            return Shown("markup", write(text), mime, words, size=len(text))
    if forms.get(_JSON) is not None:
        text, whole = _json(forms[_JSON])
        html = code_html(text, "json") + ("" if whole else _CUT_JSON)
        return Shown("markup", html, _JSON, f"JSON: {line(text)}", size=len(text))
    return None


def _json(value: object) -> tuple[str, bool]:
    """JSON as it is read, and whether that is all of it."""
    encoder = json.JSONEncoder(indent=2, ensure_ascii=False, default=str)
    pieces, length = [], 0
    for piece in encoder.iterencode(value):
        pieces.append(piece[: MAX_TEXT - length])
        length += len(piece)
        if length > MAX_TEXT:
            return "".join(pieces), False
    return "".join(pieces), True


def told(forms: Mapping[str, Any]) -> Shown:
    """A display as its text, or in words what it is."""
    plain = forms.get(_PLAIN)
    if _WIDGET in forms:
        words = "An interactive widget, which works in a notebook only"
        name = f": {line(plain)}" if isinstance(plain, str) and plain.strip() else "."
        return other(forms, words + name)
    if isinstance(plain, str) and list(forms) == [_PLAIN]:
        return _text(_PLAIN, plain)
    # A drawing that is none would be drawn, to no end.
    present = displays.present({mime: forms[mime] for mime in forms if mime != _SVG}, {})
    if isinstance(plain, str) and plain.strip():
        return _text(_PLAIN, present.text)
    return other(forms, present.text or "A display that cannot be shown here.")


def _text(mime: str, text: str) -> Shown:
    return Shown("text", preformatted(text), mime, f"Text: {line(text)}", size=len(text))


def other(forms: Mapping[str, Any], words: str) -> Shown:
    """What the page cannot show, in words."""
    mime = next((mime for mime in forms if mime != _PLAIN), next(iter(forms), ""))[:100]
    value = forms.get(mime)
    size = len(value) if isinstance(value, str) else 0
    words = sendable(line(words, 1_000))
    return Shown(
        "other", f'<p class="other">{text_html(words)}</p>', sendable(mime), words, size=size
    )


def line(text: str, most: int = _LABEL) -> str:
    """The beginning of a text, in a line."""
    words = sendable(" ".join(clean(text[: 4 * most]).split()))
    return words if len(words) <= most else words[: most - 1] + "…"
