"""What belongs to one program alone, while a script runs: set as `python` sets it, put back after.

A program begins with a clean interpreter and takes what it changed with it when it ends. In a
kernel the next script, and the session, must not find it: neither arguments nor hooks, handlers,
filters or timers. What an import sets up stays, because the import is not repeated.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import gc
import importlib.machinery
import itertools
import locale
import os
import sys
import threading
import warnings
from typing import Any, Callable, Dict, Iterator, List, Set, Tuple

import ipykernel

_ABSENT: Any = object()

#: `sys` attributes of one program.
_SYS = ("argv", "orig_argv", "excepthook", "displayhook", "unraisablehook", "breakpointhook",
        "tracebacklimit", "dont_write_bytecode", "ps1", "ps2")  # fmt: skip


def importing(namespace: Dict[str, Any]) -> str:
    """The name of the module whose import has called the caller's caller; "" if it is a script."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_name == "<module>":
            own = frame.f_globals is namespace
            return "" if own else str(frame.f_globals.get("__name__", ""))
        frame = frame.f_back  # type: ignore[assignment]
    return ""


@contextlib.contextmanager
def interpreter(path: str, argv: List[str]) -> Iterator[None]:
    """Arguments, import path, working directory, hooks, limits."""
    folder, name = os.path.split(path)
    saved = [(attribute, getattr(sys, attribute, _ABSENT)) for attribute in _SYS]
    search, entries, limit = sys.path, list(sys.path), sys.getrecursionlimit()
    digits = getattr(sys, "get_int_max_str_digits", int)()
    in_threads = _thread_hooks()
    cwd = _getcwd() or folder
    mask = os.umask(0o22)
    os.umask(mask)
    collecting, thresholds, debug = gc.isenabled(), gc.get_threshold(), gc.get_debug()
    sys.argv = [name, *argv]
    sys.orig_argv = [sys.executable, name, *argv]
    sys.path[:] = [folder, *(entry for entry in sys.path if entry)]
    sys.excepthook, sys.displayhook = sys.__excepthook__, sys.__displayhook__
    sys.unraisablehook, sys.breakpointhook = sys.__unraisablehook__, sys.__breakpointhook__
    os.chdir(folder)
    try:
        yield
    finally:
        for attribute, value in saved:
            if value is not _ABSENT:
                setattr(sys, attribute, value)
            elif hasattr(sys, attribute):
                delattr(sys, attribute)
        sys.path = search
        sys.path[:] = entries
        sys.setrecursionlimit(limit)
        if hasattr(sys, "set_int_max_str_digits"):
            sys.set_int_max_str_digits(digits)
        for attribute, value in in_threads:
            setattr(threading, attribute, value)
        with contextlib.suppress(OSError):
            os.chdir(cwd)
        os.umask(mask)
        gc.set_threshold(*thresholds)
        gc.set_debug(debug)
        (gc.enable if collecting else gc.disable)()


def _thread_hooks() -> List[Tuple[str, Any]]:
    return [
        (name, getattr(threading, name)) for name in ("excepthook", "_trace_hook", "_profile_hook")
    ]


def _getcwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


@contextlib.contextmanager
def whole_stack(depth: int) -> Iterator[None]:
    """As much room for recursion as a program has, although this one begins at `depth`."""
    get, set_ = sys.getrecursionlimit, sys.setrecursionlimit
    set_(get() + depth)
    sys.getrecursionlimit = lambda: get() - depth
    sys.setrecursionlimit = lambda limit: set_(limit + depth)
    try:
        yield
    finally:
        sys.getrecursionlimit, sys.setrecursionlimit = get, set_


def stack_depth() -> int:
    """How much of the recursion limit is used up where the caller runs a script."""
    depth, frame = 0, sys._getframe(1)
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]
    # C functions count, too, before Python 3.12: those that run a task's step and the script.
    return depth + 3 if sys.version_info < (3, 12) else depth


@contextlib.contextmanager
def names(namespace: Dict[str, Any], path: str) -> Iterator[None]:
    """The names of a fresh `__main__`, over the variables of the session.

    Aside go, until the script has ended: IPython's own names; and variables that stand before a
    builtin, because a script that calls `sum` means Python's. Names of the module protocol that
    earlier scripts have left go for good.
    """
    aside = {name: namespace.pop(name) for name in _IPYTHON_NAMES if name in namespace}
    standing = {name: namespace.get(name, _ABSENT) for name in _STANDARD}
    for name in [n for n in namespace if n[:2] == "__" == n[-2:] or n in _PROTOCOL]:
        del namespace[name]
    for name in namespace.keys() & vars(builtins).keys():
        aside[name] = namespace.pop(name)
    namespace.update(
        __name__="__main__",
        __doc__=None,
        __package__=None,
        __loader__=importlib.machinery.SourceFileLoader("__main__", path),
        __spec__=None,
        __builtins__=builtins,
        __file__=path,
        __cached__=None,
    )
    if sys.version_info < (3, 14):
        namespace["__annotations__"] = {}
    known = dict(vars(builtins))
    try:
        yield
    finally:
        _restore(vars(builtins), known)
        for name, value in standing.items():
            if value is _ABSENT:
                namespace.pop(name, None)
            else:
                namespace[name] = value
        for name, value in aside.items():
            namespace.setdefault(name, value)


