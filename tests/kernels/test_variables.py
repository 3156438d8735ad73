"""The variables of a session, told by its kernel's guest without a run, also during one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import zmq
from jupyter_client.session import Session

from kernels.errors import KernelError
from kernels.execution import CodeRequest
from kernels.guest import variables as guest
from kernels.kernel import Kernel, Message
from kernels.local import LocalKernel
from kernels.registry import Registry
from kernels.result import Status
from kernels.run import Run
from kernels.variables import Names, Variable, Variables, variables_of
from tests.conftest import RunCode, text_of, until
from tests.kernels.fake_kernel import FakeKernel

#: Code that would hang or fail, should anything of it run in the control thread.
HOSTILE = """
import threading
ran = []
def trap(*args, **kwargs):
    if threading.current_thread() is not threading.main_thread():
        ran.append(1)
        while True:
            pass
    raise RuntimeError('trap')
names = ['repr', 'str', 'len', 'iter', 'eq', 'hash', 'bool', 'format', 'getattr', 'dir', 'index',
         'getitem', 'contains', 'sizeof', 'reduce_ex', 'instancecheck', 'subclasscheck']
traps = {f'__{name}__': trap for name in names}
"""


def kernel_of(registry: Registry, session: str = "default") -> Kernel:
    kernel = registry.find("", session)._kernel
    assert kernel is not None
    return kernel


async def ask(registry: Registry, limit: int = 200) -> Variables:
    return await variables_of(kernel_of(registry), limit, patience=20)


async def facts(registry: Registry) -> dict[str, tuple[str, str, str]]:
    """name: type, size, preview"""
    return {v.name: (v.type, v.size, v.preview) for v in (await ask(registry)).shown}


@asynccontextmanager
async def running(registry: Registry, projects: Path, code: str) -> AsyncIterator[Run]:
    """While `code` runs, of which the first line has been passed; it is stopped at the end."""
    begun = projects / "begun"
    code = f"import os; os.close(os.open({str(begun)!r}, os.O_CREAT))\n{code}"
    run = registry.submit("", "default", CodeRequest(code), 100)
    try:
        await until(begun.exists)
        yield run
    finally:
        run.stop()
        await run.result()
        begun.unlink()


# -- what is told


async def test_builtins_have_a_type_a_size_and_a_short_preview(
    registry: Registry, run_code: RunCode
) -> None:
    await run_code(
        "whole = -3\nreal = 0.5\ncomplicated = 2j\ntruth = True\nnothing = None\n"
        "text = 'a\\nb'\nlong = 'x' * 10_000_000\ndata = b'ab'\narray = bytearray(3)\n"
        "one = (1,)\nnone = ()\nlist_ = list(range(1000))\nempty = set()\nfew = {1}\n"
        "frozen = frozenset({2})\ntable = {'a': [1, (2,)], 'b': print}\nspan = range(2, 50, 3)\n"
        "deep = [[[[[1]]]]]\nitself = []\nitself.append(itself)\nvast = range(10**30)\n"
    )
    assert await facts(registry) == {
        "whole": ("int", "", "-3"),
        "real": ("float", "", "0.5"),
        "complicated": ("complex", "", "2j"),
        "truth": ("bool", "", "True"),
        "nothing": ("NoneType", "", "None"),
        "text": ("str", "3", r"'a\nb'"),
        "long": ("str", "10000000", "'" + 78 * "x" + "…"),
        "data": ("bytes", "2", "b'ab'"),
        "array": ("bytearray", "3", r"bytearray(b'\x00\x00\x00')"),
        "one": ("tuple", "1", "(1,)"),
        "none": ("tuple", "0", "()"),
        "list_": ("list", "1000", "[0, 1, 2, 3, 4, 5, …]"),
        "empty": ("set", "0", "set()"),
        "few": ("set", "1", "{1}"),
        "frozen": ("frozenset", "1", "frozenset({2})"),
        "table": ("dict", "2", "{'a': [1, (2,)], 'b': <builtin_function_or_method>}"),
        "span": ("range", "16", "range(2, 50, 3)"),
        "deep": ("list", "1", "[[[[…]]]]"),
        "itself": ("list", "1", "[[[[…]]]]"),
        "vast": ("range", "", f"range(0, {10**30})"),
    }


async def test_arrays_and_frames_tell_their_shape(registry: Registry, run_code: RunCode) -> None:
    result = await run_code(
        "import numpy as np, pandas as pd, polars as pl\n"
        "matrix = np.zeros((3, 4), 'f4')\nscalar = np.float64(1.5)\nflag = np.bool_(1)\n"
        "day = np.datetime64('2020-01-02')\nmasked = np.ma.array([1, 2], mask=[0, 1])\n"
        "record = np.zeros(2, [('a', 'i4'), ('b', 'O')])\ncell = record[0]\n"
        "objects = np.array([object()])\n"
        "frame = pd.DataFrame({'a': [1, 2], 'b': list('xy')})\n"
        "bare = pd.DataFrame(np.zeros((5, 2)))\nnothing = pd.DataFrame()\n"
        "wide = pd.DataFrame(np.zeros((1, 5000)), columns=[f'c{i}' for i in range(5000)])\n"
        "column = frame['a']\nwords = frame['b']\n"
        "kinds = pd.Series(['x', 'y', 'x'], dtype='category')\n"
        "zoned = pd.Series(pd.date_range('2020', periods=4, tz='UTC'))\n"
        "nullable = pd.Series([1, None], dtype='Int64')\n"
        "index = pd.Index([1, 2])\nrows = pd.RangeIndex(10**12)\n"
        "pairs = pd.MultiIndex.from_product([[1, 2], [3, 4]])\n"
        "dates = pd.date_range('2020', periods=3)\nstamp = pd.Timestamp('2020')\n"
        "pframe = pl.DataFrame({'a': [1, 2], 'b': ['x', 'y']})\npcolumn = pframe['a']\n"
        "lazy = pframe.lazy()\n"
    )
    assert result.status is Status.OK, text_of(result)
    words = "str" if "str" in text_of(await run_code("print(words.dtype)")) else "object"
    assert await facts(registry) == {
        "matrix": ("numpy.ndarray", "(3, 4)", "float32, 48 B"),
        "scalar": ("numpy.float64", "", "1.5"),
        "flag": ("numpy.bool", "", "True"),
        "day": ("numpy.datetime64", "", "2020-01-02"),
        "masked": ("numpy.ma.MaskedArray", "(2,)", "int64, 16 B"),
        "record": ("numpy.ndarray", "(2,)", "void96, 24 B"),
        "cell": ("numpy.void", "", "void96"),
        "objects": ("numpy.ndarray", "(1,)", "object, 8 B"),
        "frame": ("pandas.DataFrame", "(2, 2)", "columns ['a', 'b']"),
        "bare": ("pandas.DataFrame", "(5, 2)", ""),
        "nothing": ("pandas.DataFrame", "(0, 0)", ""),
        "wide": (
            "pandas.DataFrame",
            "(1, 5000)",
            "columns ['c0', 'c1', 'c2', 'c3', 'c4', 'c5', …]",
        ),
        "column": ("pandas.Series", "2", "int64"),
        "words": ("pandas.Series", "2", words),
        "kinds": ("pandas.Series", "3", "category"),
        "zoned": ("pandas.Series", "4", "DatetimeTZ"),
        "nullable": ("pandas.Series", "2", "Int64"),
        "index": ("pandas.Index", "2", "int64"),
        "rows": ("pandas.RangeIndex", "1000000000000", "int64"),
        "pairs": ("pandas.MultiIndex", "4", "2 levels"),
        "dates": ("pandas.DatetimeIndex", "3", "datetime64[us]"),
        "stamp": ("pandas.Timestamp", "", ""),
        "pframe": ("polars.DataFrame", "(2, 2)", "columns ['a', 'b']"),
        "pcolumn": ("polars.Series", "2", "Int64"),
        "lazy": ("polars.LazyFrame", "", ""),
    }


async def test_functions_classes_and_modules_are_only_named(
    registry: Registry, run_code: RunCode
) -> None:
    await run_code(
        "import json, functools\nimport os.path as path\n"
        "def f(): pass\n@functools.lru_cache\ndef g(): pass\nh = lambda: 0\nshout = print\n"
        "add = [].append\nclass C: pass\nclass Meta(type): pass\nclass D(metaclass=Meta): pass\n"
        "c = C()\nimport dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\np = P(1)\n"
    )
    variables = await ask(registry)
    assert variables == Variables(
        2,
        (Variable("c", "__main__.C"), Variable("p", "__main__.P")),
        {
            "functions": Names(5, ("f", "g", "h", "shout", "add")),
            "classes": Names(4, ("C", "Meta", "D", "P")),
            "modules": Names(4, ("json", "functools", "path", "dataclasses")),
        },
    )


async def test_what_the_user_did_not_bind_is_hidden(
    registry: Registry, run_code: RunCode, run_file: RunCode
) -> None:
    """A fresh kernel has no variables; names of IPython, of the module and with an underscore
    are none. A name that the user has taken over is."""
    await run_code("")
    assert await ask(registry) == Variables()
    await run_file("a.py", "x = 1\n_private = 2\n__version__ = '3'\n")
    await run_code("x\nOut[5] = 1\nIn.append('')\nexit\n")
    assert await facts(registry) == {"x": ("int", "", "1")}
    await run_code("exit = 7\nOut = 'mine'\ndel x")
    assert set(await facts(registry)) == {"exit", "Out"}


async def test_a_kernel_in_which_nothing_was_run_answers(registry: Registry) -> None:
    kernel = await registry._backend.start()
    try:
        assert await variables_of(kernel) == Variables()
    finally:
        await kernel.close()


async def test_ten_thousand_names_and_a_large_array_are_cut_and_counted(
    registry: Registry, run_code: RunCode
) -> None:
    """The last-defined are shown, in the order of their definition."""
    await run_code(
        "import numpy\nfor i in range(10_000):\n    globals()[f'n{i}'] = i\n"
        "for i in range(3000):\n    exec(f'def function_{i}(): pass')\n"
        "large = numpy.zeros(125_000_000)"
    )
    variables = await ask(registry)
    assert variables.total == 10_002
    assert [v.name for v in variables.shown] == [*(f"n{i}" for i in range(9801, 10_000)), "large"]
    assert variables.shown[-1] == Variable(
        "large", "numpy.ndarray", "(125000000,)", "float64, 1 GB"
    )
    functions = variables.others["functions"]
    assert functions.total == 3000
    assert functions.shown[-1] == "function_2999"
    assert 100 < len(functions.shown) < 3000
    assert [v.name for v in (await ask(registry, limit=2)).shown] == ["n9999", "large"]
    assert (await ask(registry, limit=0)).shown == ()


async def test_the_answer_is_short_whatever_the_names_and_values_are(
    registry: Registry, run_code: RunCode
) -> None:
    """Lone surrogates and control characters included."""
    await run_code(
        "for i in range(1000):\n"
        "    for kind in ('𝔘', '\\ud800', '\\0', 'é'):\n"
        "        globals()[kind * 200 + str(i)] = kind * 200\n"
        "huge = 10 ** 100_000\nmore = [huge, {huge: '\\ud800'}]"
    )
    reply = await kernel_of(registry).ask(guest.REQUEST, {"limit": 10_000}, 20)
    assert reply is not None
    assert len(json.dumps(reply)) < 64_000
    variables = await ask(registry)
    assert variables.total == 4004
    assert variables.shown[-2:] == (
        Variable("huge", "int", "332193 bits"),
        Variable("more", "list", "2", r"[<int>, {<int>: '\ud800'}]"),
    )
    assert all(len(v.name) <= 80 and len(v.preview) <= 80 for v in variables.shown)


# -- beside a run


@pytest.mark.parametrize(
    "code",
    ["import time\ntime.sleep(600)", "while True:\n    spin = [i for i in range(100)]"],
    ids=["asleep", "computing"],
)
async def test_they_are_told_while_a_run_is_going_on(
    registry: Registry, projects: Path, run_code: RunCode, code: str
) -> None:
    await run_code("before = 1")
    async with running(registry, projects, "during = 2\n" + code):
        names: set[str] = set()
        while "during" not in names:
            names = set(await facts(registry))
        assert "before" in names


async def test_asking_is_no_run_and_leaves_nothing_behind(
    registry: Registry, projects: Path, run_code: RunCode
) -> None:
    """The count of executions, the last value and the history stay; nothing is published, and
    nothing done to what the program has put in the place of its standard output."""
    await run_code("41 + 1")
    kernel, messages = kernel_of(registry), list[Message]()
    listening, kernel.on_message = kernel.on_message, messages.append
    for _ in range(3):
        await ask(registry)
    kernel.on_message = listening
    assert messages == []
    result = await run_code("print(_, len(In))\nx = 5")
    assert result.execution_count == 2
    assert text_of(result) == "42 3\n"
    go = projects / "go"
    code = (
        "import sys, time\nclass Out:\n    def write(self, text): pass\n"
        "    def flush(self): open('flushed', 'w').close()\n"
        "out, sys.stdout = sys.stdout, Out()\n"
        f"while not os.path.exists({str(go)!r}):\n    time.sleep(0.01)\n"
        "sys.stdout = out\nprint(os.path.exists('flushed'))\n"
    )
    async with running(registry, projects, code) as run:
        for _ in range(3):
            await ask(registry)
        go.touch()
        ended = await run.result()
    assert ended.status is Status.OK
    assert ended.execution_count == 3
    assert text_of(ended) == "False\n"
    assert text_of(await run_code("print(_, len(In))")) == "42 5\n"


async def test_the_control_channel_serves_others_as_well(
    registry: Registry, run_code: RunCode
) -> None:
    """Ipykernel's own requests are answered; a request that is not signed is passed over."""
    await run_code("x = 1")
    kernel = kernel_of(registry)
    assert isinstance(kernel, LocalKernel)
    reply = await kernel.ask("kernel_info_request", {}, 20)
    assert reply is not None and reply["implementation"] == "ipython"
    context = zmq.Context[zmq.Socket[bytes]]()
    foreigner = context.socket(zmq.DEALER)
    foreigner.linger = 1000
    foreigner.connect(f"ipc://{kernel._launched.directory / 'k'}-4")
    request = Session(key=b"guessed")
    request.send(foreigner, guest.REQUEST, {"limit": 5})
    assert not foreigner.poll(300)
    foreigner.close()
    context.term()
    assert set(await facts(registry)) == {"x"}


