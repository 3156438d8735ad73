"""Why a kernel did not come up, in sentences."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping

from kernels.errors import KernelStartError
from kernels.launching import Launched

#: Characters of its last words that go with an error.
_WORDS = 4000


class _Unexplained(KernelStartError):
    """All that is known are its own last words."""


async def explained(
    error: KernelStartError, launched: Launched, environ: Mapping[str, str]
) -> KernelStartError:
    """The same, or what is wrong with its Python, if that is the reason and not said yet."""
    if isinstance(error, _Unexplained) and (found := await trouble_of(launched, environ)):
        return found
    return error


async def trouble_of(launched: Launched, environ: Mapping[str, str]) -> KernelStartError | None:
    """What is wrong with the Python of a kernel with our guest, as running it shows: that it is
    for another machine, hangs, is too old, has no ipykernel. `environ`: its environment."""
    return await asyncio.to_thread(_trouble_of, launched, environ) if launched.scripted else None


def _trouble_of(launched: Launched, environ: Mapping[str, str]) -> KernelStartError | None:
    # Nobody's start waits for it.
    from kernels.environments.probing import Trouble, probe

    python = shutil.which(launched.argv[0], path=environ.get("PATH")) or launched.argv[0]
    found = probe(python, environ)
    if isinstance(found, Trouble):
        return KernelStartError(found.sentence, found.detail)
    return None if found.ipykernel else KernelStartError(_without_ipykernel(python))


def _without_ipykernel(python: str) -> str:
    from kernels.environments.describing import describe
    from kernels.environments.unfit import why_unfit

    return why_unfit(describe(python)) or (
        f"{python} has no ipykernel, so it cannot run kernels. "
        f"Install it with: {python} -m pip install ipykernel"
    )


def ended_at_the_start(launched: Launched, words: str) -> KernelStartError:
    """Its process ended, having said `words`, before it was a kernel."""
    if sentence := _why_it_ended(launched, words):
        return KernelStartError(sentence, words[-_WORDS:])
    last = _last_line(words) or f"exit status {launched.process.status}"
    return _Unexplained(
        f"{_name_of(launched)} ended while it started: {last}. Check that {_check(launched)}.",
        words[-_WORDS:],
    )


def silent_at_the_start(launched: Launched, words: str, seconds: float) -> KernelStartError:
    """It did not answer in time."""
    last = _last_line(words)
    said = f" The last that it said: {last}." if last else ""
    message = (
        f"{_name_of(launched)} did not answer within {seconds:g} s, so it was ended.{said} "
        f"Try again, or check that {_check(launched)}."
    )
    return _Unexplained(message, words[-_WORDS:])


def _why_it_ended(launched: Launched, words: str) -> str:
    """ "" where its words do not tell."""
    program = launched.argv[0]
    if _is_absent(launched):
        return (
            f"{_name_of(launched)} cannot start: its program {program} is not there or may not be "
            "run. Install it again, or choose another kernel."
        )
    if launched.scripted and any(
        f"No module named '{name}'" in words for name in ("ipykernel", "zmq", "IPython")
    ):
        return _without_ipykernel(program)
    if launched.scripted and "No module named 'ipykernel." in words:
        return (
            f"The ipykernel of {program} is too old for this server. "
            f"Update it with: {program} -m pip install --upgrade ipykernel"
        )
    return ""


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
