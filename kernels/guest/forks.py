"""Forks, of which Python 3.12 and later warn where there are other threads."""

from __future__ import annotations

import functools
import os
import sys
import threading
import warnings
from typing import Any, Set

from .threads import Offspring


def warn_of_own_threads_alone(offspring: Offspring, kernels: Set[Any]) -> None:
    """A program is not warned of those of the kernel, whose `ident`s are in `kernels`, and of
    earlier programs."""
    if sys.version_info < (3, 12):
        return
    for name in ("fork", "forkpty"):
        if hasattr(os, name):
            setattr(os, name, _quieter(getattr(os, name), offspring, kernels))


def _quieter(fork: Any, offspring: Offspring, kernels: Set[Any]) -> Any:
    @functools.wraps(fork)
    def forked() -> Any:
        others = [
            thread
            for thread in {*threading.enumerate()} - {threading.current_thread()}
            if thread.ident not in kernels and offspring.owns(thread)
        ]
        before = os.getpid()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This process .* is multi-threaded")
            result = fork()
        if others and os.getpid() == before:
            warnings.warn(
                f"This process (pid={before}) is multi-threaded, use of {fork.__name__}() may lead "
                "to deadlocks in the child.",
                DeprecationWarning,
                stacklevel=2,
            )
        return result

    return forked
