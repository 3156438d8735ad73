"""The process that starts kernels and sees to it that nothing of them is left.

Run by `processes.Warden` as `python warden.py FD RUN_DIRECTORY`. It is the parent of every kernel
and, on Linux, of every orphan that a kernel leaves (`PR_SET_CHILD_SUBREAPER`). When the other end
of its socket closes, because the server ended or was killed, it kills all that descends from it,
removes the run directory and goes.

Standard library only, one thread, so that it starts at once and may fork safely.

Requests are length-prefixed JSON. `{"start": id, "argv", "env", "cwd"}` comes with file
descriptors, which become 0, 1, 2, ... of the new process; `{"kill": id}` ends a process with all
that belongs to it. Answers are lines of JSON: `{"started": id, "pid"}`, `{"failed": id, "why"}`,
`{"exit": id, "status"}` (as `os.waitstatus_to_exitcode`) and `{"gone": id}` when nothing of it is
left.

With `"speaks": true` the new process gets a socket to this one as its last descriptor; closed
there, it is closed here. A template (see `guest.template`) takes requests over it: `{"fork": id,
"of": id of a template, ...}` is passed on, with the descriptors, and answered as if the kernel had
been started here. What else a template says comes back as `{"word": id of the template, ...}`.

A kernel may make a copy of itself that kernels can be forked from, too (see `guest.checkpoint`).
`{"expect": id, "of": id of a kernel}` announces it; the copy says so itself, over the kernel's
socket, with one of its own, and is answered for as if it had been started here. One that nobody
expects, or not any more, since it was killed before it came, is turned away.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import time

if __package__ in (None, ""):
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

assert sys.platform != "win32"

from kernels.beginning import Beginning  # noqa: E402
from kernels.family import belonging_to, descendants, send_signal  # noqa: E402
from kernels.speakers import Speakers  # noqa: E402


class Keeper:
    """All state of the warden process."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._buffer = b""
        self._fds: list[int] = []
        self._pids: dict[str, int] = {}
        #: Templates and kernels.
        self._speakers = Speakers()
        #: Kernels that a template, named behind them, has been asked for.
        self._forking: dict[str, str] = {}
        #: Those of them that nobody wants any more.
        self._unwanted: set[str] = set()
        #: Copies that a kernel, named behind them, has been asked for.
        self._expected: dict[str, str] = {}
        #: Statuses of orphans that ended while a fork was under way, and may have been its kernel.
        self._orphans: dict[int, int] = {}
        # Before this process changes what the others are to have.
        self._beginning = Beginning()
        # There is a socket for each kernel, and there may be many.
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        read, self._wake = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(self._wake, False)
        self._woken = read
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # The server decides when to end; a Ctrl-C meant for it reaches this process, too.
            signal.signal(number, lambda *_: None)

    def serve(self) -> None:
        """Until the server is gone."""
        while True:
            ready, speaking = self._speakers.wait(self._control.fileno(), self._woken)
            # First: what a kernel has to say may be an answer to it.
            while self._has_request():
                if not self._receive():
                    return
            for ident in speaking:
                self._hear(ident)
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
                self._reap()

    def _has_request(self) -> bool:
        return bool(select.select([self._control], [], [], 0)[0])

    def _receive(self) -> bool:
        fds = array.array("i")
        try:
            data, ancillary, _, _ = self._control.recvmsg(
                1 << 16, socket.CMSG_LEN(16 * fds.itemsize)
            )
        except OSError:
            return False
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        self._fds += fds
        if not data:
            return False
        self._buffer += data
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "little")
            if len(self._buffer) < 4 + length:
                break
            request = json.loads(self._buffer[4 : 4 + length])
            self._buffer = self._buffer[4 + length :]
            if "start" in request:
                self._start(request)
            elif "fork" in request:
                self._fork(request)
            elif "expect" in request:
                self._expected[request["expect"]] = request["of"]
            else:
                self._kill(request["kill"])
        return True

    def _say(self, **message: object) -> None:
        with contextlib.suppress(OSError):
            self._control.sendall(json.dumps(message).encode() + b"\n")

    def _take_fds(self, request: dict[str, object]) -> list[int]:
        """Those that came with the request."""
        count = int(str(request.pop("fds")))
        fds, self._fds = self._fds[:count], self._fds[count:]
        return fds

    def _start(self, request: dict[str, object]) -> None:
        ident, fds = str(request["start"]), self._take_fds(request)
        if request.get("speaks"):
            fds.append(self._speakers.add(ident))
        pid, why = self._beginning.start(request, fds)
        for fd in fds:
            os.close(fd)
        if why:
            self._speakers.remove(ident)
            self._say(failed=ident, why=why)
        else:
            self._pids[ident] = pid
            self._say(started=ident, pid=pid)

    def _fork(self, request: dict[str, object]) -> None:
        fds = self._take_fds(request)
        template, kernel = str(request.pop("of")), str(request["fork"])
        self._forking[kernel] = template
        try:
            fds.append(self._speakers.add(kernel))
            self._speakers.tell(template, request, fds)
        except (KeyError, OSError) as error:
            self._not_forked(kernel, f"the template takes no requests: {error}")
        for fd in fds:
            os.close(fd)

    def _hear(self, ident: str) -> None:
        """A template or a kernel has said something, or has ended."""
        try:
            message, fds, pid = self._speakers.read(ident)
        except (BlockingIOError, KeyError):
            return
        except OSError:
            # Not before the last process that is about to speak for it has ended, too.
            self._speakers.remove(ident)
            for kernel in [k for k, t in self._forking.items() if t == ident]:
                self._not_forked(kernel, "the template has ended")
            for copy in [c for c, k in self._expected.items() if k == ident]:
                self._not_copied(copy, "the kernel has ended")
            return
        told = {str(key): str(value) for key, value in message.items()}
        if self._forking.get(told.get("forked", "")) == ident and told.get("pid", "").isdigit():
            self._forked(told["forked"], int(told["pid"]))
        elif self._forking.get(told.get("failed", "")) == ident:
            self._not_forked(told["failed"], told.get("why", ""))
        elif self._expected.get(told.get("failed", "")) == ident:
            self._not_copied(told["failed"], told.get("why", ""))
        elif self._expected.get(told.get("checkpoint", "")) == ident and fds:
            self._copied(told["checkpoint"], pid, socket.socket(fileno=fds.pop()))
        elif "left out" in message or "ready" in message:
            self._say(word=ident, **{key: what for key, what in message.items() if key != "word"})
        for fd in fds:
            os.close(fd)

    def _copied(self, ident: str, pid: int, sock: socket.socket) -> None:
        """There is a copy; it can be asked for kernels."""
        if sys.platform != "linux":
            return
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except OSError:
            # It has ended already.
            sock.close()
            self._not_copied(ident, "it ended at once")
            return
        del self._expected[ident]
        self._pids[ident] = pid
        self._speakers.listen(ident, sock)
        self._say(started=ident, pid=pid)

    def _not_copied(self, ident: str, why: str) -> None:
        del self._expected[ident]
        self._say(failed=ident, why=why)

    def _not_forked(self, ident: str, why: str) -> None:
        self._speakers.remove(ident)
        self._say(failed=ident, why=why)
        self._answered(ident)

    def _forked(self, ident: str, pid: int) -> None:
        self._pids[ident] = pid
        self._say(started=ident, pid=pid)
        status = self._orphans.pop(pid, None)
        unwanted = self._answered(ident)
        if status is not None:
            self._ended(pid, status)
        elif unwanted:
            self._kill(ident)

    def _answered(self, ident: str) -> bool:
        """Whether nobody wants the kernel any more."""
        del self._forking[ident]
        if not self._forking:
            self._orphans.clear()
        unwanted = ident in self._unwanted
        self._unwanted.discard(ident)
        return unwanted

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._ended(pid, status)

    def _ended(self, pid: int, status: int) -> None:
        for ident, kernel in list(self._pids.items()):
            if kernel == pid:
                del self._pids[ident]
                self._say(exit=ident, status=os.waitstatus_to_exitcode(status))
                self._clear(ident, pid)
                self._say(gone=ident)
                return
        if self._forking:
            self._orphans[pid] = status

    def _kill(self, ident: str) -> None:
        pid = self._pids.get(ident)
        if ident in self._forking:
            self._unwanted.add(ident)
        elif ident in self._expected:
            self._not_copied(ident, "nobody wants it any more")
            # It may be there, and never come to its word.
            for member in belonging_to(ident, -1):
                send_signal(member, signal.SIGKILL)
        elif pid is not None:
            # Its exit then clears away the rest.
            family = descendants(pid)
            for member in (pid, *family):
                send_signal(member, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)

    def _clear(self, ident: str, pid: int) -> None:
        """Kill what the process `pid`, which has ended, has left behind."""
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        for _ in range(50):
            rest = belonging_to(ident, pid)
            if not rest:
                return
            for member in rest:
                for one in (*descendants(member), member):
                    send_signal(one, signal.SIGKILL)
            time.sleep(0.002)

    def end(self) -> None:
        """Kill everything that descends from this process."""
        signal.set_wakeup_fd(-1)
        for ident, pid in self._pids.items():
            for member in (pid, *descendants(pid), *belonging_to(ident, pid)):
                send_signal(member, signal.SIGKILL)
        for _ in range(500):
            family = descendants(os.getpid())
            for member in family:
                send_signal(member, signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
                time.sleep(0.002)
            except ChildProcessError:
                return


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    keeper = Keeper(control)
    keeper.serve()
    keeper.end()
    shutil.rmtree(sys.argv[2], ignore_errors=True)


if __name__ == "__main__":
    main()
