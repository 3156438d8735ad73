"""The tools. Thin: each checks its arguments, asks the sessions or the files, and renders.

Their docstrings and parameter descriptions are what the model reads.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import Annotated, Any

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.tools.base import ToolResult
from mcp_types import ToolAnnotations
from pydantic import Field

from kernels.errors import BadRequest, KernelError
from kernels.execution import CodeRequest, FileRequest, Request
from kernels.registry import Registry
from kernels.result import RunResult
from kernels.session import Run, Session
from server import render
from server.files import FileError, Projects
from server.settings import Settings

#: Seconds between two progress notifications with news, and without.
_NEWS, _HEARTBEAT = 1.0, 5.0
_MOST_FILES = 300
_MOST_CHARACTERS = 20_000

_SESSION = Field(
    description="Name of the session whose kernel runs it. Variables stay in a session from run "
    "to run. Letters, digits, spaces and . _ / - ; at most 100."
)
_TIMEOUT = Field(description="Seconds the run may take. Left out: the server's default.")
_STDIN = Field(description="Text that the program reads as its standard input; input() takes its lines.")
_RESTART = Field(description="Begin in a fresh kernel: the session's variables are lost.")
_FILE = Field(description="Path relative to the projects directory, for example 'demo/plot.py'.")

SessionName = Annotated[str, _SESSION]
Timeout = Annotated[float | None, _TIMEOUT]
Stdin = Annotated[str, _STDIN]
Restart = Annotated[bool, _RESTART]
FileName = Annotated[str, _FILE]


def _hints(title: str, *, read: bool = False, destroys: bool = False, again: bool = False,
           world: bool = False) -> dict[str, Any]:  # fmt: skip
    annotations = ToolAnnotations(
        title=title,
        read_only_hint=read,
        destructive_hint=destroys,
        idempotent_hint=again,
        open_world_hint=world,
    )
    return {"annotations": annotations, "output_schema": None}


def _error(error: Exception) -> ToolError:
    return ToolError(str(error))


class Tools:
    """What the tools work on. `owner` is "" while there is no authentication."""

    def __init__(self, settings: Settings, registry: Registry, projects: Projects) -> None:
        self._settings = settings
        self._registry = registry
        self._projects = projects
        self._owner = ""

    def register(self, server: FastMCP[Any]) -> None:
        """Add every tool to `server`."""
        run = _hints("Run", destroys=True, world=True)
        look = _hints("Look", read=True, again=True)
        for function, hints in (
            (self.run_python, run),
            (self.run_code, run),
            (self.stop_run, _hints("Stop", destroys=True, again=True)),
            (self.list_sessions, look),
            (self.restart_session, _hints("Restart", destroys=True, again=True)),
            (self.close_session, _hints("Close", destroys=True, again=True)),
            (self.list_files, look),
            (self.read_file, look),
            (self.write_file, _hints("Write", destroys=True, again=True)),
        ):
            hints["annotations"].title = function.__name__.replace("_", " ").capitalize()
            server.tool(function, **hints)

    # -- runs

    async def run_python(
        self,
        ctx: Context,
        file_name: FileName,
        args: Annotated[
            list[str] | None, Field(description="Command-line arguments, the script's sys.argv[1:].")
        ] = None,
        session: SessionName = "default",
        timeout: Timeout = None,
        stdin: Stdin = "",
        restart: Restart = False,
    ) -> ToolResult:
        """Run a Python file of the projects directory as `python file.py args` would, in the
        session's living kernel, and return its output, its plots and its exit code.

        Use this for scripts. The script's folder is its working directory, `__name__` is
        "__main__", and edited helper modules are read anew. Unlike with `python`, its variables
        stay in the session afterwards, so run_code can look at them and the next script can use
        loaded data. Matplotlib figures come back as images without any savefig. A run that takes
        too long is interrupted, then its kernel is restarted and the variables are lost; the last
        line of the result says so when it is so. Code in a kernel can do anything that the
        server's account can.
        """
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
        """Run Python code in the session's kernel like one notebook cell: the value of a last
        expression is shown, top-level await works, and variables stay for the next run.

        Use this for short steps, for looking at variables that a script left, and for plots of
        loaded data. The working directory is the projects directory. For a file use run_python.
        """
        return await self._run(ctx, CodeRequest(code, stdin), session, timeout, restart)

    def _file_request(self, file_name: str, args: list[str], stdin: str) -> FileRequest:
        try:
            path, source = self._projects.source(file_name)
        except FileError as error:
            raise _error(error) from None
        if any("\0" in arg for arg in args):
            raise ToolError("An argument contains a NUL character, which no argument may.")
        return FileRequest(path, source, tuple(args), stdin)

    async def _run(
        self, ctx: Context, request: Request, session: str, timeout: float | None, restart: bool
    ) -> ToolResult:
        try:
            seconds = self._seconds(timeout)
            run = self._registry.submit(self._owner, session, request, seconds, restart)
            return render.tool_result(await self._follow(ctx, run))
        except KernelError as error:
            raise _error(error) from None

    def _seconds(self, timeout: float | None) -> float:
        if timeout is None:
            return self._settings.timeout
        most = self._settings.max_timeout
        if math.isnan(timeout) or not 0 < timeout <= most:
            raise BadRequest(f"timeout is {timeout:g}; it must be above 0 and at most {most:g} seconds.")
        return timeout

    async def _follow(self, ctx: Context, run: Run) -> RunResult:
        """Wait for the run and report its progress; a caller that goes away stops it."""
        begun = said = time.monotonic()
        seen = 0
        try:
            while True:
                done, _ = await asyncio.wait({run.done}, timeout=_NEWS)
                if done:
                    return await run.result()
                now = time.monotonic()
                if run.characters != seen or now - said >= _HEARTBEAT - _NEWS:
                    seen, said = run.characters, now
                    waiting = "" if run.execution else "waiting for its turn; "
                    message = run.last_line()[:500] or f"{waiting}{now - begun:.0f} s"
                    await ctx.report_progress(round(now - begun, 1), message=message)
        except asyncio.CancelledError:
            run.stop()
            raise

    async def stop_run(
        self,
        session: Annotated[str | None, Field(description="Stop what runs in this session.")] = None,
        run_id: Annotated[str | None, Field(description="Or: stop the run with this id.")] = None,
    ) -> str:
        """Interrupt what runs in a session (as Ctrl-C does). The variables stay when the program
        obeys; a kernel that does not is restarted, and the answer says so.

        Give `session` or `run_id`; with neither, the session is `default`.
        """
        try:
            if run_id is not None:
                runs = [self._registry.find_run(self._owner, run_id)]
            else:
                runs = self._registry.find(self._owner, session or "default").runs[:1]
            if not runs:
                return f"Nothing is running in session {session or 'default'!r}."
            run = runs[0]
            run.stop()
            result = await run.result()
        except KernelError as error:
            raise _error(error) from None
        return f"Run {run.id} has ended. {render.facts_line(result)}"

    # -- sessions

    async def list_sessions(self) -> str:
        """List the sessions: state, age, idle time, memory, Python, number of runs."""
        sessions = self._registry.sessions(self._owner)
        if not sessions:
            return "There is no session yet. The first run makes one."
        return "\n".join([self._describe(session) for session in sessions])

    def _describe(self, session: Session) -> str:
        parts = [str(session.state), f"age {_span(session.age)}"]
        if session.runs:
            parts.append(f"running: {session.runs[0].request.title} (run {session.runs[0].id})")
            if len(session.runs) > 1:
                parts.append(f"{len(session.runs) - 1} waiting")
        else:
            parts.append(f"idle {_span(session.idle_seconds)}")
        if (memory := _memory(session.pid)) is not None:
            parts.append(f"{memory / 1e6:.0f} MB")
        parts += [self._settings.python, f"{session.count} runs"]
        return f"{session.name}: {' · '.join(parts)}"

    async def restart_session(self, session: SessionName = "default") -> str:
        """Give a session a fresh kernel: what runs in it is ended and all its variables are lost."""
        try:
            printed = await self._registry.find(self._owner, session).restart()
        except KernelError as error:
            raise _error(error) from None
        return _with_output(f"Session {session!r} restarted: its variables are gone.", printed)

    async def close_session(self, session: SessionName = "default") -> str:
        """End a session and its kernel; what runs in it is ended and its variables are lost."""
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
        """List the files of the projects directory, with sizes, at any depth.

        Hidden folders and caches are left out.
        """
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
        """Read a text file of the projects directory; a long one in parts, by lines."""
        if offset < 0 or limit < 1:
            raise ToolError("offset must be 0 or more, and limit 1 or more.")
        try:
            text, total = await asyncio.to_thread(
                self._projects.read_lines, file_name, offset, limit, _MOST_CHARACTERS
            )
        except FileError as error:
            raise _error(error) from None
        cut = len(text) > _MOST_CHARACTERS
        text = text[:_MOST_CHARACTERS]
        shown = text.count("\n") + (not text.endswith("\n") and bool(text))
        if not text:
            return f"[{file_name} has {total:,} lines; none after line {offset:,}]"
        if cut or offset or offset + shown < total:
            end = f"lines {offset + 1:,} to {offset + shown:,} of {total:,}"
            text = f"{text}\n[{end}{'; the last one is cut' if cut else ''}]"
        return text

    async def write_file(
        self,
        file_name: FileName,
        content: Annotated[str, Field(description="The whole content of the file.")],
        overwrite: Annotated[
            bool, Field(description="Replace the file when it exists already.")
        ] = False,
    ) -> str:
        """Write a text file in the projects directory; folders on its way are made.

        The file is written whole or not at all. An existing file is replaced only when
        `overwrite` is set.
        """
        try:
            replaced = await asyncio.to_thread(
                self._projects.write, file_name, content, overwrite
            )
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
