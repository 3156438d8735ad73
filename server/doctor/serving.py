"""The check of a real server: started as a host starts it, used as Claude uses it, ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from server import settings as server_settings
from server.doctor.examination import FIRST, NOT_CHECKED, Finding, failure, ok, warning
from server.doctor.process import NoAnswer, ServerProcess
from server.values import SettingError

#: Seconds that all of it may take.
SECONDS = 26.0
#: Seconds that are slow, for the handshake, and for a first run.
_SLOW_START, _SLOW_RUN = 8.0, 5.0
_FORKED = "import sys; print('_rmi_guest.template' in sys.modules)"
_PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"
_FOREVER = "print('on', flush=True)\nwhile True: pass"
_REPORT = "Look at the words above; `rmi-agent code 1+1` shows whether a run works now."
_started: list[ServerProcess] = []


def end() -> None:
    """End what hangs."""
    for server in _started:
        server.end()


def serve() -> Iterator[Finding]:
    """Handshake, runs, a plot, an interrupt, the end; each a finding."""
    try:
        settings = server_settings.load()
    except SettingError:
        yield warning("server", NOT_CHECKED, FIRST)
        return
    server = ServerProcess()
    _started.append(server)
    name = "server"
    try:
        begun = time.monotonic()
        server.initialize()
        yield _timed(name, "answers over stdio", time.monotonic() - begun, _SLOW_START)
        name = "first run"
        begun = time.monotonic()
        first = server.call("run_code", code="6 * 7", session="doctor")
        seconds = time.monotonic() - begun
        if _text(first).partition("\n")[0] != "42":
            yield failure(name, f"6 * 7 gave {_text(first)[:200]!r}", _REPORT)
            return
        yield _timed(name, "a kernel has started and run 6 * 7", seconds, _SLOW_RUN)
        name = "fork server"
        yield _forks(server, settings.pool)
        name = "plot"
        yield _plot(server, settings.python)
        name = "interrupt"
        yield _interrupt(server)
        name = "end"
        server.call("close_session", session="doctor")
        begun = time.monotonic()
        left = server.close()
        if left:
            words = f"processes are left after 5 s: {', '.join(map(str, left))}"
            yield failure(name, words, "They have been killed; report what they were.")
        else:
            seconds = time.monotonic() - begun
            yield ok(name, f"the session is closed, and no process is left after {seconds:.1f} s")
    except NoAnswer as error:
        yield failure(name, str(error), _REPORT)
    finally:
        server.end()


def _timed(name: str, words: str, seconds: float, slow: float) -> Finding:
    words = f"{words} in {seconds:.2f} s"
    if seconds > slow:
        return warning(name, words, "The machine is busy, or its disk slow; try again later.")
    return ok(name, words)


def _forks(server: ServerProcess, pool: int) -> Finding:
    """Where the kernels of fresh sessions come from."""
    name = "fork server"
    begun = time.monotonic()
    told = _text(server.call("run_code", code=_FORKED, session="doctor 2"))
    seconds = time.monotonic() - begun
    server.call("close_session", session="doctor 2")
    ready = f"{pool} stand ready" if pool else "none stands ready (RMI_POOL is 0)"
    words = f"a second session's first run took {seconds:.2f} s; {ready}"
    if told.startswith("True"):
        return ok(name, f"kernels are forked; {words}")
    if sys.platform != "linux":
        return ok(name, f"kernels are started one by one, as everywhere but on Linux; {words}")
    remedy = (
        "Look for c.IPythonKernel.shell_class in the configuration of IPython, and for what "
        "RMI_PRELOAD imports: fresh sessions would be ready sooner."
    )
    return warning(name, f"kernels are not forked; {words}", remedy)


def _plot(server: ServerProcess, python: str) -> Finding:
    """An image comes back."""
    begun = time.monotonic()
    result = server.call("run_code", seconds=12, code=_PLOT, session="doctor")
    seconds = time.monotonic() - begun
    if any(block.get("type") == "image" for block in result.get("content", ())):
        return ok("plot", f"matplotlib's figure came back as an image in {seconds:.2f} s")
    error = (result.get("_meta", {}).get("rmi-agent/run") or {}).get("error") or {}
    if error.get("name") == "ModuleNotFoundError":
        words = "matplotlib is not installed in the sessions' Python"
        return warning("plot", words, f"If you want plots: {python} -m pip install matplotlib.")
    return failure("plot", f"no image came back: {_text(result)[-200:]!r}", _REPORT)


def _interrupt(server: ServerProcess) -> Finding:
    """An endless loop obeys, and keeps what there was."""
    run = server.call("run_code", code=_FOREVER, session="doctor", background=True)
    ident = (run.get("_meta", {}).get("rmi-agent/run") or {}).get("run_id")
    server.call("get_output", run_id=ident, wait=5)
    begun = time.monotonic()
    told = _text(server.call("stop_run", run_id=ident))
    seconds = time.monotonic() - begun
    if "variables are kept" in told:
        return ok("interrupt", f"an endless loop has obeyed after {seconds:.2f} s")
    remedy = "Stopped runs lose their variables here; look whether something blocks SIGINT."
    return warning("interrupt", f"the kernel had to be restarted: {told[-200:]!r}", remedy)


def _text(result: dict[str, Any]) -> str:
    blocks = result.get("content", ())
    return "\n".join(block["text"] for block in blocks if block.get("type") == "text")
