"""A forked kernel speaks the Jupyter protocol as any client expects it: the suite with which
kernels of all languages are tested, jupyter_kernel_test, finds nothing amiss."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupyter_kernel_test as jkt
import pytest
import zmq
from anyio.from_thread import start_blocking_portal
from jupyter_client.channels import ZMQSocketChannel
from jupyter_client.manager import KernelManager
from jupyter_kernel_test.msgspec_v5 import validate_message

from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.local import LocalBackend
from tests.conftest import alive
from tests.kernels.test_template import is_forked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are for Linux alone")


@contextlib.contextmanager
def forked_kernel() -> Iterator[Path]:
    """The connection file of a kernel whose server has its event loop in another thread."""
    with tempfile.TemporaryDirectory() as cwd, start_blocking_portal() as portal:
        backend = LocalBackend(LocalSpec(server_python(), cwd, kernel_environment(), forks=True))
        try:
            portal.call(backend.settle)
            kernel = portal.call(backend.start)
            assert is_forked(kernel.pid)
            (file,) = backend.directory.glob("*/connection.json")
            yield file
        finally:
            portal.call(backend.close)
        assert kernel.pid is not None and not alive(kernel.pid)
        assert not backend.directory.exists()


class Patient(ZMQSocketChannel):
    """Waits long for every message; the suite gives some of them a tenth of a second, in which a
    busy machine may not have sent them."""

    def get_msg(self, timeout: float | None = None) -> dict[str, Any]:
        return super().get_msg(60)


class TestProtocol(jkt.KernelTests):
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys\nprint('oh', file=sys.stderr)"
    completion_samples = (
        {"text": "enumer", "matches": {"enumerate"}},
        {"text": "import colors", "matches": {"colorsys"}},
    )
    complete_code_samples = ("1 + 1", "print('a')", "for x in []:\n    pass\n\n", "%time 1")
    incomplete_code_samples = ("f(", "'''text", "for x in []:", "def f():\n    return 1")
    invalid_code_samples = ("1 +* 2", "for = 1")
    code_page_something = "enumerate?"
    code_generate_error = "1 / 0"
    code_execute_result = (
        {"code": "6 * 7", "result": "42"},
        {"code": "x = 'a'\nx * 3", "result": "'aaa'"},
        {"code": "from IPython.display import HTML\nHTML('<i>a</i>')", "mime": "text/html"},
    )
    code_display_data = (
        {"code": "%%html\n<i>a</i>", "mime": "text/html"},
        {"code": "%%latex\n$x^2$", "mime": "text/latex"},
        {"code": "from IPython.display import JSON\ndisplay(JSON([]))", "mime": "application/json"},
    )
    code_inspect_sample = "enumerate"
    code_clear_output = "from IPython.display import clear_output\nclear_output()"

    @classmethod
    def setUpClass(cls) -> None:
        file = cls.enterClassContext(forked_kernel())
        context = cls.enterClassContext(zmq.Context())
        # It leaves the kernel's end to the server.
        cls.km = KernelManager(connection_file=str(file), owns_kernel=False)
        cls.km.load_connection_file()
        cls.kc = cls.km.client(
            context=context, shell_channel_class=Patient, iopub_channel_class=Patient
        )
        cls.kc.start_channels()
        cls.addClassCleanup(cls.kc.stop_channels)
        # What it publishes before the subscription has arrived is lost.
        while not cls.kc.iopub_channel.msg_ready():
            cls.kc.kernel_info()
            cls.kc.get_shell_msg()

    def flush_channels(self) -> None:
        """Reads all until a request of its own is done; the suite's own waits for silence."""
        ident = self.kc.kernel_info()
        for channel in (self.kc.shell_channel, self.kc.iopub_channel):
            done = False
            while not done:
                message = channel.get_msg()
                validate_message(message)
                busy = message["content"].get("execution_state") == "busy"
                done = message["parent_header"].get("msg_id") == ident and not busy

    @unittest.skip("our kernels keep no history of what was executed")
    def test_history(self) -> None: ...

    def test_history_is_empty(self) -> None:
        reply = self.history_helper(["1"], raw=True, output=False, hist_access_type="tail", n=5)
        assert reply["content"]["history"] == []
