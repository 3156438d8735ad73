"""Runs one script both ways, with `python` itself and in a living kernel, and compares."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kernels.execution import CodeRequest, FileRequest
from kernels.outputs import Display, Error, Text
from kernels.registry import Registry
from kernels.result import RunResult

#: What `python` and the kernel both begin with. Unbuffered, because a kernel keeps the order of
#: Python's writes and those of C code and children, which `python` does only then.
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MPL", "RMI_"))},
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "utf-8",
}


@dataclass(frozen=True)
class Outcome:
    """What the caller of a program sees of it."""

    stdout: str
    stderr: str
    exit_code: int | None


def outcome_of(result: RunResult) -> Outcome:
    """A run's result as the outcome of a program. A cell's traceback counts as stderr."""
    text = {"stdout": "", "stderr": ""}
    for output in result.outputs:
        if isinstance(output, Text):
            text[output.stream] += output.text
        elif isinstance(output, Error):
            text["stderr"] += output.traceback
    return Outcome(text["stdout"], text["stderr"], result.exit_code)


def displays_of(result: RunResult) -> list[Display]:
    """The displays of a result, in order."""
    return [output for output in result.outputs if isinstance(output, Display)]


class Bench:
    """A folder, and a session that many scripts in it share, as an agent's scripts would."""

    def __init__(self, folder: Path, registry: Registry, session: str = "default") -> None:
        self.folder = folder
        self.registry = registry
        self.session = session

    def fresh(self, _ids: itertools.count[int] = itertools.count()) -> Bench:
        """The same session with an empty folder of its own."""
        folder = self.folder / f"p{next(_ids)}"
        folder.mkdir()
        return Bench(folder, self.registry, self.session)

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    async def run(
        self,
        source: str | bytes | None,
        *args: str,
        name: str = "x.py",
        stdin: str = "",
        timeout: float = 30,
    ) -> RunResult:
        """Run a file in the kernel; `source` None: as it stands."""
        path = self.folder / name if source is None else self.write(name, source)
        request = FileRequest(path, path.read_bytes(), args, stdin)
        return await self.registry.submit("", self.session, request, timeout).result()

    async def cell(self, code: str, stdin: str = "", timeout: float = 30) -> RunResult:
        """Run a cell in the kernel."""
        request = CodeRequest(code, stdin)
        return await self.registry.submit("", self.session, request, timeout).result()

    def python(self, *args: str, name: str = "x.py", stdin: str = "") -> Outcome:
        """Run a file as `python file.py` in its folder."""
        path = self.folder / name
        done = subprocess.run(
            [sys.executable, path.name, *args],
            cwd=path.parent,
            env=ENVIRONMENT,
            input=stdin.encode("utf-8", "surrogateescape"),
            capture_output=True,
            # No terminal to ask at.
            start_new_session=True,
            timeout=60,
        )
        return Outcome(
            done.stdout.decode("utf-8", "backslashreplace"),
            done.stderr.decode("utf-8", "backslashreplace"),
            # As a shell tells it.
            done.returncode if done.returncode >= 0 else 128 - done.returncode,
        )

    async def same(
        self,
        source: str | bytes | None,
        *args: str,
        name: str = "x.py",
        stdin: str = "",
        files: Mapping[str, str | bytes] | None = None,
        normalise: Callable[[str], str] = str,
    ) -> Outcome:
        """Assert that a script says and returns the same both ways; return what it was."""
        for other, content in (files or {}).items():
            self.write(other, content)
        if source is not None:
            self.write(name, source)
        expected = self.python(*args, name=name, stdin=stdin)
        result = await self.run(None, *args, name=name, stdin=stdin)
        got = outcome_of(result)
        assert normalise(got.stdout) == normalise(expected.stdout)
        assert normalise(got.stderr) == normalise(expected.stderr)
        assert got.exit_code == expected.exit_code
        return got
