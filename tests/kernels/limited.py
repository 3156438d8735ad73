"""A session in a process that is in a control group: `python -m tests.kernels.limited PROCESSES
PROJECTS WATCH`. It answers lines of JSON, each a request (see `answer`), with such lines.

PROCESSES: the file of the group that takes its pid. WATCH: "off" leaves short memory to the system.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kernels import memory
from tests.kernels.eager import House, house_of, make_eager


async def answer(house: House, request: dict[str, Any]) -> dict[str, Any]:
    """`code`: run it, and tell its result. `kept`: wait for the checkpoint of that run. Without
    `code`, what there is."""
    if "code" in request:
        result = await house.run(request["code"], timeout=60)
        text = "".join(getattr(output, "text", "") for output in result.outputs)
        return {
            "status": result.status,
            "state": result.state,
            "restored_to": result.restored_to,
            "run_id": result.run_id,
            "error": (result.error or {}).get("name"),
            "text": text,
            "notes": result.notes,
            "explanation": result.explanation,
        }
    if "kept" in request:
        await house.kept(request["kept"])
    session = house.session()
    return {
        "left": memory.left(),
        "checkpoint": session.checkpoint and session.checkpoint.run_id,
        "no_checkpoint": session.no_checkpoint,
        "pids": sorted(house.processes()),
        "pid": session.pid,
    }


async def main(projects: Path, watch: str) -> None:
    loop, patch = asyncio.get_running_loop(), pytest.MonkeyPatch()
    make_eager(patch)
    if watch == "off":
        patch.setattr("kernels.sparing._LOOK", 10**6)
    async for house in house_of(projects):
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await answer(house, json.loads(line))), flush=True)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(str(os.getpid()))
    asyncio.run(main(Path(sys.argv[2]), sys.argv[3]))
