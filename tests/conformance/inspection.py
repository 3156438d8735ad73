"""MCP Inspector's command line against the server: over stdio and HTTP, in both eras, with and
without a token."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.node import Tools
from tests.conformance.outcome import Outcome
from tests.conformance.processes import Processes, Said

_SECONDS = 30
_ERAS = ("legacy", "modern")
_SCRIPT = Path(__file__).resolve().parents[2] / "server" / "mcp_server.py"
#: Its exit codes for a server that wants to know who calls, and for a tool that says it failed.
_UNAUTHORIZED, _TOOL_FAILED = 3, 5


@dataclass(frozen=True)
class Door:
    """A way to the server, as words of the command line."""

    name: str
    words: tuple[str, ...]


def stdio(environ: Mapping[str, str]) -> Door:
    """The server as a child, with these settings: Inspector passes no others on."""
    settings = [word for item in environ.items() for word in ("-e", "=".join(item))]
    return Door("stdio", (sys.executable, str(_SCRIPT), *settings))


def http(name: str, url: str, token: str = "") -> Door:
    """The server at `url`."""
    header = ("--header", f"Authorization: Bearer {token}") if token else ()
    return Door(name, (url, *header, "--stored-auth-only"))


Check = Callable[[dict[str, Any]], bool]


def _lists_tools(result: dict[str, Any]) -> bool:
    return "run_code" in {tool["name"] for tool in result["tools"]}


def _says(words: str) -> Check:
    return lambda result: any(words in part.get("text", "") for part in result["content"])


def _run_code(code: str) -> tuple[str, ...]:
    arguments = json.dumps({"code": code})
    return ("--method", "tools/call", "--tool-name", "run_code", "--tool-args-json", arguments)


#: Title, words, judge and exit code of each call.
_CALLS: tuple[tuple[str, tuple[str, ...], Check, int], ...] = (
    ("tools/list", ("--method", "tools/list"), _lists_tools, 0),
    ("resources/list", ("--method", "resources/list"), lambda result: "resources" in result, 0),
    ("tools/call", _run_code("print(6 * 7)"), _says("42"), 0),
    ("tools/call that fails", _run_code("1 / 0"), _says("ZeroDivisionError"), _TOOL_FAILED),
)


class Inspection:
    """Inspector's calls, from `folder`."""

    def __init__(self, tools: Tools, processes: Processes, folder: Path) -> None:
        self._tools, self._processes, self._folder = tools, processes, folder

    async def pass_through(
        self, door: Door, eras: tuple[str, ...] = _ERAS
    ) -> AsyncIterator[Outcome]:
        """Every call, in each era."""
        for era in eras:
            for title, words, judge, code in _CALLS:
                name = f"inspector {door.name} {era} {title}"
                yield await self._call(
                    name, (*door.words, "--protocol-era", era, *words), judge, code
                )

    async def stay_out(self, door: Door) -> Outcome:
        """A door that does not open: there must be no result, and no word of what is behind it."""
        said = await self._say((*door.words, "--method", "tools/list"))
        good = said.code == _UNAUTHORIZED and "run_code" not in said.output + said.errors
        name = f"inspector {door.name} is refused"
        return Outcome(name, good, "" if good else f"exit {said.code}: {said.errors[-300:]}")

    async def _call(self, name: str, words: tuple[str, ...], judge: Check, code: int) -> Outcome:
        said = await self._say(words)
        if said.code != code:
            return Outcome(name, False, f"exit {said.code}, not {code}: {said.errors[-300:]}")
        try:
            good = judge(json.loads(said.output)["result"])
        except (ValueError, KeyError, TypeError):
            good = False
        return Outcome(name, good, "" if good else f"an unexpected result: {said.output[:300]}")

    async def _say(self, words: tuple[str, ...]) -> Said:
        patience = ("--connect-timeout", str(_SECONDS * 1000))
        command = self._tools.inspector(*words, *patience, "--format", "json", "--quiet")
        return await self._processes.run(command, _SECONDS, self._folder)
