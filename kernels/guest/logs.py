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
    """What imports have set up on one logger, and the modules that did."""

    def __init__(self) -> None:
        self.handlers: Dict[logging.Handler, str] = {}
        self.level = logging.NOTSET
        self.level_from = ""


class Logs:
    """A context manager around each script."""

    def __init__(self, namespace: Dict[str, Any]) -> None:
        self._namespace = namespace
        self._imports: Dict[logging.Logger, _Import] = {}
        #: Of these the imports of the running script have set something, or the level.
        self._touched: Set[logging.Logger] = set()
        self._levelled: Set[logging.Logger] = set()
        self._watch("addHandler", self._handler_added)
        self._watch("setLevel", self._level_set)

    def _watch(self, name: str, note: Callable[[logging.Logger, Any, str], None]) -> None:
        method = getattr(logging.Logger, name)

        @functools.wraps(method)
        def configure(logger: logging.Logger, value: Any) -> None:
            method(logger, value)
            module = importing(self._namespace)
            if module:
                note(logger, value, module)

        setattr(logging.Logger, name, configure)

    def _handler_added(self, logger: logging.Logger, handler: Any, module: str) -> None:
        self._imports.setdefault(logger, _Import()).handlers[handler] = module
        self._touched.add(logger)

    def _level_set(self, logger: logging.Logger, _level: Any, module: str) -> None:
        made = self._imports.setdefault(logger, _Import())
        made.level, made.level_from = logger.level, module
        self._touched.add(logger)
        self._levelled.add(logger)

    def forget(self, modules: Set[str]) -> None:
        """Undo what the import of these modules has set up, because they are imported again."""
        for logger, made in list(self._imports.items()):
            state = _State(logger)
            state.handlers = [h for h in state.handlers if made.handlers.get(h) not in modules]
            if made.level_from in modules:
                state.level, made.level_from = logging.NOTSET, ""
            state.apply(logger)
            made.handlers = {h: m for h, m in made.handlers.items() if m not in modules}
            if not made.handlers and not made.level_from:
                del self._imports[logger]

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        manager = logging.root.manager
        saved = {logger: _State(logger) for logger in _loggers()}
        disabled, raising = manager.disable, logging.raiseExceptions
        manager.disable, logging.raiseExceptions = logging.NOTSET, True
        self._touched.clear()
        self._levelled.clear()
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
        state.level = made.level if logger in self._levelled else saved.level
        if logger not in self._touched:
            state.filters, state.switches = saved.filters, saved.switches
        state.apply(logger)


def _loggers() -> List[logging.Logger]:
    named = list(logging.root.manager.loggerDict.values())
    return [logging.root, *(one for one in named if isinstance(one, logging.Logger))]
