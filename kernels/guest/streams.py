"""A kernel's stdout and stderr: one ordered, bounded outlet for both.

ipykernel gives each stream a buffer of its own, so their order is lost; it sends a message for
every flush; it lets 100 MB pile up; and it loses what stands in its buffers when the kernel dies.
Here everything that leaves on iopub goes through one `Outlet`: text of both streams, and the
messages between it. A copy of the text is kept in the `Ring` until it has left.
"""

from __future__ import annotations

import codecs
import contextvars
import io
import json
import os
import re
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from jupyter_client.jsonutil import json_default
from jupyter_client.session import extract_header

from .descriptors import FdReader, write_all
from .ring import STREAMS, Ring

#: Bytes of text in one message, at most.
PIECE = 64 * 1024
#: Bytes taken and not yet sent, above which a writer waits, as on a pipe.
WAITING = 512 * 1024
#: Seconds that small output may wait for more before it is sent.
INTERVAL = 0.04
_NUMBERS = {name: number for number, name in enumerate(STREAMS)}


class _Text:
    """Text on its way: pieces of one origin. `end`: the ring position that it reaches."""

    __slots__ = ("end", "parent", "pieces", "size", "stream")

    def __init__(self, stream: str, parent: Dict[str, Any]) -> None:
        self.stream, self.parent = stream, parent
        self.pieces: List[bytes] = []
        self.size = self.end = 0


class Outlet:
    """Collects the bytes of both streams and publishes them in order on iopub.

    One per kernel. Any thread may write, signal handlers too; only the I/O thread sends, so that
    an interrupt never loses a message halfway. In a forked child nothing here is used: its
    streams write to descriptors 1 and 2, which the parent reads.
    """

    def __init__(self, session: Any, iopub_thread: Any, ring: Optional[Ring] = None) -> None:
        self._session = session
        self._io = iopub_thread
        self._ring = ring
        self._begin()
        #: Takes up what was written past this outlet so far.
        self.catch_up: Callable[[], None] = lambda: None
        #: Whether this process is a fork of the kernel.
        self.forked = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: setattr(self, "forked", True))
        #: The request that output belongs to: of an asyncio task, else of a thread, else the last.
        self.task_parent: contextvars.ContextVar[Dict[str, Any]] = contextvars.ContextVar("rmi")
        self.thread = threading.local()
        self.last_parent: Dict[str, Any] = {}
        iopub_thread.send_multipart = self._send_in_turn

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        #: `_Text`, messages as (args, kwargs), and None for the end of a run.
        self._queue: Deque[Any] = deque()
        self._last: Optional[_Text] = None
        self._ident: Tuple[Any, bytes] = None, b""
        self._waiting = 0
        self._timer = self._urgent = False
        self._decoders = {name: _decoder() for name in STREAMS}

    def abandon(self) -> None:
        """In a copy of the kernel: what is on its way, the kernel sends."""
        self._begin()
        self._ring = None

    def revive(self, iopub_thread: Any, ring: Ring) -> None:
        """In a kernel that was made of the copy."""
        self._io, self._ring, self.forked = iopub_thread, ring, False
        iopub_thread.send_multipart = self._send_in_turn

    @property
    def parent(self) -> Dict[str, Any]:
        """Header of the request that the calling code's output belongs to."""
        found = self.task_parent.get(None)
        return found or getattr(self.thread, "parent", None) or self.last_parent

    def begin(self, parent: Dict[str, Any]) -> None:
        """From now on output belongs to the request with this header."""
        self.task_parent.set(parent)
        self.last_parent = parent

    def write(self, stream: str, parent: Dict[str, Any], data: bytes) -> None:
        """Take `data`; returns when it is kept safe and not too much is waiting."""
        if len(data) <= PIECE:
            self._take(stream, parent, data)
            return
        for start in range(0, len(data), PIECE):
            self._take(stream, parent, data[start : start + PIECE])

    def _take(self, stream: str, parent: Dict[str, Any], data: bytes) -> None:
        with self._lock:
            text = self._last
            if text is None or text.parent is not parent or text.stream is not stream:
                text = self._last = _Text(stream, parent)
                self._queue.append(text)
            if self._ring is not None:
                if self._ident[0] is not parent:
                    self._ident = parent, parent.get("msg_id", "").encode()[:255]
                text.end = self._ring.append(_NUMBERS[stream], self._ident[1], data)
            text.pieces.append(data)
            text.size += len(data)
            if text.size >= PIECE:
                self._last = None
            self._waiting += len(data)
        if self._waiting >= PIECE:
            if not self._urgent:
                # In this order, because the I/O thread may take the flag back at once.
                self._urgent = True
                self._in_io_thread(self._drain)
            if self._waiting > WAITING:
                self._wait_for_room()
        elif not self._timer:
            self._timer = True
            self._in_io_thread(self._start_timer)

    def finish(self) -> None:
        """The request is done: all that was written so far leaves now, and what a program's
        tasks and threads still write is told by their own mark."""
        self.task_parent.set({})
        self._append(None)

    def _send_in_turn(self, *args: Any, **kwargs: Any) -> None:
        """What the rest of the kernel publishes, after the text that came before it."""
        if self.forked:
            # The sockets are the parent's.
            return
        if threading.current_thread() is not self._io.thread:
            self.catch_up()
        self._append((args, kwargs))

    def _append(self, item: Any) -> None:
        with self._lock:
            self._last = None
            self._queue.append(item)
        self._in_io_thread(self._drain)

    def _in_io_thread(self, function: Callable[[], None]) -> None:
        if self._io.thread.is_alive():
            self._io.io_loop.add_callback(function)
        else:
            self._drain()

    def _start_timer(self) -> None:
        self._io.io_loop.call_later(INTERVAL, self._drain)

    def _wait_for_room(self) -> None:
        if threading.current_thread() is self._io.thread:
            return
        with self._room:
            while self._waiting > WAITING and self._io.thread.is_alive():
                # Whatever an interrupt has kept from being asked for.
                self._in_io_thread(self._drain)
                self._room.wait(0.1)

    def _drain(self) -> None:
        # Reset first: what is appended from now on is either met below or asks for a new call.
        self._timer = self._urgent = False
        while self._queue:
            with self._lock:
                item = self._queue.popleft()
                if item is self._last:
                    self._last = None
            if isinstance(item, _Text):
                self._send_text(item)
            elif item is None:
                for stream, decoder in self._decoders.items():
                    self._send(stream, self.last_parent, decoder.decode(b"", True), None)
            else:
                args, kwargs = item
                self._io._really_send(*args, **kwargs)

    def _send_text(self, item: _Text) -> None:
        text = self._decoders[item.stream].decode(b"".join(item.pieces))
        try:
            self._send(item.stream, item.parent, text, item.end)
        finally:
            with self._room:
                # An interrupt may have hit a writer between two steps: never below nothing.
                self._waiting = max(0, self._waiting - item.size) if self._queue else 0
                self._room.notify_all()

    def _send(self, stream: str, parent: Dict[str, Any], text: str, end: Optional[int]) -> None:
        if not text:
            return
        message = self._session.msg("stream", {"name": stream, "text": text}, parent=parent)
        if end is not None:
            message["metadata"] = {"rmi": {"end": end}}
        self._session.send(_Direct(self._io), message, ident=b"stream." + stream.encode())


