"""Signals: a program begins with Python's handlers, and an interrupt reaches it alone.

SIGINT raises KeyboardInterrupt where `interruptible` allows it. Elsewhere in the kernel that would
cost the reply, so there it is noted: it may be meant for a request that is still on its way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from typing import Any, Dict, Iterator, List

try:
    # Without the enum lookups of `signal.getsignal`, for sixty signals each time.
    from _signal import getsignal as _getsignal  # type: ignore[import-not-found]
except ImportError:
    _getsignal = signal.getsignal

_FIXED = {getattr(signal, name, None) for name in ("SIGINT", "SIGKILL", "SIGSTOP")}
_NUMBERS = [number for number in signal.valid_signals() if number not in _FIXED]

#: Seconds after which a noted interrupt is repeated: by then the program runs.
_SOON = 0.01
#: When the last interrupt was noted, in seconds since the epoch; 0: it is settled.
_noted = [0.0]
_repeating: List[threading.Timer] = []


def _note(*_: Any) -> None:
    _noted[0] = time.time()


def note_interrupts() -> None:
    """From now on SIGINT is noted."""
    while True:
        try:
            signal.signal(signal.SIGINT, _note)
        except KeyboardInterrupt:
            # It came at the last moment, before the change.
            _note()
            continue
        return


def forget_interrupts(before: float) -> None:
    """Those before this time were meant for an earlier request."""
    if _noted[0] < before:
        _noted[0] = 0.0


def _interrupt(loop: asyncio.AbstractEventLoop) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    with contextlib.suppress(RuntimeError):
        # One that waits for a cell that awaits notices the signal only with its next event.
        loop.call_soon_threadsafe(lambda: None)


def _repeat_soon() -> None:
    again = threading.Timer(_SOON, _interrupt, (asyncio.get_running_loop(),))
    again.daemon = True
    again.start()
    _repeating.append(again)


def _repeat_no_more() -> bool:
    """Whether one was to be repeated, or has been."""
    was_any = bool(_repeating)
    while _repeating:
        _repeating.pop().cancel()
    return was_any


def allow_interrupts() -> bool:
    """From now on SIGINT raises KeyboardInterrupt; whether that is a change. It is none where a
    program has a handler, or ipykernel has one that cancels a cell that awaits."""
    is_change = _getsignal(signal.SIGINT) is _note
    if is_change:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if _noted[0]:
        _noted[0] = 0.0
        # Not at once: raised here, it would hit the code around the program.
        _repeat_soon()
    return is_change


def end_interrupts() -> None:
    """SIGINT is noted from now on. What has ended by itself needs none, and what comes next is to
    have none."""
    note_interrupts()
    _repeat_no_more()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt within the block."""
    allow_interrupts()
    try:
        yield
    finally:
        end_interrupts()


@contextlib.contextmanager
def interruptible_where_it_computes(code: Any, namespace: Dict[str, Any]) -> Iterator[None]:
    """ipykernel has SIGINT cancel a cell that awaits, which takes effect where it awaits next.
    Within the block it raises KeyboardInterrupt where the cell itself computes: in `namespace`,
    called by a function that has this code."""
    cancel: Any = _getsignal(signal.SIGINT)
    if getattr(cancel, "__module__", "") != "ipykernel.ipkernel":
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if _computes(frame, code, namespace):
            raise KeyboardInterrupt
        cancel(number, frame)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        if _getsignal(signal.SIGINT) is handle:
            signal.signal(signal.SIGINT, cancel)


def _computes(frame: Any, code: Any, namespace: Dict[str, Any]) -> bool:
    # Not in a task of its own, and not in what IPython does around it: that would end the loop.
    is_program = False
    while frame is not None and frame.f_code is not code:
        if frame.f_globals is namespace and frame.f_code.co_name == "<module>":
            is_program = True
        frame = frame.f_back
    return is_program and frame is not None


def keep_interrupts(events: Any) -> None:
    """What IPython calls before a cell can be interrupted. The interrupt is for the program, too,
    which IPython would begin as if nothing had happened."""
    trigger = events.trigger

    def trigger_or_repeat(event: str, *args: Any, **kwargs: Any) -> None:
        if event not in ("pre_execute", "pre_run_cell"):
            trigger(event, *args, **kwargs)
            return
        for callback in list(events.callbacks[event]):
            is_change = allow_interrupts()
            try:
                callback(*args, **kwargs)
            except KeyboardInterrupt:
                _note()
            except Exception:
                print("Error in callback %s (for %s):" % (callback, event))
                events.shell.showtraceback()
            if is_change:
                note_interrupts()
            if _repeat_no_more():
                _note()

    events.trigger = trigger_or_repeat


class Signals:
    """The signals of this process. Make it in the main thread, before any program runs."""

    def __init__(self, kernel: Any) -> None:
        # ipykernel would let interrupts through around each message.
        kernel.pre_handler_hook = kernel.post_handler_hook = lambda: None
        note_interrupts()
        self._first = _handlers()
        if sys.platform != "win32":
            self._blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def quiet(self) -> None:
        """Stop what a program may have left: it must not hit the kernel, or the next program."""
        note_interrupts()
        if sys.platform != "win32":
            for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
                signal.setitimer(timer, 0)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)

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


def _handlers() -> Dict[int, Any]:
    return {number: _getsignal(number) for number in _NUMBERS}


def _set(handlers: Dict[int, Any]) -> None:
    for number, handler in handlers.items():
        # None: it was not set by Python, which cannot set it back.
        if handler is not None and _getsignal(number) is not handler:
            signal.signal(number, handler)
