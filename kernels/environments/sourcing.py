"""Running a shell's scripts for what they do to the environment variables."""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kernels.environments import batches

#: Seconds that one script may take, and all of them together.
LIMIT, TOTAL = 5.0, 15.0
#: Bytes of what scripts say that are kept: the end.
_WORDS = 4000
#: What every shell changes by itself.
_SHELLS = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "RMI_SOURCED"})


@dataclass(frozen=True)
class Sourced:
    """`environ`: what is set afterwards. `notes`: a sentence on each script that did not work."""

    environ: Mapping[str, str]
    notes: tuple[str, ...] = ()


def source(
    scripts: Sequence[Path], environ: Mapping[str, str], limit: float = LIMIT, total: float = TOTAL
) -> Sourced:
    """Run them in order, as if they were typed into a shell that has `environ`.

    They read nothing, and what they print goes nowhere. One that hangs or ends the shell is passed
    over, with all that it has changed; the next begin where it began. No process of theirs is left.
    """
    if sys.platform == "win32":
        return _by_cmd(scripts, environ, limit)
    until = time.monotonic() + total
    left, notes = list(scripts), []
    while left:
        if time.monotonic() >= until:
            names = ", ".join(script.name for script in left)
            notes.append(f"There was no time left for these activation scripts: {names}.")
            break
        shell = _Shell(left, environ, until, limit)
        environ, done, said = shell.run()
        notes += said
        left = left[done:]
    return Sourced(environ, tuple(notes))


class _Shell:
    """One shell, until it has run all of the scripts or one of them has spoilt it."""

    def __init__(
        self, scripts: Sequence[Path], environ: Mapping[str, str], until: float, limit: float
    ) -> None:
        self._scripts = scripts
        self._environ = dict(environ)
        self._until = until
        self._limit = limit
        self._data = b""
        self._words = b""
        #: What is set, when nothing has run and after each script, with the script's status.
        self._looks: list[tuple[int, dict[str, str]]] = []
        self._notes: list[str] = []

    def run(self) -> tuple[Mapping[str, str], int, list[str]]:
        """What is set afterwards, how many scripts have had their turn, and the notes."""
        shell = shutil.which("bash", path=self._environ.get("PATH", os.defpath)) or "/bin/sh"
        hidden = {"BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS"}
        try:
            process = subprocess.Popen(
                [shell, "-c", program(self._scripts)],
                env={name: text for name, text in self._environ.items() if name not in hidden},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            names = ", ".join(script.name for script in self._scripts)
            note = f"The activation scripts {names} could not be run: {error}."
            return self._environ, len(self._scripts), [note]
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin is not None and stdout is not None and stderr is not None
        with stdin, stdout, stderr:
            try:
                hung = self._follow(stdin, stdout, stderr)
            finally:
                _end(process)
        return self._result(hung)

    def _follow(self, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes]) -> bool:
        """Read until all is done, the shell has ended, or time is up: whether that is so."""
        with selectors.DefaultSelector() as selector:
            for stream in (stdout, stderr):
                if sys.platform != "win32":
                    os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ)
            until = min(time.monotonic() + self._limit, self._until)
            while len(self._looks) <= len(self._scripts):
                wait = until - time.monotonic()
                if wait <= 0:
                    return True
                ready = [key.fileobj for key, _ in selector.select(wait)]
                if stderr in ready and not self._hear(stderr):
                    selector.unregister(stderr)
                if stdout in ready:
                    chunk = os.read(stdout.fileno(), 65536)
                    # What a script has said is there once it is told to have ended.
                    self._hear(stderr)
                    if not chunk:
                        return False
                    if self._take(chunk):
                        with contextlib.suppress(OSError):
                            stdin.write(b"\n")
                        until = min(time.monotonic() + self._limit, self._until)
        return False

    def _hear(self, stderr: IO[bytes]) -> bool:
        """Keep the end of what is said by now; False once nobody can say any more."""
        for _ in range(100):
            try:
                chunk = os.read(stderr.fileno(), 65536)
            except BlockingIOError:
                break
            if not chunk:
                return False
            self._words = (self._words + chunk)[-_WORDS:]
        return True

    def _take(self, chunk: bytes) -> bool:
        """Take what the shell tells; whether a script has ended."""
        self._data += chunk
        looks = len(self._looks)
        while (end := self._data.find(b"\0\0")) >= 0:
            status, *entries = self._data[:end].split(b"\0")
            self._data = self._data[end + 2 :]
            self._looks.append((int(status), _variables(entries)))
            if len(self._looks) > 1:
                self._judge(self._scripts[len(self._looks) - 2], int(status))
            self._words = b""
        return len(self._looks) > looks

    def _judge(self, script: Path, status: int) -> None:
        words = self._last_line()
        # One that ends in a test which is not so says nothing and means nothing.
        if status > 1 or (status and words):
            said = f": {words}" if words else ""
            self._notes.append(
                f"The activation script {script.name} failed with status {status}{said}."
            )

    def _last_line(self) -> str:
        lines = self._words.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return last[:200].rstrip(".")

    def _result(self, hung: bool) -> tuple[Mapping[str, str], int, list[str]]:
        done = len(self._looks) - 1
        if done < 0:
            return self._environ, len(self._scripts), [_BROKEN]
        first, last = self._looks[0][1], self._looks[-1][1]
        changed = {
            name: text
            for name, text in last.items()
            if name not in _SHELLS and first.get(name) != text
        }
        gone = first.keys() - last.keys() - _SHELLS
        kept = {name: text for name, text in self._environ.items() if name not in gone}
        if done < len(self._scripts):
            name = self._scripts[done].name
            if hung:
                what = f"took longer than {self._limit:g} s, so it was ended"
            else:
                words = self._last_line()
                what = "ended the shell" + (f" (it said: {words})" if words else "")
            self._notes.append(f"The activation script {name} {what}; what it sets is missing.")
            done += 1
        return kept | changed, done, self._notes


