"""What notes, from the first import of a user's on, what imports set up for good."""

from __future__ import annotations

from typing import Any, List

from .figures import Figures
from .logs import Logs
from .program import Filters


class Imports:
    """Warning filters and loggers that imports configure, and matplotlib's. `filters`: the warning
    filters that `python` begins with."""

    def __init__(self, shell: Any, filters: List[Any]) -> None:
        self.filters = Filters(shell.user_ns, filters)
        self.logs = Logs(shell.user_ns)
        self.figures = Figures(shell)
