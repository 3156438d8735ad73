"""All sessions: found by owner and name, limited in number, ended when idle."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from kernels import sparing
from kernels.archive import Archive
from kernels.ended import Ended, Memory
from kernels.errors import BadRequest, SessionError, SessionNotFound
from kernels.execution import FileRequest
from kernels.history import History
from kernels.kept import Origin, Rewound
from kernels.kernel import Backend, Kernel
from kernels.limits import Limits
from kernels.pool import Pool
from kernels.run import Run
from kernels.session import Session, SessionState
from kernels.steps import Work
from kernels.visits import Enrolment
from kernels.watch import Kind, Watcher

if TYPE_CHECKING:
    from kernels.environments.environment import Chosen
    from kernels.kernelspecs import Kernelspec

_NAME = re.compile(r"[\w./ \-]{1,100}", re.ASCII)
#: Seconds that sessions have for their end when the server ends.
_LAST_MOMENT = 1.2


def check_name(name: str) -> str:
    """The name, if a session may have it. Raises `BadRequest`."""
    if not _NAME.fullmatch(name) or not name.strip():
        raise BadRequest(
            "A session's name is 1 to 100 letters, digits, spaces or . _ / - ; "
            f"{name[:40]!r} is not. Choose another name."
        )
    return name


class Registry:
    """The sessions of one server. An async context manager: leaving it ends all of them.

    `owner` is whoever may see a session: the authenticated principal, or "" where there is none.
    `usual`: what the backend's kernels are where nothing else is asked for, if there is something
    to be said of it.
    """

    def __init__(
        self,
        backend: Backend,
        limits: Limits,
        watchers: Sequence[Watcher] = (),
        usual: Chosen | None = None,
    ) -> None:
        self._backend = backend
        self._limits = limits
        self._watchers = watchers
        self._usual = replace(usual, kernelspec=None) if usual is not None else None
        self._sessions: dict[tuple[str, str], Session] = {}
        self._ended = Memory()
        self._closing: set[asyncio.Task[str]] = set()
        self._archive = Archive(backend.directory / "outputs")
        self._history = History()
        self._ids = itertools.count(1)
        self._pool = Pool(
            backend,
            limits.pool,
            lambda: any(session.runs for session in self._sessions.values()),
            lambda: [session.kernelspec for session in self._sessions.values()],
        )
        self._watching: tuple[asyncio.Task[None], ...] = ()

    async def __aenter__(self) -> Registry:
        self._watching = (
            asyncio.create_task(self._cull()),
            asyncio.create_task(sparing.watch(lambda: [s.keeper for s in self.everyones()])),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._watching:
            task.cancel()
        await self._pool.close()
        # Programs get a moment to leave by themselves; the backend ends what is left.
        self.close_all(grace=0.2)
        closing = set(self._closing)
        if closing:
            await asyncio.wait(closing, timeout=_LAST_MOMENT)
        await self._backend.close()
        await asyncio.gather(*closing, return_exceptions=True)
        # Those that waited end as runs that never began.
        if left := [run.done for run in self._history.all() if not run.done.done()]:
            await asyncio.wait(left, timeout=_LAST_MOMENT)
        # Watchers of one that has just ended are told in the loop's next turn.
        await asyncio.sleep(0)
        self._archive.close()

    def prepare(self, then: Callable[[], object] = bool) -> None:
        """Have kernels ready for the sessions to come. `then` is called once they are, in a
        thread; never, if there are to be none."""
        self._pool.begin(then)

    async def renew(self) -> None:
        """Have sessions that begin from now on see that installed packages have changed."""
        self._backend.renew()
        await self._pool.renew()

    async def _start_kernel(self, kernelspec: Kernelspec | None) -> Kernel:
        begun = time.monotonic()
        kind: Kind = "cold" if kernelspec is None else "kernelspec"
        kernel = await self._pool.take(kernelspec)
        if kernel is not None:
            kind = "ready"
        else:
            kernel = await self._backend.start(kernelspec)
        for watcher in self._watchers:
            watcher.kernel_started(kind, time.monotonic() - begun)
        return kernel

    def submit(
        self,
        owner: str,
        name: str,
        work: Work,
        timeout: float,
        restart: bool = False,
        environment: Chosen | None = None,
        notes: tuple[str, ...] = (),
    ) -> Run:
        """Run `work` in the session of that name, which is made when there is none.

        `environment`: where it is to run; None: where the session is, or the usual one for a new
        session. With `restart` a session that is elsewhere ends, and is made anew there. `notes`:
        phrases for the result. Raises `BadRequest` for a bad name, or a file that the session's
        kernel cannot run, `SessionError` for one that is elsewhere, `TooManySessions` and
        `TooManyRuns`.
        """
        key = (owner, check_name(name))
        self._limits.check_run(owner, self.sessions(owner))
        session = self._sessions.get(key)
        moves = not self.is_in(owner, name, environment)
        if session is not None and moves and not restart:
            _refuse_to_move(session, environment)
        where = session.environment if session is not None and not moves else environment
        spec = where.kernelspec if where is not None else None
        if isinstance(work, FileRequest) and spec is not None and spec.ipykernel is None:
            raise BadRequest(
                f"Session {name!r} has a kernel of {spec.display_name}, which runs no .py file. "
                "Use another session."
            )
        if session is not None and moves:
            self._leave(key, session)
        if session is None or moves:
            session = self._make(key, environment)
        elif restart and spec is not None and environment is not None:
            # The same, as it is activated now.
            session.environment = environment
        run = session.submit(self._new_id(), work, timeout, restart, notes)
        self._remember(owner, run, work)
        return run

    def _new_id(self) -> str:
        return str(next(self._ids))

    def _remember(self, owner: str, run: Run, work: Work) -> None:
        """Have the run in the history, and the watchers told of it."""
        self._history.add(owner, run)
        for watcher in self._watchers:
            watcher.run_queued(owner, run, work)
        if self._watchers:
            run.done.add_done_callback(lambda _: self._tell_end(owner, run))

    def is_in(self, owner: str, name: str, environment: Chosen | None) -> bool:
        """Whether the session of that name, if there is one, lives there; None: wherever."""
        session = self._sessions.get((owner, name))
        return session is None or environment is None or environment.is_as(session.environment)

    def _leave(self, key: tuple[str, str], session: Session) -> None:
        """End a session that is to be elsewhere; if it was used, this is to be told."""
        self._end(key, session, Ended("was in another environment", session.has_variables))
        if not session.count:
            self._ended.take(key)

    def _tell_end(self, owner: str, run: Run) -> None:
        for watcher in self._watchers:
            watcher.run_ended(owner, run)

    def _make(self, key: tuple[str, str], environment: Chosen | None) -> Session:
        self._check_room(key[0])
        if environment is None or environment.kernelspec is None:
            environment = self._usual
        session = self._new(key, environment)
        for note in environment.notes if environment is not None else ():
            session.announce(note.rstrip("."))
        if ended := self._ended.take(key):
            session.announce(ended.news, ended.lost)
        return session

    def _check_room(self, owner: str) -> None:
        self._limits.check_session(owner, len(self._sessions), self.sessions(owner))

    def _new(self, key: tuple[str, str], environment: Chosen | None) -> Session:
        session = self._sessions[key] = Session(
            key[1],
            self._start_kernel,
            self._limits.policy,
            self._archive,
            environment,
            key[0],
            Enrolment(self._new_id, lambda run, work: self._remember(key[0], run, work)),
        )
        return session

    @property
    def is_ready(self) -> bool:
        """Whether kernels stand ready, if there are to be any; or never will."""
        return self._pool.is_full

    def sessions(self, owner: str) -> list[Session]:
        """The owner's sessions, oldest first."""
        return [s for (who, _), s in self._sessions.items() if who == owner]

    def everyones(self) -> list[Session]:
        """The sessions of all owners, for whoever runs the server."""
        return list(self._sessions.values())

    def pids(self) -> list[int | None]:
        """The process of each living kernel, those that stand ready included; None for one that
        has none here."""
        pids = [s.pid for s in self._sessions.values() if s.kernel_lives]
        return [*pids, *self._pool.pids()]

    def find(self, owner: str, name: str) -> Session:
        """The session of that name. Raises `SessionNotFound`."""
        session = self._sessions.get((owner, check_name(name)))
        if session is None:
            known = ", ".join(s.name for s in self.sessions(owner)) or "none"
            raise SessionNotFound(f"There is no session {name!r}. Sessions now: {known}.")
        return session

    def find_run(self, owner: str, run_id: str) -> Run:
        """The run of that id, ended or not. Raises `RunNotFound`."""
        return self._history.find(owner, run_id)

    def history(self, owner: str) -> list[Run]:
        """All remembered runs of the owner, oldest first."""
        return self._history.of(owner)

    def runs(self, owner: str, name: str) -> list[Run]:
        """The remembered runs of the session of that name, or of the last one that had it,
        oldest first. Raises `SessionNotFound`."""
        runs = [run for run in self._history.of(owner) if run.session.name == name]
        session = self._sessions.get((owner, name)) or (runs[-1].session if runs else None)
        if session is None:
            session = self.find(owner, name)
        return [run for run in runs if run.session is session]

    async def close(self, owner: str, name: str) -> str:
        """End the session. Returns what its atexit handlers printed. Raises `SessionNotFound`."""
        session = self.find(owner, name)
        # Whoever asked has the answer, so nothing is left to be told with the next run.
        return await asyncio.shield(self._end((owner, name), session, Ended("was closed")))

    async def rewind(self, owner: str, name: str) -> Rewound:
        """Have the session go back to its checkpoint, when its turn comes. Raises
        `SessionNotFound`, and `SessionError` when it has none."""
        return await self.find(owner, name).rewind()

    async def branch(self, owner: str, name: str, new_name: str) -> Session:
        """A second session with the same state, when the first one's turn comes; both go on apart.
        What its checkpoint warns of, they share or the new one is without.

        Raises `BadRequest` for a bad name, `SessionNotFound`, `TooManySessions`, and `SessionError`
        when the name is taken or the state cannot be had twice.
        """
        session, key = self.find(owner, name), (owner, check_name(new_name))
        self._check_new(key)
        return await session.in_turn(lambda: self._branch(session, key))

    def _check_new(self, key: tuple[str, str]) -> None:
        if key in self._sessions:
            raise SessionError(f"There is a session {key[1]!r} already. Choose another name.")
        self._check_room(key[0])

    async def _branch(self, session: Session, key: tuple[str, str]) -> Session:
        kept = await session.split()
        try:
            # It may have taken a while.
            self._check_new(key)
        except BaseException:
            await kept.checkpoint.close()
            raise
        branch = self._new(key, session.environment)
        branch.origin = Origin(session.name, kept.run_id)
        try:
            await branch.begin_from(kept)
        except BaseException:
            self._sessions.pop(key, None)
            await branch.close()
            raise
        self._ended.take(key)
        return branch

    def close_all(self, grace: float, owner: str | None = None) -> None:
        """Begin to end every session, or every one of `owner`; those who wait for a run are told.

        `grace`: seconds between interrupt and kill.
        """
        for key, session in list(self._sessions.items()):
            if owner is None or key[0] == owner:
                how = "was closed by whoever runs the server"
                self._end(key, session, Ended(how, session.has_variables), grace)

    def _end(
        self,
        key: tuple[str, str],
        session: Session,
        ended: Ended,
        grace: float | None = None,
    ) -> asyncio.Task[str]:
        """End a session in a task of ours: one that has begun to end does so to the end."""
        del self._sessions[key]
        self._ended.add(key, ended)
        task = asyncio.create_task(session.close(grace))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def _cull(self) -> None:
        timeout = self._limits.idle_timeout
        while True:
            await asyncio.sleep(min(30.0, timeout / 4))
            for key, session in list(self._sessions.items()):
                if session.idle_seconds >= timeout:
                    how = f"ended after {timeout:g} s without use"
                    if session.has_variables:
                        how += "; its variables are gone"
                    self._end(key, session, Ended(how, lost=session.has_variables))


def _refuse_to_move(session: Session, environment: Chosen | None) -> None:
    """Unless there is no kernel that would have to end."""
    if session.state is SessionState.COLD or environment is None:
        return
    where = session.environment
    here = "the server's usual Python" if where is None else where.environment.title
    raise SessionError(
        f"Session {session.name!r} lives in {here}, not in {environment.environment.title}. Set "
        "restart to begin anew there, without its variables, or name another session."
    )
