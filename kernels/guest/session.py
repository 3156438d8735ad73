"""A kernel's side of the work: how it carries out an execute request of ours.

`install` turns an ordinary ipykernel into one whose requests may carry, in
`metadata["rmi"]`, what the protocol has no word for:

    {"mode": "file", "path": ..., "source": base64, "argv": [...], "stdin": text}
    {"mode": "code", "stdin": text}     a cell, with python's own traceback
    {"mode": "cell", "begins": true, "stdin": text, "directory": ...}
                                        one of a notebook, as a front end sends it; the first of
                                        a run `begins`, and the others go on with its input
    {"mode": "exit"}                    leave as `python` does at its end (atexit handlers run)

The first two may have `"ask": true`, when somebody can be asked (see `asking`). The reply's
content then has `rmi`: `exit_code`, `error` as in `failures.describe`, and `wanted_input`, the
prompt of the `input` that it died of because standard input was at its end. A request without
that metadata is an ordinary cell, as the front end of an attached client sends it.
"""

from __future__ import annotations

import base64
import contextlib
import faulthandler
import os
import sys
import threading
import time
import traceback
from datetime import datetime
from typing import Any, Dict, List, Optional, Set, Tuple

from .asking import Asking
from .cells import Cells
from .descriptors import FdReader, Stdin, flush_c_streams
from .discovery import Main
from .endings import Fork, end_process
from .failures import describe, end_stacks_at_the_program
from .forks import warn_of_own_threads_alone
from .imported import tell_what_is_imported
from .imports import Imports
from .loops import let_cells_call_run
from .notebook import Notebook
from .plain import FrontEnd, make_plain, print_displays_in_forks, silence_the_kernel
from .script import Scripts
from .signals import Signals, forget_interrupts, interruptible, keep_interrupts
from .streams import Outlet, Stream, make_packable
from .threads import Offspring
from .variables import Variables


