"""A tunnel: ngrok's agent is found, asked, believed only about itself, and ended.

The agent is a stand-in (`fake_ngrok`), a real process that behaves like it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from server.remote.ngrok import TunnelError
from server.remote.tunnel import Tunnel, client_configuration, open_tunnel
from tests.conftest import ROOT, alive, open_fds, until
from tests.server.remote.fake_ngrok import SECRET

PORT = 8123
URL = "https://a1b2.ngrok-free.app"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the stand-in is a shell script")


@dataclass(frozen=True)
class Ngrok:
    """A stand-in that is installed in a folder of its own, and what it tells."""

    folder: Path

    @classmethod
    def install(cls, folder: Path, words: str = "", script: str = 'exec {} "$@"') -> Ngrok:
        (folder / "bin").mkdir(parents=True)
        os.mkfifo(folder / "gate")
        command = [sys.executable, "-I", "-S", str(Path(__file__).parent / "fake_ngrok.py")]
        values = {
            "FAKE_NGROK": words,
            "FAKE_NGROK_FACTS": folder,
            "FAKE_NGROK_GATE": folder / "gate",
        }
        lines = [f"export {name}={shlex.quote(str(value))}" for name, value in values.items()]
        executable = folder / "bin" / "ngrok"
        executable.write_text("\n".join(["#!/bin/sh", *lines, script.format(shlex.join(command))]))
        executable.chmod(0o755)
        return cls(folder)

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": str(self.folder / "bin")}

    def tells(self, name: str) -> bool:
        return (self.folder / name).exists()

    def told(self, name: str) -> str:
        return (self.folder / name).read_text()

    @property
    def pid(self) -> int:
        return int(self.told("pid"))

    async def open_gate(self) -> None:
        """Let it go on. It is there, or comes."""
        await asyncio.to_thread(lambda: (self.folder / "gate").open("w").close())


Install = Callable[..., Ngrok]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """`install("late both")`: a stand-in that does as the words say."""

    def install(words: str = "", name: str = "ngrok", **options: str) -> Ngrok:
        return Ngrok.install(tmp_path / name, words, **options)

    return install


@contextlib.asynccontextmanager
async def opening(ngrok: Ngrok, **options: Any) -> AsyncIterator[asyncio.Task[Tunnel]]:
    """A tunnel that somebody else opens and holds until the end of the block."""
    opened: asyncio.Future[Tunnel] = asyncio.get_running_loop().create_future()

    async def hold() -> Tunnel:
        async with open_tunnel(PORT, ngrok.environ, **options) as tunnel:
            opened.set_result(tunnel)
            await asyncio.Event().wait()
        raise AssertionError

    holder = asyncio.create_task(hold())

    async def up() -> Tunnel:
        await asyncio.wait({opened, holder}, return_when=asyncio.FIRST_COMPLETED)
        return opened.result() if opened.done() else holder.result()

    task = asyncio.create_task(up())
    try:
        yield task
    finally:
        holder.cancel()
        await asyncio.gather(holder, task, return_exceptions=True)


async def refusal(ngrok: Ngrok, **options: Any) -> str:
    """The message with which there is no tunnel."""
    with pytest.raises(TunnelError) as caught:
        async with open_tunnel(PORT, ngrok.environ, **options):
            raise AssertionError("there is a tunnel")
    return str(caught.value)


# -- the address


async def test_a_tunnel_has_the_address_that_the_agent_got(install: Install) -> None:
    ngrok = install()
    async with open_tunnel(PORT, ngrok.environ) as tunnel:
        assert (tunnel.url, tunnel.host) == (URL, "a1b2.ngrok-free.app")
        assert ngrok.tells("asked")
        assert alive(ngrok.pid)
    assert not alive(ngrok.pid)


async def test_the_agent_forwards_to_this_server_and_keeps_no_requests(install: Install) -> None:
    """Its inspector would show tokens to everybody on this machine."""
    ngrok = install()
    async with open_tunnel(PORT, ngrok.environ):
        argv = json.loads(ngrok.told("argv"))
        assert argv[:3] == ["http", f"127.0.0.1:{PORT}", "--inspect=false"]


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7:8123"),
        ("0.0.0.0", "127.0.0.1:8123"),
        ("::1", "[::1]:8123"),
        ("::", "[::1]:8123"),
    ],
)
async def test_where_the_server_listens(install: Install, host: str, address: str) -> None:
    ngrok = install()
    async with open_tunnel(PORT, ngrok.environ, host=host):
        assert json.loads(ngrok.told("argv"))[1] == address


@pytest.mark.parametrize("words", ["text", "old"])
async def test_addresses_in_the_forms_of_older_agents(install: Install, words: str) -> None:
    async with open_tunnel(PORT, install(words).environ) as tunnel:
        assert tunnel.url == URL


async def test_of_http_and_https_it_is_https(install: Install) -> None:
    async with open_tunnel(PORT, install("both").environ) as tunnel:
        assert tunnel.url == URL


async def test_http_alone_is_no_tunnel(install: Install) -> None:
    assert "within 0.5 s" in await refusal(install("http"), timeout=0.5)


async def test_a_tunnel_may_come_up_late(install: Install) -> None:
    ngrok = install("late")
    async with opening(ngrok) as task:
        await until(lambda: ngrok.tells("api"))
        assert not task.done()
        await ngrok.open_gate()
        assert (await task).url == URL


async def test_a_tunnel_counts_when_the_api_lists_it(install: Install) -> None:
    ngrok = install("unlisted")
    async with opening(ngrok) as task:
        await until(lambda: ngrok.tells("asked"))
        assert not task.done()
        await ngrok.open_gate()
        assert (await task).url == URL


async def test_an_agent_whose_api_is_switched_off_is_believed(install: Install) -> None:
    async with open_tunnel(PORT, install("disabled").environ) as tunnel:
        assert tunnel.url == URL


# -- other agents on this machine


async def test_the_agent_of_somebody_else_has_the_usual_port(install: Install) -> None:
    """It even forwards to the same port: its tunnel is not ours."""
    other = install(name="other", script='export FAKE_NGROK_NAME=theirs.ngrok.app; exec {} "$@"')
    ours = install()
    async with (
        open_tunnel(PORT, other.environ) as theirs,
        open_tunnel(PORT, ours.environ) as tunnel,
    ):
        assert theirs.url == "https://theirs.ngrok.app"
        assert tunnel.url == URL
        assert ours.told("api") != other.told("api")


async def test_the_tunnel_of_another_agent_is_not_taken_for_ours(install: Install) -> None:
    """What an agent says of its API is not enough."""
    other = install(name="other", script='export FAKE_NGROK_NAME=theirs.ngrok.app; exec {} "$@"')
    async with open_tunnel(PORT, other.environ):
        api = other.told("api")
        ours = install("mistaken", script=f'export FAKE_NGROK_API={api}; exec {{}} "$@"')
        message = await refusal(ours, timeout=3)
    assert message == (
        f"ngrok opened no tunnel within 3 s; for port {PORT} its local API at {api} does not list "
        f"{URL}."
    )
    assert not alive(ours.pid)


async def test_a_tunnel_to_another_port_is_not_ours(install: Install) -> None:
    message = await refusal(install("elsewhere"), timeout=3)
    assert message.endswith(f"does not list {URL}.")


async def test_an_api_that_is_none(install: Install) -> None:
    message = await refusal(install("html"), timeout=3)
    assert message.endswith(f"does not list {URL}.")


# -- no tunnel


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "authtoken",
            "There is no tunnel. ngrok ended with exit code 1: authentication failed: Usage of "
            "ngrok requires a verified account and authtoken (ERR_NGROK_4018). Save yours with: "
            "ngrok config add-authtoken YOUR_AUTH_TOKEN",
        ),
        (
            "invalid",
            "There is no tunnel. ngrok ended with exit code 1: authentication failed: The "
            "authtoken you specified does not look like a proper ngrok authtoken (ERR_NGROK_105). "
            "Save yours with: ngrok config add-authtoken YOUR_AUTH_TOKEN",
        ),
        (
            "limit",
            "There is no tunnel. ngrok ended with exit code 1: authentication failed: Your account "
            "is limited to 1 simultaneous ngrok agent sessions (ERR_NGROK_108). "
            "See https://ngrok.com/docs/errors/err_ngrok_108",
        ),
    ],
)
@pytest.mark.parametrize("form", ["", "plain"])
async def test_why_the_agent_gave_up(install: Install, words: str, message: str, form: str) -> None:
    """In the agent's words and with its code, whether its log or only its stderr tells."""
    ngrok = install(f"{words} {form}")
    said = await refusal(ngrok)
    assert said == message
    assert SECRET not in said
    assert not alive(ngrok.pid)


