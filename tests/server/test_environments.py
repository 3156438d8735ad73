"""`environment` of the run tools, and `list_environments`, over real kernels."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fastmcp import Client

from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from server.app import build_server
from server.environments import Environments
from server.settings import Settings, load
from tests.kernels.environments.venvs import Made, Make, make, maker
from tests.notebooks.files import file_of
from tests.server.caller import META, Caller, Mode

WHERE = "import sys; print(sys.executable)"


@pytest.fixture
def mode() -> Mode:
    return "auto"


@pytest.fixture(scope="session")
def venvs(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return maker(tmp_path_factory.mktemp("venvs"))


@pytest.fixture(scope="session")
def made(venvs: Make) -> Made:
    """A venv that can run kernels."""
    return venvs(12, 7)


@pytest.fixture
def settings(projects: Path, settings: Settings) -> Settings:
    # Where the kernels of `registry` really are.
    return Settings(**{**vars(settings), "python": server_python()})


Install = Callable[[str, list[str], str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """`install(name, argv, language)` puts a kernelspec where Jupyter looks first."""
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))

    def install(name: str, argv: list[str], language: str = "python") -> None:
        file = tmp_path / "jupyter" / "kernels" / name / "kernel.json"
        file.parent.mkdir(parents=True)
        facts = {"argv": argv, "display_name": name.title(), "language": language}
        file.write_text(json.dumps(facts))

    return install


class TestACall:
    async def test_runs_there_and_says_so(self, caller: Caller, made: Made) -> None:
        prefix = str(made.prefix)
        texts, facts = await caller.run("run_code", code=WHERE, environment=prefix)
        assert texts[0] == f"{made.python}\n"
        known = facts["environment"]
        assert (known["version"], known["python"], known["by"]) == (made.version, made.python, "")
        assert texts[-1].endswith(f" · run 1 · Python {made.version} ({known['name']})]")
        # The session stays there, and so does what asks for it by another name.
        texts, _ = await caller.run("run_code", code=WHERE)
        assert texts[0] == f"{made.python}\n"
        await caller.run("run_code", code=WHERE, environment=made.python)
        texts, facts = await caller.run("run_code", code=WHERE, session="other")
        assert texts[0] == f"{server_python()}\n"
        assert "environment" not in facts
        assert "Python 3" not in texts[-1]

    async def test_of_the_projects_directorys_own(self, caller: Caller, projects: Path) -> None:
        made = make(projects / ".venv", 12, 7)
        (projects / "a.py").write_text(WHERE + "\nimport os\nprint(os.environ['VIRTUAL_ENV'])")
        texts, facts = await caller.run("run_python", file_name="a.py", environment="venv:.venv")
        assert texts[0] == f"{made.python}\n{projects / '.venv'}\n"
        assert facts["environment"]["name"] == "venv:.venv"

    async def test_the_servers_own_is_as_none(self, caller: Caller) -> None:
        _, facts = await caller.run("run_code", code="1", environment=server_python())
        assert "environment" not in facts

    async def test_at_once_with_another(self, caller: Caller, made: Made) -> None:
        prefix = str(made.prefix)
        (one, _), (two, _) = await asyncio.gather(
            caller.run("run_code", code="x = 1", environment=prefix),
            caller.run("run_code", code="x + 1", environment=prefix),
        )
        assert "2\n" in (one[0], two[0])

    async def test_in_the_background(self, caller: Caller, made: Made) -> None:
        result = await caller.call(
            "run_code", code=WHERE, environment=str(made.prefix), background=True
        )
        assert not result.is_error
        facts = {"status": "running"}
        while facts["status"] == "running":
            result = await caller.call("get_output", run_id="1", wait=20)
            facts = (result.meta or {})[META]
        assert facts["environment"]["python"] == made.python

    async def test_another_one_needs_restart(self, caller: Caller, made: Made) -> None:
        await caller.run("run_code", code="x = 1")
        prefix = str(made.prefix)
        words = await caller.refusal("run_code", code="x", environment=prefix)
        assert "Session 'default' lives in the server's usual Python, not in Python" in words
        assert "Set restart to begin anew there" in words
        texts, facts = await caller.run("run_code", code=WHERE, environment=prefix, restart=True)
        assert texts[0] == f"{made.python}\n"
        assert facts["state"] == "lost"
        assert "the earlier one of this name was in another environment" in texts[-1]
        await caller.call("restart_session")
        texts, _ = await caller.run("run_code", code=WHERE, restart=True)
        assert texts[0] == f"{made.python}\n"
        assert made.version in await caller.text("list_sessions")


class TestRefusals:
    async def test_an_unknown_name(self, caller: Caller) -> None:
        words = await caller.refusal("run_code", code="1", environment="conda:nowhere")
        assert "nowhere" in words

    async def test_a_folder_that_is_no_prefix(self, caller: Caller, projects: Path) -> None:
        (projects / "data").mkdir()
        words = await caller.refusal("run_code", code="1", environment=str(projects / "data"))
        assert "data" in words

    async def test_an_empty_name_and_a_nul(self, caller: Caller) -> None:
        for name in ("", " ", "a\0b", "\n"):
            await caller.refusal("run_code", code="1", environment=name)

    async def test_one_without_ipykernel(self, caller: Caller, tmp_path: Path) -> None:
        """With the exact command; it can be used as soon as that was done."""
        bare = make(tmp_path / "bare", 12)
        result = await caller.call("run_code", code="1", environment=str(bare.prefix))
        (block,) = result.content
        assert "has no ipykernel" in block.text
        assert "pip install" in block.text and bare.python in block.text
        assert "default" not in await caller.text("list_sessions")

    async def test_a_broken_kernelspec(self, caller: Caller, install: Install) -> None:
        install("broken", [])
        words = await caller.refusal("run_code", code="1", environment="kernelspec:broken")
        assert "broken" in words

    async def test_one_that_is_removed_while_a_session_lives_there(
        self, caller: Caller, tmp_path: Path
    ) -> None:
        made = make(tmp_path / "gone", 12, 7)
        await caller.run("run_code", code="kept = 1", environment=str(made.prefix))
        shutil.rmtree(made.prefix)
        texts, _ = await caller.run("run_code", code="kept")
        assert texts[0] == "1\n"
        words = await caller.refusal("run_code", code="1", restart=True)
        assert made.python in words
        texts, _ = await caller.run("run_code", code=WHERE, environment=server_python())
        assert texts[0] == f"{server_python()}\n"


class TestNotebooks:
    async def test_the_call_wins_over_the_kernelspec(
        self, caller: Caller, projects: Path, made: Made, install: Install
    ) -> None:
        """And the notebook's session stays where it was asked to be."""
        install("mine", [server_python(), "-m", "ipykernel_launcher", "-f", "{connection_file}"])
        spec = {"name": "mine", "language": "python", "display_name": "Mine"}
        content = file_of({"source": WHERE}, metadata={"kernelspec": spec})
        (projects / "n.ipynb").write_bytes(content)
        _, facts = await caller.run("run_notebook", file_name="n.ipynb")
        assert facts["environment"]["name"] == "kernelspec:mine"
        assert facts["environment"]["by"] == "its kernelspec"
        texts, facts = await caller.run(
            "run_notebook", file_name="n.ipynb", environment=str(made.prefix)
        )
        assert made.python in texts[0]
        texts, facts = await caller.run("run_notebook", file_name="n.ipynb")
        assert made.python in texts[0]
        assert facts["environment"]["python"] == made.python

    async def test_one_of_another_language_is_refused(
        self, caller: Caller, projects: Path, install: Install
    ) -> None:
        install("ir", ["R", "{connection_file}"], "R")
        (projects / "n.ipynb").write_bytes(file_of({"source": "1"}))
        words = await caller.refusal(
            "run_notebook", file_name="n.ipynb", environment="kernelspec:ir"
        )
        assert "written in python, but kernelspec:ir runs r" in words


