"""Saving a run's results: they get into the file, and nothing that others saved gets lost."""

from __future__ import annotations

import copy
import errno
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notebooks.merging import places
from notebooks.notebook import Notebook
from notebooks.reading import Cell
from notebooks.running import Store
from notebooks.saving import Saver
from notebooks.storage import Stamp
from server import replacing
from server.beneath import Folder
from server.files import Projects
from server.notebook_files import ProjectNotebook

TIMES = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
WIDGETS = {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2}}


def code(source: str, ident: str | None = None, **more: Any) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": "code", "metadata": {}, "source": source}
    cell |= {"execution_count": None, "outputs": []}
    return cell | ({"id": ident} if ident else {}) | more


def text(source: str, ident: str | None = None) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": "markdown", "metadata": {}, "source": source}
    return cell | ({"id": ident} if ident else {})


def content(*cells: dict[str, Any], minor: int = 5, **metadata: Any) -> bytes:
    """A file's content."""
    notebook = {"cells": [*cells], "metadata": metadata, "nbformat": 4, "nbformat_minor": minor}
    return (json.dumps(notebook, indent=1) + "\n").encode()


def printed(words: str) -> list[dict[str, Any]]:
    return [{"output_type": "stream", "name": "stdout", "text": words}]


THREE = (code("a", "ia"), text("# b", "ib"), code("c", "ic"))


class Case:
    """A notebook in a projects directory, of which cells 0 and 2 were executed."""

    def __init__(self, projects: Path, data: bytes = content(*THREE), run: str = "12") -> None:
        self.folder = projects
        self.path = projects / "analysis.ipynb"
        self.path.write_bytes(data)
        self.files = Projects(projects)
        self.file = ProjectNotebook(self.files, "analysis.ipynb")
        read, stamp = self.file.read()
        self.saver = Saver(self.file, Notebook.parse(read), stamp, run)

    def run(self, *numbers: int, words: str = "out") -> None:
        for number in numbers:
            self.saver.result(number, printed(f"{words} {number}\n"), number + 1, TIMES)

    def save(self) -> None:
        self.saver.save()
        assert not [name for name in self.names if name.endswith(".tmp")]
        for name in self.saver.saved:
            nbformat.validate(nbformat.read(self.folder / name, as_version=4))
        for sentence in self.saver.notes:
            assert sentence.endswith(".") and "\n" not in sentence and ".." not in sentence

    @property
    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    def outputs(self, name: str = "analysis.ipynb") -> dict[str, str]:
        """The text that each code cell printed, by source."""
        cells = json.loads((self.folder / name).read_bytes())["cells"]
        return {
            "".join(cell["source"]): "".join(
                line for output in cell["outputs"] for line in output["text"]
            )
            for cell in cells
            if cell["cell_type"] == "code"
        }


BESIDE = "analysis (outputs of run 12).ipynb"


@pytest.fixture
def case(projects: Path) -> Case:
    return Case(projects)


