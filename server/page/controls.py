"""What the page can have done: each of it as a client of MCP could."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kernels.errors import BadRequest
from kernels.execution import CodeRequest
from kernels.registry import Registry
from kernels.transcript import clean
from server import checkpoints
from server.audit import Audit
from server.page.answers import Refused, answer, body
from server.page.feeds import Feeds
from server.page.views import asker
from server.remote.rates import Allowance

#: What runs of the page are asked by.
ASKER = "this page"
#: Characters of code, and of an answer.
_CODE, _ANSWER = 1_000_000, 100_000
#: What the audit log calls them.
_AUDITED = {"run": "run_id"}


class Controls:
    """Over one registry. `timeout`: seconds that a run of the page may take. `calls`: how many
    controls a minute each owner has. `audits` record them."""

    def __init__(
        self,
        registry: Registry,
        feeds: Feeds,
        timeout: float,
        calls: int,
        audits: Sequence[Audit] = (),
    ) -> None:
        self._registry, self._feeds, self._timeout = registry, feeds, timeout
        self._allowance, self._audits = Allowance(calls), audits

    async def do(self, request: Request, owner: str) -> Response:
        """Answer POST /page/do."""
        if wait := self._allowance.take(owner):
            words = f"Too many controls: at most {self._allowance.calls} a minute. Wait {wait} s."
            raise Refused(429, words)
        asked = await body(request)
        act: Callable[[], Awaitable[Any]] = partial(self._carry_out, owner, asked)
        for audit in self._audits:
            arguments = {_AUDITED.get(name, name): value for name, value in asked.items()}
            act = partial(audit.of_page, owner, asked.get("do", ""), arguments, act)
        return answer(await act())

    async def _carry_out(self, owner: str, asked: dict[str, Any]) -> dict[str, Any]:
        match asked.get("do"):
            case "stop":
                facts = self._stop(owner, _text(asked, "run"))
            case "restart":
                facts = await self._restart(owner, _text(asked, "session"))
            case "close":
                facts = await self._close(owner, _text(asked, "session"))
            case "rewind":
                name = _text(asked, "session")
                facts = {"words": await checkpoints.rewind(self._registry, owner, name)}
            case "branch":
                facts = await self._branch(
                    owner, _text(asked, "session"), _text(asked, "new_session")
                )
            case "run":
                facts = self._run(owner, _text(asked, "session"), _text(asked, "code", _CODE))
            case "answer":
                facts = self._answer(owner, asked)
            case _:
                raise BadRequest(
                    "`do` must be stop, restart, close, rewind, branch, run or answer."
                )
        self._feeds.poke(owner)
        return facts

    def _stop(self, owner: str, run_id: str) -> dict[str, Any]:
        run = self._registry.find_run(owner, run_id)
        if run.done.done():
            return {"words": f"Run {run.id} has ended already."}
        run.stop()
        return {"words": f"Run {run.id} is being stopped."}

    async def _restart(self, owner: str, name: str) -> dict[str, Any]:
        printed = await self._registry.find(owner, name).restart()
        return {"words": _with(f"Session {name} restarted: its variables are gone.", printed)}

    async def _close(self, owner: str, name: str) -> dict[str, Any]:
        printed = await self._registry.close(owner, name)
        return {"words": _with(f"Session {name} closed: its variables are gone.", printed)}

    async def _branch(self, owner: str, name: str, new_name: str) -> dict[str, Any]:
        words = await checkpoints.branch(self._registry, owner, name, new_name)
        return {"words": words, "session": new_name}

    def _run(self, owner: str, name: str, code: str) -> dict[str, Any]:
        if not code.strip():
            raise BadRequest("There is no code to run.")
        token = asker.set(ASKER)
        try:
            # The page can put a question to whoever sits before it.
            work = CodeRequest(code, ask=True)
            run = self._registry.submit(owner, name, work, self._timeout)
        finally:
            asker.reset(token)
        behind = f", behind {run.place} more" if run.place else ""
        return {"words": f"Run {run.id} has been asked for{behind}.", "run": run.id}

    def _answer(self, owner: str, asked: dict[str, Any]) -> dict[str, Any]:
        run = self._registry.find_run(owner, _text(asked, "run"))
        serial = asked.get("serial")
        text = None if asked.get("text") is None else _text(asked, "text", _ANSWER)
        open_now = run.question
        if open_now is None or open_now.serial != serial:
            raise Refused(409, "This question is not open any more.")
        run.answer(open_now.serial, text)
        return {"words": "Answered." if text is not None else "Refused to answer."}


def _text(asked: dict[str, Any], name: str, most: int = 1_000) -> str:
    value = asked.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"`{name}` must be text.")
    if len(value) > most:
        raise BadRequest(f"`{name}` has more than {most:,} characters.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"`{name}` has characters that UTF-8 cannot hold.") from None
    return value


def _with(sentence: str, printed: str) -> str:
    printed = clean(printed)
    return f"{sentence}\nAt its end it printed:\n{printed}" if printed.strip() else sentence
