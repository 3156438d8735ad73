"""The tools that run, and those on runs: each checks its arguments, asks the registry, renders."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from fastmcp import Context
from fastmcp.tools.base import ToolResult
from mcp_types import InputRequiredResult
from pydantic import Field

from kernels.errors import BadRequest, KernelError
from kernels.execution import CodeRequest, FileRequest
from kernels.outputs import Display
from kernels.registry import Registry
from kernels.result import RunResult
from kernels.run import Run
from kernels.steps import Once, Work
from server import pages, questions, render
from server.arguments import (
    Background,
    EnvironmentName,
    FileName,
    OwnSession,
    Restart,
    SessionName,
    Stdin,
    Timeout,
    refusal,
)
from server.document import Faces
from server.environments import Environments
from server.files import FileError, Projects
from server.missing import explained, missing_module
from server.names import own_session
from server.news import told
from server.principal import principal
from server.progress import ask, follow, wait_for_news
from server.questions import Answer, Audience
from server.settings import Settings

if TYPE_CHECKING:
    from kernels.environments.environment import Chosen

#: Seconds that get_output may wait: many clients give a call up after 60.
MAX_WAIT = 50


class RunTools:
    """The tools over one registry."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        projects: Projects,
        environments: Environments,
        faces: Faces,
        audience: Audience | None = None,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._projects = projects
        self._environments = environments
        self._faces = faces
        self._audience = audience

    async def run_python(
        self,
        ctx: Context,
        file_name: FileName,
        args: Annotated[
            list[str] | None,
            Field(description="Command-line arguments, the script's sys.argv[1:]."),
        ] = None,
        session: OwnSession = None,
        timeout: Timeout = None,
        stdin: Stdin = "",
        restart: Restart = False,
        background: Background = False,
        environment: EnvironmentName = None,
    ) -> ToolResult | InputRequiredResult:
        if again := questions.answered(ctx):
            return await self._go_on(ctx, again)
        request = await asyncio.to_thread(self._file_request, file_name, args or [], stdin)
        name = "default" if session is None else session
        notes: tuple[str, ...] = ()
        where = await self.place(environment)
        if where is None and (own := await self._for_script(ctx, request)) is not None:
            if own.kernelspec is None:
                notes = own.notes
            else:
                where = own
                if session is None:
                    name = own_session("script", self._projects.shown(request.path))
                    # Made anew when its metadata have changed.
                    restart = restart or not self._registry.is_in(principal(), name, own)
        return await self._run(ctx, request, name, timeout, restart, background, where, notes)

    async def run_code(
        self,
        ctx: Context,
        code: Annotated[str, Field(description="Python code, several lines if need be.")],
        session: SessionName = "default",
        timeout: Timeout = None,
        stdin: Stdin = "",
        restart: Restart = False,
        background: Background = False,
        environment: EnvironmentName = None,
    ) -> ToolResult | InputRequiredResult:
        if again := questions.answered(ctx):
            return await self._go_on(ctx, again)
        request, where = CodeRequest(code, stdin), await self.place(environment)
        return await self._run(ctx, request, session, timeout, restart, background, where)

    async def place(self, environment: str | None) -> Chosen | None:
        """What a call means by `environment`; None: wherever the session is."""
        if environment is None:
            return None
        try:
            return await asyncio.to_thread(self._environments.choose, environment)
        except KernelError as error:
            raise refusal(error) from None

    async def _for_script(self, ctx: Context, request: FileRequest) -> Chosen | None:
        if b"# ///" not in request.source:
            return None
        find = self._environments.for_script
        try:
            return await told(ctx, lambda tell: find(request.path, request.source, tell))
        except KernelError as error:
            raise refusal(error) from None

    def _file_request(self, file_name: str, args: list[str], stdin: str) -> FileRequest:
        try:
            path, source = self._projects.source(file_name)
        except FileError as error:
            raise refusal(error) from None
        if any("\0" in arg for arg in args):
            raise refusal(BadRequest("args contains a NUL character, which no argument may."))
        return FileRequest(path, source, tuple(args), stdin)

    async def _run(
        self,
        ctx: Context,
        request: FileRequest | CodeRequest,
        session: str,
        timeout: float | None,
        restart: bool,
        background: bool,
        environment: Chosen | None,
        notes: tuple[str, ...] = (),
    ) -> ToolResult | InputRequiredResult:
        asked = questions.can_ask(ctx) or (
            self._audience is not None and self._audience.is_there(principal())
        )
        request = replace(request, ask=asked)
        return await self.start(
            ctx, request, session, timeout, restart, background, environment, notes
        )

    async def start(
        self,
        ctx: Context,
        work: Work,
        session: str,
        timeout: float | None,
        restart: bool,
        background: bool,
        environment: Chosen | None = None,
        notes: tuple[str, ...] = (),
    ) -> ToolResult | InputRequiredResult:
        """Begin a run; its result, or that it has begun."""
        try:
            seconds = self._seconds(timeout)
            run = self._registry.submit(
                principal(), session, work, seconds, restart, environment, notes
            )
            return pages.begun(run) if background else await self._follow(ctx, run)
        except KernelError as error:
            raise refusal(error) from None

    async def _go_on(self, ctx: Context, answer: Answer) -> ToolResult | InputRequiredResult:
        """Follow a run further, of whose program the caller has been asked something."""
        try:
            run = self._registry.find_run(principal(), answer.run_id)
            if answer.given:
                run.answer(answer.serial, answer.text)
            return await self._follow(ctx, run, answer)
        except KernelError as error:
            raise refusal(error) from None

    async def _follow(
        self, ctx: Context, run: Run, before: Answer | None = None
    ) -> ToolResult | InputRequiredResult:
        found = await follow(ctx, run, before.seen if before is not None else 0)
        if isinstance(found, RunResult):
            return await self._rendered(run, found)
        if before is not None and before.round >= questions.MOST_ROUNDS:
            return pages.asks(run)
        return questions.asking(found, run.id, before)

    async def _rendered(self, run: Run, result: RunResult) -> ToolResult:
        if missing_module(result.error):
            installs, projects = bool(self._settings.allow_install), self._settings.projects_dir
            result = await asyncio.to_thread(explained, result, projects, installs)
        if not isinstance(run.steps, Once):
            from server import notebook_page

            return await asyncio.to_thread(notebook_page.tool_result, run, result, self._faces)
        if any(isinstance(output, Display) for output in result.outputs):
            # It may have to be drawn, or made smaller, which takes its time.
            return await asyncio.to_thread(render.tool_result, result, self._faces)
        return render.tool_result(result, self._faces)

    def _seconds(self, timeout: float | None) -> float:
        if timeout is None:
            return self._settings.timeout
        most = self._settings.max_timeout
        if not 0 < timeout <= most:
            raise BadRequest(
                f"timeout is {timeout:g}; it must be above 0 and at most {most:g} seconds."
            )
        return timeout

    async def get_output(
        self,
        ctx: Context,
        run_id: Annotated[str, Field(description="The run's id, from the last line of a result.")],
        wait: Annotated[
            float, Field(description=f"Seconds to wait for news, at most {MAX_WAIT}.")
        ] = 0,
        offset: Annotated[
            int | None, Field(description="Characters of its text to skip, to read on from there.")
        ] = None,
        image: Annotated[
            int | None, Field(description="Number of an image, to have it as large as can be.")
        ] = None,
    ) -> ToolResult | InputRequiredResult:
        try:
            if not 0 <= wait <= MAX_WAIT:
                raise BadRequest(
                    f"wait is {wait:g}; it must be from 0 to {MAX_WAIT} seconds, because many "
                    "clients give a call up after 60. Call again for more."
                )
            if offset is not None and offset < 0:
                raise BadRequest(f"offset is {offset}; it must be 0 or more characters.")
            run = self._registry.find_run(principal(), run_id)
            if image is not None:
                return await pages.image(run, image, self._faces)
            before = questions.answered(ctx)
            if before is not None and before.given:
                run.answer(before.serial, before.text)
            if wait:
                await self._wait(ctx, run, wait, offset)
            if run.question is not None and questions.can_ask(ctx):
                if not questions.asks_by_result(ctx):
                    await ask(ctx, run, run.question)
                elif before is None or before.round < questions.MOST_ROUNDS:
                    return questions.asking(run.question, run.id, before)
            if offset is None and run.done.done():
                return await self._rendered(run, await run.result())
            return await pages.page(run, offset, self._faces)
        except KernelError as error:
            raise refusal(error) from None

    async def _wait(self, ctx: Context, run: Run, seconds: float, offset: int | None) -> None:
        """Wait for what comes after `offset`, or after what was seen."""
        extent = run.recording.extent
        there = (await pages.document(run, self._faces)).length
        if there <= (run.seen if offset is None else offset):
            await wait_for_news(ctx, run, seconds, extent)

    async def stop_run(
        self,
        session: Annotated[str | None, Field(description="Stop what runs in this session.")] = None,
        run_id: Annotated[str | None, Field(description="Or: stop the run with this id.")] = None,
    ) -> str:
        name = "default" if session is None else session
        try:
            if run_id is not None:
                run = self._registry.find_run(principal(), run_id)
                if run.done.done():
                    return f"Run {run.id} has ended already."
            else:
                runs = self._registry.find(principal(), name).runs[:1]
                if not runs:
                    return f"Nothing is running in session {name!r}."
                run = runs[0]
            run.stop()
            result = await run.result()
        except KernelError as error:
            raise refusal(error) from None
        lines = [f"Run {run.id} has ended.", result.explanation, render.facts_line(result)]
        return "\n".join(line for line in lines if line)
