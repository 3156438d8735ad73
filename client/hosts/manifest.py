"""What a bundle says of itself: how it is started, and the form of settings that a host shows.

The format is MCPB's, version 0.4: https://github.com/modelcontextprotocol/mcpb
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NAME = "rmi-agent"

#: Each field of the form: its variable and its description. A host puts the default where nothing
#: is filled in; an empty text is, for the server, a setting that is not set.
_FORM: dict[str, tuple[str, dict[str, Any]]] = {
    "projects": (
        "PYTHON_PROJECTS_DIR",
        {
            "type": "directory",
            "title": "Projects directory",
            "description": "The folder with your scripts and notebooks. The file tools reach "
            "nothing else. It is made when it is missing.",
            "required": True,
            "default": "${HOME}/python_projects",
        },
    ),
    "timeout": (
        "PYTHON_TIMEOUT",
        {
            "type": "number",
            "title": "Time limit",
            "description": "Seconds that a run may take, where the call names no others.",
            "default": 30,
            "min": 1,
            "max": 3600,
        },
    ),
    "python": (
        "RMI_PYTHON",
        {
            "type": "string",
            "title": "Python or environment",
            "description": "The Python in which your programs run, or the folder of its "
            "environment. It needs ipykernel. Empty: one of the bundle's own, with numpy, pandas "
            "and matplotlib.",
            "default": "",
        },
    ),
    "allow_install": (
        "RMI_ALLOW_INSTALL",
        {
            "type": "boolean",
            "title": "Allow installing packages",
            "description": "Whether the model may install packages into an environment.",
            "default": True,
        },
    ),
    "page": (
        "RMI_PAGE",
        {
            "type": "string",
            "title": "Port of the live page",
            "description": "For example 8766: then http://127.0.0.1:8766/ shows what runs. Every "
            "program of this machine can reach it. Empty: no page.",
            "default": "",
        },
    ),
}


def manifest(
    *, version: str, description: str, python: str, tools: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """The manifest of a bundle with these tools, each a name and a description. `python` is the
    range of versions that the server takes."""
    return {
        "manifest_version": "0.4",
        "name": NAME,
        "display_name": "Python in living kernels",
        "version": version,
        "description": description,
        "long_description": "Claude runs your Python scripts, notebooks and code in Jupyter "
        "kernels: variables stay from run to run, plots come back as images, and a run that hangs "
        "is ended.\n\nWhat runs can do all that your account can. The first start gets the "
        "packages from the network, which takes a minute or two.",
        "author": {"name": "RmiAgentMcpServer"},
        "icon": "icon.png",
        "server": {
            "type": "uv",
            "entry_point": "server/mcp_server.py",
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", "server/mcp_server.py"],
                "env": {
                    variable: f"${{user_config.{field}}}" for field, (variable, _) in _FORM.items()
                },
            },
        },
        "tools": [{"name": name, "description": said} for name, said in tools],
        "keywords": ["python", "jupyter", "notebook", "kernel"],
        "license": "Apache-2.0",
        "compatibility": {
            "platforms": ["darwin", "win32", "linux"],
            "runtimes": {"python": python},
        },
        "user_config": {field: described for field, (_, described) in _FORM.items()},
    }
