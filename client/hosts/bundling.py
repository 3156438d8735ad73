"""The server as an .mcpb bundle: a zip archive that Claude Desktop installs, with uv making the
environment from the `pyproject.toml` inside."""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.hosts.entry import Entry, server_command
from client.hosts.errors import HostError
from client.hosts.files import save_bytes
from client.hosts.manifest import NAME, manifest
from client.hosts.trial import try_out
from client.mcp_client import LOCAL_SERVER

if TYPE_CHECKING:
    from mcp_types import Tool

_DISTRIBUTION = "rmi-agent-mcp-server"
#: Where the rooms are: in a checkout, or in the installed package.
_ROOT = LOCAL_SERVER.parent.parent
_ROOMS = ("kernels", "notebooks", "server")
#: The launcher of installed commands, which a bundle does not have.
_LEFT_OUT = ("server/entry/",)
_ICON = Path(__file__).parent / "icon.png"


@dataclass(frozen=True)
class Project:
    """What a bundle says of the project."""

    version: str
    description: str
    python: str
    dependencies: tuple[str, ...]
    #: The versions that it is tested with; none where they are not known.
    pins: tuple[str, ...]


def write_bundle(output: Path | None = None) -> Path:
    """Write the bundle, by default into the working directory, and return its path. A former
    bundle of this server is replaced, no other file is. Raises `HostError`."""
    project = project_here()
    path = Path(f"{NAME}-{project.version}.mcpb") if output is None else output
    if os.path.lexists(path) and not _is_bundle(path):
        raise HostError(
            f"{path} exists already, and is no bundle of this server; -o names another."
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command, *args = server_command()
        try:
            tools = try_out(Entry(command, tuple(args), {"PYTHON_PROJECTS_DIR": folder}))
        except HostError as error:
            raise HostError(
                f"The server does not start, so its tools are unknown: {error}"
            ) from None
    save_bytes(path, bundle(project, tools))
    return path


def bundle(project: Project, tools: Sequence[Tool]) -> bytes:
    """The archive. The same files and tools give the same bytes."""
    described = manifest(
        version=project.version,
        description=project.description,
        python=project.python,
        tools=[(tool.name, _first_sentence(tool.description or "")) for tool in tools],
    )
    files = {
        "manifest.json": _json(described),
        "pyproject.toml": _pyproject(project).encode(),
        "icon.png": _ICON.read_bytes(),
        **dict(_sources()),
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for name in sorted(files, key=lambda name: (name != "manifest.json", name)):
            facts = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            facts.create_system = 3  # Unix, wherever it is made
            facts.external_attr = 0o100644 << 16
            facts.compress_type = zipfile.ZIP_DEFLATED
            opened.writestr(facts, files[name], compresslevel=9)
    return archive.getvalue()


def project_here() -> Project:
    """What is known of this installation. The data packages are in, as with `setup.sh`."""
    file = _ROOT / "pyproject.toml"
    if file.is_file():
        table = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        pins = (_ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        return Project(
            table["version"],
            table["description"],
            table["requires-python"],
            (*table["dependencies"], *table["optional-dependencies"]["data"]),
            tuple(line for line in pins if re.match(r"[A-Za-z0-9]", line)),
        )
    try:
        facts = metadata.metadata(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise HostError(f"{_ROOT} is neither a checkout nor an installed package.") from None
    return Project(
        facts["Version"],
        facts["Summary"],
        facts["Requires-Python"],
        tuple(_wanted(facts.get_all("Requires-Dist") or [])),
        (),
    )


def _wanted(requirements: Sequence[str]) -> Iterator[str]:
    """Those of the package itself and of its extra `data`."""
    for requirement in requirements:
        plain, _, marker = requirement.partition(";")
        if "extra" not in marker:
            yield requirement
        elif re.search(r"""extra == ['"]data['"]""", marker):
            yield plain.strip()


def _sources() -> Iterator[tuple[str, bytes]]:
    for room in _ROOMS:
        for path in (_ROOT / room).rglob("*"):
            name = path.relative_to(_ROOT).as_posix()
            hidden = any(part.startswith((".", "__pycache__")) for part in name.split("/"))
            if path.is_file() and not hidden and not name.startswith(_LEFT_OUT):
                yield name, path.read_bytes()


def _pyproject(project: Project) -> str:
    def items(texts: Sequence[str]) -> str:
        return "".join(f"    {json.dumps(text)},\n" for text in texts)

    return (
        "# What uv needs to make the server's environment.\n"
        f'[project]\nname = "{NAME}-bundle"\nversion = "{project.version}"\n'
        f'requires-python = "{project.python}"\n'
        f"dependencies = [\n{items(project.dependencies)}]\n\n"
        "[tool.uv]\npackage = false\n"
        f"constraint-dependencies = [\n{items(project.pins)}]\n"
    )


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0]


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def _is_bundle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(json.loads(archive.read("manifest.json"))["name"] == NAME)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return False