async def test_an_agent_that_reaches_no_service_says_so(install: Install) -> None:
    ngrok = install("offline")
    assert await refusal(ngrok, timeout=3) == (
        "ngrok opened no tunnel within 3 s; the last that it said: failed to dial ngrok server: "
        "dial tcp: lookup connect.ngrok-agent.com: no such host."
    )
    assert not alive(ngrok.pid)


async def test_an_agent_that_ends_without_a_word(install: Install) -> None:
    message = await refusal(install(script="exit 3 # {}"))
    assert message == "There is no tunnel. ngrok ended with exit code 3 and said nothing."


async def test_an_agent_that_does_not_know_our_options(install: Install) -> None:
    message = await refusal(install(script="echo 'unknown flag: --log' >&2; exit 1 # {}"))
    assert message == "There is no tunnel. ngrok ended with exit code 1: unknown flag: --log."


async def test_a_file_that_is_no_program(install: Install) -> None:
    ngrok = install()
    (ngrok.folder / "bin" / "ngrok").write_bytes(b"\x00\x01 not for this machine")
    message = await refusal(ngrok)
    assert message.startswith("There is no tunnel. ngrok could not be started: ")
    assert "Exec format error" in message


async def test_without_ngrok_there_is_the_manual_way(tmp_path: Path) -> None:
    message = await refusal(Ngrok(tmp_path))
    assert message.startswith("ngrok is not installed, so there is no tunnel. The manual way:\n")
    for command in (
        "https://ngrok.com/download",
        "brew install ngrok",
        "choco install ngrok",
        "ngrok config add-authtoken YOUR_AUTH_TOKEN",
        f"ngrok http {PORT}\n",
        "RMI_ALLOWED_HOSTS",
    ):
        assert command in message


