"""Dependencies point one way: server → notebooks → kernels; the client knows none of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

MAY_USE = {
    "kernels": {"kernels"},
    "notebooks": {"kernels", "notebooks"},
    "server": {"kernels", "notebooks", "server"},
    "client": {"client"},
}
#: No business of a room: nothing imports the user's files or the tests, and kernels know no MCP
#: and no notebooks.
NEVER = {"python_projects", "tests"}
NOT_IN_KERNELS = {"fastmcp", "mcp", "mcp_types", "nbformat"}


def imports(room: str) -> Iterator[tuple[str, str]]:
    """File and top-level name of each import of a room; those for type checking alone, too."""
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""] if node.level == 0 else [room]
            for name in names:
                yield str(path.relative_to(ROOT)), name.partition(".")[0]


@pytest.mark.parametrize("room", MAY_USE)
def test_a_room_imports_only_those_below_it(room: str) -> None:
    forbidden = NEVER | (MAY_USE.keys() - MAY_USE[room])
    if room == "kernels":
        forbidden |= NOT_IN_KERNELS
    found = [(file, name) for file, name in imports(room) if name in forbidden]
    # The installed commands are where the two programs begin.
    launcher = "server/entry/rmi_agent_mcp_server/__init__.py"
    assert [pair for pair in found if pair != (launcher, "client")] == []
