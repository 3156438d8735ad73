"""Modules beside a script are imported as by a fresh `python`: what stands in the file counts."""

from __future__ import annotations

import os

import pytest

from tests.kernels.differential import Bench, Case, outcome_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_edited_helper_is_used_at_once(bench: Bench) -> None:
    bench.write("helper.py", "value = 1")
    assert await bench.text("import helper; print(helper.value)") == "1\n"
    bench.write("helper.py", "value = 'longer'")
    assert await bench.text("import helper; print(helper.value)") == "longer\n"


async def test_an_edit_of_the_same_size_is_seen_too(bench: Bench) -> None:
    """Within one second and with the very time of the file it replaces, bytecode or not."""
    for number in range(5):
        bench.write("helper.py", f"value = {number}")
        assert await bench.text("import helper; print(helper.value)") == f"{number}\n"


async def test_bytecode_is_written_and_trusted_when_it_is_newer(bench: Bench) -> None:
    path = bench.write("helper.py", "value = 1")
    os.utime(path, (1, 1))
    assert await bench.text("import helper; print(helper.value)") == "1\n"
    (bytecode,) = (bench.folder / "__pycache__").glob("helper.*.pyc")
    assert await bench.text(f"import os; print(os.path.exists({str(bytecode)!r}))") == "True\n"


async def test_an_edit_is_seen_after_a_helper_came_from_bytecode(bench: Bench) -> None:
    path = bench.write("helper.py", "value = 1")
    os.utime(path, (1, 1))
    await bench.text("import helper")
    # As in a kernel that finds the bytecode of an earlier one.
    await bench.cell("import sys; del sys.modules['helper']")
    assert await bench.text("import helper; print(helper.value)") == "1\n"
    bench.write("helper.py", "value = 2")
    assert await bench.text("import helper; print(helper.value)") == "2\n"


async def test_all_helpers_are_read_anew_when_one_has_changed(bench: Bench) -> None:
    """They hold references to one another."""
    bench.write("low.py", "value = 1")
    bench.write("high.py", "from low import value")
    assert await bench.text("import high; print(high.value)") == "1\n"
    bench.write("low.py", "value = 2")
    assert await bench.text("import high; print(high.value)") == "2\n"


async def test_the_state_of_helpers_stays_when_nothing_has_changed(bench: Bench) -> None:
    bench.write("helper.py", "print('read'); seen = []")
    assert await bench.text("import helper; helper.seen.append(1)") == "read\n"
    assert await bench.text("import helper; helper.seen.append(2); print(helper.seen)") == (
        "[1, 2]\n"
    )
    assert await bench.shown("helper.seen") == "[1, 2]"


async def test_a_cell_uses_the_edited_helper_too(bench: Bench) -> None:
    bench.write("helper.py", "def f(): return 1")
    await bench.text("import helper")
    bench.write("helper.py", "def f(): return 2")
    await bench.cell(f"import sys; sys.path.append({str(bench.folder)!r})")
    assert await bench.shown("import helper; helper.f()") == "2"
    await bench.cell("sys.path.pop()")


async def test_a_new_module_is_found(bench: Bench) -> None:
    assert "No module named 'newcomer'" in outcome_of(await bench.run("import newcomer")).stderr
    bench.write("newcomer.py", "value = 1")
    assert await bench.text("import newcomer; print(newcomer.value)") == "1\n"


async def test_a_deleted_module_is_not(bench: Bench) -> None:
    path = bench.write("leaver.py", "value = 1")
    await bench.text("import leaver")
    path.unlink()
    assert "No module named 'leaver'" in outcome_of(await bench.run("import leaver")).stderr


async def test_a_broken_helper_is_told_and_then_mended(bench: Bench) -> None:
    case = Case("import helper\nprint(helper.value)", files={"helper.py": "value = = 1\n"})
    assert "SyntaxError" in (await bench.same(case)).stderr
    case = Case(case.source, files={"helper.py": "def f():\n    1/0\nf()\nvalue = 1\n"})
    assert "ZeroDivisionError" in (await bench.same(case)).stderr
    case = Case(case.source, files={"helper.py": "value = 1\n"})
    assert (await bench.same(case)).stdout == "1\n"
    case = Case(case.source, files={"helper.py": "import nothing_of_that_name\n"})
    assert "ModuleNotFoundError" in (await bench.same(case)).stderr


