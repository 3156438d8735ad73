"""How each peer is started, which of its tools runs code, and where its answer is."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.peers_jupyter import JupyterServer
from tests.bench.peers_server import free_port
from tests.bench.stdio import COMMANDS, ROOT

#: A tool and its arguments.
Call = tuple[str, Mapping[str, object]]
#: Makes a call and returns the text of its result.
Ask = Callable[[Call], str]

_PINNED = "mcp is pinned, because with mcp 2 it does not start"


class Peer:
    """One server, in the shape that most have. Starts nothing but what stands beside it."""

    #: As it is called in the table and by `--only`, and whose environment it runs in.
    name = ""
    home = ""
    #: What a reader of the table has to know, without a full stop.
    note = ""
    #: As many samples of its notebook as of all others' if 0.
    notebook_samples = 0

    def __init__(self, python: Path, folder: Path) -> None:
        """`folder` is where its programs run; what it writes goes there, too."""
        self.python, self.folder = python, folder

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Keep running what the server needs beside it."""
        yield

    def pids(self) -> Sequence[int]:
        """Processes of that."""
        return ()

    def clear(self) -> None:
        """End what a server that has ended has left there."""

    def command(self) -> Sequence[str]:
        """What starts the server."""
        return (str(self.python.parent / self.home),)

    def settings(self) -> Mapping[str, str]:
        """More environment variables for it."""
        return {}

    def where(self) -> Path:
        """Its working directory."""
        return self.folder

    def opening(self) -> Sequence[Call]:
        """What has to be called before code can be run."""
        return ()

    def run(self, code: str) -> Call:
        """The call that runs code."""
        raise NotImplementedError

    def text(self, result: Any) -> str:
        """What the code has written, as it stands in the result."""
        return "".join(block.get("text", "") for block in result["content"])

    def images(self, result: Any) -> list[bytes]:
        """Images in the result."""
        blocks = [block for block in result["content"] if block["type"] == "image"]
        return [base64.b64decode(block["data"]) for block in blocks]

    def files(self, result: Any) -> list[Path]:
        """Images that the result only names."""
        return []

    def rest(self, result: Any, ask: Ask) -> str:
        """The end of the text, got by a further call, or ""."""
        return ""

    def notebook(self, file: str, cells: int) -> tuple[Sequence[Call], Sequence[Call]] | None:
        """Calls that open a notebook, and calls that run it; None if it runs none."""
        return None


class Floor(Peer):
    name = home = "floor"
    note = "an async FastMCP tool around one kernel of stock jupyter_client; text only"

    def command(self) -> Sequence[str]:
        return COMMANDS[self.home]

    def where(self) -> Path:
        return ROOT

    def run(self, code: str) -> Call:
        return "run_code", {"code": code}


class Seed(Floor):
    name = home = "seed"
    note = "a FastMCP tool that runs each script by `subprocess.run`; text only, nothing is kept"

    def run(self, code: str) -> Call:
        (self.folder / "work.py").write_text(code)
        return "run_python", {"file_name": "work.py"}


class Ours(Floor):
    name = home = "ours"
    note = ""

    def rest(self, result: Any, ask: Ask) -> str:
        run = str(result["_meta"]["rmi-agent/run"]["run_id"])
        return ask(("get_output", {"run_id": run, "offset": 9_990_000}))

    def notebook(self, file: str, cells: int) -> tuple[Sequence[Call], Sequence[Call]] | None:
        return (), [("run_notebook", {"file_name": file, "session": "default"})]


class Inline(Peer):
    name, home = "interpreter-inline", "mcp-python-interpreter"
    note = (
        f"mcp-python-interpreter; {_PINNED}; code runs by `exec` in the server's own process, "
        "which it can block or end; text only"
    )
    mode = "inline"

    def command(self) -> Sequence[str]:
        return (*super().command(), "--dir", str(self.folder))

    def run(self, code: str) -> Call:
        return "run_python_code", {"code": code, "execution_mode": self.mode}


