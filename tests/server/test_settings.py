"""Settings: defaults, where they come from, and one clear line for each wrong value."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from client.agent.models import PROVIDERS
from server import values
from server.remote import http_settings
from server.remote.http_settings import HttpSettings
from server.settings import Settings, load
from server.values import SettingError
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as the checkout, without a `.env` file."""
    path = (tmp_path / "checkout").resolve()
    path.mkdir()
    (path / "pyproject.toml").touch()
    monkeypatch.setattr(values, "ROOT", path)
    return path


def test_defaults(checkout: Path) -> None:
    assert load({}) == Settings(
        projects_dir=checkout / "python_projects",
        timeout=30,
        max_timeout=3600,
        keep_after_timeout=False,
        grace=2,
        max_sessions=16,
        idle_timeout=3600,
        python=os.path.abspath(sys.executable),
        pool=1,
        preload=(),
        state_dir=Path.home() / ".local" / "state" / "rmi-agent-mcp-server",
        log_level=None,
        audit_log=None,
        page=None,
    )


def test_every_setting(tmp_path: Path, checkout: Path) -> None:
    given = {
        "PYTHON_PROJECTS_DIR": str(tmp_path / "p"),
        "PYTHON_TIMEOUT": "1.5",
        "RMI_MAX_TIMEOUT": " 60 ",
        "RMI_ON_TIMEOUT": "interrupt",
        "RMI_GRACE": "1e-1",
        "RMI_MAX_SESSIONS": "3",
        "RMI_IDLE_TIMEOUT": "7",
        "RMI_PYTHON": sys.executable,
        "RMI_POOL": "0",
        "RMI_PRELOAD": "numpy, matplotlib.pyplot",
        "RMI_STATE_DIR": str(tmp_path / "s"),
        "RMI_LOG_LEVEL": "debug",
        "RMI_AUDIT_LOG": "off",
        "RMI_PAGE": "8766",
        "RMI_ALLOW_INSTALL": "on",
        "RMI_CHECKPOINT": "off",
    }
    assert load(given) == Settings(
        projects_dir=(tmp_path / "p").resolve(),
        timeout=1.5,
        max_timeout=60,
        keep_after_timeout=True,
        grace=0.1,
        max_sessions=3,
        idle_timeout=7,
        python=os.path.abspath(sys.executable),
        pool=0,
        preload=("numpy", "matplotlib.pyplot"),
        state_dir=tmp_path / "s",
        log_level="debug",
        audit_log="off",
        page=8766,
        allow_install=True,
        checkpoints=False,
    )
    assert load(dict.fromkeys(given, "")) == load({}), "empty is as if it were not there"


SECONDS = ["soon", "0", "-1", "nan", "inf", "1e400", "-inf", "30s", "1,5", "true", "1e9"]
COUNTS = ["many", "0", "-1", "1.5", "1e3", "٣", "10001", "nan", "0x10"]
WRONG = [
    *((name, value) for name in ("PYTHON_TIMEOUT", "RMI_MAX_TIMEOUT") for value in SECONDS),
    *((name, value) for name in ("RMI_GRACE", "RMI_IDLE_TIMEOUT") for value in SECONDS),
    *(("RMI_MAX_SESSIONS", value) for value in COUNTS),
    *(("RMI_PAGE", value) for value in ("no", "-1", "65536", "80.0")),
    *(("RMI_ALLOW_INSTALL", value) for value in ("yes", "On", "1")),
    *(("RMI_POOL", value) for value in ("many", "-1", "1.5", "101")),
    *(("RMI_PRELOAD", value) for value in ("numpy pandas", "numpy;pandas", "a..b", "x.py,-y")),
    *(("RMI_CHECKPOINT", value) for value in ("on", "Auto", "true")),
    *(("RMI_ON_TIMEOUT", value) for value in ("kill", "Restart", "1")),
    *(("RMI_LOG_LEVEL", value) for value in ("loud", "INFO", "3")),
    *(("RMI_PYTHON", value) for value in ("/no/python", "/etc/passwd", "/etc", "python\0")),
    *(
        ("PYTHON_PROJECTS_DIR", value)
        for value in ("/proc/x", "/etc/passwd/x", "a\0", "~nobody-x/p")
    ),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_one_line_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingError) as refusal:
        load({name: value})
    sentence = str(refusal.value)
    assert sentence.startswith(f"{name} is ")
    assert repr(value)[1:-1] in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_a_default_above_the_most_names_both() -> None:
    for given in ({"PYTHON_TIMEOUT": "4000"}, {"RMI_MAX_TIMEOUT": "20"}):
        with pytest.raises(SettingError, match=r"PYTHON_TIMEOUT is .*RMI_MAX_TIMEOUT"):
            load(given)
    assert load({"PYTHON_TIMEOUT": "4000", "RMI_MAX_TIMEOUT": "4000"}).timeout == 4000


