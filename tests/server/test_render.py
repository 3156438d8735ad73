"""A result as content: in order, marked, within the budget, and with true facts."""

from __future__ import annotations

import base64
import functools
import io
import json
import random
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import PIL.Image
import pytest
from mcp_types import ContentBlock, ImageContent, ResourceLink, TextContent

from kernels.errors import OutputGone
from kernels.outputs import Display, Error, Omitted, Output, Text
from kernels.result import RunResult, State, Status
from server import images, render
from server.render import MAX_BYTES, MAX_TEXT, META_KEY, facts_line, tool_result


def result(*outputs: Output, **facts: Any) -> RunResult:
    facts = {"status": Status.OK, "exit_code": 0, "duration": 0.419, **facts}
    return RunResult("12", "default", outputs=outputs, **facts)


def blocks(*outputs: Output, **facts: Any) -> list[ContentBlock]:
    """The content but for the line of facts."""
    content = tool_result(result(*outputs, **facts)).content
    assert isinstance(content[-1], TextContent)
    assert content[-1].text.startswith("[")
    return content[:-1]


def text(*outputs: Output, **facts: Any) -> str:
    """The content, which must be one block of text."""
    (block,) = blocks(*outputs, **facts)
    assert isinstance(block, TextContent)
    return block.text


def meta(*outputs: Output, **facts: Any) -> Mapping[str, Any]:
    found = tool_result(result(*outputs, **facts)).meta
    assert found is not None
    assert list(found) == [META_KEY]
    known: Mapping[str, Any] = found[META_KEY]
    return known


def plain(words: str) -> Display:
    return Display({"text/plain": words}, {}, is_result=True)


@functools.cache
def png(width: int, height: int, noise: bool = False) -> bytes:
    if noise:
        data = random.Random(1).randbytes(width * height * 3)
        image = PIL.Image.frombytes("RGB", (width, height), data)
    else:
        image = PIL.Image.new("RGB", (width, height), "green")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def figure(raw: bytes, mime: str = "image/png", words: str = "<Figure>") -> Display:
    return Display({mime: base64.encodebytes(raw).decode(), "text/plain": words}, {})


class TestText:
    def test_nothing_printed(self) -> None:
        assert text() == "(No output)"
        assert text(Text("stdout", "\n")) == "(No output)"
        assert text(Display({}, {})) == "(No output)"

    def test_stdout_is_as_it_was_written(self) -> None:
        assert text(Text("stdout", " a\n\n b")) == " a\n\n b"

    def test_stderr_is_marked_and_so_is_the_way_back(self) -> None:
        assert text(Text("stderr", "e\n")) == "[stderr]\ne\n"
        outputs = (Text("stdout", "a\n"), Text("stderr", "e\n"), Text("stdout", "b\n"))
        assert text(*outputs) == "a\n[stderr]\ne\n[stdout]\nb\n"

    def test_a_mark_stands_in_a_line_of_its_own(self) -> None:
        assert text(Text("stdout", "a"), Text("stderr", "e")) == "a\n[stderr]\ne"

    def test_a_traceback_is_standard_error(self) -> None:
        error = Error("E", "v", "Traceback\nE: v")
        assert text(Text("stdout", "a"), error) == "a\n[stderr]\nTraceback\nE: v\n"
        assert text(Text("stderr", "w\n"), error) == "[stderr]\nw\nTraceback\nE: v\n"

    def test_a_value_stands_in_a_line_of_its_own(self) -> None:
        assert text(Text("stdout", "a"), plain("2")) == "a\n2\n"
        assert text(Text("stderr", "e"), plain("2")) == "[stderr]\ne\n[stdout]\n2\n"

    def test_colours_are_taken_out(self) -> None:
        assert text(Text("stdout", "\x1b[31ma\x1b[0m")) == "a"
        assert text(plain("\x1b[31ma\x1b[0m")) == "a\n"
        assert text(Error("E", "", "\x1b[31ma\x1b[0m")) == "[stderr]\na\n"

    def test_lone_surrogates_are_shown_as_escapes(self) -> None:
        content = tool_result(result(plain("a\ud800b"), error={"value": "\udfff"}))
        assert isinstance(content.content[0], TextContent)
        assert content.content[0].text == "a\\ud800b\n"
        assert content.meta is not None
        json.dumps(content.meta, ensure_ascii=False).encode()

    def test_text_of_an_earlier_runs_thread_is_named_so(self) -> None:
        shown = text(Text("stdout", "mine"), late="theirs")
        assert shown == "[from a thread of an earlier run]\ntheirs\n[this run]\nmine"
        assert text(late=" \n") == "(No output)"

    def test_an_explanation_comes_last(self) -> None:
        words = "The kernel was killed from outside (SIGKILL)."
        assert text(explanation=words) == words
        assert text(Text("stdout", "a"), explanation=words) == f"a\n{words}"


