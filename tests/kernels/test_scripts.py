"""A script run in a living kernel says and returns what `python file.py` says and returns.

Each script runs both ways in the same folder; stdout, stderr and exit code must be equal. All of
them share one kernel, so each one also runs after all that the others have done to it.

What may differ, because it is documented: carriage returns are carried out; text with lone
surrogates is written, where `python` fails; variables of the session are there; objects know of
the kernel's threads and frames beneath the script's.
"""

from __future__ import annotations

import pytest

from tests.kernels.differential import Bench, Case, cases

pytestmark = pytest.mark.asyncio(loop_scope="module")


@cases("identity")
async def test_a_script_finds_what_python_sets_up(bench: Bench, case: Case) -> None:
    await bench.same(Case(case.source, ("a", "b c", "--x=ü")))


@cases("exits")
async def test_a_script_exits_as_with_python(bench: Bench, case: Case) -> None:
    await bench.same(case)


@cases("failures")
async def test_an_exception_is_told_as_by_python(bench: Bench, case: Case) -> None:
    """The user's file and lines, none of ours."""
    await bench.same(case)


@cases("syntax")
async def test_a_source_is_refused_as_by_python(bench: Bench, case: Case) -> None:
    await bench.same(case)


UNREADABLE = {
    "NUL": b"x = 1\n\0\n",
    "CR LF": b"x = 1\r\n1 / 0\r\n",
    "Latin-1 with a cookie": b"# -*- coding: latin-1 -*-\nprint('gr\xfc\xdfe')\nassert 0, '\xfc'",
    "Windows-1252 with a cookie": b"# coding: cp1252\nprint('\x80')",
    "an unknown encoding": b"# coding: nope\nprint(1)",
    "no UTF-8": b"print('\xff')",
    "no UTF-8 further down": b"x=1\ny=2\ns='abc\xe9'\n",
    "a BOM": b"\xef\xbb\xbfprint('bom')\n1/0",
    "a BOM and another cookie": b"\xef\xbb\xbf# coding: latin-1\nprint('bom')",
    "UTF-16": "print(1)".encode("utf-16"),
    "a syntax error in Latin-1": b"# coding: latin-1\ns = '\xfc' = 1\n",
}


@pytest.mark.parametrize("source", UNREADABLE.values(), ids=UNREADABLE)
async def test_bytes_are_read_as_by_python(bench: Bench, source: bytes) -> None:
    """Encodings, cookies, BOM."""
    await bench.same(Case(source))


@cases("warnings")
async def test_warnings_are_given_as_by_python(bench: Bench, case: Case) -> None:
    """In each script anew."""
    await bench.same(case)


@cases("leftovers")
async def test_settings_end_with_their_script(bench: Bench, case: Case) -> None:
    await bench.same(case)


@cases("threads")
async def test_threads_and_event_loops_work_as_with_python(bench: Bench, case: Case) -> None:
    await bench.same(case)


@cases("signals")
async def test_signals_and_debuggers_work_as_with_python(bench: Bench, case: Case) -> None:
    await bench.same(case)


@cases("processes")
async def test_child_processes_work_as_with_python(bench: Bench, case: Case) -> None:
    """Their output arrives, in order, and none becomes a second kernel."""
    await bench.same(case)


@cases("libraries")
async def test_libraries_see_the_script_as_with_python(bench: Bench, case: Case) -> None:
    await bench.same(case)


@cases("output")
async def test_output_is_that_of_python(bench: Bench, case: Case) -> None:
    await bench.same(case)


@cases("stdin")
async def test_standard_input_is_that_of_python(bench: Bench, case: Case) -> None:
    await bench.same(case)


@pytest.mark.parametrize("name", ["mit Leerzeichen.py", "größe.py", "日本.py", "-x.py", "a.b.py"])
async def test_a_file_may_have_any_name(bench: Bench, name: str) -> None:
    source = "import sys\nprint(__file__, sys.argv)\ndef f(): 1/0\nf()"
    if name.startswith("-"):
        # `python` would take it for an option.
        assert "-x.py" in (await bench.run(source, name=name)).error["file"]  # type: ignore[index]
    else:
        await bench.same(Case(source), name)
