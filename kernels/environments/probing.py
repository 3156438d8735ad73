"""Why a Python cannot run kernels: by its files, and by running it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from kernels.environments.environment import OLDEST_PYTHON, as_numbers

#: Seconds that an interpreter may take to say what it is.
LIMIT = 10.0
#: Characters of its last lines that go with a sentence.
_WORDS = 2000
_MARK = "rmi-agent-facts:"
#: Any Python since 2.6 can read it. The folder that it runs in is no place to import from.
_PROGRAM = f"""\
import sys
sys.path[:1] = []
import json
version = ".".join(str(part) for part in sys.version_info[:3])
try:
    from importlib.metadata import version as of
    ipykernel = of("ipykernel")
except Exception:
    ipykernel = ""
print({_MARK!r} + json.dumps([version, sys.prefix, ipykernel]))
"""
#: What no Python may get that is not the one they were set for.
_MISLEADING = ("PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
_OTHER_MACHINE = {errno.ENOEXEC, getattr(errno, "EBADARCH", 86)}
#: Windows: no valid program, a program of another machine.
_OTHER_WINDOWS = {193, 216}


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
    thread. A Python without ipykernel is `Facts`: `unfit.why_unfit` says what to do."""
    if trouble := not_there(python):
        return trouble
    env = {name: text for name, text in environ.items() if name not in _MISLEADING}
    begun = time.monotonic()
    # Files, not pipes: what it leaves behind may hold them, and nobody waits for that.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                [python, "-c", _PROGRAM],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return _not_started(python, error)
        status: int | None = None
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if status is None:
                _end(process)
        seconds = time.monotonic() - begun
        said, words = _end_of(out), _end_of(err)
    return _verdict(python, status, said, words, seconds, limit)


def not_there(python: str) -> Trouble | None:
    """What is wrong with the path itself, if anything is; nothing is run."""
    if os.path.isfile(python):
        if os.access(python, os.X_OK):
            return None
        return Trouble(
            f"{python} may not be executed. Allow it (chmod +x), or choose another environment."
        )
    if os.path.isdir(python):
        return Trouble(f"{python} is a folder, not an interpreter. Choose another environment.")
    if os.path.islink(python):
        return Trouble(
            f"{python} is a link to {os.path.realpath(python)}, which is not there: the Python it "
            "was made of has been removed or moved. Make the environment again."
        )
    return Trouble(
        f"There is no interpreter {python}. Make the environment again, or choose another."
    )


def _not_started(python: str, error: Exception) -> Trouble:
    code = getattr(error, "winerror", None)
    if getattr(error, "errno", None) in _OTHER_MACHINE or code in _OTHER_WINDOWS:
        return Trouble(
            f"{python} is no program for this machine: it is of another architecture, or damaged. "
            "Install a Python for this machine, or choose another environment."
        )
    if isinstance(error, FileNotFoundError):
        return Trouble(
            f"{python} is there, but not what it needs to start: its loader, or the program that "
            "its first line names. Install it again, or choose another environment."
        )
    reason = getattr(error, "strerror", None) or str(error)
    return Trouble(f"{python} could not be started: {reason}. Choose another environment.")


def _verdict(
    python: str, status: int | None, said: str, words: str, seconds: float, limit: float
) -> Facts | Trouble:
    last = _last_line(words) or _last_line(said)
    saying = f" The last that it said: {last}." if last else ""
    detail = (words or said)[-_WORDS:]
    if status is None:
        return Trouble(
            f"{python} did not answer within {limit:g} s, so it was ended.{saying} "
            "Run it in a terminal to see why, or choose another environment.",
            detail,
        )
    facts = _facts(said)
    if facts is not None and as_numbers(facts[0])[:2] < OLDEST_PYTHON:
        return too_old(python, facts[0])
    if status:
        how = f"was ended by {_signal(-status)}" if status < 0 else f"ended with status {status}"
        return Trouble(
            f"{python} {how} when it was asked for its version.{saying} "
            "Install it again, or choose another environment.",
            detail,
        )
    if facts is None:
        return Trouble(
            f"{python} does not answer as a Python does.{saying} Choose another environment.",
            detail,
        )
    return Facts(*facts, seconds)


def too_old(python: str, version: str) -> Trouble:
    """It is older than any that kernels can be of."""
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Trouble(
        f"{python} is Python {version}; kernels need {oldest} or newer. Choose another environment."
    )


def _facts(said: str) -> tuple[str, str, str] | None:
    for line in said.splitlines():
        if line.startswith(_MARK):
            try:
                version, prefix, ipykernel = json.loads(line.removeprefix(_MARK))
            except ValueError:
                return None
            return str(version), str(prefix), str(ipykernel or "")
    return None


def _end_of(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 10_000))
    return file.read().decode("utf-8", "replace")


def _last_line(words: str) -> str:
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else ""


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and whatever it has started, while its number is still its own."""
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
