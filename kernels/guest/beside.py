"""Questions of the server's that are answered beside a run that is going on.

They come on the control channel, as messages of types of our own. The answer is made in the
kernel's control thread, so whoever makes it must neither run code of the program's nor change
what the program sees; and nothing is published.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List


def answer(
    kernel: Any, request: str, reply: str, make: Callable[[Dict[str, Any]], Dict[str, Any]]
) -> None:
    """From now on, answer messages of type `request` with one of type `reply`, whose content
    `make` makes of the request's; {} where it fails."""
    dispatch = kernel.dispatch_control

    def receive(frames: List[Any]) -> Any:
        session = kernel.session
        try:
            idents, parts = session.feed_identities(frames, copy=False)
            ours = json.loads(parts[1].bytes)["msg_type"] == request
        except Exception:
            ours = False
        if not ours:
            return dispatch(frames)
        try:
            message = session.deserialize(parts, copy=False)
        except Exception:
            # Not signed by the server.
            return None
        try:
            content = make(message["content"])
        except BaseException:
            content = {}
        # Not by the stream, which would send it in a later turn: while a program computes, each
        # turn waits for it.
        session.send(kernel.control_stream.socket, reply, content, message, idents)
        return None

    # Not by ipykernel's table of handlers: around those it publishes a status, and flushes what
    # the program has put in the place of sys.stdout.
    kernel.dispatch_control = receive
