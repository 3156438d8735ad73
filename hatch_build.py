"""Build hook: puts the launcher at the top of a wheel.

Hatchling's own tables cannot say it: `sources` maps all of `server/` before it looks at
`server/entry/`, and `force-include` would also leave a copy in editable installs, where the
launcher has to be the one in the checkout to find the rooms beside it.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LAUNCHER = "rmi_agent_mcp_server"


class LauncherHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"][f"server/entry/{LAUNCHER}"] = LAUNCHER
