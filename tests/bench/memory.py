"""Memory and activity of a server and of all that it has started."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Memory:
    """Megabytes: `uss` its own, `pss` with its share of what is shared, `rss` all it touches."""

    uss: float
    pss: float
    rss: float

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.uss + other.uss, self.pss + other.pss, self.rss + other.rss)

    def per(self, base: Memory, count: int) -> Memory:
        """One of `count` things by which this exceeds `base`."""
        ours, theirs = (self.uss, self.pss, self.rss), (base.uss, base.pss, base.rss)
        return Memory(*((a - b) / count for a, b in zip(ours, theirs, strict=True)))

    def __str__(self) -> str:
        return f"{self.uss:.0f} / {self.pss:.0f} / {self.rss:.0f} MB"


def of_process(pid: int) -> Memory:
    """Memory of one process. Where the system has no USS or PSS, its RSS stands for them."""
    process = psutil.Process(pid)
    try:
        info = process.memory_full_info()
    except psutil.AccessDenied:
        info = process.memory_info()
    rss = info.rss / 1e6
    uss, pss = (getattr(info, name, info.rss) / 1e6 for name in ("uss", "pss"))
    return Memory(uss, pss, rss)


def most_of_process(pid: int) -> Memory:
    """As `of_process`, but RSS is the most that it ever was, where the system tells."""
    now = of_process(pid)
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return Memory(now.uss, now.pss, int(line.split()[1]) * 1024 / 1e6)
    return now


def of_family(pid: int) -> Memory:
    """Memory of a process and of all that descends from it."""
    total = Memory(0, 0, 0)
    for member in _family(pid):
        with contextlib.suppress(psutil.Error):
            total += of_process(member.pid)
    return total


def settle(pid: int, seconds: float = 0.3) -> None:
    """Wait until a process and its descendants have hardly worked for `seconds`; at most 10 s."""
    deadline = time.monotonic() + 10
    before = _worked(pid)
    while time.monotonic() < deadline:
        time.sleep(seconds)
        now = _worked(pid)
        if abs(now - before) <= 0.05 * seconds:
            return
        before = now


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _worked(pid: int) -> float:
    total = 0.0
    for member in _family(pid):
        with contextlib.suppress(psutil.Error):
            times = member.cpu_times()
            total += times.user + times.system
    return total
