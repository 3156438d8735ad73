"""SVG and Vega drawn as pictures, where the renderers for them are installed.

A renderer runs in a process of its own, with little time and memory: some drawings make it end
its process or hang, and it lets no other thread run meanwhile.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.images import MAX_PIXELS, Picture, read

#: Seconds and bytes of memory that a drawing may take, characters that it may have.
_SECONDS, _CHARACTERS, _MEMORY = 10, 20_000_000, 2_000_000_000
#: Vega charts are small: two pixels for each of theirs keep their words legible.
_VEGA_SCALE = 2.0
_BEGINNING = """
import json, sys
folder, options = sys.argv[1], json.loads(sys.argv[2])
sys.path.append(folder)
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (%d, %d))
except (ImportError, ValueError, OSError):
    pass
text = sys.stdin.buffer.read().decode("utf-8", "replace")
""" % (_MEMORY, _MEMORY)  # noqa: UP031 - full of braces
_SVG = """
import resvg_py
drawn = resvg_py.svg_to_bytes(svg_string=text, **options)
sys.stdout.buffer.write(bytes(drawn))
"""
#: A reference to another file: a drawing must hold what it shows, as the server would read that.
_ELSEWHERE = re.compile(r"""\bhref\s*=\s*["'](?!data:|#)""")
_VEGA = """
import vl_convert
draw = getattr(vl_convert, options.pop("draw"))
if options.get("vl_version") not in (None, *vl_convert.get_vegalite_versions()):
    del options["vl_version"]
sys.stdout.buffer.write(draw(json.loads(text), allowed_base_urls=[], **options))
"""


def draw_svg(svg: str) -> Picture | None:
    """The picture of an SVG document; None without a renderer, or when it cannot draw it."""
    # Entities could hide a file's name, and few drawings have any.
    if "<!ENTITY" in svg:
        return None
    options: dict[str, Any] = {"dpi": 96, "background": "white", **_bounds(svg)}
    # Where the system has no fonts, its words would be missing.
    fonts = _folder("matplotlib")
    if fonts is not None:
        options["font_dirs"] = [str(fonts / "matplotlib" / "mpl-data" / "fonts" / "ttf")]
    return _drawn("resvg_py", _SVG, options, _ELSEWHERE.sub(r"\g<0>#", svg))


def draw_vega(spec: Mapping[str, Any]) -> Picture | None:
    """The picture of a Vega or Vega-Lite specification; None as for `draw_svg`, and where the
    data or images would have to be fetched from elsewhere."""
    if _fetches(spec):
        return None
    schema = re.search(r"/(vega|vega-lite)/v(\d+(?:\.\d+)?)", str(spec.get("$schema"))[:200])
    sides = [spec.get(side) for side in ("width", "height")]
    longest = max([1, *(side for side in sides if isinstance(side, (int, float)))])
    scale = min(_VEGA_SCALE, MAX_PIXELS / longest)
    options: dict[str, Any] = {"draw": "vegalite_to_png", "scale": scale}
    if schema is not None and schema[1] == "vega":
        options["draw"] = "vega_to_png"
    elif schema is not None:
        options["vl_version"] = schema[2]
    # Options of the page that the chart was made for.
    own = {key: value for key, value in spec.items() if key != "usermeta"}
    try:
        return _drawn("vl_convert", _VEGA, options, json.dumps(own, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return None


def _fetches(spec: object) -> bool:
    """Whether there is an address in a chart, but for its rows: the renderer asks for some,
    images for example, even when it is told not to."""
    waiting = [spec]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            if "url" in part:
                return True
            waiting += [part[key] for key in part if key not in ("values", "datasets")]
        elif isinstance(part, (list, tuple)):
            waiting += part
    return False


def _drawn(module: str, code: str, options: dict[str, Any], text: str) -> Picture | None:
    folder = _folder(module)
    if folder is None or len(text) > _CHARACTERS:
        return None
    # Neither the user's site-packages nor the server's secrets are its concern.
    kept = ("PATH", "HOME", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH", "LANG")
    try:
        child = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _BEGINNING + code, str(folder), json.dumps(options)],
            input=text.encode("utf-8", "replace"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            env={name: os.environ[name] for name in kept if name in os.environ},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return read(child.stdout) if child.returncode == 0 else None


def _folder(module: str) -> Path | None:
    """The folder from which a module can be imported."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).parent.parent if spec is not None and spec.origin else None


#: Pixels of a length's unit.
_UNITS = {"": 1, "px": 1, "pt": 4 / 3, "pc": 16, "in": 96, "cm": 96 / 2.54, "mm": 96 / 25.4}
_ROOT = re.compile(r"<svg\b[^>]{0,20000}")
_LENGTH = re.compile(r"""\s(width|height)\s*=\s*["']\s*([\d.]+(?:e\+?\d+)?)\s*([a-z]*)\s*["']""")
_VIEW = re.compile(
    r"""\sviewBox\s*=\s*["']\s*[\d.e+-]+[\s,]+[\d.e+-]+[\s,]+([\d.]+)[\s,]+([\d.]+)"""
)


def _bounds(svg: str) -> dict[str, int]:
    """The width or height to draw at, for a drawing that is larger than what is sent."""
    root = _ROOT.search(svg[:200_000])
    if root is None:
        return {}
    try:
        sides = {m[1]: float(m[2]) * _UNITS[m[3]] for m in _LENGTH.finditer(root[0])}
        view = _VIEW.search(root[0])
        if view is not None and len(sides) < 2:
            across, down = float(view[1]), float(view[2])
            if "width" in sides:
                sides["height"] = sides["width"] * down / across
            elif "height" in sides:
                sides["width"] = sides["height"] * across / down
            else:
                sides = {"width": across, "height": down}
    except (KeyError, ValueError, ZeroDivisionError):
        return {}
    longest = max(sides, key=lambda side: sides[side], default="")
    return {longest: MAX_PIXELS} if longest and sides[longest] > MAX_PIXELS else {}
