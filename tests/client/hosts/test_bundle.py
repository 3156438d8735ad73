"""The bundle: a manifest that the format's own tool accepts, the rooms, a server that starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport

from client.hosts.bundling import bundle, project_here, write_bundle
from client.hosts.errors import HostError
from tests.client.hosts.test_installing import rmi_agent
from tests.conftest import ROOT

#: uv, on the PATH or beside Python.
UV = shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))
MCPB = "@anthropic-ai/mcpb@2.1.2"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that the command has made."""
    home = tmp_path_factory.mktemp("bundle")
    done = rmi_agent(home, "bundle")
    assert done.returncode == 0, done.stderr
    (made,) = home.glob("*.mcpb")
    assert done.stderr.startswith(f"The bundle is {made.name}.")
    return made


@pytest.fixture(scope="module")
def unpacked(archive: Path) -> Path:
    folder = archive.parent / "unpacked here"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def manifest(unpacked: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((unpacked / "manifest.json").read_text(encoding="utf-8"))
    return found


def filled_in(manifest: dict[str, Any], folder: Path, **values: Any) -> dict[str, Any]:
    """The command as a host makes it of the form, where these values are filled in. (What mcpb's
    `getMcpConfigForManifest` does: the defaults, then what the user has set, each as text.)"""
    form = manifest["user_config"]
    assert all("default" in field for field in form.values())
    config = {name: field["default"] for name, field in form.items()} | values
    texts = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in config.items()
    }

    def replace(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: replace(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [replace(inner) for inner in value]
        value = value.replace("${__dirname}", str(folder))
        return re.sub(r"\$\{user_config\.(\w+)\}", lambda match: texts[match[1]], value)

    replaced: dict[str, Any] = replace(manifest["server"]["mcp_config"])
    assert "${" not in json.dumps(replaced)
    return replaced


class TestArchive:
    def test_it_has_the_rooms_that_the_server_needs_and_nothing_else(self, archive: Path) -> None:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
        assert names[0] == "manifest.json"
        tops = {name.split("/")[0] for name in names}
        files = {"manifest.json", "pyproject.toml", "icon.png"}
        assert tops == {"kernels", "notebooks", "server"} | files
        assert "server/page/static/index.html" in names
        tracked = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "kernels", "notebooks", "server"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        launcher = "server/entry/"
        assert {n for n in names if n not in files} <= {
            n for n in tracked if not n.startswith(launcher)
        }

    def test_the_same_sources_give_the_same_bytes(self) -> None:
        project = project_here()
        assert bundle(project, []) == bundle(project, [])

    def test_nothing_in_it_tells_of_the_machine_that_made_it(self, archive: Path) -> None:
        with zipfile.ZipFile(archive) as opened:
            for facts in opened.infolist():
                assert facts.date_time == (1980, 1, 1, 0, 0, 0)
                assert str(archive.parent).encode() not in opened.read(facts)
                assert str(ROOT).encode() not in opened.read(facts)

    def test_its_packages_are_those_of_the_project(self, unpacked: Path) -> None:
        bundled = tomllib.loads((unpacked / "pyproject.toml").read_text(encoding="utf-8"))
        ours = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        expected = ours["dependencies"] + ours["optional-dependencies"]["data"]
        assert bundled["project"]["dependencies"] == expected
        assert bundled["project"]["requires-python"] == ours["requires-python"]
        pins = bundled["tool"]["uv"]["constraint-dependencies"]
        assert "\n".join(pins) in (ROOT / "requirements.txt").read_text(encoding="utf-8")

    def test_a_former_bundle_is_replaced_and_no_other_file_is(
        self, archive: Path, tmp_path: Path
    ) -> None:
        former = tmp_path / "former.mcpb"
        with zipfile.ZipFile(former, "w") as opened:
            opened.writestr("manifest.json", '{"name": "rmi-agent"}')
        assert write_bundle(former) == former
        assert former.read_bytes() == archive.read_bytes()
        for content in (b"mine", b'{"name": "rmi-agent"}'):
            other = tmp_path / "other.mcpb"
            other.write_bytes(content)
            with pytest.raises(HostError, match="exists already, and is no bundle of this server"):
                write_bundle(other)
            assert other.read_bytes() == content


class TestManifest:
    def test_the_formats_own_tool_accepts_it(self, unpacked: Path, tmp_path: Path) -> None:
        npx = shutil.which("npx")
        if npx is None:
            pytest.skip("there is no Node")
        for words in (["validate", "manifest.json"], ["pack", ".", str(tmp_path / "x.mcpb")]):
            done = subprocess.run(
                [npx, "--yes", MCPB, *words],
                cwd=unpacked,
                capture_output=True,
                text=True,
                timeout=100,
            )
            if done.returncode != 0 and re.search("E404|ENOTFOUND|EAI_AGAIN|ECONN", done.stderr):
                pytest.skip("Node cannot get the tool")
            assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "x.mcpb").is_file()

    def test_its_version_and_range_of_pythons_are_the_projects(
        self, manifest: dict[str, Any]
    ) -> None:
        project = project_here()
        assert manifest["manifest_version"] == "0.4"
        assert manifest["version"] == project.version
        assert manifest["compatibility"]["runtimes"] == {"python": project.python}

    def test_every_field_of_the_form_is_used_and_every_use_has_a_field(
        self, manifest: dict[str, Any]
    ) -> None:
        used = re.findall(r"\$\{user_config\.(\w+)\}", json.dumps(manifest["server"]))
        assert sorted(used) == sorted(manifest["user_config"])


@pytest.mark.skipif(UV is None, reason="there is no uv")
async def test_its_command_starts_the_server_that_it_describes(
    unpacked: Path, manifest: dict[str, Any], tmp_path: Path
) -> None:
    """As a host does it, with uv; in the tests' own environment, not one from the network."""
    assert UV is not None
    projects = tmp_path / "my projects"
    config = filled_in(manifest, unpacked, projects=projects, timeout=7, page="0")
    assert config["command"] == "uv"
    transport = StdioTransport(
        UV,
        config["args"],
        env={
            **config["env"],
            "UV_NO_SYNC": "1",
            "UV_PROJECT_ENVIRONMENT": sys.prefix,
            "UV_OFFLINE": "1",
        },
        cwd="/",
        keep_alive=False,
    )
    async with Client(transport) as client:
        tools = await client.list_tools()
        assert {"run_python", "run_code"} <= {tool.name for tool in tools}
        told = [tool["name"] for tool in manifest["tools"]]
        assert told == [tool.name for tool in tools]
        ran = await client.call_tool("run_code", {"code": "import os; print(os.getcwd())"})
        assert ran.content[0].text == f"{projects}\n"
        late = await client.call_tool(
            "run_code", {"code": "import time; time.sleep(30)"}, raise_on_error=False
        )
        assert "timed out after 7 s" in late.content[-1].text
