"""What the page reads: sessions, runs, their code and their text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kernels.errors import OutputGone
from kernels.recording import Reading
from kernels.registry import Registry
from kernels.run import Run
from server.history import history
from server.page.answers import Refused, answer, download, number
from server.page.failures import traceback_of
from server.page.feeds import Feeds
from server.page.stream import Stream
from server.page.views import parts_view, run_view

#: Runs that the page begins with, and of a page of a session's history.
_NEWEST, _HISTORY = 100, 50
#: Characters of text that are given at once, of code that is highlighted, and of a run's text and
#: words that are searched; seconds that a search may take.
_MOST, _SOURCE, _SEARCHED, _WORDS, _SECONDS = 200_000, 200_000, 100_000, 200, 3.0
#: Places of outputs that are named; streams of one owner.
_PLACES, _STREAMS = 5_000, 50


class Api:
    """Over one registry. `version`: the server's; `login`: whether there are logins;
    `owner_of`: whose request this is, asked again while a stream lasts."""

    def __init__(
        self,
        registry: Registry,
        feeds: Feeds,
        version: str,
        login: bool,
        owner_of: Callable[[Request], str | None],
    ) -> None:
        self._registry, self._feeds = registry, feeds
        self._version, self._login, self._owner_of = version, login, owner_of

    async def state(self, _: Request, owner: str) -> Response:
        """All that there is, and the mark from which on news are to be had."""
        feed = self._feeds.of(owner)
        mark = feed.catch_up()
        runs = self._registry.history(owner)[: -_NEWEST - 1 : -1]
        return answer(
            {
                "login": self._login,
                "me": owner or None,
                "mark": mark,
                "sessions": [feed.view(each) for each in self._registry.sessions(owner)],
                "runs": [self._view(run) for run in runs],
                "version": self._version,
            }
        )

    async def events(self, request: Request, owner: str) -> Response:
        """The news, for as long as the page is open."""
        feed = self._feeds.of(owner)
        if feed.pages >= _STREAMS:
            raise Refused(409, f"{_STREAMS} pages are open already; close one of them.")
        mark = request.headers.get("last-event-id") or request.query_params.get("mark", "")
        return Stream(feed, mark, lambda: self._owner_of(request) == owner)

    async def run(self, request: Request, owner: str) -> Response:
        """A run with its code."""
        run = self._run(request, owner)
        facts: dict[str, Any] = {"run": self._view(run)}
        if (parts := parts_view(run)) is not None:
            facts["parts"] = parts
        facts["places"] = [place.at for place in run.recording.places[:_PLACES]]
        try:
            facts["source"] = await asyncio.to_thread(_source, run)
            facts["traceback"] = await asyncio.to_thread(traceback_of, run)
        except OutputGone:
            facts |= {"source": None, "traceback": None}
        return answer(facts)

    async def text(self, request: Request, owner: str) -> Response:
        """A part of what a run has written, or all of it as a file."""
        run = self._run(request, owner)
        recording = run.recording
        if recording.gone:
            raise OutputGone()
        clears, reading = recording.clears, recording.reading()
        if request.query_params.get("download"):
            found = download(b"", f"run {run.id}.txt")
            headers = {"content-disposition": found.headers["content-disposition"]}
            return StreamingResponse(
                _pieces(reading), headers=headers, media_type="text/plain; charset=utf-8"
            )
        at = number(request, "at", 0, reading.length)
        most = number(request, "most", _MOST, _MOST)
        text = await asyncio.to_thread(reading.read, at, at + most)
        return answer({"at": at, "text": text, "length": reading.length, "clears": clears})

    async def history(self, request: Request, owner: str) -> Response:
        """The runs of a session, or those of them in which all words are found."""
        runs = self._registry.runs(owner, _session(request))[::-1]
        before = number(request, "before", 0, 10**15)
        if before:
            runs = [run for run in runs if int(run.id) < before]
        words = request.query_params.get("find", "")[:_WORDS].casefold().split()
        found, more = await asyncio.to_thread(_search, runs, words)
        return answer({"runs": [self._view(run) for run in found], "more": more})

    async def notebook(self, request: Request, owner: str) -> Response:
        """All that was run in a session, as a notebook to save."""
        name = _session(request)
        text = await history(self._registry, owner, name)
        data = text.encode("utf-8", "backslashreplace")
        # Browsers take dots off the beginning of a file's name.
        name = name.strip("./ ") or "session"
        return download(data, f"{name}.ipynb", "application/x-ipynb+json")

    def _run(self, request: Request, owner: str) -> Run:
        return self._registry.find_run(owner, request.path_params["run"])

    def _view(self, run: Run) -> dict[str, Any]:
        return run_view(run, self._feeds.askings.of(run))


def _session(request: Request) -> str:
    """The name that is asked for. It stands in the query, where browsers leave `..` as it is."""
    name = request.query_params.get("session", "")
    if not name:
        raise Refused(400, "The address names no session; add ?session= and its name.")
    return name


def _source(run: Run) -> dict[str, Any]:
    from server.page import rendering

    source = run.source
    short = source[:_SOURCE]
    lexer = "python" if (spec := run.session.kernelspec) is None else spec.language.lower()
    html = rendering.code_html(short, "python" if lexer == "python" else "text")
    return {"html": html, "lines": short.count("\n") + 1, "cut": len(short) < len(source)}


async def _pieces(reading: Reading) -> Any:
    for at in range(0, reading.length, _MOST):
        yield (await asyncio.to_thread(reading.read, at, at + _MOST)).encode("utf-8", "replace")


def _search(runs: Sequence[Run], words: Sequence[str]) -> tuple[list[Run], bool]:
    """The first of the runs in which all words are found, and whether there are more to look at."""
    found: list[Run] = []
    end = time.monotonic() + _SECONDS
    for index, run in enumerate(runs):
        if _has(run, words):
            found.append(run)
        if len(found) == _HISTORY or time.monotonic() > end:
            return found, index + 1 < len(runs)
    return found, False


def _has(run: Run, words: Sequence[str]) -> bool:
    left = list(words)
    for text in _texts(run) if left else ():
        lower = text.casefold()
        left = [word for word in left if word not in lower]
        if not left:
            break
    return not left


def _texts(run: Run) -> Any:
    yield run.title
    error = run.summary.error if run.summary is not None else None
    if error:
        yield f"{error.get('name', '')} {error.get('value', '')}"
    try:
        yield run.source
        yield run.recording.reading().read(0, _SEARCHED)
    except OutputGone:
        return
