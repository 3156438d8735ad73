"""A running server of a peer: what it leaves behind is in folders that go, or is ended."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import psutil

from tests.bench.stdio import Server

#: Seconds after its input has ended, and after it was told to end.
_PATIENCE = 3.0


def own_folders(folder: Path) -> dict[str, str]:
    """Environment variables that keep what a program and its kernels write below `folder`."""
    names: Mapping[str, str] = {
        "IPYTHONDIR": "ipython",
        "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
        "JUPYTER_CONFIG_DIR": "jupyter/config",
        "JUPYTER_DATA_DIR": "jupyter/data",
        "MPLCONFIGDIR": "matplotlib",
        "RMI_STATE_DIR": "state",
    }
    paths = {name: folder.parent / f"{folder.name}-own" / place for name, place in names.items()}
    for path in paths.values():
        path.mkdir(parents=True, exist_ok=True)
    # A short path, because there may be sockets in it.
    return {"TMPDIR": str(folder.parent), **{name: str(path) for name, path in paths.items()}}


def free_port() -> int:
    """A port that nobody has, outside of the range from which systems give them away: there
    somebody else might get it before it is used."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class PeerServer(Server):
    """As `Server`, but it ends every process that the server has started and does not wait long."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Some detach themselves: once the server has ended they are nobody's children.
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(self.pid).children(recursive=True)
        assert self._process.stdin is not None
        self._process.stdin.close()
        for end in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(_PATIENCE)
                break
            except subprocess.TimeoutExpired:
                end()
        super().__exit__(kind, error, trace)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(family, timeout=_PATIENCE)
