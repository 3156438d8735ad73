"""Places where outputs are shown, one after another, as Jupyter front ends keep them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from notebooks.streams import StreamText, savable, size_of

#: Bytes that an output counts for besides those of its texts.
_OVERHEAD = 200


@dataclass(frozen=True)
class LeftOut:
    """What there was no room for: whole outputs, or new forms of them, and characters of text."""

    outputs: int = 0
    characters: int = 0

    def __bool__(self) -> bool:
        return bool(self.outputs or self.characters)


@dataclass(eq=False)
class Output:
    """An output other than text. `display`: the id by which it can be changed, or ""."""

    value: dict[str, Any]
    size: int
    display: str = ""
    area: Area | None = None


def output_of(kind: str, content: Mapping[str, Any]) -> Output | None:
    """What a message of this kind puts out; None when it is of no such kind.

    Raises what a malformed one brings about.
    """
    if kind == "error":
        trace, traceback = _texts(content.get("traceback") or [])
        name, value = _text(content["ename"]), _text(content["evalue"])
        error = {"ename": name, "evalue": value, "output_type": "error", "traceback": traceback}
        return Output(error, _OVERHEAD + trace + size_of(value))
    if kind not in ("display_data", "execute_result", "update_display_data"):
        return None
    data, metadata = content["data"], content.get("metadata")
    if not isinstance(data, Mapping):
        raise TypeError("data")
    size = _OVERHEAD
    forms: dict[str, Any] = {}
    for mime, form in data.items():
        forms[mime], length = savable(_form(mime, form))
        size += length
    metadata, length = savable(metadata if isinstance(metadata, Mapping) else {})
    bundle = {"data": forms, "metadata": metadata}
    if kind == "execute_result":
        count = content.get("execution_count")
        bundle["execution_count"] = count if isinstance(count, int) and count >= 0 else None
    bundle["output_type"] = "execute_result" if kind == "execute_result" else "display_data"
    display = (content.get("transient") or {}).get("display_id") or ""
    return Output(dict(sorted(bundle.items())), size + length, str(display))


def _form(mime: str, form: Any) -> Any:
    """A form as a notebook may have it: text, unless its type is JSON."""
    if mime == "application/json" or (mime.startswith("application/") and mime.endswith("+json")):
        return form
    if isinstance(form, str) or _is_lines(form):
        return form
    return json.dumps(form, ensure_ascii=False)


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text")
    text: str = savable(value)[0]
    return text


def _texts(values: Any) -> tuple[int, list[str]]:
    if not _is_lines(values):
        raise TypeError("texts")
    texts = [_text(value) for value in values]
    return sum(map(size_of, texts)), texts


class Room:
    """What the areas of one notebook share: the bytes that are `left` for outputs, and the
    displays that can be changed."""

    def __init__(self, limit: int) -> None:
        self.left = limit
        #: By their id, in the order in which they came.
        self.displays: dict[str, dict[Output, None]] = {}

    def exchange(self, new: Output) -> set[Area]:
        """Give all displays of the same id its bundle; returns where they are."""
        changed: set[Area] = set()
        for output in self.displays.get(new.display, ()):
            area = output.area
            if area is not None and area.exchange(output, new):
                changed.add(area)
        return changed


class Area:
    """A place where outputs are shown: that of the cell `key`, or (None) an Output widget's."""

    def __init__(self, room: Room, key: str | None = None) -> None:
        self.key = key
        self.left_out = LeftOut()
        self._room = room
        self._outputs: list[StreamText | Output] = []
        self._clear_next = False

    def outputs(self) -> list[dict[str, Any]]:
        """What there is, in nbformat 4."""
        found: list[dict[str, Any]] = []
        for output in self._outputs:
            if isinstance(output, Output):
                found.append(dict(output.value))
            elif text := output.text():
                found.append({"name": output.name, "output_type": "stream", "text": text})
        return found

    def write(self, name: str, text: str) -> bool:
        """Add text of a stream; returns whether anything has changed."""
        name, text = _text(name), _text(text)
        if not text:
            return False
        changed = self._begin()
        last = self._outputs[-1] if self._outputs else None
        stream = last if isinstance(last, StreamText) and last.name == name else None
        need = 0 if stream is not None else _OVERHEAD
        # Text behind a gap would look as if it belonged to that before it.
        room = 0 if self.left_out.characters else max(0, self._room.left - need)
        kept = text if size_of(text) <= room else text[: room if text.isascii() else room // 4]
        self._leave_out(characters=len(text) - len(kept))
        if not kept:
            return changed
        if stream is None:
            stream = StreamText(name)
            self._outputs.append(stream)
        before = stream.size
        stream.write(kept)
        self._room.left -= need + stream.size - before
        return True

    def add(self, output: Output) -> bool:
        """Add an output; returns whether anything has changed."""
        changed = self._begin()
        if output.size > self._room.left:
            self._leave_out(outputs=1)
            return changed
        self._room.left -= output.size
        output.area = self
        self._outputs.append(output)
        if output.display:
            self._room.displays.setdefault(output.display, {})[output] = None
        return True

    def exchange(self, output: Output, new: Output) -> bool:
        """Give an output of this area another one's bundle; returns whether that fits."""
        if new.size - output.size > self._room.left:
            self._leave_out(outputs=1)
            return False
        self._room.left -= new.size - output.size
        output.size = new.size
        bundle = {name: new.value[name] for name in ("data", "metadata")}
        # Not in place: the value may have been handed out.
        output.value = {**output.value, **bundle}
        return True

    def clear_later(self) -> bool:
        """Forget all when something new comes; until then nothing changes."""
        self._clear_next = True
        return False

    def clear(self) -> bool:
        """Forget all; returns whether there was anything."""
        self._clear_next = False
        cleared = bool(self._outputs)
        for output in self._outputs:
            size = output.size if isinstance(output, Output) else output.size + _OVERHEAD
            self._room.left += size
            if isinstance(output, Output) and output.display:
                others = self._room.displays[output.display]
                del others[output]
                if not others:
                    del self._room.displays[output.display]
        self._outputs = []
        self.left_out = LeftOut()
        return cleared

    def replace(self, outputs: Iterable[Any]) -> None:
        """Have these outputs, which are in nbformat 4; malformed ones are passed over."""
        self.clear()
        for output in outputs:
            with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
                kind = output["output_type"]
                if kind == "stream":
                    self.write(output["name"], output["text"])
                elif (made := output_of(kind, output)) is not None:
                    self.add(made)

    def _begin(self) -> bool:
        return self.clear() if self._clear_next else False

    def _leave_out(self, outputs: int = 0, characters: int = 0) -> None:
        if outputs or characters:
            before = self.left_out
            self.left_out = LeftOut(before.outputs + outputs, before.characters + characters)
