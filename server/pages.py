"""Answers about a run other than its result: that it has begun, a part of its text, an image."""

from __future__ import annotations

import asyncio
from typing import Any

from fastmcp.tools.base import ToolResult
from mcp_types import TextContent

from kernels.errors import BadRequest
from kernels.result import Status
from kernels.run import Run
from kernels.transcript import clean
from server import displays, render
from server.document import Document, Faces, Item, Missing, Words, of_reading

#: Characters of a page; the answer has room for some words more.
_PAGE = render.MAX_TEXT - 1_000
#: Characters of a page's end in which a line's end is looked for, and of an unfinished line.
_SEARCHED, _LINE = 2_000, 500


def begun(run: Run) -> ToolResult:
    """The answer to who does not wait for a run."""
    if run.place:
        before = "1 run" if run.place == 1 else f"{run.place} runs"
        words = f"Run {run.id} waits behind {before} of session {run.session.name}."
    else:
        words = f"Run {run.id} has begun in session {run.session.name}."
    words += (
        f' get_output(run_id="{run.id}", wait=20) tells how it gets on; '
        f'stop_run(run_id="{run.id}") ends it.'
    )
    return _answer(run, [_text(words)], [])


def asks(run: Run) -> ToolResult:
    """The answer when its program has asked too often for one call."""
    words = (
        f"Run {run.id} asks its next question; "
        f'get_output(run_id="{run.id}", wait=20) puts it to the user.'
    )
    return _answer(run, [_text(words)], [])


async def document(run: Run, faces: Faces) -> Document:
    """All that a run has written so far."""
    # Some displays have to be read, or drawn.
    return await asyncio.to_thread(of_reading, run.id, run.recording.reading(), faces)


async def page(run: Run, offset: int | None, faces: Faces) -> ToolResult:
    """Its text from character `offset` on, or its news when that is None.

    Raises `BadRequest` for an offset beyond the end, and `OutputGone`.
    """
    # Before the text is read, which may not be all of it otherwise.
    ended = run.done.done()
    whole = await document(run, faces)
    start = run.seen if offset is None else offset
    if start > whole.length and ended:
        raise BadRequest(
            f"offset is {start:,}; the output of run {run.id} has {whole.length:,} characters."
        )
    start = min(start, whole.length)
    end = await asyncio.to_thread(_end_of_page, whole, start)
    blocks = await asyncio.to_thread(render.content, whole, run.id, start, end, faces)
    if end == whole.length:
        line = clean(run.line)
        if line.strip():
            blocks.append(_text(f"[unfinished line] {line[-_LINE:]}"))
        if run.question is not None:
            blocks.append(_text(f"[the program waits for an answer to {run.question.prompt!r}]"))
        if run.recording.trouble:
            blocks.append(_text(f"[what came then was not kept: {run.recording.trouble}]"))
    if offset is None:
        run.seen = end
    words = []
    if offset is not None or end < whole.length:
        so_far = "" if ended else " so far"
        words.append(f"characters {start:,} to {end:,} of {whole.length:,}{so_far}")
        if end < whole.length:
            words.append(f'get_output(run_id="{run.id}", offset={end}) reads on')
    facts = {"offset": start, "next_offset": end, "length": whole.length}
    blocks = blocks or [_text("(No output)" if ended else "(No news)")]
    # One that has ended meanwhile has more to tell: for who reads this it goes on.
    return _answer(run, blocks, words, facts, ended)


def _end_of_page(whole: Document, start: int) -> int:
    """Where a page ends: at the end of a line if there is one near."""
    end = start + _PAGE
    if end >= whole.length:
        return whole.length
    last = ""
    for part in whole.part(end - _SEARCHED, end):
        last = getattr(part, "text", "") or getattr(part, "words", "")
    newline = last.rfind("\n")
    return end if newline < 0 else end - (len(last) - newline - 1)


async def image(run: Run, number: int, faces: Faces) -> ToolResult:
    """One image with all the room that a result has. Raises `BadRequest`, `OutputGone`."""
    images = (await document(run, faces)).images()
    if not 1 <= number <= len(images):
        there = f"images 1 to {len(images)}" if len(images) > 1 else "image 1"
        raise BadRequest(
            f"Run {run.id} has no image {number}; it has {there if images else 'none'}"
            f"{'' if run.done.done() else ' so far'}."
        )
    item = images[number - 1]
    return _answer(run, await asyncio.to_thread(render.one_image, item, run.id, faces), [])


async def text(run: Run, offset: int, most: int, faces: Faces) -> str:
    """Its text from character `offset` on, `most` characters of it and then words on the rest.

    Raises `BadRequest` and `OutputGone`.
    """
    whole = await document(run, faces)
    if not 0 <= offset <= whole.length:
        raise BadRequest(f"offset is {offset}; run {run.id} has {whole.length:,} characters.")
    end = min(whole.length, offset + most)
    parts = await asyncio.to_thread(lambda: list(whole.part(offset, end)))
    found = "".join(part.words if isinstance(part, Item) else _of(part) for part in parts)
    if end == whole.length:
        return found
    return f"{found}\n[{whole.length - end:,} characters more: run://{run.id}/text?offset={end}]"


def _of(part: Words | Missing) -> str:
    return part.text if isinstance(part, Words) else ""


async def forms(run: Run, number: int, faces: Faces) -> list[tuple[str, str | bytes]]:
    """The forms of its `number`-th display that say more than its text: mime type and content.

    Raises `BadRequest` and `OutputGone`.
    """
    items = (await document(run, faces)).items()
    if not 1 <= number <= len(items):
        raise BadRequest(f"Run {run.id} has no output {number}; it has {len(items)} displays.")
    item = items[number - 1]
    data = dict(item.display.data)
    kinds = item.more or tuple(mime for mime in data if mime != "text/plain") or tuple(data)
    return [displays.resource(data, mime) for mime in kinds]


def _answer(
    run: Run,
    blocks: list[Any],
    words: list[str],
    more: dict[str, Any] | None = None,
    ended: bool | None = None,
) -> ToolResult:
    ended = run.done.done() if ended is None else ended
    status = run.status if ended else Status.RUNNING
    facts: dict[str, Any] = {
        "run_id": run.id,
        "session": run.session.name,
        "status": str(status),
        "exit_code": None,
        "duration_s": round(run.seconds, 4),
        "execution_count": None,
        "state": "kept",
        "truncated": False,
        "error": None,
    }
    if ended and run.summary is not None:
        facts = render.facts(run.summary, False)
    parts = []
    if status is Status.RUNNING:
        parts.append(f"waiting, place {run.place + 1}" if run.place else "running")
    doing = run.steps.doing
    parts += [clean(doing.words)] if doing else []
    parts += [f"{run.seconds:.2f} s"] if run.seconds else []
    parts += [f"session {run.session.name}", f"run {run.id}", *words]
    line = _text(f"[{' · '.join(parts)}]")
    return ToolResult(content=[*blocks, line], meta={render.META_KEY: {**facts, **(more or {})}})


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)
