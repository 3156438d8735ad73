"""The real server behind a stand-in of ngrok's agent: `--tunnel` from its start to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.http_process import SCRIPT, HttpProcess
from tests.e2e.raw import gone_within
from tests.e2e.test_http_refusals import MINE, send
from tests.server.remote.test_tunnel import URL, Ngrok

NAME = URL.removeprefix("https://")
BEARER = ("Authorization", f"Bearer {MINE}")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the stand-in is a shell script")


def settings(ngrok: Ngrok) -> dict[str, str]:
    path = f"{ngrok.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "RMI_TOKENS": f"me:{MINE}"}


@pytest.fixture
def ngrok(tmp_path: Path) -> Ngrok:
    return Ngrok.install(tmp_path / "ngrok")


@pytest.fixture
def server(tmp_path: Path, ngrok: Ngrok) -> Iterator[HttpProcess]:
    process = HttpProcess(tmp_path / "server", "--tunnel", **settings(ngrok))
    try:
        yield process.wait("rmi-agent --server")
    finally:
        process.end()


def test_it_lets_in_the_name_that_it_got_and_no_other(server: HttpProcess) -> None:
    assert send(server, BEARER, ("Host", NAME)).status == 200
    assert send(server, ("Host", NAME)).status == 401
    assert send(server, BEARER, ("Host", f"x{NAME}")).status == 421
    assert send(server, BEARER, ("Host", "ngrok-free.app")).status == 421


def test_it_prints_what_clients_need_and_no_token(server: HttpProcess, ngrok: Ngrok) -> None:
    assert f"{URL}/mcp" in server.log
    assert f"{URL}/sse" in server.log
    assert f"claude mcp add --transport http python {URL}/mcp" in server.log
    assert MINE not in server.log
    assert MINE not in ngrok.told("environ")
    assert str(server.port) in ngrok.told("argv")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_the_server(server: HttpProcess, ngrok: Ngrok, number: int) -> None:
    pid = ngrok.pid
    code = server.stop(number)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    assert gone_within([pid], 10) == []


def test_the_server_outlives_it_and_says_so(tmp_path: Path) -> None:
    ngrok = Ngrok.install(tmp_path / "ngrok", "dies")
    process = HttpProcess(tmp_path / "server", "--tunnel", **settings(ngrok))
    try:
        process.wait("rmi-agent --server")
        (ngrok.folder / "gate").open("w").close()
        process.wait("The tunnel has ended")
        assert send(process, BEARER).status == 200
        assert process.stop() == 0
    finally:
        process.end()


def test_a_signal_while_it_opens_ends_both(tmp_path: Path) -> None:
    ngrok = Ngrok.install(tmp_path / "ngrok", "late")
    process = HttpProcess(tmp_path / "server", "--tunnel", **settings(ngrok))
    try:
        # It has said how to reach its API, so the tunnel is all that is missing.
        while not ngrok.tells("api"):
            assert process.process.poll() is None
            time.sleep(0.01)
        assert process.stop() == 0
        assert gone_within([ngrok.pid], 10) == []
    finally:
        process.end()


def test_without_ngrok_it_is_one_answer_with_the_manual_way(tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RMI_")}
    ended = subprocess.run(
        [*SCRIPT, "--tunnel"],
        env={
            **own,
            "PATH": str(tmp_path),
            "RMI_PORT": "0",
            "RMI_STATE_DIR": str(tmp_path),
            "PYTHON_PROJECTS_DIR": str(tmp_path),
            "RMI_TOKENS": f"me:{MINE}",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("rmi-agent-mcp-server: ")
    assert "ngrok http" in ended.stderr
    assert "RMI_ALLOWED_HOSTS" in ended.stderr
    assert "Traceback" not in ended.stderr
