"""What /proc tells a process of itself. Linux only."""

from __future__ import annotations

import contextlib
import os
import re
from typing import Dict, List, Tuple


def open_files() -> Dict[int, str]:
    """What each open descriptor is, as `ls -l /proc/self/fd` shows it."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        # The one by which they are listed is gone.
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink("/proc/self/fd/" + name)
    return found


def native_threads() -> Dict[int, str]:
    """The name of each thread, by its number. Those of Python have the process's."""
    found = {}
    for name in os.listdir("/proc/self/task"):
        # One may have ended meanwhile.
        with contextlib.suppress(OSError), open("/proc/self/task/%s/comm" % name) as file:
            found[int(name)] = file.read().rstrip("\n")
    return found


def children() -> List[Tuple[int, str]]:
    """Number and name of each child process, those that have ended and were not waited for, too."""
    found = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError), open("/proc/self/task/%s/children" % thread) as file:
            for pid in file.read().split():
                with contextlib.suppress(OSError), open("/proc/%s/comm" % pid) as name:
                    found.append((int(pid), name.read().rstrip("\n")))
    return found


def mappings() -> List[Tuple[str, str]]:
    """(permissions, path) of what is mapped from files or shared."""
    with open("/proc/self/maps") as file:
        return _MAPPING.findall(file.read())


_MAPPING = re.compile(r"^\S+ (\S+) \S+ \S+ \S+ +(\S.*)$", re.MULTILINE)
