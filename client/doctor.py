"""`rmi-agent doctor`: the local server's own checks, in a process of their own."""

from __future__ import annotations

import subprocess
import sys

from client.mcp_client import LOCAL_SERVER


def doctor(as_json: bool) -> int:
    """Have the checks made and written, and return their exit code: 1 when one has failed."""
    options = ["--json"] if as_json else []
    return subprocess.call([sys.executable, str(LOCAL_SERVER), "doctor", *options])
