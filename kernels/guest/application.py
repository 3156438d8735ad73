"""The ipykernel of this project's kernels, made in two steps, between which a process may fork."""

from __future__ import annotations

import atexit
import sys
import threading
from typing import Any, List, Optional

# The debugger is a quarter of the start, and nobody here speaks to it. A program may still
# import it.
sys.modules["debugpy"] = None  # type: ignore[assignment]
import ipykernel.debugger  # noqa: E402, F401

del sys.modules["debugpy"]

import zmq  # noqa: E402
from ipykernel.compiler import XCachingCompiler  # noqa: E402
from ipykernel.ipkernel import IPythonKernel  # noqa: E402
from ipykernel.kernelapp import IPKernelApp  # noqa: E402
from ipykernel.zmqshell import ZMQInteractiveShell  # noqa: E402
from IPython.core.application import (  # type: ignore[attr-defined]  # noqa: E402
    BaseIPythonApplication,
    catch_config_error,
)

_OPTIONS = [
    "--HistoryManager.enabled=False",
    "--HistoryManager.hist_file=:memory:",
    "--IPKernelApp.capture_fd_output=False",
    "--InteractiveShellApp.exec_PYTHONSTARTUP=False",
    # As if started by a parent that never goes: no advice to a terminal, and no watch on the
    # parent, for which there is the lifeline.
    "--IPKernelApp.parent_handle=1",
    # What the kernel logs about itself would stand among the program's output.
    "--IPKernelApp.log_level=50",
]


class _NoThread:
    """In place of that thread. Wherever the kernel does not ask whether it has one, it wants
    to know in which thread its cells are executed."""

    parent_thread = threading.main_thread()

    def __bool__(self) -> bool:
        return False


class _Prepared(BaseIPythonApplication):
    """The part of the initialisation that is done beforehand, where ipykernel asks for it."""

    def initialize(self, argv: Optional[List[str]] = None) -> None:
        """See `KernelApp.prepare`."""


class KernelApp(IPKernelApp, _Prepared):
    """`prepare` and, perhaps in a fork, `initialize`."""

    #: The shell, unless the user's configuration wants one of another kind.
    built: Any = None

    @catch_config_error
    def prepare(self, argv: List[str]) -> None:
        """All that needs neither threads nor sockets nor files: the options, the user's
        configuration, the shell."""
        BaseIPythonApplication.initialize(self, [*argv, *_OPTIONS])
        # Its handler would drop them, and they cost something to make.
        self.log.setLevel(self.log_level)
        if self.kernel_class is IPythonKernel and "shell_class" not in self.config.IPythonKernel:
            self.built = ZMQInteractiveShell.instance(
                parent=self,
                profile_dir=self.profile_dir,
                user_ns=self.user_ns,
                compiler_class=XCachingCompiler,
            )

    def _bind_socket(self, s: zmq.Socket[bytes], port: int) -> object:
        if s.type in (zmq.XPUB, zmq.PUB):
            # A slow reader makes the kernel wait; by default it would lose messages.
            s.sndhwm = 32
            s.setsockopt(zmq.XPUB_NODROP, 1)
        return super()._bind_socket(s, port)

    def init_sockets(self) -> None:
        """Without ipykernel 7's thread for the shell channel: it is there for subshells, for
        which nobody asks, and a fifth of the time of a small request went into it."""
        super().init_sockets()
        if hasattr(IPythonKernel, "_supports_kernel_subshells"):
            IPythonKernel._supports_kernel_subshells = False  # type: ignore
            self.shell_channel_thread = _NoThread()

    def init_kernel(self) -> None:
        """With the shell that was built."""
        if hasattr(IPythonKernel, "_initialize_thread_hooks"):
            # ipykernel 6 wraps every thread, to say whose its output is, which is seen to here.
            IPythonKernel._initialize_thread_hooks = lambda self: None
        super().init_kernel()
        shell = self.kernel.shell
        if shell is self.built:
            shell.parent = shell.kernel = self.kernel
            # What it runs at the end may still print: before the sockets are closed.
            atexit.unregister(shell.atexit_operations)
            atexit.register(shell.atexit_operations)

    def init_crash_handler(self) -> None:
        """`sys.excepthook` stays python's own."""

    def init_pdb(self) -> None:
        """So does pdb."""
