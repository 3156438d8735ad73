"""Importing beforehand, in the template, what kernels will import."""

from __future__ import annotations

import contextlib
import importlib

#: What a kernel imports with its first runs.
_NEEDED = ("IPython.extensions.storemagic", "tornado.platform.asyncio")


def what_kernels_need() -> None:
    """Import what every kernel does sooner or later."""
    from . import ring, session  # noqa: F401

    for name in _NEEDED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def preload(name: str) -> str:
    """Import a module, unless no fork could bear it; "" or what kept it."""
    raise NotImplementedError
