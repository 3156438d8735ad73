"""Importing beforehand, in a template, what its kernels will import."""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import sys
import threading
import traceback
from typing import Any, List, Tuple

from .plain import FrontEnd

assert sys.platform == "linux"

#: What every kernel imports sooner or later, beside what stands at the top of our modules.
_NEEDED = ("IPython.core.logger", "IPython.extensions.storemagic", "tornado.platform.asyncio")
#: Seconds that an import may take.
_LONGEST = 60.0


def what_kernels_need() -> None:
    """Import that."""
    from . import ring, session  # noqa: F401

    for name in _NEEDED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def preload(name: str, shell: Any) -> str:
    """Import a module as a program would. Returns "", or why it is left out: because the import
    fails, or because a fork would not have what it starts or opens. That is found out in a fork,
    so that nothing of it is left here."""
    front_end = FrontEnd(shell)
    try:
        why = _try(name)
        if not why:
            importlib.import_module(name)
        return why
    except BaseException as error:
        return _told(error)
    finally:
        front_end.show()


def _try(name: str) -> str:
    """As `preload`, of the import in another process."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        why = "it ended the process"
        try:
            why = _why_not(name)
        finally:
            os.write(write, (why or "yes").encode()[:4000])
            os._exit(0)
    os.close(write)
    ready, _, _ = select.select([read], [], [], _LONGEST)
    verdict = os.read(read, 4096).decode("utf-8", "replace") if ready else ""
    os.close(read)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if not ready:
        return "its import takes more than %d s" % _LONGEST
    return "" if verdict == "yes" else verdict or "its import ends the process"


def _why_not(name: str) -> str:
    before = _open_files()
    try:
        importlib.import_module(name)
    except BaseException as error:
        return _told(error)
    # Some threads, as those of OpenBLAS, end before a fork and begin anew after it, both by
    # themselves.
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    started = len(os.listdir("/proc/self/task")) - 1
    if started or threading.active_count() > 1:
        return "its import starts threads, which a fork would not have"
    left = [path for fd, path in _open_files() if (fd, path) not in before]
    if left:
        return "its import leaves a file open (%s), which all kernels would share" % left[0]
    return ""


def _told(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(type(error), error)).strip()[:1000]


def _open_files() -> List[Tuple[str, str]]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append((fd, os.readlink("/proc/self/fd/" + fd)))
    return found


def be_another_process() -> None:
    """What a fresh process would draw for itself, and a fork has from the template."""
    thread: Any = threading.main_thread()
    if hasattr(thread, "_set_native_id"):
        # Some versions of Python forget that it has changed.
        thread._set_native_id()
    random: Any = sys.modules.get("numpy.random")
    if random is not None:
        # Python's own does this by itself.
        random.seed()
    processes: Any = sys.modules.get("multiprocessing.process")
    if processes is not None:
        processes.current_process().authkey = os.urandom(32)