class _Direct:
    """The socket-like object that `Session.send` wants, in the I/O thread."""

    def __init__(self, iopub_thread: Any) -> None:
        self.send_multipart = iopub_thread._really_send


def make_packable(session: Any) -> None:
    """Let messages carry text with lone surrogates, which UTF-8 cannot express.

    They are written out, as stderr does it; otherwise the reader would drop the whole message.
    """
    default, pack = json_default, session.pack

    def pack_all(content: Any) -> Any:
        try:
            text = json.dumps(content, default=default, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError):
            return pack(content)
        try:
            return text.encode("utf-8")
        except UnicodeEncodeError:
            # The backslash is doubled: this is JSON already.
            return re.sub("[\ud800-\udfff]", lambda m: "\\\\u%04x" % ord(m[0]), text).encode()

    session.pack = pack_all


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("backslashreplace")


class Stream(io.TextIOWrapper):
    """sys.stdout or sys.stderr of a kernel: unbuffered text over `Bytes`.

    As `python -u` has it, but for characters that UTF-8 cannot express, which stdout writes out
    as stderr does instead of failing. Each run has new ones, because a program may close,
    detach or wrap its own; what still holds older ones can go on writing to them.
    """

    mode = "w"

    def __init__(self, outlet: Outlet, name: str, fd: int, reader: Optional[FdReader]) -> None:
        self._outlet = outlet
        raw = Bytes(outlet, name, fd, reader)
        super().__init__(raw, "utf-8", "backslashreplace", "\n", write_through=True)

    # What ipykernel asks of its own streams.

    def set_parent(self, parent: Dict[str, Any]) -> None:
        self._outlet.begin(extract_header(parent))

    def set_thread_parent(self, parent: Dict[str, Any]) -> Any:
        return self._outlet.task_parent.set(extract_header(parent))

    def reset_thread_parent(self, token: Any) -> None:
        self._outlet.task_parent.reset(token)

    @property
    def parent_header(self) -> Dict[str, Any]:
        return self._outlet.parent


class Bytes(io.RawIOBase):
    """`sys.stdout.buffer`: bytes that go to the outlet, in order with those of descriptor `fd`.

    When the program has put something else in the place of the descriptor, they go there.
    """

    mode = "wb"

    def __init__(self, outlet: Outlet, name: str, fd: int, reader: Optional[FdReader]) -> None:
        self._outlet, self._stream, self._fd, self._reader = outlet, name, fd, reader
        self.name = "<%s>" % name

    def write(self, data: Any) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        content = data if isinstance(data, bytes) else memoryview(data).tobytes()
        outlet, reader = self._outlet, self._reader
        if outlet.forked or (reader is not None and not reader.owns(self._fd)):
            write_all(self._fd, content)
        else:
            if reader is not None:
                reader.catch_up()
            outlet.write(self._stream, outlet.parent, content)
        return len(content)

    @property
    def raw(self) -> Bytes:
        """What a buffered stream would have beneath it."""
        return self

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd
