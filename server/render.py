"""A run's result, or a part of what it wrote, as MCP content that fits a model's context.

The budget is `MAX_TEXT` characters of text in all, of which the middle is left out and counted,
and `MAX_BYTES` bytes in all. Text of both streams stands in the order in which it was written;
standard error is marked.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastmcp.tools.base import ToolResult
from mcp_types import ContentBlock, ImageContent, ResourceLink, TextContent

from kernels.outputs import Omitted
from kernels.result import RunResult, Status
from kernels.transcript import clean, mark
from server.document import Document, Faces, Item, Missing, Words, described, of_outputs
from server.images import Picture, fit

MAX_TEXT = 20_000
MAX_BYTES = 900_000
META_KEY = "rmi-agent/run"
#: A character of text takes at most 6 bytes in JSON; the facts take what is then left.
IMAGE_BYTES = (MAX_BYTES - 6 * MAX_TEXT - 60_000) * 3 // 4
_MAX_IMAGES, _MAX_LINKS = 20, 10
#: Characters of an error's message among the facts, of an explanation, of a thread's text.
_VALUE, _EXPLANATION, _LATE = 2_000, 4_000, 4_000


def tool_result(result: RunResult, faces: Faces | None = None) -> ToolResult:
    """The answer of a run tool. May have to read files, and to draw."""
    faces = faces or Faces()
    document = of_outputs(result.run_id, result.outputs, faces)
    before, after = _late(result), _cut(clean(result.explanation), _EXPLANATION)
    room = MAX_TEXT - 400 - len(before) - len(after) - len(facts_line(result))
    pictures = _Pictures(result.run_id, document.images(), faces)
    parts, truncated = _within(document, 0, document.length, room, pictures)
    blocks = _blocks(parts, pictures, before, after) or [text_block("(No output)")]
    blocks.append(text_block(facts_line(result)))
    known = facts(result, truncated or bool(pictures.left_out))
    return ToolResult(content=blocks, meta={META_KEY: known}, is_error=result.failed)


def content(document: Document, run_id: str, start: int, end: int, faces: Faces) -> list[Any]:
    """The blocks of a part of a document."""
    parts = list(document.part(start, end))
    images = [part for part in parts if isinstance(part, Item) and part.image]
    return _blocks(parts, _Pictures(run_id, images, faces))


def one_image(item: Item, run_id: str, faces: Faces) -> list[ContentBlock]:
    """The blocks of a picture that has all the room of a result."""
    return _blocks([item], _Pictures(run_id, [item], faces))


def facts_line(result: RunResult) -> str:
    """The last line of a result, for example `[exit code 0 · 0.42 s · session a · run 12]`."""
    parts = [] if result.exit_code is None else [f"exit code {result.exit_code}"]
    if result.status is Status.DIED:
        parts.append("kernel died")
    parts += [f"{result.duration:.2f} s", f"session {result.session}", f"run {result.run_id}"]
    if result.environment is not None:
        parts.append(clean(result.environment.title))
    # Some name files of the program's.
    notes = (clean(note).replace("\n", " ") for note in result.notes)
    return f"[{' · '.join([*parts, *notes])}]"


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
    if result.restored_to is not None:
        known["restored_to"] = result.restored_to
    if result.signal is not None:
        known["signal"] = result.signal
    if result.environment is not None:
        where = result.environment.environment
        known["environment"] = {
            "name": where.name,
            "version": where.version,
            "python": where.python,
            "by": result.environment.why,
        }
    return known


def _error(error: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: clean(value[:_VALUE]) if isinstance(value, str) else value
        for name, value in error.items()
    }


def _late(result: RunResult) -> str:
    text = clean(result.late).rstrip("\n")
    if not text.strip():
        return ""
    return f"[from a thread of an earlier run]\n{_cut(text, _LATE)}\n[this run]\n"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "…"


def ranges(
    document: Document,
    run_id: str,
    spans: Sequence[tuple[int, int]],
    room: int,
    faces: Faces,
    before: str,
    after: str,
) -> tuple[list[ContentBlock], bool]:
    """The blocks of some parts of a document, in `room` characters together, each from its start
    to before its end; `before` and `after` are text around them. And whether something is left
    out."""
    inside = [part for start, end in spans for part in document.part(start, end)]
    images = [part for part in inside if isinstance(part, Item) and part.image]
    pictures = _Pictures(run_id, images, faces)
    parts: list[Words | Missing | Item | str] = []
    truncated = bool(pictures.left_out)
    for number, (start, end) in enumerate(spans):
        # What the first ones do not need is for the last.
        some, cut = _within(document, start, end, room // (len(spans) - number), pictures)
        room -= sum(len(_words(part)) for part in some)
        parts += some
        truncated = truncated or cut
    return _blocks(parts, pictures, before, after), truncated


def _words(part: Words | Missing | Item | str) -> str:
    match part:
        case Words(text):
            return text
        case Item(words=words):
            return words
        case str():
            return part
        case _:
            return ""


def _is_cut(part: object) -> bool:
    return isinstance(part, Item) and part.cut


def _within(
    document: Document, start: int, end: int, room: int, pictures: _Pictures
) -> tuple[list[Words | Missing | Item | str], bool]:
    """What of a part of a document is shown in `room` characters, and whether something is left
    out."""
    if end - start <= room:
        parts = list(document.part(start, end))
        return [*parts], any(isinstance(part, Missing) or _is_cut(part) for part in parts)
    first, last = start + room * 2 // 3, end - room // 3
    characters = lines = 0
    shown: list[Item] = []
    for part in document.part(first, last):
        match part:
            case Words(text):
                characters, lines = characters + len(text), lines + text.count("\n")
            case Missing():
                characters, lines = characters + part.characters, lines + part.lines
            case Item() if pictures.fitted(part):
                shown.append(part)
            case Item(words=words):
                characters, lines = characters + len(words), lines + words.count("\n")
    words = Omitted(characters, lines).words.removesuffix(" …]")
    gap = f'{words}; get_output(run_id="{pictures.run_id}", offset={first}) reads on there …]'
    head, tail = document.part(start, first), document.part(last, end)
    return [*head, gap, *shown, *tail], True


class _Pictures:
    """Makes the pictures of one answer fit their room together."""

    def __init__(self, run_id: str, items: list[Item], faces: Faces) -> None:
        self.run_id = run_id
        self._fitted: dict[int, Picture] = {}
        found: dict[int, Picture] = {}
        for item in items[:_MAX_IMAGES]:
            picture = faces.picture(run_id, item.display)
            if picture is not None:
                found[item.image] = picture
        left, most = IMAGE_BYTES, len(found)
        # The small ones first: what they do not need is for the others.
        for image, picture in sorted(found.items(), key=lambda each: len(each[1].raw)):
            smaller = fit(picture, left // most)
            most -= 1
            if smaller is not None:
                self._fitted[image] = smaller
                left -= len(smaller.raw)
        #: Images of `items` that are not shown, and words that say so.
        self.left_out = [item.image for item in items if item.image not in self._fitted]
        self.note = ""
        if self.left_out:
            self.note = (
                f"[not shown for want of room: {len(self.left_out)} of {len(items)} images; "
                f'get_output(run_id="{run_id}", image={self.left_out[0]}) gives one]'
            )

    def fitted(self, item: Item) -> Picture | None:
        """The picture of `item` as it is sent, if it is."""
        return self._fitted.get(item.image)

    def blocks(self, item: Item, picture: Picture) -> list[ContentBlock]:
        """The line that says what a picture is, and the picture."""
        data = base64.b64encode(picture.raw).decode()
        return [
            text_block(f"[image {item.image}: {described(picture, item.title)}]"),
            ImageContent(type="image", data=data, mime_type=picture.mime),
        ]


def _blocks(
    parts: Iterable[Words | Missing | Item | str],
    pictures: _Pictures,
    before: str = "",
    after: str = "",
) -> list[ContentBlock]:
    """Text, pictures and links in order; a `str` among the parts stands for text left out."""
    blocks: list[ContentBlock] = []
    text, stream, links, gap = before, "stdout", 0, False
    for part in parts:
        match part:
            case Words():
                unmarked = not part.text.lstrip("\n").startswith(mark(part.stream))
                if gap and unmarked and "stderr" in (stream, part.stream):
                    text += mark(part.stream)
                text += part.text
                stream, gap = part.stream, False
            case Missing(characters, lines):
                text = f"{_ended(text)}{Omitted(characters, lines).words}\n"
                gap = True
            case str():
                text, gap = f"{_ended(text)}{part}\n", True
            case Item():
                if picture := pictures.fitted(part):
                    blocks += [*_nonblank(text), *pictures.blocks(part, picture)]
                    text = ""
                else:
                    text += part.words
                if part.more and links < _MAX_LINKS:
                    blocks += _nonblank(text)
                    blocks.append(_link(pictures.run_id, part))
                    text, links = "", links + 1
    for words in (pictures.note, after):
        text = _ended(text) + words if words else text
    return blocks + _nonblank(text)


def _link(run_id: str, item: Item) -> ResourceLink:
    return ResourceLink(
        type="resource_link",
        uri=f"run://{run_id}/outputs/{item.number}",
        name=f"output {item.number} of run {run_id}: {', '.join(item.more)}"[:200],
        mime_type=item.more[0],
    )


def _nonblank(text: str) -> list[ContentBlock]:
    return [text_block(text)] if text.strip() else []


def _ended(text: str) -> str:
    """`text` with its last line ended; nothing stays nothing."""
    return text if not text or text.endswith("\n") else text + "\n"


def text_block(words: str) -> TextContent:
    """A block of text."""
    return TextContent(type="text", text=words)
