"""What the user sees of an answer: the model's words on standard output, and on standard error
each call of a tool, what came of it, and what is to be said besides."""

from __future__ import annotations

import base64
import binascii
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.agent.pictures import inline
from client.progress import Progress, on_terminal
from client.show import facts_of, note, save

if TYPE_CHECKING:
    from fastmcp.client.client import CallToolResult

#: Lines of a program's output that are shown: of one that failed, the end tells more.
_FIRST, _LAST_OF_FAILED = 6, 5
_WIDTH = 200
_COLOURS = {"+": "green", "-": "red", "@": "cyan"}
#: The argument that says best what a tool is called for.
_TELLING = ("file_name", "run_id", "directory", "packages")


class Display:
    """Shows one thing after the other; `images` is the folder for images."""

    def __init__(self, progress: Progress, images: Path) -> None:
        self._progress = progress
        self._images = images
        self._in_line = False
        self._wrote = False

    def think(self, model: str) -> None:
        """The model has the word."""
        self._progress.begin(model, "thinking")

    def text(self, part: str) -> None:
        """A part of the model's answer."""
        if not part:
            return
        if not self._wrote:
            self._progress.clear()
            self._wrote = True
        sys.stdout.write(visible(part))
        sys.stdout.flush()
        self._in_line = not part.endswith("\n")

    def pause(self) -> None:
        """End the answer's line, for whatever comes next."""
        self._progress.clear()
        if self._in_line:
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._in_line = self._wrote = False

    def say(self, sentence: str, style: str = "dim") -> None:
        """A sentence of ours."""
        self.pause()
        note(visible(sentence), style)

    def call(self, tool: str, arguments: dict[str, Any]) -> None:
        """A tool that is about to be called."""
        self.say(f"▸ {title(tool, arguments)}", "bold cyan")

    def lines(self, lines: list[str], *, is_diff: bool = False) -> None:
        """Code, or a diff, whole."""
        self.pause()
        for line in lines:
            style = _COLOURS.get(line[:1], "") if is_diff else ""
            note(f"  {visible(line)}", style)

    def running(self, name: str) -> Progress:
        """Expect news of a run."""
        self.pause()
        self._progress.begin(visible(name))
        return self._progress

    def result(self, tool: str, result: CallToolResult) -> None:
        """What a tool answered."""
        self._progress.clear()
        facts = facts_of(result)
        if facts is None:
            self._answer(result)
            return
        *blocks, last = result.content
        fine = facts.get("status") in ("ok", "running")
        text = "".join(block.text for block in blocks if block.type == "text")
        for line in shortened(text, 0 if fine else _LAST_OF_FAILED):
            note(f"  {line}", "")
        for number, block in enumerate((b for b in blocks if b.type == "image"), 1):
            self._image(block, f"run-{facts.get('run_id', '')}-image-{number}")
        note(f"  {visible(str(getattr(last, 'text', '')))}", "dim" if fine else "red")

    def _answer(self, result: CallToolResult) -> None:
        """What a tool says that ran nothing."""
        text = "\n".join(str(getattr(block, "text", "")) for block in result.content).strip("\n")
        count = text.count("\n") + 1
        if result.is_error:
            note(f"  {visible(text)}", "red")
        else:
            note(f"  {visible(text)[:_WIDTH]}" if count == 1 else f"  ({count:,} lines)")

    def _image(self, image: Any, stem: str) -> None:
        save(image, self._images, "".join(c if c.isalnum() else "-" for c in stem)[:60], "")
        if not on_terminal():
            return
        try:
            data = base64.b64decode(image.data, validate=True)
        except binascii.Error:
            return
        sys.stdout.write(inline(data, image.mime_type, os.environ))
        sys.stdout.flush()


def title(tool: str, arguments: dict[str, Any]) -> str:
    """A call in a few words."""
    named = next((arguments[name] for name in _TELLING if arguments.get(name)), "")
    more = arguments.get("args") or []
    words = [named, *more] if isinstance(more, list) else [named]
    return " ".join(filter(None, (tool, *(str(word) for word in words))))


def shortened(text: str, last: int = 0) -> list[str]:
    """The first lines of a text, and as many of the last ones as are asked for."""
    lines = [visible(line)[:_WIDTH] for line in text.rstrip("\n").split("\n")] if text else []
    if len(lines) <= _FIRST + last + 1:
        return lines
    left_out = len(lines) - _FIRST - last
    return [*lines[:_FIRST], f"… {left_out:,} more lines", *lines[len(lines) - last :]]


def visible(text: str) -> str:
    """`text` without what a terminal would obey: that is shown as escapes."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )
