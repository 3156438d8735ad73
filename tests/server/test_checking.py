"""`--check`: wrong values, and names that only look like settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from server import values
from server.checking import check
from server.values import SettingError
from tests.conftest import ROOT


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(values, "checkout", lambda: None)
    monkeypatch.chdir(tmp_path)
    return {"PYTHON_PROJECTS_DIR": str(tmp_path / "projects"), "HOME": str(tmp_path)}


def test_every_setting_of_the_template_is_one(environ: dict[str, str]) -> None:
    template = (ROOT / ".env.example").read_text(encoding="utf-8")
    lines = [line.lstrip("# ").partition("=")[0] for line in template.splitlines() if "=" in line]
    names = [name for name in lines if name.startswith(("RMI_", "PYTHON_"))]
    assert len(names) > 10
    check({**dict.fromkeys(names, ""), **environ})


@pytest.mark.parametrize(
    "name", ["PATH", "RMI_TOKEN", "RMI_OAUTH_URL", "PYTHONPATH", "PYTHON_GIL", "PYTHON_COLORS", "X"]
)
def test_what_others_read_is_let_through(environ: dict[str, str], name: str) -> None:
    check({**environ, name: ""})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("RMI_TIMEOUT", "There is no setting RMI_TIMEOUT; RMI_ON_TIMEOUT is one."),
        ("PYTHON_PROJECT_DIR", "; PYTHON_PROJECTS_DIR is one."),
        ("Python_Timeout", "There is no setting Python_Timeout; PYTHON_TIMEOUT is one."),
        ("RMI_COLOUR", "There is no setting RMI_COLOUR."),
    ],
)
def test_a_name_that_is_none_is_told_with_the_nearest(
    environ: dict[str, str], name: str, said: str
) -> None:
    with pytest.raises(SettingError) as caught:
        check({**environ, name: "1"})
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize(
    ("name", "value"), [("PYTHON_TIMEOUT", "0"), ("RMI_PAGE", "x"), ("RMI_PORT", "x")]
)
def test_a_wrong_value_is_told(environ: dict[str, str], name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"{name} is '{value}'"):
        check({**environ, name: value})


@pytest.mark.parametrize(
    ("words", "setting", "code", "said"),
    [
        (["--check"], "1", 0, ""),
        (["--page", "0", "--check"], "1", 0, ""),
        (["--page", "x", "--check"], "1", 2, "--page is 'x'; it must be"),
        (["--check"], "x", 2, "rmi-agent-mcp-server: RMI_POOL is 'x'; it must be a whole number"),
        (["--check", "--nonsense"], "1", 2, "unknown argument '--nonsense'"),
    ],
)
def test_the_process_checks_and_ends(
    tmp_path: Path, words: list[str], setting: str, code: int, said: str
) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RMI_", "PYTHON_"))}
    done = subprocess.run(
        [sys.executable, str(ROOT / "server" / "mcp_server.py"), *words],
        cwd="/",
        env={**kept, "PYTHON_PROJECTS_DIR": str(tmp_path), "RMI_POOL": setting},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == (1 if code else 0)
