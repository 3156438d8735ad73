"""All feeds: one for each owner who has a page open, or had one a moment ago."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kernels.execution import Request
from kernels.registry import Registry
from kernels.run import Run
from kernels.steps import Work
from kernels.watch import Kind
from server.page.answering import client_is_asked, refuse_in_time
from server.page.feed import Feed
from server.page.views import Askings, asker, described


class Feeds:
    """Makes feeds when they are wanted. As a `Watcher` of the registry it has them told of runs.

    `python` and `projects`: what kernels run, and where, as the settings say. `url`: where the
    page is.
    """

    def __init__(self, python: str, projects: Path, url: str = "") -> None:
        self.url = url
        self._python = described(python)
        self._registry: Registry | None = None
        self._feeds: dict[str, Feed] = {}
        self._refusing: set[asyncio.Task[None]] = set()
        self.askings = Askings(projects)

    def watch(self, registry: Registry) -> None:
        """Look at this registry, whose watcher it is."""
        self._registry = registry

    def of(self, owner: str) -> Feed:
        """The owner's."""
        feed = self._feeds.get(owner)
        if feed is None:
            assert self._registry is not None
            feed = Feed(owner, self._registry, self.askings, self._python, self._forget)
            self._feeds[owner] = feed
        return feed

    def is_there(self, owner: str) -> bool:
        """Whether somebody has a page of the owner's before them: one that is hidden has no
        stream."""
        feed = self._feeds.get(owner)
        return feed is not None and feed.pages > 0

    def poke(self, owner: str) -> None:
        """Something may have changed that is no run."""
        if feed := self._feeds.get(owner):
            feed.poke()

    def close(self, owner: str | None = None) -> None:
        """End the streams of the owner's pages, or of all."""
        for feed in list(self._feeds.values()):
            if owner is None or feed.owner == owner:
                feed.close()

    def _forget(self, feed: Feed) -> None:
        if self._feeds.get(feed.owner) is feed and not feed.pages:
            del self._feeds[feed.owner]

    # -- as a watcher

    def run_queued(self, owner: str, run: Run, work: Work) -> None:
        """A run waits for its turn."""
        self.askings.note(run, work)
        # Who has asked for it on the page may take their time.
        if isinstance(work, Request) and work.ask and not (asker.get() or client_is_asked()):
            task = asyncio.create_task(refuse_in_time(run, lambda: self.is_there(owner)))
            self._refusing.add(task)
            task.add_done_callback(self._refusing.discard)
        if feed := self._feeds.get(owner):
            feed.tell(run)

    def run_ended(self, owner: str, run: Run) -> None:
        """A run is over."""
        if feed := self._feeds.get(owner):
            feed.tell(run)

    def kernel_started(self, kind: Kind, seconds: float) -> None:
        """Its session's next look tells."""