class TestTheList:
    async def test_names_all_with_what_they_can_do(
        self, caller: Caller, projects: Path, tmp_path: Path, install: Install
    ) -> None:
        make(projects / ".venv", 12)
        install("ir", ["R", "{connection_file}"], "R")
        text = await caller.text("list_environments")
        first, *lines = text.splitlines()
        assert first.startswith("Sessions run in Python 3.")
        assert server_python() in first
        (own,) = [line for line in lines if line.startswith("venv:.venv: ")]
        assert " · no ipykernel: runs no sessions yet · " in own
        assert any(line.startswith("kernelspec:ir: Ir · R") for line in lines)


class TestWhatIsRemembered:
    def test_the_second_look_is_at_a_few_files(self, settings: Settings, made: Made) -> None:
        environments = Environments(settings)
        first = environments.choose(str(made.prefix))
        assert environments.choose(str(made.prefix)) is first

    def test_what_has_changed_is_looked_at_anew(self, settings: Settings, tmp_path: Path) -> None:
        made = make(tmp_path / "changes", 12, 7)
        environments = Environments(settings)
        first = environments.choose(str(made.prefix))
        with (made.prefix / "pyvenv.cfg").open("a") as file:
            file.write("# changed\n")
        assert environments.choose(str(made.prefix)) is not first


async def test_a_default_of_the_projects_directory(projects: Path, tmp_path: Path) -> None:
    """Its sessions are there, and say why; activated, forked from a template, from the pool."""
    made = make(projects / ".venv", 12, 7)
    (projects / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (projects / ".python-version").write_text("3.12\n")
    settings = load({"PYTHON_PROJECTS_DIR": str(projects), "RMI_STATE_DIR": str(tmp_path)})
    assert settings.python == made.python
    assert settings.default is not None and settings.default.kernelspec is not None
    plain = kernel_environment()
    env = settings.default.kernelspec.environment(plain)
    spec = LocalSpec(settings.python, str(projects), env, plain=plain)
    async with (
        Registry(LocalBackend(spec), Limits(), usual=settings.default) as registry,
        Client(build_server(settings, registry)) as client,
    ):
        caller = Caller(client)
        code = WHERE + "; import os; print(os.environ['VIRTUAL_ENV'])"
        texts, facts = await caller.run("run_code", code=code)
        assert texts[0] == f"{made.python}\n{made.prefix}\n"
        assert facts["environment"]["by"] == "pyproject.toml"
        assert texts[-1].endswith(f"Python {made.version} (venv:.venv) by pyproject.toml]")
        texts, _ = await caller.run(
            "run_code", code=WHERE, session="other", environment=server_python()
        )
        assert texts[0] == f"{server_python()}\n"
        assert "by pyproject.toml" in await caller.text("list_sessions")
        assert "by pyproject.toml" in await caller.text("list_environments")
