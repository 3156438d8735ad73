"""What of a result is shown where, and which exit code it means."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from client.show import exit_code, show

PIXEL = base64.b64encode(b"\x89PNG of a pixel").decode()


def text(words: str) -> SimpleNamespace:
    return SimpleNamespace(type="text", text=words)


def image(data: str = PIXEL, mime: str = "image/png") -> SimpleNamespace:
    return SimpleNamespace(type="image", data=data, mime_type=mime)


def result(*blocks: Any, is_error: bool = False, **facts: Any) -> Any:
    """A result of a run, which has facts, or of another tool."""
    if facts:
        facts = {"run_id": "7", "status": "ok", "state": "kept", "exit_code": 0, **facts}
        blocks = (*blocks, text("[the facts]"))
    meta = {"rmi-agent/run": facts} if facts else None
    return SimpleNamespace(content=list(blocks), meta=meta, is_error=is_error)


class TestExitCode:
    @pytest.mark.parametrize(
        ("facts", "code"),
        [
            ({"status": "ok", "exit_code": 0}, 0),
            ({"status": "error", "exit_code": 3}, 3),
            ({"status": "error", "exit_code": -1}, 255),
            ({"status": "error", "exit_code": 256}, 0),
            ({"status": "error", "exit_code": None}, 1),
            ({"status": "timeout", "exit_code": None}, 124),
            ({"status": "interrupted", "exit_code": 130}, 130),
            ({"status": "interrupted", "exit_code": None}, 130),
            ({"status": "died", "exit_code": 5, "signal": None}, 5),
            ({"status": "died", "exit_code": None, "signal": 11}, 139),
            ({"status": "died", "exit_code": None}, 1),
        ],
    )
    def test_is_the_programs_own_or_what_shells_give(self, facts, code):
        assert exit_code(facts) == code


class TestText:
    def test_of_the_program_goes_out_unchanged(self, capsys):
        assert show(result(text("a\n[stderr]\nb"), session="s"), Path()) == 0
        assert capsys.readouterr() == ("a\n[stderr]\nb", "[the facts]\n")

    def test_brief_says_facts_only_when_they_matter(self, capsys):
        show(result(text("a\n"), session="s"), brief=True)
        show(result(text("(No output)"), session="s"), brief=True)
        assert capsys.readouterr() == ("a\n", "")
        show(result(text("a\n"), state="lost"), brief=True)
        show(result(text("(No output)"), status="error", exit_code=1), brief=True)
        assert capsys.readouterr() == ("a\n", "[the facts]\n" * 2)

    def test_no_output_is_a_note_beside_the_facts(self, capsys):
        show(result(text("(No output)"), session="s"))
        assert capsys.readouterr() == ("", "(No output)\n[the facts]\n")

    def test_of_a_tool_that_ran_nothing(self, capsys):
        assert show(result(text("a"), text("b"))) == 0
        assert capsys.readouterr() == ("a\nb\n", "")

    def test_of_a_refusal_is_a_complaint(self, capsys):
        assert show(result(text("No."), is_error=True)) == 2
        assert show(result(is_error=True)) == 2
        refused = "rmi-agent: No.\nrmi-agent: The server refused, without a reason.\n"
        assert capsys.readouterr() == ("", refused)

    def test_embedded_text_is_shown_and_links_are_not(self, capsys):
        """A link leads to another form of what is shown anyway."""
        link = SimpleNamespace(type="resource_link", uri="rmi://run/7")
        embedded = SimpleNamespace(type="resource", resource=SimpleNamespace(text="whole\n"))
        show(result(link, embedded, SimpleNamespace(type="audio"), session="s"))
        assert capsys.readouterr().out == "whole\n[audio]\n"


class TestImages:
    def test_are_saved_in_order_and_named_with_their_caption(self, capsys, tmp_path):
        folder = tmp_path / "new" / "folder"
        caption = text("[image 1: PNG 1 × 1]")
        blocks = [text("a\n"), caption, image(), text("b\n"), image(mime="image/jpeg")]
        assert show(result(*blocks, session="s"), folder) == 0
        names = sorted(path.name for path in folder.iterdir())
        assert names == ["run-7-image-1.png", "run-7-image-2.jpg"]
        assert (folder / names[0]).read_bytes() == b"\x89PNG of a pixel"
        out, err = capsys.readouterr()
        assert out == "a\nb\n"
        assert err.splitlines() == [
            f"[image 1: PNG 1 × 1; saved as {folder / names[0]}]",
            f"[image; saved as {folder / names[1]}]",
            "[the facts]",
        ]

    def test_never_replace_a_file(self, tmp_path, capsys):
        (tmp_path / "run-7-image-1.png").write_text("mine")
        (tmp_path / "elsewhere").write_text("mine")
        (tmp_path / "run-7-image-1-2.png").symlink_to(tmp_path / "elsewhere")
        show(result(image(), session="s"), tmp_path)
        assert (tmp_path / "run-7-image-1-3.png").is_file()
        assert (tmp_path / "run-7-image-1.png").read_text() == "mine"
        assert (tmp_path / "elsewhere").read_text() == "mine"

    def test_stay_in_their_folder_whatever_the_server_says(self, tmp_path, capsys):
        inner = tmp_path / "inner"
        inner.mkdir()
        show(result(image(mime="image/../../x"), run_id="../../evil"), inner)
        assert [path.name for path in inner.iterdir()] == ["run-______evil-image-1.image"]
        assert [path.name for path in tmp_path.iterdir()] == ["inner"]

    def test_that_cannot_be_saved_are_a_failure_of_ours(self, tmp_path, capsys):
        (tmp_path / "file").touch()
        assert show(result(image(), text("b\n"), session="s"), tmp_path / "file") == 2
        assert show(result(image(data="%"), session="s"), tmp_path) == 2
        assert show(result(image(data="%"), status="error", exit_code=1), tmp_path) == 1
        out, err = capsys.readouterr()
        assert out == "b\n"
        assert err.count("; not saved in ") == 3
