"""Start an ipykernel as one of this project's kernels: `python launch.py -f CONNECTION_FILE`.

What it needs to know stands in the environment variable `RMI_KERNEL` as JSON and is taken out of
it: `connection`, `ring` and `faults` (paths), `fds` (read ends of stdout and stderr, and the
lifeline, a socket whose other end the server holds; a byte on it says that the kernel is ready),
`warden` (a socket to the warden), `signal` (the number that asks for a traceback). With `control`
instead, the number of a socket, the process becomes a `Template`, and imports the modules named in
`preload`.
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
    """A kernel, made in two steps, between which a process may fork.

    The first: all that needs neither threads nor sockets nor files of its own. Make it before
    anything else is imported. `arguments`: those of ipykernel.
    """

    def __init__(self, arguments: List[str]) -> None:
        # As `python` begins; what is imported from here on changes all of them.
        filters, self._environment = list(warnings.filters), dict(os.environ)
        depth = sys.getrecursionlimit()
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
        from _rmi_guest.imports import Imports  # type: ignore[import-not-found]
        from _rmi_guest.plain import restore_environment  # type: ignore[import-not-found]

        restore_environment(self._environment)
        sys.setrecursionlimit(depth)
        self._identity: Any = None
        self._imports = lambda: Imports(self._app.kernel.shell, filters)
        if self._app.built is not None:
            imports = Imports(self._app.built, filters)
            self._imports = lambda: imports

    def fork(self, control: int, modules: List[str]) -> Dict[str, Any]:
        """Be a template. Returns in each kernel that is forked, with the facts for it."""
        # What each of the kernels needs when it begins.
        import _rmi_guest.checkpoint  # type: ignore[import-not-found]  # noqa: F401
        from _rmi_guest.forking import TAG, Identity  # type: ignore[import-not-found]
        from _rmi_guest.template import Template  # type: ignore[import-not-found]

        if self._app.built is None:
            raise SystemExit("The shell is of a kind that is not built beforehand.")
        self._identity = Identity()
        request: Dict[str, Any] = Template(control, self._identity).serve(
            modules, self._app.built, self._imports().workspace
        )
        self._environment[TAG] = request["fork"]
        facts: Dict[str, Any] = json.loads(request["facts"])
        self._app.connection_file = facts["connection"]
        return facts

    def begin(self, facts: Dict[str, Any]) -> None:
        """The second: be a kernel until the end."""
        from _rmi_guest import ring, session

        fds, warden = facts.get("fds"), facts.get("warden")
        for fd in [*(fds or ()), *([warden] if warden else ())]:
            os.set_inheritable(fd, False)
        session.watch_faults(facts["faults"], facts.get("signal"))
        app = self._app
        app.initialize()
        pipes, lifeline = (tuple(fds[:2]), fds[2]) if fds else (None, None)
        guest = session.install(
            app, ring.Ring(facts["ring"]), pipes, lifeline, self._imports(), self._environment
        )
        gc.freeze()
        gc.enable()
        sys.argv = [""]
        if lifeline is not None:
            os.write(lifeline, b"R")
        checkpoints = self._checkpoints(guest, facts, warden) if warden else None
        app.start()
        while checkpoints is not None and checkpoints.take():
            # In the kernel, and in whatever kernel is made of the copy.
            app.io_loop.start()
        guest.end()

    def _checkpoints(self, guest: Any, facts: Dict[str, Any], warden: int) -> Any:
        from _rmi_guest.checkpoint import Checkpoints
        from _rmi_guest.forking import Identity

        identity = self._identity or Identity()
        return Checkpoints(self._app, guest, facts, warden, identity)


def main() -> None:
    facts = json.loads(os.environ.pop("RMI_KERNEL", "{}"))
    kernel = Kernel(sys.argv[1:])
    if "control" in facts:
        facts = kernel.fork(facts["control"], facts["preload"])
    kernel.begin(facts)


if __name__ == "__main__":
    main()
