"""All tools, registered. What the model reads of them stands in `descriptions`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastmcp import FastMCP
from mcp_types import ToolAnnotations

from kernels.registry import Registry
from server.arguments import CHANGES, EDITS, INSTALLS, LOOKS, MAKES, RUNS
from server.descriptions import DESCRIPTIONS
from server.document import Faces
from server.environment_tools import EnvironmentTools
from server.environments import Environments
from server.file_tools import FileTools
from server.files import Projects
from server.notebook_tools import NotebookTools
from server.package_tools import PackageTools
from server.questions import Audience
from server.run_tools import RunTools
from server.session_tools import SessionTools
from server.settings import Settings


def register_tools(
    server: FastMCP[Any],
    settings: Settings,
    registry: Registry,
    faces: Faces,
    audience: Audience | None = None,
) -> None:
    """Add every tool to `server`."""
    projects = Projects(settings.projects_dir)
    environments = Environments(settings)
    runs = RunTools(settings, registry, projects, environments, faces, audience)
    sessions = SessionTools(settings, registry, audience)
    files = FileTools(projects)
    notebooks = NotebookTools(projects, registry, runs, environments)
    places = EnvironmentTools(settings, environments)
    packages = PackageTools(settings, registry)
    tools: list[tuple[Callable[..., Any], ToolAnnotations]] = [
        (runs.run_python, RUNS),
        (runs.run_code, RUNS),
        (notebooks.run_notebook, RUNS),
        (runs.get_output, LOOKS),
        (runs.stop_run, CHANGES),
        (sessions.list_sessions, LOOKS),
        (sessions.list_variables, LOOKS),
        (places.list_environments, LOOKS),
        (sessions.restart_session, CHANGES),
        (sessions.close_session, CHANGES),
        (sessions.branch_session, MAKES),
        (sessions.rewind_session, CHANGES),
        (notebooks.read_notebook, LOOKS),
        (notebooks.edit_notebook, EDITS),
        (files.list_files, LOOKS),
        (files.read_file, LOOKS),
        (files.write_file, CHANGES),
    ]
    if settings.allow_install:
        tools.append((packages.install_packages, INSTALLS))
    for function, hints in tools:
        name = function.__name__
        annotations = hints.model_copy(update={"title": name.replace("_", " ").capitalize()})
        # Without a schema the text is sent once, as content.
        server.tool(
            function, description=DESCRIPTIONS[name], annotations=annotations, output_schema=None
        )
