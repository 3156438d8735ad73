"""The one module an installation adds: the two console commands, and nothing else.

The rooms (`server`, `kernels`, ...) are not installed as top-level packages, because kernels
share this environment and user code must not import them by accident. A command therefore puts
the folder that holds the rooms on its own `sys.path`, in its own process.
"""

import os
import sys


def server() -> int | None:
    """Run `rmi-agent-mcp-server`; return its exit code."""
    _add_rooms_to_path()
    from server.mcp_server import main

    return main()


def client() -> int | None:
    """Run `rmi-agent`; return its exit code."""
    _add_rooms_to_path()
    from client.cli import main

    return main()


def _add_rooms_to_path() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    if os.path.isdir(os.path.join(here, "kernels")):
        root = here  # a wheel carries the rooms inside this package
    else:
        root = os.path.dirname(os.path.dirname(os.path.dirname(here)))  # a checkout
    if root not in sys.path:
        sys.path.insert(0, root)
