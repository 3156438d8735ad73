"""A run's whole output, read back in any part."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernels.archive import Archive, Room, Store
from kernels.collector import Collector
from kernels.errors import OutputGone
from kernels.kernel import Message
from kernels.outputs import Display, Error, Omitted, Output, StreamName, Text
from kernels.recording import Bundle, Recording

LARGE = "A" * 100_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Archive(tmp_path / "outputs")) as archive:
        yield archive.open("a")


@pytest.fixture
def recording(store: Store) -> Recording:
    return Recording(store)


class Kernel:
    """Feeds a collector as a kernel would."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.collector = Collector("mine", recording)

    def say(self, kind: str, **content: Any) -> None:
        self.collector.feed(Message("iopub", kind, "mine", content))

    def print(self, text: str, stream: StreamName = "stdout") -> None:
        self.say("stream", name=stream, text=text)

    def display(self, data: dict[str, Any], ident: str = "", kind: str = "display_data") -> None:
        self.say(kind, data=data, metadata={}, transient={"display_id": ident} if ident else {})

    def finish(self, source: str = "source") -> tuple[Output, ...]:
        self.collector.finish()
        outputs = self.collector.outputs()
        self.recording.finish(outputs, source)
        return outputs


@pytest.fixture
def kernel(recording: Recording) -> Kernel:
    return Kernel(recording)


def whole(recording: Recording) -> str:
    return recording.reading().read(0, recording.length)


def shown(recording: Recording) -> list[tuple[int, Any]]:
    """Offsets and plain text of the displays."""
    return [
        (place.at, place.slot.value.data["text/plain"])
        for place in recording.reading().places
        if isinstance(place.slot.value, Display)
    ]


class TestTheText:
    def test_it_is_that_of_the_transcript(self, kernel: Kernel, recording: Recording) -> None:
        kernel.print("a\n\x1b[31mb\x1b[0m\n")
        kernel.print("e\n", "stderr")
        kernel.finish()
        assert whole(recording) == "a\nb\n[stderr]\ne\n"
        assert recording.length == len(whole(recording))

    def test_a_line_comes_when_it_can_no_longer_change(
        self, kernel: Kernel, recording: Recording
    ) -> None:
        kernel.print("done\n 10 %")
        assert whole(recording) == "done\n"
        assert kernel.collector.line == " 10 %"
        kernel.print("\r100 %")
        assert whole(recording) == "done\n"
        kernel.finish()
        assert whole(recording) == "done\n100 %"

    @pytest.mark.parametrize("seed", range(5))
    def test_any_part_of_much_text_can_be_read(
        self, seed: int, kernel: Kernel, recording: Recording
    ) -> None:
        chance = random.Random(seed)
        for _ in range(chance.randrange(200)):
            piece = "".join(chance.choices("aé\u4e2d\U0001f600\n", k=chance.randrange(5000)))
            kernel.print(piece, chance.choice(("stdout", "stderr")))
        expected = whole(recording)
        for _ in range(200):
            start, end = sorted(chance.randrange(len(expected) + 2) for _ in range(2))
            assert recording.reading().read(start, end) == expected[start:end]
        kernel.finish()
        assert whole(recording).startswith(expected)

    def test_more_than_the_result_shows_is_there(
        self, kernel: Kernel, recording: Recording
    ) -> None:
        lines = [f"line {number:06}\n" for number in range(50_000)]
        for line in lines:
            kernel.print(line)
        outputs = kernel.finish()
        assert any(isinstance(output, Omitted) for output in outputs)
        assert whole(recording) == "".join(lines)

    def test_clearing_forgets_it(self, kernel: Kernel, recording: Recording) -> None:
        kernel.print("a\n" * 50_000)
        kernel.display({"text/plain": "x"})
        kernel.say("clear_output", wait=True)
        kernel.print("b\n")
        kernel.finish()
        assert whole(recording) == "b\n"
        assert shown(recording) == []

    def test_a_reading_stays_as_it_was(self, kernel: Kernel, recording: Recording) -> None:
        kernel.print("a\n")
        reading = recording.reading()
        kernel.print("b\n")
        assert (reading.length, reading.read(0, 99)) == (2, "a\n")

    def test_an_error_is_standard_error(self, kernel: Kernel, recording: Recording) -> None:
        kernel.print("a")
        kernel.say("error", ename="E", evalue="v", traceback=["Traceback", "\x1b[31mE: v\x1b[0m"])
        kernel.finish()
        assert whole(recording) == "a\n[stderr]\nTraceback\nE: v\n"

    async def test_growth_is_announced(self, kernel: Kernel, recording: Recording) -> None:
        before = recording.extent
        kernel.display({"text/plain": "x"})
        assert recording.grown.is_set()
        assert recording.extent > before


