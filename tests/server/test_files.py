"""The projects directory: every way in that is none, and whole writes."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server import beneath
from server.files import MAX_SOURCE, FileError, Projects

SECRET = "print('outside')"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the projects directory, whose name begins with that one's."""
    path = tmp_path / "projects-secret"
    path.mkdir()
    (path / "secret.py").write_text(SECRET)
    return path


@pytest.fixture(params=["in open folders", "by path"])
def files(
    projects: Path, outside: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Projects:
    """Over `projects`, as on POSIX and as on Windows."""
    if request.param == "by path":
        monkeypatch.setattr(beneath, "_CAN_OPEN_IN", False)
    (projects / "a.py").write_text("print('a')\n")
    (projects / "sub").mkdir()
    (projects / "sub" / "b.py").write_text("print('b')\n")
    return Projects(projects)


def tree(root: Path) -> dict[str, str]:
    """Everything below a folder: what it is, or what is in it."""
    found = {}
    for path in sorted(root.rglob("*")):
        text = path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
        found[str(path.relative_to(root))] = path.read_text("latin-1") if text else "-"
    return found


def refusals(files: Projects, name: str) -> list[str]:
    """What reading, running and writing say of a bad name, after a check that they say it well."""
    before = tree(files.root.parent)
    sentences = []
    attempts: list[Callable[[], object]] = [
        lambda: files.source(name),
        lambda: files.read(name, 0, 10, 1000),
        lambda: files.write(name, "new", overwrite=True),
    ]
    for attempt in attempts:
        with pytest.raises(FileError) as refusal:
            attempt()
        sentence = str(refusal.value)
        assert sentence.endswith(".") or sentence.endswith("…")
        assert "\n" not in sentence
        assert "Errno" not in sentence
        assert len(sentence) < 600
        sentences.append(sentence)
    assert tree(files.root.parent) == before, "a refusal changes nothing"
    return sentences


class TestBadNames:
    @pytest.mark.parametrize(
        "name",
        [
            "..",
            "../projects-secret/secret.py",
            "../projects/a.py",
            "sub/../../projects-secret/secret.py",
            "/etc/passwd",
            "//etc/passwd",
            "/proc/self/root",
            "/proc/self/root/etc/passwd",
            "/proc/self/cwd/x.py",
            "/",
        ],
    )
    def test_outside_of_the_projects_directory(self, files: Projects, name: str) -> None:
        for sentence in refusals(files, name):
            assert "is outside the projects directory" in sentence

    def test_beside_it_under_the_same_prefix(self, files: Projects, outside: Path) -> None:
        for name in (str(outside / "secret.py"), f"{files.root}-secret/secret.py"):
            for sentence in refusals(files, name):
                assert "is outside the projects directory" in sentence

    @pytest.mark.parametrize("name", ["", " ", "\t\n"])
    def test_empty(self, files: Projects, name: str) -> None:
        for sentence in refusals(files, name):
            assert "file name is empty" in sentence

    @pytest.mark.parametrize("name", ["\0", "a.py\0", "a\0.py", "../\0"])
    def test_with_a_nul(self, files: Projects, name: str) -> None:
        for sentence in refusals(files, name):
            assert "NUL character" in sentence

    @pytest.mark.parametrize("name", ["\ud800.py", "sub/\udfff"])
    def test_with_a_lone_surrogate(self, files: Projects, name: str) -> None:
        for sentence in refusals(files, name):
            assert "no file name can hold" in sentence

    @pytest.mark.parametrize(
        "name", ["x" * 5000, "x" * 4997 + ".py", "d/" * 2500 + "x.py", "x" * 300]
    )
    def test_too_long(self, files: Projects, name: str) -> None:
        for sentence in refusals(files, name):
            assert "is too long a name" in sentence

    @pytest.mark.parametrize("name", [".", "./", "sub", "sub/", "sub/..", "a.py/"])
    def test_of_a_directory(self, files: Projects, name: str) -> None:
        if name == "a.py/":
            with pytest.raises(FileError, match="is a directory, not a file"):
                files.write(name, "new", overwrite=True)
            return
        for sentence in refusals(files, name):
            assert "is a directory, not a file" in sentence

    @pytest.mark.parametrize("name", ["a.py/x.py", "sub/b.py/c/d.py"])
    def test_below_a_file(self, files: Projects, name: str) -> None:
        for sentence in refusals(files, name):
            assert "a part of its path is a file" in sentence

    @pytest.mark.parametrize("name", ["no.py", "sub/no.py", "no/no.py"])
    def test_missing(self, files: Projects, name: str) -> None:
        for attempt in (lambda: files.source(name), lambda: files.read(name, 0, 1, 1)):
            with pytest.raises(FileError, match="does not exist; list_files shows what there is"):
                attempt()
        assert not (files.root / name).exists()

    def test_not_py(self, files: Projects) -> None:
        (files.root / "data.csv").write_text("1,2\n")
        with pytest.raises(FileError, match=r"'data\.csv' is not a \.py file"):
            files.source("data.csv")
        assert files.read("data.csv", 0, 10, 100).text == "1,2\n"


class TestLinks:
    """What leads outside is refused; what stays inside works."""

    def test_to_a_file_outside(self, files: Projects, outside: Path) -> None:
        (files.root / "link.py").symlink_to(outside / "secret.py")
        (files.root / "relative.py").symlink_to("../projects-secret/secret.py")
        for name in ("link.py", "relative.py"):
            for sentence in refusals(files, name):
                assert "is outside the projects directory" in sentence

    def test_to_a_folder_outside(self, files: Projects, outside: Path) -> None:
        (files.root / "link").symlink_to(outside)
        for name in ("link/secret.py", "link/new.py", "link/sub/new.py"):
            for sentence in refusals(files, name)[2:]:
                assert "is outside the projects directory" in sentence
        with pytest.raises(FileError, match="outside"):
            files.list("link", "*", 10)

    def test_to_a_folder_by_magic(self, files: Projects) -> None:
        (files.root / "link").symlink_to("/proc/self/root")
        for sentence in refusals(files, "link/etc/passwd"):
            assert "is outside the projects directory" in sentence

    def test_through_other_links(self, files: Projects, outside: Path) -> None:
        (files.root / "sub" / "up").symlink_to("..")
        (files.root / "hop").symlink_to("sub/up/sub/up/out")
        (files.root / "out").symlink_to(outside)
        for sentence in refusals(files, "hop/secret.py"):
            assert "is outside the projects directory" in sentence

    def test_in_a_loop(self, files: Projects) -> None:
        (files.root / "loop.py").symlink_to("loop.py")
        (files.root / "one").symlink_to("two")
        (files.root / "two").symlink_to("one")
        for name in ("loop.py", "one/a.py"):
            for sentence in refusals(files, name):
                assert "is a symbolic link that leads nowhere" in sentence or (
                    "a part of its path is a file" in sentence
                )

    def test_to_what_is_missing(self, files: Projects) -> None:
        (files.root / "dead.py").symlink_to("nothing.py")
        with pytest.raises(FileError, match="does not exist"):
            files.source("dead.py")

    def test_inside(self, files: Projects) -> None:
        """Relative or absolute, to files and to folders, for reading and for writing."""
        (files.root / "link.py").symlink_to("sub/b.py")
        (files.root / "absolute.py").symlink_to(files.root / "a.py")
        (files.root / "folder").symlink_to("sub")
        assert files.source("link.py") == (files.root / "link.py", b"print('b')\n")
        assert files.source("absolute.py")[1] == b"print('a')\n"
        assert files.source("folder/b.py")[1] == b"print('b')\n"
        assert files.write("link.py", "new", overwrite=True)
        assert (files.root / "sub" / "b.py").read_text() == "new"
        assert (files.root / "link.py").is_symlink()
        assert not files.write("folder/c.py", "c", overwrite=False)
        assert (files.root / "sub" / "c.py").read_text() == "c"
        assert files.list("folder", "*", 9)[1] == 2


class TestWhatIsNoFile:
    """It is refused without being opened, so nothing waits and nothing happens to it."""

    def test_a_fifo(self, files: Projects) -> None:
        os.mkfifo(files.root / "fifo.py")
        for sentence in refusals(files, "fifo.py"):
            assert "is not a regular file" in sentence

    def test_a_socket(self, files: Projects, monkeypatch: pytest.MonkeyPatch) -> None:
        # A path of a socket must be short.
        monkeypatch.chdir(files.root)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind("sock.py")
            for sentence in refusals(files, "sock.py"):
                assert "is not a regular file" in sentence

    def test_a_device(self, files: Projects) -> None:
        try:
            os.mknod(files.root / "null.py", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        except OSError:
            pytest.skip("devices cannot be made here")
        for sentence in refusals(files, "null.py"):
            assert "is not a regular file" in sentence

    def test_a_link_to_a_device(self, files: Projects) -> None:
        (files.root / "null.py").symlink_to("/dev/null")
        for sentence in refusals(files, "null.py"):
            assert "is outside the projects directory" in sentence


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Whatever may be read by all but its owner's file modes, for a root that minds no modes."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestPermissions:
    @pytest.fixture
    def open_files(self) -> Iterator[Projects]:
        """Projects in a place that everybody may reach."""
        folder = Path(tempfile.mkdtemp())
        folder.chmod(0o755)
        (folder / "secret.py").write_text(SECRET)
        (folder / "secret.py").chmod(0)
        (folder / "closed").mkdir(mode=0)
        (folder / "fixed").mkdir(mode=0o555)
        yield Projects(folder)
        (folder / "closed").chmod(0o755)
        shutil.rmtree(folder)

    def test_unreadable(self, open_files: Projects) -> None:
        with unprivileged():
            for name in ("secret.py", "closed/x.py"):
                with pytest.raises(FileError, match="permission denied"):
                    open_files.source(name)
            with pytest.raises(FileError, match="permission denied"):
                open_files.list("closed", "*", 10)

    def test_unwritable(self, open_files: Projects) -> None:
        with unprivileged():
            for name in ("fixed/new.py", "fixed/sub/new.py", "closed/new.py"):
                with pytest.raises(FileError, match="permission denied"):
                    open_files.write(name, "x", overwrite=False)


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_nothing_outside_is_read_while_links_are_exchanged(
    projects: Path, outside: Path, kind: str
) -> None:
    """A thread puts a link to the outside in the place of what is read, over and over."""
    files = Projects(projects)
    (projects / "real").mkdir()
    (projects / "real" / "secret.py").write_text("inside")
    if kind == "folder":
        place, name, links_to = projects / "place", "place/secret.py", outside
        real = projects / "real"
    else:
        place, name, links_to = projects / "place.py", "place.py", outside / "secret.py"
        real = projects / "real" / "secret.py"
    link = projects / "link"
    ended = threading.Event()

    def exchange() -> None:
        while not ended.is_set():
            os.rename(real, place)
            os.rename(place, real)
            os.symlink(links_to, link)
            os.rename(link, place)
            os.unlink(place)

    thread = threading.Thread(target=exchange)
    thread.start()
    seen = {"inside": 0, "refused": 0}
    try:
        while min(seen.values()) < 50:
            try:
                content = files.source(name)[1]
            except FileError:
                seen["refused"] += 1
            else:
                assert content == b"inside"
                seen["inside"] += 1
    finally:
        ended.set()
        thread.join()


def test_nothing_outside_is_written_while_links_are_exchanged(
    projects: Path, outside: Path
) -> None:
    files = Projects(projects)
    (projects / "real").mkdir()
    real, place, link = projects / "real", projects / "place", projects / "link"
    ended = threading.Event()

    def exchange() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                os.rename(real, place)
                os.rename(place, real)
                os.symlink(outside, link)
                os.rename(link, place)
                os.unlink(place)

    before = tree(outside)
    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for number in range(100):
            with contextlib.suppress(FileError):
                files.write("place/new.py", str(number), overwrite=True)
            # The write may have made a folder in that place.
            with contextlib.suppress(OSError):
                os.rmdir(place)
    finally:
        ended.set()
        thread.join()
    assert tree(outside) == before


class TestReading:
    def test_a_script_is_its_path_and_its_bytes(self, files: Projects) -> None:
        (files.root / "raw.py").write_bytes(b"\xef\xbb\xbfx\r\n\xff")
        assert files.source("raw.py") == (files.root / "raw.py", b"\xef\xbb\xbfx\r\n\xff")

    @pytest.mark.parametrize("name", ["sub/b.py", "./sub/b.py", "sub/../sub//b.py"])
    def test_one_file_has_many_names(self, files: Projects, name: str) -> None:
        assert files.source(name) == (files.root / "sub" / "b.py", b"print('b')\n")
        assert files.source(str(files.root / name)) == files.source("sub/b.py")

    def test_unusual_names_work(self, files: Projects) -> None:
        for name in ("ünï cöde.py", " lead.py", "new\nline.py", "-dash.py", "~.py", "'q\".py"):
            (files.root / name).write_text(name)
            assert files.source(name)[1].decode() == name

    def test_too_much_to_run(self, files: Projects) -> None:
        with (files.root / "big.py").open("wb") as file:
            file.truncate(MAX_SOURCE + 1)
        with pytest.raises(FileError, match="more than 10,000,000 bytes"):
            files.source("big.py")

    def test_lines(self, files: Projects) -> None:
        (files.root / "n.txt").write_text("".join(f"{n}\n" for n in range(10)))
        found = files.read("n.txt", 3, 2, 1000)
        assert (found.text, found.last, found.total, found.cut) == ("3\n4\n", 5, 10, False)

    def test_the_end_of_the_file(self, files: Projects) -> None:
        (files.root / "n.txt").write_text("a\nb")
        found = files.read("n.txt", 0, 100, 1000)
        assert (found.text, found.last, found.total, found.cut) == ("a\nb", 2, 2, False)
        assert files.read("n.txt", 2, 100, 1000).text == ""
        (files.root / "empty.txt").touch()
        assert files.read("empty.txt", 0, 1, 1).total == 0

    def test_more_than_fits(self, files: Projects) -> None:
        (files.root / "n.txt").write_text("abc\ndef\nghi\n")
        found = files.read("n.txt", 0, 100, 6)
        assert (found.text, found.last, found.total, found.cut) == ("abc\nde", 2, 3, True)
        found = files.read("n.txt", 0, 100, 4)
        assert (found.text, found.last, found.total, found.cut) == ("abc\n", 1, 3, True)

    def test_a_line_as_long_as_the_file(self, files: Projects) -> None:
        (files.root / "long.txt").write_text("é" * 1_000_000)
        found = files.read("long.txt", 0, 10, 100_000)
        assert (found.text, found.total, found.cut) == ("é" * 100_000, 1, True)

    def test_what_is_not_utf8_is_marked(self, files: Projects) -> None:
        (files.root / "l.txt").write_bytes("caf\xe9\nok\n".encode("latin-1"))
        assert files.read("l.txt", 0, 10, 100).text == "caf\ufffd\nok\n"

    def test_binary_data_is_refused(self, files: Projects) -> None:
        (files.root / "b.bin").write_bytes(b"\x89PNG\r\n\0\0")
        with pytest.raises(FileError, match="is not text: it holds binary data"):
            files.read("b.bin", 0, 10, 100)


class TestWriting:
    def test_a_new_file_in_new_folders(self, files: Projects) -> None:
        assert not files.write("x/y/z.py", "é\n", overwrite=False)
        assert (files.root / "x" / "y" / "z.py").read_bytes() == "é\n".encode()
        assert files.write("x/../x/y/z.py", "", overwrite=True)
        assert (files.root / "x" / "y" / "z.py").read_bytes() == b""

    def test_an_existing_one_only_on_request(self, files: Projects) -> None:
        with pytest.raises(FileError, match="exists already; set overwrite to replace it"):
            files.write("a.py", "new", overwrite=False)
        assert (files.root / "a.py").read_text() == "print('a')\n"
        assert files.write("a.py", "new", overwrite=True)
        assert (files.root / "a.py").read_text() == "new"

    def test_one_that_appears_meanwhile_is_not_replaced(
        self, files: Projects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fsync = os.fsync

        def appear(fd: int) -> None:
            (files.root / "new.py").write_text("somebody else's")
            fsync(fd)

        monkeypatch.setattr(os, "fsync", appear)
        with pytest.raises(FileError, match="exists already"):
            files.write("new.py", "mine", overwrite=False)
        assert (files.root / "new.py").read_text() == "somebody else's"
        assert sorted(os.listdir(files.root)) == ["a.py", "new.py", "sub"]

    def test_modes_stay_and_new_files_follow_the_umask(self, files: Projects) -> None:
        (files.root / "a.py").chmod(0o750)
        files.write("a.py", "new", overwrite=True)
        assert stat.S_IMODE((files.root / "a.py").stat().st_mode) == 0o750
        mask = os.umask(0o027)
        try:
            files.write("n.py", "new", overwrite=False)
        finally:
            os.umask(mask)
        assert stat.S_IMODE((files.root / "n.py").stat().st_mode) == 0o640

    @pytest.mark.parametrize("name", ["a.py", "new.py", "new/folder/x.py"])
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
    def test_a_failure_in_the_middle_leaves_everything_as_it_was(
        self, files: Projects, monkeypatch: pytest.MonkeyPatch, name: str, number: int
    ) -> None:
        before = tree(files.root)

        def fail(fd: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(FileError) as refusal:
            files.write(name, "new", overwrite=True)
        assert ("disk is full" in str(refusal.value)) == (number == errno.ENOSPC)
        assert tree(files.root) == before

    def test_an_interrupt_in_the_middle_too(
        self, files: Projects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = tree(files.root)

        def interrupt(fd: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            files.write("new/x.py", "new", overwrite=True)
        assert tree(files.root) == before

    def test_a_file_system_without_hard_links(
        self, files: Projects, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
        assert not files.write("new.py", "new", overwrite=False)
        assert (files.root / "new.py").read_text() == "new"
        assert sorted(os.listdir(files.root)) == ["a.py", "new.py", "sub"]

    def test_nobody_sees_half_a_file(self, files: Projects) -> None:
        """While one thread writes, another reads either the old or the new content."""
        contents = ["1" * 100_000, "2" * 200_000]
        files.write("a.py", contents[0], overwrite=True)
        ended = threading.Event()

        def write() -> None:
            for number in range(40):
                files.write("a.py", contents[number % 2], overwrite=True)
            ended.set()

        thread = threading.Thread(target=write)
        thread.start()
        while not ended.is_set():
            assert files.source("a.py")[1].decode() in contents
        thread.join()

    def test_what_cannot_be_written(self, files: Projects) -> None:
        with pytest.raises(FileError, match="characters that UTF-8 cannot hold"):
            files.write("new.py", "\ud800", overwrite=False)
        with pytest.raises(FileError, match="at most 10,000,000 can be written"):
            files.write("new.py", "x" * (MAX_SOURCE + 1), overwrite=False)
        assert sorted(os.listdir(files.root)) == ["a.py", "sub"]

    def test_names_as_long_as_they_may_be(self, files: Projects) -> None:
        for name in ("x" * 252 + ".py", "é" * 126 + ".py"):
            files.write(name, "new", overwrite=False)
            assert files.source(name)[1] == b"new"


class TestListing:
    def names(self, files: Projects, directory: str = "", pattern: str = "*") -> list[str]:
        return [entry.name for entry in files.list(directory, pattern, 100)[0]]

    def test_all_files_at_any_depth_by_name(self, files: Projects) -> None:
        assert self.names(files) == ["a.py", os.path.join("sub", "b.py")]
        (entry, _), count = files.list("", "*", 100)
        assert (entry.size, count) == (11, 2)

    @pytest.mark.parametrize("directory", ["", ".", " ", "./", "sub/.."])
    def test_the_projects_directory_has_many_names(self, files: Projects, directory: str) -> None:
        assert self.names(files, directory) == self.names(files)

    def test_a_folder(self, files: Projects) -> None:
        assert self.names(files, "sub") == [os.path.join("sub", "b.py")]
        assert self.names(files, str(files.root / "sub")) == self.names(files, "sub")

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("*.py", ["a.py", "sub/b.py"]),
            ("**/*.py", ["a.py", "sub/b.py"]),
            ("sub/*", ["sub/b.py"]),
            ("**/b.py", ["sub/b.py"]),
            ("b.*", ["sub/b.py"]),
            ("[ab].py", ["a.py", "sub/b.py"]),
            ("*.csv", []),
            ("", []),
        ],
    )
    def test_patterns(self, files: Projects, pattern: str, found: list[str]) -> None:
        assert self.names(files, "", pattern) == [os.path.normpath(name) for name in found]

    def test_caches_and_hidden_folders_and_what_is_no_file_are_passed_over(
        self, files: Projects, outside: Path
    ) -> None:
        before = self.names(files)
        for folder in (".git", "__pycache__", "sub/node_modules"):
            (files.root / folder).mkdir()
            (files.root / folder / "x.py").touch()
        os.mkfifo(files.root / "fifo")
        (files.root / "link").symlink_to(outside)
        assert self.names(files) == before

    def test_too_many_are_counted(self, files: Projects) -> None:
        for number in range(20):
            (files.root / f"n{number:02}").touch()
        entries, count = files.list("", "n*", 5)
        assert [entry.name for entry in entries] == ["n00", "n01", "n02", "n03", "n04"]
        assert count == 20

    def test_names_that_are_not_utf8(self, files: Projects) -> None:
        (files.root / os.fsdecode(b"caf\xe9.py")).touch()
        names = self.names(files, "", "caf*")
        assert names == ["caf\\xe9.py"]

    @pytest.mark.parametrize(
        ("directory", "words"),
        [
            ("no", "does not exist"),
            ("a.py", "is not a directory"),
            ("..", "is outside"),
            ("/etc", "is outside"),
            ("a\0", "NUL"),
            ("x" * 5000, "too long"),
        ],
    )
    def test_a_bad_directory(self, files: Projects, directory: str, words: str) -> None:
        with pytest.raises(FileError, match=words) as refusal:
            files.list(directory, "*", 10)
        assert "\n" not in str(refusal.value)


def test_no_descriptor_is_left_open(projects: Path, outside: Path) -> None:
    files = Projects(projects)
    (projects / "link").symlink_to(outside)
    (projects / "dir.py").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    for name in ("link/x.py", "dir.py", "dir.py/x.py", "no/x.py", "x" * 300):
        for attempt in (
            lambda name=name: files.source(name),
            lambda name=name: files.write(name, "", overwrite=False),
            lambda name=name: files.list(name, "*", 5),
        ):
            with contextlib.suppress(FileError):
                attempt()
    assert len(os.listdir("/proc/self/fd")) == before
