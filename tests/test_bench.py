"""The benchmark command works. What it measures is not asserted here."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.bench import __main__ as command
from tests.bench import load
from tests.bench.rows import ROWS
from tests.conftest import ROOT


def _options(rows: list[str], file: Path) -> list[str]:
    return ["--rows", *rows, "--repeat", "1", "--json", str(file)]


def _told(rows: list[str], file: Path, code: int, out: str) -> list[Any]:
    """What is written about each of the rows, which the table shows."""
    # 3 says that a row is over its bound, which a busy machine may bring about.
    assert code in (0, 3)
    head, *lines = out.splitlines()
    assert head.split()[:3] == ["row", "ours", "baseline"]
    facts = json.loads(file.read_text())["rows"]
    assert [line.split()[0] for line in lines] == [row["name"] for row in facts] == rows
    assert all(line.split()[-1] in ("ok", "OVER") for line in lines)
    return list(facts)


@pytest.mark.slow
def test_it_prints_a_table_and_writes_its_samples(tmp_path: Path) -> None:
    names, file = ["warm", "pool", "close", "start"], tmp_path / "samples.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *_options(names, file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout, done.stderr
    for row in _told(names, file, done.returncode, done.stdout):
        assert len(row["ours_ms"]) == len(row["baseline_ms"]) > 0
        assert all(sample > 0 for sample in row["ours_ms"] + row["baseline_ms"])


@pytest.mark.slow
def test_the_rows_over_http_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their baseline may have two parts; the memory of a session has no samples. Here with fewer
    sessions and calls than the rows of the command have."""
    rows = {row.name: row for row in ROWS}
    fewer = (
        replace(rows["http-warm"], pairs=3),
        replace(rows["load-8"], name="load-2", measure=load.throughput(2)),
        replace(rows["fair-8"], name="fair-2", measure=load.fairness(2)),
    )
    monkeypatch.setattr(load, "_WARM_UP", 3)
    monkeypatch.setattr(load, "_RUNS", 5)
    monkeypatch.setattr(command, "ROWS", fewer)
    monkeypatch.setattr(command, "idle_session", partial(load.idle_session, further=3))
    names, file = ["http-warm", "load-2", "fair-2", "memory-idle"], tmp_path / "samples.json"
    code = command.main(_options(names, file))
    warm, loaded, fair, idle = _told(names, file, code, capsys.readouterr().out)
    assert len(warm["baseline_ms"]) == 2 * len(warm["ours_ms"]) == 6
    assert len(loaded["ours_ms"]) == len(loaded["baseline_ms"]) == 1
    # No percentile is below the median.
    assert fair["ratio"] >= 1
    assert idle["ours_mb"] < 50
