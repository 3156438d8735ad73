"""Signals: a program begins with Python's handlers, and an interrupt reaches it alone.

SIGINT is ignored by the kernel, because one that hit the code around the user's would cost the
reply; it raises KeyboardInterrupt where `interruptible` allows it.
"""

from __future__ import annotations

import contextlib
import signal
from typing import Any, Dict, Iterator

try:
    # Without the enum lookups of `signal.getsignal`, for sixty signals each time.
    from _signal import getsignal as _getsignal  # type: ignore[import-not-found]
except ImportError:
    _getsignal = signal.getsignal

_FIXED = {getattr(signal, name, None) for name in ("SIGINT", "SIGKILL", "SIGSTOP")}
_NUMBERS = [number for number in signal.valid_signals() if number not in _FIXED]
_TIMERS = [
    getattr(signal, name)
    for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
    if hasattr(signal, name)
]


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt within the block."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class Signals:
    """The signals of this process. Make it in the main thread, before any program runs."""

    def __init__(self, kernel: Any) -> None:
        # ipykernel would let interrupts through around each message.
        kernel.pre_handler_hook = kernel.post_handler_hook = lambda: None
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._first = _handlers()
        self._blocked = _mask(signal.SIG_BLOCK, ()) if _mask else ()

    def quiet(self) -> None:
        """Stop what a program may have left: it must not hit the kernel, or the next program."""
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        if _mask:
            _mask(signal.SIG_SETMASK, self._blocked)

    @contextlib.contextmanager
    def script(self) -> Iterator[None]:
        """While a script runs, the handlers are those that `python` begins with, and its own."""
        session = _handlers()
        _set(self._first)
        try:
            yield
        finally:
            self.quiet()
            _set(session)


_mask = getattr(signal, "pthread_sigmask", None)


def _handlers() -> Dict[int, Any]:
    return {number: _getsignal(number) for number in _NUMBERS}


def _set(handlers: Dict[int, Any]) -> None:
    for number, handler in handlers.items():
        # None: it was not set by Python, which cannot set it back.
        if handler is not None and _getsignal(number) is not handler:
            signal.signal(number, handler)
