"""Running batch files of Windows for what they do to the environment variables."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from pathlib import PurePath

#: What cmd itself sets.
_CMDS = frozenset({"PROMPT", "=EXITCODE", "=C:", "=D:"})


def command(script: PurePath) -> str:
    """The command line that runs a batch file and prints all variables, as UTF-16."""
    return f'cmd.exe /d /u /s /c "call "{script}" <nul >nul 2>nul & set"'


def variables(output: bytes) -> dict[str, str]:
    """What `set` has printed. A value of several lines is read as they are."""
    found: dict[str, str] = {}
    name = ""
    for line in output.decode("utf-16-le", "replace").replace("\r\n", "\n").split("\n"):
        key, equals, text = line.partition("=")
        if equals and key:
            name = key
            found[name] = text
        elif name and line:
            found[name] += "\n" + line
    return found


def merged(environ: Mapping[str, str], printed: Mapping[str, str]) -> dict[str, str]:
    """The variables afterwards, by the names that they have in `environ`: Windows knows no case."""
    known = {name.upper(): name for name in environ}
    return {
        known.get(name.upper(), name): text
        for name, text in printed.items()
        if name.upper() not in _CMDS or name.upper() in known
    }


def run(
    script: PurePath, environ: Mapping[str, str], limit: float
) -> tuple[Mapping[str, str], str]:
    """What is set after the batch file, and a sentence where it did not work."""
    try:
        process = subprocess.Popen(
            command(script),
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except (OSError, ValueError) as error:
        return environ, f"The activation script {script.name} could not be run: {error}."
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        _end(process)
        return environ, (
            f"The activation script {script.name} took longer than {limit:g} s, so it was ended; "
            "what it sets is missing."
        )
    printed = variables(output)
    if not printed:
        return environ, (
            f"The activation script {script.name} ended the shell; what it sets is missing."
        )
    return merged(environ, printed), ""


def _end(process: subprocess.Popen[bytes]) -> None:
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
    process.kill()
    process.wait()
