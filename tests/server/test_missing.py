"""What a run that ended for want of a module is told, and when nothing is said."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kernels.environments.known import FORMER, OTHERWISE, distribution_of
from kernels.result import RunResult, Status
from server.missing import advice, explained, missing_module


def error(value: str, name: str = "ModuleNotFoundError") -> dict[str, str]:
    return {"name": name, "value": value}


@pytest.mark.parametrize(
    ("found", "module"),
    [
        (error("No module named 'cv2'"), "cv2"),
        (error("No module named 'größe'"), "größe"),
        # A part of a package that is there, and what is no package.
        (error("No module named 'sklearn.nothing'"), ""),
        (error("No module named 'json.x'; 'json' is not a package"), ""),
        (error("No module named 'json'; 'json' is not a package"), ""),
        # A program's own words.
        (error("please install cv2"), ""),
        (error("No module named 'a b'"), ""),
        (error("No module named '../x'"), ""),
        (error("No module named 'cv2'", "ImportError"), ""),
        (error("None of [1]", "KeyError"), ""),
        (None, ""),
    ],
)
def test_only_a_missing_top_level_module_counts(found: dict[str, str] | None, module: str) -> None:
    assert missing_module(found) == module


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("cv2", "opencv-python"),
        ("sklearn", "scikit-learn"),
        ("PIL", "pillow"),
        ("yaml", "PyYAML"),
        ("bs4", "beautifulsoup4"),
        ("numpy", "numpy"),
        ("opt_einsum", "opt-einsum"),
    ],
)
def test_the_package_is_named_where_it_is_known(projects: Path, module: str, package: str) -> None:
    assert distribution_of(module) == package
    assert advice(module, "default", projects, installs=True) == (
        f"The module {module} belongs to the package {package}; install it with "
        f"install_packages(packages=['{package}'])."
    )
    assert "session='a b'" in advice(module, "a b", projects, installs=True)


def test_the_tool_is_not_named_where_it_is_off(projects: Path) -> None:
    words = advice("cv2", "default", projects, installs=False)
    assert "opencv-python" in words and "install_packages" not in words
    assert advice("unheard_of", "default", projects, installs=False) == ""


def test_nothing_is_guessed_of_an_unknown_module(projects: Path) -> None:
    words = advice("unheard_of", "default", projects, installs=True)
    assert words.count("unheard_of") == 1 and "install_packages" in words


@pytest.mark.parametrize(
    "module", ["_tkinter", "tkinter", "winreg", "_curses", "imp", "distutils", "asyncore", "cgi"]
)
def test_nothing_is_said_of_the_standard_library_of_any_platform_and_version(
    projects: Path, module: str
) -> None:
    """Such a module is missing because Python was built without it, or has it no more."""
    assert advice(module, "default", projects, installs=True) == ""


@pytest.mark.parametrize("file", ["helpers.py", "lib/helpers.py", "src/helpers/__init__.py"])
def test_nothing_is_said_of_the_users_own_modules(projects: Path, file: str) -> None:
    """Then a path is wrong, and no package is missing."""
    (projects / file).parent.mkdir(parents=True, exist_ok=True)
    (projects / file).touch()
    assert advice("helpers", "default", projects, installs=True) == ""


@pytest.mark.parametrize("file", ["venv/lib/site-packages/cv2/x.py", ".git/cv2.py"])
def test_what_an_environment_in_the_projects_directory_has_is_not_the_users_own(
    projects: Path, file: str
) -> None:
    (projects / file).parent.mkdir(parents=True)
    (projects / file).touch()
    (projects / "venv").mkdir(exist_ok=True)
    (projects / "venv" / "pyvenv.cfg").touch()
    assert "opencv-python" in advice("cv2", "default", projects, installs=True)


def test_what_a_result_explains_already_stays(projects: Path) -> None:
    found = error("No module named 'cv2'")
    result = RunResult("1", "s", Status.ERROR, error=found)
    assert "opencv-python" in explained(result, projects, True).explanation
    said = RunResult("1", "s", Status.ERROR, error=found, explanation="It was stopped.")
    assert explained(said, projects, True) is said
    fine = RunResult("1", "s", Status.OK)
    assert explained(fine, projects, True) is fine


def test_no_module_of_the_table_is_pythons() -> None:
    assert not OTHERWISE.keys() & (sys.stdlib_module_names | FORMER)
