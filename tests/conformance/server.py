"""The HTTP server with the conformance suite's fixtures: `python tests/conformance/server.py PORT`.

It is the server of this project, with the same settings and everything that it has otherwise.
Without PORT a free one is taken and printed.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import server.app
from tests.conformance.asking import add_asking
from tests.conformance.fixtures import add_fixtures

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main(words: list[str]) -> None:
    """Serve until a signal comes, as the server does."""
    port = words[0] if words else str(free_port())
    os.environ["RMI_PORT"] = port
    if not words:
        print(f"http://127.0.0.1:{port}/mcp", flush=True)
    build = server.app.build_server

    def build_with_fixtures(*args: Any, **options: Any) -> Any:
        made = build(*args, **options)
        add_fixtures(made)
        add_asking(made)
        return made

    server.app.build_server = build_with_fixtures
    script = ROOT / "server" / "run_http_server.py"
    sys.argv = [str(script)]
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
