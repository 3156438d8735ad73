"""Why a Python cannot run kernels: by its files, and by running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kernels.environments.environment import Environment

#: Seconds that an interpreter may take to say what it is.
LIMIT = 10.0


@dataclass(frozen=True)
class Facts:
    """What an interpreter says of itself. `ipykernel`: its version; "" where there is none.
    `seconds`: that it took to say so."""

    version: str
    prefix: str
    ipykernel: str
    seconds: float


@dataclass(frozen=True)
class Trouble:
    """Why it cannot: `sentence` for the user with what to do next, `detail` its own last lines."""

    sentence: str
    detail: str = ""


def probe(python: str, environ: Mapping[str, str], limit: float = LIMIT) -> Facts | Trouble:
    """Run the interpreter to learn what it is, or why it is of no use: not there, not executable,
    of another architecture, too old, hanging, dying. Waits up to `limit` seconds: call it in a
    thread. A Python without ipykernel is `Facts`: `unfit` says what to do."""
    return Trouble(f"{python} could not be run.")


def unfit(environment: Environment, installing: bool = False) -> str:
    """Why it cannot run kernels as its files stand, and the exact command that helps; "" where it
    can. `installing`: whether the tool install_packages is there to do it."""
    return ""
