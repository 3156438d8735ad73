"""Tokens: made once, stored as hashes in private files, effective without a restart."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.remote.token_command import main
from server.remote.tokens import PREFIX, TokenError, Tokens
from tests.conftest import ROOT


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where tokens are kept; not there yet."""
    return tmp_path / "state" / "tokens"


@pytest.fixture
def tokens(directory: Path) -> Tokens:
    return Tokens(directory)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What RMI_STATE_DIR names for the command."""
    path = tmp_path / "state"
    monkeypatch.setenv("RMI_STATE_DIR", str(path))
    monkeypatch.setenv("PYTHON_PROJECTS_DIR", str(tmp_path / "projects"))
    monkeypatch.delenv("RMI_TOKENS", raising=False)
    return path


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def age(directory: Path) -> None:
    """Make all files old enough for their contents to be remembered."""
    for file in directory.iterdir():
        os.utime(file, (1_700_000_000, 1_700_000_000))


def test_a_token_has_32_random_bytes_and_an_owner(tokens: Tokens) -> None:
    token, other = tokens.new("alice"), tokens.new("bob")
    assert re.fullmatch(PREFIX + r"[A-Za-z0-9_-]{43}", token)
    assert token != other
    assert (tokens.owner(token), tokens.owner(other)) == ("alice", "bob")


@pytest.mark.parametrize(
    "wrong",
    ["", " ", PREFIX, "x" * 47, "é" * 20, "\udcff", "\0", "x" * 100_000, "alice", "null"],
)
def test_anything_else_has_none(tokens: Tokens, wrong: str) -> None:
    token = tokens.new("alice")
    assert tokens.owner(wrong) is None
    assert tokens.owner(token + wrong) == ("alice" if wrong == "" else None)
    assert tokens.owner(token[:-1]) is None
    assert tokens.owner(token.swapcase()) is None
    assert tokens.owner(digest(token)) is None


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_files_are_private_and_hold_hashes(tokens: Tokens, directory: Path) -> None:
    token = tokens.new("alice")
    file = directory / "alice.json"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = json.loads(file.read_text())
    assert content.keys() == {"sha256", "created"}
    assert content["sha256"] == digest(token)


def test_no_folder_is_made_by_asking(tokens: Tokens, directory: Path) -> None:
    assert not tokens
    assert tokens.list() == []
    assert tokens.owner("x") is None
    assert not directory.parent.exists()


def test_list_tells_names_and_times(directory: Path) -> None:
    tokens = Tokens(directory, {"fixed": digest("f" * 40)})
    tokens.new("bob")
    tokens.new("alice")
    found = tokens.list()
    assert [token.name for token in found] == ["alice", "bob", "fixed"]
    assert found[0].created is not None and found[0].created.tzinfo is not None
    assert found[2].created is None


def test_tokens_of_the_settings(directory: Path) -> None:
    tokens = Tokens(directory, {"fixed": digest("f" * 40)})
    assert tokens
    assert tokens.owner("f" * 40) == "fixed"
    with pytest.raises(TokenError, match="RMI_TOKENS"):
        tokens.new("fixed")
    with pytest.raises(TokenError, match="RMI_TOKENS"):
        tokens.revoke("fixed")


def test_another_process_is_seen_at_once(tokens: Tokens, directory: Path) -> None:
    """A server that runs has a `Tokens` of its own, which keeps what it has read."""
    server = Tokens(directory)
    assert not server
    first = tokens.new("alice")
    assert server.owner(first) == "alice"
    age(directory)
    assert server.owner(first) == "alice"
    second = tokens.new("bob")
    assert (server.owner(first), server.owner(second)) == ("alice", "bob")
    tokens.revoke("alice")
    assert (server.owner(first), server.owner(second)) == (None, "bob")
    tokens.revoke("bob")
    assert not server


def test_a_file_that_changes_is_read_again(tokens: Tokens, directory: Path) -> None:
    """Whether its time stamp shows it, or the change came too soon for that."""
    first, second = tokens.new("alice"), tokens.new("bob")
    alice, bob = directory / "alice.json", directory / "bob.json"
    server = Tokens(directory)
    contents = alice.read_text(), bob.read_text()
    long_ago, now = 1_700_000_000 * 10**9, time.time_ns()
    for before, after in ((long_ago, long_ago + 1), (now, now)):
        alice.write_text(contents[0])
        os.utime(alice, ns=(before, before))
        bob.unlink(missing_ok=True)
        assert (server.owner(first), server.owner(second)) == ("alice", None)
        alice.write_text(contents[1])
        os.utime(alice, ns=(after, after))
        assert (server.owner(first), server.owner(second)) == (None, "alice")


def test_a_name_that_changes_hands_at_once(tokens: Tokens, directory: Path) -> None:
    server = Tokens(directory)
    for _ in range(100):
        old = tokens.new("alice")
        assert server.owner(old) == "alice"
        tokens.revoke("alice")
        new = tokens.new("alice")
        assert (server.owner(old), server.owner(new)) == (None, "alice")
        tokens.revoke("alice")


def test_a_name_is_taken_once(tokens: Tokens) -> None:
    token = tokens.new("alice")
    with pytest.raises(TokenError, match="already"):
        tokens.new("alice")
    assert tokens.owner(token) == "alice"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", "-x", ".x", "a b", "é", "a\n", "x" * 65, "con", "NUL.x"],
)
def test_names_that_cannot_be(tokens: Tokens, directory: Path, name: str) -> None:
    with pytest.raises(TokenError, match="name of a token"):
        tokens.new(name)
    with pytest.raises(TokenError, match="no token"):
        tokens.revoke(name)
    assert not directory.exists()


@pytest.mark.parametrize("name", ["a", "A.b_c-d", "0", "x" * 64, "console", "com10"])
def test_names_that_can(tokens: Tokens, name: str) -> None:
    assert tokens.owner(tokens.new(name)) == name


def test_revoking_what_is_not_there(tokens: Tokens) -> None:
    with pytest.raises(TokenError, match="no token 'alice'"):
        tokens.revoke("alice")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"sha256": 1, "created": "2026-01-01"}',
        b'{"sha256": "00", "created": "2026-01-01"}',
        b'{"created": "2026-01-01"}',
        b'{"sha256": "' + b"0" * 64 + b'", "created": "never"}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_broken_file_is_ignored_and_said_once(
    tokens: Tokens, directory: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    token = tokens.new("alice")
    broken = directory / "broken.json"
    broken.write_bytes(content)
    broken.chmod(0o600)
    age(directory)
    for _ in range(3):
        assert tokens.owner(token) == "alice"
    assert [token.name for token in tokens.list()] == ["alice"]
    assert len([record for record in caplog.records if "broken.json" in record.message]) == 1
    tokens.revoke("broken")
    tokens.new("broken")


def test_foreign_things_are_ignored(
    tokens: Tokens, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tokens.new("alice")
    (directory / "notes.txt").write_text("x")
    (directory / "folder.json").mkdir()
    (directory / "bad name.json").write_text("x")
    (directory / "link.json").symlink_to(directory / "alice.json")
    assert tokens.owner(token) == "alice"
    assert [token.name for token in tokens.list()] == ["alice"]
    assert len(caplog.records) == 4


def test_a_file_on_its_way_is_no_token_and_no_trouble(
    tokens: Tokens, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = tokens.new("alice")
    whole = (directory / "alice.json").read_bytes()
    for length in range(len(whole)):
        (directory / "alice.json").write_bytes(whole[:length])
        assert tokens.owner(token) is None
    (directory / "alice.json").write_bytes(whole)
    assert tokens.owner(token) == "alice"
    assert caplog.records == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_reach_is_ignored(
    tokens: Tokens, directory: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    token = tokens.new("alice")
    age(directory)
    assert tokens.owner(token) == "alice"
    (directory / "alice.json").chmod(mode)
    assert tokens.owner(token) is None
    assert tokens.owner(token) is None
    assert "others than you" in caplog.text
    assert len(caplog.records) == 1
    (directory / "alice.json").chmod(0o600)
    assert tokens.owner(token) == "alice"


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
@pytest.mark.parametrize("mode", [0o750, 0o705, 0o720, 0o777])
def test_a_folder_that_others_reach_is_refused(
    tokens: Tokens, directory: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    token = tokens.new("alice")
    directory.chmod(mode)
    assert tokens.owner(token) is None
    for ask in (tokens.list, lambda: tokens.new("bob")):
        with pytest.raises(TokenError, match="chmod 700"):
            ask()
    assert len(caplog.records) == 1
    tokens.revoke("alice")
    directory.chmod(0o700)
    assert tokens.owner(token) is None


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_what_cannot_be_trusted_does_not_open_the_server(tokens: Tokens, directory: Path) -> None:
    """Who has made a token does not want to do without, whatever has become of it."""
    tokens.new("alice")
    (directory / "alice.json").chmod(0o644)
    assert tokens and tokens.list() == []
    (directory / "alice.json").write_text("")
    assert tokens and tokens.list() == []
    directory.chmod(0o755)
    assert tokens
    tokens.revoke("alice")
    directory.chmod(0o700)
    assert not tokens


def test_a_folder_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    tokens = Tokens(tmp_path / "state" / "tokens")
    with pytest.raises(TokenError, match="RMI_STATE_DIR"):
        tokens.new("alice")
    (tmp_path / "tokens").write_text("a file")
    tokens = Tokens(tmp_path / "tokens")
    with pytest.raises(TokenError):
        tokens.new("alice")
    with pytest.raises(TokenError, match="not a folder"):
        tokens.list()


def test_nothing_shows_a_token(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tokens = Tokens(directory, {"fixed": digest("f" * 40)})
    token = tokens.new("alice")
    tokens.owner(token)
    with pytest.raises(TokenError) as raised:
        tokens.new("alice")
    shown = repr(tokens) + str(tokens.list()) + str(raised.value) + caplog.text
    shown += "".join(file.read_text() for file in directory.iterdir())
    assert token not in shown
    assert digest("f" * 40) not in repr(tokens)


def command(*words: str) -> int:
    return main(list(words))


def test_the_command_prints_the_token_alone(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("new", "alice") == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(PREFIX + r"\S{43}\n", out)
    assert "alice" in err and out.strip() not in err
    assert Tokens(state / "tokens").owner(out.strip()) == "alice"


def test_the_command_lists_and_revokes(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("list") == 0
    out, err = capsys.readouterr()
    assert out == "" and "no tokens" in err
    monkeypatch.setenv("RMI_TOKENS", "fixed:" + "f" * 40)
    command("new", "alice")
    capsys.readouterr()
    assert command("list") == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["alice", "fixed"]
    assert "f" * 40 not in out + err
    assert command("revoke", "alice") == 0
    assert command("revoke", "alice") == 1
    assert command("revoke", "fixed") == 1
    assert command("new", "fixed") == 1
    assert command("new", "../x") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("rmi-agent-mcp-server: ") == 4 and "Traceback" not in err


@pytest.mark.parametrize(
    "words",
    [[], ["x"], ["new"], ["new", "a", "b"], ["revoke"], ["list", "a"], ["NEW", "a"]],
)
def test_wrong_words_are_answered_with_the_usage(
    state: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("usage:")
    assert not state.exists()


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--help") == 0
    assert capsys.readouterr().out.startswith("usage:")


def test_wrong_settings_are_one_line(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RMI_TOKENS", "secret-without-a-name")
    assert command("list") == 2
    err = capsys.readouterr().err
    assert "RMI_TOKENS" in err and err.count("\n") == 1 and "secret" not in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_token_that_cannot_be_shown_is_revoked(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with os.fdopen(full, "wb", buffering=0) as raw:

        class Full:
            def write(self, text: str) -> int:
                return raw.write(text.encode()) or 0

            def flush(self) -> None:
                pass

        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", Full())
            assert command("new", "alice") == 1
    assert "revoked" in capsys.readouterr().err
    assert not Tokens(state / "tokens")


async def test_of_two_at_once_one_has_the_name(state: Path) -> None:
    """Processes that make the same name at the same moment; a server that reads meanwhile."""
    code = (
        "import sys; from server.remote.token_command import main; print('ready', file=sys.stderr);"
        "sys.stderr.flush(); sys.stdin.read(1); sys.exit(main(['new', 'alice']))"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stderr is not None
        assert await process.stderr.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
    server = Tokens(state / "tokens")
    gathered = asyncio.gather(*(process.communicate() for process in processes))
    while not gathered.done():
        assert server.owner("x") is None
        await asyncio.sleep(0)
    printed = [out.decode().strip() for out, _ in await gathered]
    codes = [process.returncode for process in processes]
    assert sorted(codes, key=str) == [0, 1, 1, 1]
    (token,) = filter(None, printed)
    assert server.owner(token) == "alice"
    assert [found.name for found in server.list()] == ["alice"]
