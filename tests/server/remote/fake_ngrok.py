"""A stand-in for ngrok's agent: its command line, its log, its local API. It opens no tunnel.

As the real one it looks for a free port from 4040 on, logs lines of JSON on stdout, says on stderr
with "ERROR:" why it gives up, and ends on SIGTERM. FAKE_NGROK holds words that change what it does:

late, unlisted    the tunnel comes up, or is listed by the API, when FAKE_NGROK_GATE is opened
authtoken, invalid, limit, plain
                  it gives up: no authtoken, a wrong one, too many agents; plain: no log of it
dies              it gives up when FAKE_NGROK_GATE is opened, the tunnel being up
stubborn          SIGTERM does not end it
elsewhere         it forwards to another port than it was told
both, http        it forwards http:// beside https://, or alone
html              its API answers with a page
mistaken          it takes FAKE_NGROK_API for the address of its API
disabled          it has no API (`web_addr: false`)
offline           it reaches no service and goes on trying
text, old         addresses in the log are strings; in the API they are without http://
chatty            it says a lot when the tunnel is up

FAKE_NGROK_FACTS is a folder for what tests ask for: `pid`, `argv`, `environ`, the `api`'s address,
`asked` once the API has been asked for its tunnels, `done` when it has said everything.
FAKE_NGROK_GATE is a named pipe, opened by somebody who opens it for writing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NoReturn

WORDS = set(os.environ.get("FAKE_NGROK", "").split())
FACTS = Path(os.environ.get("FAKE_NGROK_FACTS", ""))
URL = "https://" + os.environ.get("FAKE_NGROK_NAME", "a1b2.ngrok-free.app")
SECRET = "cr_thisIsTheUsersAuthtoken"

#: Text and code, as they come from the service.
REFUSALS = {
    "authtoken": (
        "authentication failed: Usage of ngrok requires a verified account and authtoken.\n\n"
        "Sign up for an account: https://dashboard.ngrok.com/signup\n"
        "Install your authtoken: https://dashboard.ngrok.com/get-started/your-authtoken",
        "ERR_NGROK_4018",
    ),
    "invalid": (
        "authentication failed: The authtoken you specified does not look like a proper ngrok "
        f"authtoken.\nYour authtoken: {SECRET}\n"
        "Instructions to install your authtoken are on your ngrok dashboard:\n"
        "https://dashboard.ngrok.com/get-started/your-authtoken",
        "ERR_NGROK_105",
    ),
    "limit": (
        "authentication failed: Your account is limited to 1 simultaneous ngrok agent sessions.\n"
        "You can run multiple tunnels on a single agent session using a configuration file.\n"
        "You can view your current agent sessions in the dashboard:\n"
        "https://dashboard.ngrok.com/agents",
        "ERR_NGROK_108",
    ),
    "dies": ("session closed: this agent was stopped from the dashboard", "ERR_NGROK_9999"),
}
NO_REQUESTS = {"count": 0, "rate1": 0, "rate5": 0, "rate15": 0, "p50": 0, "p90": 0, "p95": 0}


def note(name: str, value: object = "") -> None:
    """Write a fact, whole or not at all."""
    new = FACTS / f"{name}.new"
    new.write_text(str(value))
    new.rename(FACTS / name)


def log(level: str, message: str, **fields: object) -> None:
    record = {"t": "2026-01-02T03:04:05+0000", "lvl": level, "msg": message, **fields}
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def wait_at_the_gate() -> None:
    with open(os.environ["FAKE_NGROK_GATE"]) as gate:
        gate.read()


def give_up(reason: str) -> NoReturn:
    text, code = REFUSALS[reason]
    error = f"{text}\r\n\r\n{code}\r\n"
    if "plain" not in WORDS:
        log("eror", "failed to reconnect session", obj="tunnels.session", err=error)
        log("info", "session closing", obj="tunnels.session", err=None)
        log("crit", "command failed", err=error)
    lines = [*text.split("\n"), "", code, f"https://ngrok.com/docs/errors/{code.lower()}", ""]
    # In the colours that it has on a terminal.
    sys.stderr.write("".join(f"\x1b[31mERROR:\x1b[0m  {line}\n" for line in lines))
    sys.stderr.flush()
    os._exit(1)


def arguments() -> str:
    """The address to forward to. Options that the real agent does not have end it."""
    parser = argparse.ArgumentParser("ngrok")
    command = parser.add_subparsers(required=True).add_parser("http")
    command.add_argument("address")
    command.add_argument("--inspect", choices=["true", "false"], default="true")
    command.add_argument("--log", choices=["stdout"], required=True)
    command.add_argument("--log-format", choices=["json"], required=True)
    command.add_argument("--log-level", choices=["info"], default="info")
    address: str = parser.parse_args().address
    return address if ":" in address else f"localhost:{address}"


class Api(BaseHTTPRequestHandler):
    """GET /api/tunnels."""

    address = ""
    tunnels: tuple[str, ...] = ()

    def do_GET(self) -> None:
        found = self.path == "/api/tunnels"
        body, kind = json.dumps(self.resource()).encode(), "application/json"
        if "html" in WORDS:
            body, kind = b"<!doctype html><title>Somebody's page</title>", "text/html"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if found:
            note("asked")
        self.wfile.write(body)

    def resource(self) -> dict[str, object]:
        return {
            "tunnels": [
                {
                    "name": "command_line",
                    "ID": "17392213123123b81cce385753",
                    "uri": "/api/tunnels/command_line",
                    "public_url": url,
                    "proto": url.partition(":")[0],
                    "config": {
                        "addr": self.address if "old" in WORDS else f"http://{self.address}",
                        "inspect": False,
                    },
                    "metrics": {"conns": {"gauge": 0, **NO_REQUESTS}, "http": NO_REQUESTS},
                }
                for url in self.tunnels
            ],
            "uri": "/api/tunnels",
        }

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # As Go does: a port is free although connections to it have just ended. And without the
        # look-up of this machine's name that HTTPServer does.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)


def serve() -> None:
    """Start the API on the first free port, as the real one does."""
    for port in range(4040, 4140):
        try:
            server = Server(("127.0.0.1", port), Api)
        except OSError:
            if port == 4040:
                text = "can't bind default web address, trying alternatives"
                log("warn", text, obj="web", addr="127.0.0.1:4040")
            continue
        api = f"127.0.0.1:{port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = os.environ["FAKE_NGROK_API"] if "mistaken" in WORDS else api
        log("info", "starting web service", obj="web", addr=said, allow_hosts=[])
        note("api", api)
        return
    raise SystemExit("no port is free")


def open_tunnels(address: str) -> None:
    urls = [URL.replace("https", "http", 1)] if WORDS & {"both", "http"} else []
    urls += [] if "http" in WORDS else [URL]
    if "unlisted" not in WORDS:
        Api.tunnels = tuple(urls)
    parts: object = {"Scheme": "http", "Host": address}
    addr = f"http://{address}" if WORDS & {"text", "old"} else parts
    for url in urls:
        log("info", "started tunnel", obj="tunnels", name="command_line", addr=addr, url=url)
    if "unlisted" in WORDS:
        wait_at_the_gate()
        Api.tunnels = tuple(urls)


def main() -> None:
    if "stubborn" in WORDS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Api.address = arguments()
    if "elsewhere" in WORDS:
        Api.address = "127.0.0.1:9"
    note("argv", json.dumps(sys.argv[1:]))
    note("environ", json.dumps(dict(os.environ)))
    note("pid", os.getpid())
    log("info", "no configuration paths supplied")
    log("info", "open config file", path="/home/somebody/.config/ngrok/ngrok.yml", err=None)
    if "disabled" not in WORDS:
        serve()
    for reason in ("authtoken", "invalid", "limit"):
        if reason in WORDS:
            give_up(reason)
    if "offline" in WORDS:
        error = (
            "failed to dial ngrok server: dial tcp: lookup connect.ngrok-agent.com: no such host"
        )
        log("eror", "failed to reconnect session", obj="tunnels.session", err=error)
        note("done")
    else:
        log("info", "client session established", obj="tunnels.session")
        log("info", "tunnel session started", obj="tunnels.session")
        if "late" in WORDS:
            wait_at_the_gate()
        open_tunnels(Api.address)
        if "chatty" in WORDS:
            for number in range(5000):
                log("info", "join connections", obj="join", id=number, text="x" * 200)
        note("done")
        if "dies" in WORDS:
            wait_at_the_gate()
            give_up("dies")
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
