"""What `python` says and returns when a program fails or exits."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import os
import sys
import traceback
import types
from typing import Any, Dict, Iterator, List, Optional, Set

import IPython

#: `exit_code` and, when an exception was not caught, `error`: `name`, `value`, `line`, `file`.
Outcome = Dict[str, Any]

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
_IPYTHON = os.path.dirname(os.path.abspath(IPython.__file__)) + os.sep
_AT_THE_START = (asyncio.runners.__file__, asyncio.base_events.__file__)
#: Python's own printer; what a script puts into `sys.excepthook` or `sys.__excepthook__` is not.
_print_exception = sys.__excepthook__


def exit_outcome(stop: SystemExit) -> Outcome:
    """What `python` makes of a SystemExit: its code, and a message on stderr for anything else."""
    code = stop.code
    if code is None:
        return {"exit_code": 0}
    if isinstance(code, int):
        if not -(2**63) <= code < 2**63:
            code = -1
        # The shell sees one byte of it; -1 is 255.
        return {"exit_code": int(code) & 0xFF if os.name != "nt" else int(code)}
    stderr = getattr(sys, "stderr", None)
    if stderr is None:
        _say(code)
    else:
        with contextlib.suppress(Exception):
            stderr.write(str(code))
    _say("\n")
    return {"exit_code": 1}


def _say(what: object) -> None:
    """Write to sys.stderr or, where that fails, to the descriptor itself."""
    with contextlib.suppress(Exception):
        text = str(what)
        try:
            sys.stderr.write(text)
        except Exception:
            os.write(2, text.encode("utf-8", "backslashreplace"))


def report(error: BaseException) -> Outcome:
    """Print an uncaught exception, and return its outcome.

    Call it when the exception is no longer being handled: a hook must not see it in
    `sys.exc_info()`, nor get it as the context of its own errors.
    """
    trace = trim(error)
    interrupted = type(error) is KeyboardInterrupt
    outcome: Outcome = {
        "exit_code": 130 if interrupted else 1,
        "error": describe(error, trace),
    }
    try:
        hook = sys.excepthook
    except AttributeError:
        _say("sys.excepthook is missing\n")
        hook = _print_exception
    if hook is _print_exception:
        _print_exception(type(error), error, trace)
        return outcome
    second: Optional[BaseException] = None
    try:
        hook(type(error), error, trace)
    except BaseException as raised:
        second = raised
    if isinstance(second, SystemExit):
        return {**outcome, **exit_outcome(second)}
    if second is not None:
        _say("Error in sys.excepthook:\n")
        _print_exception(type(second), second, trim(second))
        _say("\nOriginal exception was:\n")
        _print_exception(type(error), error, trace)
    return outcome


def trim(error: BaseException) -> Optional[types.TracebackType]:
    """Cut the kernel's own frames off both ends of an exception's traceback, and of those that
    led to it. Returns its traceback."""
    for one in _chain(error):
        one.__traceback__ = _without_ends(one.__traceback__)
    return error.__traceback__


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: Set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [e for e in (one.__cause__, one.__context__) if e is not None]


def _without_ends(trace: Optional[types.TracebackType]) -> Optional[types.TracebackType]:
    while trace is not None and _is_own(trace.tb_frame, start=True):
        trace = trace.tb_next
    last = one = trace
    while one is not None:
        if not _is_own(one.tb_frame):
            last = one
        one = one.tb_next
    if last is not None:
        last.tb_next = None
    return trace


def _is_own(frame: types.FrameType, start: bool = False) -> bool:
    name = frame.f_code.co_filename
    if name.startswith(_OWN):
        return True
    return start and (name.startswith(_IPYTHON) or name in _AT_THE_START)


def describe(error: BaseException, trace: Optional[types.TracebackType]) -> Dict[str, Any]:
    """The facts of an exception: `name`, `value` (shortened), `line` and `file` of its origin."""
    line: Optional[int] = None
    file: Optional[str] = None
    for frame, number in traceback.walk_tb(trace):
        line, file = number, frame.f_code.co_filename
    if isinstance(error, SyntaxError) and error.filename and not error.filename.startswith("<"):
        line, file = error.lineno, error.filename
    try:
        value = str(error)[:2000]
    except BaseException:
        value = "<exception str() failed>"
    return {"name": type(error).__name__, "value": value, "line": line, "file": file}


def format_traceback(error: BaseException, trace: Optional[types.TracebackType]) -> str:
    """The text for an exception in a cell, whose source stands in no file."""
    parts = traceback.TracebackException(type(error), error, trace)
    _drop_own(parts)
    text = "".join(parts.format())
    header = "Traceback (most recent call last):\n"
    if not parts.stack and text.startswith(header):
        text = text[len(header) :]
    return text


def _drop_own(parts: Any) -> None:
    """Leave out our frames in the middle, as of `asyncio.run` (see `loops`)."""
    waiting, seen = [parts], set()
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            one.stack[:] = [f for f in one.stack if not f.filename.startswith(_OWN)]
            waiting += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]


def end_stacks_at_the_program() -> None:
    """Have `traceback` and `inspect` show the stack of the program, not what it stands on.

    `sys._getframe` and frames themselves still lead on into the kernel.
    """
    walk_stack, getouterframes = traceback.walk_stack, inspect.getouterframes

    def walk_to_the_program(frame: Any) -> Any:
        if frame is None:
            # Relative to its caller's caller, so left alone.
            return walk_stack(None)
        return itertools.takewhile(lambda pair: not _is_own(pair[0]), walk_stack(frame))

    def outer_to_the_program(frame: Any, context: int = 1) -> List[Any]:
        found = getouterframes(frame, context)
        return list(itertools.takewhile(lambda info: not _is_own(info.frame), found))

    traceback.walk_stack = walk_to_the_program  # type: ignore[assignment]
    inspect.getouterframes = outer_to_the_program
