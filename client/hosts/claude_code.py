"""Claude Code's own command, which changes its file while it runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

from client.hosts.errors import HostError
from client.hosts.files import keep, load
from client.hosts.paths import Machine
from client.hosts.planning import Plan

_PATIENCE = 60


class ClaudeCommand:
    """`claude mcp …` for the servers of the user, on a machine that has it."""

    def __init__(self, program: str, machine: Machine) -> None:
        self._program = program
        self._machine = machine

    @staticmethod
    def find(machine: Machine) -> ClaudeCommand | None:
        """The command, which may stand where no PATH leads; None when there is none."""
        folders = [machine.home / ".local" / "bin", machine.home / ".claude" / "local"]
        places = [machine.environ.get("PATH", ""), *map(str, folders)]
        program = shutil.which("claude", path=os.pathsep.join(filter(None, places)))
        return None if program is None else ClaudeCommand(program, machine)

    def adds(self, name: str, entry: Any) -> list[str]:
        """The words that add a server."""
        words = json.dumps(entry, ensure_ascii=False)
        return [self._program, "mcp", "add-json", "--scope", "user", name, words]

    def apply(self, plan: Plan, name: str) -> None:
        """Do what a plan for the user's file says; the file's former text is kept as elsewhere.
        Raises `HostError`; what there was is there again then."""
        keep(plan.path, plan.before)
        if plan.old is not None:
            self._run([self._program, "mcp", "remove", "--scope", "user", name])
        if plan.new is None:
            return
        try:
            self._run(self.adds(name, plan.new))
        except HostError:
            if plan.old is not None:
                self._run(self.adds(name, plan.old))
            raise
        if f'"{name}"' not in (load(plan.path) or ""):
            raise HostError(
                f"`claude mcp add-json` said that all went well, but {plan.path} has no {name!r}. "
                "See what `claude mcp list` says."
            )

    def _run(self, words: list[str]) -> None:
        command: str | list[str] = words
        program = None
        if sys.platform == "win32" and words[0].lower().endswith((".cmd", ".bat")):
            # What cmd.exe would make of quotes and percent signs is no matter to try oneself.
            from fastmcp.cli.install.shared import windows_batch_command_line

            command = windows_batch_command_line(words)
            program = os.environ.get("COMSPEC", "cmd.exe")
        said = " ".join(["claude", *words[1:3]])
        try:
            done = subprocess.run(
                command,
                executable=program,
                env=dict(self._machine.environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            raise HostError(f"`{said}` did not end within {_PATIENCE} s.") from None
        except (OSError, ValueError) as error:
            raise HostError(f"`{said}` cannot be run: {error}.") from None
        if done.returncode != 0:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            last = lines[-1].strip()[:500] if lines else f"exit code {done.returncode}"
            raise HostError(f"`{said}` failed: {last.rstrip('.')}.")
