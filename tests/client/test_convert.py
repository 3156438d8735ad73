"""`rmi-agent export`: a notebook becomes HTML or a script, without a server."""

from __future__ import annotations

import importlib
import json
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest

from client.convert import ConvertError, convert
from tests.client.command import Command
from tests.conftest import ROOT

v4 = nbformat.v4


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook with words, an output and a magic."""
    made = v4.new_notebook(metadata={"language_info": {"name": "python"}})
    code = v4.new_code_cell("x = 20\nx + 1", execution_count=1)
    code.outputs = [
        v4.new_output("stream", name="stdout", text="né\n"),
        v4.new_output("execute_result", {"text/plain": "twenty-one"}, execution_count=1),
    ]
    made.cells = [v4.new_markdown_cell("# Títle"), code, v4.new_code_cell("%time 1")]
    path = tmp_path / "my report.ipynb"
    nbformat.write(made, path)
    return path


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`missing("jupytext")`: as if that were not installed."""
    absent: set[str] = set()

    def load(name: str) -> Any:
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return importlib.import_module(name)

    monkeypatch.setattr("client.convert.import_module", load)
    return absent.add


def leftovers(path: Path) -> list[str]:
    """Files of a conversion that did not come to its end."""
    return [each.name for each in path.parent.iterdir() if each.suffix == ".tmp"]


class TestHtml:
    def test_stands_beside_the_notebook_with_outputs_and_its_name_as_title(self, notebook: Path):
        path = convert(notebook, "html")
        assert path == notebook.with_name("my report.html")
        text = path.read_text(encoding="utf-8")
        assert "<title>my report</title>" in text
        assert all(words in text for words in ("Títle", "né", "twenty-one"))
        assert leftovers(notebook) == []

    def test_nothing_is_downloaded(self, notebook: Path, monkeypatch: pytest.MonkeyPatch):
        def refuse(*_: object) -> None:
            raise AssertionError("it connects")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        convert(notebook, "html")


class TestScript:
    def test_has_a_percent_line_for_each_cell(self, notebook: Path):
        path = convert(notebook, "py")
        assert path == notebook.with_name("my report.py")
        text = path.read_text(encoding="utf-8")
        assert "# %% [markdown]\n# # Títle\n" in text
        assert "# %%\nx = 20\nx + 1\n" in text
        assert "# %time 1\n" in text
        sources = [cell.source for cell in jupytext.reads(text, fmt="py:percent").cells]
        assert sources == ["# Títle", "x = 20\nx + 1", "%time 1"]

    def test_without_jupytext_it_is_that_of_nbconvert(self, notebook: Path, missing: Any):
        missing("jupytext")
        text = convert(notebook, "py").read_text(encoding="utf-8")
        assert "x = 20\nx + 1\n" in text
        assert "get_ipython()" in text
        assert "# %%" not in text

    def test_of_another_language_is_refused(self, notebook: Path):
        found = json.loads(notebook.read_text())
        found["metadata"] = {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}
        notebook.write_text(json.dumps(found))
        with pytest.raises(ConvertError, match="is written in R; only Python"):
            convert(notebook, "py")
        convert(notebook, "html")


class TestMissingPackages:
    @pytest.mark.parametrize("package", ["nbconvert", "nbformat"])
    def test_the_extra_is_named(self, notebook: Path, missing: Any, package: str):
        missing(package)
        with pytest.raises(ConvertError) as told:
            convert(notebook, "html")
        assert str(told.value) == (
            f"Converting to html takes {package}, which {sys.executable} does not have. Install "
            f"it there with pip or uv, as `{package}`; the extra `export` has it, too"
        )
        assert not notebook.with_suffix(".html").exists()

    def test_a_script_takes_one_of_two(self, notebook: Path, missing: Any):
        missing("jupytext")
        missing("nbconvert")
        with pytest.raises(ConvertError, match="Converting to py takes nbconvert"):
            convert(notebook, "py")


