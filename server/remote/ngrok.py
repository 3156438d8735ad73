"""ngrok's agent as a process, and what it says of its tunnels.

Whose tunnel it is tells the agent's own log: the address of its local API, which is another one
when somebody's agent has the usual port, and the URL that it got. Only what both the log of our
process and its API say is believed.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import threading
import uuid
from collections import deque
from typing import Any
from urllib.parse import urlsplit

from kernels.family import TAG
from kernels.launching import make_run_directory
from kernels.processes import start_processes

#: Seconds between looks whether a tunnel is listed, for an answer of the API, for the agent to end
#: when asked, and for its last words when it has ended.
_LOOK, _ANSWER, _GRACE, _LAST_WORDS = 0.1, 2.0, 1.0, 1.0
#: Bytes of a line, and of an answer of the API, that are read.
_LINE, _BODY = 1 << 16, 1 << 20
#: Where somebody on this machine reaches what listens everywhere.
HERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_CODE = re.compile(r"ERR_NGROK_\d+")
_SECRET = re.compile(r"(your authtoken:\s*)\S+", re.IGNORECASE)
#: No authtoken, one that cannot be one, one that is not valid.
_AUTHTOKEN = {"ERR_NGROK_4018", "ERR_NGROK_105", "ERR_NGROK_107"}


class TunnelError(Exception):
    """No tunnel; the message is for the user."""


class _Log:
    """What the agent has said so far. Its log is JSON; how it fails it says in plain text, too."""

    def __init__(self) -> None:
        #: host:port of its local API. None: it has none, or has not said.
        self.api: str | None = None
        #: The https addresses that it has got.
        self.urls: list[str] = []
        self._error = self._last = ""
        self._plain: deque[str] = deque(maxlen=40)

    def note(self, line: bytes) -> None:
        text = _ANSI.sub("", line.decode("utf-8", "replace")).strip()
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            if text:
                self._plain.append(text)
                self._last = text
            return
        message, error = str(event.get("msg", "")), str(event.get("err") or "")
        if message == "starting web service":
            self.api = str(event.get("addr", ""))
        elif message == "started tunnel":
            url = str(event.get("url", "")).rstrip("/")
            if urlsplit(url).scheme == "https":
                self.urls.append(url)
        error = "" if error in ("nil", "<nil>") else error
        self._last = ": ".join(part for part in (message, error) if part)
        if event.get("lvl") in ("eror", "crit"):
            self._error = error or message

    def words(self) -> str:
        """Its last error, otherwise the last that it said, in a sentence or two; or ""."""
        errors = [line[6:].strip() for line in self._plain if line.startswith("ERROR:")]
        return _sentence(self._error or "\n".join(errors) or self._last)


class Agent:
    """A running agent. Whoever makes it must `end` it."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self._log = _Log()
        self._news, self._silent = asyncio.Event(), asyncio.Event()
        #: Set when it has ended and has said all.
        self.over = asyncio.Event()
        ident = uuid.uuid4().hex
        read, write = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY)
        try:
            self._processes = start_processes(make_run_directory())
            self._process = self._processes.start(
                ident, argv, environment | {TAG: ident}, ".", [null, write, write]
            )
            self._processes.attach()
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(null)
            os.close(write)
        # A thread, because on Windows no event loop can wait for such a pipe.
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(read, loop), daemon=True).start()
        self._watch = asyncio.create_task(self._await_end())

    def _read(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            with open(fd, "rb") as pipe:
                while line := pipe.readline(_LINE):
                    loop.call_soon_threadsafe(self._note, line)
            loop.call_soon_threadsafe(self._silent.set)

    def _note(self, line: bytes) -> None:
        self._log.note(line)
        self._news.set()

    async def _await_end(self) -> None:
        await self._process.exited.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._silent.wait()
        self.over.set()
        self._news.set()

    async def up(self, port: int, timeout: float) -> str:
        """Wait until the tunnel is open; returns its address."""
        try:
            async with asyncio.timeout(timeout):
                while not self.over.is_set():
                    self._news.clear()
                    if url := await self._confirmed(port):
                        return url
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK if self._log.urls else None):
                            await self._news.wait()
        except TimeoutError:
            api = self._log.api
            if self._log.urls:
                why = f"for port {port} its local API at {api} does not list {self._log.urls[-1]}."
            else:
                why = f"the last that it said: {self._log.words() or 'nothing.'}"
            raise TunnelError(f"ngrok opened no tunnel within {timeout:g} s; {why}") from None
        raise TunnelError(f"There is no tunnel. {self.last_words()}")

    async def _confirmed(self, port: int) -> str | None:
        urls, api = list(self._log.urls), self._log.api
        if not urls:
            return None
        # Without a local API (`web_addr: false`) the log, which names it first, is all there is.
        listed = None if api is None else await asyncio.to_thread(_forwarded, api, port)
        return next((url for url in urls if listed is None or url in listed), None)

    def last_words(self) -> str:
        """How it ended, in a sentence or two."""
        process = self._process
        if process.failure:
            return f"ngrok could not be started: {process.failure}."
        status = process.status or 0
        how = f"was ended by signal {-status}" if status < 0 else f"ended with exit code {status}"
        words = self._log.words()
        return f"ngrok {how}: {words}" if words else f"ngrok {how} and said nothing."

    async def end(self) -> None:
        """Ask it to end, then make it. Returns when nothing of it is left."""
        process = self._process
        await process.started.wait()
        if not process.exited.is_set() and hasattr(os, "killpg") and process.pid is not None:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await process.exited.wait()
        self._processes.kill(process)
        await process.gone.wait()
        await self._watch
        await self._processes.close()


def _forwarded(api: str, port: int) -> set[str]:
    """The addresses that the agent with this API forwards to `port`; none if it does not tell."""
    connection: http.client.HTTPConnection | None = None
    try:
        place = urlsplit(f"//{api}")
        host = place.hostname or ""
        connection = http.client.HTTPConnection(HERE.get(host, host), place.port, timeout=_ANSWER)
        connection.request("GET", "/api/tunnels", headers={"Accept": "application/json"})
        tunnels: Any = json.loads(connection.getresponse().read(_BODY))["tunnels"]
        return {
            str(tunnel["public_url"]).rstrip("/")
            for tunnel in tunnels
            if _port(str(tunnel["config"]["addr"])) == port
        }
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return set()
    finally:
        if connection is not None:
            connection.close()


def _port(address: str) -> int | None:
    """Of "http://localhost:80" and of "localhost:80"."""
    return urlsplit(address if "//" in address else f"//{address}").port


def _sentence(text: str) -> str:
    """What the agent said, without its further paragraphs, and what to do about it."""
    lines = [line.strip() for line in _SECRET.sub(r"\1...", text).splitlines() if line.strip()]
    if not lines:
        return ""
    first = lines[0][:300].rstrip(".:")
    found = _CODE.search(text)
    if found is None:
        return f"{first}."
    code = found[0]
    named = first if code in first else f"{first} ({code})"
    if code in _AUTHTOKEN:
        return f"{named}. Save yours with: ngrok config add-authtoken YOUR_AUTH_TOKEN"
    return f"{named}. See https://ngrok.com/docs/errors/{code.lower()}"
