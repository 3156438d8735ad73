"""What programs printed and showed, as HTML that is safe within the page as it is.

All of it is data. Nothing that comes out carries script, handlers, styles, ids, forms or frames,
or loads anything from another host; each form is bounded, and says what it leaves out.
"""

from __future__ import annotations

from server.page.bundles import shown
from server.page.formulas import latex_html
from server.page.frames import frame_document
from server.page.highlighting import code_html, css, text_html
from server.page.markdown import markdown_html
from server.page.tracebacks import traceback_html
from server.page.writings import Kind, Shown

__all__ = [
    "Kind",
    "Shown",
    "code_html",
    "css",
    "frame_document",
    "latex_html",
    "markdown_html",
    "shown",
    "text_html",
    "traceback_html",
]