class Subprocess(Inline):
    name = "interpreter-subprocess"
    note = "the same package, a new process for each run; text only, nothing is kept"
    mode = "subprocess"


class IPythonMcp(Peer):
    name = home = "ipython-mcp"
    note = (
        f"{_PINNED}; ipykernel, which it needs, is added; `start_kernel` sleeps 2 s, "
        "and the kernel outlives the server; text only"
    )

    def settings(self) -> Mapping[str, str]:
        # It starts `ipython` from there.
        return {"PATH": os.pathsep.join((str(self.python.parent), os.environ["PATH"]))}

    def opening(self) -> Sequence[Call]:
        file = self.folder / "connection.json"
        names = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")
        ports = {name: free_port() for name in names}
        more = {"ip": "127.0.0.1", "transport": "tcp", "signature_scheme": "hmac-sha256"}
        file.write_text(json.dumps({**ports, **more, "key": "key of a benchmark"}))
        return [("start_kernel", {"connection_file": str(file)})]

    def run(self, code: str) -> Call:
        return "execute_code", {"code": code}


class JupyterKernelMcp(Peer):
    name = home = "jupyter-kernel-mcp"
    note = f"{_PINNED}; prints to the standard output of the protocol; text only"

    def opening(self) -> Sequence[Call]:
        return [("start_kernel", {"env_path": str(self.python), "kernel_id": "bench"})]

    def run(self, code: str) -> Call:
        return "execute_code", {"code": code, "kernel_id": "bench"}

    def text(self, result: Any) -> str:
        facts = json.loads(super().text(result))
        return "".join(facts.get("output") or ())


class Ipybox(Peer):
    name = home = "ipybox"
    note = (
        f"{_PINNED}; without its sandbox; its kernel is started with the server; "
        "figures come as paths of files; at most 5,000 characters unless a call asks for more; "
        "it does not wait for output that comes after the kernel's reply, which at times leaves "
        "an answer empty, and of 10 MB at once its Jupyter server, with its defaults, lets "
        "nothing through"
    )

    def command(self) -> Sequence[str]:
        return (*super().command(), "--workspace", str(self.folder))

    def run(self, code: str) -> Call:
        return "execute_ipython_cell", {"code": code}

    def files(self, result: Any) -> list[Path]:
        return [Path(name) for name in re.findall(r"\]\((.+\.png)\)", self.text(result))]


class JupyterMcpServer(Peer):
    name = home = "jupyter-mcp-server"
    note = (
        "beside a Jupyter server with its defaults, whose start does not count and whose memory "
        "does; its kernel is started with the server; it looks once a second whether a run is "
        "done; the notebook by 200 calls of `execute_cell`, one sample; of 10 MB at once that "
        "Jupyter server lets nothing through"
    )
    notebook_samples = 1

    @contextmanager
    def beside(self) -> Iterator[None]:
        with JupyterServer(self.python, self.folder) as self._jupyter:
            yield

    def pids(self) -> Sequence[int]:
        return (self._jupyter.pid,)

    def clear(self) -> None:
        self._jupyter.end_kernels()

    def settings(self) -> Mapping[str, str]:
        return {"JUPYTER_URL": self._jupyter.url, "JUPYTER_TOKEN": self._jupyter.token}

    def run(self, code: str) -> Call:
        return "execute_code", {"code": code}

    def notebook(self, file: str, cells: int) -> tuple[Sequence[Call], Sequence[Call]] | None:
        names = {"notebook_name": "bench", "notebook_path": file, "kernel_id": "NEW"}
        each = [("execute_cell", {"cell_index": number}) for number in range(cells)]
        return [("use_notebook", names)], each


#: In the order of the table.
PEERS: Sequence[type[Peer]] = (
    Ours,
    Seed,
    Floor,
    Inline,
    Subprocess,
    IPythonMcp,
    JupyterKernelMcp,
    Ipybox,
    JupyterMcpServer,
)
