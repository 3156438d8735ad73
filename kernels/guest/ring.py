"""The last of a kernel's text output, in a mapped file that survives the kernel's death.

Text travels to the server as messages, and what a dying kernel had not sent yet would be lost.
So each piece is first copied into this ring: a memory copy, no system call. Every stream message
names the ring position that it reaches (`metadata["rmi"]["end"]`), and after a death the server
reads from there on.

Layout: an 8-byte little-endian count of all bytes ever written, then `SIZE` bytes of data in
which position `p` stands at `p % SIZE`. A record is a header (`_HEADER`: stream number, length
of the id, length of the text), the id of the execution, and the text as UTF-8.
"""

from __future__ import annotations

import mmap
import struct
from typing import Iterator, List, Optional, Tuple

SIZE = 4 * 1024 * 1024
STREAMS = ("stdout", "stderr")
_COUNT = struct.Struct("<Q")
_HEADER = struct.Struct("<BBI")
#: One record is at most this many bytes of text, so that a reader never meets half of one.
PIECE = 1024 * 1024


class Ring:
    """The writing side. Not locked: the caller serialises `append`."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._map = mmap.mmap(file.fileno(), _COUNT.size + SIZE)
        self.end: int = _COUNT.unpack_from(self._map)[0]

    def append(self, stream: int, execution: bytes, data: bytes) -> int:
        """Keep `data` (at most `PIECE` bytes); returns the position that it reaches."""
        record = _HEADER.pack(stream, len(execution), len(data)) + execution + data
        # Taken first, so that a signal handler that prints meanwhile writes behind it.
        start = self.end
        end = self.end = start + len(record)
        place = _COUNT.size + start % SIZE
        room = _COUNT.size + SIZE - place
        if len(record) <= room:
            self._map[place : place + len(record)] = record
        else:
            self._map[place:] = record[:room]
            self._map[_COUNT.size : _COUNT.size + len(record) - room] = record[room:]
        _COUNT.pack_into(self._map, 0, self.end)
        return end


def create(path: str) -> None:
    """Make an empty ring file, readable by its owner alone."""
    with open(path, "xb") as file:
        file.truncate(_COUNT.size + SIZE)


def unread(path: str, position: int) -> Optional[Iterator[Tuple[str, str, str]]]:
    """What was written after `position`: (execution, stream name, text), oldest first.

    None when the ring has already overwritten that place, so that something is lost.
    """
    with open(path, "rb") as file:
        content = file.read()
    end = _COUNT.unpack_from(content)[0]
    if not end - SIZE <= position <= end:
        return None
    data = content[_COUNT.size :]
    at = position % SIZE
    return _records((data[at:] + data[:at])[: end - position])


def _records(data: bytes) -> Iterator[Tuple[str, str, str]]:
    at = 0
    origin, pieces = (b"", 0), []  # type: Tuple[Tuple[bytes, int], List[bytes]]
    while at + _HEADER.size <= len(data):
        stream, ident, length = _HEADER.unpack_from(data, at)
        start = at + _HEADER.size
        text = start + ident
        if (data[start:text], stream) != origin:
            yield from _joined(origin, pieces)
            origin, pieces = (data[start:text], stream), []
        pieces.append(data[text : text + length])
        at = text + length
    yield from _joined(origin, pieces)


def _joined(origin: Tuple[bytes, int], pieces: List[bytes]) -> Iterator[Tuple[str, str, str]]:
    """Pieces of one origin as one text: a character may have been cut in two between them."""
    text = b"".join(pieces).decode("utf-8", "backslashreplace")
    if text:
        yield origin[0].decode("utf-8", "replace"), STREAMS[origin[1] & 1], text
