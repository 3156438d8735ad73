"""A kernel's stdout and stderr: one ordered, bounded outlet for both.

ipykernel gives each stream a buffer of its own, so their order is lost; it sends a message for
every flush; it lets 100 MB pile up; and it loses what stands in its buffers when the kernel dies.
Here both streams write into one `Outlet`. It sends pieces of at most `PIECE` characters, always
before any other message of the kernel, waits for the reader when too much is under way (as a
pipe does), and keeps a copy in the `Ring`.

Bytes that bypass Python (C code, child processes) come through a pipe on descriptors 1 and 2.
`FdReader` takes them up in a thread, and each Python write first takes up what is already there,
so that the order is the true one.
"""

from __future__ import annotations

import codecs
import contextvars
import io
import os
import threading
from typing import Any, Dict, List, Optional, Tuple

from ipykernel.iostream import OutStream
from jupyter_client.session import extract_header

PIECE = 64 * 1024
#: Characters handed to the I/O thread and not yet sent, above which a writer waits.
IN_FLIGHT = 512 * 1024
#: Seconds that small output may wait for more before it is sent.
INTERVAL = 0.04


class Outlet:
    """Collects the text of both streams and publishes it in order on iopub.

    One per kernel. Any thread may write. In a forked child nothing here is used: its streams
    write to descriptors 1 and 2, which the parent reads.
    """

    def __init__(self, session: Any, iopub_thread: Any, ring: Any = None) -> None:
        self._session = session
        self._io = iopub_thread
        self._publish = iopub_thread.send_multipart
        self._ring = ring
        self._lock = threading.RLock()
        self._room = threading.Condition(threading.Lock())
        self._segments: List[Tuple[Dict[str, Any], str, List[str], List[int]]] = []
        self._pending = 0
        self._in_flight = 0
        self._timer = False
        self.pid = os.getpid()
        self.parent: contextvars.ContextVar[Dict[str, Any]] = contextvars.ContextVar("rmi_parent")
        self.last_parent: Dict[str, Any] = {}
        iopub_thread.send_multipart = self._send_after_text

    def write(self, name: str, parent: Dict[str, Any], text: str) -> None:
        """Take `text`; returns when it is kept safe and not too much is waiting."""
        if not text.isascii():
            # A lone surrogate cannot travel: ipykernel would drop the whole message.
            text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        for start in range(0, len(text), PIECE):
            self._take(name, parent, text if len(text) <= PIECE else text[start : start + PIECE])

    def _take(self, name: str, parent: Dict[str, Any], text: str) -> None:
        with self._lock:
            if self._ring is not None:
                self._ring.append(0 if name == "stdout" else 1, parent.get("msg_id", ""), text)
            last = self._segments[-1] if self._segments else None
            if last is None or last[0] is not parent or last[1] != name:
                last = (parent, name, [], [0])
                self._segments.append(last)
            last[2].append(text)
            last[3][0] = self._ring.end if self._ring is not None else 0
            self._pending += len(text)
            full = self._pending >= PIECE
            start_timer = not full and not self._timer
            if start_timer:
                self._timer = True
        if full:
            self.send_pending()
            self._wait_for_room()
        elif start_timer:
            self._io.schedule(self._start_timer)

    def _start_timer(self) -> None:
        self._io.io_loop.call_later(INTERVAL, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = False
        self.send_pending()

    def _wait_for_room(self) -> None:
        if threading.current_thread() is self._io.thread:
            return
        with self._room:
            while self._in_flight > IN_FLIGHT and self._io.thread.is_alive():
                self._room.wait(1.0)

    def send_pending(self) -> None:
        """Hand all text that was taken so far to the I/O thread, in order."""
        with self._lock:
            segments, self._segments, self._pending = self._segments, [], 0
            for parent, name, pieces, end in segments:
                text = "".join(pieces)
                message = self._session.msg("stream", {"name": name, "text": text}, parent=parent)
                message["metadata"] = {"rmi": {"end": end[0]}}
                with self._room:
                    self._in_flight += len(text)
                sender = _Sender(self, len(text))
                self._session.send(sender, message, ident=b"stream." + name.encode())

    def _send_after_text(self, *args: Any, **kwargs: Any) -> None:
        """What the rest of the kernel publishes, after the text that came before it."""
        if os.getpid() != self.pid:
            self._publish(*args, **kwargs)
            return
        with self._lock:
            if self._segments:
                self.send_pending()
            self._publish(*args, **kwargs)

    def _publish_counted(self, parts: Any, size: int, kwargs: Dict[str, Any]) -> None:
        def send() -> None:
            try:
                self._io._really_send(parts, **kwargs)
            finally:
                with self._room:
                    self._in_flight -= size
                    self._room.notify_all()

        self._io.schedule(send)


class _Sender:
    """The socket-like object that `Session.send` wants, counting what is under way."""

    def __init__(self, outlet: Outlet, size: int) -> None:
        self._outlet = outlet
        self._size = size

    def send_multipart(self, parts: Any, **kwargs: Any) -> None:
        self._outlet._publish_counted(parts, self._size, kwargs)


class Stream(OutStream):
    """sys.stdout or sys.stderr of a kernel, with what a program expects of a text file.

    An `OutStream` by type, because libraries ask for it, but none of its machinery is used.
    """

    encoding = "utf-8"
    newlines = None
    line_buffering = False
    write_through = False

    def __init__(self, outlet: Outlet, name: str, fd: int, reader: Optional[FdReader]) -> None:
        self._outlet = outlet
        self._stream = name
        self._fd = fd
        self._reader = reader
        self._shut = False
        self.name = "<%s>" % name
        self.mode = "w"
        self.buffer = _Bytes(self)
        # Attributes that ipykernel reads or clears on an OutStream.
        self.session = outlet._session
        self.pub_thread = outlet._io
        self._should_watch = False
        self._exc = None
        self.echo = None

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "strict" if self._stream == "stdout" else "backslashreplace"

    def set_parent(self, parent: Dict[str, Any]) -> None:
        self.parent_header = extract_header(parent)

    def set_thread_parent(self, parent: Dict[str, Any]) -> Any:
        return self._outlet.parent.set(extract_header(parent))

    def reset_thread_parent(self, token: Any) -> None:
        self._outlet.parent.reset(token)

    @property
    def parent_header(self) -> Dict[str, Any]:
        return self._outlet.parent.get(self._outlet.last_parent)

    @parent_header.setter
    def parent_header(self, header: Dict[str, Any]) -> None:
        self._outlet.parent.set(header)
        self._outlet.last_parent = header

    def write(self, string: str) -> int:
        if not isinstance(string, str):
            raise TypeError("write() argument must be str, not %s" % type(string).__name__)
        if self._shut:
            raise ValueError("I/O operation on closed file.")
        outlet = self._outlet
        if os.getpid() != outlet.pid:
            _write_all(self._fd, string.encode("utf-8", "backslashreplace"))
            return len(string)
        if self._reader is not None:
            self._reader.catch_up()
        outlet.write(self._stream, self.parent_header, string)
        return len(string)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Nothing to do: what was written is in the ring, and leaves within `INTERVAL`."""

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def reconfigure(self, **_options: Any) -> None:
        """Accepted and without effect: a kernel's text is always UTF-8."""

    def close(self) -> None:
        self._shut = True

    def reopen(self) -> None:
        self._shut = False

    @property
    def closed(self) -> bool:
        return self._shut


class _Bytes(io.RawIOBase):
    """`sys.stdout.buffer`: bytes that join the text in order."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.raw = self

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if os.getpid() != self._stream._outlet.pid:
            _write_all(self._stream._fd, bytes(view))
        else:
            text = self._decoder.decode(bytes(view))
            if text:
                self._stream.write(text)
        return view.nbytes

    def flush(self) -> None:
        """As `Stream.flush`."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def close(self) -> None:
        """Kept open: the stream around it outlives any script."""


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


try:
    import ctypes

    # Unlike `os.read` it keeps the interpreter's lock, so that a program which writes to its
    # descriptor and ends the process at once cannot do so between the read and the ring.
    _c_read = ctypes.PyDLL(None).read
    _c_read.restype = ctypes.c_ssize_t
    _c_read.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
except (ImportError, OSError, AttributeError, TypeError):
    _c_read = None  # type: ignore[assignment]


def _read(fd: int) -> bytes:
    """What there is to read now, at most 64 KiB; b"" when there is nothing."""
    if _c_read is not None:
        buffer = ctypes.create_string_buffer(65536)
        count = _c_read(fd, buffer, 65536)
        return buffer.raw[: max(0, count)]
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""


class FdReader:
    """Takes up what is written to descriptors 1 and 2 themselves.

    `pipes` are the read ends, in the order stdout, stderr; the write ends are descriptors 1 and
    2. Only where the platform can poll pipes (not on Windows).
    """

    def __init__(self, outlet: Outlet, pipes: Tuple[int, int], lifeline: int) -> None:
        import select

        self._outlet = outlet
        self._pipes = dict(zip(pipes, ("stdout", "stderr")))
        self._lifeline = lifeline
        self._decoders = {
            fd: codecs.getincrementaldecoder("utf-8")("backslashreplace") for fd in pipes
        }
        self._lock = threading.RLock()
        for fd in pipes:
            os.set_blocking(fd, False)
        # A poll object refuses use by two threads at once, so each side has one.
        self._quick = select.poll()
        self._patient = select.poll()
        for fd in pipes:
            self._quick.register(fd, select.POLLIN)
            self._patient.register(fd, select.POLLIN)
        self._patient.register(lifeline, select.POLLIN)
        # Spare write ends, so that a program which closes 1 or 2 does not end the pipes.
        self._spares = {fd: os.dup(fd) for fd in (1, 2)}
        self._thread = threading.Thread(target=self._run, name="rmi fd reader", daemon=True)
        self._thread.start()

    def repair(self) -> None:
        """Put the pipes back on descriptors 1 and 2 where a program closed or replaced them."""
        for fd, spare in self._spares.items():
            try:
                if os.path.sameopenfile(fd, spare):
                    continue
            except OSError:
                pass
            os.dup2(spare, fd)

    def catch_up(self) -> None:
        """Take up all that is in the pipes now; returns at once when there is nothing."""
        if self._lock.acquire(timeout=1.0):
            try:
                while True:
                    ready = self._quick.poll(0)
                    if not ready:
                        return
                    for fd, _event in ready:
                        self._take(fd)
            finally:
                self._lock.release()

    def _take(self, fd: int) -> None:
        data = _read(fd)
        text = self._decoders[fd].decode(data)
        if text:
            self._outlet.write(self._pipes[fd], self._outlet.last_parent, text)

    def _run(self) -> None:
        while True:
            for fd, _event in self._patient.poll():
                if fd == self._lifeline:
                    # The other end is the server's: it is gone, and nobody wants this kernel.
                    os._exit(1)
                with self._lock:
                    self._take(fd)
