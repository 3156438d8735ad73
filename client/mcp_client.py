"""A client for the server: over standard input and output, HTTP or SSE.

    async with RmiMcpClient("https://example.org/mcp") as client:
        print(await client.run_python("hello_world.py"))

This file needs no other of the project. As a script it is the `rmi-agent` command:
`python client/mcp_client.py --server URL-or-script`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    # FastMCP takes most of a second to import; a wrong option or --help need not wait for it.
    from fastmcp import Client
    from fastmcp.client.client import CallToolResult
    from fastmcp.client.transports import ClientTransport

#: The server of this checkout, or of the installed package.
LOCAL_SERVER = Path(__file__).resolve().parent.parent / "server" / "mcp_server.py"

#: Seconds a server may take until it answers.
_CONNECT = 30.0
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")
#: JSON-RPC's code for a connection that has ended.
_CLOSED = -32000

Result = TypeVar("Result")
OnProgress = Callable[[float, str], None]
#: Gets the parts that are done, a fraction for the one under way, of how many, and a message.
OnPart = Callable[[float, float, str], None]
#: Gets what a program asks and whether the answer is secret; returns it, or None to decline.
Ask = Callable[[str, bool], Awaitable["str | None"]]


class ServerError(Exception):
    """The server cannot be started or reached, went away, or refused a call. The text is one
    sentence for the user."""


class Tool(Protocol):
    """What a server says about one of its tools."""

    name: str
    description: str | None
    input_schema: dict[str, Any]


class RmiMcpClient:
    """A connection to one server, open inside `async with`.

    `server_url` is a URL (`http`, `https`; SSE when its path ends with `/sse`), the path of a
    server's `.py` file, a command line, or None for the local server. A server that is started
    gets this process's environment and ends with the connection. `token` is the bearer token
    for a URL; left out, that of the environment variable RMI_TOKEN. `ask` is called with what a
    program asks when it reads more than its `stdin`; without it the program is at its end there.

    Every method raises `ServerError`.
    """

    def __init__(
        self,
        server_url: str | os.PathLike[str] | None = None,
        *,
        token: str | None = None,
        ask: Ask | None = None,
    ) -> None:
        text = os.fspath(LOCAL_SERVER if server_url is None else server_url).strip()
        self._url = _url(text) if _URL.fullmatch(text) else ""
        self._command = [] if self._url else _command(text)
        #: What messages call the server.
        self.name = _without_login(self._url) if self._url else f"{text!r}"
        if server_url is None:
            self.name = "of this project"
        self._token = _checked_token(token) if self._url else ""
        self._ask = ask
        self._client: Client[Any] | None = None
        self._stack = AsyncExitStack()
        self._stderr: TextIO | None = None
        self._http_status = 0
        self._refused = asyncio.Event()

    async def __aenter__(self) -> RmiMcpClient:
        from fastmcp import Client

        async with AsyncExitStack() as stack:
            client: Client[Any] = Client(
                self._transport(stack),
                init_timeout=_CONNECT,
                elicitation_handler=self._answer if self._ask is not None else None,
            )
            try:
                # FastMCP's own limit does not cover everything: with SSE, not the first event.
                async with asyncio.timeout(_CONNECT):
                    await stack.enter_async_context(client)
            except Exception as error:
                raise ServerError(self._why_not_connected(error)) from error
            self._client, self._stack = client, stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client = None
        # A connection that broke raises here again what its last call has said already.
        with suppress(Exception):
            await self._stack.aclose()

    @property
    def server(self) -> str:
        """Name and version that the server gives itself, or ""."""
        info = self._connected().server_info
        return f"{info.name} {info.version}".strip() if info else ""

    @property
    def fastmcp(self) -> Client[Any]:
        """FastMCP's client beneath, connected, for a library that takes one."""
        return self._connected()

    async def list_tools(self) -> list[Tool]:
        """The server's tools."""
        client = self._connected()
        try:
            return list(await client.list_tools())
        except Exception as error:
            raise ServerError(self._why_failed(error)) from error

    async def call(
        self,
        tool: str,
        arguments: dict[str, Any] | None = None,
        on_progress: OnProgress | None = None,
        *,
        on_part: OnPart | None = None,
    ) -> CallToolResult:
        """Call a tool and return its result: `content` blocks, `is_error`, `meta`.

        A program that fails is a result, and so is a sentence with which a tool refuses its
        arguments; the facts of a run are in `meta["rmi-agent/run"]`. `on_progress` gets the
        seconds so far and the last lines of output. `on_part` gets the news of a run that has
        parts, a notebook's cells: the message's first line is on the part, the others are output;
        without it `on_progress` gets them, too. Cancelling stops the run.
        """
        begun = time.monotonic()

        async def report(progress: float, total: float | None, message: str | None) -> None:
            if total is not None and on_part is not None:
                on_part(progress, total, message or "")
            elif on_progress is not None:
                seconds = progress if total is None else round(time.monotonic() - begun, 3)
                on_progress(seconds, message or "")

        client = self._connected()
        try:
            return await self._unless_refused(
                client.call_tool(
                    tool, arguments or {}, progress_handler=report, raise_on_error=False
                )
            )
        except Exception as error:
            raise ServerError(self._why_failed(error)) from error

    async def read(self, uri: str) -> str:
        """The text of a resource, for example `session://default/notebook`."""
        client = self._connected()
        try:
            contents = await client.read_resource(uri)
        except Exception as error:
            raise ServerError(self._why_failed(error)) from error
        return "".join(str(getattr(content, "text", "")) for content in contents)

    async def run_python(self, file_name: str, **arguments: Any) -> str:
        """Run a file of the projects directory and return the text of the result: its output
        with the traceback of an error, and last a line of facts.

        `arguments` are others of the tool: `args`, `session`, `timeout`, `stdin`, `restart`.
        """
        return text_of(await self.call("run_python", {"file_name": file_name, **arguments}))

    async def _answer(self, message: str, _: Any, params: Any, __: Any) -> Any:
        """Answer a form of the server's."""
        from fastmcp.client.elicitation import ElicitResult

        assert self._ask is not None
        fields = (getattr(params, "requested_schema", None) or {}).get("properties", {})
        secret = any("secret" in str(field.get("title", "")).lower() for field in fields.values())
        text = await self._ask(message, secret)
        if text is None:
            return ElicitResult(action="decline")
        return ElicitResult(action="accept", content=dict.fromkeys(fields, text))

    async def _unless_refused(self, call: Coroutine[Any, Any, Result]) -> Result:
        """The call's result, unless its request is refused: over SSE nothing would come then."""
        calling = asyncio.create_task(call)
        refusing = asyncio.create_task(self._refused.wait())
        try:
            await asyncio.wait({calling, refusing}, return_when=asyncio.FIRST_COMPLETED)
            if calling.done():
                return calling.result()
            raise ConnectionError
        finally:
            refusing.cancel()
            # The server has to hear of it when we are cancelled.
            calling.cancel()
            await asyncio.wait({calling})

    def _connected(self) -> Client[Any]:
        if self._client is None:
            raise RuntimeError("The client is not connected: use it inside `async with`.")
        return self._client

    def _transport(self, stack: AsyncExitStack) -> ClientTransport:
        from fastmcp.client.transports import SSETransport, StdioTransport, StreamableHttpTransport

        if self._url:
            is_sse = urlsplit(self._url).path.rstrip("/").endswith("/sse")
            kind = SSETransport if is_sse else StreamableHttpTransport
            return kind(self._url, auth=self._auth())
        # A file, because sys.stderr may be none (a notebook has such); it also lets us say why
        # a server did not start.
        file = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._stderr = stack.enter_context(cast(TextIO, file))
        return StdioTransport(
            self._command[0],
            self._command[1:],
            env={k: v for k, v in os.environ.items() if _is_text(k + v)},
            keep_alive=False,
            log_file=self._stderr,
        )

    def _auth(self) -> Any:
        """Sends the token, and notes the HTTP status, which MCP errors do not carry."""
        from fastmcp.client import BearerAuth

        outer = self

        class Auth(BearerAuth):
            def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
                if outer._token:
                    request.headers["Authorization"] = f"Bearer {outer._token}"
                response = yield request
                outer._http_status = response.status_code
                if response.status_code >= 400 and "session_id=" in str(request.url):
                    outer._refused.set()

        return Auth(self._token)

    # -- what went wrong, for people

    def _why_not_connected(self, error: Exception) -> str:
        if refusal := self._refusal():
            return refusal
        reason = _reason(error)
        if any(isinstance(cause, TimeoutError) for cause in _chain(error)):
            return f"The server {self.name} did not answer within {_CONNECT:.0f} s."
        if self._url:
            return f"The server {self.name} cannot be reached: {reason}."
        if getattr(error, "code", None) == _CLOSED:
            words = self._last_words() or " and said nothing."
            return f"The server {self.name} ended before it answered{words}"
        if any(isinstance(cause, OSError) for cause in _chain(error)):
            return f"The server {self.name} cannot be started: {reason}."
        return f"The server {self.name} does not answer as an MCP server does: {reason}."

    def _why_failed(self, error: Exception) -> str:
        if refusal := self._refusal():
            return refusal
        code = getattr(error, "code", None)
        if isinstance(code, int) and code != _CLOSED:
            return f"The server {self.name} refused the call: {_reason(error)}."
        return f"The server {self.name} went away during the call{self._last_words() or '.'}"

    def _refusal(self) -> str:
        status = self._http_status
        if status == 401:
            if self._token:
                return f"The server {self.name} refused the token (HTTP 401)."
            return f"The server {self.name} asks for a token (HTTP 401); set RMI_TOKEN."
        if status in (400, 404, 405, 406):
            where = "an address ends with /mcp or /sse as a rule"
            return f"There is no MCP server at {self.name} (HTTP {status}); {where}."
        if status == 413:
            return f"The request is too large for the server {self.name} (HTTP 413)."
        if status == 429:
            return f"The server {self.name} had too many calls (HTTP 429); wait a moment."
        if status == 421:
            return (
                f"The server {self.name} does not know this host name (HTTP 421); "
                "it belongs in its setting RMI_ALLOWED_HOSTS."
            )
        return f"The server {self.name} answered with HTTP {status}." if status >= 400 else ""

    def _last_words(self) -> str:
        """The end of a sentence: what the server wrote last to its standard error, or ""."""
        if self._stderr is None:
            return ""
        self._stderr.seek(0)
        lines = self._stderr.read()[-4000:].splitlines()
        # Not the lower edge of a box that was drawn around the words.
        last = next((line for line in reversed(lines) if any(map(str.isalnum, line))), "")
        plain = "".join(character if character.isprintable() else " " for character in last)
        return f": {plain.strip()[:500]}" if plain else ""


