"""Logging as in a program of its own: what a script configures ends with it.

A second `basicConfig` must work, and a handler that each run adds to the same named logger must
not print each line as often as the script has run. What an import configured stays, because the
import is not repeated.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import weakref
from typing import Any, Callable, Dict, Iterator, Tuple

from .program import by_an_import

_PRISTINE: Tuple[Any, ...] = ((), logging.NOTSET, True, False, ())


class Logs:
    """A context manager around each script."""

    def __init__(self, namespace: Dict[str, Any]) -> None:
        self._namespace = namespace
        #: Loggers that an import has configured.
        self._imported: weakref.WeakSet[logging.Logger] = weakref.WeakSet()
        for name in ("addHandler", "setLevel"):
            setattr(logging.Logger, name, self._watched(getattr(logging.Logger, name)))

    def _watched(self, method: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(method)
        def configure(logger: logging.Logger, *args: Any, **kwargs: Any) -> None:
            method(logger, *args, **kwargs)
            if by_an_import(self._namespace):
                self._imported.add(logger)

        return configure

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        manager = logging.root.manager
        saved = {logger: _configuration(logger) for logger in _loggers()}
        disabled, raising = manager.disable, logging.raiseExceptions
        manager.disable, logging.raiseExceptions = logging.NOTSET, True
        try:
            yield
        finally:
            manager.disable, logging.raiseExceptions = disabled, raising
            logging.captureWarnings(False)
            known = {handler for configuration in saved.values() for handler in configuration[0]}
            for logger in _loggers():
                if logger not in self._imported:
                    self._restore(logger, saved.get(logger, _PRISTINE), known)
            manager._clear_cache()  # type: ignore[attr-defined]

    def _restore(self, logger: logging.Logger, saved: Tuple[Any, ...], known: Any) -> None:
        current = _configuration(logger)
        if current == saved:
            return
        handlers, logger.level, logger.propagate, logger.disabled, filters = saved
        logger.handlers[:], logger.filters[:] = handlers, filters
        for handler in current[0]:
            if handler not in known:
                with contextlib.suppress(Exception):
                    handler.flush()
                    handler.close()


def _loggers() -> Iterator[logging.Logger]:
    yield logging.root
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield logger


def _configuration(logger: logging.Logger) -> Tuple[Any, ...]:
    return (
        tuple(logger.handlers),
        logger.level,
        logger.propagate,
        logger.disabled,
        tuple(logger.filters),
    )
