"""The thread in which IPython runs `%%bash` and its like."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

#: Seconds that it has to end.
_PATIENCE = 1.0


def end_idle_thread(shell: Any) -> None:
    """End it when it has nothing to do: IPython keeps it for ever, and begins another when it needs
    one. What was started with `--bg` needs it, also to be read later."""
    magics = shell.magics_manager.registry.get("ScriptMagics")
    loop = getattr(magics, "event_loop", None)
    if loop is None or magics.bg_processes or asyncio.all_tasks(loop):
        return
    if any(type(value).__name__ == "_AsyncIOProxy" for value in list(shell.user_ns.values())):
        return
    for thread in threading.enumerate():
        if getattr(thread, "_target", None) == loop.run_forever:
            magics.event_loop = None
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_PATIENCE)
            if not thread.is_alive():
                loop.close()
