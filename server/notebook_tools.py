"""The tools on notebooks of the projects directory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

from fastmcp import Context
from fastmcp.tools.base import ToolResult
from mcp_types import InputRequiredResult
from pydantic import Field

from kernels.errors import KernelError
from kernels.registry import Registry
from notebooks.errors import NotebookError
from server.arguments import Background, EnvironmentName, Restart, Stdin, refusal
from server.environments import Environments
from server.files import FileError, Projects
from server.principal import principal
from server.run_tools import RunTools

if TYPE_CHECKING:
    from server.notebook_work import NotebookWork

NotebookName = Annotated[
    str, Field(description="Path relative to the projects directory, for example 'demo.ipynb'.")
]


class NotebookTools:
    """The tools over one projects directory; `runs` begins what is to be run."""

    def __init__(
        self,
        projects: Projects,
        registry: Registry,
        runs: RunTools,
        environments: Environments,
    ) -> None:
        self._projects, self._registry, self._runs = projects, registry, runs
        self._environments = environments

    def _work(self) -> NotebookWork:
        # With the first call, not with the server's start.
        from server.notebook_work import NotebookWork

        return NotebookWork(self._projects, self._registry, self._environments, principal())

    async def run_notebook(
        self,
        ctx: Context,
        file_name: NotebookName,
        parameters: Annotated[
            dict[str, Any] | None,
            Field(description="Values for the variables of the cell tagged `parameters`."),
        ] = None,
        cells: Annotated[
            int | str | list[int | str] | None,
            Field(
                description="Run these only: numbers from 0, ids, '3-7', a tag. They run in the "
                "notebook's living kernel."
            ),
        ] = None,
        output_file: Annotated[
            str | None,
            Field(description="Write the notebook with its outputs here; the source stays."),
        ] = None,
        allow_errors: Annotated[bool, Field(description="Go on after a cell that fails.")] = False,
        session: Annotated[
            str | None,
            Field(description="Share this session's variables. Left out: one of its own."),
        ] = None,
        timeout: Annotated[
            float | None, Field(description="Seconds that each cell may take.")
        ] = None,
        stdin: Stdin = "",
        restart: Restart = False,
        background: Background = False,
        environment: EnvironmentName = None,
    ) -> ToolResult | InputRequiredResult:
        where = await self._runs.place(environment)
        try:
            prepared = await asyncio.to_thread(
                self._work().prepare,
                file_name,
                parameters,
                cells,
                output_file,
                allow_errors,
                session,
                stdin,
                restart,
                where,
            )
        except (FileError, KernelError) as error:
            raise refusal(error) from None
        except NotebookError as error:
            raise _about(file_name, error) from None
        return await self._runs.start(
            ctx,
            prepared.run,
            prepared.session,
            timeout,
            prepared.restart,
            background,
            prepared.environment,
        )

    async def read_notebook(
        self,
        file_name: NotebookName,
        cell: Annotated[
            int | str | None, Field(description="Number or id of one cell, to see it whole.")
        ] = None,
        offset: Annotated[int, Field(description="Number of the first cell listed.")] = 0,
        limit: Annotated[int, Field(description="At most so many cells.")] = 200,
    ) -> str:
        try:
            return await asyncio.to_thread(self._work().read, file_name, cell, offset, limit)
        except FileError as error:
            raise refusal(error) from None
        except NotebookError as error:
            raise _about(file_name, error) from None

    async def edit_notebook(
        self,
        file_name: NotebookName,
        operations: Annotated[
            list[dict[str, Any]],
            Field(
                description="Carried out in order, all or none. Each has `op`: insert (source; "
                "type; before or after a cell; tags), replace (cell, source; type), delete (cell), "
                "move (cell; before, after or to), set_type (cell, type), set_tags (cell, tags), "
                "clear_outputs (cell; without it all), upgrade. A cell is named by its id, or by "
                "its number before the call. With `hash`, as read_notebook shows it, a cell that "
                "somebody else has changed since is not overwritten."
            ),
        ],
        create: Annotated[bool, Field(description="Make the notebook; it must not exist.")] = False,
    ) -> str:
        try:
            return await asyncio.to_thread(self._work().edit, file_name, operations, create)
        except FileError as error:
            raise refusal(error) from None
        except NotebookError as error:
            raise _about(file_name, error) from None


def _about(file_name: str, error: NotebookError) -> Exception:
    words = str(error)
    if words.startswith("It "):
        words = f"{file_name!r} cannot be used. {words}"
    return refusal(NotebookError(words))
