"""What a copy of this process would not have, or would share with it, before one is made.

`look` gathers the facts and `judge` draws the conclusions: reasons for which there can be no
checkpoint, and warnings of what it does not bring back. Both are short sentences that name the
thing. What is the kernel's own, is not counted. Linux only.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import stat
import sys
import threading
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, List, Sequence, Set, Tuple

assert sys.platform == "linux"

from .belongings import helpers  # noqa: E402
from .proc import children, mappings, native_threads  # noqa: E402

#: Packages whose threads do not survive a fork, and which wait for them for ever, or fail.
_HANG = ("polars", "ray", "grpc", "tensorflow", "jax", "torch", "numba", "rmm", "dask_cuda")
#: What starts threads that have no name of their own, and does without them after a fork.
_HARDY = ("libmkl_", "libiomp5", "libomp", "libopenblas", "libscipy_openblas", "libblis",
          "libarrow", "duckdb", "_duckdb")  # fmt: skip
#: Names of threads that nothing waits for.
_IDLE = ("jemalloc_bg_thd",)
#: libzmq has two for each of the kernel's two contexts.
_ZMQ, _ZMQ_THREADS = "ZMQbg", 4
_DEVICES = ("/dev/nvidia", "/dev/kfd")
_SQLITE = b"SQLite format 3\0"
#: Of several things so many are named.
_NAMED = 3


@dataclass(frozen=True)
class Facts:
    """What there is in this process of the program's."""

    threads: Sequence[str] = ()
    has_work: bool = False
    #: Those that are not Python's.
    native: Sequence[str] = ()
    process: FrozenSet[str] = frozenset()
    children: Sequence[str] = ()
    modules: FrozenSet[str] = frozenset()
    libraries: FrozenSet[str] = frozenset()
    devices: Sequence[str] = ()
    sockets: int = 0
    pipes: int = 0
    written: Sequence[str] = ()
    databases: Sequence[str] = ()
    transactions: bool = False
    shared: Sequence[str] = ()
    loop: str = ""


@dataclass(frozen=True)
class Survey:
    """The conclusions."""

    refusals: Tuple[str, ...] = ()
    warnings: Tuple[str, ...] = ()


def judge(facts: Facts) -> Survey:
    """What follows from the facts."""
    refusals: List[str] = []
    warnings: List[str] = []
    if facts.devices or any(name.startswith("libcuda.so") for name in facts.libraries):
        refusals.append("the program uses a GPU, whose state cannot be copied")
    if facts.threads:
        refusals.append("threads are running (%s)" % _some(facts.threads))
    elif facts.has_work:
        refusals.append("a thread pool has work")
    if facts.children:
        refusals.append("child processes are there (%s)" % _some(facts.children))
    refusals += _of_native_threads(facts)
    if facts.loop:
        refusals.append("the event loop is a %s, which cannot be copied" % facts.loop)
    if facts.transactions:
        refusals.append("a transaction of an SQLite database is open")
    if facts.sockets:
        warnings.append(_many(facts.sockets, "socket"))
    if facts.pipes:
        warnings.append(_many(facts.pipes, "pipe"))
    if facts.databases:
        warnings.append("SQLite databases (%s)" % _some(facts.databases))
    if facts.written:
        warnings.append("files open for writing (%s)" % _some(facts.written))
    if facts.shared:
        warnings.append("shared memory (%s)" % _some(facts.shared))
    return Survey(tuple(refusals), tuple(warnings))


def _of_native_threads(facts: Facts) -> List[str]:
    zmq = [name for name in facts.native if name.startswith(_ZMQ)]
    named = [name for name in facts.native if not name.startswith(_ZMQ) and name not in _IDLE]
    named = [name for name in named if name not in facts.process]
    # libzmq's have none, either, when they begin.
    unnamed = max(0, _ZMQ_THREADS - len(zmq))
    nameless = [name for name in facts.native if name in facts.process][unnamed:]
    refusals = []
    if len(zmq) > _ZMQ_THREADS:
        refusals.append("the program has sockets of ZeroMQ, which cannot be copied")
    guilty = [name for name in _HANG if name in facts.modules]
    hardy = any(name.startswith(_HARDY) for name in facts.libraries)
    if guilty and (named or nameless):
        refusals.append("%s has threads without which a copy would hang" % guilty[0])
    elif named or (nameless and not hardy):
        what = _some(sorted(set(named))) if named else _many(len(nameless), "thread")
        refusals.append("a library has threads that a copy would miss (%s)" % what)
    return refusals


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (" and %d more" % more if more > 0 else "")


def _many(count: int, what: str) -> str:
    return "a " + what if count == 1 else "%d %ss" % (count, what)


