"""A run's result as MCP content that fits a model's context. Pure.

The budget is `MAX_TEXT` characters of text in all, of which the middle is left out and counted,
and `MAX_BYTES` bytes in all. Text of both streams stands in the order in which it was written;
standard error is marked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastmcp.tools.base import ToolResult
from mcp_types import ContentBlock, ImageContent, TextContent

from kernels.outputs import Display, Error, Omitted, Output, StreamName, Text
from kernels.result import RunResult, Status
from kernels.textlog import Log, Slot
from server.images import Image, from_bundle

MAX_TEXT = 20_000
MAX_BYTES = 900_000
META_KEY = "rmi-agent/run"
#: A character of text takes at most 6 bytes in JSON; the facts take what is then left.
_IMAGE_BYTES = MAX_BYTES - 6 * MAX_TEXT - 60_000
_MAX_IMAGES = 20
#: Characters of an error's message among the facts, and of an explanation.
_VALUE, _EXPLANATION = 2_000, 4_000
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")


def clean(text: str) -> str:
    """`text` without the escape sequences that colour it or move a cursor, and with escapes for
    lone surrogates, which cannot be sent."""
    text = _ANSI.sub("", text) if "\x1b" in text else text
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


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
        "error": _error(result.error) if result.error else None,
    }
    if result.signal is not None:
        known["signal"] = result.signal
    return known


def _error(error: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: clean(value[:_VALUE]) if isinstance(value, str) else value
        for name, value in error.items()
    }


def _content(result: RunResult) -> tuple[list[ContentBlock], bool]:
    """The blocks before the line of facts, and whether something was left out."""
    explanation = clean(result.explanation)
    if len(explanation) > _EXPLANATION:
        explanation = explanation[:_EXPLANATION] + "…"
    pictures = _pictures(result.outputs)
    taken = len(explanation) + len(facts_line(result))
    taken += sum(len(picture.label) for picture in pictures.values() if picture.image)
    room = MAX_TEXT - 200 - taken
    log = Log(room * 2 // 3, room // 3)
    _write(log, result, pictures)
    outputs = _gaps_joined(log.outputs())
    cut = any(isinstance(output, Omitted) for output in outputs)
    cut = cut or any(picture.image is None for picture in pictures.values())
    return _blocks(outputs, pictures, explanation), cut


@dataclass(frozen=True)
class _Picture:
    """A line that says what an image is, and the image itself if there is room for it."""

    label: str
    image: Image | None


def _pictures(outputs: Iterable[Output]) -> dict[int, _Picture]:
    """The images among the outputs, by the `id` of their display."""
    found: dict[int, _Picture] = {}
    left = _IMAGE_BYTES
    for output in outputs:
        image = from_bundle(output.data) if isinstance(output, Display) else None
        if image is None:
            continue
        label = f"[image {len(found) + 1}: {clean(image.words)}"
        if image.data and len(image.data) <= left and len(found) < _MAX_IMAGES:
            left -= len(image.data)
            found[id(output)] = _Picture(f"{label}]", image)
        else:
            found[id(output)] = _Picture(f"{label}; left out, no room in this result]", None)
    return found


def _write(log: Log, result: RunResult, pictures: Mapping[int, _Picture]) -> None:
    """Fold the outputs into `log`: text with its marks, and a slot for each image."""
    marked = _Marked(log)
    if result.late.strip():
        marked.line("[from a thread of an earlier run]")
        marked.line(clean(result.late))
        marked.line("[this run]")
    for output in result.outputs:
        match output:
            case Text(stream, text):
                marked.write(clean(text), stream)
            case Error(_, _, traceback):
                marked.write(_ended(clean(traceback)), "stderr")
            case Display():
                picture = pictures.get(id(output))
                if picture is not None and picture.image is not None:
                    marked.place(output)
                elif words := picture.label if picture is not None else _words(output):
                    marked.line(clean(words))
            case Omitted():
                log.add(Slot(output))


class _Marked:
    """Writes text to a log, with a line that names the stream wherever that changes."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._stream: StreamName = "stdout"
        self._at_start = True

    def write(self, text: str, stream: StreamName) -> None:
        if not text:
            return
        if stream != self._stream:
            self._stream = stream
            text = ("" if self._at_start else "\n") + _mark(stream) + text
        self._log.write(stream, text)
        self._at_start = text.endswith("\n")

    def line(self, text: str) -> None:
        """Write to stdout, on lines of its own."""
        start = "" if self._at_start or self._stream != "stdout" else "\n"
        self.write(start + _ended(text), "stdout")

    def place(self, display: Display) -> None:
        """Put an image here. What follows is a new text, of stdout unless marked."""
        self._log.add(Slot(display))
        self._stream, self._at_start = "stdout", True


def _gaps_joined(outputs: Iterable[Output]) -> list[Output]:
    """Neighbouring places where text was left out, made one."""
    joined: list[Output] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if isinstance(output, Omitted) and isinstance(last, Omitted):
            joined[-1] = Omitted(
                last.characters + output.characters,
                last.lines + output.lines,
                last.displays + output.displays,
            )
        else:
            joined.append(output)
    return joined


def _blocks(
    outputs: Iterable[Output], pictures: Mapping[int, _Picture], explanation: str
) -> list[ContentBlock]:
    blocks: list[ContentBlock] = []
    text, stream, after_gap = "", "stdout", False
    for output in outputs:
        if isinstance(output, Text):
            mark = _mark(output.stream)
            unmarked = not output.text.lstrip("\n").startswith(mark)
            if after_gap and unmarked and "stderr" in (stream, output.stream):
                text += mark
            text += output.text
            stream, after_gap = output.stream, False
        elif isinstance(output, Omitted):
            text = f"{_ended(text)}{output.words}\n"
            after_gap = True
        elif (picture := pictures.get(id(output))) and picture.image is not None:
            image = ImageContent(
                type="image", data=picture.image.data, mime_type=picture.image.mime
            )
            blocks += [*_nonblank(text), _text(picture.label), image]
            text = ""
    blocks += _nonblank(_ended(text) + explanation if explanation else text)
    return blocks or [_text("(No output)")]


def _nonblank(text: str) -> list[TextContent]:
    return [_text(text)] if text.strip() else []


def _mark(stream: StreamName) -> str:
    return f"[{stream}]\n"


def _ended(text: str) -> str:
    """`text` with its last line ended; nothing stays nothing."""
    return text if not text or text.endswith("\n") else text + "\n"


def _words(display: Display) -> str:
    """What a display that is no image says in text."""
    data = display.data
    for mime in ("text/markdown", "text/latex", "text/plain"):
        if isinstance(data.get(mime), str) and data[mime]:
            return str(data[mime])
    if "application/json" in data:
        return json.dumps(data["application/json"], ensure_ascii=False, separators=(",", ":"))
    if isinstance(data.get("text/html"), str):
        lines = re.sub(r"<[^<>]*>", " ", data["text/html"]).splitlines()
        return "\n".join(line.strip() for line in lines if line.strip())
    return f"[a display that cannot be shown here: {', '.join(data)}]" if data else ""


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)
