"""How a display is shown on the page: the richest of its forms that needs nothing from elsewhere.

What a model gets of the same display is decided in `server.displays`, on which this stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from server import displays, hypertext, plots
from server.images import decode, size_words
from server.page.frames import LIBRARY, MAX_FRAME, frame_document, hosts, with_plotly
from server.page.grids import table_html
from server.page.highlighting import sendable
from server.page.writings import Shown, line, other, told, written

_PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_SVG, _HTML, _PLAIN = "image/svg+xml", "text/html", "text/plain"
_LOADING = ("application/vnd.bokehjs_load.v0+json", "application/vnd.holoviews_load.v0+json")
#: Without which browsers take a drawing for no picture.
_NAMED = re.compile(r"\sxmlns\s*=")
#: Pixels that browsers are asked to unpack, and bytes of a picture or drawing.
_MAX_PIXELS, _MAX_PICTURE = 50_000_000, 20_000_000
#: How a plot comes to the page with its library.
_WHOLE = {
    "plotly": "`HTML(fig.to_html())` of IPython.display shows it here",
    "bokeh": "`HTML(file_html(plot, INLINE))` shows it here",
}


def shown(data: Mapping[str, Any], metadata: Mapping[str, Any]) -> Shown:
    """What the page shows of a mime bundle. Never raises, whatever is in it; may take a second,
    and ten where a chart has to be drawn."""
    forms = {
        mime: value
        for mime, value in data.items()
        if isinstance(mime, str) and value is not None and value != ""
    }
    try:
        return _chosen(forms, metadata if isinstance(metadata, Mapping) else {})
    except Exception:
        # A display that nobody has thought of is still told of.
        return other(forms, f"A display that cannot be shown: {line(', '.join(forms))}.")


def _chosen(forms: Mapping[str, Any], metadata: Mapping[str, Any]) -> Shown:
    if any(mime in forms for mime in _LOADING):
        return other({}, "A library for plots was loaded. There is nothing to see of it.")
    plot = plots.find(forms)
    if plot is not None:
        return _of_plot(plot, forms, metadata)
    return (
        _of_html(forms)
        or _of_svg(forms, metadata)
        or _of_picture(forms, metadata)
        or written(forms)
        or told(forms)
    )


# what is seen


def _of_plot(plot: plots.Plot, forms: Mapping[str, Any], metadata: Mapping[str, Any]) -> Shown:
    """Interactive where its library is at hand, otherwise a picture, otherwise words."""
    words = line(plot.words, 500)
    html = forms.get(_HTML)
    page = html if isinstance(html, str) and len(html) >= LIBRARY else None
    figure = forms.get(plots.PLOTLY)
    if page is None and isinstance(figure, Mapping):
        page = with_plotly(plots.page({plots.PLOTLY: figure}) or "")
    if page is not None and len(page) <= MAX_FRAME:
        return _frame(page, words)
    seen = _of_svg(forms, metadata) or _of_picture(forms, metadata)
    if seen is not None:
        return seen
    drawn = displays.present(forms, metadata).picture
    if drawn is not None:
        side = {"width": drawn.width, "height": drawn.height}
        return Shown("image", "", drawn.mime, words, drawn.raw, len(drawn.raw), **side)
    how = _WHOLE.get(words.partition(" ")[0], "")
    return other(
        forms,
        f"{words}. Its library would come from another host, from which the page loads nothing"
        f"{'; ' + how if how else ''}.",
    )


def _of_html(forms: Mapping[str, Any]) -> Shown | None:
    html = forms.get(_HTML)
    if not isinstance(html, str) or not html.strip():
        return None
    if len(html) > MAX_FRAME:
        return other(forms, f"HTML of {size_words(len(html))}, too long to be shown here.")
    present = displays.present({_HTML: html}, {})
    if not present.text and present.picture is None:
        return other({}, "A place for a plot that is shown later.")
    if html.lstrip()[:200].startswith("<script") and "window.PlotlyConfig" in html[:500]:
        if "<div" not in html[:500] and "<div" not in html[-200:]:
            return other({}, "plotly's library was loaded. There is nothing to see of it.")
    table = table_html(html)
    if table is not None:
        words = f"Table: {line(present.text)}"
        return Shown("markup", table, _HTML, words, size=len(html))
    nameless = "an interactive plot" if len(html) >= LIBRARY else "without words"
    words = f"HTML: {line(present.text) or nameless}"
    missing = hosts(html)
    if missing:
        seen = _of_picture(forms, {})
        if seen is not None:
            return seen
        words += f" (what it would load from {', '.join(missing[:3])} is missing)"
    return _frame(html, words)


def _frame(html: str, words: str) -> Shown:
    body = frame_document(html)
    return Shown("frame", "", _HTML, sendable(words), body, len(body))


def _of_svg(forms: Mapping[str, Any], metadata: Mapping[str, Any]) -> Shown | None:
    svg = forms.get(_SVG)
    if not isinstance(svg, str) or "<svg" not in svg:
        return None
    # Entities can make a short drawing an endless one.
    if len(svg) > _MAX_PICTURE or "<!ENTITY" in svg:
        return None
    begin = svg.find("<svg")
    end = svg.find(">", begin)
    inside = hypertext.text_of(svg[end + 1 :][:50_000])
    if not _NAMED.search(svg, begin, max(begin, end)):
        svg = f'{svg[: begin + 4]} xmlns="http://www.w3.org/2000/svg"{svg[begin + 4 :]}'
    words = _alt(_SVG, forms, metadata) or f"Drawing: {line(inside) or 'without words'}"
    body = sendable(svg).encode("utf-8")
    return Shown("svg", "", _SVG, sendable(words), body, len(body))


def _of_picture(forms: Mapping[str, Any], metadata: Mapping[str, Any]) -> Shown | None:
    for mime in _PICTURES:
        picture = decode(forms.get(mime))
        if picture is None:
            continue
        if picture.width * picture.height > _MAX_PIXELS or len(picture.raw) > _MAX_PICTURE:
            return other(forms, f"A picture too large to be shown here: {picture.words}.")
        label = displays.present({mime: forms[mime], _PLAIN: forms.get(_PLAIN)}, metadata).text
        words = (
            _alt(mime, forms, metadata)
            or f"Picture, {', '.join(filter(None, [picture.words, label]))}"
        )
        side = {"width": picture.width, "height": picture.height} | _stated(metadata.get(mime))
        return Shown(
            "image", "", picture.mime, sendable(words), picture.raw, len(picture.raw), **side
        )
    return None


def _stated(facts: object) -> dict[str, int]:
    """The size at which a picture is to be shown, in so far as that is stated."""
    if not isinstance(facts, Mapping):
        return {}
    sides = {side: facts.get(side) for side in ("width", "height")}
    return {
        side: round(value)
        for side, value in sides.items()
        if isinstance(value, (int, float)) and 1 <= value <= 10_000
    }


def _alt(mime: str, forms: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """The words that the program itself has for a picture, or ""."""
    own = metadata.get(mime)
    for facts in (own, metadata):
        if isinstance(facts, Mapping) and isinstance(facts.get("alt"), str):
            return line(facts["alt"], 500)
    return ""
