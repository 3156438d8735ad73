"""The usual way to run scripts over MCP: a new `python` for every call."""

import os
import subprocess
import sys

from fastmcp import FastMCP

mcp = FastMCP("Seed")


@mcp.tool
def run_python(file_name: str) -> str:
    """Run a Python file of the projects directory and return its output."""
    path = os.path.join(os.environ["PYTHON_PROJECTS_DIR"], file_name)
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr


if __name__ == "__main__":
    mcp.run(show_banner=False)
