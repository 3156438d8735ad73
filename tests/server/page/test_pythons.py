"""Which Python of which environment it is, in words."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from server.page.pythons import Description, describe


def test_the_own_one() -> None:
    assert describe(sys.executable).python == f"Python {platform.python_version()}"


def made(prefix: Path, name: str = "python") -> str:
    """An interpreter there, as far as files go."""
    file = prefix / "bin" / name
    file.parent.mkdir(parents=True)
    file.touch()
    return str(file)


@pytest.mark.parametrize(
    ("folder", "name"), [("work/.venv", "work"), ("work/venv", "work"), ("envs/plots", "plots")]
)
def test_a_venv_is_called_after_its_folder_or_that_of_the_work(
    tmp_path: Path, folder: str, name: str
) -> None:
    python = made(tmp_path / folder)
    (tmp_path / folder / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.12.4\n")
    assert describe(python) == Description("Python 3.12.4", f"venv {name}")


def test_uvs_venvs_say_their_version_otherwise(tmp_path: Path) -> None:
    python = made(tmp_path / "here")
    (tmp_path / "here" / "pyvenv.cfg").write_text("uv = 0.9\nversion_info = 3.13.1\n")
    assert describe(python).python == "Python 3.13.1"


def test_condas(tmp_path: Path) -> None:
    base, other = tmp_path / "miniforge3", tmp_path / "miniforge3" / "envs" / "ds"
    pythons = [made(prefix) for prefix in (base, other)]
    for prefix in (base, other):
        (prefix / "conda-meta").mkdir()
        (prefix / "conda-meta" / "python-3.11.9-h1_0_cpython.json").touch()
    assert list(map(describe, pythons)) == [
        Description("Python 3.11.9", "conda base"),
        Description("Python 3.11.9", "conda ds"),
    ]


def test_a_plain_one_says_what_its_name_does(tmp_path: Path) -> None:
    versioned = made(tmp_path, "python3.12")
    link = tmp_path / "bin" / "python3"
    link.symlink_to(versioned)
    assert describe(str(link)) == Description("Python 3.12", "")
    assert describe(str(tmp_path / "none" / "bin" / "perl")) == Description("Python", "")