# -- pyngrok


Pyngrok = Callable[[str, str], None]


@pytest.fixture
def pyngrok(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pyngrok]:
    """`pyngrok(path, body)`: the package is there, with what we use of it; `body` installs."""

    def make(path: str, body: str) -> None:
        package = tmp_path / "packages" / "pyngrok"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "exception.py").write_text("class PyngrokError(Exception): pass\n")
        (package / "conf.py").write_text(
            f"class Config:\n    ngrok_path = {path!r}\ndef get_default(): return Config()\n"
        )
        (package / "ngrok.py").write_text(
            f"import os\nfrom pyngrok import exception\ndef install_ngrok():\n    {body}\n"
        )
        monkeypatch.syspath_prepend(str(package.parent))

    yield make
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyngrok"]:
        del sys.modules[name]


async def test_the_agent_of_pyngrok_is_installed_and_used(
    install: Install, pyngrok: Pyngrok, tmp_path: Path
) -> None:
    ngrok = install()
    hidden, place = ngrok.folder / "bin" / "ngrok", tmp_path / "of-pyngrok"
    pyngrok(str(place), f"os.rename({str(hidden)!r}, {str(place)!r})")
    async with open_tunnel(PORT, {"PATH": ""}) as tunnel:
        assert tunnel.url == URL


async def test_an_agent_that_pyngrok_cannot_install(pyngrok: Pyngrok, tmp_path: Path) -> None:
    pyngrok("", "raise exception.PyngrokError('no network')")
    assert await refusal(Ngrok(tmp_path)) == "pyngrok could not install ngrok: no network"


# -- the process


async def test_the_agent_gets_no_secret_of_the_server(install: Install) -> None:
    ngrok = install()
    own = {"RMI_TOKENS": "me:secret", "FASTMCP_X": "secret", "NGROK_AUTHTOKEN": "t", "LANG": "C"}
    async with open_tunnel(PORT, ngrok.environ | own):
        environ = json.loads(ngrok.told("environ"))
    assert "secret" not in environ.values() and "me:secret" not in environ.values()
    assert {name for name in environ if name.startswith("RMI_")} == {"RMI_AGENT_KERNEL"}
    assert environ["NGROK_AUTHTOKEN"] == "t"
    assert environ["LANG"] == "C"


async def test_a_ctrl_c_in_the_terminal_does_not_reach_the_agent(install: Install) -> None:
    ngrok = install()
    async with open_tunnel(PORT, ngrok.environ):
        assert os.getpgid(ngrok.pid) != os.getpgid(0)
        assert os.getsid(ngrok.pid) != os.getsid(0)


