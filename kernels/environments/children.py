"""Programs that work on environments: run to their end, what they say told line by line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kernels.errors import EnvironmentUnfit
from kernels.transcript import clean

Tell = Callable[[str], None]

#: Seconds that a program has after the interrupt to put back what it has begun.
_GRACE = 5.0
#: Lines that are kept, and characters of each.
_KEPT, _LINE = 400, 1000
_ERROR = re.compile(r"\s*(?:\w*error\b|×)", re.I)
#: Would lead an installer to another place than the environment that it is told, or would make
#: that one's Python believe that it is another.
_MISLEADING = frozenset(
    {
        "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "PYTHONHOME", "PYTHONPATH",
        "PYTHONEXECUTABLE", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONINSPECT",
        "__PYVENV_LAUNCHER__", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON",
        "PIP_REQUIREMENT", "PIP_EDITABLE", "PIP_DRY_RUN", "PIP_REQUIRE_VIRTUALENV", "PIP_QUIET",
        "PIP_LOG", "PIP_REPORT", "UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_PROJECT",
        "UV_PROJECT_ENVIRONMENT", "UV_WORKING_DIRECTORY", "UV_QUIET", "FORCE_COLOR",
        "CLICOLOR_FORCE",
    }
)  # fmt: skip
_PLAIN = {
    "NO_COLOR": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_PROGRESS_BAR": "off",
    "UV_NO_PROGRESS": "1",
}


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit code, and the last lines of what it said."""

    code: int
    lines: tuple[str, ...]

    def last_words(self, most: int = 12) -> str:
        """The end of what it said; from the first line on that names an error, if one does."""
        first = next((n for n, line in enumerate(self.lines) if _ERROR.match(line)), 0)
        return "\n".join(self.lines[first:][-most:])


def working_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What such a program gets of this process's environment: proxies, indexes and certificates
    of the user's, and nothing that means another environment or a terminal."""
    kept = {name: text for name, text in environ.items() if name not in _MISLEADING}
    return {**kept, **_PLAIN}


async def run(
    argv: Sequence[str],
    environ: Mapping[str, str],
    seconds: float,
    tell: Tell = lambda line: None,
) -> Ended:
    """Run a program in an empty folder, without input. `tell` gets its lines, in the event loop.

    When its time is up, or whoever waits is cancelled, it and all that it has started are
    interrupted, and killed when that does not suffice; this returns after their end. Raises
    `EnvironmentUnfit` when it cannot be started, or did not end in `seconds`.
    """
    child = _Child(argv, environ, tell)
    waiting = asyncio.create_task(asyncio.to_thread(child.follow))
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.shield(waiting)
    except TimeoutError:
        await _end(child, waiting)
        words = child.ended().last_words()
        raise EnvironmentUnfit(
            f"{os.path.basename(argv[0])} was not ready within {seconds:g} s and was ended.", words
        ) from None
    except asyncio.CancelledError:
        await _end(child, waiting)
        raise


async def _end(child: _Child, waiting: asyncio.Task[Ended]) -> None:
    """End it, however often we are cancelled meanwhile."""
    ending = asyncio.create_task(_end_in_turn(child, waiting))
    while not ending.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(ending)


async def _end_in_turn(child: _Child, waiting: asyncio.Task[Ended]) -> None:
    child.interrupt()
    await asyncio.wait({waiting}, timeout=_GRACE)
    # What it has started and left behind, too.
    child.kill()
    await asyncio.wait({waiting})
    waiting.exception()


class _Child:
    """A program, which has a process group of its own."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], tell: Tell) -> None:
        self._argv, self._environ = list(argv), dict(environ)
        self._loop = asyncio.get_running_loop()
        self._tell = tell
        self._lines: deque[str] = deque(maxlen=_KEPT)
        #: Guards the number of the process: it is another's once this one has been waited for.
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._code = -1

    def follow(self) -> Ended:
        """Run it to its end, in a thread. Raises `EnvironmentUnfit` when it cannot be started."""
        with tempfile.TemporaryDirectory(prefix="rmi-agent-", ignore_cleanup_errors=True) as folder:
            with self._lock:
                if self._stopped:
                    return self.ended()
                self._process = process = self._start(folder)
            self._read(process)
            # What it has left behind, before its number can be another's.
            if self._stopped:
                self.kill()
            while True:
                with self._lock:
                    code = process.poll()
                if code is not None:
                    self._code = code
                    return self.ended()
                # It has closed its output before its end.
                time.sleep(0.01)

    def _start(self, folder: str) -> subprocess.Popen[bytes]:
        flags = 0
        if sys.platform == "win32":
            flags = subprocess.CREATE_NEW_PROCESS_GROUP
        try:
            return subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=self._environ,
                start_new_session=True,
                creationflags=flags,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise EnvironmentUnfit(f"{self._argv[0]} cannot be started: {reason}.") from None

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        rest = b""
        with process.stdout as output:
            while chunk := os.read(output.fileno(), 65536):
                # A carriage return is how a bar of progress is drawn anew.
                *whole, rest = re.split(rb"[\r\n]", rest + chunk)
                for line in whole:
                    self._say(line)
                rest = rest[-_LINE:]
        self._say(rest)

    def _say(self, line: bytes) -> None:
        words = clean(line.decode("utf-8", "replace")).rstrip()[:_LINE]
        if words.strip():
            self._lines.append(words)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._tell, words)

    def ended(self) -> Ended:
        """How it has ended, as far as that is known."""
        return Ended(self._code, tuple(self._lines))

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C does."""
        self._stopped = True
        with self._lock, contextlib.suppress(OSError):
            process = self._process
            if process is None or process.returncode is not None:
                return
            if sys.platform == "win32":
                process.send_signal(signal.CTRL_BREAK_EVENT)
            else:
                os.killpg(process.pid, signal.SIGINT)

    def kill(self) -> None:
        """End it and what it has started."""
        with self._lock, contextlib.suppress(OSError):
            process = self._process
            if process is None or process.returncode is not None:
                return
            if sys.platform == "win32":
                # With its children, which no signal reaches there.
                words = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
                subprocess.run(words, capture_output=True, check=False)
            else:
                os.killpg(process.pid, signal.SIGKILL)
