"""Which processes belong to which, as /proc tells it. Standard library only."""

from __future__ import annotations

import contextlib
import os

#: Environment variable that marks a kernel and all that it starts; its value is the kernel's id.
TAG = "RMI_AGENT_KERNEL"


def send_signal(pid: int, number: int) -> None:
    """As `os.kill`, of a process that may be gone."""
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _processes() -> list[tuple[int, int, int]]:
    """(pid, parent, session) of every process; empty where there is no /proc."""
    found = []
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    for name in names:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] not in (b"Z", b"X"):
                found.append((int(name), int(fields[1]), int(fields[3])))
    return found


def descendants(pid: int) -> list[int]:
    """Living children of `pid` and theirs."""
    children: dict[int, list[int]] = {}
    for member, parent, _ in _processes():
        children.setdefault(parent, []).append(member)
    found: list[int] = []
    queue = [pid]
    while queue:
        for child in children.get(queue.pop(), []):
            found.append(child)
            queue.append(child)
    return found


def belonging_to(ident: str, pid: int) -> list[int]:
    """Processes of the kernel `ident`, whose pid was `pid`, wherever they were adopted.

    Known by the session that the kernel led, or by the tag in the environment they began with.
    """
    tag = f"{TAG}={ident}".encode()
    found = []
    for member, _, session in _processes():
        if member == os.getpid():
            continue
        if session == pid and member != pid:
            found.append(member)
            continue
        try:
            with open(f"/proc/{member}/environ", "rb") as file:
                if tag in file.read().split(b"\0"):
                    found.append(member)
        except OSError:
            continue
    return found
