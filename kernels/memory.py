"""What kernels take of the machine's memory."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable


def of_families(pids: Iterable[int | None]) -> dict[int, int]:
    """Bytes of resident memory of each process and all that it has started; those that are no more
    are left out. Looks once at every process of the machine: call it in a thread."""
    # The server's start does not wait for it.
    import psutil

    children: dict[int, list[psutil.Process]] = defaultdict(list)
    there: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            children[process.ppid()].append(process)
            there[process.pid] = process
    found: dict[int, int] = {}
    for pid in pids:
        if pid is None or pid not in there:
            continue
        family = [there[pid]]
        for process in family:
            # One may have ended meanwhile.
            with contextlib.suppress(psutil.Error):
                found[pid] = found.get(pid, 0) + process.memory_info().rss
            family += children[process.pid]
    return found


def own() -> int:
    """Bytes of resident memory of this process."""
    import psutil

    return int(psutil.Process().memory_info().rss)