async def test_a_namespace_that_changes_meanwhile(registry: Registry, projects: Path) -> None:
    """By the program and by its threads; containers and frames change as well."""
    code = (
        "import threading\ngrowing, table, many = [], {}, set()\n"
        "def churn(k):\n    n = 0\n"
        "    while True:\n        n += 1\n"
        "        globals()[f'v{k}_{n % 500}'] = [n]\n"
        "        globals().pop(f'v{k}_{(n * 7) % 500}', None)\n"
        "        growing.append(n); table[n] = n; many.add(n)\n"
        "        if n % 300 == 0: growing.clear(); table.clear(); many.clear()\n"
        "for k in range(3):\n    threading.Thread(target=churn, args=(k,), daemon=True).start()\n"
        "churn(3)"
    )
    async with running(registry, projects, code):
        for _ in range(30):
            variables = await ask(registry)
            assert len(variables.shown) <= variables.total
            for variable in variables.shown:
                if variable.name.startswith("v"):
                    assert variable.type == "list"


async def test_what_the_program_lets_go_meanwhile_ends_in_its_own_thread(
    registry: Registry, projects: Path
) -> None:
    """An object of which the answer held the last reference; its end is user code."""
    code = (
        "import threading\nforeign = []\n"
        "class Thing:\n    def __del__(self):\n"
        "        if threading.current_thread() is not threading.main_thread(): foreign.append(1)\n"
        "while True:\n    thing = Thing()"
    )
    async with running(registry, projects, code):
        for _ in range(100):
            told = await facts(registry)
        assert told["foreign"] == ("list", "0", "[]")


