"""What a program has that a fork would share with it, or miss: put right in the copy.

Memory needs nothing. But the position in an open file is shared, threads are missing, and some
modules of Python's remember processes that are not the copy's. Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import queue
import select
import selectors
import stat
import sys
import threading
from typing import Any, Dict, Iterable, List, Set, Tuple

from .proc import open_files

assert sys.platform == "linux"

_PAUSE_HARD = 2
_EPOLL = "anon_inode:[eventpoll]"
#: Modules that have one.
_TRACKERS = (
    "multiprocessing.resource_tracker",
    "loky.backend.resource_tracker",
    "joblib.externals.loky.backend.resource_tracker",
)
#: How the names of its libraries begin, that of each package its own.
_GOMP = "libgomp"


class Belongings:
    """Those of the program in this process, noted before the fork. `files`: its open files.
    `libraries`: paths of those that are loaded."""

    def __init__(self, files: Dict[int, str], libraries: Iterable[str]) -> None:
        _calm_openmp(libraries)
        self._pid = os.getpid()
        random: Any = sys.modules.get("random")
        self._random = random.getstate() if random is not None else None
        # Now: the program may read on before the copy comes to it.
        self._positions = _positions(files)

    def settle(self) -> None:
        """In the copy, where nothing of the program's is ever run."""
        _open_again(self._positions)
        _revive_pools()
        _forget_processes()

    def settle_again(self, own: Set[int]) -> None:
        """In a kernel that was made of it; other kernels may be, too."""
        _open_again(_positions({f: what for f, what in open_files().items() if f not in own}))
        _watch_anew(own)
        _begin_bars_anew()
        self._own_finalizers()
        thread: Any = threading.main_thread()
        if hasattr(thread, "_set_native_id"):
            # Some versions of Python forget that it has changed.
            thread._set_native_id()
        if self._random is not None:
            # It has begun anew by itself.
            sys.modules["random"].setstate(self._random)

    def _own_finalizers(self) -> None:
        """What multiprocessing does at the end, it does in the process that registered it."""
        util: Any = sys.modules.get("multiprocessing.util")
        for finalizer in list(util._finalizer_registry.values()) if util is not None else ():
            if finalizer._pid == self._pid:
                finalizer._pid = os.getpid()


def _calm_openmp(libraries: Iterable[str]) -> None:
    """End the idle threads of GNU's OpenMP, which begin anew by themselves: without them, a fork
    would wait for them for ever."""
    for path in libraries:
        if _GOMP not in os.path.basename(path):
            continue
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(path).omp_pause_resource_all(_PAUSE_HARD)


def _positions(files: Dict[int, str]) -> Dict[int, int]:
    """Where each regular file among these is read or written next."""
    found = {}
    for fd, what in files.items():
        if fd > 2 and what.startswith("/"):
            with contextlib.suppress(OSError):
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    found[fd] = os.lseek(fd, 0, os.SEEK_CUR)
    return found


def _open_again(positions: Dict[int, int]) -> None:
    """Have them with positions of their own."""
    for fd, position in positions.items():
        # It may be allowed no longer.
        with contextlib.suppress(OSError):
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            inheritable = os.get_inheritable(fd)
            new = os.open("/proc/self/fd/%d" % fd, flags & ~(os.O_CREAT | os.O_TRUNC | os.O_EXCL))
            try:
                os.lseek(new, position, os.SEEK_SET)
                os.dup2(new, fd, inheritable)
            finally:
                os.close(new)


def _revive_pools() -> None:
    """Thread pools that are idle start new threads with their next work."""
    pools: Any = sys.modules.get("concurrent.futures.thread")
    if pools is None:
        return
    for thread in list(pools._threads_queues):
        arguments = getattr(thread, "_args", None)
        pool = arguments[0]() if arguments else None
        if pool is not None and thread in pool._threads:
            pool._threads.clear()
            pool._work_queue = queue.SimpleQueue()
            pool._idle_semaphore = threading.Semaphore(0)
            pool._shutdown_lock = threading.Lock()
    pools._threads_queues.clear()


def _forget_processes() -> None:
    """Those that serve multiprocessing are started anew where they are needed; there are no
    others."""
    processes: Any = sys.modules.get("multiprocessing.process")
    if processes is not None:
        processes._children = set()
    subprocess: Any = sys.modules.get("subprocess")
    if subprocess is not None and subprocess._active is not None:
        subprocess._active.clear()
    server = _server()
    if server is not None:
        _close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = server._forkserver_pid = server._forkserver_address = None
    for tracker in _trackers():
        _close(tracker._fd)
        tracker._fd = tracker._pid = None


def helpers() -> Tuple[Set[int], Set[int]]:
    """The processes that serve multiprocessing, without which it starts others, and the descriptors
    that lead to them."""
    pids, files = set(), set()
    for tracker in _trackers():
        pids.add(tracker._pid)
        files.add(tracker._fd)
    server = _server()
    if server is not None:
        pids.add(server._forkserver_pid)
        files.add(server._forkserver_alive_fd)
    return pids, files


def _trackers() -> List[Any]:
    """What looks after multiprocessing's resources, in the standard library and in loky."""
    found = []
    # Not all modules are gone through: that would write to each, and the copy have its memory.
    for name in _TRACKERS:
        tracker = getattr(sys.modules.get(name), "_resource_tracker", None)
        if getattr(tracker, "_pid", None) is not None:
            found.append(tracker)
    return found


def _server() -> Any:
    """That of the start method `forkserver`, if it runs."""
    server = getattr(sys.modules.get("multiprocessing.forkserver"), "_forkserver", None)
    return server if getattr(server, "_forkserver_pid", None) is not None else None


def _close(fd: Any) -> None:
    if fd is not None:
        with contextlib.suppress(OSError):
            os.close(fd)


def _begin_bars_anew() -> None:
    """tqdm's watch on its bars is a thread, and its lock is shared with the other process."""
    module: Any = sys.modules.get("tqdm.std")
    if module is None:
        return
    with contextlib.suppress(AttributeError):
        module.tqdm.monitor = None
        lock = module.TqdmDefaultWriteLock
        lock.th_lock = threading.RLock()
        if "mp_lock" in vars(lock):
            del lock.mp_lock
        if isinstance(getattr(module.tqdm, "_lock", None), lock):
            module.tqdm._lock = lock()


def _watch_anew(own: Set[int]) -> None:
    """Event loops of the program's own watch through a descriptor that forks share."""
    if not any(what == _EPOLL and fd not in own for fd, what in open_files().items()):
        return
    objects: List[Any] = gc.get_objects()
    for one in objects:
        if not issubclass(type(one), selectors.EpollSelector) or one.get_map() is None:
            continue
        if not one._selector.closed and one._selector.fileno() not in own:
            one._selector.close()
            one._selector = select.epoll()
            for key in one.get_map().values():
                events = select.EPOLLIN if key.events & selectors.EVENT_READ else 0
                events |= select.EPOLLOUT if key.events & selectors.EVENT_WRITE else 0
                with contextlib.suppress(OSError):
                    one._selector.register(key.fd, events)
