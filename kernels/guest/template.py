"""A process that is nearly a kernel, and from which ready kernels are forked. Linux only.

The warden, whose child it is, sends requests over a socket that keeps messages apart:

    {"fork": id, "cwd": path, "facts": as in `launch`}

with the kernel's descriptors 0, 1, 2, ..., and is told `{"forked": id, "pid": pid}` or
`{"failed": id, "why": text}`. Before all that it is told `{"left out": name of a module, "why":
text}` for each that could not be imported beforehand, and `{"ready": 1}`.

Nothing of the template is left in a kernel, no descriptor either.
"""

from __future__ import annotations

import fcntl
import gc
import os
import socket
import sys
from typing import Any, Dict, List

assert sys.platform == "linux"

from . import preload  # noqa: E402
from .forking import Identity, Warden, ending_on_failure, fork_on_request  # noqa: E402
from .workspace import Workspace  # noqa: E402


class Template:
    """Forks kernels from this process. `control`: the number of the socket."""

    def __init__(self, control: int, identity: Identity) -> None:
        self._warden = Warden(socket.socket(fileno=control))
        self._identity = identity

    def serve(self, modules: List[str], shell: Any, workspace: Workspace) -> Dict[str, Any]:
        """Import the modules, then fork kernels. Returns in each of them, with the request for
        it."""
        preload.what_kernels_need()
        for name in modules:
            why = preload.preload(name, shell)
            if why:
                self._warden.say({"left out": name, "why": why})
        # It looks at each module once.
        workspace.refresh()
        # What there is now stays for ever: no collection touches it, here or in a kernel, whose
        # memory would cease to be shared.
        gc.collect()
        gc.freeze()
        self._warden.say({"ready": 1})
        request, fds = fork_on_request(self._identity, self._warden)
        with ending_on_failure():
            _take(fds)
            os.chdir(request["cwd"])
            preload.be_another_process()
        return request


def _take(fds: List[int]) -> None:
    """Have these descriptors as 0, 1, 2, ... and no others."""
    # First out of the way of the numbers that they are to get.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, len(fds)) for fd in fds]
    for number, fd in enumerate(high):
        os.dup2(fd, number, inheritable=True)
    os.closerange(len(fds), 1 << 12)
