"""Homes of three platforms, and Claude Code's command."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from client.hosts.paths import Machine

#: What `claude mcp` (2.1) does and says, as far as it is used here. With CLAUDE_PROGRAM set to the
#: path of a real one, the tests run that instead.
STAND_IN = """\
#!{python}
import json, os, sys
file = os.path.join(os.environ.get("CLAUDE_CONFIG_DIR") or os.environ["HOME"], ".claude.json")
with open(os.path.join(os.environ["HOME"], "calls"), "a") as calls:
    calls.write(" ".join(sys.argv[1:5]) + "\\n")
whole = json.load(open(file)) if os.path.exists(file) else {{}}
servers = whole.setdefault("mcpServers", {{}})
_, action, scope, user, name, *rest = sys.argv[1:]
assert (sys.argv[1], scope, user) == ("mcp", "--scope", "user")
if action == "add-json":
    if name in servers:
        sys.exit(f"MCP server {{name}} already exists in user config")
    if os.environ.get("REFUSES") == json.loads(rest[0])["command"]:
        sys.exit("Invalid configuration: no")
    servers[name] = json.loads(rest[0])
elif name not in servers:
    sys.exit(f'No MCP server named "{{name}}" in user scope')
else:
    del servers[name]
json.dump(whole, open(file, "w"), indent=2)
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def machine(home: Path) -> Machine:
    """A Linux machine without Claude Code's command."""
    return machine_of("linux", home)


def machine_of(platform: str, home: Path, **environ: str) -> Machine:
    return Machine(platform, home, {"PATH": "/usr/bin:/bin", "HOME": str(home), **environ})


@pytest.fixture
def with_claude(home: Path) -> Callable[..., Machine]:
    """`with_claude(**environ)`: a Linux machine with Claude Code's command."""

    def make(**environ: str) -> Machine:
        folder = home / ".local" / "bin"
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / "claude"
        if real := os.environ.get("CLAUDE_PROGRAM"):
            program.symlink_to(real)
        else:
            program.write_text(STAND_IN.format(python=sys.executable))
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        assert shutil.which(str(program))
        return machine_of("linux", home, **environ)

    return make
