"""Pictures that fit a result: read without unpacking them, made smaller only as far as needed."""

from __future__ import annotations

import binascii
import io
import struct
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import PIL.Image

#: Pixels on the long side; models scale down what has more.
MAX_PIXELS = 1568
#: Pixels that are not even unpacked to make fewer of them: each takes 4 bytes of memory.
_TOO_MANY = 50_000_000
#: Bytes that are not even taken out of their base64.
_TOO_LONG = 200_000_000
#: What a picture may be made smaller to, and no smaller: a stamp shows nothing.
_STAMP = 48
#: JPEG quality and subsampling. The thin coloured lines of plots need all colours.
_QUALITIES = ((88, 0), (72, 2))


@dataclass(frozen=True)
class Picture:
    """An encoded picture. `width` and `height` are those of `raw`, in pixels; `original` says
    what it was before it was made smaller, or is ""."""

    mime: str
    raw: bytes
    width: int
    height: int
    original: str = ""

    @property
    def words(self) -> str:
        """Format and size, for example `PNG 640 × 480, 23 kB`; those of the original as well."""
        kind = self.mime.partition("/")[2].upper()
        words = f"{kind} {self.width} × {self.height}, {size_words(len(self.raw))}"
        return f"{words}, made from {self.original}" if self.original else words


def size_words(size: int) -> str:
    """A number of bytes in words."""
    if size < 1000:
        return "1 byte" if size == 1 else f"{size} bytes"
    if size < 999_500:
        return f"{round(size / 1000)} kB"
    return f"{size / 1_000_000:,.1f} MB"


def unpack(text: object) -> bytes | None:
    """The bytes of a base64 text; None when it is none."""
    if not isinstance(text, str) or len(text) > _TOO_LONG:
        return None
    try:
        return binascii.a2b_base64(text)
    except (binascii.Error, ValueError):  # the latter for text that is not ASCII
        return None


def decode(text: object) -> Picture | None:
    """The picture that a mime bundle holds as base64; None when it is not a whole one of the
    four kinds that clients take. What it is called in the bundle does not count."""
    raw = unpack(text)
    return read(raw) if raw else None


def read(raw: bytes) -> Picture | None:
    """The picture in `raw`, as for `decode`."""
    try:
        found = _header(raw)
    except (IndexError, struct.error):
        return None
    if found is None:
        return None
    mime, width, height = found
    if not width or not height:
        return None
    # One that is too large is never unpacked, and so never sent.
    if width * height <= _TOO_MANY and not _is_whole(mime, raw):
        return None
    return Picture(mime, raw, width, height)


