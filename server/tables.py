"""Tables in text, cut to what is worth reading, with their shape stated."""

from __future__ import annotations

import re

#: Lines and characters of a table.
LINES, CHARACTERS = 60, 8_000
#: Characters at each end of a huge text in which lines are looked for.
_SEARCHED = 200_000
_STATED = re.compile(r"shape: \(|\[[\d,]+ rows x [\d,]+ columns\]|Length: \d+")
_IN_HTML = re.compile(r"([\d,]+) rows? × ([\d,]+) columns?")


def shortened(text: str, html: str) -> str:
    """A table as text, whose HTML form tells its shape; itself when it is short."""
    if len(text) <= CHARACTERS and text.count("\n") < LINES:
        return text
    # A frame too wide for the lines is in parts below each other, each with every row.
    parts = text.split("\n\n") if len(text) <= 2 * _SEARCHED else [text]
    if len(parts) > LINES // 6:
        parts = [text]
    room = max(6, LINES // len(parts) - 2)
    cut = [_lines(part, room) for part in parts]
    width = max(80, CHARACTERS // sum(len(lines) + 1 for lines in cut) - 3)
    cut = [[line if len(line) <= width else line[:width] + " …" for line in lines] for lines in cut]
    shorter = "\n\n".join("\n".join(lines) for lines in cut)
    stated = _STATED.search(text[:200]) or _STATED.search(text[-200:])
    return shorter if stated else f"{shorter}\n[{shape(html)}]"


def _lines(text: str, most: int) -> list[str]:
    """At most so many lines of a text, from both its ends, and one that counts the others."""
    count = text.count("\n") + 1
    if count <= most and len(text) <= 2 * _SEARCHED:
        return text.split("\n")
    first, last = most * 2 // 3, most // 3
    head, tail = text[:_SEARCHED].split("\n")[:first], text[-_SEARCHED:].split("\n")[-last:]
    missing = count - len(head) - len(tail)
    return [*head, *([f"[… {missing:,} lines left out …]"] if missing > 0 else []), *tail]


def shape(html: str) -> str:
    """The shape of a table in HTML, for example `table of 1,000 rows × 3 columns`."""
    stated = _IN_HTML.search(html[-500:])
    if stated is not None:
        rows, columns = (int(number.replace(",", "")) for number in stated.groups())
    else:
        body = html.find("<tbody")
        body = html.find("<table") if body < 0 else body
        end = html.find("</table", body)
        end = len(html) if end < 0 else end
        rows = html.count("<tr", body, end)
        row = html.find("</tr", body, end)
        columns = html.count("<td", body, row if row >= 0 else end)
    return f"table of {rows:,} rows × {columns:,} columns"
