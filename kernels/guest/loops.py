"""Event loops of the user's, beside the one that the kernel itself runs on."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import Any, Callable, Iterator

#: `asyncio.run` as it was.
_run = asyncio.run
# Python 3.14 deprecates the public names, and has no other way to forget a loop.
_get_policy = getattr(asyncio.events, "_get_event_loop_policy", asyncio.get_event_loop_policy)
_set_policy = getattr(asyncio.events, "_set_event_loop_policy", asyncio.set_event_loop_policy)


@contextlib.contextmanager
def _kernel_loop_hidden() -> Iterator[None]:
    """Within the block no loop runs, as far as this thread can see."""
    loop = asyncio._get_running_loop()
    task = None
    if loop is not None:
        # From Python 3.12 on; before, the current task is looked up by its loop.
        swap = getattr(asyncio.tasks, "_swap_current_task", None)
        if swap is not None:
            task = swap(loop, None)
        asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        if task is not None:
            asyncio.tasks._swap_current_task(loop, task)  # type: ignore[attr-defined]


@contextlib.contextmanager
def as_in_a_program() -> Iterator[None]:
    """No loop runs, and none has ever been made."""
    run, policy = asyncio.run, _get_policy()
    asyncio.run = _run
    _set_policy(None)
    try:
        with _kernel_loop_hidden():
            yield
    finally:
        asyncio.run = run
        _set_policy(policy)


def let_cells_call_run(kernel_loop: Callable[[], Any]) -> None:
    """`asyncio.run` works in a cell as it does in a script, though the kernel's loop runs."""

    @functools.wraps(_run)
    def run(*args: Any, **kwargs: Any) -> Any:
        if asyncio._get_running_loop() is not kernel_loop():
            return _run(*args, **kwargs)
        try:
            with _kernel_loop_hidden():
                return _run(*args, **kwargs)
        finally:
            asyncio.set_event_loop(kernel_loop())

    asyncio.run = run
