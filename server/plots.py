"""Interactive plots of plotly, altair and bokeh: in words, and as pages that open by themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from server import hypertext

PLOTLY = "application/vnd.plotly.v1+json"
BOKEH = "application/vnd.bokehjs_exec.v0+json"
_SCRIPT = "application/javascript"
_VEGA = "application/vnd.vega"
#: Characters of a script in which a plot is looked for; traces and words that are named.
_LONGEST, _NAMED = 50_000_000, 8


@dataclass(frozen=True)
class Plot:
    """A plot in `words`: its kind, traces and titles. `forms`: the mime types that are it;
    `vega`: what it can be drawn from, if it can."""

    words: str
    forms: tuple[str, ...]
    vega: Mapping[str, Any] | None = None


def find(data: Mapping[str, Any]) -> Plot | None:
    """The plot that a mime bundle is; None when it is none."""
    figure = data.get(PLOTLY)
    if isinstance(figure, Mapping):
        return Plot(_plotly_words(figure), (PLOTLY,))
    if BOKEH in data:
        found = _bokeh_document(data)
        return Plot(_bokeh_words(found[0]), (_SCRIPT, BOKEH)) if found is not None else None
    spec = _vega_spec(data)
    if spec is not None:
        forms = tuple(mime for mime in data if isinstance(mime, str) and mime.startswith(_VEGA))
        return Plot(_vega_words(spec), forms, spec)
    return None


def page(data: Mapping[str, Any]) -> str | None:
    """A plot as an interactive page; None when the bundle is none. The libraries are fetched by
    the browser, unless the bundle has them."""
    figure, html = data.get(PLOTLY), data.get("text/html")
    whole = html if isinstance(html, str) and "<script" in html else None
    if whole is not None:
        return hypertext.page(whole)
    if isinstance(figure, Mapping):
        return _plotly_page(figure)
    if BOKEH in data:
        return _bokeh_page(data)
    spec = _vega_spec(data)
    return _vega_page(spec) if spec is not None else None


def _listed(things: list[str]) -> str:
    shown = things[:_NAMED]
    more = len(things) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more else shown)


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'s' if count != 1 else ''}"


def _named(name: object) -> str:
    return repr(" ".join(str(name)[:400].split())[:80])


def _script(value: object) -> str:
    """JSON that can stand in a script."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _page(addresses: list[str], body: str) -> str:
    scripts = "\n".join(f'<script src="{address}"></script>' for address in addresses)
    return hypertext.page(f"{scripts}\n{body}")


# plotly


def _plotly_words(figure: Mapping[str, Any]) -> str:
    traces = figure.get("data")
    words = []
    for trace in traces if isinstance(traces, (list, tuple)) else ():
        if isinstance(trace, Mapping):
            name = f" {_named(trace['name'])}" if trace.get("name") else ""
            words.append(f"{str(trace.get('type') or 'scatter')[:40]}{name}{_points(trace)}")
    layout = figure.get("layout")
    places = [("title", layout)]
    if isinstance(layout, Mapping):
        axes = [key for key in layout if re.fullmatch(r"[xyz]axis\d{0,2}", str(key))]
        places += [(key.replace("axis", " axis "), layout[key]) for key in axes[:_NAMED]]
    titles = [f"{key.strip()} {_named(title)}" for key, at in places if (title := _title(at))]
    return " · ".join(["plotly figure", _listed(words) or "no traces", *titles])


def _title(place: object) -> object:
    title = place.get("title") if isinstance(place, Mapping) else None
    return title.get("text") if isinstance(title, Mapping) else title


