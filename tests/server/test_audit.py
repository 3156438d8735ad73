"""The audit log: a line for every call and for the end of what a call left going on."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client import extension_hooks
from fastmcp_tasks import call_tool_task
from fastmcp_tasks.client import TasksClientExtension, _build_tasks_client_extension
from fastmcp_tasks.client_models import CancelTaskRequest, GetTaskRequestParams
from mcp_types import ElicitResult, Result

from kernels.launching import LocalSpec, kernel_environment, server_python
from kernels.limits import Limits
from kernels.local import LocalBackend
from kernels.registry import Registry
from server import audit
from server.app import build_server, warm_up
from server.audit import Audit, AuditError, audit_of
from server.settings import Settings
from tests.conftest import ROOT, until
from tests.kernels.fake_kernel import FakeBackend
from tests.server.caller import Caller, Mode

# The import above gives tasks to every client of this process; those of other tests are to stay
# as they are.
if _build_tasks_client_extension in extension_hooks._internal_client_extension_factories:
    extension_hooks._internal_client_extension_factories.remove(_build_tasks_client_extension)

MARKER = "marker-7461"


def sha256(data: str | bytes) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


class Log:
    """The audit log of a server, read as it is now."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.path.read_text("ascii").splitlines()]
        return [line for line in found if event in ("", line["event"])]

    def one(self, event: str = "") -> dict[str, Any]:
        (line,) = self.lines(event)
        return line


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "state" / "audit.jsonl")


@pytest.fixture
def auditing(log: Log) -> Audit:
    return Audit(log.path)


@pytest.fixture
async def fakes(backend: FakeBackend, limits: Limits, auditing: Audit) -> AsyncIterator[Registry]:
    async with Registry(backend, limits, [auditing]) as registry:
        yield registry
    auditing.close()


@pytest.fixture
async def registry(projects: Path, limits: Limits, auditing: Audit) -> AsyncIterator[Registry]:
    backend = LocalBackend(LocalSpec(server_python(), str(projects), kernel_environment()))
    async with Registry(backend, limits, [auditing]) as registry:
        yield registry
    auditing.close()


@pytest.fixture
async def quick(
    settings: Settings, fakes: Registry, mode: Mode, auditing: Audit
) -> AsyncIterator[Caller]:
    server = build_server(settings, fakes, middleware=[auditing])
    await warm_up(server)
    async with Client(server, mode=mode) as client:
        yield Caller(client)


@pytest.fixture
async def caller(
    settings: Settings, registry: Registry, mode: Mode, auditing: Audit
) -> AsyncIterator[Caller]:
    async with Client(build_server(settings, registry, middleware=[auditing]), mode=mode) as client:
        yield Caller(client)


