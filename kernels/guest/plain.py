"""An ordinary Python process, as far as a program can tell, out of ipykernel and IPython."""

from __future__ import annotations

import builtins
import contextlib
import logging
import os
import sys
import threading
from typing import Any, Dict, Iterator, Set

from IPython.core.autocall import ExitAutocall

from .streams import Outlet


def make_plain(app: Any, environment: Dict[str, str]) -> None:
    """Take out of ipykernel and IPython what `python` does not have and what grows for ever."""
    kernel, shell = app.kernel, app.kernel.shell
    kernel._execute_sleep = 0.0
    # Asked for by us: `input` reads standard input, as in a program.
    forward, restore = kernel._forward_input, kernel._restore_input

    def forward_input(allow_stdin: bool = False) -> None:
        kernel._restore_input = restore if allow_stdin else lambda: None
        if allow_stdin:
            forward(allow_stdin)

    kernel._forward_input = forward_input
    _abort_only_others(kernel)
    shell._tee = lambda channel: contextlib.nullcontext()
    shell.display_pub._flush_streams = lambda: None
    # Kept for IPython's history, which is off, at the price of a second traceback each.
    shell._format_exception_for_storage = lambda *args, **kwargs: {}
    shell.enable_tip = False
    shell.compile.get_code_name = lambda raw, transformed, number: "<cell %s>" % number
    shell.builtin_trap.auto_builtins.pop("get_ipython", None)
    # A program may be a traitlets application itself, of which there can be one.
    app.clear_instance()
    for name in ("exit", "quit", "open"):
        shell.user_ns.pop(name, None)
        shell.user_ns_hidden.pop(name, None)
        shell.builtin_trap.auto_builtins.pop(name, None)
    for name in ("ps1", "ps2", "ps3"):
        vars(sys).pop(name, None)
    sys.breakpointhook = sys.__breakpointhook__
    restore_environment(environment)
    shell.enable_gui = lambda gui=None: _enable_gui(kernel, gui)


def _abort_only_others(kernel: Any) -> None:
    """When a cell of an attached client fails, its next ones are left out, as it expects; what is
    asked for here stands on its own."""
    set_parent = kernel.set_parent

    def set_parent_and_go_on(ident: Any, parent: Any, *args: Any, **kwargs: Any) -> Any:
        if "rmi" in (parent.get("metadata") or {}):
            kernel._aborting = False
        return set_parent(ident, parent, *args, **kwargs)

    kernel.set_parent = set_parent_and_go_on


def restore_environment(environment: Dict[str, str]) -> None:
    """Have it as the process's."""
    # Only what has changed: a change copies memory that a forked kernel shares.
    for name in [name for name in os.environ if name not in environment]:
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _enable_gui(kernel: Any, gui: Any) -> None:
    """As ipykernel's, which looks for the kernel in the application that is no instance now."""
    from ipykernel.eventloops import enable_gui
    from IPython.core.error import UsageError

    try:
        enable_gui(gui, kernel)
    except ValueError as error:
        raise UsageError(str(error)) from error
    kernel.shell.active_eventloop = gui


class FrontEnd:
    """What libraries take as a sign of a notebook's front end, which shows widgets (tqdm) and HTML
    (rich). Hidden from the start."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._config = shell.config.get("IPKernelApp")
        self._module = sys.modules.get("ipykernel.zmqshell")
        self.hide()

    def show(self) -> None:
        """A notebook's cell is executed."""
        if self._config is not None:
            self._shell.config["IPKernelApp"] = self._config
        if self._module is not None:
            sys.modules["ipykernel.zmqshell"] = self._module
        vars(builtins)["__IPYTHON__"] = True

    def hide(self) -> None:
        """Anything else is."""
        self._shell.config.pop("IPKernelApp", None)
        sys.modules.pop("ipykernel.zmqshell", None)
        vars(builtins).pop("__IPYTHON__", None)

    @contextlib.contextmanager
    def with_exit(self) -> Iterator[None]:
        """While a client is served that `exit` is to end, with or without brackets."""
        names, leave = self._shell.user_ns, _Leave(self._shell)
        for name in ("exit", "quit"):
            names.setdefault(name, leave)
        try:
            yield
        finally:
            for name in ("exit", "quit"):
                if names.get(name) is leave:
                    del names[name]


class _Leave(ExitAutocall):
    """`exit` of an attached client: ipykernel's own would end the kernel, too."""

    rewrite = False

    def __call__(self, keep_kernel: bool = True) -> None:
        payload = {"source": "ask_exit", "keepkernel": True}
        shell: Any = self._ip
        shell.payload_manager.write_payload(payload)


def print_displays_in_forks(shell: Any, outlet: Outlet) -> None:
    """In a forked child `display` prints, as it does in any process without a kernel."""
    publish = shell.display_pub.publish

    def publish_or_print(data: Any, *args: Any, **kwargs: Any) -> None:
        if outlet.forked:
            print(data.get("text/plain", ""))
        else:
            publish(data, *args, **kwargs)

    shell.display_pub.publish = publish_or_print


def silence_the_kernel(log: logging.Logger, outlet: Outlet, own: Set[Any]) -> None:
    """What the kernel's own machinery logs is no output of a program.

    Tornado's loggers may be used by a program, too: it runs for a request, or in a thread that
    is not in `own`, which holds what `get_ident` returns in the kernel's.
    """

    def is_the_programs(record: logging.LogRecord) -> bool:
        return threading.get_ident() not in own or bool(outlet.task_parent.get(None))

    # ipykernel's own handler; a program's records go the way that it has set up.
    logging.getLogger("tornado").handlers.clear()
    for logger in (log, *map(logging.getLogger, ("tornado.general", "tornado.application"))):
        logger.addFilter(is_the_programs)
