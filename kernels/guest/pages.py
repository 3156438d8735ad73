"""The pages of memory that runs write again and again. Linux only.

After a fork a page that is written is copied first, which for a short run takes longer than all the
rest. What was written between two forks is written after the second one, too, for the most part: so
it is copied at once then, when nothing runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import re
from typing import List, Tuple

#: Linux 5.14 and later: have the pages as if something had been written to each.
_POPULATE_WRITE = 23
#: Of mappings, those of at most so many bytes: larger ones are a program's data.
_LARGE = 32 << 20
#: More bytes than these are none that are written again and again.
_MOST = 12 << 20
_PRIVATE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) .w.p", re.MULTILINE)
#: The highest byte of a page's entry: it is there, and no other process has it.
_OWN = re.compile(rb"\x81+")

Ranges = List[Tuple[int, int]]


def written() -> Ranges:
    """(address, bytes) of the pages that this process alone has: since the last fork of its, or of
    that from which it was forked. Empty if that is too much to be of use."""
    found: Ranges = []
    total = 0
    # It may not be told.
    with contextlib.suppress(OSError, ValueError), open("/proc/self/pagemap", "rb", 0) as file:
        for begin, end in _mappings():
            file.seek(begin // mmap.PAGESIZE * 8)
            entries = file.read((end - begin) // mmap.PAGESIZE * 8)
            for match in _OWN.finditer(entries[7::8]):
                length = (match.end() - match.start()) * mmap.PAGESIZE
                found.append((begin + match.start() * mmap.PAGESIZE, length))
                total += length
                if total > _MOST:
                    return []
    return found


def have_own(ranges: Ranges) -> None:
    """Have copies of these, where they are shared. Changes nothing of what is there."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for address, length in ranges:
        # What is mapped no longer, or differently, is left as it is.
        madvise(address, length, _POPULATE_WRITE)


def _mappings() -> Ranges:
    """Begin and end of each that is private and can be written."""
    found = []
    with open("/proc/self/maps") as file:
        maps = file.read()
    for begin, end in _PRIVATE.findall(maps):
        bounds = int(begin, 16), int(end, 16)
        if bounds[1] - bounds[0] <= _LARGE:
            found.append(bounds)
    return found
