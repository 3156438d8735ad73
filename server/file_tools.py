"""The tools on files of the projects directory."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from kernels.errors import BadRequest
from server.arguments import FileName, refusal
from server.files import FileError, Projects

_MOST_FILES = 300
_MOST_CHARACTERS = 20_000


class FileTools:
    """The tools over one projects directory."""

    def __init__(self, projects: Projects) -> None:
        self._projects = projects

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
            raise refusal(error) from None
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
            raise refusal(BadRequest("offset must be 0 or more, and limit 1 or more."))
        try:
            found = await asyncio.to_thread(
                self._projects.read, file_name, offset, limit, _MOST_CHARACTERS
            )
        except FileError as error:
            raise refusal(error) from None
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
            raise refusal(error) from None
        lines = content.count("\n") + (not content.endswith("\n") and bool(content))
        return f"{'Replaced' if replaced else 'Wrote'} {file_name} ({lines:,} lines)."
