"""HTML that programs show, as a document for a sandboxed frame."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from server.page.highlighting import sendable

#: Characters of HTML that are given to a frame.
MAX_FRAME = 20_000_000
#: HTML with fewer characters does not hold the library that draws its plot.
LIBRARY = 400_000

_STYLE = """
:root { color-scheme: light; background: #fff; color: #1d1e1a; }
/* As high as it needs: all of the frame's height would be that which the frame has by chance. */
html, body { height: auto !important; }
body { margin: 8px; font: 15px/1.5 system-ui, sans-serif; }
img { max-width: 100%; }
table { border-collapse: collapse; font-size: 14px; }
th, td { padding: 2px 10px; }
"""
#: Tells the page how high the document is, whenever that changes; the page believes only numbers.
#: A height that grows by what the frame has grown would never end, so it is told a few times.
_SCRIPT = """
(() => {
  const page = parent;
  let told = 0, times = 0;
  const tell = () => {
    const body = document.body, root = document.documentElement;
    if (!body) return;
    const height = Math.ceil(Math.max(root.getBoundingClientRect().height, body.scrollHeight));
    if (!height || height === told || times > 200) return;
    told = height;
    times += 1;
    page.postMessage({ height }, "*");
  };
  const seen = new ResizeObserver(tell);
  seen.observe(document.documentElement);
  addEventListener("DOMContentLoaded", () => { seen.observe(document.body); tell(); });
  addEventListener("load", tell);
})();
"""
_HEAD = (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width">\n'
    # Links open nowhere, as the frame may not open windows: it would lose what it shows.
    f'<base target="_blank">\n<style>{_STYLE}</style>\n<script>{_SCRIPT}</script>\n'
)
_ELSEWHERE = re.compile(
    r"<(?:script|link|img|iframe|video|audio|source|embed|object)\b[^<>]{0,500}?"
    r"\b(?:src|href|data)\s{0,9}=\s{0,9}[\"']?(?:https?:)?//([\w.-]{1,100})"
    r"|\b(?:import|from)\s{0,9}[\"']https?://([\w.-]{1,100})"
    r"|[\"']https://(cdn\.[\w.-]{1,100}|unpkg\.com|cdnjs\.cloudflare\.com)/",
    re.IGNORECASE,
)
_PLOTLY = re.compile(r'<script src="https://cdn\.plot\.ly/[^"<>]{1,100}"></script>')


def frame_document(html: str) -> bytes:
    """What is served to a sandboxed frame: a program's HTML, whole or in part, after a head of
    ours. The head of a whole page is read as a part of ours, as browsers do.

    It is as hostile as it was: what confines it is the frame and the policy of the answer.
    """
    return (_HEAD + sendable(html)).encode("utf-8")


def hosts(html: str) -> list[str]:
    """From where a document would load what it does not hold, in so far as one can see."""
    if len(html) > LIBRARY:
        return []
    found = (next(filter(None, match.groups())) for match in _ELSEWHERE.finditer(html))
    return list(dict.fromkeys(host.lower() for host in found))


def with_plotly(page: str) -> str | None:
    """A page of plotly's that holds the library itself; None where that is not installed."""
    try:
        spec = importlib.util.find_spec("plotly")
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or _PLOTLY.search(page) is None:
        return None
    try:
        file = Path(spec.origin).parent / "package_data" / "plotly.min.js"
        script = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    whole = _PLOTLY.sub(lambda _: f"<script>{script}</script>", page, count=1)
    # The frame follows the plot's height, so that cannot follow the frame's.
    return whole.replace('style="height: 95vh"', 'style="height: 450px"', 1)