def _points(trace: Mapping[str, Any]) -> str:
    for axis in ("z", "x", "y", "values", "lat", "r", "locations", "labels"):
        values = trace.get(axis)
        if isinstance(values, (list, tuple)) and values:
            if axis == "z" and isinstance(values[0], (list, tuple)):
                return f" ({len(values):,} × {len(values[0]):,})"
            return f" ({_counted(len(values), 'point')})"
        if isinstance(values, Mapping) and isinstance(values.get("bdata"), str):
            if values.get("shape"):
                return f" ({str(values['shape'])[:40].replace(', ', ' × ')})"
            size = re.fullmatch(r"[a-z](\d)c?", str(values.get("dtype")))
            if size is not None and size[1] != "0":
                encoded = values["bdata"]
                count = (len(encoded) * 3 // 4 - encoded[-2:].count("=")) // int(size[1])
                return f" ({_counted(count, 'point')})"
    return ""


def _plotly_page(figure: Mapping[str, Any]) -> str:
    parts = [_script(figure.get(key) or default) for key, default in (("data", []), ("layout", {}))]
    return _page(
        ["https://cdn.plot.ly/plotly-4.1.1.min.js"],
        '<div id="plot" style="height: 95vh"></div>\n'
        f'<script>Plotly.newPlot("plot", {parts[0]}, {parts[1]}, {{"responsive": true}});</script>',
    )


# altair, and what else makes Vega


def _vega_spec(data: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for mime, value in data.items():
        if isinstance(mime, str) and mime.startswith(_VEGA) and isinstance(value, Mapping):
            return value
    html = data.get("text/html")
    if not isinstance(html, str) or "vega.github.io/schema" not in html[:_LONGEST]:
        return None
    decoder, at = json.JSONDecoder(), -1
    for _ in range(50):
        at = html.find('{"', at + 1)
        if at < 0:
            break
        try:
            value, _end = decoder.raw_decode(html, at)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and "vega.github.io/schema" in str(value.get("$schema")):
            return value
    return None


def _vega_words(spec: Mapping[str, Any]) -> str:
    marks, fields, titles = [], [], []
    for view in _views(spec):
        mark = view.get("mark")
        kind = mark.get("type") if isinstance(mark, Mapping) else mark
        if isinstance(kind, str):
            marks.append(kind[:40])
        encoding = view.get("encoding")
        for channel, what in encoding.items() if isinstance(encoding, Mapping) else ():
            what = what if isinstance(what, Mapping) else {}
            shown = [str(what[key])[:80] for key in ("aggregate", "field") if what.get(key)]
            if shown:
                fields.append(f"{str(channel)[:40]}: {' of '.join(shown)}")
        title = view.get("title")
        title = title.get("text") if isinstance(title, Mapping) else title
        if title:
            titles.append(_named(title))
    words = [_listed(list(dict.fromkeys(each))) for each in (marks, fields, titles)]
    words[2] = f"title {words[2]}" if words[2] else ""
    return " · ".join(["Vega chart", *filter(None, [*words[:2], _rows(spec), words[2]])])


def _views(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A chart and those that it is made of, at most a hundred."""
    waiting, seen = [spec], 0
    while waiting and seen < 100:
        view = waiting.pop(0)
        yield view
        seen += 1
        for key in ("layer", "concat", "hconcat", "vconcat"):
            parts = view.get(key)
            if isinstance(parts, (list, tuple)):
                waiting += [part for part in parts[:100] if isinstance(part, Mapping)]
        inner = view.get("spec")
        waiting += [inner] if isinstance(inner, Mapping) else []


def _rows(spec: Mapping[str, Any]) -> str:
    data, sets = spec.get("data"), spec.get("datasets")
    values = data.get("values") if isinstance(data, Mapping) else None
    if isinstance(sets, Mapping) and sets:
        values = next(iter(sets.values()))
    return _counted(len(values), "row") if isinstance(values, list) else ""


def _vega_page(spec: Mapping[str, Any]) -> str:
    found = re.search(r"/vega-lite/v(\d+)", str(spec.get("$schema"))[:200])
    lite = found[1] if found is not None else "6"
    vega, embed = ("6", "7") if int(lite) >= 6 else ("5", "6")
    names = [f"vega@{vega}", f"vega-lite@{lite}", f"vega-embed@{embed}"]
    return _page(
        [f"https://cdn.jsdelivr.net/npm/{name}" for name in names],
        f'<div id="plot"></div>\n<script>vegaEmbed("#plot", {_script(spec)});</script>',
    )


# bokeh


def _bokeh_document(data: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[Any]] | None:
    """The plot, and what is shown of it where; None when they are not in the script."""
    script = data.get(_SCRIPT)
    if not isinstance(script, str):
        return None
    found = []
    for name in ("docs_json", "render_items"):
        at = script.find(f"{name} = ")
        try:
            value = (
                json.JSONDecoder().raw_decode(script, at + len(name) + 3)[0] if at >= 0 else None
            )
        except (ValueError, RecursionError):
            value = None
        found.append(value)
    document, items = found
    if not isinstance(document, Mapping) or not isinstance(items, list):
        return None
    return document, items


def _bokeh_words(document: Mapping[str, Any]) -> str:
    glyphs, titles = [], []
    for thing in _objects(document):
        attributes = thing.get("attributes")
        if not isinstance(attributes, Mapping):
            continue
        glyph = attributes.get("glyph")
        if isinstance(glyph, Mapping) and isinstance(glyph.get("name"), str):
            glyphs.append(f"{glyph['name'][:40].lower()}{_bokeh_points(attributes)}")
        if thing.get("name") == "Title" and attributes.get("text"):
            titles.append(f"title {_named(attributes['text'])}")
        if attributes.get("axis_label"):
            titles.append(f"axis {_named(attributes['axis_label'])}")
    return " · ".join(["bokeh plot", *filter(None, [_listed(glyphs)]), *titles[:_NAMED]])


def _objects(document: object) -> Iterator[Mapping[str, Any]]:
    """The models of a document, in order, except in the data of a plot."""
    waiting = [document]
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, Mapping):
            if isinstance(thing.get("name"), str):
                yield thing
            if thing.get("type") not in ("map", "ndarray"):
                waiting += reversed(list(thing.values()))
        elif isinstance(thing, list) and isinstance(next(iter(thing), None), (Mapping, list)):
            waiting += reversed(thing)


def _bokeh_points(renderer: Mapping[str, Any]) -> str:
    try:
        column = renderer["data_source"]["attributes"]["data"]["entries"][0][1]
        if isinstance(column, Mapping):
            count = column["shape"][0]
        else:
            count = len(column)
    except (KeyError, IndexError, TypeError):
        return ""
    return f" ({_counted(count, 'point')})" if isinstance(count, int) else ""


def _bokeh_page(data: Mapping[str, Any]) -> str | None:
    found = _bokeh_document(data)
    if found is None:
        return None
    document, items = found
    version = re.search(r'"version":\s*"(\d+\.\d+\.\d+)"', json.dumps(document)[:5_000])
    places = []
    for item in items:
        roots = item.get("roots") if isinstance(item, Mapping) else None
        places += [str(place) for place in roots.values()] if isinstance(roots, Mapping) else []
    divs = "\n".join(f'<div id="{re.sub("[^a-zA-Z0-9-]", "", place)}"></div>' for place in places)
    release = f"https://cdn.bokeh.org/bokeh/release/bokeh{{}}-{version[1] if version else '3.7.3'}"
    return _page(
        [release.format(part) + ".min.js" for part in ("", "-gl", "-widgets", "-tables")],
        f"{divs}\n<script>Bokeh.embed.embed_items({_script(document)}, {_script(items)});</script>",
    )
