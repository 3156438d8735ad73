"""A real server of this installation over stdio, as a host starts it, and what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from typing import Any

from server.values import ROOT

#: Marks all processes of the server, which kernels inherit.
_MARK = "AGENT_DOCTOR_MARK"


class NoAnswer(Exception):
    """The server does not answer; the text says what it said instead."""


class ServerProcess:
    """The process. `end` must be called."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(8)
        # Neither a port nor a log of the user's is touched.
        own = {"RMI_PAGE": "", "RMI_AUDIT_LOG": "off", _MARK: self._mark}
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "server" / "mcp_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **own},
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._words = b""
        self._ids = 0
        reads = (self._read_answers, self._read_words)
        self._readers = [threading.Thread(target=read, daemon=True) for read in reads]
        for reader in self._readers:
            reader.start()

    def _read_answers(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(b"")

    def _read_words(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._words = (self._words + line)[-2000:]

    def initialize(self) -> None:
        """Shake hands. Raises `NoAnswer`."""
        client = {"name": "doctor", "version": "0"}
        asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        self._ask("initialize", asked, 20)
        self._send({"method": "notifications/initialized"})

    def call(self, tool: str, seconds: float = 10, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its result. Raises `NoAnswer`."""
        return self._ask("tools/call", {"name": tool, "arguments": arguments}, seconds)

    def _ask(self, method: str, params: dict[str, Any], seconds: float) -> dict[str, Any]:
        self._ids += 1
        self._send({"id": self._ids, "method": method, "params": params})
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if not line:
                raise NoAnswer(f"it has ended: {self._last_words() or 'without a word'}")
            try:
                told = json.loads(line)
            except ValueError:
                raise NoAnswer(f"it wrote what is no message: {line[:80]!r}") from None
            if told.get("id") == self._ids and "method" not in told:
                if "result" not in told:
                    raise NoAnswer(str((told.get("error") or {}).get("message")))
                return dict(told["result"])
        raise NoAnswer(f"no answer to {method} within {seconds:g} s {self._last_words()}".strip())

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            # Why it has ended is met with the next answer.
            time.sleep(0.1)

    def _last_words(self) -> str:
        lines = self._words.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    def close(self, seconds: float = 5) -> list[int]:
        """Go away, as a client does. The processes that are left after so long."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        deadline = time.monotonic() + seconds
        while (left := self._family()) and time.monotonic() < deadline:
            self._process.poll()
            time.sleep(0.02)
        return left

    def end(self) -> None:
        """Kill whatever of it is left. May be called at any time, from any thread."""
        with contextlib.suppress(OSError):
            self._process.kill()
        import psutil

        for pid in self._family():
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        for reader in self._readers:
            reader.join(1)

    def _family(self) -> list[int]:
        """All processes with the mark, but for dead ones."""
        import psutil

        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and process.environ().get(_MARK) == self._mark:
                    if process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process.pid)
        return found