class TestACall:
    async def test_its_line_has_the_facts_and_no_others(self, quick: Caller, log: Log) -> None:
        begun = datetime.now(UTC)
        _, facts = await quick.run("run_code", code="1 + 1", session="mine")
        line = log.one()
        when = datetime.fromisoformat(line.pop("time"))
        assert begun - timedelta(seconds=1) <= when <= datetime.now(UTC)
        assert when.utcoffset() == timedelta(0)
        assert 0 <= line.pop("duration_s") < 20
        assert line.pop("result_bytes") > 10
        assert line == {
            "event": "call",
            "who": "",
            "tool": "run_code",
            "session": "mine",
            "run": facts["run_id"],
            "sha256": sha256("1 + 1"),
            "argument_bytes": len("code" + "1 + 1" + "session" + "mine"),
            "status": "ok",
        }

    async def test_that_of_a_script_has_the_hash_of_its_bytes(
        self, caller: Caller, log: Log, projects: Path
    ) -> None:
        source = "# coding: latin-1\r\nprint('Zürich')\r\n".encode("latin-1")
        (projects / "a.py").write_bytes(source)
        await caller.run("run_python", file_name="a.py", args=["x"])
        line = log.one()
        assert (line["file"], line["sha256"], line["session"]) == (
            "a.py",
            sha256(source),
            "default",
        )

    async def test_that_of_a_notebook_has_the_hash_of_what_is_run(
        self, caller: Caller, log: Log, projects: Path, registry: Registry
    ) -> None:
        create = {"op": "insert", "source": "1 + 1", "type": "code"}
        await caller.call("edit_notebook", file_name="n.ipynb", operations=[create], create=True)
        _, facts = await caller.run("run_notebook", file_name="n.ipynb")
        made, line = log.lines()
        assert (made["tool"], made["file"], made["status"]) == ("edit_notebook", "n.ipynb", "ok")
        assert line["session"] == "notebook n.ipynb"
        assert line["sha256"] == sha256(registry.find_run("", facts["run_id"]).source)

    async def test_that_of_a_written_file_has_the_hash_of_its_content(
        self, quick: Caller, log: Log
    ) -> None:
        await quick.call("write_file", file_name="a.py", content="é")
        line = log.one()
        assert (line["file"], line["sha256"]) == ("a.py", sha256("é"))
        assert line["argument_bytes"] == len("file_name") + len("a.py") + len("content") + 2

    async def test_the_status_is_that_of_the_run(self, caller: Caller, log: Log) -> None:
        await caller.run("run_code", code="1/0")
        await caller.run("run_code", code="import time; time.sleep(20)", timeout=0.1)
        await caller.run("run_code", code="import os; os.kill(os.getpid(), 9)")
        assert [line["status"] for line in log.lines()] == ["error", "timeout", "died"]

    async def test_refused_ones_are_errors(
        self, quick: Caller, log: Log, backend: FakeBackend
    ) -> None:
        await quick.refusal("run_code", codes="1")
        await quick.refusal("run_code", code="1", timeout=float(10**9))
        await quick.refusal("run_python", file_name="../a.py")
        await quick.refusal("no_such_tool")
        backend.failures = ["No kernel today."]
        await quick.refusal("run_code", code="1")
        assert [line["status"] for line in log.lines()] == ["error"] * 5
        assert log.lines()[1]["sha256"] == sha256("1")
        assert log.lines()[4]["run"] == "1"

    async def test_one_about_a_run_names_it(self, quick: Caller, log: Log) -> None:
        _, facts = await quick.run("run_code", code="1", session="mine")
        await quick.call("get_output", run_id=facts["run_id"])
        await quick.call("stop_run", run_id=facts["run_id"])
        read, stopped = log.lines()[1:]
        assert (read["run"], read["session"], read["status"]) == (facts["run_id"], "mine", "ok")
        assert (stopped["run"], stopped["status"]) == (facts["run_id"], "ok")

    async def test_reading_a_resource(self, quick: Caller, log: Log) -> None:
        _, facts = await quick.run("run_code", code="12345", session="a/b")
        await quick.client.read_resource(f"run://{facts['run_id']}/text")
        await quick.client.read_resource("session://a/b/runs")
        with pytest.raises(Exception, match="no run"):
            await quick.client.read_resource("run://99/text")
        text, runs, none = log.lines()[1:]
        assert (text["resource"], text["run"]) == (f"run://{facts['run_id']}/text", facts["run_id"])
        assert (text["status"], text["result_bytes"]) == ("ok", 5)
        assert (runs["session"], runs["status"]) == ("a/b", "ok")
        assert none["status"] == "error"

    async def test_warming_up_and_lists_are_no_calls(self, quick: Caller, log: Log) -> None:
        await quick.client.list_tools()
        await quick.client.list_resource_templates()
        assert log.lines() == []

    async def test_who_calls(
        self, quick: Caller, log: Log, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(audit, "principal", lambda: "laptop")
        await quick.call("list_sessions")
        assert log.one()["who"] == "laptop"

    async def test_one_that_its_client_gives_up(
        self, quick: Caller, log: Log, fakes: Registry
    ) -> None:
        """The call is cancelled; the run is stopped and its end recorded."""
        call = asyncio.create_task(quick.call("run_code", code="wait"))
        await until(lambda: fakes.everyones() and fakes.everyones()[0].runs)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: len(log.lines()) == 2)
        assert log.one("call")["status"] == "cancelled"
        assert log.one("end")["status"] == "interrupted"

    async def test_one_that_asks_its_user(
        self, settings: Settings, registry: Registry, mode: Mode, auditing: Audit, log: Log
    ) -> None:
        """The answer to the question is nowhere in the log, whichever way it comes."""

        async def answer(message: str, *_: Any) -> ElicitResult:
            return ElicitResult(action="accept", content={"answer": MARKER})

        server = build_server(settings, registry, middleware=[auditing])
        async with Client(server, mode=mode, elicitation_handler=answer) as client:
            result = await client.call_tool_mcp("run_code", {"code": "print(input('Name? '))"})
        assert MARKER in str(result.content)
        last = log.lines("call")[-1]
        assert (last["tool"], last["status"], last["run"]) == ("run_code", "ok", "1")
        assert MARKER not in log.path.read_text()


