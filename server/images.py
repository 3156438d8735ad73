"""Images of a result, made to fit: pixels, bytes, and words that say what they are."""

from __future__ import annotations

import base64
import binascii
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import PIL.Image

#: Pixels on the long side; models scale down what has more.
MAX_PIXELS = 1568
#: Bytes of an image that are sent.
MAX_BYTES = 500_000
#: Pixels that are not even unpacked to make fewer of them: each takes 4 bytes of memory.
_TOO_MANY = 20_000_000
_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WEBP"}


@dataclass(frozen=True)
class Image:
    """An image: mime type, base64 text, and a description in a few words. `data` is "" when it
    could not be made small enough."""

    mime: str
    data: str
    words: str


def from_bundle(data: Mapping[str, Any]) -> Image | None:
    """The image in a display's mime bundle; None when there is none that can be read."""
    for mime in _FORMATS:
        if isinstance(data.get(mime), str):
            return _image(mime, data[mime], data.get("text/plain"))
    return None


def _image(mime: str, encoded: str, title: object) -> Image | None:
    try:
        raw = base64.b64decode("".join(encoded.split()), validate=True)
        size = _png_size(raw)
        if size is None or max(size) > MAX_PIXELS or len(raw) > MAX_BYTES:
            mime, raw, size = _fitted(mime, raw)
    except (binascii.Error, OSError, ValueError, SyntaxError):
        # The last three are what the image library says of files that it cannot read.
        return None
    words = f"{_FORMATS[mime]} {size[0]} × {size[1]}"
    if raw:
        words += f", {max(1, round(len(raw) / 1000)):,} kB"
    if isinstance(title, str) and title.strip():
        words += f", {' '.join(title.split())[:80]}"
    return Image(mime, base64.b64encode(raw).decode(), words)


def _png_size(raw: bytes) -> tuple[int, int] | None:
    if raw[:8] != b"\x89PNG\r\n\x1a\n" or len(raw) < 24:
        return None
    width, height = struct.unpack(">II", raw[16:24])
    return width, height


def _fitted(mime: str, raw: bytes) -> tuple[str, bytes, tuple[int, int]]:
    """The image with fewer pixels if need be, and as JPEG if it still has too many bytes."""
    # Slow to import, and seldom needed.
    import PIL.Image as pil

    size = _png_size(raw)
    if size is not None and size[0] * size[1] > _TOO_MANY:
        return mime, b"", size
    with pil.open(io.BytesIO(raw), formats=[*_FORMATS.values()]) as image:
        if max(image.size) <= MAX_PIXELS and len(raw) <= MAX_BYTES:
            return mime, raw, image.size
        if image.size[0] * image.size[1] > _TOO_MANY:
            return mime, b"", image.size
        # Of a palette's numbers no mean can be taken.
        small = image.convert("RGBA") if image.mode in ("P", "1") else image
        small.thumbnail((MAX_PIXELS, MAX_PIXELS))
        small = small.convert("RGBA")
    mime, raw = "image/png", _saved(small, "PNG")
    if len(raw) > MAX_BYTES:
        on_white = pil.new("RGB", small.size, "white")
        on_white.paste(small, mask=small)
        mime, raw = "image/jpeg", _saved(on_white, "JPEG")
    return mime, raw if len(raw) <= MAX_BYTES else b"", small.size


def _saved(image: PIL.Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()
