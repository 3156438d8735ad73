"""A second client of a session's kernel, as Jupyter's own front ends are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jupyter_client.asynchronous import AsyncKernelClient

from kernels.session import Session


class Visitor:
    """What a front end does. `seen` are type and content of what its executions have published."""

    def __init__(self, client: AsyncKernelClient) -> None:
        self.client = client
        self.seen: list[tuple[str, dict[str, Any]]] = []

    async def run(self, code: str, answer: str | None = None, **options: Any) -> dict[str, Any]:
        """Execute, and return the reply. `answer`: what is typed when it asks."""

        def publish(message: dict[str, Any]) -> None:
            self.seen.append((message["header"]["msg_type"], message["content"]))

        def tell(message: dict[str, Any]) -> None:
            self.client.input(str(answer))

        reply = await self.client.execute_interactive(
            code,
            allow_stdin=answer is not None,
            timeout=20,
            output_hook=publish,
            stdin_hook=tell,
            **options,
        )
        content: dict[str, Any] = reply["content"]
        return content

    async def ask(self, request: str, *arguments: Any) -> dict[str, Any]:
        """Ask something that is no execution; the reply."""
        ident = getattr(self.client, request)(*arguments)
        while (reply := await self.client.get_shell_msg(timeout=20)) is not None:
            if reply["parent_header"].get("msg_id") == ident:
                break
        content: dict[str, Any] = reply["content"]
        return content

    @property
    def printed(self) -> str:
        """All that its executions have printed."""
        return "".join(content["text"] for kind, content in self.seen if kind == "stream")


@asynccontextmanager
async def attached(session: Session) -> AsyncIterator[Visitor]:
    """A client that reads the session's connection file."""
    assert session.connection_file is not None
    client = AsyncKernelClient(connection_file=str(session.connection_file))
    client.load_connection_file()
    client.start_channels(hb=False)
    try:
        await client.wait_for_ready(timeout=20)
        yield Visitor(client)
    finally:
        client.stop_channels()
        client.context.destroy(linger=0)
