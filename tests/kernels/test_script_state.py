"""The state of a session is shared by its scripts and cells, and each script is still itself."""

from __future__ import annotations

import pytest

from tests.conftest import RESUMED_TOO
from tests.kernels.differential import Bench, outcome_of

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("shared_registry", RESUMED_TOO, indirect=True),
]


async def test_a_cell_sees_what_a_script_has_set(bench: Bench) -> None:
    await bench.run("data = [1, 2]\ndef f(): return len(data)\nclass A: pass")
    assert await bench.shown("data, f(), A.__name__") == "([1, 2], 2, 'A')"


async def test_another_script_sees_and_changes_it(bench: Bench) -> None:
    await bench.run("data = [1, 2]", name="first.py")
    assert await bench.text("data.append(3); print(data)", name="second.py") == "[1, 2, 3]\n"
    assert await bench.shown("data") == "[1, 2, 3]"


async def test_a_function_of_a_script_and_a_cell_agree_about_a_global(bench: Bench) -> None:
    await bench.run("count = 0\ndef up():\n    global count\n    count += 1\n    return count")
    await bench.cell("count = 41")
    assert await bench.shown("up()") == "42"
    assert await bench.shown("count") == "42"
    assert await bench.shown("up.__globals__ is globals()") == "True"


async def test_variables_stay_when_a_script_fails_or_exits(bench: Bench) -> None:
    await bench.run("before = 1\n1/0\nafter = 2")
    assert await bench.shown("before, 'after' in globals()") == "(1, False)"
    await bench.run("import sys\nbefore = 2\nsys.exit(3)")
    assert await bench.shown("before") == "2"


async def test_what_belongs_to_the_program_is_put_back_for_the_session(bench: Bench) -> None:
    facts = "import sys, os; (sys.argv, sys.path, os.getcwd(), '__file__' in globals(), __name__)"
    before = await bench.shown(facts)
    await bench.run("import sys, os\nsys.path.append('lib'); os.chdir('/')", "a", "b")
    assert await bench.shown(facts) == before
    assert await bench.shown("__spec__, '__annotations__' in globals()") == "(None, False)"


@pytest.mark.parametrize("end", ["1/0", "import sys; sys.exit(3)", "raise KeyboardInterrupt"])
async def test_it_is_put_back_however_the_script_ends(bench: Bench, end: str) -> None:
    facts = "import sys, os; (sys.argv, sys.path, os.getcwd())"
    before = await bench.shown(facts)
    await bench.run(f"import sys, os\nsys.argv = 0; sys.path.clear(); os.chdir('/')\n{end}")
    assert await bench.shown(facts) == before


async def test_a_function_that_was_renamed_is_gone_after_the_next_run(bench: Bench) -> None:
    await bench.run("def old(): pass\nclass Old: pass\ndata = 1")
    await bench.run("def new(): pass\nclass New: pass")
    names = "[n for n in ('old', 'Old', 'new', 'New', 'data') if n in globals()]"
    assert await bench.shown(names) == "['new', 'New', 'data']"


async def test_it_is_gone_while_the_script_runs(bench: Bench) -> None:
    """A call that comes before the definition fails, as with `python`."""
    await bench.run("def f(): pass")
    outcome = outcome_of(await bench.run("f()\ndef f(): pass"))
    assert "NameError: name 'f' is not defined" in outcome.stderr


async def test_functions_defined_under_a_condition_or_decorated_go_too(bench: Bench) -> None:
    await bench.run(
        "import functools\nif True:\n    def one(): pass\n"
        "@functools.lru_cache\ndef two(): pass\ntry:\n    class Three: pass\nfinally:\n    pass"
    )
    await bench.run("pass")
    assert await bench.shown("[n for n in ('one', 'two', 'Three') if n in globals()]") == "[]"


async def test_a_name_that_now_holds_something_else_stays(bench: Bench) -> None:
    await bench.run("def f(): pass", name="a.py")
    await bench.cell("f = 'data'")
    await bench.run("pass", name="a.py")
    assert await bench.shown("f") == "'data'"


async def test_functions_of_another_script_stay_usable(bench: Bench) -> None:
    await bench.run("def helper(): return 'helped'", name="a.py")
    assert await bench.text("print(helper())", name="b.py") == "helped\n"


async def test_a_variable_named_like_a_builtin_does_not_break_the_next_script(bench: Bench) -> None:
    """`sum = 0` is what beginners write; the session keeps it."""
    await bench.run("sum = 5; list = [1]; input = 'x'; id = 7")
    assert await bench.text("print(sum([1, 2]), list('ab'), id)", name="b.py") == (
        "3 ['a', 'b'] <built-in function id>\n"
    )
    assert await bench.shown("sum, list, input, id") == "(5, [1], 'x', 7)"
    await bench.run("sum = 6", name="b.py")
    assert await bench.shown("sum") == "6"
    await bench.cell("del sum, list, input, id")


