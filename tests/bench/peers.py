"""`python -m tests.bench.peers`: the same work through this server and through others."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench import peers_envs
from tests.bench.peers_adapters import PEERS, Peer
from tests.bench.peers_measure import FEW, MEASURES, MEMORY, WARM_RUNS, Outcome, Run

Row = tuple[str, ...]
_HEAD: Row = ("server", *MEASURES, "versions")


def _cells(outcome: Outcome) -> Row:
    """A cell for each measure."""
    if outcome.trouble and not outcome.samples:
        return (outcome.trouble, *("–" for _ in MEASURES[1:]))
    cells = []
    for measure in MEASURES:
        if measure == MEMORY:
            parts = [] if outcome.memory is None else [f"{outcome.memory:.0f} MB"]
        else:
            samples = outcome.samples.get(measure)
            parts = [_ms(statistics.median(samples))] if samples else []
            parts += filter(None, [outcome.told(measure)])
        cells.append(", ".join(parts) or "–")
    return tuple(cells)


def _ms(seconds: float) -> str:
    ms = 1000 * seconds
    return f"{ms:.1f} ms" if ms < 100 else f"{ms:,.0f} ms"


def _plain(rows: Sequence[Row]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _markdown(rows: Sequence[Row]) -> str:
    head, *others = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return "\n".join([head, f"|{' --- |' * len(_HEAD)}", *others])


def _notes(peers: Sequence[type[Peer]], outcomes: dict[str, Outcome]) -> list[str]:
    notes = []
    for peer in peers:
        outcome = outcomes[peer.name]
        # Where there is nothing else, the row says it.
        trouble = outcome.trouble if outcome.samples else ""
        parts = [peer.note, f"it stopped: {trouble}" if trouble else ""]
        if any(parts):
            notes.append(f"- {peer.name}: {'; '.join(filter(None, parts))}.")
    return notes


def _machine(repeat: int) -> str:
    parts = [
        str(datetime.date.today()),
        f"{os.cpu_count()} cores",
        f"Python {platform.python_version()}",
        f"{platform.system()} {platform.machine()}",
    ]
    if hasattr(os, "getloadavg"):
        parts.append(f"load before {os.getloadavg()[0]:.1f}")
    few = min(repeat, FEW)
    counts = f"{repeat} samples ({WARM_RUNS * repeat} of warm runs, {few} of what follows them)"
    return f"{', '.join(parts)}; medians of {counts}"


def main(argv: list[str] | None = None) -> int:
    """Returns 1 when a peer could not be installed, did not start or broke off."""
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME",
                        help=f"only these: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--repeat", type=int, default=10, metavar="N",
                        help="rounds (10)")  # fmt: skip
    parser.add_argument("--envs", type=Path, metavar="FOLDER",
                        help="keep the peers' environments there; without it they are made anew "
                        "and removed")  # fmt: skip
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args(argv)
    repeat = max(1, options.repeat)
    chosen = [peer for peer in PEERS if peer.name in options.only]
    machine = _machine(repeat)
    outcomes: dict[str, Outcome] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(_temporary()))
        envs = options.envs.absolute() if options.envs else folder / "envs"
        peers: list[Peer] = []
        for kind in chosen:
            place = folder / kind.name
            place.mkdir()
            try:
                peers.append(kind(peers_envs.interpreter(kind.home, envs), place))
            except (peers_envs.NotInstalled, OSError) as error:
                outcomes[kind.name] = Outcome(trouble=str(error))
        run = Run(peers, repeat)
        run.measure()
        outcomes |= run.outcomes
    rows = [
        (kind.name, *_cells(outcomes[kind.name]), peers_envs.versions(kind.home)) for kind in chosen
    ]
    table = _markdown if options.markdown else _plain
    print("\n".join([machine, "", table([_HEAD, *rows]), "", *_notes(chosen, outcomes)]))
    return 1 if any(outcome.trouble for outcome in outcomes.values()) else 0


def _temporary() -> tempfile.TemporaryDirectory[str]:
    # What a process of a peer still writes while it ends is no reason to fail.
    return tempfile.TemporaryDirectory(prefix="rmi-peers-", ignore_cleanup_errors=True)


if __name__ == "__main__":
    sys.exit(main())
