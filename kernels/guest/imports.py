"""What knows, from the first import of a user's on, what imports have brought and set up."""

from __future__ import annotations

from typing import Any, List, Set

from .figures import Figures
from .logs import Logs
from .program import Filters
from .workspace import Workspace


class Imports:
    """The warning filters and loggers that imports configure, the user's modules among them, and
    matplotlib. `filters`: the warning filters that `python` begins with."""

    def __init__(self, shell: Any, filters: List[Any]) -> None:
        self.filters = Filters(shell.user_ns, filters)
        self.logs = Logs(shell.user_ns)
        self.figures = Figures(shell)
        self.workspace = Workspace(self._forget)

    def _forget(self, modules: Set[str]) -> None:
        self.filters.forget(modules)
        self.logs.forget(modules)
