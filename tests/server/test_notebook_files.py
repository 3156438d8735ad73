"""Notebook files: whole writes in the place of what was seen, and of nothing else."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import re
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest

from notebooks import reading
from notebooks.storage import Conflict, NotebookFile, Stamp, Unusable, digest
from server import beneath, notebook_files, temporaries
from server.beneath import Folder
from server.files import FileError, Projects
from server.notebook_files import NotebookFileError, ProjectNotebook
from tests.conftest import ROOT

OLD, NEW, THEIRS = b"old content", b"new content", b"what somebody else wrote"


@pytest.fixture(params=["in open folders", "without exchange", "by path"])
def files(
    projects: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Projects:
    """As on Linux, on other POSIX systems, and on Windows."""
    if request.param == "by path":
        monkeypatch.setattr(beneath, "_CAN_OPEN_IN", False)
        monkeypatch.setattr(temporaries, "fcntl", None)
    elif request.param == "without exchange":
        monkeypatch.setattr(beneath, "_renameat2", lambda: None)
    return Projects(projects)


@pytest.fixture
def linux(projects: Path) -> Projects:
    """Where names can be exchanged."""
    if sys.platform != "linux":
        pytest.skip("names cannot be exchanged here")
    return Projects(projects)


def made(
    files: Projects, name: str = "a.ipynb", content: bytes = OLD
) -> tuple[ProjectNotebook, Stamp]:
    """A file, and the stamp with which it was read."""
    (files.root / name).write_bytes(content)
    file = ProjectNotebook(files, name)
    return file, file.read()[1]


def names(files: Projects) -> list[str]:
    return sorted(os.listdir(files.root))


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """For a root that minds no modes."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def before(monkeypatch: pytest.MonkeyPatch, step: str, *actions: Callable[[], object]) -> None:
    """Have somebody else do something just before a `step` of a folder's; more before the next."""
    todo = [*actions]
    original = getattr(Folder, step)

    def acting(self: Folder, *args: Any) -> Any:
        if todo:
            todo.pop(0)()
        return original(self, *args)

    monkeypatch.setattr(Folder, step, acting)


