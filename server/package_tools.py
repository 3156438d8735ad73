"""The tool that installs packages, and the words on what it has done."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from fastmcp import Context
from pydantic import Field

from kernels.errors import BadRequest, EnvironmentUnfit, KernelError, SessionNotFound
from kernels.registry import Registry
from server.arguments import SessionName, refusal
from server.news import told
from server.principal import principal
from server.settings import Settings

if TYPE_CHECKING:
    from kernels.environments.distributions import Change
    from kernels.environments.environment import Environment
    from kernels.environments.packages import Installs, Outcome
    from kernels.session import Session

#: Packages that an answer names, and modules.
_MOST = 40
_PACKAGES = Field(
    description="Names with versions at most: 'pandas', 'scikit-learn>=1.5', 'uvicorn[standard]'; "
    "for a conda environment its match specs: 'numpy=1.26'. No options, addresses or paths."
)
_ENVIRONMENT = Field(
    description="Another environment than the session's: conda:NAME, venv:PATH, or a path. For one "
    "that has no ipykernel yet: install 'ipykernel' there."
)


class PackageTools:
    """The tool over one registry."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings, self._registry = settings, registry
        self._installs: Installs | None = None

    async def install_packages(
        self,
        ctx: Context,
        packages: Annotated[list[str], _PACKAGES],
        session: SessionName = "default",
        environment: Annotated[str | None, _ENVIRONMENT] = None,
    ) -> str:
        try:
            if not packages:
                raise BadRequest("packages is empty; name at least one, for example ['cowsay'].")
            where = await asyncio.to_thread(self._where, principal(), session, environment)
            outcome = await self._install(ctx, where, packages)
            # In its own task, or a caller who leaves now would keep others from hearing of it.
            return await asyncio.shield(self._after(outcome))
        except EnvironmentUnfit as error:
            error.args = ("\n".join(filter(None, (str(error), error.detail))),)
            raise refusal(error) from None
        except KernelError as error:
            raise refusal(error) from None

    def _where(self, owner: str, session: str, named: str | None) -> Environment:
        """The environment that is meant. Reads the disk."""
        # Nobody's start waits for it.
        from kernels.environments import choosing

        if named is not None:
            return choosing.named(named, self._settings.projects_dir, os.environ)
        try:
            return self._environment_of(self._registry.find(owner, session))
        except SessionNotFound:
            # As every tool has it, where nobody names a session; another name may be a mistake.
            if session != "default":
                raise
            return self._usual()

    def _environment_of(self, session: Session) -> Environment:
        from kernels.environments.describing import describe

        chosen = session.environment
        if chosen is None or session.kernelspec is None:
            return self._usual()
        found = chosen.environment
        if found.kind == "kernelspec" and os.path.isabs(found.python):
            # The kernelspec of a Python, whose packages are those of its environment.
            return describe(found.python, self._settings.projects_dir)
        return found

    def _usual(self) -> Environment:
        from kernels.environments.describing import describe

        return describe(self._settings.python, self._settings.projects_dir)

    async def _install(self, ctx: Context, where: Environment, packages: Sequence[str]) -> Outcome:
        """Install, while the caller is told how it gets on; ends with its caller."""
        from kernels.environments.packages import Installs
        from kernels.launching import kernel_environment

        if self._installs is None:
            self._installs = Installs()
        installs, environ = self._installs, kernel_environment()
        # Without the server's own settings, its secrets first.
        return await told(ctx, lambda tell: installs.install(where, packages, environ, tell))

    async def _after(self, outcome: Outcome) -> str:
        """What has changed, and for which sessions that means something."""
        changes = outcome.changes
        if any(change.before for change in changes):
            await self._registry.renew()
        lines = [_summary(outcome), *_lines(changes)]
        replaced = frozenset(m for change in changes if change.before for m in change.modules)
        if changes:
            lines += await self._restarts(outcome.environment, changes, replaced)
        return "\n".join([*lines, *outcome.notes])

    async def _restarts(
        self, where: Environment, changes: Sequence[Change], replaced: frozenset[str]
    ) -> list[str]:
        """Which sessions have imported something of what was replaced."""
        found = await asyncio.to_thread(self._sessions_in, where)
        answers = await asyncio.gather(*(_imported(session, replaced) for session in found))
        lines = []
        for session, imported in zip(found, answers, strict=True):
            if imported is None:
                lines.append(
                    f"Session {session.name!r} could not be asked what it has imported; restart it "
                    "if it has imported what was replaced."
                )
            elif imported:
                shown = ", ".join(sorted(imported)[:_MOST])
                lines.append(
                    f"Session {session.name!r} has imported {shown} and keeps the old one until it "
                    "is restarted (restart_session; its variables are lost then)."
                )
        new = sorted({module for change in changes if change.after for module in change.modules})
        public = [module for module in new if not module.startswith("_")][:_MOST]
        stale = {module for imported in answers if imported for module in imported}
        if now := [module for module in public if module not in stale]:
            lines.append(f"Can be imported now: {', '.join(now)}.")
        return lines

    def _sessions_in(self, where: Environment) -> list[Session]:
        """The caller's living sessions there."""
        prefix = os.path.realpath(where.prefix or where.python)
        found = []
        for session in self._registry.sessions(principal()):
            own = self._environment_of(session)
            if session.kernel_lives and os.path.realpath(own.prefix or own.python) == prefix:
                found.append(session)
        return found


async def _imported(session: Session, modules: frozenset[str]) -> frozenset[str] | None:
    """None: it does not tell."""
    with suppress(KernelError):
        return await session.imported(modules)
    return None


def _summary(outcome: Outcome) -> str:
    where, by = outcome.environment.title, f"{outcome.installer}, {outcome.seconds:.1f} s"
    if not outcome.changes:
        return f"Nothing to do: {where} has it all already ({by})."
    return f"Installed into {where} ({by}):"


def _lines(changes: Sequence[Change]) -> list[str]:
    lines = []
    for change in changes[:_MOST]:
        if not change.before:
            lines.append(f"{change.name} {change.after} installed")
        elif not change.after:
            lines.append(f"{change.name} {change.before} removed")
        else:
            lines.append(f"{change.name} {change.before} → {change.after}")
    if len(changes) > _MOST:
        lines.append(f"… and {len(changes) - _MOST} more packages")
    return lines
