"""Run a `.py` file in a living kernel as `python file.py` would run it.

The script runs in the namespace of the kernel's `__main__`, so its variables stay for the next
run. What belongs to one program alone is in `program`.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
import types
from typing import Any, Callable, ContextManager, Dict, List, Optional

from . import program
from .discovery import definitions, foreign
from .endings import Fork, OpenFiles
from .failures import Outcome, describe, exit_outcome, report
from .imports import Imports
from .loops import as_in_a_program
from .signals import Signals, interruptible
from .source import compile_script, read_by_python, remember
from .threads import Offspring

_ABSENT: Any = object()


class Scripts:
    """Runs files in one namespace, and remembers which file defined what."""

    def __init__(
        self,
        namespace: Dict[str, Any],
        offspring: Offspring,
        fork: Fork,
        signals: Signals,
        imports: Imports,
    ) -> None:
        self._namespace = namespace
        self._offspring = offspring
        self._fork = fork
        self._signals = signals
        self._imports = imports
        self.files = OpenFiles()
        self._defined: Dict[str, Dict[str, Any]] = {}
        #: What the running script had defined when it ran before.
        self._former: Dict[str, Any] = {}

    def run(
        self,
        path: str,
        source: bytes,
        argv: List[str],
        around: ContextManager[None],
        enter: Callable[[], None],
        at_end: Callable[[], None],
    ) -> Outcome:
        """Run `source`, which was read from `path`; what went wrong is printed as `python` does.

        `around` is entered for as long as it is the program; `enter` is called in the context
        (of `contextvars`) in which it runs, and `at_end` when all of it has ended.
        """
        self._former = {}
        with contextlib.ExitStack() as stack:
            for part in (
                self._signals.script(),
                program.interpreter(path, argv),
                program.names(self._namespace, path),
                # Before what imports have set up is looked at: it forgets some of them.
                self._imports.workspace.script(path),
                self._imports.filters(),
                self._imports.logs(),
                program.libraries(),
                as_in_a_program(),
                around,
            ):
                stack.enter_context(part)
            self._offspring.begin()
            if debugger := getattr(sys.modules.get("pdb"), "Pdb", None):
                # Since Python 3.12 it says of files that have changed that they run as they were.
                getattr(debugger, "_file_mtime_table", {}).clear()
            remember(path, source)
            try:
                with interruptible():
                    outcome = self._live(path, source, enter)
                    at_end()
            except KeyboardInterrupt as error:
                # It came between two steps.
                outcome = {"exit_code": 130, "error": describe(error, None)}
            self.files.flush(self._namespace)
        # Again, for names that were put aside meanwhile.
        self._remove_former()
        return outcome

    def _live(self, path: str, source: bytes, enter: Callable[[], None]) -> Outcome:
        """The program's life, to the end of the threads that it leaves."""
        outcome = _outcome_of(lambda: self._execute(path, source, enter))
        if self._fork.in_child():
            # A fork in the script that ran to its end: it must not become a second kernel.
            self._fork.leave(int(outcome["exit_code"]), self._offspring.wait)
        if not _was_interrupted(outcome):
            end = _outcome_of(self._offspring.wait)
            outcome = end if end["exit_code"] else outcome
        if _was_interrupted(outcome):
            # `python` would wait on, for a second interrupt. Here there is a session to keep.
            self._offspring.abandon()
        return outcome

    def _execute(self, path: str, source: bytes, enter: Callable[[], None]) -> None:
        namespace = self._namespace
        refused: Optional[BaseException] = None
        try:
            code, awaits = compile_script(path, source)
        except (SyntaxError, ValueError) as error:
            refused = error
        if refused is not None:
            if not read_by_python(path, source, namespace):
                raise refused
            return
        self._former = self._defined.pop(path, {})
        self._remove_former()
        foreign.begin(namespace, code, source)
        try:
            self._evaluate(code, awaits, enter)
        finally:
            self._defined[path] = {n: namespace[n] for n in definitions(code) if n in namespace}
            foreign.end()

    def _remove_former(self) -> None:
        for name, value in self._former.items():
            if self._namespace.get(name, _ABSENT) is value:
                del self._namespace[name]

    def _evaluate(self, code: types.CodeType, awaits: bool, enter: Callable[[], None]) -> None:
        namespace = self._namespace
        # Not the session's: settings such as decimal's precision are kept in it.
        context = contextvars.Context()
        context.run(enter)
        try:
            if awaits:

                async def main() -> None:
                    await eval(code, namespace)

                context.run(asyncio.run, main())
            else:
                with program.whole_stack(program.stack_depth()):
                    context.run(exec, code, namespace)
        finally:
            # Before any other call, of which a tracing function would be told.
            sys.settrace(None)
            sys.setprofile(None)


def _outcome_of(action: Callable[[], None]) -> Outcome:
    """What `action` comes to; a failure is reported when it is no longer being handled."""
    failure: Optional[BaseException] = None
    try:
        action()
    except BaseException as error:
        failure = error
    if failure is None:
        return {"exit_code": 0}
    if isinstance(failure, SystemExit):
        return exit_outcome(failure)
    return report(failure)


def _was_interrupted(outcome: Outcome) -> bool:
    return bool(outcome.get("error", {}).get("name") == "KeyboardInterrupt")
