"""Messages become the outputs of a notebook's cells: scripted, from real kernels, and compared
with nbclient and with notebooks that have stored outputs."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete

from kernels.kernel import Channel, Message
from notebooks.areas import LeftOut
from notebooks.outputs import Outputs
from tests.notebooks.driving import CASES, cells_in, stored, validate


def iopub(type: str, parent: str = "r1", **content: Any) -> Message:
    return Message("iopub", type, parent, content)


def out(text: str, name: str = "stdout", parent: str = "r1") -> Message:
    return iopub("stream", parent, name=name, text=text)


def display(
    text: str, ident: str = "", type: str = "display_data", parent: str = "r1", **more: Any
) -> Message:
    transient = {"display_id": ident} if ident else {}
    content = {"data": {"text/plain": text}, "metadata": {}, "transient": transient, **more}
    return Message("iopub", type, parent, content)


def update(text: str, ident: str, parent: str = "r1") -> Message:
    return display(text, ident, "update_display_data", parent)


def clear(wait: bool, parent: str = "r1") -> Message:
    return iopub("clear_output", parent, wait=wait)


def stream(text: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def shown(text: str, **metadata: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {"text/plain": text}, "metadata": metadata}


ERROR = iopub("error", ename="E", evalue="v", traceback=["\x1b[31mTraceback\x1b[0m", "E: v"])
KEYS = ("a", "b", "c")


def fed(*messages: Message, limit: int = 10**8) -> Outputs:
    """Cells `a`, `b`, `c`, executed by the requests r1, r2, r3."""
    outputs = Outputs(limit)
    for number, key in enumerate(KEYS, 1):
        outputs.begin(key, f"r{number}")
    for message in messages:
        outputs.feed(message)
    validate([outputs.of(key) for key in KEYS])
    return outputs


class TestOneCell:
    def test_outputs_stand_as_they_came_and_text_of_one_stream_is_joined(self) -> None:
        outputs = fed(
            out("a\n"),
            out("b"),
            out("\x1b[31me\x1b[0m", "stderr"),
            out("c"),
            display("d"),
            out("e"),
            ERROR,
            display("r", type="execute_result", execution_count=3),
        )
        assert outputs.of("a") == [
            stream("a\nb"),
            stream("\x1b[31me\x1b[0m", "stderr"),
            stream("c"),
            shown("d"),
            stream("e"),
            {
                "output_type": "error",
                "ename": "E",
                "evalue": "v",
                "traceback": ["\x1b[31mTraceback\x1b[0m", "E: v"],
            },
            {
                "output_type": "execute_result",
                "data": {"text/plain": "r"},
                "metadata": {},
                "execution_count": 3,
            },
        ]

    def test_bundles_are_complete_with_their_metadata_and_nothing_transient(self) -> None:
        data = {"text/plain": "t", "image/png": "iVBORw0=", "application/x+json": {"a": [1]}}
        metadata = {"image/png": {"width": 3}}
        message = iopub("display_data", data=data, metadata=metadata, transient={"display_id": "x"})
        assert fed(message).of("a") == [
            {"output_type": "display_data", "data": data, "metadata": metadata}
        ]

    def test_what_a_notebook_cannot_hold_becomes_text(self) -> None:
        data = {"text/plain": 5, "text/x": {"a": 1}, "text/y": ["a", "b"], "text/z": "\ud800"}
        (output,) = fed(iopub("display_data", data=data)).of("a")
        assert output["data"] == {
            "text/plain": "5",
            "text/x": '{"a": 1}',
            "text/y": ["a", "b"],
            "text/z": "\\ud800",
        }

    def test_the_count_comes_from_the_input_or_the_reply(self) -> None:
        assert fed().count("a") is None
        assert fed(iopub("execute_input", code="", execution_count=4)).count("a") == 4
        reply = Message("shell", "execute_reply", "r1", {"execution_count": 5, "status": "ok"})
        assert fed(reply).count("a") == 5

    def test_times_are_those_of_the_messages(self) -> None:
        def at(date: object, channel: Channel, type: str, **content: Any) -> Message:
            return Message(channel, type, "r1", content, {"date": date})

        outputs = fed(
            at("2026-01-02T03:04:05.000001Z", "iopub", "status", execution_state="busy"),
            at("2026-01-02T03:04:06.5+02:00", "iopub", "execute_input", execution_count=1),
            at(datetime(2026, 1, 2, tzinfo=UTC), "shell", "execute_reply"),
            at("2026-01-02T03:04:07.5", "iopub", "status", execution_state="idle"),
        )
        assert outputs.times("a") == {
            "iopub.status.busy": "2026-01-02T03:04:05.000001Z",
            "iopub.execute_input": "2026-01-02T03:04:06.5+02:00",
            "shell.execute_reply": "2026-01-02T00:00:00+00:00",
            "iopub.status.idle": "2026-01-02T03:04:07.5Z",
        }
        assert fed(at("soon", "iopub", "status", execution_state="busy")).times("a") == {}

    def test_help_comes_with_the_reply(self) -> None:
        page = {"source": "page", "data": {"text/plain": "Docstring"}, "start": 0}
        payload = [{"source": "set_next_input", "text": "x"}, page]
        outputs = fed(Message("shell", "execute_reply", "r1", {"payload": payload}))
        assert outputs.of("a") == [shown("Docstring")]

    def test_progress_is_kept_as_it_was_last(self) -> None:
        bar = [out(f"\r{percent:3}%", "stderr") for percent in range(101)]
        assert fed(*bar, out("\n", "stderr")).of("a") == [stream("100%\n", "stderr")]
        assert fed(out("\r"), display("d")).of("a") == [shown("d")]


class TestClearOutput:
    def test_at_once(self) -> None:
        outputs = fed(out("a"), display("d"))
        assert outputs.feed(clear(wait=False)) == {"a"}
        assert outputs.of("a") == []
        assert outputs.feed(clear(wait=False)) == set()

    @pytest.mark.parametrize("new", [out("b"), display("b"), ERROR])
    def test_with_wait_it_stays_until_something_new_comes(self, new: Message) -> None:
        outputs = fed(out("a"))
        assert outputs.feed(clear(wait=True)) == set()
        assert outputs.of("a") == [stream("a")]
        assert outputs.feed(new) == {"a"}
        assert outputs.of("a") == fed(new).of("a")

    def test_an_update_of_a_display_is_nothing_new(self) -> None:
        outputs = fed(display("1", "d"), clear(wait=True), update("2", "d"))
        assert outputs.of("a") == [shown("2")]

    def test_it_is_one_cell_that_is_cleared(self) -> None:
        outputs = fed(out("a"), out("b", parent="r2"), clear(wait=False, parent="r2"))
        assert outputs.of("a") == [stream("a")]
        assert outputs.of("b") == []

    def test_a_display_that_was_cleared_is_not_changed(self) -> None:
        outputs = fed(display("1", "d"), clear(wait=False))
        assert outputs.feed(update("2", "d", "r2")) == set()
        assert outputs.of("a") == []


class TestDisplayIds:
    def test_an_update_changes_every_display_of_the_id_in_all_cells(self) -> None:
        outputs = fed(
            display("1", "d"),
            display("x", "other"),
            display("1", "d", "execute_result", "r2", execution_count=2),
            out("t"),
        )
        assert outputs.feed(update("2", "d", "r3")) == {"a", "b"}
        assert outputs.of("a") == [shown("2"), shown("x"), stream("t")]
        assert outputs.of("b")[0]["data"] == {"text/plain": "2"}
        assert outputs.of("b")[0]["execution_count"] == 2
        assert outputs.of("c") == []

    def test_a_display_of_a_known_id_is_an_update_too(self) -> None:
        outputs = fed(display("1", "d"))
        assert outputs.feed(display("2", "d", parent="r2")) == {"a", "b"}
        assert outputs.of("a") == outputs.of("b") == [shown("2")]

    def test_an_update_may_come_from_anywhere(self) -> None:
        outputs = fed(display("1", "d"))
        assert outputs.feed(update("2", "d", "a callback")) == {"a"}
        assert outputs.feed(update("3", "unknown")) == set()
        assert outputs.of("a") == [shown("2")]

    def test_what_was_taken_does_not_change_afterwards(self) -> None:
        outputs = fed(display("1", "d"), out("x"))
        before = outputs.of("a")
        outputs.feed(update("2", "d"))
        outputs.feed(out("y"))
        assert before == [shown("1"), stream("x")]


class TestParents:
    def test_late_output_goes_to_its_own_cell(self) -> None:
        outputs = fed(out("now", parent="r2"))
        assert outputs.feed(out("late")) == {"a"}
        assert outputs.of("a") == [stream("late")]
        assert outputs.of("b") == [stream("now")]

    def test_what_belongs_to_no_cell_is_passed_over(self) -> None:
        outputs = fed()
        for message in (out("x", parent="?"), display("x", parent=""), clear(False, "?")):
            assert outputs.feed(message) == set()
        assert [outputs.of(key) for key in (*KEYS, "no such")] == [[], [], [], []]
        assert outputs.count("no such") is None
        assert outputs.times("no such") == {}
        assert not outputs.left_out("no such")

    def test_a_cell_that_is_executed_again_begins_anew(self) -> None:
        outputs = fed(out("x"), iopub("execute_input", execution_count=1), display("1", "d"))
        outputs.begin("a", "r9")
        assert (outputs.of("a"), outputs.count("a")) == ([], None)
        assert outputs.feed(out("of the first time")) == set()
        assert outputs.feed(update("2", "d")) == set()
        assert outputs.feed(out("y", parent="r9")) == {"a"}
        assert outputs.of("a") == [stream("y")]


GARBAGE: list[tuple[str, object]] = [
    ("stream", {}),
    ("stream", {"name": "stdout", "text": None}),
    ("stream", {"name": None, "text": "x"}),
    ("stream", []),
    ("display_data", {}),
    ("display_data", {"data": None}),
    ("display_data", {"data": [["a", "b"]]}),
    ("display_data", {"data": {"text/plain": "x"}, "transient": 5}),
    ("display_data", {"data": {"text/plain": {1, 2}}}),
    ("execute_result", {"data": "text"}),
    ("update_display_data", {"transient": {"display_id": "d"}, "data": None}),
    ("error", {}),
    ("error", {"ename": "E", "evalue": "v", "traceback": [1, 2]}),
    ("error", {"ename": "E", "evalue": 1, "traceback": []}),
    ("status", {}),
    ("status", "idle"),
    ("execute_input", None),
    ("clear_output", None),
    ("comm_open", {}),
    ("comm_open", {"comm_id": "w", "target_name": "jupyter.widget", "data": {"state": 3}}),
    ("comm_open", {"comm_id": [], "target_name": "jupyter.widget", "data": {"state": {}}}),
    ("comm_msg", {"comm_id": "w", "data": 7}),
    ("comm_close", {}),
    ("execute_reply", {"payload": 3}),
    ("execute_reply", None),
    ("", {}),
]


@pytest.mark.parametrize(("type", "content"), GARBAGE)
@pytest.mark.parametrize("channel", ["iopub", "shell", "control", "stdin"])
def test_garbage_changes_nothing(channel: Channel, type: str, content: Any) -> None:
    """Nothing raises, and a clear that waits goes on waiting."""
    before = fed(out("a"), display("1", "d"), clear(wait=True))
    assert before.feed(Message(channel, type, "r1", content)) == set()
    assert before.of("a") == [stream("a"), shown("1")]
    assert before.widget_state() is None
    assert before.feed(out("b")) == {"a"}
    assert before.of("a") == [stream("b")]


class TestTheLimit:
    def test_what_is_beyond_it_is_left_out_and_counted(self) -> None:
        outputs = fed(
            out("x" * 500),
            display("y" * 1000, parent="r2"),
            out("z", parent="r2"),
            out("x" * 500),
            display("y"),
            out("x"),
            limit=1200,
        )
        assert outputs.of("a") == [stream("x" * 799)]
        assert outputs.left_out("a") == LeftOut(outputs=1, characters=202)
        assert outputs.of("b") == [stream("z")]
        assert outputs.left_out("b") == LeftOut(outputs=1)
        assert not outputs.left_out("c")

    def test_what_is_cleared_makes_room(self) -> None:
        outputs = fed(out("x" * 5000), display("1" * 300, "d"), limit=1000)
        assert outputs.left_out("a") == LeftOut(1, 4200)
        for _ in range(3):
            outputs.feed(clear(wait=False))
            outputs.feed(display("1" * 300, "d"))
            assert outputs.feed(update("2" * 750, "d")) == {"a"}
            assert outputs.of("a") == [shown("2" * 750)]
            assert not outputs.left_out("a")
            assert outputs.feed(update("3" * 900, "d")) == set()
            assert outputs.left_out("a") == LeftOut(outputs=1)
        outputs.begin("a", "again")
        assert outputs.feed(out("x" * 800, parent="r2")) == {"b"}
        assert not outputs.left_out("b")

    def test_many_small_ones_are_bounded_too(self) -> None:
        outputs = fed(*[display("x") for _ in range(100)], limit=10_000)
        assert 0 < len(outputs.of("a")) < 50
        assert outputs.left_out("a").outputs == 100 - len(outputs.of("a"))

    def test_much_is_kept_once(self) -> None:
        """Memory grows by what is kept, not by a multiple of it."""
        outputs = Outputs()
        outputs.begin("a", "r1")
        tracemalloc.start()
        try:
            for number in range(2_000):
                outputs.feed(out(f"{number:9}\n" * 500))
            taken = outputs.of("a")
            size, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        (output,) = taken
        assert len(output["text"]) == 10_000_000
        assert size < 11_000_000
        assert most < 22_000_000


# -- compared with nbclient


texts = st.sampled_from(["a", "b\n", "é"])
idents = st.sampled_from(["", "d", "e"])
cell_messages = st.lists(
    st.one_of(
        st.builds(out, texts, st.sampled_from(["stdout", "stderr"])),
        st.builds(display, texts, idents),
        st.builds(
            lambda text, ident: display(text, ident, "execute_result", execution_count=1),
            texts,
            idents,
        ),
        st.builds(update, texts, st.sampled_from(["d", "e"])),
        st.builds(clear, st.booleans()),
        st.just(ERROR),
    ),
    max_size=8,
)


def joined(outputs: list[Any]) -> list[dict[str, Any]]:
    """Outputs with the texts of one stream joined, as nbclient does not do it."""
    found: list[dict[str, Any]] = []
    for output in outputs:
        output = dict(output)
        last = found[-1] if found else {}
        if output["output_type"] == last.get("output_type") == "stream":
            if output["name"] == last["name"]:
                last["text"] += output["text"]
                continue
        found.append(output)
    return found


@given(st.lists(cell_messages, min_size=1, max_size=4))
def test_the_same_messages_give_what_nbclient_makes_of_them(cells: list[list[Message]]) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell() for _ in cells])
    client = NotebookClient(notebook, record_timing=False)
    client.reset_execution_trackers()
    outputs = Outputs()
    for number, messages in enumerate(cells):
        outputs.begin(str(number), f"r{number}")
        client.clear_before_next_output = False
        for message in messages:
            outputs.feed(Message("iopub", message.type, f"r{number}", message.content))
            header = {"msg_type": message.type}
            theirs = {"header": header, "msg_type": message.type}
            theirs |= {"parent_header": {"msg_id": f"r{number}"}}
            theirs["content"] = json.loads(json.dumps(message.content))
            client.process_message(theirs, notebook.cells[number], number)
    with pytest.raises(CellExecutionComplete):
        idle = {"msg_type": "status", "content": {"execution_state": "idle"}, "parent_header": {}}
        client.process_message(idle, notebook.cells[0], 0)
    for number in range(len(cells)):
        assert outputs.of(str(number)) == joined(notebook.cells[number].outputs)


SOURCES = [
    "from IPython.display import HTML, Markdown, SVG, clear_output, display, Javascript",
    "import sys; print('out', flush=True); print('err', file=sys.stderr, flush=True); print(1)",
    "for i in range(50): print(i, end=' ', flush=True)",
    "h = display('first', display_id=True); h2 = display('second', display_id='named')",
    "h.update('changed'); display('again', display_id='named')",
    "h.display(HTML('<b>bold</b>'))",
    "for i in range(5):\n    clear_output(wait=True)\n    display(Markdown(f'*{i}*'))",
    "print('kept'); clear_output(wait=True)",
    "display('x'); clear_output(); 1 / 0",
    "SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')",
    "display({'text/plain': 'raw', 'application/json': [1]}, raw=True, metadata={'a': 1})",
    "raise ValueError('é')",
    "1 if True else",
    "'Ünïcödé \\U0001f600'",
    "display()",
    "None",
    "Javascript('1')",
    "class Bad:\n    def __repr__(self): raise RuntimeError('no')\nBad()",
    "%%bash\necho from a shell",
    "sys.exit(3)",
]


def plain(outputs: list[Any]) -> list[Any]:
    """Outputs without what differs from run to run."""
    found = []
    for output in joined(outputs):
        if output["output_type"] == "error":
            lines = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(output["traceback"])).split("\n")
            output["traceback"] = [lines[0], lines[-1]]
            # The file's name.
            output["evalue"] = re.sub(r"\(.*, line", "(line", output["evalue"])
        text = json.dumps(output, sort_keys=True)
        text = re.sub(r"0x[0-9a-f]+", "0x", re.sub(r"[0-9a-f]{32}", "id", text))
        found.append(json.loads(text))
    return found


async def test_cells_leave_what_they_leave_with_nbclient(projects: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in SOURCES])
    client = NotebookClient(notebook, allow_errors=True, kernel_name="python3")
    theirs = asyncio.create_task(client.async_execute())
    async with cells_in(projects) as cells:
        for source in SOURCES:
            await cells.run(source)
        ours = cells.all()
    await theirs
    for source, outputs, cell in zip(SOURCES, ours, notebook.cells, strict=True):
        assert plain(outputs) == plain(cell.outputs), source
    for key, cell in zip(cells.keys, notebook.cells, strict=True):
        assert cells.outputs.count(key) == cell.execution_count
        assert cells.outputs.times(key).keys() == cell.metadata.execution.keys()


@given(st.lists(st.tuples(cell_messages, st.sampled_from(["r1", "r2"])), max_size=6))
def test_what_was_cleared_counts_no_more(cells: list[tuple[list[Message], str]]) -> None:
    """However often displays were exchanged and whatever was left out."""
    outputs = fed(limit=1500)
    for messages, parent in cells:
        for message in messages:
            outputs.feed(Message("iopub", message.type, parent, message.content))
    kept = sum(len(json.dumps(outputs.of(key))) for key in KEYS)
    assert kept < 3000
    for parent in ("r1", "r2"):
        outputs.feed(clear(wait=False, parent=parent))
    outputs.feed(out("x" * 2000, parent="r3"))
    assert outputs.of("c") == [stream("x" * 1300)]


# -- stored notebooks


def comparable(outputs: list[Any]) -> list[Any]:
    """Outputs without what differs between the versions of Python, IPython and ipywidgets."""
    found = plain(outputs)
    for output in found:
        data = output.get("data", {})
        if "image/png" in data:
            data["image/png"] = data["image/png"].replace("\n", "")
        if "image/svg+xml" in data:
            data["image/svg+xml"] = sorted(re.findall(r"[\w./:-]+", data["image/svg+xml"]))
        if output["output_type"] == "error":
            output["traceback"] = output["traceback"][-1:]
        if "application/vnd.jupyter.widget-view+json" in data:
            # Widgets were displays once, also as a cell's value.
            output["output_type"] = "display_data"
            output.pop("execution_count", None)
    return found


@pytest.mark.parametrize(
    "name",
    [
        "Clear Output",
        "Empty Cell",
        "Error",
        "Factorials",
        "HelloWorld",
        "Inline Image",
        "JupyterWidgets",
        "Other Comms",
        "Output",
        "SVG",
        "Skip Exceptions",
        "Unicode",
        "UnicodePy3",
        "update-display-id",
    ],
)
async def test_a_notebook_gives_its_stored_outputs(name: str, projects: Path) -> None:
    notebook = stored(name)
    shutil.copy(CASES / "python.png", projects)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    async with cells_in(projects) as cells:
        for cell in code:
            await cells.run(cell.source)
        for outputs, cell in zip(cells.all(), code, strict=True):
            assert comparable(outputs) == comparable(cell.outputs), cell.source


# -- further cells in a real kernel


async def test_a_display_of_an_earlier_cell_is_changed(projects: Path) -> None:
    async with cells_in(projects) as cells:
        await cells.run("h = display('before', display_id=True)")
        await cells.run("h.update('after')")
        assert cells.all() == [[shown("'after'")], []]
        assert cells.changed == {"0"}


async def test_a_progress_bar_and_help(projects: Path) -> None:
    async with cells_in(projects) as cells:
        bar = "import sys\nfor i in range(200):\n    print(f'\\r\\x1b[32m{i:3}\\x1b[0m|', end='')"
        assert await cells.run(f"{bar}\n    sys.stdout.flush()") == [stream("\x1b[32m199\x1b[0m|")]
        (page,) = await cells.run("len?")
        assert "Return the number of items" in page["data"]["text/plain"]
        cells.all()


async def test_a_thread_writes_into_the_cell_that_started_it(projects: Path) -> None:
    async with cells_in(projects) as cells:
        await cells.run(
            "import threading\ngo, done = threading.Event(), threading.Event()\n"
            "def work():\n    go.wait()\n    print('from the thread')\n    done.set()\n"
            "threading.Thread(target=work).start(); print('first')"
        )
        await cells.run("go.set(); done.wait(); print('second')")
        await cells.run("")
        texts = [[output["text"] for output in outputs] for outputs in cells.all()]
        assert texts == [["first\nfrom the thread\n"], ["second\n"], []]
