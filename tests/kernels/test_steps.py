"""A run of several executions: one turn, one recording, one end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kernels.execution import CellRequest
from kernels.kernel import Message
from kernels.recording import Recording
from kernels.registry import Registry
from kernels.result import RunResult, State, Status
from kernels.run import Run
from kernels.steps import Doing, Send
from tests.conftest import RunCode, text_of, until


class Cells:
    """Executes sources as cells; notes what it is told."""

    title, source, ask = "cells", "the source", False

    def __init__(self, *sources: str, **first: Any) -> None:
        self.sources, self.first = sources, first
        self.begun = 0
        self.results: list[RunResult] = []
        self.messages: list[Message] = []
        self.run_id = ""
        self.closed = self.released = False

    @property
    def doing(self) -> Doing | None:
        return Doing("words", self.begun, len(self.sources))

    def queued(self, run_id: str) -> None:
        self.run_id = run_id

    def next(self, recording: Recording) -> CellRequest | None:
        if self.begun == len(self.sources):
            return None
        recording.begin_part(f"[{self.begun}]")
        more = self.first if not self.begun else {}
        self.begun += 1
        return CellRequest(self.sources[self.begun - 1], begins=self.begun == 1, **more)

    def began(self, request: str, send: Send) -> None:
        self.send = send

    def receive(self, message: Message) -> None:
        self.messages.append(message)

    def ended(self, result: RunResult) -> RunResult:
        self.results.append(result)
        return result

    async def close(self, result: RunResult) -> RunResult:
        self.closed = True
        return replace(result, explanation="closed")

    def release(self) -> None:
        self.released = True


def submit(registry: Registry, cells: Cells, timeout: float = 20) -> Run:
    return registry.submit("", "default", cells, timeout)


def written(run: Run) -> str:
    reading = run.recording.reading()
    return reading.read(0, reading.length)


async def test_one_after_another_in_one_kernel(registry: Registry, run_code: RunCode) -> None:
    cells = Cells("x = 1", "print(x)\nx + 1", "x")
    run = submit(registry, cells)
    after = run_code("x + 41")
    result = await run.result()
    assert result.status is Status.OK and result.explanation == "closed"
    assert [r.execution_count for r in cells.results] == [1, 2, 3]
    assert written(run) == "[0]\n[1]\n1\n[2]\n"
    assert [place.slot.value.data["text/plain"] for place in run.recording.places] == ["2", "1"]
    assert run.source == "the source" and cells.run_id == run.id
    assert cells.closed and cells.released
    # What was asked for meanwhile waits for the last of them.
    assert [o.data["text/plain"] for o in (await after).outputs] == ["42"]


async def test_they_hear_every_message(registry: Registry) -> None:
    cells = Cells("print('a')", "display(1)")
    await submit(registry, cells).result()
    kinds = [message.type for message in cells.messages if message.channel == "iopub"]
    # What the kernel says of its start may come, too.
    assert kinds.count("status") >= 4 and kinds.count("execute_input") == 2
    assert kinds.index("stream") < kinds.index("display_data")


async def test_clearing_reaches_back_to_where_a_part_begins(registry: Registry) -> None:
    clear = "from IPython.display import clear_output\n"
    cells = Cells(
        "print('a' * 5000); display('kept')",
        f"{clear}for n in range(3):\n  print(n); display(n); clear_output()\nprint('end')",
        f"{clear}clear_output(); print('b')",
    )
    run = submit(registry, cells)
    await run.result()
    assert written(run) == f"[0]\n{'a' * 5000}\n[1]\nend\n[2]\nb\n"
    assert len(run.recording.places) == 1


async def test_time_is_for_each_and_the_last_ends_all(registry: Registry) -> None:
    sleep = "import time; time.sleep(0.4)"
    cells = Cells(sleep, sleep, sleep, "print('here', flush=True)\nwhile True: pass", "5")
    run = submit(registry, cells, timeout=1)
    result = await run.result()
    assert result.status is Status.TIMEOUT and result.state is State.LOST
    assert cells.begun == 4 and cells.closed
    assert "here" in written(run)


async def test_stopped_in_the_middle(registry: Registry, run_code: RunCode) -> None:
    cells = Cells("x = 1", "print('in', flush=True)\nimport time; time.sleep(30)", "x = 3")
    run = submit(registry, cells)
    await until(lambda: "in" in written(run) or "in" in run.line)
    run.stop()
    result = await run.result()
    assert (result.status, result.state) == (Status.INTERRUPTED, State.KEPT)
    assert cells.begun == 2 and cells.closed
    assert [o.data["text/plain"] for o in (await run_code("x")).outputs] == ["1"]


async def test_stopped_while_it_waits(registry: Registry, run_code: RunCode) -> None:
    first = asyncio.create_task(run_code("import time; time.sleep(0.3)"))
    await asyncio.sleep(0)
    cells = Cells("1")
    run = submit(registry, cells)
    run.stop()
    assert (await run.result()).status is Status.INTERRUPTED
    assert not cells.begun and cells.released
    await first


async def test_a_death_ends_all(registry: Registry) -> None:
    cells = Cells("print('a')", "import os; os._exit(3)", "3")
    result = await submit(registry, cells).result()
    assert result.status is Status.DIED and result.exit_code == 3
    assert cells.begun == 2 and cells.closed


async def test_directory_and_input_are_theirs_alone(
    registry: Registry, run_code: RunCode, tmp_path: Any
) -> None:
    (tmp_path / "sub").mkdir()
    cells = Cells(
        "import os; a = input()",
        "os.chdir('sub'); b = input()",
        "print(os.getcwd(), a, b)",
        directory=str(tmp_path),
        stdin="one\ntwo\n",
    )
    run = submit(registry, cells)
    await run.result()
    assert written(run).endswith(f"{tmp_path}/sub one two\n")
    result = await run_code("print(os.getcwd()); input()")
    assert str(tmp_path / "sub") not in text_of(result)
    assert result.error is not None and result.error["name"] == "EOFError"


async def test_a_front_end_answers_comms(registry: Registry) -> None:
    """What is sent in the middle reaches the kernel, and does not end anything."""
    code = (
        "from ipykernel.comm import Comm\nheard = []\n"
        "comm = Comm(target_name='t'); comm.on_msg(lambda m: heard.append(m['content']['data']))"
    )

    class Answering(Cells):
        def receive(self, message: Message) -> None:
            super().receive(message)
            if message.type == "comm_open":
                content: Mapping[str, Any] = {
                    "comm_id": message.content["comm_id"], "data": {"x": 1},
                }  # fmt: skip
                self.send("comm_msg", content)

    cells = Answering(code, "heard")
    run = submit(registry, cells)
    await run.result()
    assert run.recording.places[-1].slot.value.data["text/plain"] == "[{'x': 1}]"
