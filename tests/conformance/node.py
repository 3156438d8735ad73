"""Node, and what is run with it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tests.conformance.processes import Processes

#: Exact, so that no run depends on what was published last. The alpha is the first line of the
#: conformance suite that speaks the stateless protocol (2026-07-28); it has all scenarios of
#: 0.1.16, the newest version that is no alpha.
SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
NODE = "node@22.23.3"
#: What Inspector needs.
_OLDEST = (22, 19)
_SECONDS = 100
_NPM = "--no-save --no-package-lock --no-audit --no-fund --no-update-notifier --loglevel=error"
_FETCH = "--fetch-timeout=20000 --fetch-retries=1 --fetch-retry-mintimeout=1000"


class Missing(Exception):
    """Node or the packages cannot be had here; the text says why."""


class Tools:
    """Commands over what is installed in `folder`, with a Node that can run it."""

    def __init__(self, node: str, folder: Path) -> None:
        self._node = node
        self._scope = folder / "node_modules" / "@modelcontextprotocol"

    def suite(self, *words: str) -> list[str]:
        """The conformance suite's command."""
        return [self._node, str(self._scope / "conformance/dist/index.js"), *words]

    def inspector(self, *words: str) -> list[str]:
        """MCP Inspector's command line."""
        script = self._scope / "inspector/clients/launcher/build/index.js"
        return [self._node, str(script), "--cli", *words]


async def tools(folder: Path, processes: Processes) -> Tools:
    """Them, installed into `folder` if they are not there yet. Raises `Missing`."""
    found = shutil.which("node")
    if found is not None and await _is_new_enough(found, processes):
        await _install([SUITE, INSPECTOR], folder, processes)
        return Tools(found, folder)
    await _install([SUITE, INSPECTOR, NODE], folder, processes)
    name = "node.exe" if os.name == "nt" else "node"
    own = str(folder / "node_modules" / "node" / "bin" / name)
    if not await _is_new_enough(own, processes):
        raise Missing(f"npm's {NODE} does not run here")
    return Tools(own, folder)


async def _is_new_enough(node: str, processes: Processes) -> bool:
    try:
        said = await processes.run([node, "--version"], 20, Path.cwd())
    except OSError:
        return False
    return tuple(map(int, re.findall(r"\d+", said.output)[:2])) >= _OLDEST


async def _install(packages: list[str], folder: Path, processes: Processes) -> None:
    stamp = folder / "installed"
    if stamp.is_file() and set(packages) <= set(stamp.read_text().split()):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("there is no npm")
    print(f"Installing {', '.join(packages)} ...", flush=True)
    _empty(folder)
    options = [*_NPM.split(), *_FETCH.split(), "--prefix", str(folder)]
    said = await processes.run([npm, "install", *options, *packages], _SECONDS, folder)
    if said.code != 0:
        codes = [line for line in said.errors.splitlines() if " code " in line]
        why = codes[0] if codes else said.errors[-200:]
        raise Missing(f"npm cannot install the packages: {why.strip() or 'no reason given'}")
    stamp.write_text("\n".join(packages) + "\n")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
