"""Runs as tasks: what clients with the extension get, and that others see nothing of it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client, Context, FastMCP
from fastmcp.client import extension_hooks
from fastmcp.client.transports import StdioTransport
from fastmcp.exceptions import ToolError
from fastmcp.server.auth import StaticTokenVerifier
from fastmcp.utilities.tests import asgi_server
from fastmcp_tasks import ToolTask, call_tool_task
from fastmcp_tasks.client import TasksClientExtension, _build_tasks_client_extension
from fastmcp_tasks.client_models import (
    CancelTaskRequest,
    GetTaskRequest,
    GetTaskRequestParams,
    UpdateTaskRequest,
    UpdateTaskRequestParams,
)
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    ImageContent,
    InputRequiredResult,
    Result,
    TextContent,
)
from mcp_types.jsonrpc import HEADER_MISMATCH, MISSING_REQUIRED_CLIENT_CAPABILITY

from kernels.limits import Limits
from kernels.registry import Registry
from server import tasks
from server.app import build_server
from server.settings import Settings
from tests.conftest import ROOT, until
from tests.e2e.raw import SERVER, gone_within
from tests.kernels.fake_kernel import FakeBackend, FakeKernel

# The first import of the above gives tasks to every client of this process; those of other tests
# are to stay as they are.
if _build_tasks_client_extension in extension_hooks._internal_client_extension_factories:
    extension_hooks._internal_client_extension_factories.remove(_build_tasks_client_extension)

META = "rmi-agent/run"
EXTENSION = "io.modelcontextprotocol/tasks"
#: Tells that it has begun, and goes on until it is let.
WAIT = """\
import pathlib, time
print("begun", flush=True)
pathlib.Path("begun").touch()
while not pathlib.Path("go").exists(): time.sleep(0.01)
pathlib.Path("done").touch()
"""


def with_tasks(server: Any, **options: Any) -> Client[Any]:
    """A client that has the extension."""
    return Client(server, extensions=[TasksClientExtension()], **options)


async def begin(client: Client[Any], tool: str, **arguments: Any) -> ToolTask:
    return await call_tool_task(client, tool, arguments, raise_on_error=False)


async def ask(client: Client[Any], method: str, task_id: str) -> tuple[int, str]:
    """Send a request about a task; the code and words of the error, or (0, "")."""
    one = GetTaskRequestParams(task_id=task_id)
    answers = UpdateTaskRequestParams(task_id=task_id, input_responses={"a": 1})
    request: GetTaskRequest | UpdateTaskRequest | CancelTaskRequest
    match method:
        case "tasks/get":
            request = GetTaskRequest(params=one)
        case "tasks/update":
            request = UpdateTaskRequest(params=answers)
        case _:
            request = CancelTaskRequest(params=one)
    try:
        await client.session.send_request(request, Result)
    except MCPError as error:
        return error.error.code, error.error.message
    return 0, ""


#: What runs end with: nothing, text, an exception, an exit code, an image.
ALIKE = (
    "",
    "import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7",
    "1 / 0",
    "import sys; sys.exit(3)",
    "from IPython.display import Image\nimport base64\nprint('a')\n"
    "display(Image(base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUl"
    "EQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==')))\nprint('b')",
)


class TestOnRealKernels:
    @pytest.fixture
    async def client(self, settings: Settings, registry: Registry) -> AsyncIterator[Client[Any]]:
        async with with_tasks(build_server(settings, registry)) as client:
            yield client

    @pytest.mark.parametrize("tool", ["run_code", "run_python"])
    async def test_a_task_gives_what_the_call_gives(
        self, settings: Settings, registry: Registry, projects: Path, tool: str
    ) -> None:
        """Content, error mark and facts; only the run's number and its duration are its own."""
        server = build_server(settings, registry)
        async with Client(server) as plain, with_tasks(server) as client:
            for code in ALIKE:
                (projects / "a.py").write_text("from IPython.display import display\n" + code)
                arguments = {"code": code} if tool == "run_code" else {"file_name": "a.py"}
                direct = await plain.call_tool_mcp(tool, {**arguments, "session": "direct"})
                expected = _told(direct)
                task = await begin(client, tool, **arguments, session="asked")
                state = await task.wait()
                assert state.status == "completed"
                assert _told(CallToolResult.model_validate(state.result)) == expected
                # Most clients do it all in one call.
                driven = await client.call_tool_mcp(tool, {**arguments, "session": "driven"})
                assert _told(driven) == expected
                pictures = [block for block in direct.content if isinstance(block, ImageContent)]
                assert bool(pictures) == ("Image" in code)

    async def test_the_client_has_the_task_while_the_program_runs(
        self, client: Client[Any], projects: Path
    ) -> None:
        task = await begin(client, "run_code", code=WAIT)
        assert task.create_result.status == "working"
        await until((projects / "begun").exists)
        assert (await task.status()).status == "working"
        (projects / "go").touch()
        assert (await task.wait()).status == "completed"
        # It can be asked again.
        assert not (await task.result()).is_error

    async def test_what_it_prints_can_be_read_meanwhile(
        self, client: Client[Any], projects: Path
    ) -> None:
        task = await begin(client, "run_code", code=WAIT)
        while (state := await task.status()).status_message is None:
            assert state.status == "working"
        assert state.status_message == "begun"
        (projects / "go").touch()
        assert (await task.wait()).status_message is None

    async def test_cancelling_stops_the_run_and_the_session_stays(
        self, client: Client[Any], projects: Path
    ) -> None:
        await client.call_tool("run_code", {"code": "x = 5"})
        task = await begin(client, "run_code", code=WAIT)
        await until((projects / "begun").exists)
        await task.cancel()
        assert (await task.status()).status == "cancelled"
        with pytest.raises(ToolError, match="was cancelled"):
            await ToolTask(client, "run_code", task.create_result).result()
        kept = await client.call_tool("run_code", {"code": "x"})
        assert kept.content[0].text == "5\n"
        assert (kept.meta or {})[META]["state"] == "kept"
        assert not (projects / "done").exists()

    async def test_tasks_of_one_session_queue(self, client: Client[Any], projects: Path) -> None:
        """In the order in which they came; a cancelled one never runs; others do not wait."""
        first = await begin(client, "run_code", code=WAIT)
        await until((projects / "begun").exists)
        waiting = [await begin(client, "run_code", code=f"print({n})") for n in range(12)]
        other = await begin(client, "run_code", code="'other'", session="other")
        assert (await other.wait()).status == "completed"
        assert {(await task.status()).status for task in [first, *waiting]} == {"working"}
        await waiting[5].cancel()
        (projects / "go").touch()
        ended = [await task.wait() for task in waiting]
        assert [state.status for state in ended].count("cancelled") == 1
        assert ended[5].status == "cancelled"
        runs = [state.result["_meta"][META] for state in ended if state.result]
        numbers = [int(run["run_id"]) for run in runs]
        assert numbers == sorted(numbers)
        assert [run["execution_count"] for run in runs] == list(range(2, 13))

    async def test_other_tools_are_answered_directly(self, client: Client[Any]) -> None:
        await client.call_tool("run_code", {"code": "1"})
        sessions = await client.call_tool("list_sessions")
        assert sessions.content[0].text.startswith("default: idle")
        with pytest.raises(ToolError, match="did not run as a task"):
            await call_tool_task(client, "list_sessions")

    async def test_over_stdio_nothing_is_left_and_nothing_heavy_is_loaded(
        self, projects: Path
    ) -> None:
        """With the program of the server; a task that still runs ends with it."""
        import psutil

        before = set(psutil.Process().children(recursive=True))
        transport = StdioTransport(
            SERVER[0],
            SERVER[1:],
            env={"PYTHON_PROJECTS_DIR": str(projects), "RMI_GRACE": "1"},
            keep_alive=False,
        )
        async with with_tasks(transport) as client:
            task = await begin(client, "run_code", code="x = 1\nx + 1")
            assert (await task.result()).content[0].text == "2\n"
            running = await begin(client, "run_code", code=WAIT)
            await until((projects / "begun").exists)
            await running.cancel()
            kept = await client.call_tool("run_code", {"code": "x"})
            assert kept.content[0].text == "1\n"
            (projects / "begun").unlink()
            await begin(client, "run_code", code=WAIT)
            await until((projects / "begun").exists)
            family = set(psutil.Process().children(recursive=True)) - before
            servers = [one for one in family if SERVER[1] in one.cmdline()]
            assert servers
            # The library of tasks that FastMCP has would bring a store with it.
            assert not any("burner_redis" in _mapped(one.pid) for one in servers)
        await asyncio.to_thread(_assert_gone, [one.pid for one in family])


