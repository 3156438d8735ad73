"""Cells: code without a file, run by IPython, with python's own traceback where we ask for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Any, Callable, Dict, Iterator

from .failures import Outcome, describe, exit_outcome, format_traceback, trim
from .signals import allow_interrupts, end_interrupts, interruptible_where_it_computes


class Cells:
    """Runs cells. `leave_fork(exit code)` ends a forked child that ran to the end of a cell, which
    `in_fork` tells from the kernel."""

    def __init__(
        self,
        shell: Any,
        do_execute: Callable[..., Any],
        in_fork: Callable[[], bool],
        leave_fork: Callable[[int], Any],
    ) -> None:
        self._shell, self._do_execute = shell, do_execute
        self._in_fork, self._leave_fork = in_fork, leave_fork
        self._outcome: Outcome = {}

    async def run(self, plain: bool, code: str, silent: bool, *args: Any, **kwargs: Any) -> Any:
        """Run a cell; returns the reply. `plain`: with python's traceback, and an outcome."""
        self._outcome = {}
        with self._replacing_run(plain):
            try:
                reply = await self._do_execute(code, silent, *args, **kwargs)
            except KeyboardInterrupt as error:
                reply = self._interrupted(error)
            finally:
                end_interrupts()
        if plain:
            ok = reply["status"] == "ok"
            reply["rmi"] = self._outcome or {"exit_code": 0 if ok else 1}
        return reply

    def _interrupted(self, error: KeyboardInterrupt) -> Dict[str, Any]:
        """It has hit what ipykernel does around the program, which is nobody's business."""
        self._shell.showtraceback((KeyboardInterrupt, error.with_traceback(None), None))
        return {
            "status": "error",
            "ename": "KeyboardInterrupt",
            "evalue": "",
            "traceback": [],
            "execution_count": self._shell.execution_count,
            "payload": [],
            "user_expressions": {},
        }

    @contextlib.contextmanager
    def tracebacks_on_stderr(self) -> Iterator[None]:
        """While a script runs: what IPython reports itself, as of an object that it cannot show."""

        def show(*args: Any, **kwargs: Any) -> None:
            error = _error_of(args, kwargs)
            if error is not None:
                sys.stderr.write(format_traceback(error, trim(error)))

        self._shell.showtraceback = show
        try:
            yield
        finally:
            del self._shell.showtraceback

    @contextlib.contextmanager
    def _replacing_run(self, plain: bool) -> Iterator[None]:
        methods: Dict[str, Any] = {"run_ast_nodes": self._run_statements}
        if plain:
            methods["run_code"] = self._run_code
            for name in ("showtraceback", "showsyntaxerror", "showindentationerror"):
                methods[name] = self._show_traceback
        self._shell.__dict__.update(methods)
        try:
            yield
        finally:
            for name in methods:
                self._shell.__dict__.pop(name, None)

    async def _run_statements(self, *args: Any, **kwargs: Any) -> Any:
        # Not before: what ipykernel and IPython do until here may take one for something else.
        allow_interrupts()
        code = Cells._run_statements.__code__
        with interruptible_where_it_computes(code, self._shell.user_ns):
            failed = await type(self._shell).run_ast_nodes(self._shell, *args, **kwargs)
        if self._in_fork():
            # A fork in the cell that ran to its end: it must not become a second kernel.
            self._leave_fork(int(bool(failed)))
        return failed

    async def _run_code(self, code: Any, result: Any = None, *, async_: bool = False) -> bool:
        namespace = self._shell.user_ns
        failure = None
        try:
            if async_:
                await eval(code, namespace)
            else:
                exec(code, namespace)
        except BaseException as error:
            failure = error
        finally:
            # Before any other call, of which a tracing function would be told.
            sys.settrace(None)
            sys.setprofile(None)
        if failure is not None:
            if self._in_fork():
                self._leave_fork(self._code_in_fork(failure))
            if result is not None:
                result.error_in_exec = failure
            self._show(failure)
        return failure is not None

    @staticmethod
    def _code_in_fork(failure: BaseException) -> int:
        if isinstance(failure, SystemExit):
            return int(exit_outcome(failure)["exit_code"])
        sys.stderr.write(format_traceback(failure, trim(failure)))
        return 1

    def _show_traceback(self, *args: Any, **kwargs: Any) -> None:
        error = _error_of(args, kwargs)
        if error is not None:
            self._show(error)

    def _show(self, error: BaseException) -> None:
        if isinstance(error, SystemExit):
            self._outcome = exit_outcome(error)
            return
        if isinstance(error, asyncio.CancelledError):
            # How ipykernel delivers an interrupt to a cell that awaits.
            error = KeyboardInterrupt().with_traceback(error.__traceback__)
            error.__suppress_context__ = True
        trace = trim(error)
        if isinstance(error, SyntaxError) and _only_parsing(trace):
            trace = None
        if type(error).__name__ == "UsageError":
            text = "UsageError: %s\n" % error
        else:
            text = format_traceback(error, trace)
        facts = describe(error, trace)
        code = 130 if type(error) is KeyboardInterrupt else 1
        self._outcome = {"exit_code": code, "error": facts}
        self._shell._showtraceback(type(error), facts["value"], [text])


def _error_of(args: Any, kwargs: Any) -> Any:
    """The exception that `showtraceback(*args, **kwargs)` is about."""
    given = args[0] if args else kwargs.get("exc_tuple")
    return given[1] if isinstance(given, tuple) else sys.exc_info()[1]


def _only_parsing(trace: Any) -> bool:
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if os.path.basename(name) not in ("ast.py", "compilerop.py", "codeop.py", "compiler.py"):
            return False
        trace = trace.tb_next
    return True