class TestWhatGoesOn:
    async def test_the_end_of_a_run_in_the_background(
        self, quick: Caller, log: Log, fakes: Registry
    ) -> None:
        await quick.call("run_code", code="wait", background=True)
        assert log.one("call")["status"] == "running"
        fakes.everyones()[0].runs[0].stop()
        await until(lambda: log.lines("end"))
        end = log.one("end")
        assert (end["run"], end["session"], end["sha256"]) == ("1", "default", sha256("wait"))
        assert end["status"] in ("interrupted", "timeout")
        assert end["duration_s"] >= log.one("call")["duration_s"]

    async def test_with_the_server_at_the_latest(
        self, settings: Settings, backend: FakeBackend, auditing: Audit, log: Log
    ) -> None:
        async with Registry(backend, Limits(), [auditing]) as registry:
            server = build_server(settings, registry, middleware=[auditing])
            async with Client(server) as client:
                for _ in range(3):
                    await client.call_tool_mcp("run_code", {"code": "wait", "background": True})
        auditing.close()
        assert [line["status"] for line in log.lines("end")] == ["interrupted"] * 3


class TestTasks:
    @pytest.fixture
    async def client(
        self, settings: Settings, fakes: Registry, auditing: Audit
    ) -> AsyncIterator[Client[Any]]:
        server = build_server(settings, fakes, middleware=[auditing])
        async with Client(server, extensions=[TasksClientExtension()]) as client:
            yield client

    async def test_its_begin_and_its_end(self, client: Client[Any], log: Log) -> None:
        task = await call_tool_task(client, "run_code", {"code": "1"}, raise_on_error=False)
        await task.result()
        await until(lambda: log.lines("end"))
        call, end = log.one("call"), log.one("end")
        assert call["status"] == "task"
        assert call["task"] == end["task"] == task.task_id[:8]
        assert (end["status"], end["run"], end["sha256"]) == ("ok", "1", sha256("1"))
        assert end["result_bytes"] > 0

    async def test_its_whole_id_is_nowhere(self, client: Client[Any], log: Log) -> None:
        """Whoever has it could see the result."""
        task = await call_tool_task(client, "run_code", {"code": "1"}, raise_on_error=False)
        await task.result()
        await until(lambda: log.lines("end"))
        assert task.task_id not in log.path.read_text()

    async def test_one_that_is_refused_later(self, client: Client[Any], log: Log) -> None:
        call = {"file_name": "none.py"}
        task = await call_tool_task(client, "run_python", call, raise_on_error=False)
        assert (await task.result()).is_error
        await until(lambda: log.lines("end"))
        assert log.one("end")["status"] == "error"

    async def test_one_that_is_cancelled(
        self, client: Client[Any], log: Log, fakes: Registry
    ) -> None:
        task = await call_tool_task(client, "run_code", {"code": "wait"}, raise_on_error=False)
        await until(lambda: fakes.everyones() and fakes.everyones()[0].runs)
        params = GetTaskRequestParams(task_id=task.task_id)
        await client.session.send_request(CancelTaskRequest(params=params), Result)
        await until(lambda: len(log.lines()) == 4)
        cancel = next(line for line in log.lines() if "request" in line)
        assert (cancel["request"], cancel["task"]) == ("tasks/cancel", task.task_id[:8])
        # The task, and then its run.
        assert [line["status"] for line in log.lines("end")] == ["cancelled", "interrupted"]


class TestWhatIsNeverThere:
    async def test_contents(self, caller: Caller, log: Log, projects: Path) -> None:
        """Neither code, output, input, arguments, errors nor contents of files."""
        (projects / "a.py").write_text(f"import sys; print('{MARKER}'); sys.exit('{MARKER}')")
        await caller.run("run_code", code=f"print('{MARKER}'); raise ValueError('{MARKER}')")
        await caller.run("run_code", code="print(input())", stdin=MARKER)
        await caller.run("run_python", file_name="a.py", args=[MARKER], stdin=MARKER)
        await caller.call("write_file", file_name="b.py", content=MARKER)
        await caller.call("read_file", file_name="a.py")
        await caller.call("run_code", code=MARKER, timeout=10.0**9)
        await caller.call("list_variables")
        insert = {"op": "insert", "source": f"'{MARKER}'", "type": "code"}
        await caller.call("edit_notebook", file_name="n.ipynb", operations=[insert], create=True)
        await caller.run("run_notebook", file_name="n.ipynb", parameters={"a": MARKER})
        await caller.client.read_resource("run://1/text")
        assert len(log.lines()) == 10
        assert MARKER not in log.path.read_text()

    async def test_what_looks_like_a_credential(self, quick: Caller, log: Log) -> None:
        await quick.call("read_file", file_name=f"a?token={MARKER}")
        await quick.call(f"Bearer {MARKER}")
        assert len(log.lines()) == 2
        assert MARKER not in log.path.read_text()


