"""A host's file is replaced whole or not at all, and never one that is not understood."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest

from client.hosts.errors import HostError
from client.hosts.files import backup_of, load, save


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "mcp.json"


def written(file: Path, data: bytes) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    return file


def mode_of(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_a_text_comes_back_as_it_is(file: Path) -> None:
    """Line ends and a byte order mark are the file's own."""
    data = b'\xef\xbb\xbf{\r\n"\xc3\xbc": 1\n}\r'
    text = load(written(file, data))
    assert text is not None
    save(file, text, text + " ", private=True)
    assert file.read_bytes() == data + b" "


def test_no_file_is_none(file: Path) -> None:
    assert load(file) is None


def test_a_new_file_comes_with_its_folders_and_is_the_users_alone(file: Path) -> None:
    assert save(file, None, "{}", private=True) is None
    assert file.read_text() == "{}"
    assert mode_of(file) == 0o600
    assert os.listdir(file.parent) == ["mcp.json"]


def test_a_projects_new_file_has_the_usual_mode(file: Path) -> None:
    mask = os.umask(0o027)
    try:
        save(file, None, "{}", private=False)
    finally:
        os.umask(mask)
    assert mode_of(file) == 0o640


def test_the_mode_stays_and_the_former_text_is_kept_with_it(file: Path) -> None:
    written(file, b"old").chmod(0o640)
    backup = save(file, "old", "new", private=True)
    assert backup == backup_of(file) == file.with_name("mcp.json.rmi-agent-backup")
    assert (file.read_text(), backup.read_text()) == ("new", "old")
    assert mode_of(file) == mode_of(backup) == 0o640


def test_there_is_one_kept_text_however_many_changes(file: Path) -> None:
    written(file, b"0")
    for number in range(3):
        save(file, str(number), str(number + 1), private=True)
    assert sorted(os.listdir(file.parent)) == ["mcp.json", "mcp.json.rmi-agent-backup"]
    assert backup_of(file).read_text() == "2"


def test_an_empty_file_is_not_worth_keeping(file: Path) -> None:
    assert save(written(file, b"\n"), "\n", "{}", private=True) is None
    assert os.listdir(file.parent) == ["mcp.json"]


def test_a_link_goes_on_to_lead_to_the_file(file: Path, tmp_path: Path) -> None:
    """As of people who keep such files elsewhere; what is kept stands where the host looks."""
    real = tmp_path / "dotfiles.json"
    real.write_text("old")
    file.parent.mkdir()
    file.symlink_to(real)
    assert save(file, load(file), "new", private=True) == backup_of(file)
    assert file.is_symlink()
    assert (real.read_text(), backup_of(file).read_text()) == ("new", "old")
    assert sorted(os.listdir(tmp_path)) == ["dotfiles.json", "folder"]


def test_a_link_to_nothing_yet_leads_to_the_new_file(file: Path, tmp_path: Path) -> None:
    file.parent.mkdir()
    file.symlink_to(tmp_path / "later.json")
    assert load(file) is None
    save(file, None, "new", private=True)
    assert file.is_symlink()
    assert (tmp_path / "later.json").read_text() == "new"


def test_what_another_program_has_changed_meanwhile_stays(file: Path) -> None:
    written(file, b"theirs")
    with pytest.raises(HostError, match=r"was changed by another program just now\. Try again"):
        save(file, "old", "new", private=True)
    assert file.read_text() == "theirs"


def test_a_file_that_has_appeared_meanwhile_stays(file: Path) -> None:
    written(file, b"theirs")
    with pytest.raises(HostError, match="was changed by another program"):
        save(file, None, "new", private=True)
    assert file.read_text() == "theirs"


def test_nothing_is_left_of_a_write_that_fails(file: Path) -> None:
    written(file, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # stands for a disk that is full
    try:
        with pytest.raises(HostError, match="cannot be written: File too large"):
            save(file, "old", "x" * 1001, private=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_text() == "old"
    assert not [name for name in os.listdir(file.parent) if name.startswith(".")]


def test_a_directory_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="is a directory, where a file should be"):
        load(tmp_path)


def test_a_pipe_is_not_waited_for(file: Path) -> None:
    file.parent.mkdir()
    os.mkfifo(file)
    with pytest.raises(HostError, match="is no ordinary file"):
        load(file)


def test_a_huge_file_is_not_read(file: Path) -> None:
    written(file, b"")
    os.truncate(file, 17 * 1024 * 1024)
    with pytest.raises(HostError, match=r"has 17 MB, more than a configuration has"):
        load(file)


def test_another_encoding_is_told_with_the_line(file: Path) -> None:
    with pytest.raises(HostError, match=r"is not in UTF-8 \(line 2\), and stays as it is"):
        load(written(file, "{\n// grün".encode("latin-1")))


def test_a_circle_of_links_is_told(file: Path) -> None:
    file.parent.mkdir()
    file.symlink_to(file)
    with pytest.raises(HostError, match=r"cannot be read: .*symbolic links"):
        load(file)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written_is_told(file: Path) -> None:
    written(file, b"old").chmod(0)
    with pytest.raises(HostError, match="cannot be read: Permission denied"):
        load(file)
    file.chmod(0o400)
    with pytest.raises(HostError, match="is protected from being written"):
        save(file, "old", "new", private=True)


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match=r"cannot be (read|written): "):
        save(tmp_path / "file" / "mcp.json", None, "{}", private=True)
