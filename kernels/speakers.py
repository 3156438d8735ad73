"""The sockets over which templates and kernels speak to the warden. Standard library only."""

from __future__ import annotations

import array
import contextlib
import json
import select
import socket
import struct
import sys
from collections.abc import Mapping, Sequence

assert sys.platform != "win32"

#: For what the socket module of some Pythons does not name.
_PASS_CREDENTIALS, _SENT_CREDENTIALS, _CREDENTIALS = 16, 2, struct.Struct("3i")


class Speakers:
    """Sockets that keep messages apart, by the id of the process at the other end."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}
        self._idents: dict[int, str] = {}
        self._poll = select.poll()

    def add(self, ident: str) -> int:
        """A descriptor for a process that is to speak."""
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self.listen(ident, ours)
        return theirs.detach()

    def listen(self, ident: str, sock: socket.socket) -> None:
        """Have this socket for it, and close it in the end."""
        # Who has sent it comes with each message.
        sock.setsockopt(socket.SOL_SOCKET, _PASS_CREDENTIALS, 1)
        self._sockets[ident] = sock
        self._idents[sock.fileno()] = ident
        self._poll.register(sock, select.POLLIN)

    def remove(self, ident: str) -> None:
        """Listen to it no longer, if it is there."""
        sock = self._sockets.pop(ident, None)
        if sock is not None:
            self._poll.unregister(sock)
            del self._idents[sock.fileno()]
            sock.close()

    def wait(self, *others: int) -> tuple[list[int], list[str]]:
        """Wait until any of them, or of the other descriptors, has something to be read."""
        for fd in others:
            self._poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in self._poll.poll()]
        return (
            [fd for fd in ready if fd in others],
            [self._idents[fd] for fd in ready if fd in self._idents],
        )

    def tell(self, ident: str, message: Mapping[str, object], fds: Sequence[int]) -> None:
        """Send it a message and descriptors. Raises KeyError or OSError if it takes none."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        sock = self._sockets[ident]
        sock.sendmsg([json.dumps(message).encode()], rights, socket.MSG_DONTWAIT)

    def read(self, ident: str) -> tuple[dict[str, object], list[int], int]:
        """A message of its, what came with it, and the process that sent it. Raises OSError at the
        end, BlockingIOError when there is none, and KeyError when it is not listened to.

        A kernel's socket is open to the user's program, too: what is none of our messages is an
        empty one.
        """
        if sys.platform != "linux":
            raise OSError("nothing speaks here")
        fds = array.array("i")
        pid = 0
        data, ancillary, _, _ = self._sockets[ident].recvmsg(
            1 << 16,
            socket.CMSG_SPACE(4 * fds.itemsize) + socket.CMSG_SPACE(_CREDENTIALS.size),
            socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT,
        )
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
            elif level == socket.SOL_SOCKET and kind == _SENT_CREDENTIALS:
                pid = _CREDENTIALS.unpack(content)[0]
        if not data:
            raise OSError("it is closed")
        message: object = {}
        with contextlib.suppress(ValueError):
            message = json.loads(data)
        return (message if isinstance(message, dict) else {}), list(fds), pid
