"""One kernel's time in a session: what is run in it, its other clients, its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from kernels.attached import Attached
from kernels.execution import tells_death
from kernels.kernel import Kernel, Message

#: Seconds that a kernel has to run its atexit handlers.
_EXIT_GRACE = 1.0


class Tenure:
    """A kernel that a session owns. `attached`: its other clients. `runs`: those of which it has
    variables. `note` takes what it says between runs, and is no other client's."""

    def __init__(
        self, kernel: Kernel, attached: Attached, runs: int, note: Callable[[Message], None]
    ) -> None:
        self.kernel, self.attached, self.runs = kernel, attached, runs
        self._note = note
        self._died = False
        self.listen()

    @property
    def lives(self) -> bool:
        """Whether the kernel can take a run."""
        return not self.kernel.exited.is_set() and not self._died

    def listen(self) -> None:
        """Take what the kernel says, now that no run does."""
        self.kernel.on_message = self._between_runs

    def _between_runs(self, message: Message) -> None:
        if tells_death(message):
            self._died = True
        if not self.attached.take(message):
            self._note(message)

    async def end(self, gracefully: bool, note: Callable[[Message], None]) -> None:
        """End the kernel. `gracefully`: its atexit handlers run first; what they print goes to
        `note`."""
        kernel = self.kernel
        # It does not end by itself.
        kernel.on_end = lambda: None
        try:
            if gracefully and kernel.scripted and self.lives:
                self._note = note
                content = {"code": "", "silent": True, "store_history": False}
                kernel.send("shell", "execute_request", content, {"rmi": {"mode": "exit"}})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_EXIT_GRACE):
                        await kernel.exited.wait()
        finally:
            await asyncio.shield(kernel.close())