class TestDisplays:
    def test_the_text_form_and_a_link_to_the_others(self) -> None:
        value = Display({"text/plain": "p", "text/html": "<b>h</b>"}, {})
        first, link, second = blocks(Text("stdout", "a\n"), value, Text("stdout", "b\n"))
        assert isinstance(first, TextContent)
        assert isinstance(link, ResourceLink)
        assert isinstance(second, TextContent)
        assert (first.text, second.text) == ("a\np\n", "b\n")
        assert str(link.uri) == "run://12/outputs/1"
        assert link.mime_type == "text/html"
        assert "text/html" in link.name

    def test_links_count_the_displays(self) -> None:
        html = {"text/plain": "p", "text/html": "<b>h</b>"}
        content = blocks(plain("1"), Display(html, {}), figure(png(4, 4)), Display(html, {}))
        links = [str(block.uri) for block in content if isinstance(block, ResourceLink)]
        assert links == ["run://12/outputs/2", "run://12/outputs/4"]

    def test_there_are_not_many_links(self) -> None:
        html = {"text/plain": "p", "text/html": "<b>h</b>"}
        content = blocks(*[Display(html, {}) for _ in range(50)])
        assert sum(isinstance(block, ResourceLink) for block in content) == 10

    def test_one_that_cannot_be_read_any_more_is_named_so(self) -> None:
        class Gone(dict[str, Any]):
            def __iter__(self) -> Iterator[str]:
                raise OutputGone

            keys = __iter__  # type: ignore[assignment]

        assert text(Display(Gone(), {})) == "[a display that is no longer kept]\n"


class TestImages:
    def test_each_has_its_description_before_it(self) -> None:
        raw = png(64, 48)
        before, label, image, after = blocks(
            Text("stdout", "a"), figure(raw, words="<Figure size 64x48>\nmore"), Text("stdout", "b")
        )
        assert isinstance(before, TextContent)
        assert isinstance(label, TextContent)
        assert isinstance(image, ImageContent)
        assert isinstance(after, TextContent)
        assert (before.text, after.text) == ("a\n", "b")
        assert label.text == "[image 1: PNG 64 × 48, 136 bytes, <Figure size 64x48> more]"
        assert (image.mime_type, base64.b64decode(image.data)) == ("image/png", raw)
        assert "\n" not in image.data

    def test_they_are_numbered_in_order(self) -> None:
        content = blocks(figure(png(10, 10)), figure(png(20, 20)))
        labels = [block.text for block in content if isinstance(block, TextContent)]
        assert [label[:23] for label in labels] == [
            "[image 1: PNG 10 × 10, ", "[image 2: PNG 20 × 20, ",
        ]  # fmt: skip

    def test_stderr_after_an_image_is_marked_anew(self) -> None:
        content = blocks(Text("stderr", "a"), figure(png(9, 9)), Text("stderr", "b"))
        assert isinstance(content[-1], TextContent)
        assert content[-1].text == "[stderr]\nb"

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
    def test_too_many_pixels_are_made_fewer(self, kind: str) -> None:
        file = io.BytesIO()
        PIL.Image.new("RGB", (3000, 1500), "red").save(file, kind)
        label, image = blocks(figure(file.getvalue(), f"image/{kind.lower()}"))
        assert isinstance(image, ImageContent)
        assert isinstance(label, TextContent)
        with PIL.Image.open(io.BytesIO(base64.b64decode(image.data))) as small:
            assert small.size == (1568, 784)
            red, green, blue = small.convert("RGB").resize((1, 1)).tobytes()
            assert red > 250
            assert green + blue < 10
        assert "1568 × 784" in label.text

    def test_too_many_bytes_are_made_fewer(self) -> None:
        """Transparent parts become white, not black."""
        raw = png(900, 900, noise=True)
        with PIL.Image.open(io.BytesIO(raw)) as image:
            image.putalpha(PIL.Image.linear_gradient("L").resize((900, 900)))
            file = io.BytesIO()
            image.save(file, "PNG")
        label, shown = blocks(figure(file.getvalue()))
        assert isinstance(label, TextContent)
        assert isinstance(shown, ImageContent)
        assert label.text.startswith("[image 1: JPEG 900 × 900, ")
        assert len(shown.data) < MAX_BYTES
        with PIL.Image.open(io.BytesIO(base64.b64decode(shown.data))) as small:
            top = small.convert("L").getpixel((450, 0))
            assert isinstance(top, int)
            assert top > 200

    def test_what_cannot_be_made_small_is_left_out_with_its_description(self) -> None:
        header = struct.pack(">II", 60_000, 60_000) + b"\x08\x02\x00\x00\x00"
        raw = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
        raw += struct.pack(">I", zlib.crc32(b"IHDR" + header))
        assert text(figure(raw)) == (
            "[image 1: PNG 60000 × 60000, 33 bytes, <Figure>]\n"
            "[not shown for want of room: 1 of 1 images; "
            'get_output(run_id="12", image=1) gives one]'
        )
        assert meta(figure(raw))["truncated"] is True

    def test_many_are_made_smaller_so_that_all_fit(self) -> None:
        content = blocks(*[figure(png(400, 400, noise=True)) for _ in range(5)])
        shown = [block for block in content if isinstance(block, ImageContent)]
        assert len(shown) == 5
        assert sum(len(image.data) for image in shown) < MAX_BYTES

    def test_small_ones_leave_their_room_to_the_others(self) -> None:
        large = png(400, 400, noise=True)
        content = blocks(*[figure(png(4, 4)) for _ in range(9)], figure(large))
        last = content[-1]
        assert isinstance(last, ImageContent)
        assert base64.b64decode(last.data) == large

    def test_not_more_than_twenty_and_the_others_are_named(self) -> None:
        content = blocks(*[figure(png(4, 4)) for _ in range(50)])
        assert sum(isinstance(block, ImageContent) for block in content) == 20
        words = "".join(block.text for block in content if isinstance(block, TextContent))
        assert len(words) < MAX_TEXT
        assert words.count("[image ") == 50
        assert words.endswith(
            "[not shown for want of room: 30 of 50 images; "
            'get_output(run_id="12", image=21) gives one]'
        )

    def test_a_huge_title_is_cut(self) -> None:
        label, _ = blocks(figure(png(4, 4), words="x" * 10_000))
        assert isinstance(label, TextContent)
        assert len(label.text) < 300


