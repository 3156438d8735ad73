"""The least FastMCP server: one tool that does nothing. What a start costs at any rate.

Over stdio, or over HTTP on the port that is given.
"""

import sys

from fastmcp import FastMCP

mcp = FastMCP("Bare")


@mcp.tool
async def nothing() -> str:
    """Do nothing."""
    return ""


if __name__ == "__main__":
    if len(sys.argv) > 1:
        # Without uvicorn's line for every request, which nobody reads here.
        mcp.run("http", port=int(sys.argv[1]), log_level="warning", show_banner=False)
    else:
        mcp.run(show_banner=False)
