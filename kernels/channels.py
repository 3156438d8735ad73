"""The four ZMQ channels of a local kernel, read in the asyncio loop without a task each."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from hmac import compare_digest
from typing import Any

import zmq
from jupyter_client.session import DELIM, Session

from kernels.kernel import Channel, Message

_KINDS: dict[Channel, int] = {
    "shell": zmq.DEALER,
    "control": zmq.DEALER,
    "stdin": zmq.DEALER,
    "iopub": zmq.SUB,
}
#: Messages read in one go before other work of the loop gets its turn.
_BATCH = 32


class Channels:
    """Connected sockets, and the signing and checking of messages.

    `receive` is called in the loop for each valid message; what is not validly signed is passed
    over. Each `Channels` has an identity of its own: two clients with one identity deafen each
    other. `waits`: the kernel's iopub waits for slow readers, as our guest's does; what any other
    kernel publishes is lost beyond the limits of the two sockets.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        receive: Callable[[Message], None],
        waits: bool = True,
    ) -> None:
        self._receive = receive
        self.session = Session(key=connection["key"].encode(), digest_history_size=1000)
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[Channel, zmq.Socket[bytes]] = {}
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        for channel, kind in _KINDS.items():
            sock = context.socket(kind)
            sock.linger = 0
            if channel == "iopub":
                # Small, so that what a kernel may have under way fits the ring of its output; or
                # none.
                sock.rcvhwm = 32 if waits else 0
                sock.subscribe(b"")
            else:
                sock.setsockopt(zmq.IDENTITY, self.session.bsession)
            port = connection[f"{channel}_port"]
            separator = "-" if connection["transport"] == "ipc" else ":"
            sock.connect(f"{connection['transport']}://{connection['ip']}{separator}{port}")
            self._sockets[channel] = sock
            self._loop.add_reader(sock.fileno(), self._read, channel)
            self._loop.call_soon(self._read, channel)

    def send(
        self,
        channel: Channel,
        type: str,
        content: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Send a message; returns its id. Raises zmq.ZMQError when the channels are closed."""
        sock = self._sockets[channel]
        message = self.session.msg(type, dict(content), metadata=dict(metadata or {}))
        sock.send_multipart(self.session.serialize(message), zmq.NOBLOCK)
        # The descriptor is edge-triggered: sending may have swallowed the edge of an arrival.
        self._loop.call_soon(self._read, channel)
        return str(message["header"]["msg_id"])

    def drain(self) -> bool:
        """Read all that has arrived by now. Returns whether there was anything."""
        return any([self._read_batch(channel) for channel in list(self._sockets)])

    def close(self) -> None:
        """Close the sockets; nothing is received any more. May be called twice."""
        for sock in self._sockets.values():
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()

    def _read(self, channel: Channel) -> None:
        if self._read_batch(channel) == _BATCH:
            self._loop.call_soon(self._read, channel)

    def _read_batch(self, channel: Channel) -> int:
        for count in range(_BATCH):
            sock = self._sockets.get(channel)
            if sock is None:
                return count
            try:
                parts = sock.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return count
            message = self._decode(channel, parts)
            if message is not None:
                self._receive(message)
        return _BATCH

    def _decode(self, channel: Channel, parts: list[bytes]) -> Message | None:
        with contextlib.suppress(ValueError, KeyError, TypeError, IndexError, AttributeError):
            signature, *frames = parts[parts.index(DELIM) + 1 :]
            if compare_digest(signature, self.session.sign(frames[:4])):
                header, parent, metadata, content = (json.loads(frame) for frame in frames[:4])
                return Message(
                    channel=channel,
                    type=str(header["msg_type"]),
                    parent=str(parent.get("msg_id", "")),
                    content=content,
                    header=header,
                    metadata=metadata,
                    buffers=tuple(frames[4:]),
                    foreign=self._foreign(parent),
                )
        return None

    def _foreign(self, parent: Mapping[str, Any]) -> str:
        """See `Message.foreign`. A kernel that leaves out who has asked says nothing of others."""
        who = parent.get("session")
        return "" if not who or who == self.session.session else str(parent.get("msg_type", ""))
