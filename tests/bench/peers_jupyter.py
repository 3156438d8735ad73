"""A Jupyter server for the peers that need one."""

from __future__ import annotations

import contextlib
import json
import secrets
import urllib.request
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.bench.peers_server import free_port, own_folders
from tests.bench.stdio import environment
from tests.bench.waiting import ServerProcess

_SILENT = (OSError, HTTPException)


class JupyterServer(ServerProcess):
    """A Jupyter server with its default settings. Entering starts it and waits until it answers."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._python, self._folder = python, folder
        self.token = secrets.token_hex(16)

    def __enter__(self) -> JupyterServer:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        options = {
            "ServerApp.port": port,
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": self._folder,
            "ServerApp.open_browser": False,
            "ServerApp.allow_root": True,
            "IdentityProvider.token": self.token,
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        return self.enter(
            "The Jupyter server",
            [str(self._python), "-m", "jupyter_server", *words],
            self._folder,
            {**environment(self._folder), **own_folders(self._folder)},
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self.end_kernels()
        super().__exit__(kind, error, trace)

    def end_kernels(self) -> None:
        """End all of its kernels. Where it does not answer, they end with it."""
        with contextlib.suppress(*_SILENT):
            for kernel in self._ask("GET", "/api/kernels"):
                self._ask("DELETE", f"/api/kernels/{kernel['id']}")

    def _ask(self, method: str, path: str) -> Any:
        head = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(self.url + path, method=method, headers=head)
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read() or b"null")

    def _answers(self) -> bool:
        with contextlib.suppress(*_SILENT):
            self._ask("GET", "/api/status")
            return True
        return False
