"""A home with environments in it, made as the tools make them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kernels.environments.environment import Environment
from kernels.environments.finding import find_all

#: The Pythons that kernels can be of.
VERSIONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


@dataclass
class Machine:
    """A user's home, a projects directory in it, and the environment variables of a server."""

    home: Path
    projects: Path
    environ: dict[str, str] = field(default_factory=dict)

    def conda(
        self,
        prefix: Path,
        version: str = "3.11.9",
        ipykernel: str = "7.0.1",
        state: Mapping[str, Any] | None = None,
        scripts: Mapping[str, str] | None = None,
        undo: Mapping[str, str] | None = None,
    ) -> Path:
        """A prefix laid out as conda does. `state`: variables of `conda env config vars set`;
        `scripts`, `undo`: of activate.d and deactivate.d."""
        meta = prefix / "conda-meta"
        meta.mkdir(parents=True)
        (meta / "history").touch()
        minor = ".".join(version.split(".")[:2])
        for package in (f"python-{version}-h955ad1f_0", "python-dateutil-2.9.0-pyhd8ed1ab_0"):
            (meta / f"{package}.json").write_text(json.dumps({"name": package}))
        if state is not None:
            (meta / "state").write_text(json.dumps({"version": 1, "env_vars": state}))
        python_in(prefix, minor)
        with_package(prefix, minor, "ipykernel", ipykernel)
        for folder, texts in (("activate.d", scripts), ("deactivate.d", undo)):
            for name, text in (texts or {}).items():
                file = prefix / "etc" / "conda" / folder / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        return prefix

    def venv(self, prefix: Path, ipykernel: str = "7.0.1") -> Path:
        """A real one, of the Python of these tests."""
        make_venv(Path(os.path.realpath(sys.executable)), prefix)
        with_package(prefix, own_minor(), "ipykernel", ipykernel)
        return prefix

    def pyenv(self, version: str, ipykernel: str = "7.0.1") -> Path:
        """A version laid out as pyenv does."""
        prefix = self.home / ".pyenv" / "versions" / version
        minor = ".".join(version.split(".")[:2])
        python_in(prefix, minor)
        (prefix / "lib" / f"python{minor}" / "os.py").touch()
        with_package(prefix, minor, "ipykernel", ipykernel)
        return prefix

    def found(self) -> list[Environment]:
        """What is found of it: not what else there is on this machine."""
        return [
            environment
            for environment in find_all(self.projects, self.environ)
            if environment.prefix and environment.prefix.is_relative_to(self.home.parent)
        ]

    def names(self) -> list[str]:
        """Their names."""
        return [environment.name for environment in self.found()]


def own_minor() -> str:
    """Of the Python of these tests: "3.11"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def python_in(prefix: Path, minor: str) -> Path:
    """An interpreter where a prefix has it, and its library's folder."""
    file = prefix / "bin" / f"python{minor}"
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/sh", file)
    (prefix / "bin" / "python").symlink_to(file.name)
    (prefix / "lib" / f"python{minor}" / "site-packages").mkdir(parents=True)
    return prefix / "bin" / "python"


def with_package(prefix: Path, minor: str, name: str, version: str) -> None:
    """The record that an installer leaves; no version: nothing."""
    if version:
        site = prefix / "lib" / f"python{minor}" / "site-packages"
        (site / f"{name}-{version}.dist-info").mkdir()


def make_venv(python: Path, prefix: Path, *options: str) -> None:
    """By the interpreter's own venv module, with links and without pip."""
    command = [python, "-I", "-m", "venv", "--without-pip", "--symlinks", *options, prefix]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def real_python(minor: str) -> Path:
    """An interpreter of this machine; skips where there is none."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [*(root / "versions").glob(f"{minor}.*/bin/python")]
    found += [Path("/usr/local/bin", f"python{minor}"), Path("/usr/bin", f"python{minor}")]
    for path in found:
        if path.exists():
            return path
    pytest.skip(f"there is no Python {minor} on this machine")


def ends(pid_file: Path) -> bool:
    """Whether the process of this number ends, or has: a signal takes its time."""
    stat = Path("/proc", pid_file.read_text().strip(), "stat")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            state = stat.read_text().rsplit(")")[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, who may read everything, if the tests run with them."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """An empty one."""
    home, projects = tmp_path / "home", tmp_path / "work" / "projects"
    home.mkdir()
    projects.mkdir(parents=True)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    # Nothing of the user who runs the tests.
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    path = os.pathsep.join(["/usr/local/bin", "/usr/bin", "/bin"])
    return Machine(home, projects, {"HOME": str(home), "PATH": path})


Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, machine: Machine) -> Install:
    """`install("name", argv=[...], ...)` puts a kernelspec where Jupyter looks first."""

    def install(name: str, text: str | None = None, **facts: Any) -> Path:
        file = tmp_path / "jupyter" / "kernels" / name / "kernel.json"
        file.parent.mkdir(parents=True)
        facts = {"display_name": name, "language": "echo", **facts}
        file.write_text(json.dumps(facts) if text is None else text)
        return file

    return install