class TestAlone:
    """While nobody else touches the file."""

    def test_it_is_the_runs_store(self, case: Case) -> None:
        store: Store = case.saver
        assert store.notes == [] and store.trouble == ""

    def test_results_get_into_the_file_and_nothing_else_changes(self, case: Case) -> None:
        expected = Notebook.parse(case.path.read_bytes())
        expected.set_result(0, printed("out 0\n"), 1, TIMES)
        case.run(0)
        case.save()
        assert case.path.read_bytes() == expected.dumps()
        case.run(0, 2, words="more")
        case.save()
        assert case.outputs() == {"a": "more 0\n", "c": "more 2\n"}
        assert (case.saver.notes, case.saver.trouble) == ([], "")
        assert case.saver.saved == ("analysis.ipynb",)
        assert case.names == ["analysis.ipynb"]

    def test_the_state_of_widgets_gets_into_the_metadata(self, case: Case) -> None:
        case.saver.widgets(WIDGETS)
        case.save()
        assert json.loads(case.path.read_bytes())["metadata"] == {"widgets": WIDGETS}
        case.saver.widgets(None)
        case.run(0)
        case.save()
        assert json.loads(case.path.read_bytes())["metadata"] == {"widgets": WIDGETS}

    def test_without_anything_new_nothing_is_written(self, case: Case) -> None:
        case.save()
        assert case.saver.saved == ()
        case.run(0)
        case.save()
        before = case.path.stat()
        case.save()
        assert case.path.stat() == before

    def test_a_new_file(self, case: Case) -> None:
        file = ProjectNotebook(case.files, "out/new.ipynb")
        saver = Saver(file, Notebook.parse(case.path.read_bytes()), None)
        saver.result(0, printed("out\n"), 1, TIMES)
        saver.save()
        assert (saver.trouble, saver.saved) == ("", (os.path.join("out", "new.ipynb"),))
        assert case.outputs("out/new.ipynb") == {"a": "out\n", "c": ""}

    def test_a_second_goes_by_between_saves(self, case: Case) -> None:
        """At least, and before the first one."""
        assert not case.saver.rested(time.monotonic())
        assert case.saver.rested(time.monotonic() + 1)
        case.run(0)
        case.save()
        assert not case.saver.rested(time.monotonic())

    def test_long_saves_are_seldom(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ten times as long as the last one took goes by."""
        times = iter([100.0, 105.0])
        case.run(0)
        with monkeypatch.context() as patch:
            patch.setattr("notebooks.saving.time.monotonic", lambda: next(times))
            case.saver.save()
        assert not case.saver.rested(154.9)
        assert case.saver.rested(155.0)

    def test_results_may_come_while_it_saves(self, case: Case) -> None:
        """From another thread; calls of save wait for each other."""
        started, ended = threading.Event(), threading.Event()
        write = ProjectNotebook.write

        def slow(file: ProjectNotebook, pieces: Iterable[bytes], expected: Stamp | None) -> Stamp:
            started.set()
            assert ended.wait(10)
            return write(file, pieces, expected)

        case.run(0)
        case.file.write = slow.__get__(case.file)  # type: ignore[method-assign]
        threads = [threading.Thread(target=case.saver.save) for _ in range(2)]
        threads[0].start()
        assert started.wait(10)
        threads[1].start()
        case.run(2)
        ended.set()
        for thread in threads:
            thread.join(10)
        assert case.outputs() == {"a": "out 0\n", "c": "out 2\n"}


class TestMerging:
    """Somebody else saves the notebook while it runs."""

    def merged(self, case: Case, *theirs: dict[str, Any], **metadata: Any) -> dict[str, str]:
        """What is in the file after a run of both cells, between which theirs was saved."""
        case.run(0)
        case.save()
        case.path.write_bytes(content(*theirs, **metadata))
        case.run(2)
        case.save()
        assert case.saver.trouble == ""
        found = json.loads(case.path.read_bytes())
        assert without_results(found) == without_results(json.loads(content(*theirs, **metadata)))
        return case.outputs()

    def test_cells_are_found_by_id_wherever_they_are(self, case: Case) -> None:
        theirs = (code("c", "ic"), code("new", "in"), text("# other", "ib"), code("a", "ia"))
        assert self.merged(case, *theirs) == {"c": "out 2\n", "new": "", "a": "out 0\n"}
        assert case.names == ["analysis.ipynb"]
        (note,) = case.saver.notes
        assert "was changed by somebody else during the run; that is kept" in note
        assert case.saver.saved == ("analysis.ipynb",)

    def test_the_next_results_go_to_where_the_cells_are_now(self, case: Case) -> None:
        self.merged(case, code("new", "in"), code("c", "ic"), code("a", "ia"))
        case.run(0, 2, words="later")
        case.save()
        assert case.outputs() == {"new": "", "c": "later 2\n", "a": "later 0\n"}
        case.path.write_bytes(content(code("a", "ia"), code("c", "ic")))
        case.save()
        assert case.outputs() == {"a": "later 0\n", "c": "later 2\n"}, "also if nothing is new"
        assert case.saver.saved == ("analysis.ipynb",)

    def test_the_state_of_widgets_is_put_into_theirs(self, case: Case) -> None:
        case.saver.widgets(WIDGETS)
        case.run(0)
        case.path.write_bytes(content(*THREE, authors=["x"]))
        case.save()
        found = json.loads(case.path.read_bytes())["metadata"]
        assert found == {"authors": ["x"], "widgets": WIDGETS}

    @pytest.mark.parametrize(
        "theirs",
        [
            (code("changed", "ia"), code("c", "ic")),
            (code("c", "ic"),),
            (text("a", "ia"), code("c", "ic")),
        ],
        ids=["changed", "deleted", "text"],
    )
    def test_a_cell_that_is_no_longer_as_it_was_run(
        self, case: Case, theirs: tuple[dict[str, Any], ...]
    ) -> None:
        """Its results are not put there; the notebook as it was run is saved beside."""
        found = self.merged(case, *theirs)
        assert found == {cell["source"]: "" for cell in theirs if cell["cell_type"] == "code"} | {
            "c": "out 2\n"
        }
        assert case.names == [BESIDE, "analysis.ipynb"]
        assert case.outputs(BESIDE) == {"a": "out 0\n", "c": "out 2\n"}
        assert "that is kept" in case.saver.notes[0]
        assert "Cell 0 is not in 'analysis.ipynb' as executed" in case.saver.notes[1]
        assert BESIDE in case.saver.notes[1]
        assert case.saver.saved == ("analysis.ipynb", BESIDE)

    def test_a_cell_that_is_changed_before_its_result_comes(self, case: Case) -> None:
        case.run(0)
        case.path.write_bytes(content(code("a", "ia"), code("changed", "ic")))
        case.save()
        assert case.names == ["analysis.ipynb"]
        case.run(2)
        case.save()
        assert case.outputs() == {"a": "out 0\n", "changed": ""}
        assert case.outputs(BESIDE) == {"a": "out 0\n", "c": "out 2\n"}

    def test_a_change_that_is_taken_back(self, case: Case) -> None:
        self.merged(case, code("changed", "ia"), code("changed", "ic"))
        before = case.path.stat()
        case.save()
        assert case.path.stat() == before, "nothing of ours is to be in it"
        assert case.saver.saved == (BESIDE,)
        case.path.write_bytes(content(*THREE))
        case.save()
        assert case.outputs() == {"a": "out 0\n", "c": "out 2\n"}
        assert case.saver.saved == ("analysis.ipynb", BESIDE)

    def test_the_file_beside_is_rewritten_by_the_same_run_only(self, case: Case) -> None:
        """That of another run, and one that somebody has changed, stays."""
        (case.folder / BESIDE).write_bytes(b"of another run")
        self.merged(case, code("changed", "ia"), code("c", "ic"))
        second = BESIDE.replace(".ipynb", " 2.ipynb")
        assert case.saver.saved == ("analysis.ipynb", second)
        case.run(0, words="later")
        case.save()
        assert case.outputs(second)["a"] == "later 0\n"
        (case.folder / second).write_bytes(b"changed")
        case.run(0, words="last")
        case.save()
        assert (case.folder / BESIDE).read_bytes() == b"of another run"
        assert (case.folder / second).read_bytes() == b"changed"
        assert case.outputs(BESIDE.replace(".ipynb", " 3.ipynb"))["a"] == "last 0\n"
        assert len(case.names) == 4

    def test_a_long_name(self, projects: Path) -> None:
        case = Case(projects)
        file = ProjectNotebook(case.files, "é" * 124 + ".ipynb")
        saver = Saver(file, Notebook.parse(case.path.read_bytes()), None, "7")
        saver.result(0, [], 1, {})
        saver.save()
        file.path.unlink()
        saver.save()
        assert saver.trouble == ""
        assert saver.saved[0].endswith("é (outputs of run 7).ipynb")

    def test_theirs_changes_again_and_again(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Always between our look and our write."""
        changes = [code(f"new {number}", f"i{number}") for number in range(5)]
        write = ProjectNotebook.write

        def racing(file: ProjectNotebook, pieces: Iterable[bytes], expected: Stamp | None) -> Stamp:
            if changes:
                case.path.write_bytes(content(*THREE, changes.pop(0)))
            return write(file, pieces, expected)

        monkeypatch.setattr(ProjectNotebook, "write", racing)
        case.run(0, 2)
        case.save()
        assert case.outputs() == {"a": "out 0\n", "c": "out 2\n", "new 4": ""}

    def test_theirs_never_rests(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then the results are saved beside, and the next save tries again."""
        write = ProjectNotebook.write
        count = iter(range(1000))

        def racing(file: ProjectNotebook, pieces: Iterable[bytes], expected: Stamp | None) -> Stamp:
            if file is case.file:
                case.path.write_bytes(content(*THREE, text(f"{next(count)}", "in")))
            return write(file, pieces, expected)

        case.run(0, 2)
        with monkeypatch.context() as patch:
            patch.setattr(ProjectNotebook, "write", racing)
            case.save()
        assert case.saver.saved == (BESIDE,)
        assert "is being changed by somebody else all the time" in case.saver.notes[0]
        assert case.outputs() == {"a": "", "c": ""}
        case.save()
        assert case.outputs() == {"a": "out 0\n", "c": "out 2\n"}

    def test_only_touched(self, case: Case) -> None:
        os.utime(case.path, (1, 1))
        case.run(0)
        case.save()
        assert (case.saver.notes, case.outputs()["a"]) == ([], "out 0\n")


def put(kind: str, path: Path) -> None:
    """Something that is no notebook in its place."""
    path.unlink()
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.with_name("other.ipynb").write_bytes(content(*THREE))
        path.symlink_to("other.ipynb")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "deleted":
        path.write_bytes(kind.encode())


class TestUnreadable:
    """What somebody else has left cannot be read as a notebook: it stays, ours goes beside."""

    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            (content(*THREE).decode()[:150], "cannot be read as a notebook now. It is not JSON"),
            ("", "cannot be read as a notebook now. It is empty"),
            ("<<<<<<< x\n=======\n>>>>>>> y\n", "the marks of a merge conflict"),
            ('{"nbformat": 9}', "Its version is 9.0"),
            ("deleted", "'analysis.ipynb' was deleted or renamed during the run."),
            ("directory", "'analysis.ipynb' is a directory, not a notebook."),
            ("link", "'analysis.ipynb' is a symbolic link"),
            ("pipe", "'analysis.ipynb' is not a regular file."),
        ],
    )
    def test_what_is_there_stays(self, case: Case, kind: str, words: str) -> None:
        case.run(0)
        case.save()
        put(kind, case.path)
        before = case.path.lstat() if kind != "deleted" else None
        case.run(2)
        case.save()
        assert case.saver.trouble == ""
        assert case.saver.saved == (BESIDE,)
        (note,) = case.saver.notes
        assert words in note
        assert note.endswith(f"So the notebook as it was run, with its outputs, is in '{BESIDE}'.")
        assert case.outputs(BESIDE) == {"a": "out 0\n", "c": "out 2\n"}
        assert (case.path.lstat() if os.path.lexists(case.path) else None) == before
        if kind == "link":
            assert case.outputs("other.ipynb") == {"a": "", "c": ""}

    def test_once_it_can_be_read_again_the_results_get_into_it(self, case: Case) -> None:
        case.run(0)
        put('{"half": ', case.path)
        case.save()
        assert case.saver.saved == (BESIDE,)
        case.path.write_bytes(content(text("# new", "in"), *THREE))
        case.run(2)
        case.save()
        assert case.outputs() == case.outputs(BESIDE) == {"a": "out 0\n", "c": "out 2\n"}
        assert case.saver.saved == ("analysis.ipynb", BESIDE)
        assert len(case.saver.notes) == 2
        assert case.saver.notes[1].startswith("The notebook as it was run")

    def test_its_folder_is_gone(self, case: Case) -> None:
        """It is made again for what is saved beside; the projects directory itself is not."""
        folder = case.folder / "x"
        file = ProjectNotebook(case.files, "x/new.ipynb")
        saver = Saver(file, Notebook.parse(case.path.read_bytes()), None)
        saver.result(0, printed("out\n"), 1, TIMES)
        saver.save()
        shutil.rmtree(folder)
        saver.save()
        assert (saver.trouble, saver.saved) == ("", (os.path.join("x", "new (outputs).ipynb"),))
        assert os.listdir(folder) == ["new (outputs).ipynb"]
        shutil.rmtree(case.folder)
        saver.result(0, printed("more\n"), 1, TIMES)
        saver.save()
        assert "does not exist" in saver.trouble
        assert not case.folder.exists()


class TestTrouble:
    """What cannot be saved is kept for the next time."""

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
    def test_a_failing_disk(self, case: Case, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        def fail(fd: int) -> None:
            raise OSError(number, os.strerror(number))

        before = case.path.read_bytes()
        case.run(0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            case.save()
            assert case.saver.trouble.startswith("'analysis.ipynb' could not be ")
            case.save()
        assert (case.path.read_bytes(), case.names) == (before, ["analysis.ipynb"])
        assert case.saver.saved == ()
        case.save()
        assert (case.saver.trouble, case.outputs()["a"]) == ("", "out 0\n")

    def test_a_real_full_disk(self) -> None:
        folder = Path(tempfile.mkdtemp())
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
            folder.rmdir()
            pytest.skip("nothing can be mounted here")
        try:
            case = Case(folder)
            (folder / "filler").write_bytes(bytes(700_000))
            before = case.path.read_bytes()
            case.saver.result(0, printed(("x" * 79 + "\n") * 6000), 1, TIMES)
            case.save()
            assert case.saver.trouble == "'analysis.ipynb' could not be saved: the disk is full."
            assert (case.path.read_bytes(), case.names) == (before, ["analysis.ipynb", "filler"])
            (folder / "filler").unlink()
            case.save()
            assert case.saver.trouble == ""
            assert len(case.outputs()["a"]) == 480_000
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
            folder.rmdir()

    def test_a_read_only_file(self, case: Case) -> None:
        case.path.chmod(0o444)
        case.run(0)
        case.save()
        assert "it or its folder is read-only" in case.saver.trouble
        case.path.chmod(0o644)
        case.save()
        assert (case.saver.trouble, case.outputs()["a"]) == ("", "out 0\n")

    def test_a_full_disk_beside(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        """What can be put into the file is, all the same."""
        write = ProjectNotebook.write

        def full(file: ProjectNotebook, pieces: Iterable[bytes], expected: Stamp | None) -> Stamp:
            if file.name == BESIDE:
                raise RuntimeError("of our own making")
            return write(file, pieces, expected)

        case.run(0, 2)
        case.path.write_bytes(content(code("changed", "ia"), code("c", "ic")))
        with monkeypatch.context() as patch:
            patch.setattr(ProjectNotebook, "write", full)
            case.save()
        assert case.saver.trouble == (
            "'analysis.ipynb' could not be saved: RuntimeError: of our own making."
        )
        assert case.outputs() == {"changed": "", "c": "out 2\n"}
        case.save()
        assert (case.saver.trouble, case.saver.saved) == ("", ("analysis.ipynb", BESIDE))


# -- the same cells


def cells(*sources: str, ids: str = "") -> list[Cell]:
    """Code cells, or text for what begins with #."""
    return [
        Cell(ids[n : n + 1].strip() or None, "markdown" if source[0] == "#" else "code", source)
        for n, source in enumerate(sources)
    ]


@pytest.mark.parametrize(
    ("ran", "theirs", "found"),
    [
        (cells("a", "b"), cells("a", "b"), {0: 0, 1: 1}),
        (cells("a", "b"), cells("#", "a", "b"), {0: 1, 1: 2}),
        (cells("a", "b"), cells("b"), {1: 0}),
        (cells("a", "b"), cells("b", "a"), {0: 1, 1: 0}),
        # Of equal sources only the one at the same place is the same.
        (cells("x", "x"), cells("x", "x"), {0: 0, 1: 1}),
        (cells("x", "y", "x"), cells("y", "x", "x"), {1: 0, 2: 2}),
        (cells("x", "y"), cells("y", "x", "x"), {1: 0}),
        # Text is no code.
        (cells("a", "#"), cells("#", "#"), {}),
        # By id.
        (cells("a", "b", ids="12"), cells("b", "a", ids="21"), {0: 1, 1: 0}),
        (cells("a", "b", ids="12"), cells("b", "a", ids="12"), {}),
        (cells("a", "a", ids="12"), cells("a", ids="2"), {1: 0}),
        (cells("a", ids="1"), cells("b", "a", ids="12"), {}),
        # Ids that came or went.
        (cells("a", "b"), cells("b", "a", ids="12"), {0: 1, 1: 0}),
        (cells("a", "b", ids="12"), cells("b", "a"), {0: 1, 1: 0}),
        (cells("a", "b", ids="12"), cells("b", "a", ids="2x"), {0: 1, 1: 0}),
    ],
)
def test_the_same_cell(ran: list[Cell], theirs: list[Cell], found: dict[int, int]) -> None:
    assert places(ran, theirs) == found


def without_results(notebook: dict[str, Any]) -> dict[str, Any]:
    """A notebook's content but for what an execution leaves."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook["cells"]:
        cell.pop("outputs", None)
        cell.pop("execution_count", None)
        cell["metadata"].pop("execution", None)
        cell["source"] = "".join(cell["source"])
    return notebook


_names = st.sampled_from(["a", "b", "c", "d", "é\n\ud83d"[:2], '"\\'])
_metadata = st.dictionaries(_names, st.one_of(st.integers(), st.text(max_size=5)), max_size=2)
_cells = st.lists(
    st.tuples(st.sampled_from(["code", "markdown"]), _names, _metadata, st.booleans()), max_size=6
)


def _content(drawn: list[Any], minor: int, ids: list[int], indent: int | None) -> bytes:
    made = []
    for (kind, source, metadata, has_output), ident in zip(drawn, ids, strict=False):
        cell = code(source) if kind == "code" else text(source)
        cell["metadata"] = metadata
        if kind == "code" and has_output:
            cell |= {"outputs": printed("theirs\n"), "execution_count": 7}
        made.append(cell | ({"id": f"i{ident}"} if minor >= 5 else {}))
    return json.dumps(json.loads(content(*made, minor=minor, title="x")), indent=indent).encode()


@settings(max_examples=150, deadline=None)
@given(
    ran=_cells,
    theirs=_cells,
    minors=st.tuples(st.sampled_from([4, 5]), st.sampled_from([4, 5])),
    order=st.permutations(range(6)),
    indent=st.sampled_from([None, 1, 4]),
)
def test_nothing_in_theirs_changes_but_results(
    ran: list[Any], theirs: list[Any], minors: tuple[int, int], order: list[int], indent: int | None
) -> None:
    """And each result is there, or the notebook as it was run is beside."""
    with tempfile.TemporaryDirectory() as folder:
        data = _content(ran, minors[0], [*range(6)], 1)
        case = Case(Path(folder), data)
        executed = [n for n, cell in enumerate(ran) if cell[0] == "code"]
        case.run(*executed)
        theirs_data = _content(theirs, minors[1], order, indent)
        case.path.write_bytes(theirs_data)
        case.saver.save()
        assert case.saver.trouble == ""
        found, before = json.loads(case.path.read_bytes()), json.loads(theirs_data)
        assert without_results(found) == without_results(before)
        written = {
            int(cell["outputs"][0]["text"][0].split()[1])
            for cell, old in zip(found["cells"], before["cells"], strict=True)
            if cell != old
        }
        beside = Path(folder) / BESIDE
        assert beside.exists() == (written != set(executed))
        if beside.exists():
            assert without_results(json.loads(beside.read_bytes())) == without_results(
                json.loads(data)
            )
        if not written:
            assert case.path.read_bytes() == theirs_data


# -- another process


_WRITER = """
import json, os, random, sys, time
path, way, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])

