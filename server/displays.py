"""How a display is shown to a model: the one place that decides, from its mime bundle.

A picture where the model can see one, otherwise the shortest text that carries the meaning.
What neither holds (HTML, SVG, interactive plots, sound) is for a resource.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernels.outputs import Omitted
from kernels.transcript import clean
from server import drawing, hypertext, plots, tables
from server.images import Picture, decode, size_words, unpack

#: Characters of a text form; a result shows less of it, and pages the rest.
MAX_TEXT = 1_000_000
#: Characters of what is added to a picture's label.
_LABEL = 300
_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_SVG, _HTML, _PLAIN, _JSON = "image/svg+xml", "text/html", "text/plain", "application/json"
_WRITTEN = ("text/markdown", "text/latex")
#: What is of use only to the page that it was made for.
_WIDGET = "application/vnd.jupyter.widget-view+json"
_LOADING = ("application/vnd.bokehjs_load.v0+json", "application/vnd.holoviews_load.v0+json")
_BINARY = ("image/", "audio/", "video/", "font/", "application/pdf", "application/octet-stream")
#: Where a later display of bokeh stands in a page, or its library tells that it is loading.
_BOKEH_PLACE = re.compile(r"<div [^>]*\bdata-root-id=[^>]*></div>\s*\Z|class=\"bk-notebook-logo")
#: A text form that only says of which class a value is.
_NAMELESS = re.compile(r"<[\w.<>]{1,200}( object)?( at 0x[0-9a-fA-F]+)?>")


@dataclass(frozen=True)
class Shown:
    """A display as a model gets it. `text` is its text form, or for a `picture` what to add to
    its label, or ""; `more` are the mime types of what there is besides, for a resource; `cut`:
    a part of a table is left out."""

    text: str
    picture: Picture | None = None
    more: tuple[str, ...] = ()
    cut: bool = False


def present(data: Mapping[str, Any], metadata: Mapping[str, Any]) -> Shown:
    """What to show of a mime bundle. Never raises, whatever is in it; may have to draw."""
    plain = data.get(_PLAIN)
    if len(data) == 1 and isinstance(plain, str):
        return Shown(_text(plain), more=_cut(plain))
    forms = {mime: value for mime, value in data.items() if isinstance(mime, str)}
    if any(mime in forms for mime in _LOADING):
        return Shown("")
    plain = plain if isinstance(plain, str) else ""
    try:
        return _seen(forms, metadata, plain) or _read(forms, plain) or _told(forms, plain)
    except Exception:
        # A display that nobody has thought of must not take the rest of a result with it.
        kinds = _label(", ".join(forms), 1_000)
        return Shown(f"[a display that cannot be shown: {kinds}]", more=_others(forms))


def resource(data: Mapping[str, Any], mime: str) -> tuple[str, str | bytes]:
    """One form of a bundle, with its mime type: a page for HTML, which is there for every plot,
    and bytes for what is base64."""
    value = data.get(mime)
    if mime == _HTML:
        try:
            page = plots.page(data)
        except (TypeError, ValueError, RecursionError):  # what is no JSON
            page = None
        if page is None and isinstance(value, str):
            page = hypertext.page(value)
        if page is not None:
            return mime, _sendable(page)
    if mime.startswith(_BINARY) and mime != _SVG:
        raw = unpack(value)
        if raw:
            return mime, raw
    text = value if isinstance(value, str) else _json(value)
    return mime, clean(text) if mime == _PLAIN else _sendable(text)


def _sendable(text: str) -> str:
    """With escapes for lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    except (TypeError, ValueError, RecursionError):
        return str(type(value).__name__)


# what is seen


def _seen(data: Mapping[str, Any], metadata: Mapping[str, Any], plain: str) -> Shown | None:
    """The display as a picture, or as a plot in words."""
    for mime in _PICTURES:
        picture = decode(data.get(mime))
        if picture is not None:
            label = ", ".join(filter(None, [_size_words(metadata, mime, picture), _title(data)]))
            return Shown(_label(label), picture, _others(data, mime))
    if isinstance(data.get(_SVG), str):
        return _of_svg(data, plain)
    plot = plots.find(data)
    if plot is not None:
        picture = drawing.draw_vega(plot.vega) if plot.vega is not None else None
        others = _others(data, _HTML, *plot.forms)
        words = clean(_label(plot.words, 2_000))
        return Shown(words if picture else f"[{words}]", picture, (_HTML, *others))
    return None


def _of_svg(data: Mapping[str, Any], plain: str) -> Shown:
    svg = data[_SVG]
    picture = drawing.draw_svg(svg)
    if picture is not None:
        words = ", ".join(filter(None, ["drawn from SVG", _title(data)]))
        return Shown(_label(words), picture, _others(data))
    words = f"[SVG drawing, {size_words(len(svg))}]"
    inside = "" if plain and not _is_nameless(plain) else _words_of_svg(svg)
    return Shown("\n".join(filter(None, [_text(plain), words, inside])), more=_others(data))


def _words_of_svg(svg: str) -> str:
    """What is written in a drawing, in a line."""
    begin = svg.find("<svg")
    inside = hypertext.text_of(svg[svg.find(">", begin) + 1 :][:1_000_000])
    return _label(hypertext.without_base64(inside), 1_000)


