"""Pictures are read from their headers, sent only when whole, and made smaller only if needed."""

from __future__ import annotations

import base64
import io
import random
import struct
import zlib
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.images import MAX_PIXELS, Picture, decode, fit, read, size_words, unpack

KINDS = ["PNG", "JPEG", "GIF", "WEBP"]
MUCH = 10_000_000


def saved(image: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int, mode: str = "RGB") -> PIL.Image.Image:
    size = (width, height)
    data = random.Random(1).randbytes(width * height * len(mode))
    return PIL.Image.frombytes(mode, size, data)


def picture(raw: bytes) -> Picture:
    found = read(raw)
    assert found is not None
    return found


def fitted(raw: bytes, most: int = MUCH) -> tuple[Picture, PIL.Image.Image]:
    """The picture made to fit, and what a viewer sees of it."""
    smaller = fit(picture(raw), most)
    assert smaller is not None
    assert len(smaller.raw) <= most
    with PIL.Image.open(io.BytesIO(smaller.raw)) as image:
        assert image.size == (smaller.width, smaller.height)
        assert max(image.size) <= MAX_PIXELS
        assert PIL.Image.MIME[str(image.format)] == smaller.mime
        return smaller, image.convert("RGBA")


def bomb(width: int, height: int) -> bytes:
    """A PNG that is nothing but its header."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + crc


class TestReading:
    @pytest.mark.parametrize("kind", KINDS)
    def test_kind_and_size_are_those_of_the_file(self, kind: str) -> None:
        """Whatever the bundle calls it."""
        raw = saved(PIL.Image.new("RGB", (123, 45), "red"), kind)
        found = decode(base64.encodebytes(raw).decode())
        assert found == Picture(f"image/{kind.lower()}", raw, 123, 45)

    @pytest.mark.parametrize(
        ("mode", "options"),
        [("RGBA", {"lossless": True}), ("RGB", {"lossless": True}), ("RGBA", {}), ("RGB", {})],
    )
    def test_every_kind_of_webp(self, mode: str, options: dict[str, Any]) -> None:
        found = picture(saved(PIL.Image.new(mode, (123, 45)), "WEBP", **options))
        assert (found.width, found.height) == (123, 45)

    @pytest.mark.parametrize("options", [{"progressive": True}, {"exif": b"Exif\0\0" + b"x" * 999}])
    def test_jpegs_with_more_before_their_size(self, options: dict[str, Any]) -> None:
        found = picture(saved(PIL.Image.new("L", (123, 45)), "JPEG", **options))
        assert (found.width, found.height) == (123, 45)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_half_a_picture_is_none(self, kind: str, share: float) -> None:
        raw = saved(noise(64, 64), kind)
        assert read(raw[: int(len(raw) * share)]) is None

    def test_a_damaged_png_is_none(self) -> None:
        raw = bytearray(saved(noise(64, 64)))
        raw[len(raw) // 2] ^= 1
        assert read(bytes(raw)) is None

    @pytest.mark.parametrize(
        "text", ["", "no base64!", "AAAA", "é", "\ud800", "A", None, 5, ["AAAA"], b"AAAA", {}]
    )
    def test_what_is_no_picture_is_none(self, text: object) -> None:
        assert decode(text) is None

    @pytest.mark.parametrize("kind", ["BMP", "TIFF", "ICO"])
    def test_kinds_that_clients_do_not_take_are_none(self, kind: str) -> None:
        assert read(saved(PIL.Image.new("RGB", (16, 16)), kind)) is None

    def test_a_picture_without_pixels_is_none(self) -> None:
        assert read(bomb(0, 10)) is None

    @given(st.binary(max_size=99), st.sampled_from([*KINDS]), st.integers(0, 400))
    def test_it_never_raises(self, rubbish: bytes, kind: str, at: int) -> None:
        raw = saved(PIL.Image.new("RGB", (9, 9)), kind)
        for bad in (rubbish, raw[:at], raw[:at] + rubbish, raw[:at] + rubbish + raw[at:]):
            found = read(bad)
            if found is not None:
                assert fit(found, 50) is None or len(bad) <= 50

    def test_what_is_too_large_to_unpack_has_its_size_in_words(self) -> None:
        found = picture(bomb(60_000, 60_000))
        assert found.words == "PNG 60000 × 60000, 33 bytes"
        assert fit(found, MUCH) is None

    def test_a_jpeg_too_large_to_unpack_has_its_size_in_words(self) -> None:
        raw = bytearray(saved(PIL.Image.new("L", (9, 9)), "JPEG"))
        at = raw.index(b"\xff\xc0") + 5
        raw[at : at + 4] = b"\xff\xff\xff\xff"
        found = picture(bytes(raw))
        assert (found.width, found.height) == (65_535, 65_535)
        assert fit(found, MUCH) is None


class TestFitting:
    @pytest.mark.parametrize("kind", KINDS)
    def test_what_fits_is_left_as_it_is(self, kind: str) -> None:
        found = picture(saved(noise(64, 48), kind))
        assert fit(found, len(found.raw)) is found

    @pytest.mark.parametrize("kind", KINDS)
    def test_too_many_pixels_are_made_fewer(self, kind: str) -> None:
        raw = saved(PIL.Image.new("RGB", (3000, 1500), "red"), kind)
        smaller, seen = fitted(raw)
        assert seen.size == (1568, 784)
        assert smaller.mime == ("image/jpeg" if kind == "JPEG" else "image/png")
        red, green, blue, alpha = seen.resize((1, 1)).tobytes()
        assert red > 250
        assert green + blue < 10
        assert alpha == 255
        assert smaller.original == picture(raw).words
        assert smaller.words.endswith(f", made from {kind} 3000 × 1500, {size_words(len(raw))}")

    @pytest.mark.parametrize("most", [300_000, 100_000, 20_000, 3_000])
    def test_too_many_bytes_become_a_jpeg(self, most: int) -> None:
        """With as many pixels as the bytes allow."""
        smaller, seen = fitted(saved(noise(900, 600)), most)
        assert smaller.mime == "image/jpeg"
        assert len(smaller.raw) > most / 3
        assert abs(seen.width / seen.height - 1.5) < 0.1

    def test_too_few_bytes_for_anything(self) -> None:
        found = picture(saved(noise(900, 600)))
        for most in (500, 1, 0, -5):
            assert fit(found, most) is None

    @pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1), (20_000, 3)])
    def test_what_is_long_and_thin_keeps_a_pixel(self, size: tuple[int, int]) -> None:
        _, seen = fitted(saved(PIL.Image.new("RGB", size)))
        assert min(seen.size) == 1

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_transparent_parts_become_white(self, mode: str) -> None:
        image = noise(400, 400, mode)
        image.putalpha(PIL.Image.linear_gradient("L").resize((400, 400)))
        smaller, seen = fitted(saved(image), 80_000)
        assert smaller.mime == "image/jpeg"
        brightness = seen.convert("L").getpixel((200, 0))
        assert isinstance(brightness, int)
        assert brightness > 200

    def test_transparent_parts_stay_so_in_a_png(self) -> None:
        smaller, seen = fitted(saved(PIL.Image.new("RGBA", (2000, 1000), (255, 0, 0, 0))))
        assert smaller.mime == "image/png"
        assert seen.getchannel("A").getextrema() == (0, 0)

    @pytest.mark.parametrize("most", [MUCH, 2_500])
    def test_sixteen_bits_become_eight(self, most: int) -> None:
        data = struct.pack(">H", 32_768) * (2000 * 100)
        image = PIL.Image.frombytes("I;16", (2000, 100), data, "raw", "I;16B")
        _, seen = fitted(saved(image), most)
        level = seen.convert("L").resize((1, 1)).getpixel((0, 0))
        assert isinstance(level, int)
        assert 120 < level < 135

    def test_a_palette_is_no_scale(self) -> None:
        """Of its numbers no mean can be taken."""
        image = PIL.Image.new("RGB", (2000, 2000), "red")
        image.paste("lime", (0, 0, 1000, 2000))
        _, seen = fitted(saved(image.quantize(4)))
        assert seen.getpixel((10, 10)) == (0, 255, 0, 255)
        assert seen.getpixel((1500, 1500)) == (255, 0, 0, 255)

    @pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
    def test_other_modes(self, mode: str) -> None:
        image = PIL.Image.new("RGB", (2000, 1000), "white").convert(mode)
        _, seen = fitted(saved(image, "JPEG" if mode == "CMYK" else "PNG"))
        red, green, blue, _ = seen.resize((1, 1)).tobytes()
        assert min(red, green, blue) > 250

    def test_a_colour_that_stands_for_transparent(self) -> None:
        raw = saved(PIL.Image.new("RGB", (2000, 1000), "blue"), transparency=(0, 0, 255))
        _, seen = fitted(raw)
        assert seen.getchannel("A").getextrema() == (0, 0)

    @pytest.mark.parametrize("kind", ["GIF", "WEBP"])
    def test_of_an_animation_that_does_not_fit_the_first_frame(self, kind: str) -> None:
        first, *others = (PIL.Image.new("RGB", (1600, 800), c) for c in ("red", "lime", "blue"))
        raw = saved(first, kind, save_all=True, append_images=others)
        smaller, seen = fitted(raw)
        assert seen.resize((1, 1)).tobytes()[0] > 250
        words = f", made from the first frame of {kind} 1600 × 800, "
        assert words in smaller.words
        still = picture(raw)
        assert still.words == f"{kind} 1600 × 800, {size_words(len(raw))}"

    def test_an_animation_that_fits_stays_one(self) -> None:
        frames = [PIL.Image.new("RGB", (16, 8), colour) for colour in ("red", "lime")]
        found = picture(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
        assert fit(found, MUCH) is found

    def test_what_was_made_from_a_made_one_names_the_first(self) -> None:
        raw = saved(noise(900, 600))
        once = fit(picture(raw), 100_000)
        assert once is not None
        twice = fit(once, 20_000)
        assert twice is not None
        assert twice.original == picture(raw).words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (22_500, "22 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (1_234_567_890, "1,234.6 MB"),
    ],
)
def test_bytes_in_words(size: int, words: str) -> None:
    assert size_words(size) == words


def test_base64_with_line_ends() -> None:
    assert unpack("QUJD\nREVG\n") == b"ABCDEF"
    assert unpack("rub bish") != b""
