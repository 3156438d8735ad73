"""The checkpoint of a session: when it is taken, what it is good for, why there is none."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextvars import Context

from kernels import memory
from kernels.checkpointing import Worth
from kernels.errors import CheckpointError, KernelError
from kernels.kept import CheckpointFacts, Kept, Moment, take
from kernels.kernel import Kernel

#: Why there is none, in users' words.
OFF = "checkpoints are off (RMI_CHECKPOINT=off)"
_PLATFORM = "this platform has none, they need Linux"
_LANGUAGE = "kernels of other languages than Python have none"
_KIND = "kernels of this kind have none"
_NOTHING = "no run has succeeded yet"
_TOO_LITTLE = "too little has been run yet for one to be worth it"
_SOON = "it is taken as soon as nothing runs"
_ENDED = "it has ended: memory was short, or somebody has killed it"
_UNFIT = "no kernel could be made of it"
SHORT = "memory is short"
#: Those that say no more than that it is too early for one.
NOT_YET = frozenset((_NOTHING, _TOO_LITTLE, _SOON))
#: Those that nothing that a program does could mend.
_NEVER = frozenset((OFF, _PLATFORM, _LANGUAGE, _KIND))


class Keeper:
    """Keeps the checkpoint of one session. `wanted`: whether there is to be any. `busy` says
    whether a run of the session waits or is under way.

    The session tells it what happens; what it does by itself, it does in idle time.
    """

    def __init__(self, wanted: bool, busy: Callable[[], bool]) -> None:
        self._busy = busy
        self._worth = Worth()
        self._kept: Kept | None = None
        #: Why there will be none, whatever is run; why there is none, or none newer.
        self._never = "" if wanted else OFF
        if wanted and sys.platform != "linux":
            self._never = _PLATFORM
        self._reasons: tuple[str, ...] = ()
        #: What the next one is to be of, if nothing has been run since.
        self._moment: Moment | None = None
        #: Takes it; whether the kernel has been asked for it; whether another client has executed
        #: something meanwhile.
        self._taking: asyncio.Task[None] | None = None
        self._asked = self._blurred = False
        #: Makes a kernel of the checkpoint, which somebody will ask for.
        self._resuming: asyncio.Task[tuple[Kept, Kernel] | None] | None = None
        #: The kernel that there is, and bytes of its memory when it was looked at last.
        self._kernel: Kernel | None = None
        self._size = 0
        #: Bytes that the checkpoint costs, as it was measured last.
        self.cost = 0
        #: How often that may have changed, and how often it had when it was measured.
        self._changes, self._measured_at = 0, -1

    # -- for everybody

    @property
    def kept(self) -> Kept | None:
        """The checkpoint that there is."""
        kept = self._kept
        return None if kept is None or kept.checkpoint.exited.is_set() else kept

    @property
    def facts(self) -> CheckpointFacts | None:
        """What there is to be told of it."""
        return self.kept.facts if self.kept is not None else None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why there is none, or none that is newer, in users' words; empty: there is."""
        if self._never:
            return (self._never,)
        if self._kept is not None and self._kept.checkpoint.exited.is_set():
            return (_ENDED,)
        if self._reasons or self._kept is not None:
            return self._reasons
        if self._worth.is_due:
            return (_SOON,)
        return (_TOO_LITTLE if self._worth.runs else _NOTHING,)

    @property
    def excuse(self) -> str:
        """Why variables are gone that a checkpoint would have kept, in words for the result that
        says so; "": it was too early for one, or there are none here at all. To be asked before the
        next kernel has begun."""
        reasons = [why for why in self.reasons if why not in NOT_YET | _NEVER]
        return f"no checkpoint: {'; '.join(reasons)}" if reasons else ""

    @property
    def is_spare(self) -> bool:
        """Whether a kernel has the session's state, too; otherwise it is all that there is of it,
        and what it shares with a kernel at other times seems to be its own."""
        kernel = self._kernel
        if (resuming := self._resuming) is not None:
            done = resuming.done() and not resuming.cancelled() and not resuming.exception()
            found = resuming.result() if done else None
            kernel = found[1] if found is not None else None
        return kernel is not None and memory.resident(kernel.pid) > 0

    # -- what happens in the session

    def begin(self, kernel: Kernel, fresh: bool) -> None:
        """It has this kernel now. `fresh`: nothing was run in it."""
        self._kernel = kernel
        self._size = memory.resident(kernel.pid)
        if fresh:
            self._worth, self._reasons = Worth(), ()
        if not kernel.scripted:
            self._never = _LANGUAGE

    def stand_aside(self, for_others: bool = False) -> None:
        """Something is about to run, `for_others`: for an attached client. It does not wait for a
        checkpoint that the kernel has not been asked for yet."""
        self._moment = None
        self._changes += 1
        self._blurred = self._blurred or for_others
        if self._taking is not None and not self._asked:
            self._taking.cancel()

    def succeeded(self, moment: Moment, seconds: float) -> None:
        """A run that took so long has succeeded."""
        size = memory.resident(moment.kernel.pid)
        self._worth = self._worth.after_run(seconds, size - self._size)
        self._moment, self._size = moment, size

    def rest(self) -> None:
        """Nothing runs: the next checkpoint is taken, if it is time for it."""
        moment = self._moment
        if moment is None or self._taking is not None or self._never or self._busy():
            return
        if self._worth.is_due:
            # Not in the context of the call whose run has succeeded.
            self._taking = asyncio.create_task(self._take(moment), context=Context())
            self._taking.add_done_callback(self._taken)

    async def _take(self, moment: Moment) -> None:
        await asyncio.sleep(self._worth.quiet)
        if memory.is_short():
            return self._refused(SHORT)
        self._asked, self._blurred = True, False
        worth = self._worth
        try:
            kept = await take(moment)
        except CheckpointError as error:
            return self._refused(*error.reasons)
        if kept is None:
            self._never = _KIND
        elif self._blurred:
            # It may be in the midst of what the other client has executed.
            await kept.checkpoint.close()
        else:
            # A run may have come and gone since the kernel was asked.
            self._worth = self._worth.after_checkpoint(kept.checkpoint.fork_ms / 1000, worth)
            await self._have(kept)

    def _taken(self, task: asyncio.Task[None]) -> None:
        self._taking, self._asked = None, False
        # What has failed beyond that, failed in idle time, and there is nobody to be told.
        if not task.cancelled() and task.exception() is not None:
            self._refused()
        self.rest()

    def _refused(self, *reasons: str) -> None:
        self._worth, self._reasons = self._worth.after_refusal(), reasons

    async def _have(self, kept: Kept | None, *reasons: str) -> None:
        old, self._kept, self._reasons = self._kept, kept, reasons
        self.cost = 0
        self._changes += 1
        if old is not None:
            await old.checkpoint.close()

    # -- what it is good for

    async def resume(self) -> tuple[Kept, Kernel] | None:
        """A kernel that goes on from the checkpoint, which stays; None: there is none, or it was
        good for nothing, and is no more."""
        if self._resuming is None:
            self._resuming = asyncio.create_task(self._resume(), context=Context())
        try:
            found = await self._resuming
            if found is not None and found[1].exited.is_set():
                # It has waited for long.
                await found[1].close()
                found = await self._resume()
        finally:
            # Not before: should the kernel end meanwhile, nobody is to hurry with another.
            self._resuming = None
        return found

    def hurry(self) -> None:
        """The kernel has ended by itself: make another of the checkpoint, before it is asked for.
        The last words of the one that has ended take their time."""
        if self._kept is not None and self._resuming is None:
            self._resuming = asyncio.create_task(self._resume(), context=Context())

    async def _resume(self) -> tuple[Kept, Kernel] | None:
        self._moment = None
        if self._taking is not None:
            if not self._asked:
                self._taking.cancel()
            await asyncio.wait({self._taking})
        kept = self._kept
        if kept is None:
            return None
        why = _ENDED if kept.checkpoint.exited.is_set() else _UNFIT
        try:
            kernel = await kept.checkpoint.resume()
        except (KernelError, OSError):
            await self.give_up(why)
            return None
        self._worth = self._worth.after_checkpoint(kept.checkpoint.fork_ms / 1000)
        self._changes += 1
        return kept, kernel

    async def take_another(self, moment: Moment) -> Kept:
        """A checkpoint for somebody else, whose it is to close. Raises `CheckpointError`."""
        kept = await take(moment) if not self._never else None
        if kept is None:
            self._never = self._never or _KIND
            raise CheckpointError(f"There can be no checkpoint: {self._never}.", (self._never,))
        return kept

    def own(self, kept: Kept) -> None:
        """Keep this one, of a session that has none."""
        self._kept, self._reasons = kept, ()

    async def give_up(self, reason: str) -> None:
        """End the checkpoint, if there is one: it costs too much, or is good for nothing."""
        self._worth = self._worth.after_refusal()
        await self._have(None, reason)

    async def drop(self) -> None:
        """The session begins anew, or ends, and has none."""
        self._moment = None
        if (taking := self._taking) is not None:
            taking.cancel()
            await asyncio.wait({taking})
        resuming, self._resuming = self._resuming, None
        if resuming is not None:
            resuming.cancel()
            await asyncio.wait({resuming})
            if not resuming.cancelled() and (found := resuming.result()):
                await found[1].close()
        self._worth = Worth()
        await self._have(None)

    async def measure(self) -> None:
        """Find out what it costs now, as `cost`."""
        kept = self.kept
        if kept is None:
            self.cost = 0
        elif self._measured_at != self._changes:
            # While something runs it may become more.
            changes = -1 if self._busy() else self._changes
            cost = await asyncio.to_thread(kept.facts.private_memory)
            if self.kept is kept and self.is_spare:
                self.cost, self._measured_at = cost, changes