class Surveyor:
    """Looks at this process. `own_threads`: those of the kernel; `own_maps`: files that the
    kernel maps. Make it before any program runs."""

    def __init__(self, own_maps: Sequence[str]) -> None:
        self._own_maps = own_maps
        self._names = _own_name()
        #: Paths of those that were loaded when it looked.
        self.libraries: Set[str] = set()

    def native(self) -> List[str]:
        """The names of the threads that are not Python's."""
        known = {getattr(thread, "native_id", 0) for thread in threading.enumerate()}
        return [name for number, name in native_threads().items() if number not in known]

    def look(
        self, own_threads: Set[threading.Thread], files: Dict[int, str], has_work: bool, loop: str
    ) -> Facts:
        """The facts, as they are now, but for native threads that have no name of their own: some
        of them end before a fork, by themselves. `files`: what is open, and not the kernel's."""
        serving, leading_there = helpers()
        opened = _Files({fd: what for fd, what in files.items() if fd not in leading_there})
        process = frozenset(self._names | _own_name())
        shared = self._mapped()
        return Facts(
            threads=_programs_threads(own_threads),
            has_work=has_work,
            native=[name for name in self.native() if name not in process],
            process=process,
            children=["%s, pid %d" % (name, pid) for pid, name in children() if pid not in serving],
            modules=frozenset(_loaded()),
            libraries=frozenset(os.path.basename(path) for path in self.libraries),
            devices=opened.devices,
            sockets=opened.sockets,
            pipes=opened.pipes,
            written=opened.written,
            databases=opened.databases,
            transactions=bool(opened.databases) and _in_transaction(),
            shared=shared,
            loop=loop,
        )

    def look_again(self, facts: Facts) -> Facts:
        """With all native threads that are there now."""
        return Facts(**{**vars(facts), "native": self.native()})

    def _mapped(self) -> List[str]:
        """Names of what is shared with others. Notes the libraries."""
        self.libraries = set()
        shared: Dict[str, None] = {}
        locks = 0
        for permissions, path in mappings():
            if permissions[3] == "s" and permissions[1] == "w":
                if path.startswith("/dev/shm/sem."):
                    locks += 1
                elif path not in self._own_maps and not path.startswith(_DEVICES):
                    shared[_short(path)] = None
            elif ".so" in path:
                self.libraries.add(path)
        # tqdm's own is made anew, and numba's needed once.
        if locks > sum(name in sys.modules for name in ("tqdm.std", "numba.np.ufunc.parallel")):
            shared["locks between processes"] = None
        return list(shared)


class _Files:
    """The open files of the program."""

    def __init__(self, files: Dict[int, str]) -> None:
        self.sockets = self.pipes = 0
        self.devices: List[str] = []
        self.written: List[str] = []
        self.databases: List[str] = []
        pipes = set()
        for fd, what in files.items():
            if fd < 3:
                continue
            if what.startswith("socket:"):
                self.sockets += 1
            elif what.startswith("pipe:"):
                pipes.add(what)
            elif what.startswith(_DEVICES):
                self.devices.append(what)
            elif what.startswith("/"):
                with contextlib.suppress(OSError):
                    self._look_at(fd, what)
        self.pipes = len(pipes - _standard())
        self.written, self.databases = (sorted(set(e)) for e in (self.written, self.databases))

    def _look_at(self, fd: int, path: str) -> None:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        if "sqlite3" in sys.modules or "_sqlite3" in sys.modules:
            with contextlib.suppress(OSError):
                if flags & os.O_ACCMODE != os.O_WRONLY and os.pread(fd, 16, 0) == _SQLITE:
                    self.databases.append(_short(path))
                    return
            if path.endswith(("-wal", "-shm", "-journal")):
                return
        # What is in /dev/shm is memory.
        if flags & os.O_ACCMODE != os.O_RDONLY and not path.startswith("/dev/shm/"):
            self.written.append(_short(path))


def _short(path: str) -> str:
    name = path.replace(" (deleted)", "")
    if path.startswith("/dev/shm/"):
        return name[9:]
    if path.startswith(("/dev/zero", "/memfd:", "/SYSV")) or path != name:
        return "without a file"
    return os.path.basename(name)


def _standard() -> Set[str]:
    """The pipes of the standard streams."""
    found = set()
    for fd in (0, 1, 2):
        with contextlib.suppress(OSError):
            found.add(os.readlink("/proc/self/fd/%d" % fd))
    return found


def _own_name() -> Set[str]:
    with open("/proc/self/comm") as file:
        return {file.read().rstrip("\n")}


def _programs_threads(own: Set[threading.Thread]) -> List[str]:
    pools: Any = sys.modules.get("concurrent.futures.thread")
    idle = set(pools._threads_queues) if pools is not None else set()
    names = []
    for thread in threading.enumerate():
        if thread in own or thread in idle or thread is threading.main_thread():
            continue
        # Its watch on bars, which begins anew by itself.
        if type(thread).__module__ == "tqdm._monitor":
            continue
        # Python does not learn of the end of threads that it has not started.
        if os.path.exists("/proc/self/task/%s" % thread.native_id):
            names.append(thread.name)
    return names


def _loaded() -> Set[str]:
    return {name for name in _HANG if name in sys.modules}


def _in_transaction() -> bool:
    module: Any = sys.modules.get("sqlite3")
    if module is None:
        return False
    for one in gc.get_objects():
        if issubclass(type(one), module.Connection):
            with contextlib.suppress(Exception):
                if one.in_transaction:
                    return True
    return False
