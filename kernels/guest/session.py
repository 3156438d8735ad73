"""A kernel's side of the work: how it carries out an execute request of ours.

`install` turns an ordinary ipykernel into one whose requests may carry, in
`metadata["rmi"]`, what the protocol has no word for:

    {"mode": "file", "path": ..., "source": base64, "argv": [...], "stdin": text}
    {"mode": "code", "stdin": text}     a cell, with python's own traceback
    {"mode": "exit"}                    leave as `python` does at its end (atexit handlers run)

The reply's content then has `rmi`: `exit_code`, and `error` as in `script.describe`. A request
without that metadata is an ordinary cell, as a notebook front end sends it.
"""

from __future__ import annotations

import asyncio
import base64
import builtins
import contextlib
import faulthandler
import functools
import getpass
import io
import os
import signal
import sys
import tempfile
import threading
from typing import Any, Dict, Iterator, List, Optional

from . import script
from .script import Main, Scripts, describe, exit_outcome, format_traceback, user_traceback
from .streams import FdReader, Outlet, Stream
from .workspace import Workspace


class Guest:
    """What was installed in this kernel. One per process."""

    def __init__(self, app: Any, ring: Any, pipes: Any, lifeline: Optional[int]) -> None:
        kernel = app.kernel
        shell = kernel.shell
        self._kernel, self._shell = kernel, shell
        self._outlet = Outlet(kernel.session, kernel.iopub_thread, ring)
        self._reader = FdReader(self._outlet, pipes, lifeline) if pipes else None
        self.stdout = Stream(self._outlet, "stdout", 1, self._reader)
        self.stderr = Stream(self._outlet, "stderr", 2, self._reader)
        kernel._stdout, kernel._stderr = self.stdout, self.stderr
        sys.stdout, sys.stderr = self.stdout, self.stderr
        self._input = builtins.input
        self._main = shell.user_module
        self._main.__class__ = Main
        self._scripts = Scripts(shell.user_ns)
        self._workspace = Workspace()
        self._cwd = os.getcwd()
        self._exit: Dict[str, Any] = {}
        self._do_execute = kernel.do_execute
        kernel.do_execute = self.do_execute
        kernel._execute_sleep = 0.0
        self._plain_shell(shell)
        _give_threads_their_parent(self._outlet)
        _let_cells_call_asyncio_run()

    def _plain_shell(self, shell: Any) -> None:
        """Take out of IPython what `python` does not have and what grows for ever."""
        shell._tee = lambda channel: contextlib.nullcontext()
        for name in ("exit", "quit", "open"):
            shell.user_ns.pop(name, None)
            shell.user_ns_hidden.pop(name, None)
            shell.builtin_trap.auto_builtins.pop(name, None)
        shell.enable_tip = False
        # Kept for IPython's history, which is off, at the price of a second traceback each.
        shell._format_exception_for_storage = lambda *args, **kwargs: {}
        self._kernel._forward_input = lambda allow_stdin=False: setattr(
            self._kernel, "_allow_stdin", allow_stdin
        )
        self._kernel._restore_input = lambda: None
        shell.compile.get_code_name = lambda raw, transformed, number: "<cell %s>" % number
        for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "CLICOLOR", "TERM"):
            os.environ.pop(name, None)
        os.environ.setdefault("TERM", "dumb")

    # -- requests

    async def do_execute(self, code: str, silent: bool, *args: Any, **kwargs: Any) -> Any:
        """In place of the kernel's own; see the module's docstring."""
        request = self._kernel.get_parent("shell").get("metadata", {}).get("rmi") or {}
        mode = request.get("mode")
        if mode == "exit":
            return self._leave()
        # An interrupt may reach the user's code only: one that hit the code around it would
        # cost the reply.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with self._prepared(request):
            if mode == "file":
                reply = self._run_file(request)
            elif mode == "code":
                with self._plain_errors(), _interruptible():
                    reply = await self._do_execute(code, silent, *args, **kwargs)
                reply["rmi"] = self._exit or {"exit_code": 0 if reply["status"] == "ok" else 1}
            else:
                with _interruptible():
                    reply = await self._do_execute(code, silent, *args, **kwargs)
        return reply

    def _run_file(self, request: Dict[str, Any]) -> Dict[str, Any]:
        shell = self._shell
        self._workspace.refresh(os.path.dirname(request["path"]))
        _fresh_backend()
        source = base64.b64decode(request["source"])
        with _interruptible():
            outcome = self._scripts.run(request["path"], source, list(request.get("argv", ())))
        with _interruptible(), contextlib.suppress(KeyboardInterrupt):
            shell.events.trigger("post_execute")
            _show_figures_left()
        count = shell.execution_count
        shell.execution_count += 1
        return {
            "status": "ok",
            "execution_count": count,
            "payload": [],
            "user_expressions": {},
            "rmi": outcome,
        }

    def _leave(self) -> Dict[str, Any]:
        """End the process as `python` ends: the reply goes out first."""
        loop = self._kernel.io_loop
        loop.call_later(0, loop.stop)
        return {"status": "ok", "execution_count": 0, "payload": [], "user_expressions": {}}

    # -- around every run

    @contextlib.contextmanager
    def _prepared(self, request: Dict[str, Any]) -> Iterator[None]:
        self._exit = {}
        self._restore_process()
        if request.get("mode") != "file":
            self._workspace.refresh()
        getpass_before = getpass.getpass
        stdin = _StdinFile(request.get("stdin") or "")
        builtins.input = self._ask
        getpass.getpass = self._ask_secret
        try:
            yield
        finally:
            builtins.input = self._input
            getpass.getpass = getpass_before
            stdin.close()
            self._finish()

    def _restore_process(self) -> None:
        """Undo what an earlier run may have done to what every run needs."""
        sys.stdout, sys.stderr = self.stdout, self.stderr
        for stream in (self.stdout, self.stderr):
            stream.reopen()
        if self._reader is not None:
            self._reader.repair()
        try:
            os.getcwd()
        except OSError:
            os.chdir(self._cwd if os.path.isdir(self._cwd) else os.path.expanduser("~"))
        if sys.modules.get("__main__") is not self._main:
            sys.modules["__main__"] = self._main

    def _finish(self) -> None:
        """Everything that the run has written goes out before its reply does."""
        for stream in (sys.__stdout__, sys.__stderr__):
            with contextlib.suppress(Exception):
                stream.flush()  # type: ignore[union-attr]
        _flush_c_streams()
        sys.stdout, sys.stderr = self.stdout, self.stderr
        if self._reader is not None:
            self._reader.catch_up()
        self._outlet.send_pending()
        history = self._shell.history_manager
        for name in ("outputs", "exceptions"):
            kept = getattr(history, name, None)
            if kept:
                kept.clear()

    def _ask(self, prompt: object = "") -> str:
        """`input()`: the text that was given, then whoever can be asked, then the end of file."""
        text = str(prompt)
        try:
            line = sys.stdin.readline()
        except ValueError:
            line = ""
        if line:
            self.stdout.write(text)
            return line[:-1] if line.endswith("\n") else line
        if self._kernel._allow_stdin:
            return str(self._kernel.raw_input(text))
        self.stdout.write(text)
        raise EOFError("EOF when reading a line")

    def _ask_secret(self, prompt: str = "Password: ", stream: Any = None, **_options: Any) -> str:
        line = sys.stdin.readline()
        if line:
            return line.rstrip("\n")
        if self._kernel._allow_stdin:
            return str(self._kernel.getpass(prompt))
        raise EOFError("EOF when reading a line")

    # -- cells with python's own traceback

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        shell = self._shell
        overrides = {
            "run_code": self._run_code,
            "showtraceback": self._show_traceback,
            "showsyntaxerror": self._show_traceback,
            "showindentationerror": self._show_traceback,
        }
        for name, method in overrides.items():
            shell.__dict__[name] = method
        try:
            yield
        finally:
            for name in overrides:
                shell.__dict__.pop(name, None)

    async def _run_code(self, code: Any, result: Any = None, *, async_: bool = False) -> bool:
        namespace = self._shell.user_ns
        try:
            if async_:
                await eval(code, namespace)
            else:
                exec(code, namespace)
        except BaseException as error:
            if result is not None:
                result.error_in_exec = error
            self._show(error)
            return True
        return False

    def _show_traceback(self, *args: Any, **kwargs: Any) -> None:
        given = args[0] if args else kwargs.get("exc_tuple")
        error = given[1] if isinstance(given, tuple) else sys.exc_info()[1]
        if error is not None:
            self._show(error)

    def _show(self, error: BaseException) -> None:
        if isinstance(error, SystemExit):
            self._exit = exit_outcome(error)
            return
        if isinstance(error, asyncio.CancelledError):
            # How ipykernel delivers an interrupt to a cell that awaits.
            error = KeyboardInterrupt().with_traceback(error.__traceback__)
            error.__suppress_context__ = True
        trace = user_traceback(error)
        if isinstance(error, SyntaxError) and _only_parsing(trace):
            trace = None
        if type(error).__name__ == "UsageError":
            text = "UsageError: %s\n" % error
        else:
            text = format_traceback(error, trace)
        facts = describe(error, trace)
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
        self._exit = {"exit_code": code, "error": facts}
        self._shell._showtraceback(type(error), facts["value"], [text])


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt within the block; it is ignored around it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def install(app: Any, ring: Any = None, pipes: Any = None, lifeline: Optional[int] = None) -> Guest:
    """Make `app`'s kernel (an initialised `IPKernelApp`) one of ours."""
    return Guest(app, ring, pipes, lifeline)