class TestHostileValues:
    async def test_no_line_is_long(self, quick: Caller, log: Log) -> None:
        long = "\U0001f600" * 100_000
        await quick.call("run_code", code="1", session=long)
        await quick.call("get_output", run_id=long)
        await quick.call("read_file", file_name=long)
        await quick.call("a" * 1_000_000, b=long)
        lines = log.path.read_bytes().splitlines()
        assert len(lines) == 4
        assert max(map(len, lines)) < 8_000
        assert log.lines()[3]["argument_bytes"] == 400_001

    async def test_no_value_makes_a_second_line(self, quick: Caller, log: Log) -> None:
        await quick.call("read_file", file_name='a"}\n{"event":"call"}\r\u2028\x85\ud800'[:-1])
        assert len(log.path.read_text("ascii").splitlines()) == 1

    @pytest.mark.parametrize("value", [1, None, ["x"], {"a": {"b": [1]}}, True])
    async def test_values_of_other_kinds(self, value: Any, quick: Caller, log: Log) -> None:
        await quick.call("run_code", code=value, session=value)
        line = log.one()
        assert line["status"] == "error"
        assert "sha256" not in line

    def test_depth(self) -> None:
        deep: Any = "x"
        for _ in range(100_000):
            deep = [deep]
        assert audit._size(deep) == 1
        while isinstance(deep, list):
            deep = deep.pop()


class TestTheFile:
    def test_one_that_cannot_be_written_is_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for path in (tmp_path, tmp_path / "file" / "below", Path("/proc/none/audit")):
            with pytest.raises(AuditError) as caught:
                Audit(path)
            words = str(caught.value)
            assert str(path) in words
            assert "RMI_AUDIT_LOG" in words
            assert "\n" not in words

    async def test_one_that_fails_later_is_a_warning_and_no_call_fails(
        self,
        quick: Caller,
        log: Log,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        await quick.call("list_sessions")
        log.path.unlink()
        log.path.mkdir()
        with caplog.at_level(logging.INFO, "rmi.audit"):
            for _ in range(3):
                _, facts = await quick.run("run_code", code="1")
                assert facts["status"] == "ok"
            (warning,) = caplog.messages
            assert str(log.path) in warning
            log.path.rmdir()
            await quick.call("list_sessions")
        assert caplog.messages[1:] == ["The audit log is written again; 3 of its lines are lost."]
        assert log.one()["tool"] == "list_sessions"

    @pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
    def test_a_full_disk(self, tmp_path: Path) -> None:
        """Calls go on; there is one warning."""
        done = subprocess.run(
            [sys.executable, "-c", FULL_DISK, str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            timeout=60,
            text=True,
        )
        assert done.stdout.split() == ["ok"] * 3, done.stderr
        assert done.stderr.count("cannot be written") == 1

    @pytest.mark.parametrize(
        ("setting", "port", "name"),
        [
            (None, None, None),
            ("off", None, None),
            ("off", 8000, None),
            (None, 8000, "state/audit-8000.jsonl"),
            ("mine.jsonl", None, "mine.jsonl"),
            ("mine.jsonl", 8000, "mine.jsonl"),
        ],
    )
    def test_which_one_the_settings_ask_for(
        self,
        setting: str | None,
        port: int | None,
        name: str | None,
        settings: Settings,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        settings = replace(settings, audit_log=setting, state_dir=tmp_path / "state")
        found = audit_of(settings, port)
        assert [str(each._path) for each in found] == ([str(tmp_path / name)] if name else [])
        for each in found:
            each.close()
        assert (tmp_path / "state").exists() == (name is not None and name.startswith("state"))


FULL_DISK = """
import asyncio, pathlib, resource, signal, sys
from fastmcp import Client
from kernels.limits import Limits
from kernels.registry import Registry
from server import logs
from server.app import build_server
from server.audit import Audit
from server.settings import load
from tests.kernels.fake_kernel import FakeBackend

async def main(folder):
    logs.set_up("info")
    settings = load({"PYTHON_PROJECTS_DIR": str(folder / "projects")})
    audit = Audit(folder / "audit.jsonl")
    async with Registry(FakeBackend(), Limits(), [audit]) as registry:
        async with Client(build_server(settings, registry, middleware=[audit])) as client:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
            for _ in range(3):
                result = await client.call_tool_mcp("run_code", {"code": "1"})
                print(result.meta["rmi-agent/run"]["status"])
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""
