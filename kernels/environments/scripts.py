"""Scripts that say what they need (PEP 723), and the environments that uv makes for them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from kernels.environments.children import Ended, Tell, run, working_environment
from kernels.environments.describing import describe
from kernels.environments.environment import Environment
from kernels.environments.installers import find_uv
from kernels.errors import BadRequest, EnvironmentUnfit

#: Seconds that the making of an environment may take.
LONGEST = 1800.0
#: What kernels need, beside what the script does.
_KERNELS = "ipykernel>=6.29"
#: As in PEP 723, with any end of line.
_BLOCK = re.compile(
    r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)[ \t]*$\s(?P<content>(^#(| .*)$\s)+)^# ///[ \t]*$"
)
#: What uv puts in front of a reason.
_PREFIX = re.compile(r"^(?:error|cause|×|╰─▶|Caused by)\W*")
#: Bytes of a script beyond which it is not read for metadata.
_MOST = 10_000_000


@dataclass(frozen=True)
class ScriptNeeds:
    """What a script's metadata ask for. `text`: the TOML, as it stands there."""

    text: str
    dependencies: tuple[str, ...] = ()
    requires_python: str = ""

    @property
    def digest(self) -> str:
        """The same for the same metadata."""
        return hashlib.sha256(f"1\n{_KERNELS}\n{self.text}".encode()).hexdigest()[:16]


def metadata(source: bytes | str) -> ScriptNeeds | None:
    """What a script says that it needs; None: nothing. Raises `BadRequest` where its metadata are
    malformed."""
    if isinstance(source, bytes):
        # Cheap for the many that have none. Those of the metadata are written in UTF-8.
        if b"# ///" not in source or len(source) > _MOST:
            return None
        source = source.decode("utf-8", "replace")
    source = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found = [each for each in _BLOCK.finditer(source + "\n") if each["type"] == "script"]
    if not found:
        return None
    if len(found) > 1:
        raise BadRequest("The script has two blocks of metadata (# /// script); leave one of them.")
    lines = found[0]["content"].splitlines()
    text = "".join(f"{line[2:] if line[1:2] == ' ' else line[1:]}\n" for line in lines)
    first = source.count("\n", 0, found[0].start("content"))
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _malformed(_placed(str(error), first)) from None
    return ScriptNeeds(text, _dependencies(table), _requires_python(table))


def _placed(words: str, first: int) -> str:
    """A parser's words, with the line of the file in the place of the block's."""
    words = words.replace("(at end of document)", "(at the end of the block)")
    return re.sub(r"\(at line (\d+), ", lambda at: f"(line {int(at[1]) + first}, ", words)


def _malformed(trouble: str) -> BadRequest:
    return BadRequest(
        f"The script's metadata (# /// script) are malformed: {trouble.rstrip('.')}. Mend them, "
        "or take them out to run it without an environment of its own."
    )


