"""Cells executed by a real kernel, their messages folded by `notebooks.outputs`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

from kernels.kernel import Kernel, Message
from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.local import LocalBackend
from notebooks.outputs import Outputs
from tests.conftest import ROOT

#: Notebooks with stored outputs, beside the project.
CASES = ROOT.parent / "shared" / "cases" / "nbclient"


class Cells:
    """Executes one cell after the other; `outputs` has got all messages."""

    def __init__(self, kernel: Kernel) -> None:
        self.outputs = Outputs(send=self._say)
        #: What was sent to the kernel for widgets.
        self.sent: list[tuple[str, Mapping[str, Any]]] = []
        self.keys: list[str] = []
        #: The ids of cells whose outputs have changed since the last cell began.
        self.changed: set[str] = set()
        self._kernel = kernel
        self._waiting: dict[str, tuple[set[str], asyncio.Event]] = {}
        kernel.on_message = self._receive

    async def run(self, source: str) -> list[dict[str, Any]]:
        """Execute a cell; returns its outputs when it is over."""
        content = {"code": source, "silent": False, "store_history": True}
        content |= {"allow_stdin": False, "stop_on_error": False, "user_expressions": {}}
        request = self._kernel.send("shell", "execute_request", content)
        key = str(len(self.keys))
        self.keys.append(key)
        self.changed = set()
        self.outputs.begin(key, request)
        await self._over(request)
        return self.outputs.of(key)

    def all(self) -> list[list[dict[str, Any]]]:
        """The outputs of all cells by now, which a valid notebook can have."""
        found = [self.outputs.of(key) for key in self.keys]
        validate(found, self.outputs.widget_state())
        return found

    async def _over(self, request: str) -> None:
        over = asyncio.Event()
        self._waiting[request] = {"execute_reply", "idle"}, over
        async with asyncio.timeout(30):
            await over.wait()

    def _receive(self, message: Message) -> None:
        self.changed |= self.outputs.feed(message)
        if message.parent in self._waiting:
            left, over = self._waiting[message.parent]
            left.discard(message.type)
            if message.type == "status":
                left.discard(message.content["execution_state"])
            if not left:
                over.set()

    def _say(self, kind: str, content: Mapping[str, Any]) -> str:
        self.sent.append((kind, content))
        return self._kernel.send("shell", kind, content)


@asynccontextmanager
async def cells_in(folder: Path) -> AsyncIterator[Cells]:
    """Cells in a fresh kernel that works in `folder`."""
    backend = LocalBackend(LocalSpec(server_python(), str(folder), kernel_environment()))
    try:
        yield Cells(await backend.start())
    finally:
        await backend.close()


def validate(cells: list[list[dict[str, Any]]], widgets: Mapping[str, Any] | None = None) -> None:
    """Assert that a notebook may have these outputs, and that they can be written to a file."""
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"widgets": widgets} if widgets else {},
        "cells": [
            {
                "cell_type": "code",
                "id": f"c{number}",
                "metadata": {},
                "source": "",
                "execution_count": None,
                "outputs": outputs,
            }
            for number, outputs in enumerate(cells)
        ],
    }
    text = json.dumps(notebook, ensure_ascii=False).encode().decode()
    nbformat.validate(nbformat.reads(text, as_version=4))


def stored(name: str) -> Any:
    """A notebook with stored outputs; the test is skipped where there are none."""
    path = CASES / f"{name}.ipynb"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return nbformat.read(path, as_version=4)