_BROKEN = "The shell for the activation scripts did not answer; what they set is missing."


def program(scripts: Sequence[Path], platform: str = sys.platform) -> str:
    """What the shell runs: after each script, its status and all variables, each ended by NUL, and
    one NUL more. Then it waits for a line, that what was said be told from what comes next."""
    if platform == "linux":
        # It needs nothing that scripts could have broken but the C library.
        tell = "env"
        for path in ("/usr/bin/env", "/bin/env"):
            if os.path.exists(path):
                tell = path
                break
        tell += " -0"
    else:
        code = "import os; os.write(1, b''.join(b'%b=%b\\0' % v for v in os.environb.items()))"
        tell = f"{shlex.quote(sys.executable)} -I -S -c {shlex.quote(code)}"
    look = f"printf '%s\\0' \"$RMI_SOURCED\"; {tell}; printf '\\0'; read -r RMI_SOURCED"
    lines = ["RMI_SOURCED=0", look]
    for script in scripts:
        # As the left side of `||` a script with `set -e` does not end the shell.
        run = f". {shlex.quote(str(script))} </dev/null >/dev/null"
        lines.append(f"{run} && RMI_SOURCED=0 || RMI_SOURCED=$?")
        lines += ["set +aeufvx; trap - EXIT", look]
    return "\n".join(lines)


def _variables(entries: Sequence[bytes]) -> dict[str, str]:
    found = {}
    for entry in entries:
        name, equals, text = entry.partition(b"=")
        # Functions of bash are no variables of anybody else's.
        if equals and not name.startswith(b"BASH_FUNC_"):
            found[os.fsdecode(name)] = os.fsdecode(text)
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and what it has started, before its number may be another's."""
    if sys.platform != "win32":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
    process.wait()


def _by_cmd(scripts: Sequence[Path], environ: Mapping[str, str], limit: float) -> Sourced:
    notes = []
    for script in scripts:
        environ, trouble = batches.run(script, environ, limit)
        if trouble:
            notes.append(trouble)
    return Sourced(environ, tuple(notes))