def text_of(result: CallToolResult) -> str:
    """All text of a result. Images are only named in it."""
    texts = [text for block in result.content if (text := getattr(block, "text", None))]
    ended = [text if text.endswith("\n") else text + "\n" for text in texts[:-1]]
    return "".join([*ended, *texts[-1:]])


def is_http(text: str) -> bool:
    """Whether it is an address that a server over HTTP can have."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False


def _url(text: str) -> str:
    if not is_http(text):
        raise ServerError(
            f"{_without_login(text)!r} is no address of a server; one looks like "
            "http://127.0.0.1:8000/mcp."
        )
    parts = urlsplit(text)
    return urlunsplit(parts._replace(path="/mcp") if parts.path in ("", "/") else parts)


def _command(text: str) -> list[str]:
    path = Path(text).expanduser()
    if path.suffix == ".py" and path.is_file():
        return [sys.executable, str(path)]
    try:
        words = shlex.split(text, posix=os.name != "nt")
    except ValueError as error:
        raise ServerError(f"The server's command {text!r} has a mistake: {error}.") from None
    if not words:
        raise ServerError("The server's name is empty; leave it out for the local server.")
    if words[0].endswith(".py"):
        path = Path(words[0]).expanduser()
        if not path.is_file():
            raise ServerError(f"There is no file {words[0]!r} to start as a server.")
        return [sys.executable, str(path), *words[1:]]
    # Commands of an environment that is not activated stand beside its Python.
    beside = os.path.dirname(sys.executable)
    program = shutil.which(words[0]) or shutil.which(words[0], path=beside)
    if program is None:
        raise ServerError(
            f"There is no command or script {words[0]!r} to start as a server; "
            "a URL begins with http:// or https://."
        )
    return [program, *words[1:]]


def _checked_token(token: str | None) -> str:
    found = (os.environ.get("RMI_TOKEN", "") if token is None else token).strip()
    if not all("!" <= character <= "~" for character in found):
        raise ServerError("The token has a space or another character that no token has.")
    return found


def _without_login(url: str) -> str:
    """`url` without the user name and password that it may carry, for messages."""
    before, slashes, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{before}{slashes}{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


def _chain(error: BaseException | None) -> Generator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _reason(error: BaseException) -> str:
    """The words of an error, in one line without a full stop."""
    causes = list(_chain(error))
    system = next((e for e in causes if isinstance(e, OSError) and e.strerror), None)
    said = system.strerror if system is not None else str(error)
    said = (said or type(error).__name__).removeprefix("Client failed to connect: ")
    line = said.strip().split("\n")[0]
    if line.startswith("[Errno"):
        line = line.partition("] ")[2]
    return line.rstrip(".")[:500]


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


if __name__ == "__main__":
    # What Python put here is this folder; the package `client` is found from the one above.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from client.cli import main

    sys.exit(main())
