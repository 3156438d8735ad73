"""Start an ipykernel as one of this project's kernels: `python launch.py -f CONNECTION_FILE`.

What the kernel needs to know stands in the environment variable `RMI_KERNEL` as JSON and is
taken out of it: `ring` and `faults` (paths), `fds` (read ends of stdout and stderr, and the
lifeline, a socket whose other end the server holds; a byte on it says that the kernel is ready),
`signal` (the number that asks for a traceback).
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import types
import warnings


def main() -> None:
    facts = json.loads(os.environ.pop("RMI_KERNEL", "{}"))
    # As `python` begins; what is imported from here on changes both.
    filters, environment = list(warnings.filters), dict(os.environ)
    folder = os.path.dirname(os.path.abspath(__file__))
    if sys.path and os.path.abspath(sys.path[0] or ".") == folder:
        del sys.path[0]
    package = types.ModuleType("_rmi_guest")
    package.__path__ = [folder]
    sys.modules["_rmi_guest"] = package

    # Importing makes many objects that live for ever; collecting garbage meanwhile costs time.
    gc.disable()
    # The debugger is a quarter of the start, and nobody here speaks to it. A program may still
    # import it.
    sys.modules["debugpy"] = None  # type: ignore[assignment]
    import ipykernel.debugger  # noqa: F401

    del sys.modules["debugpy"]

    import zmq
    from ipykernel.ipkernel import IPythonKernel
    from ipykernel.kernelapp import IPKernelApp

    from _rmi_guest import ring, session  # type: ignore[import-not-found]

    class NoThread:
        """In place of that thread. Wherever the kernel does not ask whether it has one, it wants
        to know in which thread its cells are executed."""

        parent_thread = threading.main_thread()

        def __bool__(self) -> bool:
            return False

    class KernelApp(IPKernelApp):
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
                self.shell_channel_thread = NoThread()

        def init_crash_handler(self) -> None:
            """`sys.excepthook` stays python's own."""

        def init_pdb(self) -> None:
            """So does pdb."""

    fds = facts.get("fds")
    for fd in fds or ():
        os.set_inheritable(fd, False)
    session.watch_faults(facts["faults"], facts.get("signal"))
    app = KernelApp.instance()
    app.initialize(
        [
            *sys.argv[1:],
            "--HistoryManager.enabled=False",
            "--HistoryManager.hist_file=:memory:",
            "--IPKernelApp.capture_fd_output=False",
            "--InteractiveShellApp.exec_PYTHONSTARTUP=False",
            # As if started by a parent that never goes: no advice to a terminal, and no watch
            # on the parent, for which there is the lifeline.
            "--IPKernelApp.parent_handle=1",
            # What the kernel logs about itself would stand among the program's output.
            "--IPKernelApp.log_level=50",
        ]
    )
    pipes, lifeline = (tuple(fds[:2]), fds[2]) if fds else (None, None)
    guest = session.install(app, ring.Ring(facts["ring"]), pipes, lifeline, filters, environment)
    gc.freeze()
    gc.enable()
    sys.argv = [""]
    if lifeline is not None:
        os.write(lifeline, b"R")
    app.start()
    guest.end()


if __name__ == "__main__":
    main()
