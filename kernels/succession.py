"""The kernels of a session, one after another: fresh ones, and those that go on where another
stood."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from kernels.attached import how_it_ended
from kernels.errors import CheckpointError, SessionError
from kernels.execution import note_late
from kernels.keeping import Keeper
from kernels.kept import Kept, Moment
from kernels.kernel import Kernel, Message
from kernels.news import News
from kernels.tenure import Tenure
from kernels.textlog import Log
from kernels.verdict import GONE
from kernels.visits import Visits

#: Characters kept from the start and the end of what is printed between runs.
_ASIDE = 2000


class Succession:
    """The kernel that a session has, if it has one, and the checkpoint from which the next may go
    on.

    `name` is the session's. `start` starts a fresh kernel; `visits` follows the other clients of
    each. What becomes of the variables between runs is put into `news`.
    """

    def __init__(
        self,
        name: str,
        start: Callable[[], Awaitable[Kernel]],
        visits: Visits,
        news: News,
        keeper: Keeper,
    ) -> None:
        self._name, self._start, self._visits = name, start, visits
        self._news, self._keeper = news, keeper
        #: The kernel that there is.
        self.tenure: Tenure | None = None
        #: The last run that has left variables in it.
        self._last_run = ""
        self._late = Log(_ASIDE, _ASIDE)

    @property
    def kernel(self) -> Kernel | None:
        """The kernel, dead or alive."""
        return self.tenure.kernel if self.tenure is not None else None

    @property
    def lives(self) -> bool:
        """Whether there is one that can take a run."""
        return self.tenure is not None and self.tenure.lives

    @property
    def has_variables(self) -> bool:
        """Whether something was run in it."""
        return self.tenure is not None and self.tenure.runs > 0

    async def prepare(self, restart: bool) -> None:
        """Have a kernel that lives, a fresh one if `restart`."""
        tenure = self.tenure
        if restart:
            await self._keeper.drop()
        if tenure is not None and (restart or not tenure.lives):
            lost = self.has_variables
            since = "" if restart else how_it_ended(tenure.kernel, tenure.attached)
            await self.end(gracefully=True)
            kept = await self.resume() if lost else None
            if kept is not None:
                self._news.add(f"{since}{kept.words}", restored_to=kept.run_id)
            elif lost:
                self._news.add(f"{since}{GONE}", lost=True)
                if not restart and self._keeper.excuse:
                    self._news.add(self._keeper.excuse)
        if self.tenure is None:
            self._adopt(await self._start(), 0)

    async def rest(self, or_else: asyncio.Event) -> bool:
        """Wait until the kernel executes nothing for attached clients, has ended, or something
        else comes. Returns whether there was anything to wait for."""
        tenure = self.tenure
        if tenure is None or not tenure.attached.busy or not tenure.lives:
            return False
        await tenure.attached.rest(or_else)
        return True

    def begin(self, run_id: str) -> None:
        """A run begins in it, which may leave variables there."""
        self._last_run = run_id
        if self.tenure is not None:
            self.tenure.runs += 1

    def succeeded(self, kernel: Kernel, run_id: str, seconds: float) -> None:
        """A run has, which took so long in this kernel."""
        # Another may have begun already, an attached client's.
        if self.kernel is kernel and self.tenure is not None and run_id == self._last_run:
            self._keeper.succeeded(Moment(kernel, run_id, self.tenure.runs), seconds)

    def take_late(self) -> Log:
        """What was printed between runs; from now on it is kept elsewhere."""
        late, self._late = self._late, Log(_ASIDE, _ASIDE)
        return late

    def _note_late(self, message: Message) -> None:
        note_late(message, self._late)

    def _adopt(self, kernel: Kernel, runs: int) -> None:
        self.tenure = Tenure(kernel, self._visits.of(kernel), runs, self._note_late)
        self._keeper.begin(kernel, fresh=not runs)
        kernel.on_end = self._keeper.hurry

    # -- with checkpoints

    async def resume(self, why: str = "restarted") -> Kept | None:
        """Have a kernel that goes on from the checkpoint, in the place of the one that there is;
        `why` is told to attached clients. None: there is no checkpoint that is good for it."""
        found = await self._keeper.resume()
        if found is None:
            return None
        kept, kernel = found
        self.leave(why)
        await self.end()
        self._adopt(kernel, kept.runs)
        self._last_run = kept.run_id
        return kept

    async def go_back(self) -> Kept:
        """As `resume`. Raises `SessionError` when there is no checkpoint."""
        kept = await self.resume("rewound")
        if kept is None:
            raise SessionError(
                f"Session {self._name!r} has no checkpoint to go back to: {self._why_none}. Its "
                "variables are as they were."
            )
        return kept

    async def split(self) -> Kept:
        """A checkpoint of the state as it is now, for the caller to close. Raises `SessionError`
        when there are no variables, or they cannot be kept."""
        if self.tenure is not None:
            await self.prepare(restart=False)
        tenure = self.tenure
        if tenure is None or not tenure.runs:
            raise SessionError(
                f"Session {self._name!r} has no variables, so there is nothing to branch. Run "
                "something in it first."
            )
        try:
            moment = Moment(tenure.kernel, self._last_run, tenure.runs)
            return await self._keeper.take_another(moment)
        except CheckpointError as error:
            why = "; ".join(error.reasons) or "its kernel did not come to it in time"
            raise SessionError(f"Session {self._name!r} cannot be branched now: {why}.") from None

    async def begin_from(self, kept: Kept) -> None:
        """Where there was no kernel yet, go on from this checkpoint, which belongs here from now
        on. Raises `SessionError`."""
        self._keeper.own(kept)
        if await self.resume() is None:
            raise SessionError(
                f"Session {self._name!r} could not be made: {self._why_none}. Try again."
            )

    @property
    def _why_none(self) -> str:
        return "; ".join(self._keeper.reasons)

    # -- its end

    def leave(self, why: str) -> None:
        """The kernel is to end, `why` as in `Attached.end`: what attached clients run in it, too;
        "": it is not, after all."""
        if self.tenure is None:
            return
        if why:
            self.tenure.attached.end(why)
        else:
            self.tenure.attached.ended = ""

    async def end(self, gracefully: bool = False) -> str:
        """End the kernel, if there is one; `gracefully`: its atexit handlers run first. Returns
        what they print."""
        if self.tenure is None:
            return ""
        self.leave(self.tenure.attached.ended or "restarted")
        tenure, self.tenure = self.tenure, None
        printed = Log(_ASIDE, _ASIDE)
        try:
            await tenure.end(gracefully, lambda message: note_late(message, printed))
        finally:
            await self._visits.ended()
        return printed.text()

    async def end_for_good(self) -> str:
        """End the kernel, and the checkpoint that could take its place. Returns as `end`."""
        printed, _ = await asyncio.gather(self.end(gracefully=True), self._keeper.drop())
        return printed