class Guest:
    """What was installed in this kernel. One per process.

    `imports`: what has watched those made so far. `environment`: that of the process before
    ipykernel changed it.
    """

    def __init__(
        self,
        app: Any,
        ring: Any,
        pipes: Any,
        lifeline: Optional[int],
        imports: Imports,
        environment: Dict[str, str],
    ) -> None:
        kernel = app.kernel
        shell = kernel.shell
        self._kernel, self._shell = kernel, shell
        make_packable(kernel.session)
        # Whatever the size: for what is not copied libzmq's Python side starts a thread, with
        # sockets of its own, without which there can be no checkpoint any more.
        kernel.session.copy_threshold = sys.maxsize
        self._outlet = outlet = Outlet(kernel.session, kernel.iopub_thread, ring)
        self._reader = None
        if pipes and lifeline:
            self._reader = FdReader(self._write_bytes, pipes, lifeline)
            outlet.catch_up = self._reader.catch_up
        self._stdout, self._stderr = self._new_streams()
        self._main = shell.user_module
        self._main.__class__ = Main
        self._cwd = os.getcwd()
        self._signals = Signals(kernel)
        self._offspring, self._fork = offspring, fork = Offspring(outlet), Fork()
        self._scripts = Scripts(shell.user_ns, offspring, fork, self._signals, imports)
        self._asking = Asking(kernel, outlet)
        self._figures, self._workspace = imports.figures, imports.workspace
        self._cells = Cells(
            shell, kernel.do_execute, fork.in_child, lambda code: fork.leave(code, offspring.wait)
        )
        kernel.do_execute = self.do_execute
        Variables(kernel, shell.user_ns)
        tell_what_is_imported(kernel)
        make_plain(app, environment)
        self._notebook = Notebook(FrontEnd(shell))
        print_displays_in_forks(shell, outlet)
        self._own_threads: Set[Any] = set()
        silence_the_kernel(app.log, outlet, self._own_threads)
        warn_of_own_threads_alone(offspring, self._own_threads)
        self._note_own_threads()
        end_stacks_at_the_program()
        keep_interrupts(shell.events)
        let_cells_call_run(lambda: kernel.io_loop.asyncio_loop)
        self._restore_process()

    def _new_streams(self) -> Tuple[Stream, Stream]:
        outlet, reader = self._outlet, self._reader
        return Stream(outlet, "stdout", 1, reader), Stream(outlet, "stderr", 2, reader)

    def _write_bytes(self, stream: str, data: bytes) -> None:
        self._outlet.write(stream, self._outlet.last_parent, data)

    async def do_execute(self, code: str, silent: bool, *args: Any, **kwargs: Any) -> Any:
        """In place of the kernel's own; see the module's docstring."""
        parent = self._kernel.get_parent("shell")
        request = parent.get("metadata", {}).get("rmi") or {}
        mode = request.get("mode")
        if mode == "exit":
            return self._leave()
        try:
            forget_interrupts(_asked_at(parent["header"].get("date")))
            self._restore_process()
            with contextlib.ExitStack() as stack:
                stack.callback(self._finish)
                asking = self._asking
                if mode == "cell":
                    self._notebook.enter(request, self._stdin)
                else:
                    if mode:
                        self._notebook.leave()
                    else:
                        stack.enter_context(self._notebook.visit())
                    stack.callback(self._stdin(request).close)
                stack.enter_context(asking.run(bool(request.get("ask")), parent))
                if mode == "file":
                    return asking.told(self._run_file(request, parent))
                if mode in ("code", "cell"):
                    # Or ipykernel would put its own `input` in the place of ours.
                    kwargs["allow_stdin"] = False
                self._workspace.refresh()
                reply = await self._cells.run(mode == "code", code, silent, *args, **kwargs)
                if mode == "code":
                    with interruptible():
                        self._end_of_program()
                return asking.told(reply)
        except BaseException as error:
            # Nothing of ours may cost the reply: the server would wait for it.
            interrupted = isinstance(error, KeyboardInterrupt)
            trace = None if interrupted else error.__traceback__
            traceback.print_exception(type(error), error, trace, file=self._new_streams()[1])
            self._outlet.finish()
            outcome = {"exit_code": 130 if interrupted else 1, "error": describe(error, None)}
            return self._reply(outcome)

    def _stdin(self, request: Dict[str, Any]) -> Stdin:
        asking = self._asking
        return Stdin(request.get("stdin") or "", asking.reads_directly, asking.at_end)

    def _run_file(self, request: Dict[str, Any], parent: Dict[str, Any]) -> Dict[str, Any]:
        with self._cells.tracebacks_on_stderr():
            outcome = self._scripts.run(
                request["path"],
                base64.b64decode(request["source"]),
                list(request.get("argv", ())),
                self._figures.script(),
                lambda: self._shell.set_parent(parent),
                self._end_of_program,
            )
        reply = self._reply(outcome)
        self._shell.execution_count += 1
        return reply

    def _reply(self, outcome: Dict[str, Any]) -> Dict[str, Any]:
        return {
            "status": "ok",
            "execution_count": self._shell.execution_count,
            "payload": [],
            "user_expressions": {},
            "rmi": outcome,
        }

    def _end_of_program(self) -> None:
        """What a program left unshown and unwritten."""
        self._shell.events.trigger("post_execute")
        self._figures.show_those_left()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()

    def _leave(self) -> Dict[str, Any]:
        """End the process as `python` ends: the reply goes out first."""
        loop = self._kernel.io_loop
        loop.call_later(0, loop.stop)
        return {"status": "ok", "execution_count": 0, "payload": [], "user_expressions": {}}

    def end(self) -> None:
        """The kernel has left its loop, the process is to end."""
        end_process(self._scripts.files, self._shell.user_ns)

    # -- checkpoints

    def threads(self) -> Set[threading.Thread]:
        """Its own."""
        return {self._reader.thread} if self._reader is not None else set()

    def has_work(self) -> bool:
        """Whether a thread pool has work of a program's."""
        return self._offspring.has_work()

    def abandon(self, own: Set[int]) -> None:
        """In a copy of the kernel: let go of what is the kernel's. `own`: descriptors of its that
        are closed anyway."""
        self._outlet.abandon()
        self._asking.abandon()
        self._offspring.forget_threads()
        if self._reader is not None:
            self._reader.abandon(own)
        forget_faults()

    def revive(self, facts: Dict[str, Any], ring: Any, standard: List[int]) -> None:
        """In a kernel that was made of the copy. `standard`: what becomes descriptors 0, 1, 2."""
        watch_faults(facts["faults"], facts.get("signal"))
        self._fork.revive()
        self._outlet.revive(self._kernel.iopub_thread, ring)
        if self._reader is not None:
            self._reader.revive(standard, tuple(facts["fds"][:2]), facts["fds"][2])
        self._note_own_threads()

    def _note_own_threads(self) -> None:
        self._own_threads.clear()
        self._own_threads.update(thread.ident for thread in threading.enumerate())

    def _restore_process(self) -> None:
        """Undo what an earlier run may have done to what every run needs."""
        self._signals.quiet()
        if self._reader is not None:
            self._reader.repair()
        sys.stdout = sys.__stdout__ = self._stdout  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._stderr  # type: ignore[misc]
        self._shell.set_parent(self._kernel.get_parent("shell"))
        try:
            os.getcwd()
        except OSError:
            os.chdir(self._cwd if os.path.isdir(self._cwd) else os.path.expanduser("~"))
        if sys.modules.get("__main__") is not self._main:
            sys.modules["__main__"] = self._main
        faulthandler.cancel_dump_traceback_later()
        if _faults:
            faulthandler.enable(file=_faults[0], all_threads=True)

    def _finish(self) -> None:
        """Everything that the run has written goes out before its reply does."""
        flush_c_streams()
        self._outlet.catch_up()
        self._stdout, self._stderr = self._new_streams()
        self._restore_process()
        self._outlet.finish()
        history = self._shell.history_manager
        for name in ("outputs", "exceptions"):
            kept = getattr(history, name, None)
            if kept:
                kept.clear()


def _asked_at(date: Any) -> float:
    """When it was asked for: by this machine's clock, as the server's is. An attached client may
    have another, and may say nothing."""
    now = time.time()
    return min(date.timestamp(), now) if isinstance(date, datetime) else now


def install(
    app: Any,
    ring: Any,
    pipes: Any,
    lifeline: Optional[int],
    imports: Imports,
    environment: Dict[str, str],
) -> Guest:
    """Make `app`'s kernel (an initialised `IPKernelApp`) one of ours."""
    return Guest(app, ring, pipes, lifeline, imports, environment)


def watch_faults(path: str, trace_signal: Optional[int]) -> None:
    """Write the traceback of a crash to `path`, and of any moment when `trace_signal` comes."""
    file = open(path, "ab", buffering=0)  # noqa: SIM115
    _faults[:] = [file]
    faulthandler.enable(file=file, all_threads=True)
    if trace_signal is not None and hasattr(faulthandler, "register"):
        faulthandler.register(trace_signal, file=file, all_threads=False)
        _signals[:] = [trace_signal]


def forget_faults() -> None:
    """Undo `watch_faults`."""
    faulthandler.cancel_dump_traceback_later()
    faulthandler.disable()
    if sys.platform != "win32":
        for number in _signals:
            faulthandler.unregister(number)
    for file in _faults:
        file.close()


#: The file that `watch_faults` opened, kept open.
_faults: List[Any] = []
#: The signal that it was told.
_signals: List[int] = []