class TestReadingAndWriting:
    def test_it_is_the_notebooks_rooms_file(self, files: Projects) -> None:
        file: NotebookFile = ProjectNotebook(files, "sub/../a.ipynb")
        assert (file.name, file.path) == ("a.ipynb", files.root / "a.ipynb")

    def test_what_is_written_is_read(self, files: Projects) -> None:
        file, seen = made(files)
        stamp = file.write(iter([NEW[:3], b"", NEW[3:]]), seen)
        assert file.read() == (NEW, stamp)
        assert file.stamp() == stamp != seen
        assert (stamp.size, stamp.inode) == (len(NEW), file.path.stat().st_ino)
        assert stamp.mtime_ns == file.path.stat().st_mtime_ns
        assert names(files) == ["a.ipynb"]

    def test_a_new_one_in_a_new_folder(self, files: Projects) -> None:
        file = ProjectNotebook(files, "x/y/new.ipynb")
        assert file.stamp() is None
        assert file.write([NEW], None) == file.stamp()
        assert file.path.read_bytes() == NEW
        assert os.listdir(file.path.parent) == ["new.ipynb"]

    def test_a_sibling_is_in_the_same_folder(self, files: Projects) -> None:
        file = ProjectNotebook(files, "x/a.ipynb").sibling("b (outputs of run 1).ipynb")
        assert file.name == os.path.join("x", "b (outputs of run 1).ipynb")

    def test_permissions_and_owner_stay(self, files: Projects) -> None:
        file, seen = made(files)
        file.path.chmod(0o640)
        if os.geteuid() == 0:
            os.chown(file.path, 1234, 4321)
        with contextlib.suppress(OSError):
            os.setxattr(file.path, "user.note", b"kept")
        old = file.path.stat()
        file.write([NEW], seen)
        new = file.path.stat()
        assert (new.st_mode, new.st_uid, new.st_gid) == (
            old.st_mode,
            old.st_uid,
            old.st_gid,
        )
        with contextlib.suppress(OSError):
            assert os.getxattr(file.path, "user.note") == b"kept"

    def test_where_the_group_cannot_stay_another_group_gets_no_more_than_everybody(
        self, files: Projects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(errno.EPERM, "not yours")

        file, seen = made(files)
        file.path.chmod(0o664)
        monkeypatch.setattr(os, "fchown", refuse)
        file.write([NEW], seen)
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o644

    def test_of_a_hard_link_the_other_name_keeps_the_old_content(self, files: Projects) -> None:
        file, seen = made(files)
        os.link(file.path, files.root / "backup.ipynb")
        file.write([NEW], seen)
        assert file.path.read_bytes() == NEW
        assert (files.root / "backup.ipynb").read_bytes() == OLD

    def test_a_folder_may_be_a_link_that_stays_inside(self, files: Projects) -> None:
        (files.root / "real").mkdir()
        (files.root / "link").symlink_to("real")
        file = ProjectNotebook(files, "link/a.ipynb")
        file.write([NEW], None)
        assert (files.root / "real" / "a.ipynb").read_bytes() == NEW

    def test_no_descriptor_is_left_open(self, files: Projects) -> None:
        file, seen = made(files)
        before = len(os.listdir("/proc/self/fd"))
        seen = file.write([NEW], seen)
        for expected in (None, Stamp(b"", 0, 0, 0)):
            with pytest.raises(Conflict):
                file.write([NEW], expected)
        file.stamp()
        ProjectNotebook(files, "new.ipynb").write([NEW], None)
        assert len(os.listdir("/proc/self/fd")) == before


class TestConflicts:
    """What is not as expected stays, and nothing else is left."""

    def test_a_stamp_is_of_the_content(self, files: Projects) -> None:
        """A touch or a copy is no conflict; a change of the same size at the same time is."""
        file, seen = made(files)
        os.utime(file.path, ns=(1, 1))
        assert file.stamp() == seen
        copy = files.root / "copy"
        shutil.copy(file.path, copy)
        os.replace(copy, file.path)
        seen = file.write([NEW], seen)
        with file.path.open("r+b") as opened:
            opened.write(NEW.upper())
        os.utime(file.path, ns=(seen.mtime_ns, seen.mtime_ns))
        status = file.path.stat()
        assert (status.st_ino, status.st_size) == (seen.inode, seen.size)
        with pytest.raises(Conflict, match="was changed by somebody else meanwhile"):
            file.write([OLD], seen)
        assert file.path.read_bytes() == NEW.upper()
        assert names(files) == ["a.ipynb"]

    def test_one_that_is_there_already(self, files: Projects) -> None:
        file, _ = made(files)
        with pytest.raises(Conflict, match="exists already"):
            file.write([NEW], None)
        assert (file.path.read_bytes(), names(files)) == (OLD, ["a.ipynb"])

    def test_one_that_appears_meanwhile(
        self, files: Projects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = ProjectNotebook(files, "a.ipynb")
        before(monkeypatch, "link", lambda: file.path.write_bytes(THEIRS))
        with pytest.raises(Conflict, match="exists already"):
            file.write([NEW], None)
        assert (file.path.read_bytes(), names(files)) == (THEIRS, ["a.ipynb"])

    def test_one_that_is_gone(self, files: Projects) -> None:
        file, seen = made(files)
        file.path.unlink()
        with pytest.raises(Conflict, match="is gone"):
            file.write([NEW], seen)
        assert names(files) == []

    def test_one_whose_folder_is_gone(self, files: Projects) -> None:
        (files.root / "x").mkdir()
        file, seen = made(files, "x/a.ipynb")
        shutil.rmtree(files.root / "x")
        with pytest.raises(Conflict, match="is gone"):
            file.write([NEW], seen)
        assert names(files) == []

    @pytest.mark.parametrize("kind", ["symlink", "directory", "fifo"])
    def test_what_is_no_file_any_more(self, files: Projects, kind: str) -> None:
        file, seen = made(files)
        file.path.unlink()
        other = files.root / "other.ipynb"
        other.write_bytes(OLD)
        put(kind, file.path, other)
        with pytest.raises(Conflict, match="was changed"):
            file.write([NEW], seen)
        assert not stat.S_ISREG(file.path.lstat().st_mode)
        assert other.read_bytes() == OLD
        assert names(files) == ["a.ipynb", "other.ipynb"]

    @pytest.mark.parametrize("way", ["in place", "replaced", "symlink", "directory", "deleted"])
    def test_a_change_at_the_last_moment(
        self, linux: Projects, monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        """After the last look, just before the names change places."""
        file, seen = made(linux)
        other = linux.root / "other.ipynb"
        other.write_bytes(THEIRS)

        def act() -> None:
            if way == "in place":
                file.path.write_bytes(THEIRS)
            elif way == "replaced":
                os.link(other, linux.root / "again")
                os.replace(linux.root / "again", file.path)
            else:
                file.path.unlink()
                if way != "deleted":
                    put(way, file.path, other)

        before(monkeypatch, "exchange", act)
        with pytest.raises(Conflict):
            file.write([NEW], seen)
        if way in ("in place", "replaced"):
            assert file.path.read_bytes() == THEIRS
        assert file.path.is_symlink() == (way == "symlink")
        assert file.path.is_dir() == (way == "directory")
        assert other.read_bytes() == THEIRS
        assert names(linux) == (["other.ipynb"] if way == "deleted" else ["a.ipynb", "other.ipynb"])

    def test_of_two_changes_the_later_one_stays(
        self, linux: Projects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The second is written over ours, before the first is put back."""
        file, seen = made(linux)

        def change(content: bytes) -> None:
            (linux.root / "x").write_bytes(content)
            os.replace(linux.root / "x", file.path)

        changes = (lambda text=text: change(text) for text in (b"first", b"second", b"third"))
        before(monkeypatch, "exchange", *changes)
        with pytest.raises(Conflict):
            file.write([NEW], seen)
        assert (file.path.read_bytes(), names(linux)) == (b"third", ["a.ipynb"])

    def test_one_deleted_before_the_first_is_put_back(
        self, linux: Projects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file, seen = made(linux)
        change, delete = lambda: file.path.write_bytes(THEIRS), lambda: file.path.unlink()
        before(monkeypatch, "exchange", change, delete)
        with pytest.raises(Conflict):
            file.write([NEW], seen)
        assert (file.path.read_bytes(), names(linux)) == (THEIRS, ["a.ipynb"])

    def test_without_exchange_a_change_until_the_last_look_counts(
        self, files: Projects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file, seen = made(files)
        before(monkeypatch, "move", lambda: file.path.write_bytes(THEIRS))
        with pytest.raises(Conflict):
            file.write([NEW], seen)
        assert (file.path.read_bytes(), names(files)) == (THEIRS, ["a.ipynb"])

    @pytest.mark.parametrize("files", ["in open folders", "without exchange"], indirect=True)
    def test_many_writers_lose_nothing(self, files: Projects) -> None:
        """Whoever was told that it is written finds it there, whoever writes after that."""
        made(files, content=b"")

        def write(number: int) -> None:
            file = ProjectNotebook(files, "a.ipynb")
            for turn in range(25):
                while True:
                    data, seen = file.read()
                    try:
                        file.write([data, b"%d-%d " % (number, turn)], seen)
                        break
                    except Conflict:
                        pass

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
        there = (files.root / "a.ipynb").read_bytes().split()
        expected = {b"%d-%d" % (number, turn) for number in range(8) for turn in range(25)}
        assert set(there) == expected
        assert names(files) == ["a.ipynb"]


def put(kind: str, path: Path, other: Path) -> None:
    """Something that is no file."""
    if kind == "symlink":
        path.symlink_to(other)
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)


class TestRefusals:
    """One sentence that says what is wrong."""

    def refusal(self, attempt: Callable[[], object]) -> str:
        with pytest.raises(NotebookFileError) as refusal:
            attempt()
        assert isinstance(refusal.value, FileError) and isinstance(refusal.value, Unusable)
        sentence = str(refusal.value)
        assert sentence.endswith(".") and "\n" not in sentence and "Errno" not in sentence
        return sentence

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("../x.ipynb", "is outside the projects directory"),
            ("/etc/x.ipynb", "is outside the projects directory"),
            ("", "is empty"),
            ("a\0.ipynb", "NUL"),
            ("x" * 2000 + ".ipynb", "is too long a name"),
            ("a.py", "must end in .ipynb"),
            ("sub", "is a directory, not a notebook"),
            (".", "is a directory, not a notebook"),
        ],
    )
    def test_names(self, files: Projects, name: str, words: str) -> None:
        (files.root / "sub").mkdir()
        assert words in self.refusal(lambda: ProjectNotebook(files, name))

    def test_what_cannot_be_read(self, files: Projects, tmp_path: Path) -> None:
        root = files.root
        (root / "dir.ipynb").mkdir()
        os.mkfifo(root / "fifo.ipynb")
        (root / "a.ipynb").write_bytes(OLD)
        (root / "link.ipynb").symlink_to("a.ipynb")
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "a.ipynb").write_bytes(OLD)
        (root / "out").symlink_to(tmp_path / "outside")
        for name, words in [
            ("no.ipynb", "does not exist; list_files shows what there is"),
            ("no/no.ipynb", "does not exist"),
            ("dir.ipynb", "is a directory, not a notebook"),
            ("fifo.ipynb", "is not a regular file"),
            ("link.ipynb", "is a symbolic link"),
            ("a.ipynb/b.ipynb", "a part of its path is a file"),
            ("x" * 300 + ".ipynb", "is too long a name"),
            ("out/a.ipynb", "is outside the projects directory"),
        ]:
            file = ProjectNotebook(files, name)
            assert words in self.refusal(file.read)
            if "not exist" not in words:
                assert words in self.refusal(file.stamp)

    def test_too_large(self, files: Projects, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(notebook_files, "MAX_BYTES", len(OLD))
        file, _ = made(files)
        file.path.write_bytes(OLD + b"1")
        assert "has more than 11 bytes" in self.refusal(file.read)
        assert reading.MAX_BYTES > 1_000_000

    def test_what_cannot_be_written_anew(self, files: Projects, tmp_path: Path) -> None:
        (tmp_path / "outside").mkdir()
        (files.root / "out").symlink_to(tmp_path / "outside")
        (files.root / "file").touch()
        for name, words in [
            ("out/new.ipynb", "is outside"),
            ("file/new.ipynb", "a part of its path is a file"),
            ("x" * 300 + ".ipynb", "is too long a name"),
        ]:
            file = ProjectNotebook(files, name)
            assert words in self.refusal(lambda file=file: file.write([NEW], None))
        assert os.listdir(tmp_path / "outside") == []

    def test_a_file_that_nobody_may_write(self, files: Projects) -> None:
        """Although its folder lets it be replaced, and root may do all."""
        file, seen = made(files)
        file.path.chmod(0o444)
        assert "it or its folder is read-only" in self.refusal(lambda: file.write([NEW], seen))
        assert (file.path.read_bytes(), names(files)) == (OLD, ["a.ipynb"])

    def test_what_others_may_not(self) -> None:
        folder = Path(tempfile.mkdtemp())
        folder.chmod(0o755)
        try:
            files = Projects(folder)
            file, seen = made(files)
            secret, _ = made(files, "secret.ipynb")
            secret.path.chmod(0o600)
            with unprivileged():
                if os.geteuid() != 65534:
                    pytest.skip("needs root")
                words = "it or its folder is read-only"
                assert words in self.refusal(lambda: file.write([NEW], seen))
                new = ProjectNotebook(files, "new.ipynb")
                assert words in self.refusal(lambda: new.write([NEW], None))
                assert "cannot be read: permission denied" in self.refusal(secret.read)
            # May be written, but not beside.
            file.path.chmod(0o666)
            with unprivileged():
                assert words in self.refusal(lambda: file.write([NEW], seen))
            assert (file.path.read_bytes(), names(files)) == (OLD, ["a.ipynb", "secret.ipynb"])
        finally:
            shutil.rmtree(folder)

    @pytest.mark.parametrize("expected", [True, False])
    @pytest.mark.parametrize(
        ("number", "words"),
        [
            (errno.ENOSPC, "the disk is full"),
            (errno.EDQUOT, "the disk quota"),
            (errno.EROFS, "the file system is read-only"),
            (errno.EIO, "Input/output error"),
        ],
    )
    def test_a_failure_in_the_middle(
        self,
        files: Projects,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        words: str,
        expected: bool,
    ) -> None:
        def fail(fd: int) -> None:
            raise OSError(number, os.strerror(number))

        file, seen = made(files)
        if not expected:
            file = ProjectNotebook(files, "x/new.ipynb")
        monkeypatch.setattr(os, "fsync", fail)
        assert words in self.refusal(lambda: file.write([NEW], seen if expected else None))
        assert ((files.root / "a.ipynb").read_bytes(), names(files)) == (OLD, ["a.ipynb"])

    def test_pieces_that_fail(self, files: Projects) -> None:
        def pieces() -> Iterator[bytes]:
            yield NEW
            raise KeyboardInterrupt

        file, seen = made(files)
        with pytest.raises(KeyboardInterrupt):
            file.write(pieces(), seen)
        assert (file.path.read_bytes(), names(files)) == (OLD, ["a.ipynb"])


class TestFullDisks:
    def test_a_small_file_system(self) -> None:
        """A real one: the old file is whole, and after there is room again it is written."""
        folder = Path(tempfile.mkdtemp())
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
            folder.rmdir()
            pytest.skip("nothing can be mounted here")
        try:
            files = Projects(folder)
            file, seen = made(files)
            (folder / "filler").write_bytes(bytes(600_000))
            big = [b"x" * 1000] * 700
            for attempt in (
                lambda: file.write(iter(big), seen),
                lambda: ProjectNotebook(files, "new.ipynb").write(iter(big), None),
            ):
                with pytest.raises(NotebookFileError, match="the disk is full"):
                    attempt()
                assert (file.path.read_bytes(), names(files)) == (OLD, ["a.ipynb", "filler"])
            (folder / "filler").unlink()
            file.write(iter(big), seen)
            assert file.path.stat().st_size == 700_000
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
            folder.rmdir()

    def test_a_limit_on_the_size_of_files(self, files: Projects) -> None:
        file, seen = made(files)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            with pytest.raises(NotebookFileError, match="larger than a file may be"):
                file.write([b"x" * 5_000] * 4, seen)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert (file.path.read_bytes(), names(files)) == (OLD, ["a.ipynb"])


# -- killed processes

_SAVER = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from notebooks.notebook import Notebook
from server.files import Projects
from server.notebook_files import ProjectNotebook

def save():
    file = ProjectNotebook(Projects(Path(sys.argv[1])), "a.ipynb")
    data, stamp = file.read()
    notebook = Notebook.parse(data)
    count = first = notebook.cells[0].execution_count or 0
    while True:
        count += 1
        text = f"{{count:09}} " * 20
        outputs = [
            {{"output_type": "stream", "name": "stdout", "text": text * 2000}},
            {{
                "output_type": "display_data",
                "data": {{"image/png": text * 5000}},
                "metadata": {{}},
            }},
        ]
        notebook.set_result(0, outputs, count, None)
        stamp = file.write(notebook.pieces(), stamp)
        if count == first + 1:
            os.write(1, b"saving %d\\n" % os.getpid())

for line in sys.stdin:
    if not (child := os.fork()):
        save()
    os.waitpid(child, 0)
    os.write(1, b"over\\n")
"""


def small_notebook() -> bytes:
    cell = {
        "cell_type": "code",
        "id": "one",
        "metadata": {},
        "source": "print(1)",
        "execution_count": None,
        "outputs": [],
    }
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1).encode() + b"\n"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_killed_while_they_save(projects: Path) -> None:
    """Each time the file is a whole notebook, and the next save leaves no temporary file."""
    files = Projects(projects)
    path = projects / "a.ipynb"
    path.write_bytes(small_notebook())
    rounds, left = 30, 0
    chance = random.Random(1)
    command = [sys.executable, "-c", _SAVER, str(projects)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        counts = set()
        for _ in range(rounds):
            parent.stdin.write(b"go\n")
            parent.stdin.flush()
            saving, pid = parent.stdout.readline().split()
            assert saving == b"saving"
            # Any moment of one of the next saves.
            time.sleep(chance.uniform(0, 0.08))
            os.kill(int(pid), 9)
            assert parent.stdout.readline() == b"over\n"
            data = path.read_bytes()
            content = nbformat.reads(data.decode(), as_version=4)
            nbformat.validate(content)
            outputs = content.cells[0].outputs
            text = f"{content.cells[0].execution_count:09} " * 20
            assert outputs[0]["text"] == text * 2000
            assert outputs[1]["data"]["image/png"] == text * 5000
            counts.add(content.cells[0].execution_count)
            temporary = [name for name in names(files) if name != "a.ipynb"]
            assert len(temporary) <= 1
            left += len(temporary)
            file = ProjectNotebook(files, "a.ipynb")
            file.write([data], file.read()[1])
            assert names(files) == ["a.ipynb"]
        parent.stdin.close()
        parent.wait(10)
    assert left > rounds / 4, "they were killed while they saved"
    assert len(counts) == rounds


class TestSweeping:
    def temporary(self, files: Projects, *digests: Stamp) -> Path:
        """One for a.ipynb that is left, as of a process that was killed."""
        with files_folder(files) as folder, temporaries.Temporary(folder, "a.ipynb") as temporary:
            if digests:
                temporary.prepare(*digests)
            assert temporary.name is not None
            name, temporary.name = temporary.name, None
        return files.root / name

    def test_only_those_of_the_same_notebook(self, files: Projects) -> None:
        _, seen = made(files)
        other, other_seen = made(files, "b.ipynb")
        left = self.temporary(files)
        other.write([NEW], other_seen)
        assert left.exists()
        ProjectNotebook(files, "a.ipynb").write([NEW], seen)
        assert names(files) == ["a.ipynb", "b.ipynb"]

    def test_only_those_that_are_ours_to_throw_away(self, files: Projects) -> None:
        """After the exchange it is what was there before. If that is not what was expected, it is
        somebody's work."""
        _, seen = made(files)
        theirs = Stamp(digest(THEIRS).digest(), 0, 0, 0)
        for content, kept in ((OLD, False), (THEIRS, False), (NEW, True), (NEW, True)):
            self.temporary(files, seen, theirs).write_bytes(content)
            before = set(names(files))
            seen = ProjectNotebook(files, "a.ipynb").write([OLD], seen)
            new = set(names(files)) - before
            assert len(new) == kept
            assert [(files.root / name).read_bytes() for name in new] == [content] * kept
        assert names(files) == ["a (recovered) 2.ipynb", "a (recovered).ipynb", "a.ipynb"]

    def test_not_those_in_use(self, projects: Path) -> None:
        if temporaries.fcntl is None:
            pytest.skip("there are no locks here")
        files = Projects(projects)
        file, seen = made(files)
        held: list[str] = []

        def pieces() -> Iterator[bytes]:
            """Another saver comes while this one writes."""
            held.extend(name for name in names(files) if name.endswith(".tmp"))
            ProjectNotebook(files, "a.ipynb").write([OLD], seen)
            assert set(held) <= set(names(files))
            yield NEW

        file.write(pieces(), seen)
        assert len(held) == 1
        assert (file.path.read_bytes(), names(files)) == (NEW, ["a.ipynb"])

    def test_names_as_long_as_they_may_be(self, files: Projects) -> None:
        file, seen = made(files, "é" * 124 + ".ipynb")
        file.write([NEW], seen)
        assert file.path.read_bytes() == NEW

    def test_temporary_files_are_hidden_and_tell_nothing(self, files: Projects) -> None:
        assert re.fullmatch(r"\.rmi-\w{12}-\w{16}\.tmp", self.temporary(files).name)


def files_folder(files: Projects) -> Folder:
    return beneath.open_folder(files.root, ".")
