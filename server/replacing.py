"""Writing a file whole, in the place of the one that is expected there and of no other.

The new content is a temporary file first. It then changes places with the old file, at once for
all who look, and what came out is looked at: if somebody has written it meanwhile, the two change
back. Where names cannot be exchanged the old file is looked at just before it is replaced.
What nobody can see is a writer in place who has found the old file, but not yet emptied it.

Our own writers, who would build upon what is about to be taken back, keep each other out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterable

from notebooks.storage import Conflict, Stamp
from server.beneath import Folder
from server.temporaries import Temporary, exists, remove, stamp_of

#: How often somebody may write while names change back.
_ATTEMPTS = 20
#: Seconds to wait for writers of other processes.
_PATIENCE = 5.0
#: Where folders cannot be locked it keeps the threads of this process apart.
_OURS = threading.Lock()


def replace(folder: Folder, name: str, pieces: Iterable[bytes], expected: Stamp | None) -> Stamp:
    """Write a file of `folder`, whole or not at all, if what is there is `expected`; None: nothing.

    Its permissions stay, and its owner where we may give files away. It becomes another file, so a
    hard link is broken: the file's other names keep the old content, because they may be somebody's
    backup, or stand outside of where we may write. Raises `Conflict` and `OSError`.
    """
    with Temporary(folder, name) as temporary:
        if expected is not None:
            old = _opened(folder, name)
            try:
                if _stat_of(old) != _seen(expected) and stamp_of(old) != expected:
                    raise _changed(name)
                temporary.keep(old)
            finally:
                os.close(old)
        elif exists(folder, name):
            raise Conflict(f"{name!r} exists already.")
        stamp = temporary.fill(pieces)
        if expected is None:
            temporary.become(name)
        else:
            temporary.prepare(stamp, expected)
            with _OURS, folder.locked(_PATIENCE):
                _exchange(temporary, name, stamp, expected)
    folder.sync()
    return stamp


def _opened(folder: Folder, name: str) -> int:
    """A descriptor of the old file. One that may not be written is refused, though it could be
    replaced."""
    try:
        mode = folder.status(name).st_mode
    except FileNotFoundError:
        raise Conflict(f"{name!r} is gone: it was deleted or renamed meanwhile.") from None
    if not stat.S_ISREG(mode):
        raise _changed(name)
    if not mode & 0o222:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    os.close(folder.open_regular(name, os.O_WRONLY))
    return folder.open_regular(name)


def _changed(name: str) -> Conflict:
    return Conflict(f"{name!r} was changed by somebody else meanwhile.")


def _seen(stamp: Stamp) -> tuple[int, int, int]:
    return stamp.inode, stamp.size, stamp.mtime_ns


def _stat_of(fd: int) -> tuple[int, int, int]:
    status = os.fstat(fd)
    return status.st_ino, status.st_size, status.st_mtime_ns


def _exchange(temporary: Temporary, name: str, ours: Stamp, expected: Stamp) -> None:
    folder, aside = temporary.folder, temporary.name
    assert aside is not None
    if _content(folder, name) != expected.digest:
        raise _changed(name)
    # Once they are exchanged, what is aside is not ours to remove.
    temporary.name = None
    try:
        if not folder.exchange(aside, name):
            folder.move(aside, name)
            return
    except OSError as error:
        temporary.name = aside
        if error.errno == errno.ENOENT:
            raise _changed(name) from None
        raise
    # Nothing: the sweep of another process knew it from its name as the one to be replaced.
    if (came_out := _content(folder, aside)) in (expected.digest, b""):
        remove(folder, aside)
        return
    _put_back(folder, aside, name, ours.digest, came_out)
    raise _changed(name)


def _put_back(folder: Folder, aside: str, name: str, put_in: bytes, came_out: bytes) -> None:
    """Have somebody else's file, which is `aside`, change places with ours again.

    If by then ours was written over, too, what is newer stays in place in the end. Should that not
    come to rest, the last one that came out stays aside, and the next sweep brings it to light.
    """
    for _ in range(_ATTEMPTS):
        try:
            folder.exchange(aside, name)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                if folder.link(aside, name):
                    remove(folder, aside)
                else:
                    folder.move(aside, name)
                return
            continue
        if (back := _content(folder, aside)) == put_in:
            remove(folder, aside)
            return
        put_in, came_out = came_out, back


def _content(folder: Folder, name: str) -> bytes:
    """What tells a file's content from another; of what is no file, or cannot be read, something
    that no content is; nothing if there is none."""
    try:
        fd = folder.open_regular(name)
    except FileNotFoundError:
        return b""
    except OSError:
        with contextlib.suppress(OSError):
            return b"inode %d" % folder.status(name).st_ino
        return b"unknown"
    try:
        return stamp_of(fd).digest
    finally:
        os.close(fd)
