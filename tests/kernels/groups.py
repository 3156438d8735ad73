"""Real control groups with a limit, below that of this process."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup")


class Group:
    """One, of version 1 or 2."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def processes(self) -> Path:
        """To which a process writes its pid to be in it."""
        return self._folder / "cgroup.procs"

    def take(self, pid: int | None) -> None:
        """Have this process in it, too."""
        self.processes.write_text(str(pid))

    def read(self, name: str) -> str:
        return (self._folder / name).read_text()

    def write(self, name: str, value: object) -> None:
        (self._folder / name).write_text(str(value))

    def killed(self) -> int:
        """How many the system has killed in it for memory."""
        name = (
            "memory.events" if (self._folder / "memory.events").exists() else "memory.oom_control"
        )
        return int(dict(map(str.split, self.read(name).splitlines()))["oom_kill"])


@contextlib.contextmanager
def group_of(controller: str, limits: dict[str, object]) -> Iterator[Group]:
    """A group with these limits, each by the file of version 1 or 2; what a system does not have is
    left out, but one at least it must. Skips the test where there can be none."""
    folder = _below_own(controller)
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        group = Group(folder)
        written = 0
        for name, value in limits.items():
            with contextlib.suppress(OSError):
                group.write(name, value)
                written += 1
        if not written:
            pytest.skip(f"control groups that are made here have no limit of {controller}")
        yield group
    finally:
        _remove(folder)


def _below_own(controller: str) -> Path:
    name = f"rmi-{uuid.uuid4().hex[:8]}"
    try:
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except OSError:
        pytest.skip("there are no control groups")
    for _, controllers, path in lines:
        if controller in controllers.split(","):
            return _ROOT / controller / path.lstrip("/") / name
    own = next((path for _, controllers, path in lines if not controllers), None)
    if own is None:
        pytest.skip(f"there is no controller of {controller}")
    return _ROOT / own.lstrip("/") / name


def _remove(folder: Path) -> None:
    """When those who have ended in it are gone."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return folder.rmdir()
        except OSError:
            assert time.monotonic() < deadline, (folder / "cgroup.procs").read_text()
            time.sleep(0.01)
