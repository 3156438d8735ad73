"""The import of jupyter_client, which takes its time and is left until it is needed."""

from __future__ import annotations

from threading import Lock

_turn = Lock()


def load() -> None:
    """Import it whole, before any part of it is imported: its parts import each other in a circle,
    where two threads that enter it at different places find modules that are not there yet."""
    with _turn:
        import jupyter_client.kernelspec
        import jupyter_client.session  # noqa: F401