def size(content: list[ContentBlock]) -> int:
    return sum(len(block.text) for block in content if isinstance(block, TextContent))


def parts(shown: str) -> tuple[str, int, int, str]:
    """Head, characters and lines left out, and tail of a text that was cut once."""
    pattern = (
        r"(.*?)\n\[… ([\d,]+) characters \(([\d,]+) lines\) left out; "
        r'get_output\(run_id="12", offset=(\d+)\) reads on there …\]\n(.*)'
    )
    match = re.fullmatch(pattern, shown, re.DOTALL)
    assert match is not None
    head, characters, lines, offset, tail = match.groups()
    assert len(head) <= int(offset) <= len(head) + 1
    return head, int(characters.replace(",", "")), int(lines.replace(",", "")), tail


class TestTheBudget:
    def test_what_fits_is_whole(self) -> None:
        words = "x" * (MAX_TEXT - 500)
        assert text(Text("stdout", words)) == words
        assert meta(Text("stdout", words))["truncated"] is False

    def test_head_and_tail_with_an_exact_count(self) -> None:
        words = "".join(f"line {number}\n" for number in range(10_000))
        shown = text(Text("stdout", words))
        head, characters, lines, tail = parts(shown)
        middle_ends = len(words) - len(tail)
        middle = words[middle_ends - characters : middle_ends]
        assert words.endswith(tail)
        assert words[: middle_ends - characters].removesuffix("\n") == head
        assert middle.count("\n") == lines
        assert len(head) > len(tail) > 5000
        assert len(shown) > MAX_TEXT - 500
        assert meta(Text("stdout", words))["truncated"] is True

    def test_what_was_left_out_before_is_counted_in(self) -> None:
        """The collector keeps 200,000 characters; of the rest it tells the number."""
        outputs = (
            Text("stdout", "a" * 100_000),
            Omitted(99_800_000, 7),
            Text("stdout", "z" * 100_000),
        )
        head, characters, lines, tail = parts(text(*outputs))
        assert (set(head), set(tail), lines) == ({"a"}, {"z"}, 7)
        assert characters == 100_000_000 - len(head) - len(tail)

    def test_what_the_collector_left_out_of_little_text_is_shown_in_its_place(self) -> None:
        outputs = (Text("stdout", "a"), Omitted(10, 2), Text("stdout", "b"))
        assert text(*outputs) == "a\n[… 10 characters (2 lines) left out …]\nb"
        assert meta(*outputs)["truncated"] is True
        assert text(Omitted(displays=3)) == "[… 3 displays left out …]\n"

    def test_after_the_gap_the_stream_is_named(self) -> None:
        shown = text(Text("stdout", "a\n"), Text("stderr", "e" * 50_000))
        assert "reads on there …]\n[stderr]\ne" in shown
        shown = text(Text("stderr", "e" * 30_000), Text("stdout", "o" * 30_000))
        assert "reads on there …]\n[stdout]\no" in shown
        shown = text(Text("stdout", "o" * 50_000))
        assert "[stdout]" not in shown

    @pytest.mark.parametrize(
        "outputs",
        [
            [Text("stdout", "x" * 200_000)],
            [Text("stdout" if n % 2 else "stderr", "x") for n in range(20_000)],
            [plain("x" * 3000) for _ in range(100)],
            [Error("E", "v", "x" * 100_000)],
            [Text("stdout", "\0" * 200_000)],
            [Text("stdout", "€" * 200_000)],
            [Text("stdout", "\ud800" * 19_000)],
            [figure(png(300, 300, noise=True)) for _ in range(100)],
            [o for n in range(500) for o in (Text("stderr", "x" * 99), figure(png(4, 4)))],
            [Display({"text/html": "<p>x</p>\n" * 90_000}, {})],
        ],
        ids=lambda outputs: f"{type(outputs[0]).__name__} {len(outputs)}",
    )
    def test_it_holds_for_everything(self, outputs: list[Output]) -> None:
        shown = tool_result(
            result(
                *outputs,
                late="y" * 5000,
                explanation="z" * 50_000,
                notes=("note",) * 20,
                error={"name": "E", "value": "v" * 1_000_000, "line": 1, "file": "f" * 5000},
            )
        )
        assert size(shown.content) <= MAX_TEXT
        assert len(shown.model_dump_json().encode()) <= MAX_BYTES
        assert shown.meta is not None
        assert shown.meta[META_KEY]["truncated"] is True