class TestDisplays:
    def test_they_stand_at_their_places(self, kernel: Kernel, recording: Recording) -> None:
        kernel.print("a")
        kernel.display({"text/plain": "x"})
        kernel.display({"text/plain": "y"})
        kernel.print("b\n")
        kernel.finish()
        assert whole(recording) == "a\nb\n"
        assert shown(recording) == [(2, "x"), (2, "y")]

    def test_large_values_are_read_from_the_store(self, kernel: Kernel, store: Store) -> None:
        bundle = {"image/png": LARGE, "application/json": {"a": [LARGE]}, "text/plain": "x"}
        kernel.display(bundle)
        (display,) = kernel.finish()
        assert isinstance(display, Display)
        assert isinstance(display.data, Bundle)
        assert display.data.in_memory < 100
        assert dict(display.data) == bundle
        assert "image/png" in display.data
        store.drop()
        with pytest.raises(OutputGone):
            display.data["image/png"]
        assert display.data["text/plain"] == "x"

    def test_one_that_is_updated_is_kept_as_it_was_last(
        self, kernel: Kernel, recording: Recording
    ) -> None:
        kernel.display({"text/plain": "first", "image/png": LARGE}, "id")
        for number in range(5):
            update = {"text/plain": str(number), "image/png": f"{number}{LARGE}"}
            kernel.display(update, "id", "update_display_data")
        (display,) = kernel.finish()
        assert isinstance(display, Display)
        assert display.data["image/png"] == f"4{LARGE}"
        assert isinstance(display.data, Bundle)
        assert shown(recording) == [(0, "4")]

    def test_those_shown_after_a_clear_are_whole(self, kernel: Kernel) -> None:
        """A clear that waits takes effect with the display, not after its values were kept."""
        kernel.display({"image/png": LARGE, "text/plain": "old"})
        kernel.say("clear_output", wait=True)
        kernel.display({"image/png": f"new{LARGE}", "text/plain": "new"})
        (display,) = kernel.finish()
        assert isinstance(display, Display)
        assert display.data["image/png"] == f"new{LARGE}"


class TestAfterwards:
    def test_outputs_and_source_come_back_as_they_were(
        self, kernel: Kernel, recording: Recording
    ) -> None:
        assert recording.source is None
        kernel.print("a\ud800" * 5000)
        kernel.say("error", ename="E", evalue="v", traceback=["t"])
        kernel.display({"text/plain": "x"}, kind="execute_result")
        outputs = kernel.finish("x = 1\n" * 5000)
        assert recording.outputs() == outputs
        assert [type(output) for output in outputs] == [Text, Error, Display]
        assert recording.source == "x = 1\n" * 5000

    def test_a_dropped_one_says_so(self, kernel: Kernel, recording: Recording) -> None:
        kernel.print("a\n")
        kernel.finish()
        reading = recording.reading()
        recording.drop()
        assert recording.gone
        for read in (recording.outputs, lambda: recording.source, lambda: reading.read(0, 1)):
            with pytest.raises(OutputGone):
                read()


class TestWhenThereIsNoRoom:
    def test_the_result_is_whole_and_the_text_ends_where_it_must(self, tmp_path: Path) -> None:
        archive = Archive(tmp_path / "outputs", Room(session=100_000))
        recording = Recording(archive.open("a"))
        kernel = Kernel(recording)
        for number in range(20_000):
            kernel.print(f"line {number:06}\n")
        kernel.display({"text/plain": "x", "image/png": LARGE})
        outputs = kernel.finish()
        assert recording.trouble == "the outputs of a session may take 0 MB"
        assert recording.outputs() == outputs
        assert isinstance(outputs[-1], Display)
        assert outputs[-1].data["image/png"] == LARGE
        text = whole(recording)
        assert text.startswith("line 000000\nline 000001\n")
        assert 60_000 < len(text) < 140_000
