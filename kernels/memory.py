"""What kernels take of the machine's memory."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection


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


def of_families(pids: Collection[int]) -> dict[int, int]:
    """As `resident`, for many processes in one look. Those that are no more are left out."""
    import psutil

    children: dict[int, list[psutil.Process]] = defaultdict(list)
    there: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            children[process.ppid()].append(process)
            there[process.pid] = process
    found: dict[int, int] = {}
    for pid in pids:
        family = [there[pid]] if pid in there else []
        for process in family:
            with contextlib.suppress(psutil.Error):
                found[pid] = found.get(pid, 0) + process.memory_info().rss
            family += children[process.pid]
    return found


def own() -> int:
    """Bytes of resident memory of this process."""
    import psutil

    return int(psutil.Process().memory_info().rss)
