"""The memory that is left, of the machine and of a control group."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kernels import memory
from tests.conftest import ROOT
from tests.kernels.groups import Group, group_of

MEGABYTE = 1 << 20


def test_without_a_limit_it_is_the_machines() -> None:
    available, total = memory.left()
    assert 0 < available <= total <= psutil.virtual_memory().total


@pytest.fixture
def group() -> Iterator[Group]:
    limits = ("memory.limit_in_bytes", "memory.max")
    with group_of("memory", dict.fromkeys(limits, 300 * MEGABYTE)) as group:
        yield group


def test_the_limit_of_a_control_group_is_seen(group: Group) -> None:
    """Once with nothing, and once with 100 MiB taken."""
    program = """
import os, pathlib, sys
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
from kernels import memory
before = memory.left()
taken = b"x" * (100 << 20)
print(*before, *memory.left())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(group.processes)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    before, limit, after, same = map(int, done.stdout.split())
    assert limit == same == 300 * MEGABYTE
    assert 200 * MEGABYTE < before <= limit
    assert 99 * MEGABYTE < before - after < 120 * MEGABYTE


def _tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_version_2_counts_every_level_that_has_a_limit(tmp_path: Path) -> None:
    """The layout is the documented one; what a file cache takes can be had back."""
    _tree(
        tmp_path,
        {
            "a/memory.max": "1000\n",
            "a/memory.current": "700\n",
            "a/memory.stat": "anon 500\ninactive_file 200\n",
            "a/b/memory.max": "max\n",
            "a/b/memory.current": "600\n",
            "a/b/memory.stat": "anon 500\ninactive_file 100\n",
            "a/b/c/memory.max": "900\n",
            "a/b/c/memory.current": "600\n",
            "a/b/c/memory.stat": "anon 500\ninactive_file 100\n",
        },
    )
    assert memory._of_groups("0::/a/b/c\n", tmp_path) == [(400, 900), (500, 1000)]


def test_a_container_finds_its_own_limit_at_the_top(tmp_path: Path) -> None:
    """With version 1 the path that a process is told can be the host's."""
    _tree(
        tmp_path,
        {
            "memory/memory.limit_in_bytes": "1000",
            "memory/memory.usage_in_bytes": "990",
            "memory/memory.stat": "cache 30\ntotal_inactive_file 20",
        },
    )
    membership = "4:memory:/docker/0123\n3:cpu:/docker/0123\n0::/docker/0123\n"
    assert memory._of_groups(membership, tmp_path) == [(30, 1000)]


def test_files_that_cannot_be_understood_are_no_limit(tmp_path: Path) -> None:
    _tree(tmp_path, {"memory.max": "much", "memory.current": "1", "memory.stat": "x"})
    assert memory._of_groups("0::/\n", tmp_path) == []
