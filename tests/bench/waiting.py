"""A server in a process of its own that takes connections after a while."""

from __future__ import annotations

import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_TIMEOUT = 120.0


class ServerProcess(ABC):
    """A server's process. `enter` starts it and waits until it answers, leaving ends it."""

    def enter(
        self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> Self:
        """Start it in a folder. Raises `RuntimeError` with its last words when it ends, or does
        not answer in time; `name` is for that."""
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._words,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
        )
        deadline = time.monotonic() + _TIMEOUT
        while self._process.poll() is None and time.monotonic() < deadline:
            if self._answers():
                return self
            time.sleep(0.02)
        self._words.seek(0)
        words = self._words.read()[-2000:].decode("utf-8", "replace")
        self.__exit__(None, None, None)
        raise RuntimeError(f"{name} does not serve. Its last words: {words}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._words.close()

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it does by now."""
