"""Images in the terminal itself, where it is one of those that can show them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping

#: What the graphics protocol of kitty takes in one piece.
_PIECE = 4096
_ITERM = ("iTerm.app", "WezTerm", "vscode", "mintty")


def inline(data: bytes, mime: str, environ: Mapping[str, str]) -> str:
    """What makes the terminal show an image; "" when it is not known to be able to."""
    if environ.get("TMUX") or environ.get("TERM", "").startswith(("screen", "tmux")):
        return ""  # it passes neither form on
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if (term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty") and mime == "image/png":
        return "".join(_kitty(data)) + "\n"
    if program in _ITERM:
        text = base64.b64encode(data).decode()
        return f"\x1b]1337;File=inline=1;size={len(data)};width=auto:{text}\x07\n"
    return ""


def _kitty(data: bytes) -> Iterator[str]:
    text = base64.b64encode(data).decode()
    pieces = [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)] or [""]
    for number, piece in enumerate(pieces):
        what = "a=T,f=100," if number == 0 else ""
        yield f"\x1b_G{what}m={int(number < len(pieces) - 1)};{piece}\x1b\\"
