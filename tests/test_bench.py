"""The benchmark command works. What it measures is not asserted here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT


def _bench(rows: list[str], file: Path, timeout: float) -> list[Any]:
    """What is written about each of the rows, which the table shows."""
    options = ["--rows", *rows, "--repeat", "1", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    # 3 says that a row is over its bound, which a busy machine may bring about.
    assert done.returncode in (0, 3), done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split()[:3] == ["row", "ours", "baseline"]
    facts = json.loads(file.read_text())["rows"]
    assert [line.split()[0] for line in lines] == [row["name"] for row in facts] == rows
    assert all(line.split()[-1] in ("ok", "OVER") for line in lines)
    return list(facts)


@pytest.mark.slow
def test_it_prints_a_table_and_writes_its_samples(tmp_path: Path) -> None:
    rows = _bench(["warm", "start"], tmp_path / "samples.json", 100)
    for row in rows:
        assert len(row["ours_ms"]) == len(row["baseline_ms"]) > 0
        assert all(sample > 0 for sample in row["ours_ms"] + row["baseline_ms"])


@pytest.mark.slow
def test_the_rows_over_http_are_measured(tmp_path: Path) -> None:
    """Their baseline may have two parts; the memory of a session has no samples."""
    names = ["http-warm", "load-8", "fair-8", "memory-idle"]
    rows = _bench(names, tmp_path / "samples.json", 300)
    warm, load, fair, idle = rows
    assert len(warm["baseline_ms"]) == 2 * len(warm["ours_ms"]) > 0
    assert len(load["ours_ms"]) == len(load["baseline_ms"]) == 1
    # No percentile is below the median.
    assert fair["ratio"] >= 1
    assert idle["ours_mb"] < 50