def _mapped(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def _assert_gone(pids: list[int]) -> None:
    assert gone_within(pids, 3) == []


def _told(result: CallToolResult) -> tuple[str, bool, dict[str, Any]]:
    """What a result tells but for what differs between any two runs."""
    facts = dict((result.meta or {})[META])
    for name in ("run_id", "session", "duration_s"):
        del facts[name]
    shown = []
    for block in result.content:
        if isinstance(block, TextContent):
            shown.append(re.sub(r"[\d.]+ s · session \w+ · run \d+", "…", block.text))
        else:
            shown.append(f"{type(block).__name__} {block.model_dump_json()}")
    return "\n".join(shown), result.is_error, facts


class TestWithoutKernels:
    """On fake kernels, which print what they are given; "wait" they leave unanswered."""

    @pytest.fixture
    def backend(self) -> FakeBackend:
        def answer(kernel: FakeKernel) -> None:
            if kernel.content["code"] != "wait":
                kernel.succeed(str(kernel.content["code"]))

        return FakeBackend(answer)

    @pytest.fixture
    async def fakes(self, backend: FakeBackend, limits: Limits) -> AsyncIterator[Registry]:
        async with Registry(backend, limits) as registry:
            yield registry

    @pytest.fixture
    def server(self, settings: Settings, fakes: Registry) -> Iterator[FastMCP[Any]]:
        yield build_server(settings, fakes)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({}, "The argument code is missing."),
            ({"code": 1}, "The argument code should be a valid string; it is 1."),
            ({"code": "1", "bogus": 1}, "There is no argument bogus"),
        ],
    )
    async def test_wrong_arguments_are_refused_at_once(
        self, server: FastMCP[Any], fakes: Registry, arguments: dict[str, Any], words: str
    ) -> None:
        """In the same sentence as ever, without a task."""
        async with with_tasks(server) as client:
            result = await client.session.call_tool("run_code", arguments, allow_claimed=True)
            assert isinstance(result, CallToolResult)
            assert result.is_error
            assert isinstance(result.content[0], TextContent)
            assert words in result.content[0].text
            assert fakes.sessions("") == []

    @pytest.mark.parametrize(
        ("tool", "arguments", "words"),
        [
            ("run_code", {"code": "1", "session": "a\nb"}, "A session's name is 1 to 100"),
            ("run_python", {"file_name": "no.py"}, "'no.py' does not exist"),
            ("run_code", {"code": "1", "timeout": 0}, "timeout is 0; it must be above 0"),
        ],
    )
    async def test_a_refusal_is_the_answer(
        self, server: FastMCP[Any], tool: str, arguments: dict[str, Any], words: str
    ) -> None:
        async with with_tasks(server) as client:
            result = await client.call_tool_mcp(tool, arguments)
        assert result.is_error
        (block,) = result.content
        assert isinstance(block, TextContent)
        assert words in block.text
        assert "\n" not in block.text

    async def test_trouble_of_the_server_is_told_in_a_sentence(
        self, server: FastMCP[Any], fakes: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise OSError("no room")

        monkeypatch.setattr(fakes, "submit", fail)
        async with with_tasks(server) as client:
            result = await client.call_tool_mcp("run_code", {"code": "1"})
        assert result.is_error
        assert isinstance(result.content[0], TextContent)
        assert "no room" in result.content[0].text
        assert "Traceback" not in result.content[0].text

    @pytest.mark.parametrize("mode", ["auto", "legacy"])
    async def test_clients_without_it_see_no_difference(
        self, server: FastMCP[Any], mode: Any
    ) -> None:
        """Nor does one that has it, where the protocol has no extensions."""
        async with Client(server, mode=mode) as client:
            result = await client.call_tool_mcp("run_code", {"code": "1"})
            assert (result.meta or {})[META]["status"] == "ok"
            for tool in await client.list_tools():
                assert tool.execution is None
        if mode == "legacy":
            async with with_tasks(server, mode=mode) as client:
                result = await client.call_tool_mcp("run_code", {"code": "1"})
                assert (result.meta or {})[META]["status"] == "ok"
                with pytest.raises(ToolError, match="did not run as a task"):
                    await begin(client, "run_code", code="1")
                code, _ = await ask(client, "tasks/get", "x")
                assert code == METHOD_NOT_FOUND

    @pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
    async def test_questions_that_have_no_answer(self, server: FastMCP[Any], method: str) -> None:
        async with with_tasks(server) as client:
            code, words = await ask(client, method, "x")
            assert code == INVALID_PARAMS
            assert "There is no task 'x'." in words
        async with Client(server) as client:
            code, words = await ask(client, method, "x")
            assert code == MISSING_REQUIRED_CLIENT_CAPABILITY
            assert EXTENSION in words

    async def test_answers_that_nobody_asked_for_are_ignored(
        self, server: FastMCP[Any], backend: FakeBackend
    ) -> None:
        async with with_tasks(server) as client:
            task = await begin(client, "run_code", code="wait")
            assert await ask(client, "tasks/update", task.task_id) == (0, "")
            assert (await task.status()).status == "working"

    async def test_cancelling_what_is_over_changes_nothing(self, server: FastMCP[Any]) -> None:
        async with with_tasks(server) as client:
            task = await begin(client, "run_code", code="1")
            assert (await task.wait()).status == "completed"
            await task.cancel()
            assert (await task.status()).status == "completed"

    async def test_results_are_kept_as_long_as_is_said(
        self, server: FastMCP[Any], fakes: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And no more than so many, the last ones; a task that goes on is never forgotten."""
        monkeypatch.setattr(tasks, "MOST", 2)
        async with with_tasks(server) as client:
            running = await begin(client, "run_code", code="wait", session="other")
            assert (running.create_result.ttl_ms or 0) >= 900_000
            over = [await begin(client, "run_code", code="1") for _ in range(4)]
            for task in over:
                code, _ = await _state_or_error(client, task)
                if code == "working":
                    await task.wait()
            codes = [(await _state_or_error(client, task))[0] for task in over]
            assert codes == [INVALID_PARAMS, INVALID_PARAMS, "completed", "completed"]
            monkeypatch.setattr(tasks, "KEPT", -1)
            assert (await _state_or_error(client, over[3]))[0] == INVALID_PARAMS
            assert (await running.status()).status == "working"

    async def test_the_end_of_the_server_ends_its_tasks(
        self, server: FastMCP[Any], fakes: Registry, backend: FakeBackend
    ) -> None:
        async with with_tasks(server) as client:
            await begin(client, "run_code", code="wait")
            await until(lambda: backend.kernels)
            backend.kernels[0].obey = FakeKernel.fail
            (run,) = fakes.sessions("")[0].runs
        await until(run.done.done)
        assert backend.kernels[0].interrupts
        assert [t for t in asyncio.all_tasks() if t.get_name().startswith("task ")] == []


def test_the_start_of_a_server_loads_nothing_for_it() -> None:
    """Though what FastMCP has for tasks is installed here."""
    code = "import sys, server.app; print({'docket', 'redis', 'fastmcp_tasks'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "set()\n", done.stderr


async def _state_or_error(client: Client[Any], task: ToolTask) -> tuple[Any, str]:
    try:
        return (await task.status()).status, ""
    except MCPError as error:
        return error.error.code, error.error.message


class TestQuestions:
    """A tool that needs answers returns what it asks, and is called again with them."""

    @pytest.fixture
    def server(self) -> FastMCP[Any]:
        server: FastMCP[Any] = FastMCP("asks")
        server.add_extension(tasks.Tasks())

        @server.tool(output_schema=None)
        async def run_code(ctx: Context, code: str) -> Any:
            """Asks for `name`, then for `a` and `b`; says what it was told."""
            told = json.loads(ctx.request_state or "[]")
            for key, response in (ctx.input_responses or {}).items():
                assert isinstance(response, ElicitResult)
                told.append([key, response.action, response.content])
            keys = {0: ["name"], 1: ["a", "b"]}.get(len(told), [])
            if not keys:
                return json.dumps([code, *told])
            schema = {"type": "object", "properties": {"text": {"type": "string"}}}
            return InputRequiredResult(
                input_requests={
                    key: ElicitRequest(
                        params=ElicitRequestFormParams(message=key + "?", requested_schema=schema)
                    )
                    for key in keys
                },
                request_state=json.dumps(told),
            )

        return server

    async def test_they_are_put_to_the_user(self, server: FastMCP[Any]) -> None:
        asked: list[str] = []

        async def answer(context: Any, params: Any) -> ElicitResult:
            asked.append(params.message)
            if params.message == "b?":
                return ElicitResult(action="decline")
            return ElicitResult(action="accept", content={"text": params.message.upper()})

        async with Client(server, extensions=[TasksClientExtension(answer)]) as client:
            result = await client.call_tool("run_code", {"code": "x"})
        assert sorted(asked) == ["a?", "b?", "name?"]
        code, name, *rest = json.loads(result.content[0].text)
        assert (code, name) == ("x", ["name", "accept", {"text": "NAME?"}])
        assert sorted(rest) == [["a", "accept", {"text": "A?"}], ["b", "decline", None]]

    async def test_they_may_be_answered_one_by_one(self, server: FastMCP[Any]) -> None:
        """Each has a key of its own; answers to others, or a second time, are ignored."""
        async with with_tasks(server) as client:
            task = await begin(client, "run_code", code="x")
            state = await task.wait(state="input_required")
            (key,) = state.input_requests or {}
            seen = {key}
            await tell(client, task, {key: ACCEPTED, "other": ACCEPTED})
            state = await task.wait(state="input_required")
            while seen & set(state.input_requests or {}):
                state = await task.status()
            first, second = state.input_requests or {}
            await tell(client, task, {key: ACCEPTED})
            await tell(client, task, {first: ACCEPTED})
            state = await task.status()
            assert state.status == "input_required"
            assert list(state.input_requests or {}) == [second]
            with pytest.raises(MCPError, match="is none"):
                await tell(client, task, {second: {"action": "dance"}})
            await tell(client, task, {second: ACCEPTED})
            state = await task.wait()
            assert state.status == "completed"
            assert state.input_requests is None
            # Nothing waits for answers any more.
            await tell(client, task, {second: ACCEPTED})

    async def test_a_task_that_asks_can_be_cancelled(self, server: FastMCP[Any]) -> None:
        async with with_tasks(server) as client:
            task = await begin(client, "run_code", code="x")
            await task.wait(state="input_required")
            await task.cancel()
            state = await task.status()
            assert state.status == "cancelled"
            assert state.input_requests is None


ACCEPTED = {"action": "accept", "content": {"text": "yes"}}


async def tell(client: Client[Any], task: ToolTask, answers: dict[str, Any]) -> None:
    params = UpdateTaskRequestParams(task_id=task.task_id, input_responses=answers)
    await client.session.send_request(UpdateTaskRequest(params=params), Result)


class TestOverHttp:
    """A task belongs to who began it, whatever becomes of the connection."""

    async def test_it_outlives_the_connection(
        self, settings: Settings, registry: Registry, projects: Path
    ) -> None:
        server = build_server(settings, registry)
        async with asgi_server(server) as app:
            async with with_tasks(app.transport()) as client:
                created = (await begin(client, "run_code", code=WAIT)).create_result
            await until((projects / "begun").exists)
            (projects / "go").touch()
            async with with_tasks(app.transport()) as client:
                result = await ToolTask(client, "run_code", created).result()
        assert result.content[0].text == "begun\n"

    async def test_others_learn_nothing_of_it(self, settings: Settings, registry: Registry) -> None:
        server = build_server(settings, registry)
        names = {"token-a": {"client_id": "a"}, "token-b": {"client_id": "b"}}
        server.auth = StaticTokenVerifier(names)
        async with asgi_server(server) as app:
            async with with_tasks(app.transport(auth="token-a")) as client:
                task = await begin(client, "run_code", code="1")
                assert (await task.wait()).status == "completed"
                of_nobody = await ask(client, "tasks/get", "x" * 32)
            async with with_tasks(app.transport(auth="token-b")) as client:
                of_another = await ask(client, "tasks/get", task.task_id)
        assert of_another == (of_nobody[0], of_nobody[1].replace("x" * 32, task.task_id))
        assert of_another[0] == INVALID_PARAMS
        assert "There is no task" in of_another[1]

    async def test_routers_are_not_deceived(self, settings: Settings, registry: Registry) -> None:
        """The header by which they choose a server has to name the task that is asked about."""
        server = build_server(settings, registry)
        async with asgi_server(server) as app:
            headers = {"Mcp-Name": "another"}
            async with with_tasks(app.transport(headers=headers)) as client:
                code, _ = await ask(client, "tasks/get", "x")
        assert code == HEADER_MISMATCH