def _header(raw: bytes) -> tuple[str, int, int] | None:
    """Mime type, width and height, from a file's first bytes."""
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png", *struct.unpack(">II", raw[16:24])
    if raw[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif", *struct.unpack("<HH", raw[6:10])
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return _webp_header(raw)
    if raw.startswith(b"\xff\xd8\xff"):
        return _jpeg_header(raw)
    return None


def _webp_header(raw: bytes) -> tuple[str, int, int] | None:
    kind = raw[12:16]
    if kind == b"VP8X":
        width, height = raw[24:27], raw[27:30]
        return (
            "image/webp",
            int.from_bytes(width, "little") + 1,
            int.from_bytes(height, "little") + 1,
        )
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", raw[21:25])
        return "image/webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        across, down = struct.unpack("<HH", raw[26:30])
        return "image/webp", across & 0x3FFF, down & 0x3FFF
    return None


def _jpeg_header(raw: bytes) -> tuple[str, int, int] | None:
    at = 2
    while raw[at] == 0xFF:
        marker = raw[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame's beginning
            height, width = struct.unpack(">HH", raw[at + 5 : at + 9])
            return "image/jpeg", width, height
        else:
            at += 2 + int.from_bytes(raw[at + 2 : at + 4], "big")
    return None


def _is_whole(mime: str, raw: bytes) -> bool:
    """Whether all of the file is there: half a picture breaks the conversation it is sent to."""
    if mime == "image/png":
        return _is_whole_png(raw)
    try:
        with _opened(mime, raw) as image:
            if mime == "image/jpeg":
                image.draft("L", (1, 1))  # every byte is read, few pixels are made
            image.load()
    except _unreadable():
        return False
    return True


def _is_whole_png(raw: bytes) -> bool:
    view, at, kinds = memoryview(raw), 8, set()
    while at + 12 <= len(raw):
        (length,) = struct.unpack_from(">I", view, at)
        end = at + 8 + length
        if raw[end : end + 4] != struct.pack(">I", zlib.crc32(view[at + 4 : end])):
            return False
        kinds.add(raw[at + 4 : at + 8])
        if raw[at + 4 : at + 8] == b"IEND":
            return kinds >= {b"IHDR", b"IDAT"}
        at = end + 4
    return False


def _opened(mime: str, raw: bytes) -> PIL.Image.Image:
    # Slow to import, and seldom needed.
    import PIL.Image

    image = PIL.Image.open(io.BytesIO(raw), formats=[mime.partition("/")[2].upper()])
    # A GIF's first frame may be larger than its header says.
    if image.width * image.height > _TOO_MANY:
        raise ValueError("too many pixels")
    return image


def _unreadable() -> tuple[type[Exception], ...]:
    """What the library says of files that it cannot, or does not want to, read."""
    from PIL.Image import DecompressionBombError, DecompressionBombWarning

    refusals = (DecompressionBombError, DecompressionBombWarning, MemoryError, OverflowError)
    format_errors = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError)
    return (*refusals, *format_errors, struct.error, zlib.error)


def fit(picture: Picture, most: int) -> Picture | None:
    """The picture with at most `most` bytes and `MAX_PIXELS` on its long side: itself if it is
    so, otherwise another that says in `original` what this one was; None when that cannot be.

    Of an animation that does not fit, the first frame.
    """
    side = max(picture.width, picture.height)
    if len(picture.raw) <= most and side <= MAX_PIXELS:
        return picture
    if picture.width * picture.height > _TOO_MANY:
        return None
    try:
        with _opened(picture.mime, picture.raw) as image:
            animated = getattr(image, "is_animated", False)
            smaller = _smaller(image, picture, most)
    except _unreadable():
        return None
    if smaller is None:
        return None
    first = "the first frame of " if animated else ""
    return replace(smaller, original=first + (picture.original or picture.words))


def _smaller(image: PIL.Image.Image, before: Picture, most: int) -> Picture | None:
    """The open picture within the limits of `fit`."""
    is_photo = before.mime == "image/jpeg"
    if is_photo:
        image.draft(None, (MAX_PIXELS, MAX_PIXELS))
    image = _plain(image)
    _scale(image, MAX_PIXELS)
    # A PNG takes twenty times as long to make as a JPEG: only one that is likely to fit is made.
    share = image.width * image.height / (before.width * before.height)
    if not is_photo and 2 * len(before.raw) * share < most:
        made = _saved(image, "PNG", compress_level=4)
        if len(made) <= most:
            return Picture("image/png", made, *image.size)
    image = _opaque(image)
    while True:
        for quality, subsampling in _QUALITIES:
            made = _saved(image, "JPEG", quality=quality, subsampling=subsampling)
            if len(made) <= most:
                return Picture("image/jpeg", made, *image.size)
        side = max(image.size)
        # Bytes go about with the area; the lower bound is for what they do not.
        factor = min(0.8, max(0.25, 0.95 * (most / len(made)) ** 0.5)) if most > 0 else 0
        if side * factor < _STAMP:
            return None
        _scale(image, int(side * factor))


def _plain(image: PIL.Image.Image) -> PIL.Image.Image:
    """The first frame in a mode of which means can be taken."""
    mode = image.mode
    if mode.startswith("I"):  # 16 bits; the library would cut them off at 255
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    elif mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    elif mode not in ("L", "RGB", "RGBA"):
        image = image.convert("L" if mode == "1" else "RGB")
    else:
        image.load()
    # Three colours are scaled in half the time of three that may be transparent.
    return image.convert("RGB") if _is_opaque(image) else image


def _is_opaque(image: PIL.Image.Image) -> bool:
    return image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255)


def _scale(image: PIL.Image.Image, side: int) -> None:
    # In place.
    image.thumbnail((side, side))


def _opaque(image: PIL.Image.Image) -> PIL.Image.Image:
    """On white, as pages and most plots are."""
    import PIL.Image

    if image.mode != "RGBA":
        return image
    white = PIL.Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _saved(image: PIL.Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    # Else what the original says of itself, such as a profile of its colours, would be saved too.
    image.info = {}
    image.save(file, kind, **options)
    return file.getvalue()
