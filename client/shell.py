"""An interactive prompt: lines become statements, and each is run."""

from __future__ import annotations

import ast
import codeop
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from client.show import INTERRUPTED, note

_HISTORY = ".rmi_agent_history"
_LEAVE = ("exit", "quit", "exit()", "quit()")


def shell(run: Callable[[str], int], greeting: str) -> int:
    """Read statements from standard input until it ends, and `run` each; return the exit code.

    `run` returns the exit code of one statement. On a terminal there are prompts and a history
    (in the home directory), Ctrl-C leaves only what it interrupts, and the shell's own exit code
    is 0. Otherwise it is the last statement's, and Ctrl-C ends the shell.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        code = 0
        for code in _run_each(run, _piped()):
            if code == INTERRUPTED:
                break
        return code
    note(greeting)
    with _history():
        while True:
            try:
                for _ in _run_each(run, _typed()):
                    pass
                return 0
            except KeyboardInterrupt:
                print()


def _run_each(run: Callable[[str], int], sources: Iterator[str]) -> Iterator[int]:
    for source in sources:
        if source.strip() in _LEAVE:
            return
        yield run(source)


class Statements:
    """Puts lines together to statements. Pure.

    A block ends as at Python's prompt with an empty line; when `patient`, as in a file, only
    with the next line that is not part of it. What is no Python (`!ls`, `%timeit`) is passed on
    as it is: the kernel knows more than we do.
    """

    def __init__(self, *, patient: bool) -> None:
        self._patient = patient
        self._lines: list[str] = []
        self._compile = codeop.CommandCompiler()
        self._compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    @property
    def open(self) -> bool:
        """Whether a statement has begun and not ended."""
        return bool(self._lines)

    def add(self, line: str) -> list[str]:
        """Take a line and return the statements that are now complete."""
        empty = not line.strip()
        if empty and not self._lines:
            return []
        whole = "\n".join([*self._lines, line])
        complete = self._complete(whole)
        if complete is None or (empty and complete and self._patient):
            self._lines.append(line)
            return []
        if not complete and self._complete("\n".join([*self._lines, ""])):
            # The block before this line was whole, and the line is none of it.
            return [*self.rest(), *self.add(line)]
        self._lines = []
        return [whole]

    def rest(self) -> list[str]:
        """What has begun, and is not going to go on."""
        rest, self._lines = "\n".join(self._lines), []
        return [rest] if rest else []

    def _complete(self, source: str) -> bool | None:
        """Whether it is a whole statement; None when more lines may make it one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return None if self._compile(source) is None else True
            except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError):
                return False


def _typed() -> Iterator[str]:
    statements = Statements(patient=False)
    while True:
        try:
            line = input("... " if statements.open else ">>> ")
        except EOFError:
            print()
            return
        yield from statements.add(line)


def _piped() -> Iterator[str]:
    statements = Statements(patient=True)
    # Not `for line in sys.stdin`, which reads ahead: what answers us may wait for our output.
    while line := sys.stdin.readline():
        yield from statements.add(line.removesuffix("\n").removesuffix("\r"))
    yield from statements.rest()


@contextmanager
def _history() -> Iterator[None]:
    """Line editing with the history of earlier shells, where Python has readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    if sys.platform == "win32":
        # What goes by that name there has no history.
        yield
        return
    with suppress(OSError, RuntimeError):
        readline.read_history_file(Path.home() / _HISTORY)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        with suppress(OSError, RuntimeError):
            path = Path.home() / _HISTORY
            path.touch(mode=0o600)
            readline.write_history_file(path)
