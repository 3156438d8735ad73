"""`rmi-agent-mcp-server doctor`: one page of checks, each with its remedy."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence


def main(words: Sequence[str]) -> int:
    """Write the page and end the process with 1 when a check has failed, else with 0. Returns 2
    for wrong words.

    With `--further`, standard input has findings of the caller's, which come last: a list in JSON
    of `name`, `level`, `words` and `remedy`.
    """
    if unknown := [word for word in words if word not in ("--json", "--further")]:
        print(
            f"rmi-agent-mcp-server: unknown argument {unknown[0]!r}; doctor takes --json alone.",
            file=sys.stderr,
        )
        return 2
    from server.doctor import page
    from server.doctor.checks import CHECKS
    from server.doctor.examination import Finding, examine

    findings = examine(CHECKS)
    if "--further" in words:
        findings += [Finding(**each) for each in json.load(sys.stdin)]
    write = page.as_json if "--json" in words else page.as_text
    data = (write(findings) + "\n").encode("utf-8", "backslashreplace")
    sys.stdout.flush()
    while data:
        data = data[os.write(1, data) :]
    # A check that hangs must not hold the process.
    os._exit(int(any(finding.level == "failure" for finding in findings)))