class TestFacts:
    def test_the_line(self) -> None:
        assert facts_line(result()) == "[exit code 0 · 0.42 s · session default · run 12]"

    def test_parts_that_do_not_apply_are_left_out(self) -> None:
        timeout = result(
            status=Status.TIMEOUT,
            exit_code=None,
            duration=3.0,
            notes=("timed out after 3 s", "lost"),
        )
        assert facts_line(timeout) == (
            "[3.00 s · session default · run 12 · timed out after 3 s · lost]"
        )

    def test_a_death_is_named(self) -> None:
        died = result(status=Status.DIED, exit_code=None, signal=9)
        assert facts_line(died) == "[kernel died · 0.42 s · session default · run 12]"
        assert facts_line(result(status=Status.DIED, exit_code=5)).startswith(
            "[exit code 5 · kernel died · "
        )

    def test_it_is_the_last_block(self) -> None:
        last = tool_result(result(figure(png(4, 4)))).content[-1]
        assert isinstance(last, TextContent)
        assert last.text == facts_line(result())

    def test_the_machine_readable_ones(self) -> None:
        assert meta() == {
            "run_id": "12",
            "session": "default",
            "status": "ok",
            "exit_code": 0,
            "duration_s": 0.419,
            "execution_count": None,
            "state": "kept",
            "truncated": False,
            "error": None,
        }
        error = {"name": "ValueError", "value": "v", "line": 3, "file": "a.py"}
        known = meta(
            status=Status.DIED, exit_code=None, signal=11, state=State.LOST, execution_count=4,
            error=error,
        )  # fmt: skip
        assert (known["status"], known["exit_code"], known["signal"]) == ("died", None, 11)
        assert (known["state"], known["execution_count"]) == ("lost", 4)
        assert known["error"] == error

    def test_there_is_no_structured_content(self) -> None:
        assert tool_result(result()).structured_content is None

    @pytest.mark.parametrize("status", list(Status))
    def test_a_failed_program_is_an_error_result(self, status: Status) -> None:
        assert tool_result(result(status=status)).is_error == (status is not Status.OK)


def test_the_limits_are_those_that_clients_rely_on() -> None:
    assert (render.MAX_TEXT, render.MAX_BYTES, images.MAX_PIXELS) == (20_000, 900_000, 1568)
