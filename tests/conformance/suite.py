"""The official conformance suite: what of it is run against which server, and what may fail."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.conformance.node import Tools
from tests.conformance.outcome import Outcome
from tests.conformance.processes import Processes, Said

#: Each is spoken on its own wire: with a handshake and sessions, and stateless.
REVISIONS = ("2025-11-25", "2026-07-28")
_SECONDS = 120

#: The scenarios that need none of the suite's fixtures: for the server as it is.
GENERAL = {
    "2025-11-25": (
        "server-initialize",
        "server-session-lifecycle",
        "server-sse-multiple-streams",
        "ping",
        "logging-set-level",
        "tools-list",
        "resources-list",
        "prompts-list",
        "completion-complete",
        "dns-rebinding-protection",
    ),
    "2026-07-28": (
        "server-stateless",
        "server-sse-multiple-streams",
        "tools-list",
        "resources-list",
        "prompts-list",
        "completion-complete",
        "caching",
        "sep-2164-resource-not-found",
        "input-required-result-unsupported-methods",
        "http-header-validation",
        "dns-rebinding-protection",
    ),
}

_NO_SUBSCRIPTIONS = (
    "FastMCP has no subscriptions, so they are not declared; the scenario asks all the same"
)
_NO_EVENTS = "only a recommendation: no stream is resumed; get_output has what a client missed"
_INLINED = "FastMCP puts what $ref names in its place, for the clients that cannot follow it"
_NO_COMPLETIONS = (
    "the server completes nothing, so it is not declared; the scenario asks all the same"
)
_FIXTURE = "asks for a fixture tool, which the server as it is has not"

#: Why a check fails, by server, scenario and check.
EXPECTED = {
    ("fixtures", "resources-subscribe", "resources-subscribe"): _NO_SUBSCRIPTIONS,
    ("fixtures", "resources-unsubscribe", "resources-unsubscribe"): _NO_SUBSCRIPTIONS,
    ("fixtures", "server-sse-polling", "server-sse-priming-event"): _NO_EVENTS,
    ("fixtures", "server-sse-polling", "server-sse-retry-field"): _NO_EVENTS,
    ("fixtures", "json-schema-2020-12", "json-schema-2020-12-$defs"): _INLINED,
    ("fixtures", "json-schema-2020-12", "sep-2106-anchor-keyword-preserved"): _INLINED,
    (
        "fixtures",
        "tasks-required-task-error",
        "sep-2663-server-returns-missing-capability-when-required",
    ): "no tool here works as a task alone: each answers clients that know no tasks",
    (
        "fixtures",
        "tasks-mrtr-composition",
        "sep-2663-mrtr-synchronous-before-task-creation",
    ): "a run here is a task from the start and asks as one, which the protocol leaves to servers",
    ("server", "completion-complete", "completion-complete"): _NO_COMPLETIONS,
    ("server", "server-stateless", "sep-2575-server-rejects-undeclared-capability"): _FIXTURE,
    ("server", "server-stateless", "sep-2575-missing-capability-http-400"): _FIXTURE,
}

#: It wants answers within 0.5 s, which a busy machine may miss, so it may try again, alone, twice.
_HURRIED = "server-stateless"


class Suite:
    """The suite against one server at `url`, in one revision; its files in `folder`."""

    def __init__(
        self, tools: Tools, processes: Processes, server: str, url: str, revision: str, folder: Path
    ) -> None:
        self._tools, self._processes, self._folder = tools, processes, folder
        self._server, self._url, self._revision = server, url, revision

    async def run(self) -> AsyncIterator[Outcome]:
        """How each scenario went that is for this server."""
        results = self._folder / f"{self._server}-{self._revision}"
        said = await self._run("--requirements", self._revision, "-o", str(results))
        begun = re.findall(r"^=== Running scenario: (\S+) ===", said.output, re.MULTILINE)
        if "=== SUMMARY ===" not in said.output:
            why = f"did not come to its end: {(said.errors or said.output)[-300:].strip()}"
            yield Outcome(f"{self._server} {self._revision} suite", False, why)
        for scenario in begun if self._server == "fixtures" else GENERAL[self._revision]:
            outcome = self._judge(scenario, results)
            for number in (2, 3) if scenario == _HURRIED else ():
                if not outcome.good:
                    again = self._folder / f"{self._server}-try-{number}"
                    words = ("--scenario", scenario, "--spec-version", self._revision)
                    await self._run(*words, "-o", str(again))
                    outcome = self._judge(scenario, again, f" (try {number})")
            yield outcome

    async def _run(self, *words: str) -> Said:
        command = self._tools.suite("server", "--url", self._url, *words)
        return await self._processes.run(command, _SECONDS, self._folder)

    def _judge(self, scenario: str, results: Path, note: str = "") -> Outcome:
        name = f"{self._server} {self._revision} {scenario}{note}"
        found = list(results.glob(f"server-{scenario}-20*/checks.json"))
        if not found:
            return Outcome(name, False, "the suite has no result of it")
        return _judge(name, _expected(self._server, scenario), json.loads(found[0].read_bytes()))


def _expected(server: str, scenario: str) -> dict[str, str]:
    wanted = (server, scenario)
    return {check: why for (*which, check), why in EXPECTED.items() if tuple(which) == wanted}


def _judge(name: str, expected: Mapping[str, str], checks: list[dict[str, Any]]) -> Outcome:
    """Warnings count as failures: they are about what a server should do."""
    failed = [check for check in checks if check["status"] in ("FAILURE", "WARNING")]
    unknown = [check for check in failed if check["id"] not in expected]
    if unknown:
        words = (f"{check['id']}: {check.get('errorMessage', '')[:300]}" for check in unknown)
        return Outcome(name, False, "; ".join(words)[:1000])
    passed = {check["id"] for check in checks if check["status"] == "SUCCESS"}
    if stale := expected.keys() & passed - {check["id"] for check in failed}:
        words = (f"{check} does not fail any more; take it from EXPECTED" for check in stale)
        return Outcome(name, False, "; ".join(words))
    return Outcome(name, True, "; ".join(dict.fromkeys(expected[check["id"]] for check in failed)))
