"""The files that say what to install agree with each other and with what is installed."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = PROJECT["name"]
ROOMS = ["server", "kernels", "notebooks", "client"]


def is_installed() -> bool:
    try:
        metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return False
    return True


needs_install = pytest.mark.skipif(
    not is_installed(), reason="the project is not installed in this interpreter"
)


def lines_of(file_name: str) -> list[str]:
    """The lines of a requirements file that are not comments."""
    text = (ROOT / file_name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins_of(file_name: str) -> list[Requirement]:
    return [Requirement(line) for line in lines_of(file_name) if not line.startswith("-r ")]


def versions_here(pins: list[Requirement]) -> dict[str, str]:
    """Package name to pinned version, of the pins that hold on this platform."""
    here: dict[str, str] = {}
    for pin in pins:
        if pin.marker is None or pin.marker.evaluate():
            name = canonicalize_name(pin.name)
            assert name not in here, f"{name} is pinned twice"
            here[name] = str(pin.specifier).removeprefix("==")
    return here


def requirements_with(*extras: str) -> list[Requirement]:
    """What the project asks for itself, with these extras."""
    asked = list(PROJECT["dependencies"])
    for extra in extras:
        asked += PROJECT["optional-dependencies"][extra]
    return [Requirement(one) for one in asked]


def installed_closure(asked: list[Requirement]) -> dict[str, list[Requirement]]:
    """Everything that `asked` pulls in on this platform: package name to who asks for it, how."""
    closure: dict[str, list[Requirement]] = {}
    seen: set[tuple[str, str]] = set()
    queue = list(asked)
    while queue:
        one = queue.pop()
        name = canonicalize_name(one.name)
        closure.setdefault(name, []).append(one)
        for extra in ["", *sorted(one.extras)]:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in metadata.requires(name) or []:
                deeper = Requirement(text)
                if deeper.marker is None or deeper.marker.evaluate({"extra": extra}):
                    queue.append(deeper)
    return closure


PIN_FILES = ["requirements.txt", "requirements-llm.txt", "requirements-dev.txt"]
SETS = pytest.mark.parametrize(
    ("extras", "files"),
    [
        (("data",), PIN_FILES[:1]),
        (("data", "llm"), PIN_FILES[:2]),
        (("data", "llm", "dev"), PIN_FILES),
    ],
    ids=["plain", "llm", "dev"],
)


@pytest.mark.parametrize("file_name", PIN_FILES)
def test_requirements_hold_exact_pins_and_nothing_else(file_name: str) -> None:
    """No ranges, addresses, hashes or options, so that any index and mirror can serve them."""
    pins = [line for line in lines_of(file_name) if not line.startswith("-r ")]
    for line in pins:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; [^#@]+)?", line), line
    names = [line.partition("==")[0] for line in pins]
    assert names == sorted(names)


@pytest.mark.parametrize(("less", "more"), list(pairwise(PIN_FILES)))
def test_each_file_adds_to_the_one_before(less: str, more: str) -> None:
    assert [line for line in lines_of(more) if line.startswith("-")] == [f"-r {less}"]
    before = PIN_FILES[: PIN_FILES.index(more)]
    assert not {pin.name for pin in pins_of(more)} & {p.name for f in before for p in pins_of(f)}


@SETS
def test_pins_satisfy_pyproject(extras: tuple[str, ...], files: list[str]) -> None:
    pins = versions_here([pin for file_name in files for pin in pins_of(file_name)])
    for asked in requirements_with(*extras):
        assert canonicalize_name(asked.name) in pins, f"{asked.name} is not pinned"
        assert asked.specifier.contains(pins[canonicalize_name(asked.name)]), asked


@needs_install
@SETS
def test_pins_are_complete_and_none_is_left_over(extras: tuple[str, ...], files: list[str]) -> None:
    """The pins are what pyproject.toml pulls in, dependencies of dependencies included."""
    pins = versions_here([pin for file_name in files for pin in pins_of(file_name)])
    closure = installed_closure(requirements_with(*extras))
    assert set(pins) == set(closure)
    for name, askers in closure.items():
        for asked in askers:
            assert asked.specifier.contains(pins[name], prereleases=True), asked


def test_environment_yml_installs_the_same_pins_and_the_project() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == "rmi-agent"
    *from_conda, from_pip = environment["dependencies"]
    python, pip = (Requirement(one) for one in from_conda)
    assert (python.name, pip.name) == ("python", "pip")
    assert from_pip == {"pip": ["-r requirements.txt", "-e ."]}

    lower_bound = SpecifierSet(PROJECT["requires-python"])
    assert set(lower_bound) <= set(python.specifier)
    stated = {
        version
        for classifier in PROJECT["classifiers"]
        if (version := classifier.removeprefix("Programming Language :: Python :: "))[:2] == "3."
    }
    accepted = {f"3.{minor}" for minor in range(30) if python.specifier.contains(f"3.{minor}.0")}
    assert stated == accepted


@needs_install
@pytest.mark.parametrize("room", ROOMS)
def test_user_code_cannot_import_a_room_by_accident(room: str, tmp_path: Path) -> None:
    """Kernels run in this interpreter's environment, so what holds for a child holds for them."""
    # -I: a PYTHONPATH of the developer's proves nothing about the installation.
    child = subprocess.run(
        [sys.executable, "-I", "-c", f"import {room}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 1
    assert f"ModuleNotFoundError: No module named '{room}'" in child.stderr


@needs_install
def test_a_wheel_installs_one_top_level_package_with_the_rooms_inside(tmp_path: Path) -> None:
    # In this environment, which has hatchling: an isolated build would need the network.
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"rmi_agent_mcp_server"}
    assert "rmi_agent_mcp_server/__init__.py" in names
    besides = ["samples/hello_world.py", "server/page/static/index.html"]
    for inside in [*(f"{room}/__init__.py" for room in ROOMS), *besides]:
        assert f"rmi_agent_mcp_server/{inside}" in names
