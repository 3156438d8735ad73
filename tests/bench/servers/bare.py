"""The least FastMCP server: one tool that does nothing. What a start costs at any rate."""

from fastmcp import FastMCP

mcp = FastMCP("Bare")


@mcp.tool
async def nothing() -> str:
    """Do nothing."""
    return ""


if __name__ == "__main__":
    mcp.run(show_banner=False)