def _size_words(metadata: Mapping[str, Any], mime: str, picture: Picture) -> str:
    """The size at which it is to be shown, where that is not its own."""
    stated = metadata.get(mime) if isinstance(metadata, Mapping) else None
    if not isinstance(stated, Mapping):
        return ""
    sides = []
    for side, own in (("width", picture.width), ("height", picture.height)):
        value = stated.get(side)
        if isinstance(value, (int, float)) and 0 < value < 100_000 and value != own:
            sides.append(round(value))
        else:
            sides.append(0)
    match sides:
        case [0, 0]:
            pass
        case [width, 0]:
            return f"shown {width} pixels wide"
        case [0, height]:
            return f"shown {height} pixels high"
        case [width, height]:
            return f"shown at {width} × {height}"
    return ""


def _title(data: Mapping[str, Any]) -> str:
    plain = data.get(_PLAIN)
    if isinstance(plain, str) and plain and not _is_nameless(plain):
        return clean(plain[:_LABEL])
    plot = plots.find(data)
    return clean(plot.words) if plot is not None else ""


def _label(words: str, most: int = _LABEL) -> str:
    line = " ".join(words[: 4 * most].split())
    return line if len(line) <= most else line[: most - 1] + "…"


# what is read


def _read(data: Mapping[str, Any], plain: str) -> Shown | None:
    """The display as a text; None when it has none that says anything."""
    for mime in _WRITTEN:
        if isinstance(data.get(mime), str) and data[mime].strip():
            return _of_text(data, mime, hypertext.without_base64(data[mime]))
    if _JSON in data and data[_JSON] is not None:
        return _of_text(data, _JSON, hypertext.without_base64(_json(data[_JSON])))
    html = data.get(_HTML)
    if plain.strip() and not _is_nameless(plain):
        if isinstance(html, str) and "<table" in html:
            text = tables.shortened(plain, html)
            words = _with_media(data, clean(text))
            return Shown(words, more=_others(data), cut=text != plain)
        return Shown(_with_media(data, _text(plain)), more=(*_others(data), *_cut(plain)))
    if isinstance(html, str) and html.strip():
        return _of_html(data, html, plain)
    return None


def _of_text(data: Mapping[str, Any], mime: str, text: str) -> Shown:
    value = data[mime]
    whole = len(text) <= MAX_TEXT and (not isinstance(value, str) or text == value)
    return Shown(_text(text), more=_others(data, mime) if whole else _others(data))


def _of_html(data: Mapping[str, Any], html: str, plain: str) -> Shown:
    if len(html) < 3_000 and _BOKEH_PLACE.search(html):
        return Shown("")
    text = hypertext.without_base64(hypertext.text_of(html))
    pictures = hypertext.embedded(html, "image/")
    if len(pictures) == 1 and len(text) < _LABEL:
        picture = decode(pictures[0])
        if picture is not None:
            words = re.sub(r"\[image/[\w.+-]+, [^\]]*\]", "", text)
            return Shown(_label(clean(words)), picture, _others(data))
    whole = text
    if "<table" in html:
        text = tables.shortened(text, html)
    cut = text != whole
    if not text:
        text = "\n".join(filter(None, [plain, f"[HTML, {size_words(len(html))}]"]))
    return Shown(_with_media(data, _text(text)), more=_others(data), cut=cut)


def _told(data: Mapping[str, Any], plain: str) -> Shown:
    """What cannot be shown: its kind and size."""
    others = _others(data)
    for mime in others:
        if mime.startswith("text/") and mime != _HTML and isinstance(data[mime], str):
            return _of_text(data, mime, hypertext.without_base64(data[mime]))
    kinds = _label("; ".join(_kind(mime, data[mime]) for mime in others), 1_000)
    words = [_text(plain), f"[{kinds}]" if kinds else ""]
    return Shown("\n".join(filter(None, words)), more=others)


def _with_media(data: Mapping[str, Any], text: str) -> str:
    """A text, and in words what it does not stand for: sound, films, documents. It does stand
    for a picture that cannot be read, unless it says no more than that there is one."""
    says_little = text.startswith("<") and text.endswith(">")
    kinds = [
        _kind(mime, data[mime])
        for mime in _others(data)
        if mime.startswith(_BINARY) and (says_little or mime not in _PICTURES)
    ]
    return f"{text}\n[{_label('; '.join(kinds), 1_000)}]" if kinds else text


def _kind(mime: str, value: object) -> str:
    size = len(value) if isinstance(value, str) else len(_json(value))
    unread = ""
    if mime.startswith(_BINARY) and mime != _SVG:
        raw = unpack(value)
        size = len(raw) if raw else size
        unread = ", which cannot be read" if mime in _PICTURES or not raw else ""
    return f"{mime[:100]}, {size_words(size)}{unread}"


def _others(data: Mapping[str, Any], *shown: str) -> tuple[str, ...]:
    """The forms of a bundle that hold something, but for its plain text and those given."""
    return tuple(
        mime
        for mime, value in data.items()
        if mime not in (_PLAIN, _WIDGET, *shown) and value is not None and value != ""
    )


def _is_nameless(plain: str) -> bool:
    if len(plain) > 300:
        return False
    found = _NAMELESS.fullmatch(plain.strip())
    return found is not None and (found[1] or found[2]) is not None


def _cut(plain: str) -> tuple[str, ...]:
    """The plain text as a form for a resource, if it is too long to be shown whole."""
    return (_PLAIN,) if len(plain) > MAX_TEXT else ()


def _text(text: str) -> str:
    """A text without colours, and a long one without its middle: what is missing is counted."""
    if len(text) <= MAX_TEXT:
        return clean(text)
    first, last = MAX_TEXT * 2 // 3 - 50, len(text) - MAX_TEXT // 3 + 50
    gap = Omitted(last - first, text.count("\n", first, last)).words
    return clean(f"{text[:first]}\n{gap}\n{text[last:]}")
