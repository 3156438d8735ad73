"""Rows about the live page: how soon it shows what a program prints, what it costs the runs that it
shows, and how it bears much output."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import re
import shutil
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

import PIL.Image

from tests.bench import memory
from tests.bench.remote import Client, HttpServer

if TYPE_CHECKING:
    from playwright.async_api import Page

Sample = Callable[[], Awaitable[float]]
Pair = tuple[Sample, Sample]

_HOST = "127.0.0.1"
#: Seconds for anything to happen.
_SOON = 60.0
#: It tells when it prints, at odd intervals.
_PRINTS = """\
import random, time
while True:
    print("T", time.time(), flush=True)
    time.sleep(random.uniform(0.02, 0.15))
"""
_PRINTED = re.compile(r"^T (\d+\.\d+)$", re.MULTILINE)
#: Prints that do not count: the run has just begun then.
_WARM_UP = 5
_SHORT = "x = 1 + 1\nprint(x)"
#: Runs in a row that are one sample.
_RUNS = 100
_PAGES = 10
#: Seconds between two times that what has come for those pages is read.
_READ = 0.2
#: 100 MB of text in lines of 100 characters, for which a terminal would be too slow, too.
_VOLUME = """\
import sys
line = "x" * 99 + "\\n"
for _ in range(1_000):
    sys.stdout.write(line * 1_000)
"""
_FIGURE, _FIGURES = "figure-of-200.png", 200
_SHOW = f"""\
from IPython.display import Image, display
figure = open({_FIGURE!r}, "rb").read()
for _ in range({_FIGURES}):
    display(Image(figure))
"""
#: What the page loads before it shows anything: what its document names, and what that names.
_NAMED = re.compile(rb"""(?:href|src)="(/page/[^"]+)"|^import\b[^"']*["'](\./[^"']+)["']""", re.M)


class Unavailable(Exception):
    """What a row is measured with is not installed; the text says what."""


# -- a client of the page


async def _get(port: int, path: str) -> tuple[bytes, int]:
    """What is there, and how many bytes of it are sent to a browser, which takes it compressed."""

    def get() -> tuple[bytes, int]:
        connection = HTTPConnection(_HOST, port, timeout=_SOON)
        try:
            connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{path}: the answer is {answer.status} {body[:200]!r}")
        is_packed = answer.headers["content-encoding"] == "gzip"
        return gzip.decompress(body) if is_packed else body, len(body)

    return await asyncio.to_thread(get)


async def _mark(port: int) -> str:
    state, _ = await _get(port, "/page/state")
    return str(json.loads(state)["mark"])


@asynccontextmanager
async def _stream(port: int) -> AsyncIterator[asyncio.StreamReader]:
    """The news from now on, with what frames them."""
    mark = await _mark(port)
    reader, writer = await asyncio.open_connection(_HOST, port, limit=1 << 24)
    try:
        head = f"GET /page/events?mark={mark} HTTP/1.1\r\nHost: {_HOST}:{port}\r\n\r\n"
        writer.write(head.encode())
        start = await reader.readuntil(b"\r\n\r\n")
        if not start.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"There are no news: {start.decode('latin-1')[:200]}")
        yield reader
    finally:
        writer.close()


@asynccontextmanager
async def _pages(port: int, count: int) -> AsyncIterator[None]:
    """So many pages that are open. What they are told is thrown away now and then, which costs
    next to nothing: browsers have processors of their own."""
    mark = await _mark(port)
    request = f"GET /page/events?mark={mark} HTTP/1.1\r\nHost: {_HOST}:{port}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    socks: list[socket.socket] = []

    async def read() -> None:
        while True:
            for sock in socks:
                with suppress(BlockingIOError):
                    if not sock.recv(1 << 20):
                        raise RuntimeError("The news of a page have ended.")
            await asyncio.sleep(_READ)

    try:
        for _ in range(count):
            socks.append(socket.create_connection((_HOST, port), _SOON))
            socks[-1].setblocking(False)
            await loop.sock_sendall(socks[-1], request)
            start = await loop.sock_recv(socks[-1], 1 << 16)
            if not start.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"There are no news: {start.decode('latin-1')[:200]}")
        reading = asyncio.create_task(read())
        yield
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
    finally:
        for sock in socks:
            sock.close()


