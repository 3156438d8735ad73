"""The kernel around the program: the threads, sockets and descriptors that ipykernel has made.

After a fork none of them can be used, because their threads do not exist there, and libzmq must
not even be called to close them. `abandon` lets go of them; `revive` makes new ones around the
kernel, the shell and the event loop that there are, in which the program's tasks and timers live
on. Linux only.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import json
import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
import types
import uuid
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import ipykernel
import zmq
from tornado.ioloop import IOLoop
from zmq.eventloop.zmqstream import ZMQStream

from .proc import open_files

assert sys.platform == "linux"

#: What was abandoned. Were it finalised, libzmq would be called.
_grave: List[Any] = []
_THREADS = ("iopub_thread", "control_thread", "heartbeat", "shell_channel_thread")
_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
_PACKAGES = ("zmq", "ipykernel", "_rmi_guest")
#: Seconds between two looks whether the heartbeat has its socket.
_MOMENT = 0.0002
_FOLDERS = tuple(
    os.path.dirname(file) + os.sep for file in (zmq.__file__, ipykernel.__file__, __file__)
)


class Machinery:
    """That of `app`, an `IPKernelApp` that is initialised. Make it before any program runs: all
    that is open is taken for the kernel's."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.io_loop: Any = app.kernel.shell_stream.io_loop
        self._loop: Any = self.io_loop.asyncio_loop
        #: What the program has the loop watch: (descriptor, events, callbacks).
        self._watched: List[Tuple[int, int, Any]] = []
        self._note(set(), {self._loop})

    def _note(self, files: Set[int], loops: Set[Any]) -> None:
        """All that there is, but for these, is the kernel's."""
        heartbeat = self._app.heartbeat
        while heartbeat.is_alive() and not hasattr(heartbeat, "socket"):
            # It makes its own in its thread, and a context of libzmq's with it.
            time.sleep(_MOMENT)
        self._files = {fd: what for fd, what in open_files().items() if fd not in files and fd > 2}
        # The mapping of tornado: those of the kernel's threads.
        self._loops = [loop for loop in _tornado_loops() if loop not in loops]

    @property
    def unusual_loop(self) -> str:
        """The kind of the event loop, if it is none that `revive` knows."""
        usual = isinstance(self._loop, asyncio.SelectorEventLoop)
        return "" if usual else type(self._loop).__name__

    def threads(self) -> Set[threading.Thread]:
        """Its threads."""
        app = self._app
        found = (app.iopub_thread.thread, app.control_thread, app.heartbeat, app.poller)
        return {thread for thread in found if isinstance(thread, threading.Thread)}

    def descriptors(self, files: Optional[Dict[int, str]] = None) -> Set[int]:
        """Its open descriptors. `files`: those that are open at all."""
        files = open_files() if files is None else files
        found, address = set(), self._app.ip + "-"
        for fd, what in files.items():
            if self._files.get(fd) == what or _is_at(fd, what, address):
                found.add(fd)
        return found | (self._made_late() & files.keys())

    def _made_late(self) -> Set[int]:
        """Those of the sockets that a thread makes when it first has something to say."""
        found = set()
        for each in list(getattr(self._app.iopub_thread, "_event_pipes", {}).values()):
            # Whose thread has ended is closed by and by.
            with contextlib.suppress(zmq.ZMQError):
                found.add(each.getsockopt(zmq.FD))
        return found

    # -- in a copy

    def abandon(self) -> None:
        """Let go of everything. Nothing runs in the event loop before `revive`."""
        app, kernel = self._app, self._app.kernel
        numbers = self.descriptors()
        tasks: Set[Any] = {task for loop in self._loops for task in asyncio.all_tasks(loop)}
        tasks |= {task for task in asyncio.all_tasks(self._loop) if _is_ours(task)}
        for task in tasks:
            task._log_destroy_pending = False
        streams = (kernel.shell_stream, kernel.control_stream, kernel.debugpy_stream)
        sockets = [getattr(app, name + "_socket", None) for name in (*_CHANNELS, "debugpy")]
        # ipykernel 6 has no thread for the shell channel.
        threads = [getattr(app, name, None) for name in _THREADS]
        _grave.append((app.context, streams, sockets, app.debug_shell_socket, threads, tasks))
        keys = self._loop._selector.get_map().values()
        self._watched = [(k.fd, k.events, k.data) for k in keys if k.fd not in numbers]
        for loop in (*self._loops, self._loop):
            # Nothing is taken out of them, where the kernel itself would miss it.
            loop._ssock.detach()
            loop._csock.detach()
            loop._selector._selector.close()
        for loop in self._loops:
            loop._closed = True
        for fd in numbers:
            self.io_loop.handlers.pop(fd, None)
            self.io_loop.readers.discard(fd)
            self.io_loop.writers.discard(fd)
            with contextlib.suppress(OSError):
                os.close(fd)
        for queue in (self._loop._ready, self._loop._scheduled):
            # Its order stays: a part of a heap that was sorted is sorted by the next push.
            kept = [handle for handle in queue if not _calls(handle, tasks)]
            queue.clear()
            queue.extend(kept)
        self._loop._scheduled.sort()

    # -- in a kernel that was made of it

    def revive(self, connection_file: str, own: Set[int]) -> None:
        """Open everything anew, for the connection that is described there. `own`: descriptors that
        are the kernel's already."""
        self._others = set(open_files()) - own, {self._loop, *_tornado_loops()}
        app, kernel, shell = self._app, self._app.kernel, self._app.kernel.shell
        self._revive_loop()
        self._connect(connection_file)
        app.context = None
        with _registering_nothing(), _logging_as_before():
            # What they would have called at the end is registered, in its place.
            app.init_sockets()
            app.init_heartbeat()
        app.log_connection_info()
        self._receive = kernel.shell_stream._recv_callback
        kernel.shell_stream = ZMQStream(app.shell_socket, self.io_loop)
        kernel.control_stream = ZMQStream(app.control_socket, app.control_thread.io_loop)
        kernel.debugpy_stream = ZMQStream(app.debugpy_socket, app.control_thread.io_loop)
        app.control_thread.start()
        for name in ("control_thread", "shell_channel_thread", "iopub_thread", "iopub_socket",
                     "stdin_socket", "debug_shell_socket"):  # fmt: skip
            if hasattr(kernel, name) and hasattr(app, name):
                setattr(kernel, name, getattr(app, name))
        for publisher in (app.displayhook, shell.displayhook, shell.display_pub):
            publisher.pub_socket = app.iopub_socket
        for name in ("_stdout", "_stderr"):
            stream: Any = getattr(kernel, name, None)
            if hasattr(stream, "pub_thread"):
                stream.pub_thread, stream._io_loop = app.iopub_thread, app.iopub_thread.io_loop
                stream._master_pid = os.getpid()
        kernel.record_ports({name + "_port": port for name, port in app._ports.items()})

    def start(self) -> None:
        """Take messages, when the loop runs. All that was opened since `revive` began is the
        kernel's."""
        self._note(*self._others)
        kernel = self._app.kernel
        if hasattr(kernel, "_main_asyncio_lock"):
            kernel._main_asyncio_lock = asyncio.Lock()
        kernel._aborting = False
        kernel.start()
        # The callback that there was: it has the context in which cells are executed.
        kernel.shell_stream.on_recv(self._receive, copy=False)

    def _revive_loop(self) -> None:
        loop = self._loop
        loop._selector = selectors.DefaultSelector()
        loop._internal_fds -= 1
        loop._make_self_pipe()
        for fd, events, data in self._watched:
            with contextlib.suppress(OSError, ValueError):
                loop._selector.register(fd, events, data)
        if loop._signal_handlers:
            signal.set_wakeup_fd(loop._csock.fileno())
        asyncio.set_event_loop(loop)

    def _connect(self, connection_file: str) -> None:
        app, session = self._app, self._app.session
        with open(connection_file) as file:
            facts = json.load(file)
        app.connection_file = connection_file
        app.transport, app.ip = facts["transport"], facts["ip"]
        for name in _CHANNELS:
            setattr(app, name + "_port", facts[name + "_port"])
        session.key = facts["key"].encode()
        session.session = uuid.uuid4().hex
        session.message_count = 0
        session.pid = os.getpid()


