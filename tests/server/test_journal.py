"""The file behind the audit log: whole lines, rotated, shared by servers, on any disk."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from server.journal import OLD, Journal
from tests.conftest import ROOT


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def all_lines(path: Path) -> list[bytes]:
    """The lines of a journal and its old files, oldest first."""
    files = [path.with_name(f"{path.name}.{number}") for number in range(OLD, 0, -1)]
    return [line for file in (*files, path) if file.exists() for line in file.read_bytes().split()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit.jsonl"


def test_a_line_is_there_at_once(path: Path) -> None:
    journal = Journal(path)
    journal.write(b"one")
    assert path.read_bytes() == b"one\n"
    journal.write(b"two")
    assert path.read_bytes() == b"one\ntwo\n"
    journal.close()


def test_what_was_there_stays(path: Path) -> None:
    for line in (b"one", b"two"):
        journal = Journal(path)
        journal.write(line)
        journal.close()
    assert path.read_bytes() == b"one\ntwo\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such modes")
def test_file_and_folder_are_for_their_owner_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        journal = Journal(path, large=3)
        for _ in range(3):
            journal.write(b"line")
    finally:
        os.umask(before)
    assert mode(path.parent) == 0o700
    assert {mode(file) for file in path.parent.iterdir()} == {0o600}
    journal.close()


def test_a_large_one_is_rotated_and_five_old_ones_stay(path: Path) -> None:
    journal = Journal(path, large=10)
    for number in range(40):
        journal.write(b"line%06d" % number)
    journal.close()
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["audit.jsonl", *(f"audit.jsonl.{number}" for number in range(1, OLD + 1))]
    assert all_lines(path) == [b"line%06d" % number for number in range(34, 40)]
    journal.write(b"next")
    assert path.read_bytes() == b"next\n"
    journal.close()


def test_a_file_that_was_taken_away_is_made_anew(path: Path) -> None:
    journal = Journal(path)
    journal.write(b"one")
    path.rename(path.with_name("elsewhere"))
    journal.write(b"two")
    assert path.read_bytes() == b"two\n"
    journal.close()


def test_a_descriptor_is_not_lost_by_rotating(path: Path) -> None:
    journal = Journal(path, large=1)
    journal.write(b"a")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(20):
        journal.write(b"a")
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before
    journal.close()


@pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be moved there")
def test_several_servers_share_it_and_no_line_is_lost_or_torn(path: Path) -> None:
    """All rotate the same file; five old ones have room for all that is written."""
    code = (
        "import sys, pathlib; from server.journal import Journal\n"
        "journal = Journal(pathlib.Path(sys.argv[1]), large=40_000)\n"
        "sys.stdin.readline()\n"
        "for number in range(500):\n"
        "    journal.write(f'{sys.argv[2]}-{number}-'.encode() + b'x' * (number % 120))\n"
    )
    servers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), name], cwd=ROOT, stdin=subprocess.PIPE
        )
        for name in "abcd"
    ]
    for server in servers:
        assert server.stdin is not None
        server.stdin.write(b"\n")
        server.stdin.close()
    assert [server.wait(60) for server in servers] == [0] * 4
    found = all_lines(path)
    assert sorted(found) == sorted(
        f"{name}-{number}-".encode() + b"x" * (number % 120)
        for name in "abcd"
        for number in range(500)
    )
    assert path.with_name("audit.jsonl.1").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_a_disk_that_fills_up_in_the_middle_of_a_line(path: Path) -> None:
    """The line is torn, which is an error; the next one stands by itself."""
    code = (
        "import sys, pathlib, resource; from server.journal import Journal\n"
        "journal = Journal(pathlib.Path(sys.argv[1]))\n"
        "journal.write(b'one')\n"
        "_, most = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (7, most))\n"
        "for _ in range(2):\n"
        "    try: journal.write(b'torn line')\n"
        "    except OSError: print('refused')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))\n"
        "journal.write(b'two')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, timeout=60
    )
    assert (done.stdout.split(), done.stderr) == ([b"refused", b"refused"], b"")
    assert path.read_bytes() == b"one\ntor\ntwo\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such files")
def test_what_is_no_regular_file_is_refused_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path(os.devnull), tmp_path / "pipe" / "below"):
        with pytest.raises(OSError):
            Journal(path)