class TestExistingFiles:
    def test_are_not_replaced_unasked(self, notebook: Path):
        path = notebook.with_suffix(".py")
        path.write_text("mine")
        with pytest.raises(ConvertError, match="exists already; --overwrite replaces it, -o names"):
            convert(notebook, "py")
        assert path.read_text() == "mine"

    def test_keep_their_mode_when_replaced(self, notebook: Path):
        path = notebook.with_suffix(".py")
        path.write_text("mine")
        path.chmod(0o640)
        convert(notebook, "py", overwrite=True)
        assert "x = 20" in path.read_text(encoding="utf-8")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert leftovers(notebook) == []

    def test_behind_a_link_are_replaced_there(self, notebook: Path, tmp_path: Path):
        real, link = tmp_path / "real.py", tmp_path / "link.py"
        real.write_text("mine")
        link.symlink_to(real)
        convert(notebook, "py", link, overwrite=True)
        assert link.is_symlink()
        assert "x = 20" in real.read_text(encoding="utf-8")

    def test_one_that_appears_meanwhile_is_kept(
        self, notebook: Path, monkeypatch: pytest.MonkeyPatch
    ):
        path = notebook.with_suffix(".py")

        def load(name: str) -> Any:
            path.write_text("mine")
            return importlib.import_module(name)

        monkeypatch.setattr("client.convert.import_module", load)
        with pytest.raises(ConvertError, match="exists already"):
            convert(notebook, "py")
        assert path.read_text() == "mine"
        assert leftovers(notebook) == []

    def test_the_notebook_itself_is_never_replaced(self, notebook: Path):
        before = notebook.read_bytes()
        with pytest.raises(ConvertError, match="is the notebook itself; -o names another"):
            convert(notebook, "py", notebook, overwrite=True)
        assert notebook.read_bytes() == before

    def test_what_is_no_file_is_refused(self, notebook: Path, tmp_path: Path):
        for overwrite in (False, True):
            with pytest.raises(ConvertError, match="is no regular file"):
                convert(notebook, "py", tmp_path, overwrite)


class TestNoNotebook:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"print(1)", "is no notebook: it is not JSON"),
            (b"\xff\xfe", "is no notebook: it is not JSON"),
            (b"[" * 100_000, "is no notebook: it is not JSON"),
            (b"[]", "is no notebook: it has no cells"),
            (b"{}", "is no notebook: it has no cells"),
            (b'{"cells": 5}', "cannot be converted to html: TypeError: "),
            (b'{"cells": [], "nbformat": 99}', "cannot be converted to html: NBFormatError: "),
            (b'{"cells": [{}], "nbformat": 4}', "cannot be converted to html: ValidationError: "),
        ],
    )
    def test_is_told_in_a_sentence(self, tmp_path: Path, content: bytes, words: str):
        file = tmp_path / "a.ipynb"
        file.write_bytes(content)
        with pytest.raises(ConvertError) as told:
            convert(file, "html")
        assert str(told.value).startswith(f"{file} {words}")
        assert "\n" not in str(told.value)
        assert [each.name for each in tmp_path.iterdir()] == ["a.ipynb"]

    def test_older_forms_and_odd_characters_are_converted(self, tmp_path: Path):
        cell = {"cell_type": "code", "input": "'\\ud800'", "outputs": [], "language": "python"}
        old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}}
        text = json.dumps({**old, "worksheets": [{"metadata": {}, "cells": [cell]}]})
        file = tmp_path / "a.ipynb"
        file.write_text(text.replace("\\\\", "\\"), encoding="utf-8-sig")
        assert "'?'" in convert(file, "py").read_text(encoding="utf-8")
        convert(file, "html")

    def test_missing_files_and_folders(self, notebook: Path, tmp_path: Path):
        absent = tmp_path / "no.ipynb"
        with pytest.raises(ConvertError, match=f"^There is no file {absent}.$"):
            convert(absent, "py")
        with pytest.raises(ConvertError, match=f"^There is no folder {tmp_path / 'no'}.$"):
            convert(notebook, "py", tmp_path / "no" / "a.py")
        with pytest.raises(ConvertError, match=r"Is a directory.$"):
            convert(tmp_path, "py")


def test_its_packages_are_loaded_when_they_are_needed():
    names = ["nbformat", "nbconvert", "jupytext"]
    program = f"import sys, client.cli; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "[]\n"


class TestCommand:
    def test_it_writes_and_says_where(self, command: Command, notebook: Path):
        done = command("export", str(notebook), "--to", "py", "-o", "new.py")
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"{notebook} is in new.py.\n"
        assert "x = 20" in (command.cwd / "new.py").read_text(encoding="utf-8")
        again = command("export", str(notebook), "--to", "html", "-o", "new.py", "--overwrite")
        assert (again.returncode, again.stdout) == (0, "")
        assert again.stderr == f"{notebook} is in new.py.\n"
        assert "<html" in (command.cwd / "new.py").read_text(encoding="utf-8")

    def test_a_failure_is_one_sentence_and_exit_code_2(self, command: Command):
        done = command("export", "no.ipynb", "--to", "html")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "rmi-agent: There is no file no.ipynb.\n"

    def test_what_it_becomes_has_to_be_said(self, command: Command, notebook: Path):
        for words in ([], ["--to", "pdf"]):
            done = command("export", str(notebook), *words)
            assert (done.returncode, done.stdout) == (2, "")
            assert "--to" in done.stderr.splitlines()[-1]
