"""A small kernel of the language "echo": `python echo_kernel.py -f CONNECTION_FILE`.

Each line of a cell is a command; what is none is echoed. With `by_message` as first argument, an
`interrupt_request` interrupts it and SIGINT does not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel


class Interrupted(Exception):
    """What this language raises when it is interrupted."""


class EchoKernel(Kernel):
    """See the module's docstring."""

    implementation = "echo"
    implementation_version = "1"
    language_info = {"name": "echo", "mimetype": "text/plain", "file_extension": ".txt"}  # noqa: RUF012
    banner = "echo"
    by_message = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.interrupted = threading.Event()
        #: The file to write when it is asked to end.
        self.mark = ""

    async def do_execute(self, code: str, silent: bool, *args: Any, **kwargs: Any) -> Any:
        self.interrupted.clear()
        try:
            for line in code.splitlines():
                command, _, rest = line.partition(" ")
                getattr(self, f"do_{command}", self.do_echo)(rest or line)
        except (Interrupted, KeyboardInterrupt, ValueError) as error:
            name = "Error" if isinstance(error, ValueError) else "Interrupted"
            content = {"ename": name, "evalue": str(error), "traceback": [f"{name}: {error}"]}
            self.send_response(self.iopub_socket, "error", content)
            return {"status": "error", **content, "execution_count": self.execution_count}
        return {
            "status": "ok",
            "execution_count": self.execution_count,
            "payload": [],
            "user_expressions": {},
        }

    async def do_shutdown(self, restart: bool) -> Any:
        if self.mark:
            self.tidy()
        return {"status": "ok", "restart": restart}

    def tidy(self) -> None:
        """Write the file and leave."""
        Path(self.mark).write_text("tidied", encoding="utf-8")
        os._exit(0)

    async def interrupt_request(self, stream: Any, ident: Any, parent: Any) -> None:
        """As a kernel without a process of its own would take it."""
        if not self.by_message:
            os._exit(66)
        self.interrupted.set()
        self.session.send(stream, "interrupt_reply", {"status": "ok"}, parent, ident=ident)

    # -- the language

    def do_echo(self, text: str) -> None:
        content = {"name": "stdout", "text": f"{text}\n"}
        self.send_response(self.iopub_socket, "stream", content)

    def do_count(self, number: str) -> None:
        for count in range(int(number)):
            self.do_echo(str(count))

    def do_env(self, name: str) -> None:
        self.do_echo(os.environ.get(name, "(not set)"))

    def do_where(self, _: str) -> None:
        self.do_echo(os.getcwd())

    def do_fail(self, text: str) -> None:
        raise ValueError(text)

    def do_sleep(self, _: str) -> None:
        """Until it is interrupted."""
        self.do_echo("sleeping")
        if not self.by_message:
            time.sleep(600)
        self.interrupted.wait(600)
        raise Interrupted

    def do_deaf(self, _: str) -> None:
        """Sleep and ignore interrupts."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.do_echo("sleeping")
        time.sleep(600)

    def do_spawn(self, _: str) -> None:
        """Start a child process, in a session of its own."""
        child = subprocess.Popen(
            ["sleep", "600"], start_new_session=True, stdin=-3, stdout=-3, stderr=-3
        )
        self.do_echo(str(child.pid))

    def do_child(self, _: str) -> None:
        """Run a child process, and wait for it as a shell does."""
        self.do_echo("sleeping")
        child = subprocess.Popen(["sleep", "600"], stdin=-3, stdout=-3, stderr=-3)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.do_echo(f"child ended: {child.wait()}")

    def do_tidy(self, path: str) -> None:
        """Have it write a file when it is asked to end."""
        self.mark = path

    def do_raw(self, text: str) -> None:
        """Write beside the messages."""
        os.write(2, f"{text}\n".encode())

    def do_exit(self, code: str) -> None:
        os._exit(int(code))


if __name__ == "__main__":
    if sys.argv[1] == "by_message":
        EchoKernel.by_message = True
        del sys.argv[1]
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    # ipykernel would publish what the process writes to its descriptors; most kernels do not.
    argv = [*sys.argv[1:], "--IPKernelApp.capture_fd_output=False"]
    IPKernelApp.launch_instance(argv, kernel_class=EchoKernel)
