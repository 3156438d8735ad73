"""What kernels take of the machine's memory."""

from __future__ import annotations

import contextlib
import mmap
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

#: Bytes of memory, and which part of all, that are to be left to programs.
_SPARED, _SPARED_PART = 200_000_000, 0.03


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


def private(pid: int | None) -> int:
    """Bytes of memory that a process has for itself alone, and that are free when it ends; 0 where
    that is not told. Takes milliseconds for each gigabyte: call it in a thread."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        lines = [line.split() for line in file if line.startswith(("Private_", "Swap:"))]
        return sum(int(fields[1]) for fields in lines if fields[0] != "Private_Hugetlb:") * 1024
    return 0


def resident(pid: int | None) -> int:
    """Bytes of resident memory of a process, shared ones included; 0 where /proc does not tell."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * mmap.PAGESIZE
    return 0


def is_short() -> bool:
    """Whether too little is left for programs to have anything beside them."""
    available, total = left()
    return available < max(_SPARED, _SPARED_PART * total)


def own() -> int:
    """Bytes of resident memory of this process."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def left() -> tuple[int, int]:
    """Bytes that this process may still take, and of how many: what the machine has, or what is
    left of the limit of a control group."""
    import psutil

    machine = psutil.virtual_memory()
    groups: list[tuple[int, int]] = []
    with contextlib.suppress(OSError):
        groups = _of_groups(Path("/proc/self/cgroup").read_text(), Path("/sys/fs/cgroup"))
    return min((machine.available, machine.total), *groups)


def _of_groups(membership: str, root: Path) -> list[tuple[int, int]]:
    """The same for the control groups of a process, of version 1 and 2, that have a limit."""
    found = []
    for line in membership.splitlines():
        _, controller, path = line.split(":", 2)
        if controller not in ("", "memory"):
            continue
        limit_file, used_file, cache = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if controller
            else ("memory.max", "memory.current", "inactive_file")
        )
        top = root / controller
        group = top / path.lstrip("/")
        # In a container the path can be the host's, and there is nothing but the top.
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError, KeyError):
                limit = int((folder / limit_file).read_text())
                facts = dict(map(str.split, (folder / "memory.stat").read_text().splitlines()))
                # Files that nobody has open are given up before anything is refused.
                used = int((folder / used_file).read_text()) - int(facts[cache])
                found.append((max(0, limit - used), limit))
            if folder == top:
                break
    return found
