"""Lines become statements, at a prompt and from a pipe."""

from __future__ import annotations

import warnings

import pytest

from client.shell import Statements

BLOCK = ["def f():", "    x = 1", "", "    return x"]


def split(lines: list[str], *, patient: bool) -> list[str]:
    """The statements of `lines`, and what has begun at their end after `…`."""
    statements = Statements(patient=patient)
    found = [source for line in lines for source in statements.add(line)]
    begun, rest = statements.open, statements.rest()
    assert begun == bool(rest)
    return [*found, *(f"…{source}" for source in rest)]


@pytest.mark.parametrize("patient", [False, True])
class TestBoth:
    @pytest.mark.parametrize(
        "line", ["x = 1", "await f()", "!ls", "%timeit x", "x?", "1/", "  x", "x = '\0'", "# why"]
    )
    def test_a_line_that_needs_no_other_is_passed_on_at_once(self, line, patient):
        assert split([line], patient=patient) == [line]

    @pytest.mark.parametrize(
        "lines",
        [["'''a", "", "b'''"], ["(1,", "2)"], ["x = \\", "1"], ["print(", "", ")"]],
    )
    def test_a_line_that_is_not_whole_waits_for_the_others(self, lines, patient):
        assert split(lines, patient=patient) == ["\n".join(lines)]

    def test_a_block_ends_with_a_line_that_is_none_of_it(self, patient):
        lines = ["if x:", "    y", "else:", "    z", "print(1)", "print(2)"]
        expected = ["\n".join(lines[:4]), "print(1)", "print(2)"]
        assert split(lines, patient=patient) == expected

    def test_blocks_after_each_other(self, patient):
        one = ["@d", "class A:", "    pass"]
        other = ["async def f():", "    await g()"]
        expected = ["\n".join(one), "\n".join(other), "await f()"]
        assert split([*one, *other, "await f()"], patient=patient) == expected

    def test_a_mistake_in_a_block_gives_the_block_to_the_kernel(self, patient):
        assert split(["def f():", "return"], patient=patient) == ["def f():\nreturn"]

    def test_empty_lines_alone_are_nothing(self, patient):
        assert split(["", "  ", ""], patient=patient) == []

    def test_warnings_are_the_kernels_business(self, patient):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert split(["x = 1 is 1"], patient=patient) == ["x = 1 is 1"]


def test_at_a_prompt_an_empty_line_ends_a_block():
    assert split([*BLOCK[:2], "", "f()"], patient=False) == ["def f():\n    x = 1\n", "f()"]


def test_from_a_pipe_an_empty_line_ends_nothing():
    assert split([*BLOCK, "", "f()"], patient=True) == ["\n".join([*BLOCK, ""]), "f()"]


def test_what_has_begun_is_left_at_the_end():
    assert split(BLOCK, patient=True) == ["…" + "\n".join(BLOCK)]