def test_the_last_reference_is_handed_to_the_main_thread() -> None:
    """The same in slow motion: the value leaves the namespace while it is looked at."""

    class Leaving(dict[str, object]):
        def get(self, name: str, default: object = None) -> object:
            return self.pop(name, default)

    ended: list[int] = []

    class Thing:
        def __del__(self) -> None:
            ended.append(1)

    later: list[Callable[[], None]] = []
    loop = SimpleNamespace(add_callback=later.append)
    namespace = Leaving()
    variables = guest.Variables(SimpleNamespace(io_loop=loop, dispatch_control=None), namespace)
    namespace.update(thing=Thing(), kept=ended)
    assert [facts[0] for facts in variables._answer(9)["shown"]] == ["thing", "kept"]
    assert ended == []
    (let_go,) = later
    let_go()
    assert ended == [1]


# -- what is not run


async def test_no_code_of_the_programs_runs(registry: Registry, run_code: RunCode) -> None:
    await run_code(
        HOSTILE + "body = {**traps, '__getattribute__': trap, '__class__': property(trap)}\n"
        "Hostile = type('Hostile', (), body)\n"
        "hostile = object.__new__(Hostile)\n"
        "body.update(dict.fromkeys(['__mro__', '__name__', '__module__', '__dict__'],"
        " property(trap)))\n"
        "del body['__class__']\nMeta = type('Meta', (type,), body)\n"
        "Odd = type.__new__(Meta, 'Odd', (), {})\nodd = object.__new__(Odd)\n"
        "for base in (list, dict, set, tuple, str, int, float, bytes):\n"
        "    kind = type('My' + base.__name__, (base,), dict(traps))\n"
        "    globals()['my' + base.__name__] = base.__new__(kind)\n"
        "del base, kind\n"
        "inside = [hostile, odd, mydict, mystr, (mylist, {'k': hostile, 1: myint})]\n"
        "class Sub(str):\n    __hash__ = str.__hash__\n    __getitem__ = __len__ = trap\n"
        "named = type(Sub('named'), (), {'__module__': Sub('elsewhere')})()\n"
        "untold = type('untold', (), {'__module__': property(trap)})()\n"
    )
    assert await facts(registry) == {
        "ran": ("list", "0", "[]"),
        "names": ("list", "17", "['repr', 'str', 'len', 'iter', 'eq', 'hash', …]"),
        "traps": ("dict", "17", (await facts(registry))["traps"][2]),
        "body": ("dict", "22", (await facts(registry))["body"][2]),
        "hostile": ("__main__.Hostile", "", ""),
        "odd": ("__main__.Odd", "", ""),
        **{
            f"my{base}": (f"__main__.My{base}", "", "")
            for base in ("list", "dict", "set", "tuple", "str", "int", "float", "bytes")
        },
        "inside": (
            "list",
            "5",
            "[<Hostile>, <Odd>, <Mydict>, <Mystr>, (<Mylist>, {'k': <Hostile>, 1: <Myint>})]",
        ),
        "named": ("elsewhere.named", "", ""),
        "untold": (".untold", "", ""),
    }


