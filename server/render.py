"""A run's result as MCP content that fits a model's context. Pure.

The budget: `MAX_TEXT` characters of text in all, the middle left out and counted, and
`MAX_BYTES` bytes in all. Text of both streams stands in the order in which it was written;
stderr is marked.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from collections.abc import Mapping
from typing import Any

from fastmcp.tools.base import ToolResult
from mcp_types import ContentBlock, ImageContent, TextContent

from kernels.outputs import Display, Error, Omitted, Output, Text
from kernels.result import RunResult, Status

MAX_TEXT = 20_000
MAX_BYTES = 900_000
META_KEY = "rmi-agent/run"
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_TEXTS = ("text/markdown", "text/latex")


def strip_ansi(text: str) -> str:
    """`text` without the escape sequences that colour it or move a cursor."""
    return _ANSI.sub("", text) if "\x1b" in text else text


def tool_result(result: RunResult) -> ToolResult:
    """The answer of a run tool."""
    blocks, truncated = _content(result)
    blocks.append(_text(facts_line(result)))
    return ToolResult(
        content=blocks, meta={META_KEY: facts(result, truncated)}, is_error=result.failed
    )


def facts_line(result: RunResult) -> str:
    """The last line of a result, for example `[exit code 0 · 0.42 s · session a · run 12]`."""
    parts = [] if result.exit_code is None else [f"exit code {result.exit_code}"]
    if result.status is Status.DIED:
        parts.append("kernel died")
    parts += [f"{result.duration:.2f} s", f"session {result.session}", f"run {result.run_id}"]
    return f"[{' · '.join([*parts, *result.notes])}]"


def facts(result: RunResult, truncated: bool) -> dict[str, Any]:
    """The machine-readable facts of a result."""
    known: dict[str, Any] = {
        "run_id": result.run_id,
        "session": result.session,
        "status": str(result.status),
        "exit_code": result.exit_code,
        "duration_s": round(result.duration, 4),
        "execution_count": result.execution_count,
        "state": str(result.state),
        "truncated": truncated,
        "error": dict(result.error) if result.error else None,
    }
    if result.signal is not None:
        known["signal"] = result.signal
    return known


def _content(result: RunResult) -> tuple[list[ContentBlock], bool]:
    pieces = _pieces(result)
    texts = [piece for piece in pieces if isinstance(piece, str)]
    budget = _Cut(sum(len(text) for text in texts))
    blocks: list[ContentBlock] = []
    left = MAX_BYTES - 4 * MAX_TEXT
    number = 0
    for piece in pieces:
        if isinstance(piece, str):
            if shown := budget.take(piece):
                blocks.append(_text(shown))
            continue
        number += 1
        mime, data, words = piece
        label = f"[image {number}: {words}]"
        if len(data) > left:
            blocks.append(_text(f"[image {number}: {words}; left out, too large for this result]"))
            budget.cut = True
            continue
        left -= len(data) + 200
        blocks += [_text(label), ImageContent(type="image", data=data, mime_type=mime)]
    if not blocks:
        blocks.append(_text("(No output)"))
    omitted = any(isinstance(output, Omitted) for output in result.outputs)
    return blocks, budget.cut or omitted


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


_Image = tuple[str, str, str]


def _pieces(result: RunResult) -> list[str | _Image]:
    """Text and images (mime type, base64, description) in order; neighbouring texts joined."""
    pieces: list[str | _Image] = []
    stream = "stdout"

    def say(text: str, name: str) -> None:
        nonlocal stream
        last = pieces[-1] if pieces else None
        before = last if isinstance(last, str) else ""
        if name != stream or (name == "stderr" and not before):
            gap = "\n" if before and not before.endswith("\n") else ""
            before += f"{gap}[{name}]\n"
            stream = name
        if isinstance(last, str):
            pieces[-1] = before + text
        else:
            pieces.append(before + text)

    if result.late.strip():
        say(f"[from a thread of an earlier run]\n{_ended(strip_ansi(result.late))}", "stdout")
        say("[this run]\n", "stdout")
    for output in result.outputs:
        match output:
            case Text(name, text):
                say(strip_ansi(text), name)
            case Omitted(characters, lines):
                say(f"\n[… {characters:,} characters ({lines:,} lines) left out …]\n", stream)
            case Error(_, _, traceback):
                say(_ended(strip_ansi(traceback)), "stderr")
            case Display():
                shown = _display(output)
                if isinstance(shown, tuple):
                    pieces.append(shown)
                    stream = "stdout"
                elif shown:
                    say(_ended(shown), "stdout")
    if result.explanation:
        last = pieces[-1] if pieces else None
        gap = "\n" if isinstance(last, str) and not last.endswith("\n") else ""
        say(gap + result.explanation, stream)
    return [piece for piece in pieces if not isinstance(piece, str) or piece.strip()]


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _display(display: Display) -> str | _Image:
    data = display.data
    for mime in _IMAGES:
        if isinstance(data.get(mime), str):
            image = _image(mime, data[mime], _plain(data))
            if image is not None:
                return image
    for mime in _TEXTS:
        if isinstance(data.get(mime), str):
            return strip_ansi(str(data[mime]))
    plain = _plain(data)
    if plain:
        return plain
    if "application/json" in data:
        return json.dumps(data["application/json"], ensure_ascii=False, separators=(",", ":"))
    if isinstance(data.get("text/html"), str):
        return re.sub(r"\s*\n\s*", "\n", re.sub(r"<[^>]*>", " ", data["text/html"])).strip()
    kinds = ", ".join(data)
    return f"[a display that cannot be shown here: {kinds}]" if kinds else ""


def _plain(data: Mapping[str, Any]) -> str:
    text = data.get("text/plain")
    return strip_ansi(text) if isinstance(text, str) else ""


def _image(mime: str, data: str, plain: str) -> _Image | None:
    try:
        raw = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    if not raw:
        return None
    words = mime.partition("/")[2].upper()
    if raw[:8] == b"\x89PNG\r\n\x1a\n" and len(raw) > 24:
        words += " {} × {}".format(*struct.unpack(">II", raw[16:24]))
    words += f", {max(1, round(len(raw) / 1000)):,} kB"
    if plain:
        words += f", {plain.strip()[:80]}"
    return mime, base64.b64encode(raw).decode(), words


class _Cut:
    """Leaves out the middle of texts that together have more than `MAX_TEXT` characters."""

    def __init__(self, total: int) -> None:
        self._at = 0
        self.cut = total > MAX_TEXT
        room = MAX_TEXT - 200
        self._first = room * 2 // 3 if self.cut else total
        self._last = total - room // 3 if self.cut else total
        self._said = False

    def take(self, text: str) -> str:
        """What is to be shown of the next text."""
        start, end = self._at, self._at + len(text)
        self._at = end
        if not self.cut or end <= self._first or start >= self._last:
            return text
        before = text[: max(0, self._first - start)]
        after = text[max(0, self._last - start) :]
        middle = ""
        if not self._said:
            self._said = True
            middle = f"\n[… {self._last - self._first:,} characters left out …]\n"
        return before + middle + after


def outputs_text(outputs: tuple[Output, ...]) -> str:
    """The text of outputs alone, for short answers."""
    return "".join(strip_ansi(output.text) for output in outputs if isinstance(output, Text))
