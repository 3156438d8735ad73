"""The text of a stream: what a reader of the notebook is to see, whatever pieces it came in."""

from __future__ import annotations

import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notebooks import streams
from notebooks.streams import StreamText, savable

RED, GREEN, BOLD, RESET = "\x1b[31m", "\x1b[32m", "\x1b[1m", "\x1b[0m"


@pytest.fixture(autouse=True, scope="module")
def short_lines() -> object:
    """Unfinished lines are made short so early that the tests see it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "_LONG", 5)
        yield


def text_of(*pieces: str) -> str:
    text = StreamText("stdout")
    for piece in pieces:
        text.write(piece)
    assert text.text() == text.text()
    return text.text()


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("plain\ntext", "plain\ntext"),
        ("a\r\nb\r\n", "a\nb\n"),
        (" 50%\r100%\n", "100%\n"),
        ("long line\rshort", "shortline"),
        ("kept until more comes\r", "kept until more comes"),
        ("\r", ""),
        ("1\r2\r3\nx\r", "3\nx"),
        ("ab\b\bX", "X"),
        ("a\n\b\bb", "a\nb"),
        ("|\b/\b-\b", ""),
        ("hello\ra\bb", "bello"),
        ("hello\r\b\bJ", "Jello"),
        (f"{RED}red{RESET} and {BOLD}bold{RESET}", f"{RED}red{RESET} and {BOLD}bold{RESET}"),
        (f"{RED}1{RESET}\r{RED}2{RESET}", f"{RED}2{RESET}"),
        (f"{GREEN}done now{RESET}\rOK", f"OK{GREEN}ne now{RESET}"),
        (f"{RED}ab{RESET}\b\bX", "X"),
        (f"{RED}a\rb\n", f"{RED}b\n"),
        ("\x1b[38;5;9mx\r\x1b[38;2;1;2;3my\x1b[39mz", "\x1b[38;2;1;2;3my\x1b[0mz"),
        ("ab\x1b[Kc", "ab\x1b[Kc"),
        ("12345\r\x1b[Kx", "x"),
        ("12345\x1b[2K\rx\n", "x    \n"),
        ("\r\x1b[2K12\r\x1b[2K3", "3"),
        ("a\r\x1b]8;;url\x07link\x1b]8;;\x07", "\x1b]8;;url\x07link\x1b]8;;\x07"),
        (f"\x1b[{'9' * 9999}mx\ry", "y"),
    ],
)
def test_what_is_kept(written: str, kept: str) -> None:
    assert text_of(written) == kept
    assert text_of(*written) == kept


def terminal(text: str) -> list[list[tuple[str, bool, str]]]:
    """What is to be seen: the lines' characters, whether each is bold, and its colour. The
    plainest reading."""
    lines: list[list[tuple[str, bool, str]]] = [[]]
    column, bold, colour = 0, False, ""
    for token in re.findall(r"\x1b\[\d+m|.|\n|\r", text):
        if token == "\n":
            lines.append([])
            column = 0
        elif token == "\r":
            column = 0
        elif token == BOLD:
            bold = True
        elif token == RESET:
            bold, colour = False, ""
        elif token in (RED, GREEN):
            colour = token
        else:
            lines[-1][column : column + 1] = [(token, bold, colour)]
            column += 1
    return lines


written_ = st.lists(
    st.sampled_from(["a", "bc", "d" * 9, "\r", "\n", "\r\n", RED, GREEN, BOLD, RESET]), max_size=30
)


@given(written_)
def test_it_shows_what_a_terminal_does(pieces: list[str]) -> None:
    assert terminal(text_of("".join(pieces))) == terminal("".join(pieces))


@given(st.lists(st.sampled_from([*"ab\r\n\b", RED, RESET, BOLD]), max_size=40), st.data())
def test_the_pieces_do_not_matter(tokens: list[str], data: st.DataObject) -> None:
    """Escape sequences that are cut in two included."""
    written = "".join(tokens)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=8)))
    pieces = [written[a:b] for a, b in zip([0, *cuts], [*cuts, len(written)], strict=True)]
    assert terminal(text_of(*pieces)) == terminal(text_of(written))
    assert "\r" not in text_of(written) and "\b" not in text_of(written)


def test_a_bar_that_is_drawn_again_and_again_takes_no_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    text = StreamText("stderr")
    tracemalloc.start()
    try:
        for number in range(20_000):
            text.write(f"\r{GREEN}{'#' * 50}{RESET} {number}")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text.text() == f"{GREEN}{'#' * 50}{RESET} 19999"
    assert most < 1_000_000
    assert text.size < 200_000


@given(st.lists(st.text(alphabet="ab\r\n\bé€😀", max_size=20), max_size=10))
def test_the_size_is_that_of_what_is_held(pieces: list[str]) -> None:
    """Once it is finished by a newline, it is that of the text in a file."""
    text = StreamText("stdout")
    for piece in [*pieces, "\n"]:
        text.write(piece)
        assert text.size >= len(text.text().encode())
    assert text.size == len(text.text().encode())


@pytest.mark.parametrize(
    ("value", "saved"),
    [
        ("é", "é"),
        ("a\ud800", "a\\ud800"),
        ({"a": ["\udfff😀", 1, None]}, {"a": ["?😀", 1, None]}),
        ([1, 2.5, True], [1, 2.5, True]),
    ],
)
def test_what_can_be_written_to_a_file(value: object, saved: object) -> None:
    assert savable(value)[0] == saved