@asynccontextmanager
async def _going_on(server: HttpServer, client: Client, code: str) -> AsyncIterator[None]:
    """A run that would go on for ever."""
    await client.send(client.prepared("run_code", code="1", session="a"))
    # The next kernel is made ready meanwhile.
    memory.settle(server.pid)
    call = client.prepared("run_code", code=code, session="a", timeout=3_600)
    task = asyncio.create_task(client.send(call))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# -- Chromium


@asynccontextmanager
async def _chromium(port: int) -> AsyncIterator[Page]:
    """The page in a browser, ready to show what comes. Raises `Unavailable`."""
    try:
        from playwright.async_api import Error, async_playwright
    except ImportError:
        raise Unavailable("Playwright is not installed") from None
    async with async_playwright() as playwright:
        system = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
        # Its own sandbox does not work for root.
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        try:
            browser = await playwright.chromium.launch(
                executable_path=system, args=["--no-sandbox"] if is_root else []
            )
        except Error:
            raise Unavailable("There is no Chromium that can be started") from None
        try:
            page = await browser.new_page()
            await page.add_init_script(_PROBE)
            await page.goto(f"http://{_HOST}:{port}/")
            await page.locator("body[data-state=ready]").wait_for()
            yield page
        except Error as error:
            raise RuntimeError(f"Chromium: {error.message}") from None
        finally:
            await browser.close()


#: `probe.next()`: milliseconds from the next print to its text being in the document.
#: `probe.longest()`: milliseconds of the longest time, since it was asked last, in which the page
#: could do nothing else.
_PROBE = """
window.probe = (() => {
  const seen = new Set(), found = [], waiting = [];
  function take(text) {
    const now = Date.now();
    for (const [, stamp] of text.matchAll(/^T (\\d+\\.\\d+)$/gm)) {
      if (seen.has(stamp)) continue;
      seen.add(stamp);
      found.push(now - 1000 * Number(stamp));
    }
    while (waiting.length && found.length) waiting.shift()(found.shift());
  }
  new MutationObserver((records) => {
    for (const { type, target, oldValue, addedNodes } of records) {
      if (type === "characterData") take(target.data.slice(oldValue.length));
      else for (const node of addedNodes) if (node.isConnected) take(node.textContent);
    }
  }).observe(document, { subtree: true, childList: true, characterData: true,
    characterDataOldValue: true });
  let longest = 0, last = performance.now();
  function look() {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  }
  setInterval(look, 5);
  (function frame() { look(); requestAnimationFrame(frame); })();
  return {
    next: () => new Promise((done) => { waiting.push(done); take(""); }),
    longest() { look(); const found = longest; longest = 0; return found; },
  };
})();
"""


_IS_SHOWN = f"""
(box) => box.textContent.length > 50_000 || box.querySelectorAll("figure").length === {_FIGURES}
"""


# -- rows


def _limit(most: float) -> Sample:
    async def limit() -> float:
        return most

    return limit


@asynccontextmanager
async def output(projects: Path) -> AsyncIterator[Pair]:
    """Seconds from a print to an HTTP client of the page having it, against 100 ms."""
    with HttpServer("ours", projects) as server:
        async with (
            server.client() as client,
            _stream(server.port) as events,
            _going_on(server, client, _PRINTS),
        ):
            found: list[float] = []

            async def ours() -> float:
                async with asyncio.timeout(_SOON):
                    while not found:
                        line = await events.readline()
                        if line.startswith(b"data: {"):
                            now = time.time()
                            told = "".join(item["text"] for item in json.loads(line[6:])["text"])
                            found.extend(now - float(at) for at in _PRINTED.findall(told))
                return found.pop(0)

            for _ in range(_WARM_UP):
                await ours()
            yield ours, _limit(0.1)


@asynccontextmanager
async def browser(projects: Path) -> AsyncIterator[Pair]:
    """The same to Chromium's document having it."""
    with HttpServer("ours", projects) as server:
        async with (
            server.client() as client,
            _chromium(server.port) as page,
            _going_on(server, client, _PRINTS),
        ):

            async def ours() -> float:
                async with asyncio.timeout(_SOON):
                    return float(await page.evaluate("probe.next()")) / 1000

            for _ in range(_WARM_UP):
                await ours()
            yield ours, _limit(0.1)