class TestTheEnvFile:
    def test_it_is_the_checkouts(
        self, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / ".env").write_text("PYTHON_TIMEOUT=1\n")
        (checkout / ".env").write_text("# seconds\nPYTHON_TIMEOUT = '7'\nRMI_GRACE\nOTHER=x\n")
        assert load({}) == replace(load({"PYTHON_TIMEOUT": "7"}))

    def test_of_an_installed_package_it_is_the_working_directorys(
        self, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (checkout / "pyproject.toml").unlink()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / ".env").write_text("PYTHON_TIMEOUT=9\n")
        found = load({})
        assert found.timeout == 9
        assert found.projects_dir == (tmp_path / "python_projects").resolve()

    def test_the_environment_wins(self, checkout: Path) -> None:
        (checkout / ".env").write_text("PYTHON_TIMEOUT=7\nRMI_GRACE=3\n")
        found = load({"PYTHON_TIMEOUT": "8"})
        assert (found.timeout, found.grace) == (8, 3)

    def test_wrong_values_in_it_are_told_as_others(self, checkout: Path) -> None:
        (checkout / ".env").write_text("RMI_GRACE=soon\n")
        with pytest.raises(SettingError, match="RMI_GRACE is 'soon'"):
            load({})

    def test_one_that_is_no_text_is_one_line(self, checkout: Path) -> None:
        (checkout / ".env").write_bytes(b"\xff\xfe\0")
        with pytest.raises(SettingError, match=r"\.env cannot be read") as refusal:
            load({})
        assert "\n" not in str(refusal.value)


