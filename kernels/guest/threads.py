"""Threads, pools and processes of a run: whose output theirs is, and how long it waits for them.

`python` waits at its end for threads that are not daemons, for all work given to pools, and for
processes; daemon processes it ends. A run does the same, but pools stay open for the session.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.thread
import functools
import sys
import threading
import weakref
from typing import Any, Iterator, List, Set

from .streams import Outlet


class Offspring:
    """What a script has started."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._before: Set[Any] = set()
        self._work: Set[Any] = set()
        #: That of all scripts and cells, as long as it is not done.
        self._all_work: Any = weakref.WeakSet()
        self._done = threading.Condition()
        self._give_threads_their_parent()
        self._give_work_its_parent()

    def begin(self) -> None:
        """A script starts: what there is now is not its own."""
        self._before = {*threading.enumerate(), *started_processes()}
        self._work = set()

    def owns(self, thread: threading.Thread) -> bool:
        """Whether it is the script's, and neither of an earlier one nor the kernel's."""
        return thread not in self._before

    def wait(self) -> None:
        """Wait as `python` does at its end."""
        while self._join_threads() or self._finish_work():
            pass
        children = self._children()
        for child in children:
            if child.daemon:
                child.terminate()
        for child in children:
            child.join()

    def abandon(self) -> None:
        """After an interrupt: end processes, and let threads be."""
        for child in self._children():
            child.terminate()

    def has_work(self) -> bool:
        """Whether any thread pool has work."""
        with self._done:
            return any(item.is_open() for item in self._all_work)

    def forget_threads(self) -> None:
        """In a copy of the kernel, which has none."""
        self._done = threading.Condition()

    def _children(self) -> List[Any]:
        """Processes that the script has started itself, not through a pool."""
        children = [c for c in started_processes() if c not in self._before]
        kept = set(_kept_by_pools()) if children else set()
        return [c for c in children if c not in kept]

    def _join_threads(self) -> bool:
        """Whether there was any to wait for."""
        pools = {*_pool_managers(), *concurrent.futures.thread._threads_queues}
        found = False
        for thread in threading.enumerate():
            if thread.daemon or thread in self._before or thread in pools:
                continue
            if thread is not threading.current_thread():
                found = True
                # In pieces, for Windows, where nothing else would let an interrupt through.
                while thread.is_alive():
                    threading.Thread.join(thread, 0.5)
        return found

    def _finish_work(self) -> bool:
        """Whether there was any to wait for."""
        found = False
        with self._done:
            while any(item.is_open() for item in list(self._work)):
                found = True
                # Not only until it is told: work that is cancelled never says so.
                self._done.wait(0.05)
        for manager in _pool_managers():
            if manager not in self._before:
                items = list(manager.pending_work_items.values())
                found = found or bool(items)
                concurrent.futures.wait([item.future for item in items])
        return found

    def _give_threads_their_parent(self) -> None:
        """A thread's output belongs to the run that started it, also while a later one runs.

        Without a frame of ours in its stack, which tracebacks would show: the starting thread
        leaves a note that the started one picks up where it learns its number.
        """
        outlet = self._outlet
        # From Python 3.13 on.
        name = "_start_joinable_thread"
        if not hasattr(threading, name):
            name = "_start_new_thread"
        start = getattr(threading, name)
        set_ident = threading.Thread._set_ident  # type: ignore[attr-defined]

        @functools.wraps(start)
        def start_with_parent(function: Any, *args: Any, **kwargs: Any) -> Any:
            thread = getattr(function, "__self__", None)
            if isinstance(thread, threading.Thread):
                thread._rmi_parent = outlet.parent  # type: ignore[attr-defined]
            return start(function, *args, **kwargs)

        @functools.wraps(set_ident)
        def set_ident_and_parent(thread: threading.Thread) -> None:
            outlet.thread.parent = thread.__dict__.pop("_rmi_parent", None)
            set_ident(thread)

        setattr(threading, name, start_with_parent)
        threading.Thread._set_ident = set_ident_and_parent  # type: ignore[attr-defined]

    def _give_work_its_parent(self) -> None:
        """The workers of a pool may have been started by an earlier run than gives them work."""
        outlet, offspring = self._outlet, self
        pools: Any = concurrent.futures.thread

        class WorkItem(pools._WorkItem):  # type: ignore[misc]
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self._parent = outlet.parent
                self._begun = False
                self._siblings = offspring._work
                self._siblings.add(self)
                with offspring._done:
                    offspring._all_work.add(self)

            def run(self, *args: Any) -> None:
                self._begun = True
                outlet.thread.parent = self._parent
                try:
                    super().run(*args)
                finally:
                    with offspring._done:
                        self._siblings.discard(self)
                        offspring._all_work.discard(self)
                        offspring._done.notify_all()

            def is_open(self) -> bool:
                """Whether it runs, or will."""
                return self._begun or not self.future.done()

        pools._WorkItem = WorkItem


def started_processes() -> List[Any]:
    """Processes started through multiprocessing that have not been reaped."""
    module: Any = sys.modules.get("multiprocessing.process")
    return list(module._children) if module is not None else []


def _pool_managers() -> Iterator[Any]:
    """The threads that serve process pools."""
    module: Any = sys.modules.get("concurrent.futures.process")
    for thread in list(module._threads_wakeups) if module is not None else ():
        if hasattr(thread, "pending_work_items"):
            yield thread


def _kept_by_pools() -> Iterator[Any]:
    """Processes that belong to a pool or a manager, which ends them itself."""
    for manager in _pool_managers():
        yield from (manager.processes or {}).values()
    util: Any = sys.modules.get("multiprocessing.util")
    for finalizer in list(util._finalizer_registry.values()) if util is not None else ():
        for argument in finalizer._args or ():
            for one in argument if isinstance(argument, list) else [argument]:
                if hasattr(one, "exitcode"):
                    yield one
