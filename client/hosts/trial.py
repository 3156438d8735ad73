"""Starting the server as a host would, to see that it does."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from client.hosts.entry import Entry
from client.hosts.errors import HostError

if TYPE_CHECKING:
    from mcp_types import Tool

#: Seconds until an answer; the first start after an installation compiles all modules.
_PATIENCE = 60


def check_settings(entry: Entry, *, writes: bool) -> None:
    """Have the server check the entry's settings as it does when it starts, and their names.

    Without `writes` no projects directory is made. Raises `HostError` with the server's sentence.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        env = {**_environment(), **entry.env}
        given = env.get("PYTHON_PROJECTS_DIR", "")
        if not writes and not (given and os.path.lexists(os.path.expanduser(given))):
            env["PYTHON_PROJECTS_DIR"] = folder
        try:
            done = subprocess.run(
                [entry.command, *entry.args, "--check"],
                env=env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            raise HostError(
                f"The server did not check its settings within {_PATIENCE} s; nothing was written."
            ) from None
        except (OSError, ValueError) as error:
            raise HostError(f"{entry.command} cannot be started: {_reason(error)}.") from None
    if done.returncode != 0:
        said = _last_line(done.stderr) or f"it ended with exit code {done.returncode}."
        raise HostError(said)


def try_out(entry: Entry) -> list[Tool]:
    """Start the entry's command in an empty folder with no more of our environment than hosts
    hand on, shake hands, and return its tools. It has ended then. Raises `HostError`."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as stderr,
    ):
        try:
            return asyncio.run(_tools(entry, Path(folder), stderr))
        except Exception as error:
            stderr.seek(0)
            said = _last_line(stderr.read()[-4000:])
            if isinstance(error, TimeoutError):
                reason = f"it did not answer within {_PATIENCE} s"
            else:
                reason = said or _reason(error)
            raise HostError(f"{reason.rstrip('.')}.") from error


async def _tools(entry: Entry, folder: Path, stderr: IO[str]) -> list[Tool]:
    from fastmcp import Client
    from fastmcp.client.transports import StdioTransport

    transport = StdioTransport(
        entry.command,
        list(entry.args),
        env=dict(entry.env),
        cwd=str(folder),
        keep_alive=False,
        log_file=stderr,  # type: ignore[arg-type]
    )
    async with asyncio.timeout(_PATIENCE), Client(transport, init_timeout=_PATIENCE) as client:
        return list(await client.list_tools())


def _environment() -> dict[str, str]:
    """What hosts hand on of their environment; theirs is taken to be like ours."""
    from mcp.client.stdio import get_default_environment

    return get_default_environment()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if any(map(str.isalnum, line))]
    last = "".join(c if c.isprintable() else " " for c in lines[-1]) if lines else ""
    return last.removeprefix("rmi-agent-mcp-server: ")[:500]


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
