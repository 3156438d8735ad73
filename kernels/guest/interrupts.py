"""An interrupt reaches the user's code only: one that hit the code around it would cost the reply.

SIGINT is ignored by the kernel, and raises KeyboardInterrupt where `interruptible` allows it.
"""

from __future__ import annotations

import contextlib
import signal
from typing import Any, Iterator


def ignore_by_default(kernel: Any) -> None:
    """Keep ipykernel from letting interrupts through around each message."""
    kernel.pre_handler_hook = kernel.post_handler_hook = lambda: None
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt within the block."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
