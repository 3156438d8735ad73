"""Rows about much output: a run that prints and draws a lot, one large figure, the last page."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import PIL.Image

from tests.bench import memory
from tests.bench.stdio import Server

Sample = Callable[[], Awaitable[float]]

FIGURE = "figure.png"
#: 100 MB of text in lines of 100 characters, and 200 images of 100 kB each.
VOLUME = """\
import os, sys
from IPython.display import Image, display
line, image = "x" * 99 + "\\n", os.urandom(100_000)
for _ in range(200):
    sys.stdout.write(line * 5_000)
    display(Image(b"\\x89PNG\\r\\n\\x1a\\n" + image, format="png"))
"""
_SHOW = f"""\
from IPython.display import Image, display
figure = open({FIGURE!r}, "rb").read()
"""


def make_figure(path: Path) -> None:
    """A picture of 1 MB, 800 × 600 pixels: soft colours with the grain of a photograph."""
    soft = PIL.Image.linear_gradient("L")
    bands = [
        PIL.Image.blend(
            PIL.Image.effect_noise((800, 600), 16), soft.rotate(angle).resize((800, 600)), 0.5
        )
        for angle in (0, 90, 180)
    ]
    PIL.Image.merge("RGB", bands).save(path / FIGURE, "PNG")


@asynccontextmanager
async def volume(projects: Path) -> AsyncIterator[tuple[Sample, Sample]]:
    """A run of much output, against a loop that only collects what a stock kernel sends."""
    from tests.bench.plain_kernel import PlainKernel

    with Server("ours", projects) as server:
        server.initialize()
        server.call("run_code", "2", code="1+1")
        kernel = await PlainKernel.start()
        try:
            memory.settle(server.pid)

            async def ours() -> float:
                seconds = server.call("run_code", "xxx", code=VOLUME, timeout=300)
                memory.settle(server.pid)
                return seconds

            async def raw() -> float:
                begun = time.perf_counter()
                await kernel.run(VOLUME)
                return time.perf_counter() - begun

            yield ours, raw
        finally:
            await kernel.close()


@asynccontextmanager
async def figure(projects: Path) -> AsyncIterator[tuple[Sample, Sample]]:
    """A result with one figure of 1 MB, against a tool that only returns that image."""
    with Server("ours", projects) as server, Server("image", projects) as other:
        for each in (server, other):
            each.initialize()
        server.call("run_code", code=_SHOW)

        async def ours() -> float:
            return server.call("run_code", "image 1", code="display(Image(figure))")

        async def theirs() -> float:
            return other.call("image")

        for _ in range(5):
            await ours()
            await theirs()
        yield ours, theirs


@asynccontextmanager
async def page(projects: Path) -> AsyncIterator[tuple[Sample, Sample]]:
    """The last page of 100 MB, against 50 ms."""
    with Server("ours", projects) as server:
        server.initialize()
        server.call("run_code", "xxx", code=VOLUME, timeout=300)
        memory.settle(server.pid)

        async def ours() -> float:
            return server.call("get_output", "characters", run_id="1", offset=100_000_000)

        async def limit() -> float:
            return 0.05

        yield ours, limit


def growth(projects: Path) -> tuple[memory.Memory, memory.Memory]:
    """The memory of a server before such a run, and the most during and after it."""
    with Server("ours", projects) as server:
        server.initialize()
        server.call("run_code", "2", code="1+1")
        memory.settle(server.pid)
        before = memory.of_process(server.pid)
        server.call("run_code", "xxx", code=VOLUME, timeout=300)
        return before, memory.most_of_process(server.pid)
