"""What a running program asks, asked on the terminal."""

from __future__ import annotations

import asyncio
import select
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

from client.progress import on_terminal

#: Seconds between two looks whether an answer is still wanted.
_LOOK = 0.1


def can_ask() -> bool:
    """Whether somebody sits at the keyboard and sees what is asked."""
    return sys.stdin.isatty() and on_terminal()


class Asker:
    """Asks on the terminal; `before` clears it of what else it shows."""

    def __init__(self, before: Callable[[], None]) -> None:
        self._before = before
        self._open: asyncio.Future[str | None] | None = None

    def give_up(self) -> None:
        """Decline what is asked now. In the event loop's thread."""
        if self._open is not None and not self._open.done():
            self._open.set_result(None)

    async def __call__(self, message: str, secret: bool) -> str | None:
        """The line that is typed; None at the end of the input. May be cancelled."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str | None] = loop.create_future()
        self._open = answer
        given_up = threading.Event()

        def tell(text: str | None) -> None:
            if not answer.done():
                answer.set_result(text)

        def read() -> None:
            text = _read(message, secret, given_up)
            if not given_up.is_set():
                loop.call_soon_threadsafe(tell, text)

        self._before()
        # A daemon: where a wait for the keyboard cannot be given up, it must not hold the process.
        threading.Thread(target=read, daemon=True).start()
        try:
            return await answer
        finally:
            given_up.set()


def _read(message: str, secret: bool, given_up: threading.Event) -> str | None:
    with _Unseen() if secret else nullcontext():
        sys.stderr.write(f"{message} ")
        sys.stderr.flush()
        while not given_up.is_set():
            if not _is_typed():
                continue
            line = sys.stdin.readline()
            return line.rstrip("\n") if line else None
    return None


def _is_typed() -> bool:
    try:
        return bool(select.select([sys.stdin], [], [], _LOOK)[0])
    except (OSError, ValueError):  # Windows, where only sockets can be waited for
        return True


class _Unseen:
    """While what is typed is not shown, where the terminal can be told so."""

    def __enter__(self) -> None:
        self._before: list[Any] | None = None
        if sys.platform == "win32":
            return
        import termios

        with suppress(OSError, termios.error):
            self._before = termios.tcgetattr(sys.stdin)
            changed = list(self._before)
            changed[3] &= ~termios.ECHO
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, changed)

    def __exit__(self, *_: object) -> None:
        if sys.platform != "win32" and self._before is not None:
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)
            sys.stderr.write("\n")
