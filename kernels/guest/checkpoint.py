"""A kernel makes a copy of itself, which sleeps, and from which kernels are forked. Linux only.

The server asks with a message of type `checkpoint_request` on the shell channel, so that it is
never in the midst of a run, and is answered with `checkpoint_reply`:

    {"ident": id of the copy, "until": seconds since the epoch}
    {"status": "ok", "fork_ms": 3.1, "reasons": [], "warnings": [text]}

`status` is "refused" where the survey has found `reasons` not to, and "late" when the time was up
before the kernel came to it. The copy says to the warden `{"checkpoint": id}`, with a socket of
its own, or `{"failed": id, "why": text}`. From then on it is to the warden what a template is, and
a kernel that is forked from it goes on where this one stood.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import sys
import time
import warnings
from typing import Any, Dict, Iterator, List, Optional, Tuple

assert sys.platform == "linux"

from .belongings import Belongings  # noqa: E402
from .descriptors import flush_c_streams  # noqa: E402
from .forking import Identity, Warden, ending_on_failure, fork_away, fork_on_request  # noqa: E402
from .machinery import Machinery  # noqa: E402
from .magics import end_idle_thread  # noqa: E402
from .pages import Rewritten  # noqa: E402
from .proc import open_files  # noqa: E402
from .ring import Ring  # noqa: E402
from .survey import Facts, Survey, Surveyor, judge  # noqa: E402

#: How readily the system ends it when memory is short: before anything that runs.
_OOM_SCORE = "900"
_OOM_FILE = "/proc/self/oom_score_adj"
#: How often it is looked for native threads, and the seconds between.
_LOOKS, _MOMENT = 5, 0.002


class Checkpoints:
    """Those of the kernel in this process. `guest`: see `session`. `warden`: the number of a
    socket. Make it before any program runs."""

    def __init__(
        self, app: Any, guest: Any, facts: Dict[str, Any], warden: int, identity: Identity
    ) -> None:
        self._app, self._guest, self._identity = app, guest, identity
        self._warden = Warden(socket.socket(fileno=warden))
        self._machinery = Machinery(app)
        self._surveyor = Surveyor([facts["ring"]])
        #: The program's open files when the survey was made.
        self._files: Dict[int, str] = {}
        self._pages = Rewritten()
        #: The id of the copy that is to be made, the facts, and where the answer is waited for.
        self._wanted: Optional[Tuple[str, Facts, asyncio.Future[Dict[str, Any]]]] = None
        app.kernel.shell_handlers["checkpoint_request"] = self._answer

    async def _answer(self, stream: Any, idents: Any, parent: Dict[str, Any]) -> None:
        reply = await self._reply(parent["content"])
        self._app.session.send(stream, "checkpoint_reply", reply, parent, ident=idents)

    async def _reply(self, request: Dict[str, Any]) -> Dict[str, Any]:
        if time.time() > request["until"]:
            return {"status": "late"}
        if not self._warden.is_there:
            return _refused(["the program has closed a descriptor that the kernel needs for it"])
        facts = self._look()
        found = judge(facts)
        if found.refusals:
            return _refused(found.refusals)
        answer = asyncio.get_running_loop().create_future()
        self._wanted = request["ident"], facts, answer
        # No coroutine is to be on the stack of the copy, nor anything of the program's.
        self._machinery.io_loop.stop()
        reply: Dict[str, Any] = await answer
        return reply

    def _look(self) -> Facts:
        end_idle_thread(self._app.kernel.shell)
        machinery, guest, files = self._machinery, self._guest, open_files()
        own = machinery.descriptors(files)
        # What was closed meanwhile was libzmq's: no program runs.
        still = open_files()
        self._files = {
            fd: what for fd, what in files.items() if fd not in own and still.get(fd) == what
        }
        return self._surveyor.look(
            machinery.threads() | guest.threads(),
            self._files,
            guest.has_work(),
            machinery.unusual_loop,
        )

    def take(self) -> bool:
        """Make the copy that was asked for, when the loop has stopped. Returns whether there was
        one: then the loop is to go on, in this kernel and in each that is made of the copy."""
        if self._wanted is None:
            return False
        (ident, facts, answer), self._wanted = self._wanted, None
        flush_c_streams()
        belongings = Belongings(self._files, self._surveyor.libraries)
        self._pages.before_fork()
        begun = time.perf_counter()
        try:
            with _undisturbed():
                is_copy = fork_away(
                    self._identity, ident, self._warden, meanwhile=self._pages.after_fork
                )
        except OSError as error:
            answer.set_result(_refused(["there can be no copy: %s" % error]))
            return True
        if is_copy:
            self._be_the_copy(ident, belongings)
        else:
            milliseconds = 1000 * (time.perf_counter() - begun)
            found = self._judge_again(facts)
            answer.set_result(
                _refused(found.refusals)
                if found.refusals
                else {
                    "status": "ok",
                    "reasons": [],
                    "warnings": list(found.warnings),
                    "fork_ms": round(milliseconds, 2),
                }
            )
        return True

    def _judge_again(self, facts: Facts) -> Survey:
        """Of the native threads that are still there after the fork: some end before it and begin
        anew after it, both by themselves. One that has just ended takes a moment to be gone."""
        for _ in range(_LOOKS):
            found = judge(self._surveyor.look_again(facts))
            if not found.refusals:
                break
            time.sleep(_MOMENT)
        return found

    def _be_the_copy(self, ident: str, belongings: Belongings) -> None:
        """Sleep. Returns in each kernel that is made of this process."""
        warden, collecting = self._warden, gc.isenabled()
        try:
            gc.disable()
            killed_at = _be_the_first_to_go()
            warden.move()
            self._guest.abandon(self._machinery.descriptors())
            self._machinery.abandon()
            belongings.settle()
            ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
            with theirs:
                warden.say({"checkpoint": ident}, [theirs.fileno()])
            warden.close()
        except BaseException as error:
            warden.say({"failed": ident, "why": "%s: %s" % (type(error).__name__, error)})
            os._exit(1)
        request, fds = fork_on_request(self._identity, Warden(ours, warden.pid))
        with ending_on_failure():
            _set_oom_score(killed_at)
            self._be_a_kernel(json.loads(request["facts"]), fds, belongings)
            if collecting:
                gc.enable()

    def _be_a_kernel(self, facts: Dict[str, Any], fds: List[int], belongings: Belongings) -> None:
        standard, facts["fds"], facts["warden"] = fds[:3], fds[3:6], fds[6]
        machinery = self._machinery
        machinery.revive(facts["connection"], set(fds))
        self._guest.revive(facts, Ring(facts["ring"]), standard)
        self._warden = Warden(socket.socket(fileno=facts["warden"]))
        self._surveyor = Surveyor([facts["ring"]])
        machinery.start()
        belongings.settle_again(machinery.descriptors())
        os.write(facts["fds"][2], b"R")


def _refused(reasons: Any) -> Dict[str, Any]:
    return {"status": "refused", "reasons": list(reasons), "warnings": []}


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """The program learns nothing of the processes that come and go within the block."""
    handler = signal.getsignal(signal.SIGCHLD)
    if handler is not None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        if sys.version_info < (3, 12):
            yield
        else:
            with warnings.catch_warnings():
                # That there are threads, is known.
                warnings.simplefilter("ignore", DeprecationWarning)
                yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGCHLD, handler)


def _be_the_first_to_go() -> str:
    """Returns what it was before."""
    with contextlib.suppress(OSError), open(_OOM_FILE) as file:
        before = file.read().strip()
        _set_oom_score(_OOM_SCORE)
        return before
    return ""


def _set_oom_score(score: str) -> None:
    with contextlib.suppress(OSError):
        if score:
            with open(_OOM_FILE, "w") as file:
                file.write(score)
