"""`rmi-agent doctor`: the local server's own checks, in a process of their own, and those of the
hosts that start it."""

from __future__ import annotations

import json
import subprocess
import sys

from client.hosts.examining import findings
from client.mcp_client import LOCAL_SERVER


def doctor(as_json: bool) -> int:
    """Have the checks made and written, and return their exit code: 1 when one has failed."""
    options = ["--json"] if as_json else []
    command = [sys.executable, str(LOCAL_SERVER), "doctor", "--further", *options]
    further = json.dumps(findings())
    return subprocess.run(command, input=further, text=True, encoding="utf-8").returncode
