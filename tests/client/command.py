"""The command as a process, in a pipe and on a terminal."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tests.conftest import ROOT

COMMAND = [sys.executable, str(ROOT / "client" / "mcp_client.py")]
ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Command:
    """Starts `rmi-agent` from a folder of its own, on a projects directory of its own."""

    def __init__(self, projects: Path, cwd: Path, **settings: str) -> None:
        self.projects = projects
        self.cwd = cwd
        ours = ("RMI_", "PYTHON_", "FASTMCP_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        self._environment = {**kept, "PYTHON_PROJECTS_DIR": str(projects), **settings}

    def write(self, name: str, source: str) -> Path:
        """Put a file into the projects directory."""
        path = self.projects / name
        path.write_text(source, encoding="utf-8")
        return path

    def start(self, *args: str, **environment: str) -> subprocess.Popen[str]:
        """Start it in pipes."""
        return subprocess.Popen(
            [*COMMAND, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=self.cwd,
            env={**self._environment, **environment},
        )

    def __call__(
        self, *args: str, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it in pipes, to its end."""
        with self.start(*args, **environment) as process:
            try:
                out, err = process.communicate(stdin, timeout=60)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def on_terminal(self, *args: str, **environment: str) -> Terminal:
        """Start it on a terminal."""
        return Terminal(
            [*COMMAND, *args], self.cwd, {**self._environment, "TERM": "xterm", **environment}
        )


class Served(Command):
    """A command whose server listens at `url`, where it goes on from one command to the next."""

    def __init__(self, projects: Path, cwd: Path, url: str) -> None:
        super().__init__(projects, cwd)
        self.url = url

    def start(self, *args: str, **environment: str) -> subprocess.Popen[str]:
        return super().start("--server", self.url, *args, **environment)


class Terminal:
    """A process on a pseudo terminal, which is killed when `with` ends."""

    def __init__(self, command: list[str], cwd: Path, environment: dict[str, str]) -> None:
        self._ours, theirs = os.openpty()
        try:
            self.process = subprocess.Popen(
                command,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                cwd=cwd,
                env={**environment, "COLUMNS": "100"},
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        self._shown = b""
        self._seen = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    @property
    def shown(self) -> str:
        """All that was written, with its escape sequences."""
        return self._shown.decode("utf-8", "replace")

    def type(self, text: str) -> None:
        """Type on the keyboard; `\\r` is the Enter key."""
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def expect(self, text: str, seconds: float = 30) -> None:
        """Read until `text` is shown, after what was expected before, colours left out."""
        assert self.shows(text, seconds), f"{text!r} is not at the end of {self.shown!r}"

    def shows(self, text: str, seconds: float) -> bool:
        """Whether `expect` finds `text` in time."""
        deadline = time.monotonic() + seconds
        while (at := ANSI.sub("", self.shown).find(text, self._seen)) < 0:
            if not self._read(deadline):
                return False
        self._seen = at + len(text)
        return True

    def end(self, seconds: float = 30) -> int:
        """Read to the end, and return the exit code."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        return self.process.wait(max(1.0, deadline - time.monotonic()))

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # the other side is closed
            return False
        self._shown += data
        return bool(data)
