"""The MCP server over HTTP: `python server/run_http_server.py`, the same as `mcp_server.py --http`.

Takes the same further options.
"""

from __future__ import annotations

import os
import sys

if __package__ in (None, ""):
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from server.mcp_server import main

if __name__ == "__main__":
    sys.exit(main(["--http", *sys.argv[1:]]))
