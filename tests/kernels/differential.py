"""Runs one script both ways, with `python` itself and in a living kernel, and compares."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kernels.execution import CodeRequest, FileRequest
from kernels.outputs import Display, Error, Text
from kernels.registry import Registry
from kernels.result import RunResult

_SCRIPTS = Path(__file__).parent / "scripts"

#: What `python` and the kernel both begin with. Unbuffered, because a kernel keeps the order of
#: Python's writes and those of C code and children, which `python` does only then.
ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MPL", "RMI_"))},
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "utf-8",
}


@dataclass(frozen=True)
class Case:
    """A script, and what it is run with."""

    source: str | bytes
    args: tuple[str, ...] = ()
    stdin: str = ""
    files: dict[str, str] = field(default_factory=dict)


def cases(subject: str) -> Any:
    """Parametrises a test over the scripts of one file in `scripts`.

    Each script follows a line `#= its name`. Lines in it may say `#args WORD…`, `#stdin STRING`
    (a Python expression), and `#file NAME`, after which another file follows.
    """
    _, *parts = re.split(r"(?m)^#= ", (_SCRIPTS / f"{subject}.txt").read_text("utf-8"))
    found = []
    for part in parts:
        name, _, body = part.partition("\n")
        body, *files = re.split(r"(?m)^#file ", body.rstrip("\n") + "\n")
        options = dict(re.findall(r"(?m)^#(args|stdin) (.*)\n", body))
        case = Case(
            re.sub(r"(?m)^#(args|stdin) .*\n", "", body),
            tuple(options.get("args", "").split()),
            eval(options.get("stdin", "''")),
            {file: text for file, _, text in (f.partition("\n") for f in files)},
        )
        found.append(pytest.param(case, id=name))
    return pytest.mark.parametrize("case", found)


@dataclass(frozen=True)
class Outcome:
    """What the caller of a program sees of it."""

    stdout: str
    stderr: str
    exit_code: int | None

    def comparable(self) -> Outcome:
        """Without what differs from process to process: addresses, and measured times."""
        return Outcome(_comparable(self.stdout), _comparable(self.stderr), self.exit_code)


def _comparable(text: str) -> str:
    return re.sub(r"\b\d+\.\d{2,3}( seconds|s\b)", "0.000s", re.sub(r"\b0x[0-9a-f]+", "0x0", text))


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
    """A folder, and a session that many scripts share, as those of an agent would."""

    def __init__(
        self,
        folder: Path,
        registry: Registry,
        session: str = "default",
        interpreter: str = sys.executable,
    ) -> None:
        """`interpreter`: the Python that the session is of."""
        self.folder, self.registry, self.session = folder, registry, session
        self._interpreter = interpreter

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    async def run(
        self, source: str | bytes, *args: str, name: str = "x.py", stdin: str = ""
    ) -> RunResult:
        """Write a file and run it in the kernel."""
        path = self.write(name, source)
        request = FileRequest(path, path.read_bytes(), args, stdin)
        return await self.registry.submit("", self.session, request, 30).result()

    async def text(self, source: str | bytes, *args: str, name: str = "x.py") -> str:
        """Write a file and run it in the kernel; what it writes to stdout. It must succeed."""
        outcome = outcome_of(await self.run(source, *args, name=name))
        assert (outcome.stderr, outcome.exit_code) == ("", 0)
        return outcome.stdout

    async def cell(self, code: str, stdin: str = "") -> RunResult:
        """Run a cell in the kernel."""
        request = CodeRequest(code, stdin)
        return await self.registry.submit("", self.session, request, 30).result()

    async def shown(self, code: str) -> str:
        """Run a cell; the text of its value."""
        display = displays_of(await self.cell(code))[-1]
        return str(display.data["text/plain"])

    def python(self, *args: str, name: str = "x.py", stdin: str = "") -> Outcome:
        """Run a file as `python file.py` in its folder."""
        path = self.folder / name
        done = subprocess.run(
            [self._interpreter, path.name, *args],
            cwd=path.parent,
            env=ENVIRONMENT,
            input=stdin.encode(),
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

    async def same(self, case: Case, name: str = "x.py") -> Outcome:
        """Assert that a script says and returns the same both ways; returns what it was."""
        for file, content in case.files.items():
            self.write(file, content)
        self.write(name, case.source)
        expected = self.python(*case.args, name=name, stdin=case.stdin).comparable()
        result = await self.run(case.source, *case.args, name=name, stdin=case.stdin)
        got = outcome_of(result).comparable()
        assert got.stdout == expected.stdout
        assert got.stderr == expected.stderr
        assert got.exit_code == expected.exit_code, result.explanation
        return got
