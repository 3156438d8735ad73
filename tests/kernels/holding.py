"""Processes that stand still at a named step of taking a checkpoint or of going on from it, so that
what is killed there can be chosen."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import indent

from tests.conftest import until

#: What is called at each step, in the guest: the object, and the name of the function.
STEPS = {
    # Of taking, in the kernel and in its copy.
    "the kernel looks around": ("checkpoint.Checkpoints", "_look"),
    "the kernel copies its pages": ("pages.Rewritten", "after_fork"),
    "the kernel has forked": ("checkpoint.Checkpoints", "_judge_again"),
    "the copy lets go": ("machinery.Machinery", "abandon"),
    "the copy says so": ("forking.Warden", "say"),
    # Of resuming, in the checkpoint and in the new kernel.
    "the checkpoint is asked": ("forking", "fork_away"),
    "the new kernel opens all anew": ("machinery.Machinery", "revive"),
    "the new kernel is nearly there": ("machinery.Machinery", "start"),
    # Before it takes any message.
    "the new kernel has begun": ("checkpoint.gc", "enable"),
    # Of both: the process that is made, and the one that makes it.
    "it is not adopted": ("forking", "_be_adopted"),
    "its maker sees it off": ("forking", "_see_off"),
}
_CODE = """
def hold_at(step, where, name, folder):
    import functools, os, sys, time
    module, _, of = where.partition('.')
    thing = sys.modules['_rmi_guest.' + module]
    thing = getattr(thing, of) if of else thing
    whole = getattr(thing, name)
    @functools.wraps(whole)
    def held(*args, **kwargs):
        try:
            os.rename(folder + '/' + step, folder + '/reached')
        except OSError:
            return whole(*args, **kwargs)
        with open(folder + '/pid', 'w') as file:
            file.write('%d\\n' % os.getpid())
        while not os.path.exists(folder + '/go on'):
            time.sleep(0.001)
        return whole(*args, **kwargs)
    setattr(thing, name, held)
"""


class Holds:
    """At which step the next process that comes to it is to stand still. `folder`: an empty one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def code(self) -> str:
        """To be run in a kernel, for it and all that is made of it; once is enough."""
        folder = str(self._folder)
        calls = [f"    hold_at({s!r}, {w!r}, {n!r}, {folder!r})" for s, (w, n) in STEPS.items()]
        return "\n".join(["if 'hold_at' not in globals():", indent(_CODE, "    "), *calls])

    def arm(self, step: str) -> None:
        """The next to come there, and no other."""
        for path in self._folder.iterdir():
            path.unlink()
        (self._folder / step).touch()

    async def reached(self) -> int:
        """Wait until there is one; its pid."""
        file = self._folder / "pid"
        await until(lambda: file.exists() and file.read_text().endswith("\n"))
        return int(file.read_text())

    def go_on(self) -> None:
        """Let it, if it still lives."""
        (self._folder / "go on").touch()


def left_of(directory: Path) -> dict[int, str]:
    """What was started for the run directory of a server, and still lives: its command by pid."""
    found = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(directory) in command:
                found[int(path.name)] = command
    return found
