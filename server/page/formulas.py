"""Formulas of LaTeX as MathML, which browsers draw by themselves."""

from __future__ import annotations

import re
from html import escape, unescape
from typing import TYPE_CHECKING

from latex2mathml.converter import Converter

from kernels.transcript import clean
from server.page.highlighting import preformatted, sendable, text_html

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

#: Characters of a formula, and of all formulas of a text; the others are shown as they are.
MAX_FORMULA, MAX_FORMULAS = 2_000, 20_000
#: Commands with which a short formula can become an endless one.
_DEFINES = re.compile(r"\\(?:re|provide)?(?:newcommand|newenvironment|def|let|DeclareMath)")
#: What is typeset as mathematics; LaTeX's tables and documents are better read as they are.
_ENVIRONMENTS = re.compile(
    r"\\begin\s*\{(?!(?:equation|align|aligned|gather|gathered|split|array|cases|multline|eqnarray"
    r"|alignat|subequations|[pbvBV]?matrix|smallmatrix)\*?\})"
)
_WHOLE = re.compile(r"\s*\\begin\{(equation|gather|multline)(\*?)\}(.*)\\end\{\1\2\}\s*", re.DOTALL)
#: As in the pages of notebooks: $$…$$ and \[…\] stand by themselves, $…$ and \(…\) in a line.
_PIECES = re.compile(
    r"\$\$([^$]{1,4000})\$\$|\\\[((?:[^\\]|\\[^\[\]]){1,4000})\\\]"
    r"|\$((?:[^$\\]|\\.){1,4000})\$|\\\(((?:[^\\]|\\[^()]){1,4000})\\\)",
    re.DOTALL,
)
_ELEMENTS = {
    "math", "mrow", "mi", "mn", "mo", "mtext", "ms", "mspace", "msup", "msub", "msubsup",
    "mfrac", "msqrt", "mroot", "munder", "mover", "munderover", "mmultiscripts", "mprescripts",
    "none", "mtable", "mtr", "mlabeledtr", "mtd", "mstyle", "mpadded", "mphantom", "menclose",
    "merror",
}  # fmt: skip
_TRUTH = "true|false"
#: Nothing may be larger than what it stands in, or lie over something else.
_LENGTH = r"\+?\d{0,2}(?:\.\d{1,6})?(?:em|ex|px|pt|mm|%)?|-[01]?(?:\.\d{1,6})?em"
_LENGTHS = r"[\d.a-z% ]{1,200}"
_COLOUR = r"#[0-9a-fA-F]{3,8}|[a-z]{1,30}"
_ATTRIBUTES = {
    name: re.compile(pattern)
    for names, pattern in (
        ("display", "block|inline"),
        ("mathvariant form notation columnalign rowlines columnlines frame", r"[a-z -]{1,200}"),
        ("stretchy fence separator accent accentunder largeop movablelimits symmetric", _TRUTH),
        ("displaystyle", _TRUTH),
        ("scriptlevel", r"[+-]?\d"),
        ("width height depth lspace rspace voffset linethickness minsize maxsize", _LENGTH),
        ("columnspacing rowspacing", _LENGTHS),
        ("mathcolor mathbackground", _COLOUR),
        ("columnspan rowspan", r"\d{1,2}"),
    )
    for name in names.split()
}


def latex_html(text: str) -> str:
    """A formula, or text with formulas between dollars, as MathML; as text where it is neither."""
    text = clean(text)
    bare = text.strip()
    if whole := _WHOLE.fullmatch(bare[:MAX_FORMULA]):
        bare = whole[3]
    if "$" not in bare and "\\[" not in bare and "\\(" not in bare:
        return formula(bare, block=True) or preformatted(text)
    if len(text) > MAX_FORMULAS:
        return preformatted(text)
    made, at = [], 0
    for found in _PIECES.finditer(text):
        block = found[1] or found[2]
        math = formula(block or found[3] or found[4] or "", block=bool(block))
        made += [text_html(text[at : found.start()]), math or text_html(found[0])]
        at = found.end()
    if not made:
        return preformatted(text)
    made.append(text_html(text[at:]))
    if not "".join([made[0], *made[2::2]]).strip() and len(made) == 3:
        # A formula by itself stands by itself, whatever it stands between.
        return made[1].replace('<math display="inline">', '<math display="block">', 1)
    return f"<p>{''.join(made)}</p>"


def formula(source: str, block: bool) -> str | None:
    """One formula without its dollars; None when it cannot be typeset."""
    source = source.strip()
    if not source or len(source) > MAX_FORMULA or _DEFINES.search(source):
        return None
    if _ENVIRONMENTS.search(source):
        return None
    try:
        found = Converter().convert_to_element(source, None)
        return _written(found, block)
    except Exception:  # the converter raises whatever it stumbles over
        return None


def _written(element: Element, block: bool | None = None) -> str:
    """An element as HTML. Built anew: what the converter writes lets markup through."""
    inside = escape(sendable(unescape(element.text or "")))
    inside += "".join(
        _written(child) + escape(sendable(unescape(child.tail or ""))) for child in element
    )
    name = element.tag
    if name not in _ELEMENTS:
        return f"<mrow>{inside}</mrow>"
    if name == "math":
        return f'<math display="{"block" if block else "inline"}">{inside}</math>'
    attributes = "".join(
        f' {key}="{escape(value)}"'
        for key, value in element.items()
        if key in _ATTRIBUTES and _ATTRIBUTES[key].fullmatch(value)
    )
    return f"<{name}{attributes}>{inside}</{name}>"
