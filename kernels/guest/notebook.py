"""What the cells of a notebook share beyond their variables: working directory, input, and that
they are in a notebook."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Callable, Dict, Iterator, Optional

from .descriptors import Stdin
from .plain import FrontEnd


class Notebook:
    """The notebook whose cells were executed last, if nothing else was since."""

    def __init__(self, front_end: FrontEnd) -> None:
        self._front_end = front_end
        #: The working directory of all else; None outside a notebook.
        self._before: Optional[str] = None
        self._stdin: Optional[Stdin] = None

    def enter(self, request: Dict[str, Any], stdin: Callable[[Dict[str, Any]], Stdin]) -> None:
        """A cell is to be executed. Where earlier cells went is left as it is."""
        self._front_end.show()
        directory = request.get("directory")
        if directory and self._before is None:
            self._before = os.getcwd()
            with contextlib.suppress(OSError):
                os.chdir(directory)
        if request.get("begins") or self._stdin is None:
            self._stdin = stdin(request)
        else:
            self._stdin.use()

    @contextlib.contextmanager
    def visit(self) -> Iterator[None]:
        """The front end of another client has something executed."""
        self.leave()
        self._front_end.show()
        with self._front_end.with_exit():
            yield

    def leave(self) -> None:
        """Something else is to be executed."""
        self._front_end.hide()
        if self._before is not None:
            with contextlib.suppress(OSError):
                os.chdir(self._before)
            self._before = None
        if self._stdin is not None:
            self._stdin.close()
            self._stdin = None
