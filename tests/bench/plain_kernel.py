"""A kernel used as the documentation of jupyter_client shows it."""

from __future__ import annotations

import subprocess
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager


class PlainKernel:
    """One kernel and its client. Whoever starts it closes it."""

    def __init__(self, manager: AsyncKernelManager, client: AsyncKernelClient) -> None:
        self._manager = manager
        self._client = client

    @classmethod
    async def start(cls, sockets: str = "", **options: Any) -> PlainKernel:
        """Start a kernel and wait until it is ready. `sockets`: how the paths of its sockets
        begin, if it is not to take TCP ports. `options`: of the manager."""
        where = {"transport": "ipc", "ip": sockets} if sockets else {}
        manager = AsyncKernelManager(**where, **options)
        await manager.start_kernel(stderr=subprocess.DEVNULL)
        client = manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=60)
        return cls(manager, client)

    async def run(self, code: str) -> str:
        """Run `code`; returns its text when both its `idle` and its reply have come."""
        request = self._client.execute(code)
        pieces: list[str] = []
        while True:
            message = await self._client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                break
            pieces.append(_text(kind, content))
        while True:
            reply = await self._client.get_shell_msg(timeout=60)
            if reply["parent_header"].get("msg_id") == request:
                return "".join(pieces)

    async def restart(self) -> None:
        """Restart the kernel and wait until it is ready."""
        await self._manager.restart_kernel(now=True)
        await self._client.wait_for_ready(timeout=60)

    async def close(self) -> None:
        """End the kernel."""
        self._client.stop_channels()
        await self._manager.shutdown_kernel(now=True)


def _text(kind: str, content: dict[str, Any]) -> str:
    if kind == "stream":
        return str(content["text"])
    if kind in ("execute_result", "display_data"):
        return str(content["data"].get("text/plain", ""))
    if kind == "error":
        return "\n".join(content["traceback"])
    return ""
