"""The comparison with other servers works. What it measures is not asserted here."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.bench import peers, peers_envs
from tests.bench.peers_adapters import Floor, Ours, Peer, Seed
from tests.bench.peers_measure import MEASURES


def _rows(out: str) -> dict[str, dict[str, str]]:
    """Cells by server and column, of a table in Markdown."""
    lines = [line for line in out.splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {cells[0]: dict(zip(head, cells, strict=True)) for cells in rows}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which temporary ones are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_the_servers_of_the_checkout_do_all_the_work(
    temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each answer is checked by the command: a wrong one would stand in its cell. Afterwards
    there is no process and no file of theirs."""
    names = ["ours", "seed", "floor"]
    before = set(psutil.Process().children(recursive=True))
    code = peers.main(["--only", *names, "--repeat", "1", "--markdown"])
    table = _rows(capsys.readouterr().out)
    assert code == 0
    assert list(table) == names
    ours, *others = table.values()
    assert all(" ms" in ours[measure] for measure in MEASURES[:-1])
    assert "the rest by a further call" in ours["10 MB of text"]
    for row in others:
        assert all(" ms" in row[measure] for measure in MEASURES[:3])
        assert "all, in" in row["10 MB of text"]
        assert (row["200 cells"], row["figure"]) == ("–", "no image")
    assert all(row["memory"].endswith(" MB") for row in table.values())
    assert set(psutil.Process().children(recursive=True)) <= before
    assert list(temporary.iterdir()) == []


class _Broken(Floor):
    """Ends before it has answered."""

    name = home = "broken"

    def command(self) -> Sequence[str]:
        return (str(self.python), "-c", "raise SystemExit('It has no luck today')")


class _Liar(Floor):
    """Answers, but not what the code says."""

    name = "liar"

    def text(self, result: object) -> str:
        return "a lie"


@pytest.mark.slow
def test_what_does_not_install_start_or_answer_rightly_is_a_row_with_the_reason(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Missing(Seed):
        name = home = "missing"

    def interpreter(name: str, folder: Path) -> Path:
        if name == "missing":
            raise peers_envs.NotInstalled("not installable, exit code 1")
        return real(name, folder)

    real = peers_envs.interpreter
    kinds: tuple[type[Peer], ...] = (Missing, _Broken, _Liar)
    monkeypatch.setattr(peers, "PEERS", kinds)
    monkeypatch.setattr(peers_envs, "interpreter", interpreter)
    assert peers.main(["--repeat", "1", "--markdown"]) == 1
    table = _rows(capsys.readouterr().out)
    assert table["missing"]["start"] == "not installable, exit code 1"
    assert table["broken"]["start"] == "no answer: It has no luck today"
    liar = table["liar"]
    assert liar["start"].endswith(" ms")
    assert liar["first result"] == liar["warm run"] == "wrong answer: a lie"
    assert list(temporary.iterdir()) == []


def test_every_peer_is_pinned_exactly() -> None:
    for name, pins in peers_envs.PINS.items():
        assert pins[0].partition("==")[0] == name
        assert all(pin.count("==") == 1 for pin in pins)
    assert {kind.home for kind in peers.PEERS} >= peers_envs.PINS.keys()
    assert Ours in peers.PEERS
