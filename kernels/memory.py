"""What kernels take of the machine's memory."""

from __future__ import annotations

import contextlib


def resident(pid: int | None) -> int | None:
    """Bytes of resident memory of a process and all that it has started; None where there is no
    such process. Looks at every process of the machine: call it in a thread."""
    if pid is None:
        return None
    # The server's start does not wait for it.
    import psutil

    try:
        process = psutil.Process(pid)
        total: int = process.memory_info().rss
        for child in process.children(recursive=True):
            # One may have ended meanwhile.
            with contextlib.suppress(psutil.Error):
                total += child.memory_info().rss
        return total
    except psutil.Error:
        return None


def own() -> int:
    """Bytes of resident memory of this process."""
    import psutil

    return int(psutil.Process().memory_info().rss)
