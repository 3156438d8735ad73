"""`python -m tests.bench`: measure, and print one table."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench.load import idle_session
from tests.bench.page import Unavailable
from tests.bench.rows import ROWS, Row, make_projects, memory_lines

_MEMORY = "memory"
_IDLE = "memory-idle"
#: Megabytes.
_IDLE_BOUND = 1.0


@dataclass(frozen=True)
class Line:
    """One printed line: texts for people, and `facts` for the JSON file."""

    cells: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def over(self) -> bool:
        """Whether it is over its bound."""
        return self.cells[-1] == "OVER"


async def _samples(row: Row, projects: Path, repeat: int) -> list[list[float]]:
    """Samples of all sides, taken in turn, so that what changes meanwhile meets all."""
    async with row.measure(projects) as sides:
        samples: list[list[float]] = [[] for _ in sides]
        order = list(zip(sides, samples, strict=True))
        gc.collect()
        for _ in range(repeat * row.pairs):
            for side, taken in order:
                taken.append(await side())
            # Ours goes first half of the time.
            order.reverse()
    return samples


def _measure(row: Row, projects: Path, repeat: int) -> list[Line]:
    ours, *others = asyncio.run(_samples(row, projects, repeat))
    mine, theirs = _quantile(ours, row.quantile), sum(map(statistics.median, others))
    ratio = mine / theirs
    if row.paired:
        ratio = statistics.median(a / b for a, b in zip(ours, others[0], strict=True))
    verdict = _verdict(ratio, row.bound)
    bound = "" if row.bound is None else f"{row.bound:g}"
    shown, scale = (_ms, 1000) if row.unit == "ms" else (_kb, 1)
    figures = (shown(mine), shown(theirs), row.baseline, f"{ratio:.3f}")
    cells = (row.name, row.title, *figures, bound, verdict)
    facts = {
        "name": row.name,
        "baseline": row.baseline,
        f"ours_{row.unit}": _all(ours, scale),
        # Where it has several parts, their samples come one part after the other.
        f"baseline_{row.unit}": [each for other in others for each in _all(other, scale)],
        "ratio": round(ratio, 4),
        "bound": row.bound,
        "ok": None if row.bound is None else ratio <= row.bound,
    }
    return [Line(cells, facts)]


def _verdict(ratio: float, bound: float | None) -> str:
    return "" if bound is None else "ok" if ratio <= bound else "OVER"


def _quantile(samples: Iterable[float], which: float) -> float:
    ordered = sorted(samples)
    if which == 0.5:
        return statistics.median(ordered)
    return ordered[max(0, math.ceil(which * len(ordered)) - 1)]


def _all(samples: Iterable[float], scale: float) -> list[float]:
    return [round(scale * sample, 3) for sample in samples]


def _ms(seconds: float) -> str:
    milliseconds = 1000 * seconds
    return f"{milliseconds:.2f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def _kb(kilobytes: float) -> str:
    return f"{kilobytes:.1f} kB"


def _memory(projects: Path) -> list[Line]:
    return [
        Line(
            (name, title, str(ours), str(other), which, "", "", ""),
            {"name": name, "baseline": which, "ours": asdict(ours), "other": asdict(other)},
        )
        for name, title, ours, other, which in memory_lines(projects)
    ]


def _idle(projects: Path) -> list[Line]:
    ours = asyncio.run(idle_session(projects))
    ratio = ours / _IDLE_BOUND
    which = f"{_IDLE_BOUND:g} MB"
    figures = (f"{ours:.2f} MB", which, which, f"{ratio:.3f}", "1", _verdict(ratio, 1))
    facts = {"name": _IDLE, "baseline": which, "ours_mb": round(ours, 4), "ok": ratio <= 1}
    return [Line((_IDLE, "the server, an idle session with client", *figures), facts)]


_HEAD = ("row", "", "ours", "baseline", "which", "ratio", "bound", "")


def _table(lines: Iterable[Line]) -> str:
    rows: Sequence[tuple[str, ...]] = [_HEAD, *(line.cells for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    numbers = (2, 3, 5, 6)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _machine() -> dict[str, str | int | None]:
    names = ("fastmcp", "jupyter_client", "ipykernel", "pyzmq")
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        **{name: version(name) for name in names},
    }


def main(argv: list[str] | None = None) -> int:
    """Returns 3 when a row is over its bound, and 1 when one could not be measured."""
    names = [row.name for row in ROWS] + [_MEMORY, _IDLE]
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="NAME",
                        help=f"only these rows: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--repeat", type=int, default=10, metavar="N",
                        help="repeats of each row (10)")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there, too")
    options = parser.parse_args(argv)
    repeat = max(1, options.repeat)
    measures: dict[str, Callable[[Path], list[Line]]] = {
        row.name: partial(_measure, row, repeat=repeat) for row in ROWS
    }
    measures[_MEMORY], measures[_IDLE] = _memory, _idle
    lines: list[Line] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="rmi-bench-") as directory:
        projects = Path(directory)
        make_projects(projects)
        for name in names:
            if name in options.rows:
                print(f"{name} ...", file=sys.stderr)
                try:
                    lines += measures[name](projects)
                except Unavailable as error:
                    print(f"{name} is left out: {error}.", file=sys.stderr)
                except RuntimeError as error:
                    failed = True
                    print(f"{name} failed: {error}", file=sys.stderr)
    print(_table(lines))
    if options.json is not None:
        facts = {"machine": _machine(), "rows": [line.facts for line in lines]}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
    return 1 if failed else 3 if any(line.over for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
