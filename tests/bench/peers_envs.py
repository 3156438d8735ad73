"""The environments of the peers, with what is installed in them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from tests.bench.stdio import ROOT

#: For the work that is measured: kernels, and the figure.
_KERNEL, _FIGURE = "ipykernel==7.4.0", "matplotlib==3.11.2"
#: These packages import `mcp.server.fastmcp`, which version 2 of the MCP SDK does not have, and
#: do not exclude that version themselves.
_SDK = "mcp==1.30.0"

#: What is installed for each peer, itself first.
PINS: Mapping[str, Sequence[str]] = {
    "mcp-python-interpreter": ("mcp-python-interpreter==1.2.3", _SDK, _FIGURE),
    "ipython-mcp": ("ipython-mcp==0.1.0", _SDK, _KERNEL, _FIGURE),
    "jupyter-kernel-mcp": ("jupyter-kernel-mcp==0.2.0", _SDK, _KERNEL, _FIGURE),
    "ipybox": ("ipybox==0.9.2", _SDK, _KERNEL, _FIGURE),
    "jupyter-mcp-server": (
        "jupyter-mcp-server==2.2.4",
        "mcp==2.3.0",
        "jupyter-server==2.21.1",
        "jupyter-collaboration==5.0.4",
        _KERNEL,
        _FIGURE,
    ),
}


class NotInstalled(Exception):
    """An environment could not be made; the message says why in a few words."""


def interpreter(name: str, folder: Path) -> Path:
    """The Python of a peer's environment, which is made below `folder` when it is not there.

    A peer without pins runs in the environment of this process.
    """
    if name not in PINS:
        return Path(sys.executable)
    home = folder / name
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    # Written last, so that what was broken off is begun anew.
    done = home / "installed.txt"
    wanted = "\n".join(PINS[name]) + "\n"
    if not done.exists() or done.read_text() != wanted:
        print(f"installing {name} ...", file=sys.stderr)
        _run("no environment", sys.executable, "-m", "venv", "--clear", str(home))
        _run("not installable", str(python), "-m", "pip", "install", "-q", *PINS[name])
        done.write_text(wanted)
    return python


def _run(trouble: str, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        # All that pip says goes there, not into the table.
        print(done.stderr, file=sys.stderr)
        raise NotInstalled(f"{trouble}, exit code {done.returncode}")


def versions(name: str) -> str:
    """What of a peer runs, in which versions, for the table."""
    if name in PINS:
        # matplotlib and ipykernel are the same for all.
        return ", ".join(pin.replace("==", " ") for pin in PINS[name] if pin not in _SAME)
    server = f"fastmcp {version('fastmcp')}"
    if name == "ours":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return f"{project['version']}, {server}"
    return server


_SAME = {_KERNEL, _FIGURE}
