"""The text of a run: the same whatever pieces it came in, bounded, and exactly counted."""

from __future__ import annotations

import tracemalloc
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import textlog
from kernels.outputs import Display, Omitted, Output, Text
from kernels.textlog import Log, Slot

Stream = Literal["stdout", "stderr"]
Writes = list[tuple[Stream, str]]

HEAD, TAIL, LINE = 7, 5, 9
BIG = 10**9


@pytest.fixture(autouse=True, scope="module")
def short_lines() -> object:
    """Lines so short that every limit is met."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(textlog, "_LONGEST_LINE", LINE)
        yield


def log_of(writes: Writes, head: int = BIG, tail: int = BIG) -> Log:
    log = Log(head, tail)
    for stream, text in writes:
        log.write(stream, text)
    return log


def text_of(*pieces: str) -> str:
    return log_of([("stdout", piece) for piece in pieces]).text()


streams: st.SearchStrategy[Stream] = st.sampled_from(("stdout", "stderr"))
texts = st.text(alphabet="ab\n\r", max_size=30)
writes_ = st.lists(st.tuples(streams, texts), max_size=12)


def pieces(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def written_twice(draw: st.DrawFn) -> tuple[Writes, Writes]:
    """The same text of both streams in two divisions into pieces."""
    writes = draw(writes_)
    chunked: Writes = []
    for stream, text in writes:
        chunked += [(stream, piece) for piece in pieces(draw, text)]
    return writes, chunked


def terminal(text: str) -> str:
    """What a terminal that is wide enough shows: the plainest reading of `\\r` and `\\n`."""
    lines: list[str] = [""]
    column = 0
    for character in text:
        if character == "\r":
            column = 0
        elif character == "\n":
            lines.append("")
            column = 0
        else:
            lines[-1] = lines[-1][:column] + character + lines[-1][column + 1 :]
            column += 1
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["a", "b\n", "c"], "ab\nc"),
        ([" 10%", "\r 50%", "\r100%\n", "done"], "100%\ndone"),
        (["long\rab"], "abng"),
        (["abc\r"], "abc"),
        (["abc\r\n"], "abc\n"),
        (["abc\r", "\n"], "abc\n"),
        (["abc\r\r\nd"], "abc\nd"),
        (["abc\rx\ny"], "xbc\ny"),
        (["", "a", ""], "a"),
        (["\n\n"], "\n\n"),
    ],
)
def test_carriage_returns_overwrite_their_line(pieces: list[str], shown: str) -> None:
    assert text_of(*pieces) == shown


@given(st.text(alphabet="ab\n\r", max_size=40))
def test_short_lines_read_as_on_a_terminal(text: str) -> None:
    expected = terminal(text)
    if max(len(line) for line in expected.split("\n")) < LINE:
        assert text_of(text) == expected


@given(written_twice(), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=300)
def test_pieces_do_not_matter(twice: tuple[Writes, Writes], head: int, tail: int) -> None:
    """However a text is cut into pieces, what comes out is the same, limits or not."""
    whole, chunked = twice
    assert log_of(whole).outputs() == log_of(chunked).outputs()
    assert log_of(whole, head, tail).outputs() == log_of(chunked, head, tail).outputs()
    assert log_of(whole).characters == log_of(chunked).characters


def flat(outputs: tuple[Output, ...]) -> list[tuple[Stream, str]]:
    return [(o.stream, letter) for o in outputs if isinstance(o, Text) for letter in o.text]


@given(written_twice(), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=300)
def test_head_and_tail_are_kept_and_the_rest_is_counted(
    twice: tuple[Writes, Writes], head: int, tail: int
) -> None:
    """Exactly the first and last characters, of the right streams, and exact numbers."""
    everything = flat(log_of(twice[0]).outputs())
    outputs = log_of(twice[1], head, tail).outputs()
    gaps = [o for o in outputs if isinstance(o, Omitted)]
    if len(everything) <= head + tail:
        assert gaps == []
        assert flat(outputs) == everything
        return
    missing = everything[head : len(everything) - tail]
    assert gaps == [Omitted(len(missing), sum(letter == "\n" for _, letter in missing))]
    place = outputs.index(gaps[0])
    assert flat(outputs[:place]) == everything[:head]
    assert flat(outputs[place + 1 :]) == everything[len(everything) - tail :]


@given(written_twice())
def test_looking_in_between_changes_nothing(twice: tuple[Writes, Writes]) -> None:
    log = Log(HEAD, TAIL)
    for stream, text in twice[1]:
        log.write(stream, text)
        log.outputs()
    assert log.outputs() == log_of(twice[0], HEAD, TAIL).outputs()


@given(st.lists(st.one_of(st.tuples(streams, texts), st.just(None)), max_size=14))
@settings(max_examples=300)
def test_slots_are_all_kept_and_in_order(steps: list[tuple[Stream, str] | None]) -> None:
    """A slot stands after the text before it, wherever text is left out."""
    whole, cut = Log(BIG, BIG), Log(HEAD, TAIL)
    for number, step in enumerate(steps):
        for log in (whole, cut):
            if step is None:
                log.add(Slot(Display({"number": number}, {})))
            else:
                log.write(*step)
    everything, shown = whole.outputs(), cut.outputs()
    assert [o for o in shown if isinstance(o, Display)] == [
        o for o in everything if isinstance(o, Display)
    ]
    total = len(flat(everything))
    for part in range(len(shown)):
        if not isinstance(shown[part], Display):
            continue
        before = len(flat(everything[: everything.index(shown[part])]))
        kept = len(flat(shown[:part]))
        gap = any(isinstance(o, Omitted) for o in shown[:part])
        assert gap == (before > HEAD and total > HEAD + TAIL)
        if not gap:
            assert kept == before
        else:
            assert kept == HEAD + max(0, TAIL - (total - before))


def test_a_progress_bar_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textlog, "_LONGEST_LINE", 64 * 1024)
    bar = [f"\r{percent:3}% {'#' * (percent // 2)}" for percent in range(101)]
    assert text_of(*bar, "\n") == bar[-1][1:] + "\n"


def test_the_other_stream_and_a_slot_end_the_line_that_can_be_overwritten() -> None:
    log = log_of([("stderr", " 50%"), ("stdout", "x\n"), ("stderr", "\r100%")])
    assert log.outputs() == (Text("stderr", " 50%"), Text("stdout", "x\n"), Text("stderr", "100%"))
    log = Log(BIG, BIG)
    log.write("stdout", "ab")
    log.add(Slot(Display({}, {})))
    log.write("stdout", "\rc")
    assert log.outputs() == (Text("stdout", "ab"), Display({}, {}), Text("stdout", "c"))


def test_a_slot_may_be_exchanged_later() -> None:
    log = log_of([("stdout", "a")])
    slot = Slot(Display({"n": 1}, {}))
    log.add(slot)
    slot.value = Display({"n": 2}, {})
    assert log.outputs() == (Text("stdout", "a"), Display({"n": 2}, {}))


def test_clearing_forgets_all_but_the_number_of_characters() -> None:
    log = log_of([("stdout", "x" * 100), ("stderr", "y")], HEAD, TAIL)
    log.add(Slot(Display({}, {})))
    log.clear()
    assert log.outputs() == ()
    assert log.characters == 101
    log.write("stdout", "z" * 13)
    assert log.text() == "z" * HEAD + "\n[… 1 characters (0 lines) left out …]\n" + "z" * TAIL


def test_of_a_line_without_end_only_a_part_can_be_overwritten() -> None:
    assert text_of("x" * LINE + "yy\rz") == "x" * LINE + "zy"


@pytest.mark.parametrize("piece", ["x" * 65536, "y\n" * 10, "\r50%", "z"])
def test_memory_is_bounded(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is written, in whatever pieces, to one stream or to both in turn."""
    monkeypatch.setattr(textlog, "_LONGEST_LINE", 64 * 1024)
    count = min(20_000, 20_000_000 // len(piece))
    tracemalloc.start()
    log = Log(1000, 1000)
    for number in range(count):
        log.write("stdout" if number % 2 else "stderr", piece)
    size, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert log.characters == count * len(piece)
    assert size < 500_000
    assert sum(len(o.text) for o in log.outputs() if isinstance(o, Text)) <= 2000
