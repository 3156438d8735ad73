"""Both streams as one text."""

from __future__ import annotations

import pytest

from kernels.outputs import StreamName
from kernels.transcript import Transcript, clean


def written(*steps: tuple[StreamName, str] | None) -> str:
    """The text after these writes; None is a place for a display."""
    parts: list[str] = []
    transcript = Transcript(parts.append)
    for step in steps:
        if step is None:
            transcript.place()
        else:
            transcript.text(*step)
    return "".join(parts)


def test_standard_output_is_as_it_was_written() -> None:
    assert written(("stdout", " a\n"), ("stdout", "\n b")) == " a\n\n b"


def test_standard_error_is_marked_and_so_is_the_way_back() -> None:
    shown = written(("stdout", "a\n"), ("stderr", "e\n"), ("stderr", "f\n"), ("stdout", "b\n"))
    assert shown == "a\n[stderr]\ne\nf\n[stdout]\nb\n"


def test_a_mark_stands_in_a_line_of_its_own() -> None:
    assert written(("stdout", "a"), ("stderr", "e")) == "a\n[stderr]\ne"


def test_a_display_ends_the_line_and_belongs_to_standard_output() -> None:
    assert written(("stdout", "a"), None, ("stdout", "b")) == "a\nb"
    assert written(None, ("stderr", "e"), None, ("stderr", "f")) == (
        "[stderr]\ne\n[stdout]\n[stderr]\nf"
    )


def test_nothing_changes_nothing() -> None:
    assert written(("stderr", ""), ("stdout", "a"), ("stderr", "\x1b[0m")) == "a"


def test_escape_sequences_are_taken_out() -> None:
    colours = "\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x1b\\link\x1b]8;;\x07 \x1b[2K"
    assert clean(colours) == "red link "
    assert clean("a\ud800b") == "a\\ud800b"


@pytest.mark.parametrize("hostile", ["\x1b[" + "1;" * 50_000, "\x1b]" * 50_000, "\x1b" * 99_999])
def test_sequences_that_are_none_take_no_time(hostile: str) -> None:
    clean(hostile)
