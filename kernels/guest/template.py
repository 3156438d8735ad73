"""A process that is nearly a kernel, and from which ready kernels are forked. Linux only.

The warden, whose child it is, sends requests over a socket that keeps messages apart:

    {"fork": id, "connection_file": path, "cwd": path, "facts": as in `launch`}

with the kernel's descriptors 0, 1, 2, ..., and is told `{"forked": id, "pid": pid}` or
`{"failed": id, "why": text}`. Before all that it is told `{"left out": name of a module, "why":
text}` for each that could not be imported beforehand, and `{"ready": 1}`.

A kernel is forked twice, and the process between the two ends: so the warden, which adopts
orphans, is the parent of these kernels as of all others, and they live on without the template.
Nothing of the template is left in a kernel: no descriptor, and not its id, which stands in its
command and, as the tag by which a kernel's processes are found, in its environment.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import fcntl
import gc
import json
import os
import re
import signal
import socket
import sys
import time
import traceback
from typing import Any, Dict, List, Tuple

from . import preload
from .workspace import Workspace

assert sys.platform == "linux"

TAG = "RMI_AGENT_KERNEL"
_DEATH_SIGNAL = 1
#: Where the addresses of the command and the environment stand in /proc/self/stat, behind the
#: program's name: the first's beginning, and the second's end.
_COMMAND, _ENVIRONMENT_END = 45, 48


class Template:
    """Forks kernels from this process. `control`: the number of the socket."""

    def __init__(self, control: int) -> None:
        self._control = socket.socket(fileno=control)
        self._warden = os.getppid()
        self._places = _places_of(os.environ[TAG].encode())
        self._prctl = ctypes.CDLL(None).prctl

    def serve(self, modules: List[str], shell: Any, workspace: Workspace) -> Dict[str, Any]:
        """Import the modules, then fork kernels. Returns in each of them, with the request for
        it."""
        preload.what_kernels_need()
        for name in modules:
            why = preload.preload(name, shell)
            if why:
                self._say({"left out": name, "why": why})
        # It looks at each module once.
        workspace.refresh()
        # What there is now stays for ever: no collection touches it, here or in a kernel, whose
        # memory would cease to be shared.
        gc.collect()
        gc.freeze()
        self._say({"ready": 1})
        while True:
            request, fds = self._receive()
            if self._fork(request, fds):
                return request
            for fd in fds:
                os.close(fd)

    def _receive(self) -> Tuple[Dict[str, Any], List[int]]:
        fds = array.array("i")
        data, ancillary, _, _ = self._control.recvmsg(1 << 16, socket.CMSG_LEN(16 * fds.itemsize))
        if not data:
            # The warden is gone.
            os._exit(0)
        for _level, _kind, content in ancillary:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        return json.loads(data), list(fds)

    def _say(self, message: Dict[str, Any]) -> None:
        # A warden that is gone takes this process with it.
        with contextlib.suppress(OSError):
            self._control.send(json.dumps(message).encode())

    def _fork(self, request: Dict[str, Any], fds: List[int]) -> bool:
        """Whether this process is the kernel."""
        try:
            middle = os.fork()
        except OSError as error:
            self._say({"failed": request["fork"], "why": "fork: %s" % error})
            return False
        if middle == 0:
            return self._fork_again(request, fds)
        os.waitpid(middle, 0)
        return False

    def _fork_again(self, request: Dict[str, Any], fds: List[int]) -> bool:
        """In the process between. It ends here; the kernel returns."""
        middle = os.getpid()
        try:
            gate, opener = os.pipe()
            pid = os.fork()
        except OSError as error:
            self._say({"failed": request["fork"], "why": "fork: %s" % error})
            os._exit(1)
        if pid:
            self._say({"forked": request["fork"], "pid": pid})
            # Not before: the warden would hear of the end of a child that it does not know.
            os.write(opener, b"!")
            os._exit(0)
        try:
            os.close(opener)
            self._leave(request["fork"])
            if not os.read(gate, 1):
                os._exit(1)
            self._be_adopted(middle)
            self._take(fds)
            os.chdir(request["cwd"])
            preload.be_another_process()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        return True

    def _leave(self, ident: str) -> None:
        """Belong to the template no longer, neither by session nor by tag."""
        os.setsid()
        os.environ[TAG] = ident
        for place in self._places:
            ctypes.memmove(place, ident.encode(), len(ident))

    def _be_adopted(self, middle: int) -> None:
        """Wait until the warden is the parent; die with it, as it sees to for its own children."""
        while os.getppid() == middle:
            time.sleep(0.0001)
        self._prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != self._warden:
            os._exit(1)

    def _take(self, fds: List[int]) -> None:
        """Have these descriptors as 0, 1, 2, ... and no others."""
        self._control.detach()
        # First out of the way of the numbers that they are to get.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, len(fds)) for fd in fds]
        for number, fd in enumerate(high):
            os.dup2(fd, number, inheritable=True)
        os.closerange(len(fds), 1 << 12)


def _places_of(ident: bytes) -> List[int]:
    """The addresses of the id in what others read in /proc of this process's command and
    environment."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[_COMMAND]), int(fields[_ENVIRONMENT_END])
    memory = ctypes.string_at(start, end - start)
    return [start + match.start() for match in re.finditer(re.escape(ident), memory)]
