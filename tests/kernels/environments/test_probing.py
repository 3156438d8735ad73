"""Why a Python is of no use, as it shows when it is run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import signal
import struct
import sys
from pathlib import Path

import pytest

from kernels.environments.probing import Facts, Trouble, probe
from tests.kernels.environments.conftest import VERSIONS, ends, real_python


def trouble(python: Path | str, limit: float = 30.0) -> Trouble:
    found = probe(str(python), os.environ, limit)
    assert isinstance(found, Trouble)
    return found


def program(path: Path, text: str) -> Path:
    """A script of sh in the place of an interpreter."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_own_one_says_what_it_is() -> None:
    facts = probe(sys.executable, os.environ)
    assert isinstance(facts, Facts)
    assert (facts.version, facts.prefix) == (platform.python_version(), sys.prefix)
    assert facts.ipykernel == importlib.metadata.version("ipykernel")
    assert facts.seconds > 0


@pytest.mark.parametrize("minor", VERSIONS)
def test_every_python_that_kernels_can_be_of(minor: str) -> None:
    """Whatever the environment variables of this one would have it believe."""
    environ = dict(os.environ) | {"PYTHONHOME": sys.base_prefix}
    facts = probe(str(real_python(minor)), environ, 30)
    assert isinstance(facts, Facts)
    assert facts.version.startswith(f"{minor}.")


@pytest.mark.parametrize("minor", ["2.7", "3.6", "3.7"])
def test_older_ones_are_told_as_such(minor: str) -> None:
    words = trouble(real_python(minor)).sentence
    assert f"is Python {minor}." in words and "kernels need 3.8 or newer" in words


def test_modules_of_the_folder_do_not_mislead_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert isinstance(probe(sys.executable, os.environ), Facts)


def test_what_is_not_there(tmp_path: Path) -> None:
    assert trouble(tmp_path / "python").sentence.startswith("There is no interpreter ")
    assert "is a folder, not an interpreter" in trouble(tmp_path).sentence
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    words = trouble(tmp_path / "link").sentence
    assert f"is a link to {tmp_path}/gone, which is not there" in words


def test_what_may_not_be_executed(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("")
    assert "may not be executed. Allow it (chmod +x)" in trouble(tmp_path / "python").sentence


def test_one_of_another_architecture(tmp_path: Path) -> None:
    """A header of ELF that names a machine which is not this one."""
    file = tmp_path / "python"
    # 64 bits, little endian, executable; 0x15: PowerPC.
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQ", 2, 0x15, 1, 0x400000)
    file.write_bytes(header + bytes(200))
    file.chmod(0o755)
    assert "is no program for this machine: it is of another architecture" in trouble(file).sentence


def test_one_whose_loader_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "python"
    file.write_text("#!/not/there/sh\n")
    file.chmod(0o755)
    assert "is there, but not what it needs to start" in trouble(file).sentence


def test_one_that_hangs_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    file = program(
        tmp_path / "python",
        f"sleep 1000 & echo $! > {tmp_path}/pid; echo 'loading licence...' >&2; wait",
    )
    found = trouble(file, limit=5)
    assert found.sentence.startswith(f"{file} did not answer within 5 s, so it was ended.")
    assert "The last that it said: loading licence." in found.sentence
    assert ends(tmp_path / "pid")


def test_nobody_waits_for_what_it_leaves_behind(tmp_path: Path) -> None:
    """Though that has its output open: it lives still when the answer is there."""
    left = f"sleep 1000 & echo $! > {tmp_path}/pid"
    file = program(tmp_path / "python", f"{left}\nexec '{sys.executable}' \"$@\"")
    facts = probe(str(file), os.environ, 60)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert isinstance(facts, Facts)


def test_one_that_dies_is_told_with_its_last_lines(tmp_path: Path) -> None:
    found = trouble(program(tmp_path / "python", "echo one >&2; echo 'no libssl.' >&2; exit 4"))
    assert "ended with status 4 when it was asked" in found.sentence
    assert "The last that it said: no libssl. " in found.sentence
    assert found.detail == "one\nno libssl.\n"
    assert "was ended by SIGSEGV" in trouble(program(tmp_path / "p", "kill -SEGV $$")).sentence


def test_megabytes_of_words_are_cut(tmp_path: Path) -> None:
    file = program(tmp_path / "python", "head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1")
    found = trouble(file)
    assert len(found.detail) <= 2000 and len(found.sentence) < 1000


@pytest.mark.parametrize("text", ["", "echo hello", "echo 'rmi-agent-facts:nonsense'"])
def test_what_answers_as_no_python_does(tmp_path: Path, text: str) -> None:
    assert "does not answer as a Python does" in trouble(program(tmp_path / "p", text)).sentence


def test_words_at_the_start_do_not_hide_the_answer(tmp_path: Path) -> None:
    """Of a sitecustomize, say."""
    file = program(tmp_path / "python", f"echo welcome; exec '{sys.executable}' \"$@\"")
    assert isinstance(probe(str(file), os.environ), Facts)