def read():
    try:
        with open(path) as file:
            return json.load(file)
    except ValueError:
        return None

notebook = read()
lost = []
print("begin", flush=True)
for number in range(1, rounds + 1):
    notebook["cells"][1]["source"] = f"# {number}"
    text = json.dumps(notebook)
    if way == "replace":
        with open(path + ".theirs", "w") as file:
            file.write(text)
        os.replace(path + ".theirs", path)
    else:
        with open(path, "w") as file:
            file.write(text[: len(text) // 2])
            file.flush()
            file.write(text[len(text) // 2 :])
    # For a moment a version of ours that is taken back may be seen.
    deadline = time.monotonic() + 20
    while (found := read()) is None or "".join(found["cells"][1]["source"]) != f"# {number}":
        if time.monotonic() > deadline:
            lost.append(number)
            break
    time.sleep(random.uniform(0, 0.01))
print(json.dumps(lost), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names cannot be exchanged here")
@pytest.mark.parametrize("way", ["replace", "in place"])
@pytest.mark.timeout(300)
def test_somebody_who_saves_again_and_again_loses_nothing(
    case: Case, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each version that another process writes is there until it writes the next one, whatever we
    save; and in the end our outputs are in it.

    One way is left to lose one: whoever writes in place has found the old file, but not yet emptied
    it, when that is looked at for the last time. These are microseconds, unless the machine stops
    the writer right there.
    """
    counts: Counter[str] = Counter()
    exchange, put_back = Folder.exchange, replacing._put_back

    def exchanging(self: Folder, one: str, other: str) -> bool:
        counts["exchanged"] += 1
        # So that there is time for a change after the last look.
        time.sleep(0.002)
        return exchange(self, one, other)

    def putting_back(*args: Any) -> None:
        counts["put back"] += 1
        put_back(*args)

    monkeypatch.setattr(Folder, "exchange", exchanging)
    monkeypatch.setattr(replacing, "_put_back", putting_back)
    rounds = 500
    command = [sys.executable, "-c", _WRITER, str(case.path), way, str(rounds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begin\n"
        while writer.poll() is None:
            # Quicker than a run would, which waits a second.
            case.run(0, 2, words=str(counts["saved"]))
            case.saver.save()
            assert case.saver.trouble == ""
            counts["saved"] += "analysis.ipynb" in case.saver.saved
        lost = json.loads(writer.stdout.readline())
    assert writer.returncode == 0
    assert len(lost) <= (way == "in place"), lost
    case.run(0, 2, words="last")
    case.save()
    assert case.outputs() == {"a": "last 0\n", "c": "last 2\n"}
    last = json.loads(case.path.read_bytes())["cells"][1]
    assert "".join(last["source"]) == f"# {rounds}"
    assert min(counts["saved"], counts["put back"]) > 0, counts


def test_memory(projects: Path) -> None:
    """Saving 50 MB of outputs takes less than 10 MB more."""
    case = Case(projects)
    images = [
        {
            "output_type": "display_data",
            "data": {"image/png": f"{n:06}" + "A" * 100_000},
            "metadata": {},
        }
        for n in range(500)
    ]
    case.saver.result(0, images, 1, TIMES)
    peaks = []
    tracemalloc.start()
    try:
        for _ in range(2):
            gc.collect()
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            case.saver.save()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
            case.saver.result(0, images, 2, TIMES)
    finally:
        tracemalloc.stop()
    assert case.saver.trouble == ""
    assert case.path.stat().st_size > 50_000_000
    assert max(peaks) < 10_000_000
