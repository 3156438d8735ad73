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
from typing import List, Set, Tuple

#: Linux 5.14 and later: have the pages as if something had been written to each.
_POPULATE_WRITE = 23
#: Of mappings, those of at most so many bytes: larger ones are a program's data.
_LARGE = 32 << 20
#: More bytes than these are none that are written again and again.
_MOST = 12 << 20
_PRIVATE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) .w.p", re.MULTILINE)
#: The highest byte of a page's entry: it is there, and no other process has it.
_OWN = re.compile(rb"\x81+")
#: After so many forks it is found out anew.
_ANEW = 48

Ranges = List[Tuple[int, int]]


class Rewritten:
    """The pages of this process that are written between one fork and the next. Tell it of each."""

    def __init__(self) -> None:
        #: (address, bytes) of them, and for how many more forks that is to do.
        self._ranges: Ranges = []
        self._times = 0
        #: The pages that had been written when they were looked at, before the last fork.
        self._before: Set[int] = set()

    def before_fork(self) -> None:
        """Find out which they are, if it is time for it: what is written before two forks in a row.
        What was copied looks as if it were written, so two forks are not followed by copies then.
        """
        if self._ranges:
            self._times -= 1
            if not self._times:
                self._ranges, self._before = [], set()
        else:
            written = _own()
            self._ranges, self._times = _ranges(written & self._before), _ANEW
            self._before = written

    def after_fork(self) -> None:
        """Copy those that are shared. Changes nothing of what is there."""
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for address, length in self._ranges:
            # What is mapped no longer, or differently, is left as it is.
            madvise(address, length, _POPULATE_WRITE)


def _own() -> Set[int]:
    """The pages that this process alone has: since the last fork of its, or of that from which it
    was forked. Empty if that is too much to be of use."""
    found: Set[int] = set()
    # It may not be told.
    with contextlib.suppress(OSError, ValueError), open("/proc/self/pagemap", "rb", 0) as file:
        for begin, end in _mappings():
            first = begin // mmap.PAGESIZE
            file.seek(first * 8)
            entries = file.read((end - begin) // mmap.PAGESIZE * 8)
            for match in _OWN.finditer(entries[7::8]):
                found.update(range(first + match.start(), first + match.end()))
                if len(found) * mmap.PAGESIZE > _MOST:
                    return set()
    return found


def _ranges(pages: Set[int]) -> Ranges:
    """As (address, bytes)."""
    found: Ranges = []
    for page in sorted(pages):
        address = page * mmap.PAGESIZE
        if found and sum(found[-1]) == address:
            found[-1] = found[-1][0], found[-1][1] + mmap.PAGESIZE
        else:
            found.append((address, mmap.PAGESIZE))
    return found


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
