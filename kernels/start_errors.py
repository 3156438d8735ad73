"""Why a kernel did not come up, in sentences. Pure but for a look at the PATH."""

from __future__ import annotations

import os
import shutil

from kernels.errors import KernelStartError
from kernels.launching import Launched

#: Characters of its last words that go with an error.
_WORDS = 4000


def ended_at_the_start(launched: Launched, words: str) -> KernelStartError:
    """Its process ended, having said `words`, before it was a kernel."""
    return KernelStartError(_why_it_ended(launched, words), words[-_WORDS:])


def silent_at_the_start(launched: Launched, words: str, seconds: float) -> KernelStartError:
    """It did not answer in time."""
    last = _last_line(words)
    said = f" The last that it said: {last}." if last else ""
    message = (
        f"{_name_of(launched)} did not answer within {seconds:g} s, so it was ended.{said} "
        f"Try again, or check that {_check(launched)}."
    )
    return KernelStartError(message, words[-_WORDS:])


def _why_it_ended(launched: Launched, words: str) -> str:
    program = launched.argv[0]
    if _is_absent(launched):
        return (
            f"{_name_of(launched)} cannot start: its program {program} is not there or may not be "
            "run. Install it again, or choose another kernel."
        )
    if launched.scripted and any(
        f"No module named '{name}'" in words for name in ("ipykernel", "zmq", "IPython")
    ):
        return (
            f"{program} has no ipykernel, so it cannot run kernels. "
            f"Install it with: {program} -m pip install ipykernel"
        )
    if launched.scripted and "No module named 'ipykernel." in words:
        return (
            f"The ipykernel of {program} is too old for this server. "
            f"Update it with: {program} -m pip install --upgrade ipykernel"
        )
    last = _last_line(words) or f"exit status {launched.process.status}"
    return f"{_name_of(launched)} ended while it started: {last}. Check that {_check(launched)}."


def _is_absent(launched: Launched) -> bool:
    if not launched.process.failure or launched.kernelspec is None:
        return False
    path = launched.kernelspec.environment(os.environ).get("PATH")
    return shutil.which(launched.argv[0], path=path) is None


def _name_of(launched: Launched) -> str:
    if launched.kernelspec is None:
        return f"The kernel of {launched.argv[0]}"
    return f"The kernel {launched.kernelspec.name!r}"


def _check(launched: Launched) -> str:
    if launched.scripted:
        return f"{launched.argv[0]} works" if launched.kernelspec else "this Python works"
    return "it works in Jupyter"


def _last_line(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else ""
