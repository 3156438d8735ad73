"""Forks that become processes of their own, as if the warden had started them. Linux only.

Such a process is forked twice, and the one between the two ends: so the warden, which adopts
orphans, is its parent, and it lives on without the process that it was forked from. It has a
session of its own, and its own id instead of that one's, which stands in the command and, as the
tag by which a kernel's processes are found, in the environment.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import struct
import sys
import time
import traceback
from typing import Any, Callable, Dict, List, Sequence, Tuple

assert sys.platform == "linux"

TAG = "RMI_AGENT_KERNEL"
_DEATH_SIGNAL = 1
#: Where the addresses of the command and the environment stand in /proc/self/stat, behind the
#: program's name: the first's beginning, and the second's end.
_COMMAND, _ENVIRONMENT_END = 45, 48
#: For the middle process to say that it could not fork.
_FAILED = 99


class Identity:
    """The id of this process. Make it before any program runs, which may write over it."""

    def __init__(self) -> None:
        self.value = os.environ[TAG]
        self._places = _places_of(self.value.encode())

    def change(self, ident: str) -> None:
        """Have another, of the same length."""
        old, new = self.value.encode(), ident.encode()
        os.environ[TAG] = ident
        if sys.version_info >= (3, 10):
            sys.orig_argv = [word.replace(self.value, ident) for word in sys.orig_argv]
        for place in self._places:
            # A program may have given its process another title.
            if ctypes.string_at(place, len(old)) == old:
                ctypes.memmove(place, new, len(new))
        self.value = ident


def _places_of(ident: bytes) -> List[int]:
    """The addresses of the id in what others read in /proc of this process's command and
    environment."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[_COMMAND]), int(fields[_ENVIRONMENT_END])
    memory = ctypes.string_at(start, end - start)
    return [start + match.start() for match in re.finditer(re.escape(ident), memory)]


class Warden:
    """The warden, at the other end of a socket that keeps messages apart. `pid`: its own, if the
    pair of sockets was not made by it."""

    def __init__(self, sock: socket.socket, pid: int = 0) -> None:
        self._socket = sock
        size = struct.calcsize("3i")
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        self.pid: int = pid or struct.unpack("3i", credentials)[0]

    @property
    def is_there(self) -> bool:
        """Whether the socket is still open, and its own: a program can close any."""
        try:
            size = struct.calcsize("3i")
            found = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        except OSError:
            return False
        return bool(struct.unpack("3i", found)[0] == self.pid)

    def say(self, message: Dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Tell it something, and give it descriptors."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        # A warden that is gone takes this process with it.
        with contextlib.suppress(OSError):
            self._socket.sendmsg([json.dumps(message).encode()], rights)

    def receive(self) -> Tuple[Dict[str, Any], List[int]]:
        """Wait for a request of its, and for the descriptors that come with it."""
        fds = array.array("i")
        data, ancillary, _, _ = self._socket.recvmsg(
            1 << 16, socket.CMSG_LEN(16 * fds.itemsize), socket.MSG_CMSG_CLOEXEC
        )
        if not data:
            # It is gone, or does not want this process any more.
            os._exit(0)
        for _level, _kind, content in ancillary:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        return json.loads(data), list(fds)

    def move(self) -> None:
        """Use another descriptor from now on. The number of the old one is the caller's."""
        old, self._socket = self._socket, self._socket.dup()
        old.detach()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def fork_away(
    identity: Identity,
    ident: str,
    warden: Warden,
    tell: Callable[[int], None] = lambda pid: None,
    meanwhile: Callable[[], None] = lambda: None,
) -> bool:
    """Fork a process with the id `ident`. Returns True there, as soon as it is the warden's child.

    `tell` is called with its pid in the process between the two, before the new one can end.
    `meanwhile` is called in this process, while that one goes about it. Raises OSError where there
    can be no more processes.
    """
    middle = os.fork()
    if middle:
        try:
            meanwhile()
        finally:
            _see_off(middle)
        return False
    middle = os.getpid()
    try:
        gate, opener = os.pipe()
        pid = os.fork()
    except OSError:
        os._exit(_FAILED)
    if pid:
        try:
            tell(pid)
            # Not before: the warden would hear of the end of a child that it does not know.
            os.write(opener, b"!")
        finally:
            os._exit(0)
    with ending_on_failure():
        os.close(opener)
        os.setsid()
        identity.change(ident)
        if not os.read(gate, 1):
            os._exit(1)
        os.close(gate)
        _be_adopted(middle, warden.pid)
    return True


def _see_off(middle: int) -> None:
    try:
        status = os.waitpid(middle, 0)[1]
    except ChildProcessError:
        # As it is when a program ignores SIGCHLD.
        return
    if status and os.WIFEXITED(status) and os.WEXITSTATUS(status) == _FAILED:
        raise OSError("the system allows no more processes")


@contextlib.contextmanager
def ending_on_failure() -> Any:
    """What fails within the block ends the process, which has nobody to tell but its stderr."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
        os._exit(1)


def _be_adopted(middle: int, warden: int) -> None:
    """Wait until the warden is the parent; die with it, as it sees to for its own children."""
    while os.getppid() == middle:
        time.sleep(0.0001)
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != warden:
        os._exit(1)


def fork_on_request(identity: Identity, warden: Warden) -> Tuple[Dict[str, Any], List[int]]:
    """Fork kernels as the warden asks for them, until it is gone. Returns in each kernel, with the
    request for it and its descriptors."""
    while True:
        request, fds = warden.receive()
        ident = request["fork"]

        def tell(pid: int, ident: str = ident) -> None:
            warden.say({"forked": ident, "pid": pid})

        try:
            if fork_away(identity, ident, warden, tell):
                warden.close()
                return request, fds
        except OSError as error:
            warden.say({"failed": ident, "why": "fork: %s" % error})
        for fd in fds:
            os.close(fd)