@asynccontextmanager
async def ten(projects: Path) -> AsyncIterator[Pair]:
    """Seconds of one of many short runs, one after another, while ten pages show them, against
    none."""
    with HttpServer("ours", projects) as server:
        async with server.client() as client:
            call = client.prepared("run_code", code=_SHORT, session="busy")

            async def runs() -> float:
                begun = time.perf_counter()
                for _ in range(_RUNS):
                    await client.send(call, b'"2\\n')
                return (time.perf_counter() - begun) / _RUNS

            async def ours() -> float:
                async with _pages(server.port, _PAGES):
                    await client.send(call)
                    return await runs()

            async def alone() -> float:
                await client.send(call)
                return await runs()

            for once in (alone, ours):
                await once()
            memory.settle(server.pid)
            yield ours, alone


def _blocks(code: str) -> Callable[[Path], AbstractAsyncContextManager[Pair]]:
    """Seconds of the longest time in which Chromium's page did nothing else than to show one run,
    against 500 ms. At the end the output is scrolled through."""

    @asynccontextmanager
    async def measure(projects: Path) -> AsyncIterator[Pair]:
        _make_figure(projects)
        numbers = itertools.count(1)
        with HttpServer("ours", projects) as server:
            async with server.client() as client, _chromium(server.port) as page:

                async def ours() -> float:
                    session = f"much {next(numbers)}"
                    await client.send(client.prepared("run_code", code="1", session=session))
                    await page.evaluate("probe.longest()")
                    await client.send(client.prepared("run_code", code=code, session=session))
                    runs = page.locator("li.run", has_text=session)
                    card = runs.filter(has_text=code.partition("\n")[0]).first
                    await card.locator(".badge", has_text="done").wait_for()
                    box = card.locator(".output")
                    for part in range(11):
                        await box.evaluate(
                            "(box, part) => { box.scrollTop = part * box.scrollHeight; }", part / 10
                        )
                        await asyncio.sleep(0.1)
                    longest = float(await page.evaluate("probe.longest()")) / 1000
                    if not await box.evaluate(_IS_SHOWN):
                        raise RuntimeError("The page does not show the run's output.")
                    await client.send(client.prepared("close_session", session=session))
                    return longest

                await ours()
                yield ours, _limit(0.5)

    return measure


volume = _blocks(_VOLUME)
figures = _blocks(_SHOW)


def _make_figure(projects: Path) -> None:
    """A picture of some 100 kB."""
    PIL.Image.effect_noise((400, 300), 40).save(projects / _FIGURE, "PNG")


@asynccontextmanager
async def events(projects: Path) -> AsyncIterator[Pair]:
    """Kilobytes of news about a run that prints 100 MB, against 1 MB."""
    with HttpServer("ours", projects) as server:
        async with server.client() as client:
            call = client.prepared("run_code", code=_VOLUME, session="much")
            await client.send(client.prepared("run_code", code="1", session="much"))

            async def ours() -> float:
                size = 0
                async with _stream(server.port) as reader, asyncio.timeout(_SOON):
                    task = asyncio.create_task(client.send(call))
                    while True:
                        line = await reader.readline()
                        size += len(line)
                        if line.startswith(b"data: {") and _has_ended(line[6:], "much"):
                            await task
                            return size / 1000

            yield ours, _limit(1_000)


def _has_ended(event: bytes, session: str) -> bool:
    runs = json.loads(event)["runs"]
    return any(run["session"] == session and run["state"] == "ended" for run in runs)


@asynccontextmanager
async def paint(projects: Path) -> AsyncIterator[Pair]:
    """Kilobytes of the page and of all that it loads before it shows anything, as they are sent,
    against 100 kB."""
    with HttpServer("ours", projects) as server:

        async def ours() -> float:
            left, sizes = ["/", "/page/state"], dict[str, int]()
            while left:
                path = left.pop()
                body, sizes[path] = await _get(server.port, path)
                for named, beside in _NAMED.findall(body):
                    name = (named or b"/page/static/" + beside[2:]).decode()
                    if name not in sizes and name not in left:
                        left.append(name)
            return sum(sizes.values()) / 1000

        yield ours, _limit(100)
