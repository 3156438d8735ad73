"""The tools. Thin: each checks its arguments, asks the sessions or the files, and renders.

What the model reads stands in `descriptions` and in the descriptions of the parameters.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated, Any

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.tools.base import ToolResult
from mcp_types import ToolAnnotations
from pydantic import Field

from kernels.errors import BadRequest, KernelError
from kernels.execution import CodeRequest, FileRequest, Request
from kernels.outputs import Display
from kernels.registry import Registry
from kernels.session import Session
from server import render
from server.descriptions import DESCRIPTIONS
from server.files import FileError, Projects
from server.progress import follow
from server.settings import Settings

_MOST_FILES = 300
_MOST_CHARACTERS = 20_000

_SESSION = Field(
    description="Name of the session whose kernel runs it. Variables stay in a session from run "
    "to run. Letters, digits, spaces and . _ / - ; at most 100."
)
_TIMEOUT = Field(description="Seconds the run may take. Left out: the server's default.")
_STDIN = Field(
    description="Text that the program reads as its standard input; input() takes its lines."
)
_RESTART = Field(description="Begin in a fresh kernel: the session's variables are lost.")
_FILE = Field(description="Path relative to the projects directory, for example 'demo/plot.py'.")

SessionName = Annotated[str, _SESSION]
Timeout = Annotated[float | None, _TIMEOUT]
Stdin = Annotated[str, _STDIN]
Restart = Annotated[bool, _RESTART]
FileName = Annotated[str, _FILE]


_RUNS = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True
)
_LOOKS = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
_CHANGES = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)


def _error(error: Exception) -> ToolError:
    # An answer like any other, which need not stand in the server's log.
    return ToolError(str(error), log_level=logging.INFO)


class Tools:
    """What the tools work on. `owner` is "" while there is no authentication."""

    def __init__(self, settings: Settings, registry: Registry, projects: Projects) -> None:
        self._settings = settings
        self._registry = registry
        self._projects = projects
        self._owner = ""

    def register(self, server: FastMCP[Any]) -> None:
        """Add every tool to `server`."""
        for function, hints in (
            (self.run_python, _RUNS),
            (self.run_code, _RUNS),
            (self.stop_run, _CHANGES),
            (self.list_sessions, _LOOKS),
            (self.restart_session, _CHANGES),
            (self.close_session, _CHANGES),
            (self.list_files, _LOOKS),
            (self.read_file, _LOOKS),
            (self.write_file, _CHANGES),
        ):
            title = function.__name__.replace("_", " ").capitalize()
            annotations = hints.model_copy(update={"title": title})
            # Without a schema the text is sent once, as content.
            description = DESCRIPTIONS[function.__name__]
            server.tool(
                function, description=description, annotations=annotations, output_schema=None
            )

    # -- runs

    async def run_python(
        self,
        ctx: Context,
        file_name: FileName,
        args: Annotated[
            list[str] | None,
            Field(description="Command-line arguments, the script's sys.argv[1:]."),
        ] = None,
        session: SessionName = "default",
        timeout: Timeout = None,
        stdin: Stdin = "",
        restart: Restart = False,
    ) -> ToolResult:
        request = await asyncio.to_thread(self._file_request, file_name, args or [], stdin)
        return await self._run(ctx, request, session, timeout, restart)

    async def run_code(
        self,
        ctx: Context,
        code: Annotated[str, Field(description="Python code, several lines if need be.")],
        session: SessionName = "default",
        timeout: Timeout = None,
        stdin: Stdin = "",
        restart: Restart = False,
    ) -> ToolResult:
        return await self._run(ctx, CodeRequest(code, stdin), session, timeout, restart)

    def _file_request(self, file_name: str, args: list[str], stdin: str) -> FileRequest:
        try:
            path, source = self._projects.source(file_name)
        except FileError as error:
            raise _error(error) from None
        if any("\0" in arg for arg in args):
            raise _error(BadRequest("args contains a NUL character, which no argument may."))
        return FileRequest(path, source, tuple(args), stdin)

    async def _run(
        self, ctx: Context, request: Request, session: str, timeout: float | None, restart: bool
    ) -> ToolResult:
        try:
            seconds = self._seconds(timeout)
            run = self._registry.submit(self._owner, session, request, seconds, restart)
            result = await follow(ctx, run)
        except KernelError as error:
            raise _error(error) from None
        if any(isinstance(output, Display) for output in result.outputs):
            # An image may have to be made smaller, which takes its time.
            return await asyncio.to_thread(render.tool_result, result)
        return render.tool_result(result)

    def _seconds(self, timeout: float | None) -> float:
        if timeout is None:
            return self._settings.timeout
        most = self._settings.max_timeout
        if not 0 < timeout <= most:
            raise BadRequest(
                f"timeout is {timeout:g}; it must be above 0 and at most {most:g} seconds."
            )
        return timeout

    async def stop_run(
        self,
        session: Annotated[str | None, Field(description="Stop what runs in this session.")] = None,
        run_id: Annotated[str | None, Field(description="Or: stop the run with this id.")] = None,
    ) -> str:
        name = "default" if session is None else session
        try:
            if run_id is not None:
                runs = [self._registry.find_run(self._owner, run_id)]
            else:
                runs = self._registry.find(self._owner, name).runs[:1]
            if not runs:
                return f"Nothing is running in session {name!r}."
            run = runs[0]
            run.stop()
            result = await run.result()
        except KernelError as error:
            raise _error(error) from None
        lines = [f"Run {run.id} has ended.", result.explanation, render.facts_line(result)]
        return "\n".join(line for line in lines if line)

    # -- sessions

    async def list_sessions(self) -> str:
        sessions = self._registry.sessions(self._owner)
        if not sessions:
            return "There is no session yet. The first run makes one."
        pids = [session.pid for session in sessions]
        memory = await asyncio.to_thread(lambda: [_memory(pid) for pid in pids])
        return "\n".join(map(self._describe, sessions, memory))

    def _describe(self, session: Session, memory: int | None) -> str:
        parts = [str(session.state), f"age {_span(session.age)}"]
        if session.runs:
            parts.append(f"running: {session.runs[0].request.title} (run {session.runs[0].id})")
            if len(session.runs) > 1:
                parts.append(f"{len(session.runs) - 1} waiting")
        else:
            parts.append(f"idle {_span(session.idle_seconds)}")
        if memory is not None:
            parts.append(f"{memory / 1e6:.0f} MB")
        parts += [self._settings.python, f"{session.count} runs"]
        return f"{session.name}: {' · '.join(parts)}"

    async def restart_session(self, session: SessionName = "default") -> str:
        try:
            printed = await self._registry.find(self._owner, session).restart()
        except KernelError as error:
            raise _error(error) from None
        return _with_output(f"Session {session!r} restarted: its variables are gone.", printed)

    async def close_session(self, session: SessionName = "default") -> str:
        try:
            printed = await self._registry.close(self._owner, session)
        except KernelError as error:
            raise _error(error) from None
        return _with_output(f"Session {session!r} closed: its variables are gone.", printed)

    # -- files

    async def list_files(
        self,
        directory: Annotated[
            str, Field(description="Directory below the projects directory; empty for all of it.")
        ] = "",
        pattern: Annotated[
            str, Field(description="Glob such as '*.py' or 'data/*.csv'; matches at any depth.")
        ] = "*",
    ) -> str:
        try:
            entries, total = await asyncio.to_thread(
                self._projects.list, directory, pattern, _MOST_FILES
            )
        except FileError as error:
            raise _error(error) from None
        if not entries:
            return f"No file matches {pattern!r} in {self._projects.root / directory}."
        lines = [f"{entry.name} ({entry.size:,} bytes)" for entry in entries]
        if total > len(entries):
            lines.append(f"[{total - len(entries):,} more; narrow it with directory or pattern]")
        return "\n".join(lines)

    async def read_file(
        self,
        file_name: FileName,
        offset: Annotated[int, Field(description="Lines to skip.")] = 0,
        limit: Annotated[int, Field(description="Lines to read.")] = 1000,
    ) -> str:
        if offset < 0 or limit < 1:
            raise _error(BadRequest("offset must be 0 or more, and limit 1 or more."))
        try:
            found = await asyncio.to_thread(
                self._projects.read, file_name, offset, limit, _MOST_CHARACTERS
            )
        except FileError as error:
            raise _error(error) from None
        if not found.text:
            return f"[{file_name} has {found.total:,} lines; none of them after line {offset:,}]"
        if not (offset or found.cut or found.last < found.total):
            return found.text
        whole = found.text.endswith("\n")
        gap = "" if whole else "\n"
        end = f"lines {offset + 1:,} to {found.last:,} of {found.total:,}"
        cut = "; the last one is cut" if found.cut and not whole else ""
        return f"{found.text}{gap}[{end}{cut}]"

    async def write_file(
        self,
        file_name: FileName,
        content: Annotated[str, Field(description="The whole content of the file.")],
        overwrite: Annotated[
            bool, Field(description="Replace the file when it exists already.")
        ] = False,
    ) -> str:
        try:
            replaced = await asyncio.to_thread(self._projects.write, file_name, content, overwrite)
        except FileError as error:
            raise _error(error) from None
        lines = content.count("\n") + (not content.endswith("\n") and bool(content))
        return f"{'Replaced' if replaced else 'Wrote'} {file_name} ({lines:,} lines)."


def _with_output(sentence: str, printed: str) -> str:
    return f"{sentence}\nAt its end it printed:\n{printed}" if printed.strip() else sentence


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _memory(pid: int | None) -> int | None:
    """Bytes of resident memory of a process and its children."""
    if pid is None:
        return None
    import psutil

    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(member.memory_info().rss for member in family)
    except psutil.Error:
        return None
