"""What the tools share: arguments with the words that the model reads, hints, errors."""

from __future__ import annotations

import logging
from typing import Annotated

from fastmcp.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import Field

_SESSION = Field(
    description="Name of the session whose kernel runs it. Variables stay in a session from run "
    "to run. Letters, digits, spaces and . _ / - ; at most 100."
)
_NEW_SESSION = Field(
    description="Name of the new session, one that no session has. Made of the same characters."
)
_OWN_SESSION = Field(
    description="Name of the session, as for run_code. Left out: default, or one of its own for a "
    "script whose metadata ask for an environment."
)
_TIMEOUT = Field(description="Seconds the run may take. Left out: the server's default.")
_STDIN = Field(
    description="Text that the program reads as its standard input; input() takes its lines."
)
_RESTART = Field(description="Begin in a fresh kernel: the session's variables are lost.")
_BACKGROUND = Field(
    description="Return at once with the run's id, and let it run on; get_output then tells how "
    "it gets on. For what takes more than some 30 seconds; give a timeout that suffices."
)
_ENVIRONMENT = Field(
    description="Where a new session runs: a name of list_environments (conda:ds, venv:.venv), a "
    "kernelspec, or the path of a Python or its folder. With `restart` a session moves there."
)
_FILE = Field(description="Path relative to the projects directory, for example 'demo/plot.py'.")

SessionName = Annotated[str, _SESSION]
NewSession = Annotated[str, _NEW_SESSION]
OwnSession = Annotated[str | None, _OWN_SESSION]
Timeout = Annotated[float | None, _TIMEOUT]
Stdin = Annotated[str, _STDIN]
Restart = Annotated[bool, _RESTART]
Background = Annotated[bool, _BACKGROUND]
EnvironmentName = Annotated[str | None, _ENVIRONMENT]
FileName = Annotated[str, _FILE]

RUNS = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True
)
LOOKS = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
CHANGES = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)

EDITS = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False
)

MAKES = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)

INSTALLS = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True
)


def refusal(error: Exception) -> ToolError:
    """The error as an answer like any other, which need not stand in the server's log."""
    return ToolError(str(error), log_level=logging.INFO)
