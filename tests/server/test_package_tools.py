"""The tool install_packages: real installs into the environments of real sessions."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastmcp import Client
from mcp_types import CallToolResult, TextContent

from kernels.environments.installers import find_uv
from kernels.launching import server_python
from kernels.registry import Registry
from server.app import build_server
from server.settings import Settings
from tests.conftest import until
from tests.kernels.environments.venvs import Made, make
from tests.server.caller import Caller, Mode, both_eras


@pytest.fixture
def mode() -> Mode:
    return "auto"


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Packages may be installed; uv is on the PATH, if there is one at all."""
    if uv := find_uv(os.environ):
        path = os.pathsep.join([os.path.dirname(uv), os.environ["PATH"]])
        monkeypatch.setenv("PATH", path)
    return replace(settings, allow_install=True, python=server_python())


@pytest.fixture
def venv(projects: Path) -> Made:
    """An environment of the projects directory that can run kernels."""
    return make(projects / ".venv", sys.version_info.minor, 7)


@pytest.fixture
def bare(projects: Path) -> Made:
    """One that cannot."""
    return make(projects / "bare", sys.version_info.minor)


@pytest.fixture
def news() -> list[str]:
    """What progress has said, in `caller`'s calls."""
    return []


@pytest.fixture
async def caller(
    settings: Settings, registry: Registry, mode: Mode, news: list[str]
) -> AsyncIterator[Caller]:
    async def report(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        news.append(message or "")

    server = build_server(settings, registry)
    async with Client(server, mode=mode, progress_handler=report) as client:
        yield Caller(client)


def words(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


def version(python: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


@both_eras
async def test_it_is_there_only_where_it_is_allowed(
    settings: Settings, registry: Registry, mode: Mode
) -> None:
    """The default is each transport's."""
    for allowed in (True, False, None):
        server = build_server(replace(settings, allow_install=allowed), registry)
        async with Client(server, mode=mode) as client:
            names = [tool.name for tool in await client.list_tools()]
            assert ("install_packages" in names) is (allowed is True)


@pytest.mark.slow
async def test_from_a_missing_module_to_its_import_in_the_same_living_session(
    caller: Caller, venv: Made, news: list[str]
) -> None:
    """A module that has been imported is named with the session that has to be restarted; the
    server's own environment is left alone."""
    start = {"session": "v", "environment": "venv:.venv", "code": "kept = 1\nimport cowsay"}
    texts, facts = await caller.run("run_code", **start)
    assert facts["status"] == "error"
    assert "install_packages" in "\n".join(texts)

    text = await caller.text("install_packages", packages=["cowsay==6.0"], session="v")
    lines = text.splitlines()
    assert lines[0].startswith(f"Installed into Python {venv.version} (venv:.venv) (uv, ")
    assert lines[1:] == ["cowsay 6.0 installed", "Can be imported now: cowsay."]
    code = "import cowsay; print(kept, cowsay.__version__)"
    texts, facts = await caller.run("run_code", session="v", code=code)
    assert facts["status"] == "ok" and texts[0].startswith("1 ")

    text = await caller.text("install_packages", packages=["cowsay>=6.1,<7"], session="v")
    assert text.splitlines()[1:] == [
        "cowsay 6.0 → 6.1",
        "Session 'v' has imported cowsay and keeps the old one until it is restarted "
        "(restart_session; its variables are lost then).",
    ]
    await caller.text("restart_session", session="v")
    code = "import importlib.metadata as m; import cowsay; print(m.version('cowsay'))"
    texts, _ = await caller.run("run_code", session="v", code=code)
    assert texts[0].startswith("6.1")

    text = await caller.text("install_packages", packages=["cowsay"], session="v")
    assert text.startswith("Nothing to do: ") and "\n" not in text
    assert version(server_python(), "cowsay") == ""


@pytest.mark.slow
async def test_it_installs_and_asks_while_a_program_runs(
    caller: Caller, venv: Made, projects: Path
) -> None:
    begun = projects / "begun"
    await caller.text("install_packages", packages=["cowsay==6.0"], environment=".venv")
    code = f"import cowsay\nopen({str(begun)!r}, 'w').close()\nwhile True: pass"
    arguments = {"session": "v", "environment": ".venv", "background": True, "timeout": 300}
    await caller.call("run_code", code=code, **arguments)
    await until(begun.exists, 60)
    text = await caller.text("install_packages", packages=["cowsay==6.1"], session="v")
    assert "Session 'v' has imported cowsay" in text
    await caller.call("stop_run", session="v")


@pytest.mark.slow
async def test_an_environment_without_ipykernel_is_given_it_and_runs_a_session(
    caller: Caller, bare: Made, news: list[str]
) -> None:
    start = {"session": "b", "environment": "venv:bare", "code": "import sys; print(sys.prefix)"}
    assert "ipykernel" in words(await caller.call("run_code", **start))
    text = await caller.text("install_packages", packages=["ipykernel"], environment="venv:bare")
    assert "\nipykernel 7" in text
    texts, facts = await caller.run("run_code", **start)
    assert facts["status"] == "ok" and texts[0].startswith(str(bare.prefix))


@pytest.mark.slow
async def test_a_conflict_is_told_in_the_installers_words_and_nothing_is_changed(
    caller: Caller, bare: Made
) -> None:
    wanted = ["cowsay==6.1", "cowsay==6.0"]
    result = await caller.call("install_packages", packages=wanted, environment="bare")
    first, *rest = words(result).splitlines()
    assert result.is_error and first.endswith("nothing was changed.")
    assert "unsatisfiable" in "\n".join(rest) and len(rest) <= 12
    assert version(bare.python, "cowsay") == ""


@pytest.mark.slow
async def test_what_is_refused_is_one_sentence(caller: Caller, bare: Made) -> None:
    async def refused(*packages: str, **arguments: str) -> str:
        return await caller.refusal("install_packages", packages=list(packages), **arguments)

    assert "looks like an option" in await refused("--pre", environment="bare")
    assert "has an address" in await refused("git+https://x.example/y", environment="bare")
    assert "packages is empty" in await refused()
    assert "nowhere" in await refused("cowsay", environment="nowhere")
    assert "session" in await refused("cowsay", session="a\nb")
    assert "There is no session 'typo'" in await refused("cowsay", session="typo")
    assert "packages" in await caller.refusal("install_packages", packages="cowsay")


@pytest.mark.slow
async def test_progress_has_the_installers_lines(
    caller: Caller, bare: Made, news: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they come, when it takes longer than a moment."""
    monkeypatch.setattr("server.news._NEWS", 0.01)
    await caller.text("install_packages", packages=["cowsay==6.1"], environment="bare")
    assert any("checking with uv: cowsay==6.1" in message for message in news)


@pytest.mark.slow
async def test_a_caller_who_gives_up_ends_the_installer(
    caller: Caller, bare: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is left, and the next one has its turn. The installer is held where it gets
    its packages: at an index that never answers."""
    held = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.set()
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(hold, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/simple"
    with monkeypatch.context() as patched:
        patched.setenv("UV_DEFAULT_INDEX", address)
        patched.setenv("UV_NO_CACHE", "1")
        arguments = {"packages": ["cowsay"], "environment": "bare"}
        calling = asyncio.create_task(caller.call("install_packages", **arguments))
        await asyncio.wait_for(held.wait(), 30)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await until(lambda: not installers(bare.python))
    silent.close()
    await caller.text("install_packages", packages=["cowsay==6.1"], environment="bare")


def installers(python: str) -> list[str]:
    """The processes that have this interpreter in their command."""
    found = subprocess.run(["ps", "-eo", "args="], capture_output=True, text=True, check=True)
    return [line for line in found.stdout.splitlines() if python in line]