async def test_subclasses_of_libraries_are_not_asked(registry: Registry, run_code: RunCode) -> None:
    """Nor are a program's own arrays within a frame, nor what only calls itself the library's."""
    result = await run_code(
        HOSTILE + "import numpy as np, pandas as pd, datetime\n"
        "class Array(np.ndarray):\n    shape = dtype = nbytes = property(trap)\n"
        "array = np.zeros(3).view(Array)\n"
        "class Frame(pd.DataFrame):\n    shape = columns = property(trap)\n    __repr__ = trap\n"
        "frame = Frame({'a': [1]})\n"
        "class Zone(datetime.tzinfo):\n"
        "    def utcoffset(self, when): return datetime.timedelta(0)\n"
        "    def dst(self, when): return datetime.timedelta(0)\n"
        "    def tzname(self, when): return 'Z'\n"
        "    def __deepcopy__(self, memo): return self\n"
        "zoned = pd.Series([datetime.datetime(2020, 1, 1, tzinfo=Zone())])\n"
        "Zone.__repr__ = Zone.__str__ = Zone.tzname = trap\n"
        "class Number:\n    __repr__ = trap\n"
        "keyed = pd.DataFrame({'a': [1]})\nkeyed.columns = pd.Index([Number()], dtype=object)\n"
        "from pandas.api.extensions import ExtensionArray, ExtensionDtype\n"
        "class Dtype(ExtensionDtype):\n    name = 'mine'\n    type = object\n"
        "    @classmethod\n    def construct_array_type(cls): return Own\n"
        "class Own(ExtensionArray):\n"
        "    dtype = Dtype()\n    def __len__(self): return 1\n"
        "    def __getitem__(self, i): return self\n    def isna(self): return np.array([False])\n"
        "    def copy(self): return self\n"
        "    def view(self, dtype=None): return self\n"
        "    @classmethod\n    def _from_sequence(cls, *args, **kwargs): return cls()\n"
        "own = pd.Series(Own())\nby_own = pd.DataFrame({'x': [1]}, index=pd.Index(Own()))\n"
        "Own.__len__ = Own.dtype = Own.__getitem__ = trap\n"
        "class ndarray:\n    pass\n"
        "ndarray.__module__ = 'numpy'\nndarray.shape = property(trap)\nfake = ndarray()\n"
    )
    assert result.status is Status.OK, text_of(result)
    told = await facts(registry)
    assert told["ran"] == ("list", "0", "[]")
    assert told["array"] == ("__main__.Array", "", "")
    assert told["frame"] == ("__main__.Frame", "", "")
    assert told["zoned"][1:] in (("1", "DatetimeTZ"), ("1", "object"))
    assert told["keyed"] == ("pandas.DataFrame", "(1, 1)", "columns [<Number>]")
    assert told["own"] == ("pandas.Series", "1", "")
    assert told["by_own"] == ("pandas.DataFrame", "", "")
    assert told["fake"] == ("numpy.ndarray", "", "")


