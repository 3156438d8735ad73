"""What the end of an execution means for its result and for the session's variables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernels.execution import Ending
from kernels.kernel import Exit
from kernels.outputs import Error
from kernels.result import Status, crash_trace, explain_exit
from kernels.transcript import clean

#: The note of a run that was ended and took nothing with it.
KEPT = "the session's variables are kept"
#: That of one that took them.
GONE = "session restarted: its variables are gone"


@dataclass(frozen=True)
class End:
    """How an execution ended.

    `obeyed`: whether the kernel replied. `outcome`: what it replied (see `outcome_of`). `exit`:
    how its process ended, if it did. `stack`: where an execution stood that did not obey.
    `session_ends`: "closed" or "restarted" when that was the reason, otherwise "".
    """

    ending: Ending
    obeyed: bool
    outcome: Mapping[str, Any]
    exit: Exit | None = None
    stack: str = ""
    session_ends: str = ""


@dataclass(frozen=True)
class Verdict:
    """What a result says of it. `lost`: the session's variables went with it."""

    status: Status
    lost: bool
    exit_code: int | None = None
    notes: tuple[str, ...] = ()
    explanation: str = ""


def judge(end: End, timeout: float, keep_after_timeout: bool) -> Verdict:
    """The verdict on a run that had `timeout` seconds."""
    gone = f"session {end.session_ends}: its variables are gone" if end.session_ends else GONE
    if end.ending is Ending.DONE:
        code = end.outcome.get("exit_code")
        status = Status.OK if code == 0 else Status.ERROR
        lost = bool(end.session_ends)
        words = asked_for_input(end.outcome) if status is Status.ERROR else ""
        return Verdict(status, lost, code, (gone,) if lost else (), words)
    if end.ending is Ending.DIED:
        exit = end.exit or Exit()
        words = _lines(explain_exit(exit), crash_trace(exit.trace))
        return Verdict(Status.DIED, True, exit.code, (gone,), words)
    stopped = end.ending is Ending.STOPPED
    kept = end.obeyed and (stopped or keep_after_timeout) and not end.session_ends
    explanation = ""
    if not end.obeyed and end.exit is not None:
        explanation = _lines(explain_exit(end.exit), crash_trace(end.exit.trace))
    elif not end.obeyed:
        explanation = _lines("It did not obey the interrupt.", crash_trace(end.stack))
    return Verdict(
        Status.INTERRUPTED if stopped else Status.TIMEOUT,
        lost=not kept,
        exit_code=end.outcome.get("exit_code") if stopped and end.obeyed else None,
        notes=(
            "stopped" if stopped else f"timed out after {timeout:g} s",
            KEPT if kept else gone,
        ),
        explanation=explanation,
    )


def outcome_of(reply: Mapping[str, Any] | None, error: Error | None) -> Mapping[str, Any]:
    """`exit_code`, and `error` (`name`, `value`, `line`, `file`) or None, of an execute_reply.

    Our guest says it itself. Of other kernels the published `error` is more to be trusted than
    their reply, which can say "ok" all the same.
    """
    if reply is None:
        return {}
    told = reply.get("rmi")
    if isinstance(told, Mapping):
        return told
    if error is not None:
        name, value = error.name, error.value
    elif reply.get("status") == "ok":
        return {"exit_code": 0, "error": None}
    else:
        # "aborted" has neither.
        name, value = str(reply.get("ename") or "Aborted"), str(reply.get("evalue") or "")
    code = 130 if name == "KeyboardInterrupt" else 1
    return {"exit_code": code, "error": {"name": name, "value": value, "line": None, "file": None}}


def asked_for_input(outcome: Mapping[str, Any]) -> str:
    """What to do when the program ended because it was not given the input that it asked for;
    otherwise ""."""
    prompt = outcome.get("wanted_input")
    if not isinstance(prompt, str):
        return ""
    asked = f" ({clean(prompt)!r})" if prompt.strip() else ""
    return (
        f"The program asked for input{asked} and its stdin was at its end; "
        "give the answers in `stdin`, one line each."
    )


def _lines(*lines: str) -> str:
    return "\n".join(line for line in lines if line)