async def test_a_traceback_shows_the_edited_line(bench: Bench) -> None:
    source = "import helper\nhelper.f()"
    await bench.same(Case(source, files={"helper.py": "def f():\n    return 1\n"}))
    outcome = await bench.same(Case(source, files={"helper.py": "\n\ndef f():\n    1 / 0\n"}))
    assert "line 4, in f\n    1 / 0\n" in outcome.stderr
    files = {"helper.py": "import traceback\ndef f():\n    traceback.print_stack()\n"}
    assert "traceback.print_stack()" in (await bench.same(Case(source, files=files))).stderr


async def test_packages_with_relative_imports(bench: Bench) -> None:
    files = {
        "pack/__init__.py": "from . import a\nfrom .sub import b\n",
        "pack/a.py": "from .sub.b import value\nprint(__name__, __package__, __file__)\n",
        "pack/sub/__init__.py": "",
        "pack/sub/b.py": "value = 1\nfrom .. import a\n",
    }
    source = "import pack.sub.b\nprint(pack.a.value, pack.sub.b.a is pack.a)"
    await bench.same(Case(source, files=files))
    bench.write("pack/sub/b.py", "value = 2\nfrom .. import a\n")
    assert (await bench.text(source)).endswith("2 True\n")


async def test_packages_without_an_init_file(bench: Bench) -> None:
    bench.write("loose/deep/part.py", "value = 1")
    source = "from loose.deep import part\nprint(part.value)"
    assert await bench.text(source) == "1\n"
    bench.write("loose/deep/part.py", "value = 2")
    assert await bench.text(source) == "2\n"


async def test_a_script_in_a_package_is_not_part_of_it(bench: Bench) -> None:
    bench.write("pack/__init__.py", "")
    bench.write("pack/other.py", "")
    await bench.same(Case("from . import other"), "pack/main.py")
    await bench.same(Case("import other\nprint(other.__name__)"), "pack/main.py")


async def test_two_folders_with_helpers_of_one_name(bench: Bench) -> None:
    bench.write("a/helper.py", "print('read a'); place = 'a'")
    bench.write("b/helper.py", "print('read b'); place = 'b'")
    source = "import helper; print(helper.place)"
    assert await bench.text(source, name="a/x.py") == "read a\na\n"
    assert await bench.text(source, name="b/x.py") == "read b\nb\n"
    # And the state of each is still there.
    assert await bench.text(source, name="a/x.py") == "a\n"
    bench.write("b/helper.py", "print('read b again'); place = 'b'")
    assert await bench.text(source, name="b/x.py") == "read b again\nb\n"


async def test_a_helper_of_another_folder_is_not_found(bench: Bench) -> None:
    bench.write("a/only_here.py", "")
    await bench.text("import only_here", name="a/x.py")
    outcome = outcome_of(await bench.run("import only_here", name="b/x.py"))
    assert "No module named 'only_here'" in outcome.stderr


@pytest.mark.parametrize("name", ["random", "queue", "calendar", "string", "json", "tornado"])
async def test_a_module_beside_the_script_goes_before_the_librarys(bench: Bench, name: str) -> None:
    """As with `python`, for better or worse; the next script in another folder has the library."""
    source = f"import {name}; print({name}.__file__)"
    bench.write(f"a/{name}.py", "")
    own = f"{bench.folder}/a/{name}.py\n"
    assert await bench.text(source, name="a/x.py") == own
    assert await bench.text(source, name="a/x.py") == own
    assert await bench.text(source, name="b/x.py") != own
    assert str(bench.folder) not in await bench.shown(f"import {name}; {name}.__file__")


async def test_what_python_has_loaded_before_cannot_be_replaced(bench: Bench) -> None:
    files = {"os.py": "1/0", "io.py": "1/0", "sys.py": "1/0", "builtins.py": "1/0", "abc.py": "1/0"}
    await bench.same(Case("import os, io, sys, builtins, abc\nprint(os.sep)", files=files))


async def test_a_folder_put_on_the_path_ends_with_the_script(bench: Bench) -> None:
    bench.write("lib/inner.py", "value = 1")
    source = "import sys; sys.path.insert(0, 'lib')\nimport inner; print(inner.value)"
    assert await bench.text(source) == "1\n"
    bench.write("lib/inner.py", "value = 2")
    assert await bench.text(source) == "2\n"
    assert "No module named 'inner'" in outcome_of(await bench.run("import inner")).stderr