async def test_names_that_compare_themselves(registry: Registry, run_code: RunCode) -> None:
    """As a subclass of `str` may, with a name that has its hash."""
    result = await run_code(
        HOSTILE + "class Name(str):\n    def __hash__(self): return hash('good')\n"
        "globals()[Name('better')] = 2\nglobals()[3] = 3\ngood = 1\nName.__eq__ = trap\n"
    )
    assert result.status is Status.OK, text_of(result)
    told = await facts(registry)
    assert told["good"] == ("int", "", "1")
    assert told["ran"] == ("list", "0", "[]")
    assert "better" not in told


# -- kernels that do not answer


async def test_compiled_code_that_lets_nothing_else_run_is_named(
    registry: Registry, projects: Path, run_code: RunCode
) -> None:
    """And when it has ended, the kernel answers again; the late answers are passed over."""
    await run_code("import re\npattern = re.compile('(a+)+b')\ntext = 'a' * 60")
    async with running(registry, projects, "pattern.match(text)"):
        with pytest.raises(KernelError, match=r"did not answer within 0\.5 s: .*compiled"):
            while True:
                await variables_of(kernel_of(registry), patience=0.5)
    assert (await facts(registry))["text"][1] == "60"


async def test_a_stopped_process_is_named(registry: Registry, run_code: RunCode) -> None:
    await run_code("x = 1")
    kernel = kernel_of(registry)
    assert kernel.pid is not None
    os.kill(kernel.pid, signal.SIGSTOP)
    try:
        with pytest.raises(KernelError, match="its process is stopped"):
            while True:
                await variables_of(kernel, patience=0.3)
    finally:
        os.kill(kernel.pid, signal.SIGCONT)
    assert await facts(registry) == {"x": ("int", "", "1")}


async def test_a_kernel_that_ends_instead_of_answering(
    registry: Registry, run_code: RunCode
) -> None:
    """The caller is told at once, not after the time limit."""
    await run_code("x = 1")
    kernel = kernel_of(registry)
    assert kernel.pid is not None
    os.kill(kernel.pid, signal.SIGSTOP)
    os.kill(kernel.pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(KernelError, match="has ended"):
            await variables_of(kernel, patience=100)


async def test_a_kernel_of_another_kind_cannot_tell() -> None:
    kernel = FakeKernel()
    kernel.scripted = False
    with pytest.raises(KernelError, match="Only kernels of Python"):
        await variables_of(kernel)


@pytest.mark.parametrize(
    "reply",
    [{}, {"total": 1, "shown": [[1]], "others": {}}, {"total": None, "shown": [], "others": {}}],
)
async def test_an_answer_that_makes_no_sense_is_said_to(reply: dict[str, object]) -> None:
    kernel = FakeKernel()
    kernel.told = reply
    with pytest.raises(KernelError, match="made no sense"):
        await variables_of(kernel)
