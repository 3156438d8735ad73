"""The plain way to keep a kernel over MCP: an async FastMCP tool around stock jupyter_client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastmcp import FastMCP

from tests.bench.plain_kernel import PlainKernel

kernel: PlainKernel | None = None


@asynccontextmanager
async def lifespan(server: FastMCP[Any]) -> AsyncIterator[None]:
    """End the kernel with the server."""
    try:
        yield
    finally:
        if kernel is not None:
            await kernel.close()


mcp = FastMCP("Floor", lifespan=lifespan)


@mcp.tool
async def run_code(code: str) -> str:
    """Run code in the one kernel, which the first call starts."""
    global kernel
    if kernel is None:
        kernel = await PlainKernel.start()
    return await kernel.run(code)


if __name__ == "__main__":
    mcp.run(show_banner=False)
