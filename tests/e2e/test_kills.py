"""The server is killed while it has checkpoints, at whatever step of theirs: nothing of it is left,
neither a process nor a file."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.raw import RawServer, gone_within
from tests.e2e.test_checkpoints import DIES, WORTH, kept
from tests.kernels.holding import Holds, left_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")

#: Worth a checkpoint, because it is large.
MORE = "y = bytes(b'y') * (20 << 20)"
RUN, REWIND, BRANCH = "run_code", "rewind_session", "branch_session"
HERE = {"session": "default"}
#: What is asked for when the server is killed, and the step that it has come to.
MOMENTS = {
    "in a run": (RUN, {"code": "import time; time.sleep(60)"}, ""),
    "while the kernel copies itself": (RUN, {"code": MORE}, "its maker sees it off"),
    "while the copy is nobody's": (RUN, {"code": MORE}, "it is not adopted"),
    "while the copy becomes a checkpoint": (RUN, {"code": MORE}, "the copy lets go"),
    "while the checkpoint is asked for a kernel": (REWIND, HERE, "the checkpoint is asked"),
    "while the new kernel is nobody's": (REWIND, HERE, "it is not adopted"),
    "while the new kernel begins": (RUN, {"code": DIES}, "the new kernel is nearly there"),
    "in a branch": (BRANCH, {**HERE, "new_session": "b"}, "the copy says so"),
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """For the server's files: with a short path, as sockets must have."""
    path = Path(tempfile.mkdtemp(prefix="rmi-kills-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize(("tool", "arguments", "step"), MOMENTS.values(), ids=MOMENTS)
def test_nothing_is_left(
    tool: str, arguments: dict[str, str], step: str, projects: Path, folder: Path, tmp_path: Path
) -> None:
    """Whoever stands still at that step ends, too; so does the checkpoint that there is."""
    steps = tmp_path / "steps"
    steps.mkdir()
    holds = Holds(steps)
    server = RawServer(projects, TMPDIR=str(folder))
    try:
        server.initialize()
        kept(server, f"{holds.code}\n{WORTH}")
        if step:
            holds.arm(step)
        server.ask("tools/call", name=tool, arguments=arguments)
        if step:
            asyncio.run(holds.reached())
        family = {*server.family(), *left_of(folder)}
        assert len(family) >= 4
        assert any(folder.iterdir())
        server.process.send_signal(signal.SIGKILL)
        assert gone_within([*family, server.process.pid], 5) == []
        assert left_of(folder) == {}
        assert list(folder.iterdir()) == []
    finally:
        server.end()