def _dependencies(table: Mapping[str, Any]) -> tuple[str, ...]:
    from packaging.requirements import InvalidRequirement, Requirement

    found = table.get("dependencies", [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise _malformed("dependencies must be a list of strings")
    for item in found:
        try:
            Requirement(item)
        except InvalidRequirement:
            raise _malformed(f"{item[:60]!r} is no requirement (PEP 508)") from None
    return tuple(found)


def _requires_python(table: Mapping[str, Any]) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    found = table.get("requires-python", "")
    if not isinstance(found, str):
        raise _malformed("requires-python must be a string")
    try:
        SpecifierSet(found)
    except InvalidSpecifier:
        raise _malformed(f"requires-python is {found[:60]!r}, no range of versions") from None
    return found


class Scripts:
    """Has the environments of scripts made by uv, below `state_dir`; each once."""

    def __init__(self, state_dir: Path, own_python: str = sys.executable) -> None:
        self._folder, self._own_python = state_dir / "scripts", own_python
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def known(self, needs: ScriptNeeds) -> str:
        """The Python of the environment that was made for such metadata, if it is still there and
        can run kernels; otherwise "". Looks at files alone."""
        with contextlib.suppress(OSError, ValueError):
            python = (self._folder / needs.digest / "python").read_text("utf-8").strip()
            if os.access(python, os.X_OK) and describe(python).ipykernel:
                return python
        return ""

    async def prepare(
        self,
        needs: ScriptNeeds,
        name: str,
        environ: Mapping[str, str],
        tell: Tell = lambda line: None,
        seconds: float = LONGEST,
    ) -> Environment | None:
        """The environment of a script called `name`, made if need be, which `tell` is told of.
        None where that needs uv, and there is none.

        Raises `EnvironmentUnfit` when it cannot be made: then nothing is left of the attempt.
        """
        turn = self._turns.setdefault(needs.digest, asyncio.Lock())
        async with turn:
            python = await asyncio.to_thread(self.known, needs)
            if not python:
                uv = await asyncio.to_thread(find_uv, environ, self._own_python)
                if not uv:
                    return None
                making = _Making(uv, self._folder, needs, name, environ, tell, seconds)
                python = await making.make()
        found = await asyncio.to_thread(describe, python)
        return Environment(
            name=f"script:{name}",
            kind="venv",
            python=found.python,
            prefix=found.prefix,
            version=found.version,
            ipykernel=found.ipykernel,
        )


class _Making:
    """The making of one environment."""

    def __init__(
        self,
        uv: str,
        folder: Path,
        needs: ScriptNeeds,
        name: str,
        environ: Mapping[str, str],
        tell: Tell,
        seconds: float,
    ) -> None:
        self._uv, self._needs, self._name = uv, needs, name
        self._environ, self._tell, self._seconds = working_environment(environ), tell, seconds
        self._folder = folder / needs.digest
        # uv calls the environment after the file, and keeps it in its cache.
        self._script = self._folder / f"rmi-agent-{needs.digest}.py"

    async def make(self) -> str:
        """Its Python."""
        try:
            await asyncio.to_thread(self._write)
        except OSError as error:
            raise EnvironmentUnfit(
                f"The environment of {self._name} cannot be made: {self._folder} cannot be "
                f"written ({error.strerror or error})."
            ) from None
        try:
            # Into the file alone; whether it all goes together is found out once, by the next.
            await self._call("add", "--frozen", "--quiet", "--script", str(self._script), _KERNELS)
            await self._call("sync", "--script", str(self._script))
            found = await self._call("python", "find", "--script", str(self._script))
            python = next((line for line in reversed(found.lines) if os.path.isabs(line)), "")
            if not python:
                raise EnvironmentUnfit(
                    f"uv does not say where the environment of {self._name} is; its version may "
                    "be too old. Update it with: uv self update",
                    found.last_words(),
                )
            await asyncio.to_thread(_replace, self._folder / "python", python)
        except BaseException:
            await self._forget()
            raise
        return python

    def _write(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = "".join(f"# {line}\n" if line else "#\n" for line in self._needs.text.splitlines())
        _replace(self._script, f"# /// script\n{lines}# ///\n")

    async def _call(self, *words: str) -> Ended:
        command = [self._uv, *words, "--color", "never"]
        try:
            ended = await run(command, self._environ, self._seconds, self._tell)
        except EnvironmentUnfit as error:
            raise EnvironmentUnfit(
                f"The environment of {self._name} cannot be made: {error}", error.detail
            ) from None
        if ended.code:
            raise EnvironmentUnfit(
                f"uv cannot make the environment that the metadata of {self._name} ask for; "
                f"nothing of it is kept. uv says: {_sentence(ended)}.",
                ended.last_words(),
            )
        return ended

    async def _forget(self) -> None:
        """Leave nothing half made, however often we are cancelled meanwhile."""
        forgetting = asyncio.create_task(self._forget_all())
        while not forgetting.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(forgetting)

    async def _forget_all(self) -> None:
        words: Sequence[str] = ()
        with contextlib.suppress(EnvironmentUnfit):
            command = [self._uv, "python", "find", "--script", str(self._script), "--offline"]
            words = (await run(command, self._environ, 20)).lines
        for word in words:
            prefix = Path(word).parent.parent
            # Only what it has made for this script.
            if prefix.name.startswith(f"{self._script.stem}-") and (prefix / "pyvenv.cfg").exists():
                await asyncio.to_thread(shutil.rmtree, prefix, ignore_errors=True)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


def _sentence(ended: Ended) -> str:
    """What uv gives as the reason, in a line."""
    lines = [line.strip() for line in ended.last_words().splitlines()]
    parts = [_PREFIX.sub("", line).rstrip(".") for line in lines if not line.startswith("hint")]
    return ": ".join(parts[:3])[:500] or f"exit code {ended.code}"


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    number, name = tempfile.mkstemp(dir=path.parent)
    try:
        with open(number, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