def _only_parsing(trace: Any) -> bool:
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if os.path.basename(name) not in ("ast.py", "compilerop.py", "codeop.py", "compiler.py"):
            return False
        trace = trace.tb_next
    return True


class _StdinFile:
    """Standard input of one run: a nameless file on descriptor 0, so children read it too."""

    def __init__(self, text: str) -> None:
        if text:
            with tempfile.TemporaryFile() as file:
                file.write(text.encode("utf-8", "surrogateescape"))
                file.flush()
                file.seek(0)
                os.dup2(file.fileno(), 0)
        else:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            if null != 0:
                os.close(null)
        sys.stdin = io.TextIOWrapper(
            io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8"
        )
        self._given = bool(text)

    def close(self) -> None:
        if self._given:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            if null != 0:
                os.close(null)


def _give_threads_their_parent(outlet: Outlet) -> None:
    """A thread's output belongs to the run that started it, also while a later one runs."""
    bootstrap = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]
    start = threading.Thread.start

    @functools.wraps(start)
    def start_with_parent(self: threading.Thread) -> None:
        self._rmi_parent = outlet.parent.get(outlet.last_parent)  # type: ignore[attr-defined]
        start(self)

    @functools.wraps(bootstrap)
    def bootstrap_with_parent(self: threading.Thread) -> None:
        outlet.parent.set(self.__dict__.pop("_rmi_parent", outlet.last_parent))
        bootstrap(self)

    threading.Thread.start = start_with_parent  # type: ignore[method-assign]
    threading.Thread._bootstrap_inner = bootstrap_with_parent  # type: ignore[attr-defined]


