"""Checks of settings, directories, sockets and ports."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from server import settings as server_settings
from server.doctor.examination import FIRST, NOT_CHECKED, Finding, failure, ok, warning
from server.settings import Settings
from server.values import SettingError, checkout, reason

#: Bytes of free space below which outputs of long runs may not fit.
_SPACE = 1_000_000_000
#: Seconds by which the clock of a file system may differ.
_APART = 3.0
#: Characters of a directory's path in which the paths of sockets fit.
_LONGEST = 60


def _known() -> Settings | None:
    try:
        return server_settings.load()
    except SettingError:
        return None


def settings() -> Iterator[Finding]:
    """Those of the environment and of `.env`, for every transport."""
    file = (checkout() or Path.cwd()) / ".env"
    where = f"the environment and {file}" if file.is_file() else "the environment; there is no .env"
    try:
        server_settings.load()
        from server.remote import http_settings

        http_settings.load()
    except SettingError as error:
        remedy = "Correct the variable; .env.example lists them all."
        yield failure("settings", f"{error} (from {where})", remedy)
        return
    yield ok("settings", f"from {where}")


def checkpoints() -> Iterator[Finding]:
    """Whether sessions go on from one."""
    name, known = "checkpoints", _known()
    if sys.platform != "linux":
        yield ok(name, "none on this system, they need Linux: after a crash a session begins anew")
    elif known is None:
        yield warning(name, NOT_CHECKED, FIRST)
    elif not known.checkpoints:
        yield ok(name, "off (RMI_CHECKPOINT=off): after a crash a session begins anew")
    else:
        yield ok(name, "kept where it is safe: after a crash a session goes on from its own")


def projects() -> Iterator[Finding]:
    """The one directory that tools reach."""
    name, known = "projects directory", _known()
    if known is None:
        yield warning(name, NOT_CHECKED, FIRST)
        return
    path = known.projects_dir
    try:
        with tempfile.NamedTemporaryFile(dir=path, prefix=".doctor-") as file:
            apart = abs(os.stat(file.name).st_mtime - time.time())
    except OSError as error:
        remedy = "Make it yours to write, or choose another with PYTHON_PROJECTS_DIR."
        yield failure(name, f"{path} cannot be written to: {reason(error)}", remedy)
        return
    if apart > _APART:
        remedy = "Set the clocks: edited modules are told by the times of their files."
        yield warning(name, f"{path}: its clock is {apart:.0f} s away from this machine's", remedy)
        return
    yield _with_space(name, path)


def state() -> Iterator[Finding]:
    """Where tokens and the audit log are kept."""
    name, known = "state directory", _known()
    if known is None:
        yield warning(name, NOT_CHECKED, FIRST)
        return
    path = known.state_dir
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if not (there.is_dir() and os.access(there, os.W_OK)):
        remedy = "Make it yours to write, or choose another with RMI_STATE_DIR."
        yield failure(name, f"{path} cannot be written to", remedy)
    elif there != path:
        yield ok(name, f"{path}, made when something is kept there")
    elif sys.platform != "win32" and path.stat().st_mode & 0o077:
        yield warning(name, f"{path} can be entered by others", f"chmod 700 {path}")
    else:
        yield ok(name, str(path))


def temporary() -> Iterator[Finding]:
    """Where sockets and outputs of kernels lie."""
    from kernels.launching import make_run_directory

    name = "temporary directory"
    try:
        directory = Path(make_run_directory())
    except OSError as error:
        remedy = "Set TMPDIR to a directory that can be written to."
        yield failure(name, f"no directory can be made in it: {reason(error)}", remedy)
        return
    with contextlib.suppress(OSError):
        directory.rmdir()
    base = directory.parent
    if hasattr(os, "fork") and len(str(base)) >= _LONGEST:
        remedy = f"Set TMPDIR to one with a path of less than {_LONGEST} characters."
        yield failure(name, f"{base}: its path is too long for sockets", remedy)
        return
    flags = os.statvfs(base).f_flag if hasattr(os, "statvfs") else 0
    if flags & getattr(os, "ST_NOEXEC", 0):
        remedy = "Set TMPDIR to one without noexec, if your scripts compile code (numba, cffi)."
        yield warning(name, f"{base} is mounted with noexec", remedy)
        return
    yield _with_space(name, base)


def _with_space(name: str, path: Path) -> Finding:
    free = shutil.disk_usage(path).free
    words = f"{path}, {free / 1e9:.1f} GB free"
    if free < _SPACE:
        return warning(name, words, "Make room: outputs of runs may take 1 GB in all.")
    return ok(name, words)


def sockets() -> Iterator[Finding]:
    """Messages go through the sockets that kernels use."""
    from kernels.launching import make_run_directory

    directory = Path(make_run_directory())
    try:
        kinds = {"loopback": "tcp://127.0.0.1:*"}
        if hasattr(os, "fork"):
            kinds = {"ipc": f"ipc://{directory}/0123456789ab/k-1", **kinds}
            (directory / "0123456789ab").mkdir(mode=0o700)
        for kind, address in kinds.items():
            if trouble := _round_trip(address):
                remedy = "Allow this user local sockets (a firewall or a sandbox forbids them)."
                yield failure("sockets", f"{kind}: {trouble}", remedy)
                return
        yield ok("sockets", f"messages go through {' and '.join(kinds)}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _round_trip(address: str) -> str:
    """What is wrong with sockets of such an address, or ""."""
    import zmq

    context = zmq.Context()
    try:
        one, other = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
        for each in (one, other):
            each.linger, each.rcvtimeo, each.sndtimeo = 0, 3000, 3000
        one.bind(address)
        endpoint = one.getsockopt(zmq.LAST_ENDPOINT)
        other.connect(
            endpoint.decode().rstrip("\0") if isinstance(endpoint, bytes) else str(endpoint)
        )
        other.send(b"ping")
        return "" if one.recv() == b"ping" else "what arrived is not what was sent"
    except zmq.ZMQError as error:
        return str(error)
    finally:
        context.destroy(linger=0)


def http_port() -> Iterator[Finding]:
    """Where `--http` would listen."""
    from server.remote import http_settings

    try:
        http = http_settings.load()
    except SettingError:
        yield warning("HTTP port", NOT_CHECKED, FIRST)
        return
    yield _port("HTTP port", http.host, http.port, "RMI_PORT")


def page_port() -> Iterator[Finding]:
    """Where the page beside stdio would be."""
    known = _known()
    if known is None:
        yield warning("page", NOT_CHECKED, FIRST)
    elif not known.page:
        chosen = "none beside stdio" if known.page is None else "on any free port"
        yield ok("page", f"{chosen} (RMI_PAGE)")
    else:
        yield _port("page", "127.0.0.1", known.page, "RMI_PAGE")


def _port(name: str, host: str, port: int, variable: str) -> Finding:
    """Whether somebody else listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        if sys.platform != "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                remedy = f"If that is not this server, choose another port with {variable}."
                return warning(name, f"{host}:{port} is taken", remedy)
            remedy = f"Choose another with {variable}."
            return failure(name, f"{host}:{port} cannot be had: {reason(error)}", remedy)
    return ok(name, f"{host}:{port} is free")
