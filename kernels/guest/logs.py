"""Logging as in a program of its own: what a script configures ends with it.

A second `basicConfig` must work, and a handler that each run adds to the same named logger must
not print each line as often as the script has run. What an import configured stays, because the
import is not repeated.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from typing import Any, Callable, Dict, Iterator, List, Set

from .program import importing


class _State:
    """How a logger is configured."""

    def __init__(self, logger: logging.Logger) -> None:
        self.handlers, self.filters = list(logger.handlers), list(logger.filters)
        self.level = logger.level
        self.switches = logger.propagate, logger.disabled

    def apply(self, logger: logging.Logger) -> None:
        """Configure the logger so; handlers that go are closed."""
        going = [handler for handler in logger.handlers if handler not in self.handlers]
        logger.handlers[:], logger.filters[:] = self.handlers, self.filters
        logger.level = self.level
        logger.propagate, logger.disabled = self.switches
        for handler in going:
            with contextlib.suppress(Exception):
                handler.flush()
                handler.close()


class _Import:
    """What the import of the user's or the library's modules has set up on one logger."""

    def __init__(self) -> None:
        self.handlers: Dict[logging.Handler, str] = {}
        self.level = logging.NOTSET
        #: The module that set the level.
        self.module = ""


class Logs:
    """A context manager around each script."""

    def __init__(self, namespace: Dict[str, Any]) -> None:
        self._namespace = namespace
        self._imports: Dict[logging.Logger, _Import] = {}
        #: Loggers that the running script's imports have configured.
        self._touched: Set[logging.Logger] = set()
        for name in ("addHandler", "setLevel"):
            setattr(logging.Logger, name, self._watched(getattr(logging.Logger, name)))

    def _watched(self, method: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(method)
        def configure(logger: logging.Logger, *args: Any, **kwargs: Any) -> None:
            known = set(logger.handlers)
            method(logger, *args, **kwargs)
            module = importing(self._namespace)
            if module:
                made = self._imports.setdefault(logger, _Import())
                made.handlers.update((h, module) for h in logger.handlers if h not in known)
                made.level, made.module = logger.level, module
                self._touched.add(logger)

        return configure

    def forget(self, modules: Set[str]) -> None:
        """Undo what the import of these modules has set up, because they are imported again."""
        for logger, made in list(self._imports.items()):
            state = _State(logger)
            state.handlers = [h for h in state.handlers if made.handlers.get(h) not in modules]
            if made.module in modules:
                state.level = logging.NOTSET
            state.apply(logger)
            made.handlers = {h: m for h, m in made.handlers.items() if m not in modules}
            if not made.handlers:
                del self._imports[logger]

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        manager = logging.root.manager
        saved = {logger: _State(logger) for logger in _loggers()}
        disabled, raising = manager.disable, logging.raiseExceptions
        manager.disable, logging.raiseExceptions = logging.NOTSET, True
        self._touched.clear()
        try:
            yield
        finally:
            manager.disable, logging.raiseExceptions = disabled, raising
            logging.captureWarnings(False)
            pristine = _State(logging.Logger(""))
            for logger in _loggers():
                self._restore(logger, saved.get(logger, pristine))
            manager._clear_cache()  # type: ignore[attr-defined]

    def _restore(self, logger: logging.Logger, saved: _State) -> None:
        state = _State(logger)
        made = self._imports.get(logger) or _Import()
        state.handlers = [h for h in state.handlers if h in saved.handlers or h in made.handlers]
        state.handlers += [h for h in saved.handlers if h not in state.handlers]
        if logger in self._touched:
            state.level = made.level
        else:
            state.level, state.filters, state.switches = saved.level, saved.filters, saved.switches
        state.apply(logger)


def _loggers() -> List[logging.Logger]:
    named = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(one for one in named if isinstance(one, logging.Logger))]