def _let_cells_call_asyncio_run() -> None:
    """`asyncio.run` works in a cell as it does in a script, though the kernel's loop runs."""
    run = asyncio.run

    @functools.wraps(run)
    def run_apart(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return run(*args, **kwargs)
        with script.hidden_loop():
            return run(*args, **kwargs)

    asyncio.run = run_apart


_INLINE = "module://matplotlib_inline.backend_inline"


def _fresh_backend() -> None:
    """A backend that an earlier script chose is not this script's."""
    matplotlib = sys.modules.get("matplotlib")
    if matplotlib is None or os.environ.get("MPLBACKEND") != _INLINE:
        return
    with contextlib.suppress(Exception):
        if str(matplotlib.get_backend()).lower() not in ("inline", _INLINE):
            pyplot = sys.modules.get("matplotlib.pyplot")
            (pyplot.switch_backend if pyplot else matplotlib.use)(_INLINE)


def _show_figures_left() -> None:
    """Figures that a script left open, where the inline backend had no reason to show them."""
    backend = sys.modules.get("matplotlib_inline.backend_inline")
    helpers = sys.modules.get("matplotlib._pylab_helpers")
    matplotlib = sys.modules.get("matplotlib")
    if backend is None or helpers is None or matplotlib is None:
        return
    try:
        if str(matplotlib.get_backend()).lower() in ("inline", _INLINE):
            if helpers.Gcf.get_all_fig_managers():
                backend.show(True)
    except Exception as error:
        sys.stderr.write("A figure could not be drawn: %s: %s\n" % (type(error).__name__, error))


_libc: List[Any] = []


def _flush_c_streams() -> None:
    """C code prints through a buffer of its own, which `python` flushes at its end."""
    if not _libc:
        try:
            import ctypes

            library = ctypes.CDLL(None)
            names = ("__stdoutp", "__stderrp") if sys.platform == "darwin" else ("stdout", "stderr")
            _libc.append([library.fflush, [ctypes.c_void_p.in_dll(library, n) for n in names]])
        except (ImportError, OSError, ValueError, AttributeError, TypeError):
            _libc.append(None)
    if _libc[0]:
        flush, files = _libc[0]
        for file in files:
            flush(file)


def watch_faults(path: str, trace_signal: Optional[int]) -> None:
    """Write the traceback of a crash to `path`, and of any moment when `trace_signal` comes."""
    file = open(path, "ab", buffering=0)
    _kept.append(file)
    faulthandler.enable(file=file, all_threads=True)
    if trace_signal is not None and hasattr(faulthandler, "register"):
        faulthandler.register(trace_signal, file=file, all_threads=False)


_kept: List[Any] = []
