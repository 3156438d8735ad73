"""What a terminal shows while a run lasts: its last lines of output, gone when it ends."""

from __future__ import annotations

import math
import re
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from client.connection import WAITING

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table

_LINES = 5
#: Columns of the bar of a run that has parts.
_BAR = 24
#: The message of a run without news.
_HEARTBEAT = re.compile(r"\d+ s")


def on_terminal() -> bool:
    """Whether people are watching: only then is there progress and colour."""
    return sys.stdout.isatty() and sys.stderr.isatty()


class Progress:
    """A region at the bottom of the terminal, from the first news after `begin` until `clear`.
    Without a terminal it shows nothing. News may come from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expecting = False
        self._begun = 0.0
        self._title = self._status = ""
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._part: tuple[float, float, str] | None = None
        self._live: Live | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def begin(self, title: str, status: str = "") -> None:
        """Expect news of something; with `status`, show the region at once."""
        with self._lock:
            self._expecting = True
            self._begun = time.monotonic()
            self._title, self._status = title, status
            self._lines.clear()
            self._part = None
            if status:
                self._show()

    def report(self, seconds: float, message: str) -> None:
        """Take a run's progress: seconds so far and new lines of output, or words on its state."""
        with self._lock:
            waits = WAITING.fullmatch(message)
            self._status = message.partition(";")[0] if waits else ""
            if not waits and not _HEARTBEAT.fullmatch(message):
                self._lines.extend(map(_plain, message.splitlines()))
            self._show()

    def report_part(self, done: float, total: float, message: str) -> None:
        """Take the progress of a run that has parts: how many are done, of how many, words on the
        one under way, and on lines of their own new output."""
        with self._lock:
            words, *lines = message.splitlines() or [""]
            self._status = ""
            self._part = (done, total, _plain(words))
            self._lines.extend(map(_plain, lines))
            self._show()

    def clear(self) -> None:
        """Remove the region; news that come later are not shown."""
        with self._lock:
            self._expecting = False
            live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _show(self) -> None:
        if self._live is not None or not self._expecting or not on_terminal():
            return
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._spinner = Spinner("dots")
        self._live = Live(
            get_renderable=self._picture,
            console=Console(stderr=True),
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _picture(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        parts = [self._title, f"{time.monotonic() - self._begun:.0f} s", self._status]
        self._spinner.update(text=Text(" · ".join(filter(None, parts)), style="cyan"))
        lines = [
            Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis")
            for line in list(self._lines)
        ]
        bar = [] if self._part is None else [_bar(*self._part)]
        return Group(self._spinner, *bar, *lines)


def _bar(done: float, total: float, words: str) -> Table:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    # A foreign server may say anything, nan included.
    total = total if 0 < total < math.inf else 1.0
    done = done if 0 <= done <= total else 0.0
    count = f"{int(done)}/{total:g}"
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(no_wrap=True, min_width=len(count))
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(ProgressBar(total=total, completed=done, width=_BAR), Text(count), Text(words))
    return grid


def _plain(line: str) -> str:
    """`line` without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in line)
