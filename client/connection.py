"""A connection for the command line, which is not asynchronous.

The connection lives in a thread with an event loop of its own, so it goes on while the main
thread waits at a prompt.
"""

from __future__ import annotations

import asyncio
import re
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from client.mcp_client import OnPart, OnProgress, RmiMcpClient, ServerError, Tool, text_of
from client.notebook import own_runs

if TYPE_CHECKING:
    from fastmcp.client.client import CallToolResult

    from client.asking import Asker

Result = TypeVar("Result")
Work = Coroutine[Any, Any, Result]

#: Windows notices Ctrl-C only between waits.
_TICK = 0.5
#: Seconds for a stopped run's result to arrive, and for what is given up to end.
_RESULT, _END = 2.0, 10.0
#: Presses of Ctrl-C that something long may take: each of its parts may be stopped.
_MANY = 20
#: What progress says of a run that has not begun.
WAITING = re.compile(r"waiting for its turn, place \d+; \d+ s")


class Connection:
    """A connection to a server, open inside `with`. See `RmiMcpClient` for `server`; `asker` asks
    what programs ask.

    Every method raises `ServerError`, and KeyboardInterrupt when Ctrl-C made it give up. Only
    for the main thread, which alone gets signals.
    """

    def __init__(self, server: str | None, asker: Asker | None = None) -> None:
        self._client = RmiMcpClient(server, ask=asker)
        self._asker = asker
        self._loop = asyncio.new_event_loop()
        # A daemon: what hangs must not hold the process. A server that we started ends with it,
        # because its input ends.
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Connection:
        self._thread.start()
        try:
            self._do(self._client.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._do(self._client.__aexit__())
        finally:
            self._end()

    @property
    def server(self) -> str:
        """Name and version that the server gives itself."""
        return self._client.server

    def list_tools(self) -> list[Tool]:
        """The server's tools."""
        return self._do(self._client.list_tools())

    def call(
        self,
        tool: str,
        arguments: dict[str, Any] | None = None,
        on_progress: OnProgress | None = None,
    ) -> CallToolResult:
        """Call a tool. Ctrl-C gives it up. `on_progress` is called in another thread."""
        return self._do(self._client.call(tool, arguments, on_progress))

    def read(self, uri: str) -> str:
        """The text of a resource. Ctrl-C gives it up."""
        return self._do(self._client.read(uri))

    def run(
        self,
        tool: str,
        arguments: dict[str, Any],
        session: str,
        on_progress: OnProgress,
        on_part: OnPart,
    ) -> CallToolResult:
        """Call a tool that runs something in `session`.

        Ctrl-C stops the run, and the result is what there was until then; a second Ctrl-C gives
        it up. `on_progress` and `on_part` (see `RmiMcpClient.call`) are called in another thread.
        """
        waits = has_parts = False

        def report(seconds: float, message: str) -> None:
            nonlocal waits
            waits = WAITING.fullmatch(message) is not None
            on_progress(seconds, message)

        def report_part(done: float, total: float, message: str) -> None:
            nonlocal waits, has_parts
            waits, has_parts = False, True
            on_part(done, total, message)

        async def stop() -> None:
            # What runs in the session while ours waits is someone else's.
            if not waits:
                with suppress(ServerError):
                    is_script = tool == "run_python" and "session" not in arguments
                    kind = "notebook " if has_parts else "script " if is_script else ""
                    await self._stop(session, kind)
                if self._asker is not None:
                    self._asker.give_up()
                await asyncio.sleep(_RESULT)

        work = self._client.call(tool, arguments, report, on_part=report_part)
        return self._do(work, stop)

    def attend(
        self, work: Callable[[RmiMcpClient], Work[Result]], stop: Callable[[], bool]
    ) -> Result:
        """Do something that takes many calls. With each Ctrl-C `stop` is called, in the
        connection's thread: it begins to stop what can be stopped by itself, or it returns False,
        and all of it is given up."""
        presses: asyncio.Queue[None] = asyncio.Queue()
        return self._follow(_attend(work(self._client), presses, stop), presses, _MANY)

    async def _stop(self, session: str, kind: str) -> None:
        """Stop what runs in a session; `kind`: how the name begins of one of its own that it may
        have, where it certainly runs; or ""."""
        stopped = await self._client.call("stop_run", {"session": session})
        idle = stopped.is_error or text_of(stopped).startswith("Nothing is running")
        if not (idle and kind):
            return
        # Not in that session, so its own has another name. If only one of the kind runs in a
        # session of its own, then that is ours.
        runs = own_runs(text_of(await self._client.call("list_sessions")), kind)
        if len(runs) == 1:
            await self._client.call("stop_run", {"run_id": runs[0]})

    def _do(self, work: Work[Result], stop: Callable[[], Work[None]] | None = None) -> Result:
        presses: asyncio.Queue[None] = asyncio.Queue()
        return self._follow(_supervise(work, presses, stop), presses)

    def _follow(
        self, work: Work[Result], presses: asyncio.Queue[None], patience: int = 2
    ) -> Result:
        """Wait for `work`, which gets what is pressed meanwhile."""

        def press() -> None:
            self._loop.call_soon_threadsafe(presses.put_nowait, None)

        with _interrupts(press, patience):
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
            while not future.done():
                wait([future], _TICK)
        try:
            return future.result()
        except _GivenUp:
            raise KeyboardInterrupt from None

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_END)
        if not self._thread.is_alive():
            self._loop.close()


class _GivenUp(Exception):
    """Stands for KeyboardInterrupt in the loop's thread, which that would end."""


async def _supervise(
    work: Work[Result], presses: asyncio.Queue[None], stop: Callable[[], Work[None]] | None
) -> Result:
    """Await `work`. The first press starts `stop`; when that has ended and the work has not, and
    with the second press, the work is cancelled. Raises `_GivenUp`."""
    task = asyncio.create_task(work)
    helpers = [asyncio.create_task(presses.get())]
    try:
        await asyncio.wait({task, *helpers}, return_when=asyncio.FIRST_COMPLETED)
        if stop is not None and not task.done():
            helpers = [asyncio.create_task(stop()), asyncio.create_task(presses.get())]
            await asyncio.wait({task, *helpers}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            # The server has to hear of it before the connection ends.
            task.cancel()
            await asyncio.wait({task}, timeout=_END)
            raise _GivenUp
        return task.result()
    finally:
        for helper in helpers:
            helper.cancel()


async def _attend(
    work: Work[Result], presses: asyncio.Queue[None], stop: Callable[[], bool]
) -> Result:
    """Await `work`; with a press for which `stop` returns False, cancel it. Raises `_GivenUp`."""
    task = asyncio.create_task(work)
    while True:
        pressed = asyncio.create_task(presses.get())
        await asyncio.wait({task, pressed}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            pressed.cancel()
            return task.result()
        if not stop():
            task.cancel()
            await asyncio.wait({task}, timeout=_END)
            raise _GivenUp


@contextmanager
def _interrupts(press: Callable[[], None], patience: int) -> Iterator[None]:
    """Call `press` for Ctrl-C instead of raising KeyboardInterrupt wherever we are; after
    `patience` presses the next one raises, should all else hang."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # ignored, as in the background of a shell script
        return
    count = 0

    def handle(*_: object) -> None:
        nonlocal count
        count += 1
        if count > patience:
            raise KeyboardInterrupt
        press()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