async def test_an_agent_that_ignores_sigterm_is_killed(install: Install) -> None:
    ngrok = install("stubborn")
    async with open_tunnel(PORT, ngrok.environ):
        pass
    assert not alive(ngrok.pid)


async def test_what_a_wrapper_script_started_ends_with_it(install: Install) -> None:
    """As the `ngrok` commands of pyngrok and of npm's package are."""
    ngrok = install("stubborn", script='{} "$@"; exit $?')
    async with open_tunnel(PORT, ngrok.environ):
        pass
    assert not alive(ngrok.pid)


async def test_what_the_agent_says_is_read_all_the_time(install: Install) -> None:
    ngrok = install("chatty")
    async with open_tunnel(PORT, ngrok.environ):
        await until(lambda: ngrok.tells("done"))


async def test_an_agent_that_goes_by_itself(install: Install) -> None:
    ngrok = install("dies")
    async with open_tunnel(PORT, ngrok.environ) as tunnel:
        ended = asyncio.create_task(tunnel.ended())
        await until(lambda: ngrok.tells("done"))
        assert not ended.done()
        await ngrok.open_gate()
        assert await ended == (
            f"The tunnel {URL} is closed. ngrok ended with exit code 1: session closed: this agent "
            "was stopped from the dashboard (ERR_NGROK_9999). "
            "See https://ngrok.com/docs/errors/err_ngrok_9999"
        )


async def test_an_agent_that_is_killed(install: Install) -> None:
    ngrok = install()
    async with open_tunnel(PORT, ngrok.environ) as tunnel:
        os.kill(ngrok.pid, signal.SIGKILL)
        assert "ngrok was ended by signal 9" in await tunnel.ended()


async def test_giving_up_before_the_tunnel_is_open_ends_the_agent(install: Install) -> None:
    ngrok = install("late")
    async with opening(ngrok):
        await until(lambda: ngrok.tells("pid"))
    assert not alive(ngrok.pid)


async def test_giving_up_at_the_very_start_leaves_nothing(install: Install) -> None:
    ngrok = install("late")
    fds = open_fds()
    async with opening(ngrok):
        await asyncio.sleep(0)
    assert not ngrok.tells("pid") or not alive(ngrok.pid)
    await until(lambda: open_fds() <= fds)


async def test_nothing_is_left_of_a_tunnel(install: Install) -> None:
    ngrok = install()
    async with open_tunnel(PORT, ngrok.environ):  # starts the threads that go on
        pass
    fds, threads = open_fds(), own_threads()
    for _ in range(3):
        async with open_tunnel(PORT, ngrok.environ):
            pass
    await until(lambda: open_fds() <= fds and own_threads() <= threads)


def own_threads() -> int:
    """Threads but those of the loop's pool, which come and stay as it likes."""
    return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
async def test_the_agent_does_not_outlive_a_server_that_is_killed(
    install: Install, name: str
) -> None:
    ngrok = install("stubborn")
    server = """if True:
        import asyncio, json, sys
        sys.path.insert(0, sys.argv[1])
        from server.remote.tunnel import open_tunnel
        async def main():
            async with open_tunnel(1, json.loads(sys.argv[2])):
                print("open", flush=True)
                await asyncio.Event().wait()
        asyncio.run(main())
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", server, str(ROOT), json.dumps(ngrok.environ),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    process.send_signal(signal.Signals[name])
    await process.wait()
    await until(lambda: not alive(ngrok.pid))


# -- what the user is told


def test_how_clients_connect() -> None:
    text = client_configuration(URL)
    assert f"{URL}/mcp" in text and f"{URL}/sse" in text
    assert (
        f"claude mcp add --transport http python {URL}/mcp "
        '--header "Authorization: Bearer YOUR_TOKEN"\n'
    ) in text
    assert f"RMI_TOKEN=YOUR_TOKEN rmi-agent --server {URL}/mcp run hello_world.py" in text
    start, end = text.index("{\n"), text.rindex("}") + 1
    assert json.loads(text[start:end]) == {
        "mcpServers": {
            "python": {
                "type": "http",
                "url": f"{URL}/mcp",
                "headers": {"Authorization": "Bearer YOUR_TOKEN"},
            }
        }
    }