def _tornado_loops() -> List[Any]:
    return list(IOLoop._ioloop_for_asyncio)


def _is_at(fd: int, what: str, address: str) -> bool:
    """Whether it is a socket at an address of the kernel's, or one that it has connected to such an
    address itself: libzmq does so when it comes to it, and again when a connection is lost."""
    if not what.startswith("socket:"):
        return False
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
        if sock.family == socket.AF_UNIX:
            if str(sock.getsockname()).startswith(address):
                return True
            return str(sock.getpeername()).startswith(address)
    return False


def _is_ours(task: Any) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return str(getattr(code, "co_filename", "")).startswith(_FOLDERS)


def _calls(handle: Any, tasks: Set[Any]) -> bool:
    """Whether what is to be called is the kernel's, or a step of one of these tasks."""
    for part in (handle._callback, *(handle._args or ())):
        while isinstance(part, functools.partial):
            part = part.func
        owner = getattr(part, "__self__", None)
        if isinstance(owner, asyncio.Future) and owner in tasks:
            return True
        function = isinstance(part, (types.FunctionType, types.MethodType))
        module = getattr(part, "__module__", None) if function else type(part).__module__
        if str(module).partition(".")[0] in _PACKAGES:
            return True
    return False


@contextlib.contextmanager
def _registering_nothing() -> Iterator[None]:
    register = atexit.register
    atexit.register = lambda function, *args, **kwargs: function  # type: ignore[assignment]
    try:
        yield
    finally:
        atexit.register = register


@contextlib.contextmanager
def _logging_as_before() -> Iterator[None]:
    """ipykernel sets up tornado's logger with its sockets."""
    logger = logging.getLogger("tornado")
    handlers = list(logger.handlers)
    try:
        yield
    finally:
        logger.handlers[:] = handlers
