"""Our server without forks and pool, over stdio."""

import os
import sys
from functools import partial
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[3])

from server import mcp_server  # noqa: E402

os.environ["RMI_POOL"] = "0"
mcp_server.LocalSpec = partial(mcp_server.LocalSpec, forks=False)  # type: ignore[misc]
sys.exit(mcp_server.main([]))
