"""The variables of a kernel, also while a run is going on in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kernels.errors import KernelError
from kernels.guest.variables import REQUEST
from kernels.kernel import Kernel

#: Seconds to wait for the kernel's answer.
PATIENCE = 2.0
#: Characters of one fact: more than the guest sends.
_FACT = 500


@dataclass(frozen=True)
class Variable:
    """One variable. `type`: `module.Class`, a builtin's without module. `size`: number of
    elements, or the shape. `preview`: the value's beginning, or what an array holds. The last two
    are "" for what cannot be known without running code of the program's."""

    name: str
    type: str
    size: str = ""
    preview: str = ""


@dataclass(frozen=True)
class Names:
    """How many there are, and the last-defined of them, in the order of their definition."""

    total: int
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Variables:
    """How many variables there are; the last-defined of them, in the order of their definition;
    and what else has a name: under "functions", "classes" and "modules", where there are any."""

    total: int = 0
    shown: tuple[Variable, ...] = ()
    others: Mapping[str, Names] = field(default_factory=dict)


async def variables_of(kernel: Kernel, limit: int = 200, patience: float = PATIENCE) -> Variables:
    """Ask a kernel for its variables, of which the last-defined `limit` are shown, or fewer when
    they are long. No run and no code of the program's is needed for it.

    Raises `KernelError` when the kernel cannot tell, or does not within `patience` seconds.
    """
    if not kernel.scripted:
        raise KernelError(
            "Only kernels of Python list their variables, and this one is another. "
            "Have it show them by run_code, in its own language."
        )
    reply = None
    if not kernel.exited.is_set():
        reply = await kernel.ask(REQUEST, {"limit": limit}, patience)
    if kernel.exited.is_set():
        raise KernelError(
            "The kernel has ended, and its variables with it. The next run starts a fresh one."
        )
    if reply is None:
        raise KernelError(
            f"The kernel did not answer within {patience:g} s: it is in a long call of compiled "
            "code that lets nothing else run, or its process is stopped. Ask again later, or stop "
            "the run."
        )
    try:
        return _parse(reply)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise KernelError(
            "The kernel's answer made no sense: its program may have changed what it is made of. "
            "Restart the session if this comes again."
        ) from None


def _parse(reply: Mapping[str, Any]) -> Variables:
    return Variables(
        total=int(reply["total"]),
        shown=tuple(Variable(*(str(fact)[:_FACT] for fact in facts)) for facts in reply["shown"]),
        others={
            group: Names(int(names["total"]), tuple(str(name)[:_FACT] for name in names["names"]))
            for group, names in reply["others"].items()
            if group in ("functions", "classes", "modules")
        },
    )
