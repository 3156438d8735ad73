"""Where a kernel listens: the facts of its connection file."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Any

_PORTS = {"shell_port": 1, "iopub_port": 2, "stdin_port": 3, "control_port": 4, "hb_port": 5}


def guest_connection(directory: Path) -> tuple[dict[str, Any], contextlib.ExitStack]:
    """For a kernel that is known to be able to use whatever the platform has. Returns as
    `loopback_connection`."""
    if hasattr(os, "fork"):
        # Sockets in a private directory: no race for ports, nothing for other users to reach.
        facts = {**_facts("rmi-agent"), "transport": "ipc", "ip": str(directory / "k"), **_PORTS}
        return facts, contextlib.ExitStack()
    return loopback_connection("rmi-agent")


def loopback_connection(name: str) -> tuple[dict[str, Any], contextlib.ExitStack]:
    """What every kernel understands: TCP on this machine alone. Also returns what keeps its ports
    for it, to be closed when it has taken them, or never will."""
    ports = {}
    with contextlib.ExitStack() as held:
        for port in _PORTS:
            sock = held.enter_context(socket.socket())
            if sys.platform == "linux":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
            ports[port] = sock.getsockname()[1]
        facts = {**_facts(name), "transport": "tcp", "ip": "127.0.0.1", **ports}
        # Linux lets a kernel listen where a socket is bound that does not listen, if both allow
        # it, and gives such a port to nobody who asks for any. Elsewhere the ports are free
        # until the kernel takes them, and somebody else may come first.
        return facts, held.pop_all() if sys.platform == "linux" else contextlib.ExitStack()


def _facts(name: str) -> dict[str, Any]:
    key = secrets.token_hex(32)
    return {"key": key, "signature_scheme": "hmac-sha256", "kernel_name": name}