async def test_a_function_named_like_a_builtin_goes_with_its_definition(bench: Bench) -> None:
    await bench.run("def print(text): __builtins__.print('my', text)\nprint(1)")
    assert await bench.text("print(2)", name="b.py") == "2\n"
    assert outcome_of(await bench.cell("print(3)")).stdout == "my 3\n"
    await bench.run("pass")
    assert outcome_of(await bench.cell("print(4)")).stdout == "4\n"


async def test_what_a_script_does_to_builtins_ends_with_it(bench: Bench) -> None:
    await bench.run("import builtins\nbuiltins.print = None\nbuiltins.extra = 1\ndel builtins.len")
    assert await bench.text("print(len('ab'))\ntry: extra\nexcept NameError: print('none')") == (
        "2\nnone\n"
    )


async def test_names_of_the_module_protocol_are_no_data(bench: Bench) -> None:
    """`__version__`, `__getattr__` and the like are a module's, not the session's."""
    await bench.run("__version__ = '1'\ndef __getattr__(name): return 5\n__all__ = ['a']")
    names = "print([n for n in ('__version__', '__getattr__', '__all__') if n in globals()])"
    assert await bench.text(names, name="b.py") == "[]\n"


async def test_objects_of_a_former_run_keep_their_class(bench: Bench) -> None:
    await bench.run("class A:\n    def name(self): return 'first'\na = A()")
    await bench.run("class A:\n    def name(self): return 'second'\nb = A()")
    assert await bench.shown("a.name(), b.name(), type(a) is A") == "('first', 'second', False)"


async def test_ipythons_own_names_come_back(bench: Bench) -> None:
    await bench.cell("41 + 1")
    await bench.run("x = 1")
    assert await bench.shown("_ + 1, callable(get_ipython), isinstance(Out, dict)") == (
        "(43, True, True)"
    )


async def test_cells_and_scripts_count_together(bench: Bench) -> None:
    first = (await bench.cell("1")).execution_count
    second = (await bench.run("print(1)")).execution_count
    third = (await bench.cell("2")).execution_count
    assert first is not None
    assert (second, third) == (first + 1, first + 2)


async def test_a_cells_filters_and_hooks_are_not_a_scripts_but_stay_the_cells(bench: Bench) -> None:
    await bench.cell("import warnings, sys\nwarnings.simplefilter('ignore')\nsys.excepthook = 5")
    outcome = outcome_of(await bench.run("import warnings\nwarnings.warn('w')\n1/0"))
    assert "UserWarning: w" in outcome.stderr
    assert outcome.stderr.endswith("ZeroDivisionError: division by zero\n")
    after = "warnings.filters[0][0], sys.excepthook"
    assert await bench.shown(after) == "('ignore', 5)"


async def test_top_level_await_works_in_a_script(bench: Bench) -> None:
    """`python` refuses it; what follows is what `python -m asyncio` would do."""
    source = "import asyncio\nx = await asyncio.sleep(0, 5)\nprint(x)"
    assert await bench.text(source) == "5\n"
    assert await bench.shown("x") == "5"


async def test_a_failure_in_it_shows_the_scripts_lines(bench: Bench) -> None:
    source = "import asyncio\nasync def f():\n    1/0\nawait f()\n"
    outcome = outcome_of(await bench.run(source))
    path = bench.folder / "x.py"
    assert outcome.stderr == (
        "Traceback (most recent call last):\n"
        f'  File "{path}", line 4, in <module>\n    await f()\n'
        f'  File "{path}", line 3, in f\n    1/0\n    ~^~\n'
        "ZeroDivisionError: division by zero\n"
    )
    assert (await bench.run("import sys\nawait f()\n")).exit_code == 1
    assert (
        await bench.run("import asyncio, sys\nawait asyncio.sleep(0)\nsys.exit(4)")
    ).exit_code == 4


async def test_the_error_of_a_result_names_the_users_place(bench: Bench) -> None:
    result = await bench.run("def f():\n    {}['k']\n\nf()")
    assert result.error == {
        "name": "KeyError",
        "value": "'k'",
        "line": 2,
        "file": str(bench.folder / "x.py"),
    }
    result = await bench.run("x = 1\nprint('open'\n")
    assert result.error is not None
    assert (result.error["name"], result.error["line"]) == ("SyntaxError", 2)
    bench.write("broken.py", "x = = 1")
    result = await bench.run("import broken")
    assert result.error is not None
    assert result.error["file"] == str(bench.folder / "broken.py")


async def test_the_servers_packages_cannot_be_imported_by_accident(bench: Bench) -> None:
    source = (
        "for name in ('server', 'kernels', 'client', 'notebooks', 'launch', 'script', 'streams'):\n"
        "    try:\n        __import__(name)\n"
        "    except ModuleNotFoundError as error:\n        print(error)"
    )
    assert len((await bench.text(source)).splitlines()) == 7
    bench.write("server.py", "name = 'mine'")
    assert await bench.text("import server; print(server.name)") == "mine\n"
