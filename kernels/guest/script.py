"""Run a `.py` file in a living kernel as `python file.py` would run it.

The script runs in the namespace of the kernel's `__main__`, so its variables stay for the next
run. What belongs to one program alone (argv, path, working directory, streams, handlers) is set
as `python` sets it and put back afterwards.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import inspect
import linecache
import logging
import os
import sys
import threading
import time
import traceback
import types
import warnings
from typing import Any, Dict, Iterator, List, Optional, Set

_ABSENT = object()
_PROTOCOL_NAMES = ("load_tests", "setUpModule", "tearDownModule", "__all__", "__test__")


class Main(types.ModuleType):
    """The kernel's `__main__`. `dir()` leaves out what earlier runs defined.

    Test discovery goes through `dir()`; looking a name up does not, so functions and classes of
    earlier runs can still be used.
    """

    def __dir__(self) -> List[str]:
        hidden = foreign
        return [name for name, value in vars(self).items() if hidden.get(name, hidden) is not value]


#: Functions and classes that stood in the namespace when the running script began.
foreign: Dict[str, Any] = {}


class Scripts:
    """Runs files in one namespace, and remembers which file defined what."""

    def __init__(self, namespace: Dict[str, Any]) -> None:
        self._namespace = namespace
        self._defined: Dict[str, Dict[str, Any]] = {}
        self._threads: Set[threading.Thread] = set()

    def run(self, path: str, source: bytes, argv: List[str]) -> Dict[str, Any]:
        """Run `source`, which was read from `path`; returns the outcome.

        The outcome has `exit_code` and, when an exception was not caught, `error` with `name`,
        `value`, `line` and `file`. Nothing is raised: what went wrong is printed as `python`
        prints it.
        """
        pid = os.getpid()
        outcome: Dict[str, Any] = {"exit_code": 0}
        try:
            with self._as_program(path, source, argv):
                try:
                    self._execute(path, source)
                    _wait_for_threads(self._threads)
                except SystemExit as stop:
                    outcome = exit_outcome(stop)
                    _wait_for_threads(self._threads)
                except BaseException as error:
                    outcome = self._report(error)
        finally:
            if os.getpid() != pid:
                # A fork in the script that ran to its end: it must not become a second kernel.
                _leave_fork(int(outcome["exit_code"]))
        return outcome

    def _execute(self, path: str, source: bytes) -> None:
        code, awaits = _compile(path, source)
        namespace = self._namespace
        for name, value in self._defined.pop(path, {}).items():
            if namespace.get(name, _ABSENT) is value:
                del namespace[name]
        for name in _PROTOCOL_NAMES:
            namespace.pop(name, None)
        foreign.clear()
        foreign.update(
            (name, value)
            for name, value in namespace.items()
            if isinstance(value, (type, types.FunctionType))
        )
        _keep_doctest_apart(source)
        try:
            if awaits:

                async def main() -> None:
                    await eval(code, namespace)

                asyncio.run(main())
            else:
                exec(code, namespace)
        finally:
            names = _definitions(code)
            self._defined[path] = {n: namespace[n] for n in names if n in namespace}
            foreign.clear()

    @contextlib.contextmanager
    def _as_program(self, path: str, source: bytes, argv: List[str]) -> Iterator[None]:
        namespace = self._namespace
        folder = os.path.dirname(path)
        saved = {name: namespace.get(name, _ABSENT) for name in _MODULE_NAMES}
        saved_sys = (sys.argv, list(sys.path), sys.excepthook, sys.displayhook)
        saved_trace, saved_filters = sys.gettrace(), list(warnings.filters)
        saved_logging = (list(logging.root.handlers), logging.root.level)
        saved_cwd = _getcwd()
        loop, task = _hide_loop()
        self._threads = set(threading.enumerate())
        namespace.pop("__annotations__", None)
        namespace.pop("__warningregistry__", None)
        namespace.update(
            __name__="__main__", __file__=path, __spec__=None, __package__=None,
            __doc__=None, __cached__=None, __builtins__=builtins,
        )
        lines = _decode(source).splitlines(True)
        linecache.cache[path] = (len(source), None, lines, path)  # type: ignore[assignment]
        sys.argv = [os.path.basename(path), *argv]
        sys.path[0:0] = [folder]
        if len(sys.path) > 1 and sys.path[1] == "":
            del sys.path[1]
        sys.excepthook = sys.__excepthook__
        sys.displayhook = sys.__displayhook__
        os.chdir(folder)
        try:
            yield
        finally:
            _show_loop(loop, task)
            sys.argv, sys.path[:], sys.excepthook, sys.displayhook = saved_sys
            if sys.gettrace() is not saved_trace:
                sys.settrace(saved_trace)
            _stop_timers()
            with contextlib.suppress(OSError):
                os.chdir(saved_cwd or folder)
            for name, value in saved.items():
                if value is _ABSENT:
                    namespace.pop(name, None)
                else:
                    namespace[name] = value
            # A later script's `basicConfig` and warnings must work as in a process of its own.
            logging.root.handlers[:], logging.root.level = saved_logging
            warnings.filters[:] = saved_filters  # type: ignore[index]
            with contextlib.suppress(AttributeError):
                warnings._filters_mutated()  # type: ignore[attr-defined]

    def _report(self, error: BaseException) -> Dict[str, Any]:
        trace = user_traceback(error)
        hook = sys.excepthook
        if hook is not sys.__excepthook__ and not isinstance(error, KeyboardInterrupt):
            try:
                hook(type(error), error, trace)
            except BaseException as second:
                sys.stderr.write("Error in sys.excepthook:\n")
                sys.stderr.write(format_traceback(second, user_traceback(second)))
                sys.stderr.write("\nOriginal exception was:\n")
                sys.stderr.write(format_traceback(error, trace))
        else:
            sys.stderr.write(format_traceback(error, trace))
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
        return {"exit_code": code, "error": describe(error, trace)}


_MODULE_NAMES = ("__file__", "__spec__", "__package__", "__loader__", "__doc__", "__cached__")


def exit_outcome(stop: SystemExit) -> Dict[str, Any]:
    """What `python` makes of a SystemExit: its code, and a message on stderr for anything else."""
    code = stop.code
    if code is None:
        return {"exit_code": 0}
    if isinstance(code, int):
        # The shell sees one byte of it; -1 is 255.
        return {"exit_code": code & 0xFF if os.name != "nt" else code}
    sys.stderr.write("%s\n" % (code,))
    return {"exit_code": 1}


def describe(error: BaseException, trace: Optional[types.TracebackType]) -> Dict[str, Any]:
    """The facts of an exception: `name`, `value` (shortened), `line` and `file` of its origin."""
    line: Optional[int] = None
    file: Optional[str] = None
    if isinstance(error, SyntaxError) and trace is None:
        line, file = error.lineno, error.filename
    for frame, number in traceback.walk_tb(trace):
        line, file = number, frame.f_code.co_filename
    try:
        value = str(error)[:2000]
    except BaseException:
        value = "<exception str() failed>"
    return {"name": type(error).__name__, "value": value, "line": line, "file": file}


_OWN_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep


def user_traceback(error: BaseException) -> Optional[types.TracebackType]:
    """The traceback without the kernel's own frames at its start."""
    trace = error.__traceback__
    while trace is not None and _is_own(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def _is_own(filename: str) -> bool:
    return filename.startswith(_OWN_FOLDER) or os.sep + "IPython" + os.sep in filename or (
        filename in (asyncio.runners.__file__, asyncio.base_events.__file__)
    )


def format_traceback(error: BaseException, trace: Optional[types.TracebackType]) -> str:
    """The text that `python` prints for an uncaught exception."""
    parts = traceback.TracebackException(type(error), error, trace)
    text = "".join(parts.format())
    empty_header = "Traceback (most recent call last):\n"
    if trace is None and text.startswith(empty_header):
        text = text[len(empty_header) :]
    return text


def _compile(path: str, source: bytes) -> Any:
    try:
        return compile(source, path, "exec", dont_inherit=True), False
    except SyntaxError:
        # `await` outside a function: what a cell may do, a script may do here, too.
        flags = getattr(ast, "PyCF_ALLOW_TOP_LEVEL_AWAIT", 0)
        try:
            code = compile(source, path, "exec", flags=flags, dont_inherit=True)
        except (SyntaxError, ValueError):
            code = None
        if code is None or not code.co_flags & inspect.CO_COROUTINE:
            raise
        return code, True


def _definitions(code: types.CodeType) -> Set[str]:
    """Names that the module body binds with `def` and `class`."""
    names: Set[str] = set()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_name.startswith("<generic"):
                names |= _definitions(constant)
            elif not constant.co_name.startswith("<"):
                names.add(constant.co_name)
    return names


def _decode(source: bytes) -> str:
    import io
    import tokenize

    try:
        encoding, _lines = tokenize.detect_encoding(io.BytesIO(source).readline)
        return source.decode(encoding, "replace")
    except (SyntaxError, LookupError):
        return source.decode("utf-8", "replace")


def _keep_doctest_apart(source: bytes) -> None:
    """Make `doctest.testmod()` pass over what earlier runs defined."""
    if "doctest" not in sys.modules and b"doctest" not in source:
        return
    import doctest

    finder = doctest.DocTestFinder
    if getattr(finder, "_rmi_original", None) is not None:
        return
    original = finder._from_module  # type: ignore[attr-defined]

    def _from_module(self: Any, module: Any, value: Any) -> bool:
        if foreign and isinstance(module, Main):
            name = getattr(value, "__name__", None)
            if foreign.get(name, foreign) is value:  # type: ignore[arg-type]
                return False
        return bool(original(self, module, value))

    finder._rmi_original = original  # type: ignore[attr-defined]
    finder._from_module = _from_module  # type: ignore[attr-defined]


def _hide_loop() -> Any:
    """Let the script run event loops of its own: the kernel's must not look running."""
    loop = asyncio._get_running_loop()
    task = None
    if loop is not None:
        swap = getattr(asyncio.tasks, "_swap_current_task", None)
        if swap is not None:
            task = swap(loop, None)
        asyncio._set_running_loop(None)
    return loop, task


def _show_loop(loop: Any, task: Any) -> None:
    if loop is not None:
        asyncio._set_running_loop(loop)
        asyncio.set_event_loop(loop)
        if task is not None:
            asyncio.tasks._swap_current_task(loop, task)  # type: ignore[attr-defined]


@contextlib.contextmanager
def hidden_loop() -> Iterator[None]:
    """As `_hide_loop`, for the time of a block."""
    loop, task = _hide_loop()
    try:
        yield
    finally:
        _show_loop(loop, task)


def _wait_for_threads(before: Set[threading.Thread]) -> None:
    """As `python` at its end, wait for the threads that are not daemons.

    Workers of an executor that is still open wait for work for ever; they are waited for until
    they are idle.
    """
    pools = getattr(sys.modules.get("concurrent.futures.thread"), "_threads_queues", {})
    for thread in threading.enumerate():
        if thread in before or thread.daemon or thread is threading.current_thread():
            continue
        if thread in pools:
            _wait_for_pool(thread, pools[thread])
        else:
            while thread.is_alive():
                thread.join(0.5)


def _wait_for_pool(thread: threading.Thread, queue: Any) -> None:
    reference = (getattr(thread, "_args", None) or (None,))[0]
    while thread.is_alive():
        executor = reference() if callable(reference) else None
        idle = getattr(getattr(executor, "_idle_semaphore", None), "_value", None)
        workers = getattr(executor, "_threads", ())
        if idle is None or (queue.empty() and idle >= len(workers)):
            return
        del executor
        time.sleep(0.002)


def _stop_timers() -> None:
    """A script's `signal.alarm` must not hit the session later."""
    import signal

    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _getcwd() -> Optional[str]:
    try:
        return os.getcwd()
    except OSError:
        return None


def _leave_fork(code: int) -> None:
    try:
        _wait_for_threads({threading.current_thread()})
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:
        os._exit(code & 0xFF)
