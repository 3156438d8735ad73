"""A server with one tool that does nothing but return the figure of the projects directory."""

import base64
import os
from pathlib import Path

from fastmcp import FastMCP
from fastmcp.tools.base import ToolResult
from mcp_types import ImageContent

mcp = FastMCP("Image")
_DATA = base64.b64encode((Path(os.environ["PYTHON_PROJECTS_DIR"]) / "figure.png").read_bytes())


@mcp.tool(output_schema=None)
async def image() -> ToolResult:
    """Return it."""
    block = ImageContent(type="image", data=_DATA.decode(), mime_type="image/png")
    return ToolResult(content=[block])


if __name__ == "__main__":
    mcp.run(show_banner=False)