class TestTheProjectsDirectory:
    def test_it_is_made(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "folder"
        assert load({"PYTHON_PROJECTS_DIR": str(path)}).projects_dir == path.resolve()
        assert path.is_dir()

    def test_it_is_told_as_it_really_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("link", "~/link", str(tmp_path / "link"), "./x/../link"):
            if name.startswith("./x"):
                (tmp_path / "x").mkdir()
            found = load({"PYTHON_PROJECTS_DIR": name}).projects_dir
            assert found == (tmp_path / "real").resolve()

    def test_a_file_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(SettingError, match="PYTHON_PROJECTS_DIR"):
            load({"PYTHON_PROJECTS_DIR": str(tmp_path / "file")})


def test_a_python_may_be_named_by_its_environment() -> None:
    assert load({"RMI_PYTHON": sys.prefix}).python == os.path.join(sys.prefix, "bin", "python")


def test_env_example_lists_every_setting_with_its_default() -> None:
    """The variables that the settings' modules and the agent read, no more and no fewer; it changes
    nothing."""
    read = {"RMI_MODEL"}
    for provider in PROVIDERS.values():
        read |= {provider.keys[0], provider.address}
    for module in ("settings", "remote/http_settings", "remote/oauth"):
        tree = ast.parse((ROOT / "server" / f"{module}.py").read_text(encoding="utf-8"))
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        read |= {
            text
            for text in constants
            if isinstance(text, str) and re.fullmatch(r"(RMI|PYTHON)_[A-Z_]+", text)
        }
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    listed = dict(line[1:].split("=", 1) for line in lines if re.match(r"#[A-Z_]+=", line))
    assert set(listed) == read
    assert all(line.startswith("#") for line in lines if line)
    defaults = {name: value for name, value in listed.items() if not value.startswith("/path")}
    assert load(defaults) == load({})
    assert http_settings.load(defaults) == http_settings.load({})
    assert len(defaults) == len(listed) - 3


TOKEN = "x" * 32


def test_http_settings() -> None:
    assert http_settings.load({}) == HttpSettings(
        host="127.0.0.1",
        port=8000,
        tokens={},
        allowed_hosts=(),
        allowed_origins=(),
        token_calls=1200,
        token_runs=16,
        token_sessions=8,
        oauth=None,
    )
    given = {
        "RMI_HOST": "::1",
        "RMI_PORT": "0",
        "RMI_TOKENS": f" me:{TOKEN} ,,you.2:{TOKEN}:y",
        "RMI_ALLOWED_HOSTS": "A.example, *.ngrok.app",
        "RMI_ALLOWED_ORIGINS": "https://a.example,http://localhost:6274",
        "RMI_TOKEN_CALLS": "1",
        "RMI_TOKEN_RUNS": "2",
        "RMI_TOKEN_SESSIONS": "3",
    }
    found = http_settings.load(given)
    assert found == HttpSettings(
        host="::1",
        port=0,
        tokens={
            "me": hashlib.sha256(TOKEN.encode()).hexdigest(),
            "you.2": hashlib.sha256(f"{TOKEN}:y".encode()).hexdigest(),
        },
        allowed_hosts=("a.example", "*.ngrok.app"),
        allowed_origins=("https://a.example", "http://localhost:6274"),
        token_calls=1,
        token_runs=2,
        token_sessions=3,
        oauth=None,
    )
    assert "tokens" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("RMI_HOST", value) for value in ("http://x", "a b", "[::1]", "x/y", "1.2.3.4:80")),
        *(("RMI_PORT", value) for value in ("x", "-1", "65536", "8000.0")),
        *(("RMI_TOKENS", value) for value in ("me", f":{TOKEN}", f"a b:{TOKEN}", f"-a:{TOKEN}")),
        *(("RMI_TOKENS", value) for value in ("me:short", f"me:{TOKEN}\x01", f"me:{TOKEN}é")),
        ("RMI_TOKENS", f"me:{TOKEN},me:{TOKEN}"),
        *(("RMI_ALLOWED_HOSTS", value) for value in ("https://x", "x:80", "x/y", "*", "a.*")),
        *(("RMI_ALLOWED_ORIGINS", value) for value in ("x.example", "https://", "https://x/y")),
        *(("RMI_ALLOWED_ORIGINS", value) for value in ("*", "null", "https://a@x", "http://x:y")),
        *(("RMI_TOKEN_CALLS", value) for value in COUNTS if value != "10001"),
        *(("RMI_TOKEN_RUNS", value) for value in COUNTS),
        *(("RMI_TOKEN_SESSIONS", value) for value in COUNTS),
    ],
)
def test_a_wrong_http_setting_is_one_line_without_any_token(name: str, value: str) -> None:
    with pytest.raises(SettingError) as refusal:
        http_settings.load({name: value})
    sentence = str(refusal.value)
    assert sentence.startswith(name)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert TOKEN not in sentence
    assert "short" not in sentence


@pytest.mark.parametrize(("name", "value"), [("RMI_GRACE", "soon"), ("RMI_PYTHON", "/no")])
def test_the_server_ends_with_that_line_and_code_2(name: str, value: str, tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, str(ROOT / "server" / "mcp_server.py")],
        env={**os.environ, "PYTHON_PROJECTS_DIR": str(tmp_path), name: value},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (child.returncode, child.stdout) == (2, "")
    assert child.stderr.startswith(f"rmi-agent-mcp-server: {name} is ")
    assert child.stderr.count("\n") == 1
