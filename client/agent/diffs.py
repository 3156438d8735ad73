"""What a write would change, as a diff."""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable

#: Reads a file from a line on; None: there is no such text file.
Read = Callable[[str, int], Awaitable["str | None"]]
#: What read_file adds when it has not returned the whole file, and says of an empty one.
_PART = re.compile(r"\n?\[lines ([\d,]+) to ([\d,]+) of ([\d,]+)(; the last one is cut)?\]\Z")
_EMPTY = re.compile(r"\[[^\n]* has 0 lines; none of them after line 0\]")
_MOST_PAGES = 100


async def whole(read: Read, file_name: str) -> str | None:
    """The text of a file, put together from the pages in which it is read; None when it is not
    there, is no text, or cannot be had whole."""
    pages: list[str] = []
    offset = 0
    while len(pages) < _MOST_PAGES:
        page = await read(file_name, offset)
        if page is None:
            return None
        part = _PART.search(page)
        first, last, total = (
            (int(number.replace(",", "")) for number in part.group(1, 2, 3)) if part else (0, 0, 0)
        )
        if part is None or first != offset + 1 or not first <= last <= total:
            # All of it; it may itself end with a line that looks like the note.
            return "" if _EMPTY.fullmatch(page) else "".join([*pages, page])
        text = page[: part.start()] + "\n"
        if part[4]:
            # The line that is cut is read again, from its beginning.
            text, last = text[: text.rfind("\n", 0, -1) + 1], last - 1
            if last <= offset:
                return None
        pages.append(text)
        if last == total:
            return "".join(pages)
        offset = last
    return None


def diff(file_name: str, old: str | None, new: str) -> list[str]:
    """The lines of a unified diff; `old` is None for a new file."""
    names = "/dev/null" if old is None else file_name, file_name
    lines: list[str] = []
    for line in difflib.unified_diff(_lines(old or ""), _lines(new), *names):
        lines.append(line.removesuffix("\n"))
        if not line.endswith("\n"):
            lines.append("\\ No newline at end of file")
    return lines


def _lines(text: str) -> list[str]:
    # Not splitlines: for a file only \n ends a line.
    return re.findall(r"[^\n]*\n|[^\n]+", text)
