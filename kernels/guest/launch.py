"""Start an ipykernel as one of this project's kernels: `python launch.py -f CONNECTION_FILE`.

What the kernel needs to know stands in the environment variable `RMI_KERNEL` as JSON and is
taken out of it: `ring` and `faults` (paths), `fds` (read ends of stdout and stderr, and the
lifeline, a socket whose other end the server holds; a byte on it says that the kernel is ready),
`signal` (the number that asks for a traceback).

A kernel is made in two steps, `Kernel.__init__` and `begin`, and a process may fork between them.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import types
import warnings
from typing import Any, Dict, List


class Kernel:
    """All of a kernel that needs neither threads nor sockets nor files of its own: make it before
    anything else is imported. `arguments`: those of ipykernel."""

    def __init__(self, arguments: List[str]) -> None:
        # As `python` begins; what is imported from here on changes both.
        self._filters, self._environment = list(warnings.filters), dict(os.environ)
        folder = os.path.dirname(os.path.abspath(__file__))
        if sys.path and os.path.abspath(sys.path[0] or ".") == folder:
            del sys.path[0]
        package = types.ModuleType("_rmi_guest")
        package.__path__ = [folder]
        sys.modules["_rmi_guest"] = package
        # Importing makes many objects that live for ever; collecting garbage meanwhile costs
        # time.
        gc.disable()
        from _rmi_guest.application import KernelApp  # type: ignore[import-not-found]

        self._app = KernelApp.instance()
        self._app.prepare(arguments)

    def begin(self, facts: Dict[str, Any]) -> None:
        """Be a kernel until the end. `facts`: see above."""
        from _rmi_guest import ring, session  # type: ignore[import-not-found]

        fds = facts.get("fds")
        for fd in fds or ():
            os.set_inheritable(fd, False)
        session.watch_faults(facts["faults"], facts.get("signal"))
        app = self._app
        app.initialize()
        pipes, lifeline = (tuple(fds[:2]), fds[2]) if fds else (None, None)
        guest = session.install(
            app, ring.Ring(facts["ring"]), pipes, lifeline, self._filters, self._environment
        )
        gc.freeze()
        gc.enable()
        sys.argv = [""]
        if lifeline is not None:
            os.write(lifeline, b"R")
        app.start()
        guest.end()


def main() -> None:
    facts = json.loads(os.environ.pop("RMI_KERNEL", "{}"))
    Kernel(sys.argv[1:]).begin(facts)


if __name__ == "__main__":
    main()
