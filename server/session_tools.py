"""The tools on sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastmcp import Context
from fastmcp.tools.base import ToolResult

from kernels.errors import KernelError
from kernels.memory import of_families
from kernels.registry import Registry
from kernels.session import Session
from kernels.transcript import clean
from kernels.variables import Variables
from kernels.visits import Visit
from server import checkpoints
from server.arguments import NewSession, SessionName, refusal
from server.checkpoints import span
from server.news import told
from server.principal import principal
from server.questions import Audience
from server.settings import Settings

_MOST_CHARACTERS = 20_000
#: The key of a list's `_meta` with the facts of its sessions for machines: `name`,
#: `connection_file` (None without a kernel that clients of this machine can attach to),
#: `checkpoint`, `no_checkpoint`.
SESSIONS_KEY = "rmi-agent/sessions"


class SessionTools:
    """The tools over one registry."""

    def __init__(
        self, settings: Settings, registry: Registry, audience: Audience | None = None
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._audience = audience

    async def list_sessions(self) -> ToolResult:
        sessions = self._registry.sessions(principal())
        text = await self._list(sessions)
        return ToolResult(content=text, meta={SESSIONS_KEY: list(map(_facts, sessions))})

    async def _list(self, sessions: list[Session]) -> str:
        if not sessions:
            return f"There is no session yet. The first run makes one.{self._page()}"
        pids = [session.pid for session in sessions]
        await asyncio.gather(*(session.keeper.measure() for session in sessions))
        found = await asyncio.to_thread(of_families, pids)
        memory = [found.get(pid) if pid is not None else None for pid in pids]
        return "\n".join(map(self._describe, sessions, memory)) + self._page()

    def _page(self) -> str:
        audience = self._audience
        return f"\nWhat happens in them is shown at {audience.url}" if audience is not None else ""

    def _describe(self, session: Session, memory: int | None) -> str:
        parts = [str(session.state), f"age {span(session.age)}"]
        if session.runs:
            parts.append(f"running: {session.runs[0].title} (run {session.runs[0].id})")
            if isinstance(session.runs[0].execution, Visit):
                parts.append("an attached client runs it")
            if session.runs[0].question is not None:
                parts.append("it waits for an answer")
            if len(session.runs) > 1:
                waiting = ", ".join(run.id for run in session.runs[1:6])
                parts.append(f"{len(session.runs) - 1} waiting (run {waiting})")
        else:
            parts.append(f"idle {span(session.idle_seconds)}")
        if memory is not None:
            parts.append(f"{memory / 1e6:.0f} MB")
        where = session.environment
        plain = where is None or where.is_unsaid
        parts.append(self._settings.python if where is None or plain else clean(where.title))
        parts.append(f"{session.count} runs")
        parts += filter(None, [checkpoints.fact(session)])
        return f"{session.name}: {' · '.join(parts)}"

    async def list_variables(self, session: SessionName = "default") -> str:
        try:
            found = await self._registry.find(principal(), session).variables()
        except KernelError as error:
            raise refusal(error) from None
        return _table(found, session)

    async def restart_session(self, session: SessionName = "default") -> str:
        try:
            printed = await self._registry.find(principal(), session).restart()
        except KernelError as error:
            raise refusal(error) from None
        return _with_output(f"Session {session!r} restarted: its variables are gone.", printed)

    async def close_session(self, session: SessionName = "default") -> str:
        try:
            printed = await self._registry.close(principal(), session)
        except KernelError as error:
            raise refusal(error) from None
        return _with_output(f"Session {session!r} closed: its variables are gone.", printed)

    async def branch_session(
        self, ctx: Context, new_session: NewSession, session: SessionName = "default"
    ) -> str:
        return await self._in_turn(
            ctx,
            session,
            lambda owner: checkpoints.branch(self._registry, owner, session, new_session),
        )

    async def rewind_session(self, ctx: Context, session: SessionName = "default") -> str:
        return await self._in_turn(
            ctx, session, lambda owner: checkpoints.rewind(self._registry, owner, session)
        )

    async def _in_turn(
        self, ctx: Context, session: str, begin: Callable[[str], Coroutine[Any, Any, str]]
    ) -> str:
        """What `begin(owner)` returns, which waits for the session's turn; its caller hears of
        that."""
        owner = principal()

        def work(tell: Callable[[str], None]) -> Coroutine[Any, Any, str]:
            runs = self._registry.find(owner, session).runs
            if runs:
                tell(f"waiting for run {runs[-1].id} to end")
            return begin(owner)

        try:
            return await told(ctx, work)
        except KernelError as error:
            raise refusal(error) from None


def _facts(session: Session) -> dict[str, Any]:
    """What the list says of it to machines."""
    file = session.connection_file
    # The model needs none of them; the key that is in each never leaves it.
    attach = {"name": session.name, "connection_file": None if file is None else str(file)}
    return {**attach, **checkpoints.facts(session)}


def _table(found: Variables, session: str) -> str:
    """A line for each variable, and what else has a name."""
    lines = []
    for variable in found.shown:
        facts = (variable.type, variable.size, variable.preview)
        lines.append(clean(f"{variable.name}: {' · '.join(fact for fact in facts if fact)}"))
    if found.total > len(found.shown):
        lines.insert(0, f"[the last {len(found.shown):,} of {found.total:,} variables]")
    for group, names in found.others.items():
        rest = names.total - len(names.shown)
        more = f" and {rest:,} more" if rest else ""
        lines.append(clean(f"[{names.total:,} {group}: {', '.join(names.shown)}{more}]"))
    text = "\n".join(lines)
    if len(text) > _MOST_CHARACTERS:
        text = text[:_MOST_CHARACTERS].rpartition("\n")[0] + "\n[… cut]"
    return text or f"Session {session!r} has no variables."


def _with_output(sentence: str, printed: str) -> str:
    return f"{sentence}\nAt its end it printed:\n{printed}" if printed.strip() else sentence