async def test_importlib_knows_helpers(bench: Bench) -> None:
    files = {"helper.py": '"""Doc."""\ndef f():\n    return 1\n', "data.txt": "text"}
    source = (
        "import helper, importlib, importlib.util, inspect, pkgutil, pickle\n"
        "print(helper.__spec__.origin, helper.__cached__, helper.__loader__.name)\n"
        "print(inspect.getsource(helper.f), importlib.reload(helper) is helper)\n"
        "print(importlib.util.find_spec('helper').origin, pickle.loads(pickle.dumps(helper.f)))\n"
        "print(pkgutil.get_data('helper', 'data.txt'))"
    )
    await bench.same(Case(source, files=files))


async def test_a_helper_may_replace_itself_in_sys_modules(bench: Bench) -> None:
    files = {"helper.py": "import sys, types\nsys.modules[__name__] = types.SimpleNamespace(v=1)\n"}
    source = "import helper; print(helper.v)"
    await bench.same(Case(source, files=files))
    bench.write("helper.py", files["helper.py"].replace("v=1", "v=2"))
    assert await bench.text(source) == "2\n"


async def test_pytest_runs_the_tests_as_they_are_now(bench: Bench) -> None:
    """It imports them with a loader of its own."""
    source = (
        "import pytest\ndef test_it(): assert {}\n"
        "if __name__ == '__main__':\n"
        "    raise SystemExit(pytest.main(['-p', 'no:cacheprovider', '-W', 'ignore', __file__]))"
    )
    for folder, claim, code in (("a", 1, 0), ("a", "1 > 2", 1), ("b", "0 == 1", 1), ("b", 1, 0)):
        result = await bench.run(source.format(claim), name=f"{folder}/test_it.py")
        assert result.exit_code == code


async def test_a_module_loaded_from_its_file_is_read_anew(bench: Bench) -> None:
    source = (
        "import importlib.util, sys\n"
        "if 'by_hand' not in sys.modules:\n"
        "    spec = importlib.util.spec_from_file_location('by_hand', 'by-hand.py')\n"
        "    sys.modules['by_hand'] = module = importlib.util.module_from_spec(spec)\n"
        "    spec.loader.exec_module(module)\n"
        "import by_hand; print(by_hand.value)"
    )
    for value in (1, 22, 333):
        bench.write("by-hand.py", f"value = {value}")
        assert await bench.text(source) == f"{value}\n"


async def test_children_use_the_edited_files_too(bench: Bench) -> None:
    """A fork server has read the script when it started."""
    for method in ("forkserver", "spawn", "fork"):
        for value in (1, 2):
            bench.write("helper.py", f"value = {value}")
            source = (
                "import multiprocessing, helper\n"
                f"def f(_): return helper.value, {value}\n"
                "if __name__ == '__main__':\n"
                f"    with multiprocessing.get_context({method!r}).Pool(1) as pool:\n"
                "        print(pool.map(f, [0]))\n"
            )
            assert await bench.text(source) == f"[({value}, {value})]\n"


async def test_what_an_import_configures_stays(bench: Bench) -> None:
    """It is not imported again, so the next script must find what it set up."""
    helper = (
        "import logging, warnings, sys\n"
        "log = logging.getLogger('app')\nlog.setLevel(logging.INFO)\n"
        "handler = logging.StreamHandler()\nlog.addHandler(handler)\n"
        "handler.setFormatter(logging.Formatter('app: %(message)s'))\n"
        "warnings.filterwarnings('ignore', message='noise')\n"
        "with warnings.catch_warnings():\n    warnings.simplefilter('ignore')\n"
    )
    source = (
        "import helper, warnings\nhelper.log.info('hello')\n"
        "warnings.warn('noise')\nwarnings.warn('signal')"
    )
    for _ in range(3):
        outcome = await bench.same(Case(source, files={"helper.py": helper}))
        assert outcome.stderr.count("app: hello") == 1
    bench.write("helper.py", helper)


async def test_a_helpers_function_called_by_a_script_configures_for_the_script(
    bench: Bench,
) -> None:
    helper = (
        "import logging, sys\n"
        "def set_up():\n"
        "    log = logging.getLogger('called')\n"
        "    log.addHandler(logging.StreamHandler(sys.stdout))\n"
        "    return log\n"
    )
    source = "import helper\nhelper.set_up().warning('once')"
    bench.write("helper.py", helper)
    for _ in range(3):
        assert await bench.text(source) == "once\n"
