"""Installing packages into an environment: checked first, one install at a time, and told."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

from kernels.environments import names
from kernels.environments.children import Ended, Tell, run, working_environment
from kernels.environments.conflicts import broken
from kernels.environments.distributions import Change, Distribution, changed, installed
from kernels.environments.environment import Environment
from kernels.environments.installers import Installer, installer_for
from kernels.errors import EnvironmentUnfit

#: Seconds that an install may take, its check included.
LONGEST = 1800.0


@dataclass(frozen=True)
class Outcome:
    """What an install has done. `installer`: the name of the program that did it; `notes`:
    sentences on what it means."""

    environment: Environment
    installer: str
    changes: tuple[Change, ...]
    seconds: float
    notes: tuple[str, ...] = ()


class Installs:
    """Installs into environments; two into the same one come one after the other."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def install(
        self,
        environment: Environment,
        packages: Sequence[str],
        environ: Mapping[str, str],
        tell: Tell = lambda line: None,
        seconds: float = LONGEST,
    ) -> Outcome:
        """Install `packages`: requirements, or for a prefix of conda's match specs.

        `tell` gets what the installer says, line by line. A dry run comes first, and when that
        fails nothing is changed. Cancelling ends the installer with all that it has started.
        Raises `BadRequest` for what is no name of a package, and `EnvironmentUnfit`, whose
        `detail` has the installer's last lines.
        """
        begun = time.monotonic()
        installer = await asyncio.to_thread(installer_for, environment, environ)
        check = names.match_specs if installer.kind == "conda" else names.requirements
        checked = check(packages)
        key = await asyncio.to_thread(os.path.realpath, environment.prefix or environment.python)
        turn = self._turns.setdefault(key, asyncio.Lock())
        if turn.locked():
            tell(f"waiting for another install into {environment.title}")
        async with turn:
            work = _Work(environment, installer, checked, working_environment(environ), tell)
            before = await asyncio.to_thread(installed, environment)
            await work.check(seconds, before)
            failure = None
            try:
                await work.install(seconds - (time.monotonic() - begun))
            except EnvironmentUnfit as error:
                failure = error
            after = await asyncio.to_thread(installed, environment)
        changes = changed(before, after)
        if failure is not None:
            raise _failed(failure, changes)
        notes = _notes(environment, installer, changes)
        return Outcome(environment, installer.name, changes, time.monotonic() - begun, notes)


class _Work:
    """One install."""

    def __init__(
        self,
        environment: Environment,
        installer: Installer,
        packages: Sequence[str],
        environ: Mapping[str, str],
        tell: Tell,
    ) -> None:
        self._environment, self._installer = environment, installer
        self._packages, self._environ, self._tell = packages, environ, tell
        self._what = f"{', '.join(packages)} into {environment.title}"

    async def check(self, seconds: float, before: Mapping[str, Distribution]) -> None:
        """See whether it can be done. Raises `EnvironmentUnfit` when not."""
        command = self._installer.command(self._environment, self._packages, dry=True)
        self._tell(f"checking with {self._installer.name}: {', '.join(self._packages)}")
        try:
            ended = await run(command, self._environ, seconds, self._tell)
        except EnvironmentUnfit as error:
            raise EnvironmentUnfit(f"{error} Nothing was changed.", error.detail) from None
        if ended.code:
            raise EnvironmentUnfit(self._why_not(ended), ended.last_words())
        planned = self._installer.planned(ended.lines)
        conflicts = await asyncio.to_thread(broken, before, planned, self._environment.version)
        if conflicts:
            raise EnvironmentUnfit(
                f"{self._installer.name} would install {self._what}, but that breaks what is "
                f"there, so nothing was changed: {'; '.join(conflicts)}. Ask for versions that go "
                "together, all in one call."
            )

    def _why_not(self, ended: Ended) -> str:
        words = "\n".join(ended.lines).lower()
        if self._installer.kind == "pip" and "no such option: --dry-run" in words:
            python = self._environment.python
            return (
                f"The pip of {self._environment.title} is too old to check an install beforehand, "
                f"so nothing was changed. Update it: {python} -m pip install --upgrade pip"
            )
        return f"{self._installer.name} cannot install {self._what}; nothing was changed."

    async def install(self, seconds: float) -> None:
        """Do it. Raises `EnvironmentUnfit` when it fails."""
        command = self._installer.command(self._environment, self._packages)
        ended = await run(command, self._environ, max(seconds, 1.0), self._tell)
        if ended.code:
            raise EnvironmentUnfit(
                f"{self._installer.name} failed to install {self._what}.", ended.last_words()
            )


def _failed(failure: EnvironmentUnfit, changes: Sequence[Change]) -> EnvironmentUnfit:
    """The same, with what it has changed all the same."""
    if not changes:
        return EnvironmentUnfit(f"{failure} Nothing was changed.", failure.detail)
    names_ = ", ".join(change.name for change in changes[:10])
    more = ", …" if len(changes) > 10 else ""
    return EnvironmentUnfit(
        f"{failure} It has changed some packages before: {names_}{more}.", failure.detail
    )


def _notes(
    environment: Environment, installer: Installer, changes: Sequence[Change]
) -> tuple[str, ...]:
    notes = []
    if environment.kind == "conda" and installer.kind != "conda" and changes:
        by = installer.name
        notes.append(f"conda was not found, so {by} installed it, of which conda knows nothing.")
    if any(change.name == "python" and change.before for change in changes):
        notes.append("Python itself was changed: sessions there have to be restarted.")
    return tuple(notes)
