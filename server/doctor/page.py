"""The findings as a page, for people or for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from server.doctor.examination import Finding

_MARKS = {"ok": "ok      ", "warning": "warning ", "failure": "FAILURE "}


def as_text(findings: Sequence[Finding]) -> str:
    """A line for each, its remedy below it, and a sentence on all of them."""
    width = max((len(finding.name) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{_MARKS[finding.level]}{finding.name:<{width}}  {finding.words}")
        if finding.remedy:
            lines.append(f"{'':<{8 + width}}  → {finding.remedy}")
    return "\n".join([*lines, "", _sum(findings)])


def as_json(findings: Sequence[Finding]) -> str:
    """`ok`: whether none has failed; `checks`: name, level, words, remedy, seconds of each."""
    healthy = all(finding.level != "failure" for finding in findings)
    checks = [asdict(finding) for finding in findings]
    return json.dumps({"ok": healthy, "checks": checks}, indent=2, ensure_ascii=False)


def _sum(findings: Sequence[Finding]) -> str:
    levels = [finding.level for finding in findings]
    failed, warned = levels.count("failure"), levels.count("warning")
    if not failed and not warned:
        return f"All {len(levels)} checks are ok."
    if not failed:
        return f"Nothing has failed; {_count(warned, 'warning')} in {len(levels)} checks."
    return f"{_count(failed, 'failure')} and {_count(warned, 'warning')} in {len(levels)} checks."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
