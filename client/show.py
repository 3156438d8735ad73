"""A result on the terminal or in a pipe: text, images as files, and the exit code it means."""

from __future__ import annotations

import base64
import binascii
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from client.progress import on_terminal

if TYPE_CHECKING:
    from fastmcp.client.client import CallToolResult

#: Exit codes: ours for a failure that is not the program's, and those that shells give.
FAILED, TIMED_OUT, INTERRUPTED, SIGNAL = 2, 124, 130, 128

_META = "rmi-agent/run"
_CAPTION = re.compile(r"\[image (\d{1,9}): [^\n]*\]")
_NOTHING = "(No output)"
_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp"}


def show(result: CallToolResult, images: Path = Path(), *, brief: bool = False) -> int:
    """Write a result and return the exit code that it means.

    The program's text goes to standard output; the line of facts, the names of the image files
    and sentences of the server go to standard error. `brief` leaves the facts out when all went
    well. Images are saved in the folder `images`, never over an existing file.
    """
    facts = facts_of(result)
    if facts is None:
        return _show_plain(result)
    *blocks, last = result.content
    fine = facts.get("status") == "ok" and facts.get("state") == "kept"
    ended, saved = _show_blocks(blocks, images, str(facts.get("run_id", "")), brief)
    if not ended and (sys.stdout.isatty() or _same(sys.stdout, sys.stderr)):
        sys.stdout.write("\n")
    if not (brief and fine):
        note(str(getattr(last, "text", "")), "dim" if facts.get("status") == "ok" else "red")
    return exit_code(facts) or (0 if saved else FAILED)


def exit_code(facts: dict[str, Any]) -> int:
    """The exit code of a command whose run has these facts."""
    status, code, signal = facts.get("status"), facts.get("exit_code"), facts.get("signal")
    if isinstance(code, int):
        return code & 0xFF
    if status == "timeout":
        return TIMED_OUT
    if status == "interrupted":
        return INTERRUPTED
    if isinstance(signal, int):
        return SIGNAL + signal
    return 0 if status in ("ok", "running") else 1


def complain(sentence: str) -> None:
    """Say on standard error what went wrong."""
    note(f"rmi-agent: {sentence}", "red")


def note(line: str, style: str = "dim") -> None:
    """A line on standard error, in colour when people watch."""
    sys.stdout.flush()
    if not on_terminal():
        print(line, file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(line, style=style), soft_wrap=True)


def facts_of(result: CallToolResult) -> dict[str, Any] | None:
    """The machine-readable facts of a run's result; None: it is none."""
    facts = (result.meta or {}).get(_META)
    return facts if isinstance(facts, dict) and result.content else None


def _show_plain(result: CallToolResult) -> int:
    """The answer of a tool that ran nothing, or refused to."""
    texts = [str(text) for block in result.content if (text := getattr(block, "text", None))]
    text = "\n".join(texts).rstrip("\n")
    if result.is_error:
        complain(text or "The server refused, without a reason.")
        return FAILED
    print(text)
    return 0


def _show_blocks(blocks: list[Any], images: Path, run: str, hush: bool) -> tuple[bool, bool]:
    """Write content; whether the text has ended its line, and whether all images were saved."""
    if len(blocks) == 1 and getattr(blocks[0], "text", None) == _NOTHING:
        if not hush:
            note(_NOTHING)
        return True, True
    ended, saved, caption, number = True, True, "", 0
    for index, block in enumerate(blocks):
        following = blocks[index + 1] if index + 1 < len(blocks) else None
        kind = getattr(block, "type", "")
        if kind == "text" and getattr(following, "type", "") == "image":
            if found := _CAPTION.fullmatch(block.text.strip()):
                # It counts all images of the run, of which a notebook's result shows some.
                caption, number = found[0], int(found[1]) - 1
                continue
        if kind == "image":
            number += 1
            saved = save(block, images, f"run-{_plain(run)}-image-{number}", caption) and saved
            caption = ""
            continue
        if kind == "resource_link":
            # It leads to a form of what is shown anyway, for clients that have a use for it.
            continue
        text = block.text if kind == "text" else _words(block)
        sys.stdout.write(text)
        ended = text.endswith("\n")
    return ended, saved


def _words(block: Any) -> str:
    """A block that is neither text nor image: a link, or a kind of tomorrow."""
    resource = getattr(block, "resource", block)
    text = getattr(resource, "text", None)
    if isinstance(text, str):
        return text
    uri = getattr(resource, "uri", None)
    return f"[{block.type}: {uri}]\n" if uri else f"[{block.type}]\n"


def save(image: Any, folder: Path, stem: str, caption: str) -> bool:
    """Save an image block in a folder, never over an existing file, and say where; whether that
    worked. `caption` is what the server says of it, or ""."""
    caption = caption.removesuffix("]") or "[image"
    try:
        data = base64.b64decode(image.data, validate=True)
        path = _write_new(folder, stem, _SUFFIXES.get(image.mime_type, "image"), data)
    except (OSError, binascii.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        note(f"{caption}; not saved in {str(folder)!r}: {reason}]", "red")
        return False
    note(f"{caption}; saved as {path}]")
    return True


def _write_new(folder: Path, stem: str, suffix: str, data: bytes) -> Path:
    """Write a file under a name that is not taken yet."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 1
    while True:
        path = folder / (f"{stem}.{suffix}" if count == 1 else f"{stem}-{count}.{suffix}")
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError:
            count += 1
        else:
            return path


def _plain(name: str) -> str:
    """`name` as part of a file name; it comes from the server."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:40]


def _same(one: TextIO, other: TextIO) -> bool:
    """Whether both streams end in the same place."""
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except (OSError, ValueError):  # a stream without a descriptor
        return False