def _restore(current: Dict[str, Any], known: Dict[str, Any]) -> None:
    for name in [n for n in current if n not in known]:
        del current[name]
    for name, value in known.items():
        # Only what has changed: each change makes the interpreter forget what it has optimised.
        if current.get(name, _ABSENT) is not value:
            current[name] = value


_IPYTHON_NAMES = ("In", "Out", "get_ipython", "_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh",
                  "_dh", "_exit_code", "__builtin__")  # fmt: skip
_STANDARD = ("__name__", "__doc__", "__package__", "__loader__", "__spec__", "__builtins__",
             "__file__", "__cached__", "__annotations__")  # fmt: skip
_PROTOCOL = ("load_tests", "setUpModule", "tearDownModule")


class Filters:
    """Warning filters: a program begins with Python's; those that imports add stay."""

    def __init__(self, namespace: Dict[str, Any], pristine: List[Any]) -> None:
        self._namespace, self._pristine = namespace, pristine
        #: (filter, the module that added it)
        self._imported: List[Tuple[Any, str]] = []
        for name in ("filterwarnings", "simplefilter"):
            setattr(warnings, name, self._watched(getattr(warnings, name)))
        module: Any = warnings
        show = module._showwarnmsg_impl
        module._showwarnmsg_impl = lambda message: show(_from_nowhere(message))

    def _watched(self, function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def add(*args: Any, **kwargs: Any) -> None:
            known = {id(one) for one in warnings.filters}
            function(*args, **kwargs)
            module = importing(self._namespace)
            if module:
                new = [(one, module) for one in warnings.filters if id(one) not in known]
                self._imported = new + self._imported

        return add

    def forget(self, modules: Set[str]) -> None:
        """Undo what the import of these modules has added, because they are imported again."""
        gone = {id(one) for one, module in self._imported if module in modules}
        self._imported = [pair for pair in self._imported if id(pair[0]) not in gone]
        warnings.filters = [one for one in warnings.filters if id(one) not in gone]

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        saved, shows = warnings.filters, (warnings.showwarning, warnings.formatwarning)
        warnings.filters = [*(one for one, _ in self._imported), *self._pristine]
        warnings.onceregistry.clear()  # type: ignore[attr-defined]
        _forget_what_was_warned()
        try:
            yield
        finally:
            # What an import added for a moment only is no longer there.
            left, known = ({id(one) for one in each} for each in (warnings.filters, saved))
            self._imported = [pair for pair in self._imported if id(pair[0]) in left]
            new = [one for one, _ in self._imported if id(one) not in known]
            warnings.filters = [*new, *saved]
            warnings.showwarning, warnings.formatwarning = shows
            _forget_what_was_warned()


def _from_nowhere(message: Any) -> Any:
    """A warning about a caller beyond the script names no place, as in a program."""
    if message.filename.startswith(_BENEATH):
        place = ("sys", 1) if sys.version_info < (3, 12) else ("<sys>", 0)
        message.filename, message.lineno = place
    return message


#: What a script stands on.
_BENEATH = tuple(os.path.dirname(file) + os.sep for file in (__file__, ipykernel.__file__))


def _forget_what_was_warned() -> None:
    # Leaving it tells all modules that the filters have changed, in every version of Python.
    with warnings.catch_warnings():
        pass


@contextlib.contextmanager
def libraries() -> Iterator[None]:
    """Settings of the standard library that are global to a program."""
    for module, owner, attribute, counter in _COUNTERS:
        if module in sys.modules:
            holder = sys.modules[module]
            setattr(getattr(holder, owner) if owner else holder, attribute, counter())
    processes: Any = getattr(sys.modules.get("multiprocessing.context"), "_default_context", None)
    method = getattr(processes, "_actual_context", None)
    if processes is not None:
        processes._actual_context = None
        _stop_forkserver()
    place = locale.setlocale(locale.LC_ALL)
    tracing = _traces_memory()
    try:
        yield
    finally:
        if processes is not None:
            processes._actual_context = method
        if locale.setlocale(locale.LC_ALL) != place:
            locale.setlocale(locale.LC_ALL, place)
        if _traces_memory() and not tracing:
            sys.modules["tracemalloc"].stop()


def _traces_memory() -> bool:
    tracemalloc: Any = sys.modules.get("tracemalloc")
    return tracemalloc is not None and tracemalloc.is_tracing()


def _stop_forkserver() -> None:
    """It has read a script's file when it started, and would give that to new processes."""
    module: Any = sys.modules.get("multiprocessing.forkserver")
    if module is not None:
        children = sys.modules["multiprocessing.process"]._children
        # It ends when the last process of its own has.
        if not any("forkserver" in type(child._popen).__module__ for child in children):
            module._forkserver._stop()


#: (module, class, attribute, value) of what numbers names from one in each program.
_COUNTERS: Tuple[Tuple[str, str, str, Callable[[], Any]], ...] = (
    ("threading", "", "_counter", lambda: itertools.count(1).__next__),
    ("multiprocessing.process", "", "_process_counter", lambda: itertools.count(1)),
    ("concurrent.futures.thread", "ThreadPoolExecutor", "_counter",
     lambda: itertools.count().__next__),
)  # fmt: skip
