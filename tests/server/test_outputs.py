"""What did not fit, and what runs in the background: one call away."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from typing import Any

import PIL.Image
import pytest
from fastmcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import BlobResourceContents, ImageContent, TextContent, TextResourceContents

from kernels.registry import Registry
from kernels.session import SessionState
from server.app import build_server
from server.settings import Settings
from tests.conftest import until
from tests.kernels.fake_kernel import FakeKernel
from tests.server.caller import META, Caller, Mode, both_eras

LINES = "for i in range(6000): print('line', i)"
ALL = "".join(f"line {number}\n" for number in range(6000))
FIGURE = """\
import base64
from IPython.display import display, Image
display(Image(base64.b64decode({data!r})))
"""


@pytest.fixture
def mode() -> Mode:
    """The newer era, except where a test asks for both."""
    return "auto"


def png(width: int, height: int, colour: str = "green") -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), colour).save(file, "PNG")
    return file.getvalue()


def figure(width: int = 30, height: int = 20) -> str:
    return FIGURE.format(data=base64.b64encode(png(width, height)).decode())


async def page(caller: Caller, **arguments: Any) -> tuple[str, dict[str, Any]]:
    """The text of an answer of get_output, without its last line, and its facts."""
    result = await caller.call("get_output", **arguments)
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    return "".join(texts[:-1]), (result.meta or {})[META]


async def read(caller: Caller, uri: str) -> str:
    (content,) = await caller.client.read_resource(uri)
    assert isinstance(content, TextResourceContents)
    return content.text


class TestTheRestOfAResult:
    async def test_a_table_that_is_cut_counts_as_such(self, caller: Caller) -> None:
        code = "import pandas as pd; pd.set_option('display.max_rows', None)\npd.DataFrame({{'a': range({})}})"  # noqa: E501
        for rows, cut in ((20, False), (300, True)):
            _, facts = await caller.run("run_code", code=code.format(rows))
            assert facts["truncated"] is cut

    async def test_the_gap_says_where_to_read_on(self, caller: Caller) -> None:
        texts, facts = await caller.run("run_code", code=LINES)
        assert facts["truncated"]
        head, _, rest = texts[0].partition("[… ")
        offset = int(rest.partition("offset=")[2].partition(")")[0])
        assert 'left out; get_output(run_id="1", offset=' in rest
        assert ALL[:offset] == head.removesuffix("\n") or ALL[:offset] == head
        text, _ = await page(caller, run_id="1", offset=offset)
        assert ALL[offset:].startswith(text)

    async def test_pages_make_up_the_whole_text(self, caller: Caller) -> None:
        await caller.run("run_code", code=LINES)
        found, offset = "", 0
        while offset < len(ALL):
            text, facts = await page(caller, run_id="1", offset=offset)
            assert facts["offset"] == offset
            assert facts["length"] == len(ALL)
            assert text.endswith("\n")
            assert len(text) <= 20_000
            found, offset = found + text, facts["next_offset"]
        assert found == ALL

    @both_eras
    async def test_beyond_the_end_is_refused(self, caller: Caller) -> None:
        await caller.run("run_code", code="print('abc')")
        assert (await page(caller, run_id="1", offset=4))[0] == "(No output)"
        assert await caller.refusal("get_output", run_id="1", offset=5) == (
            "offset is 5; the output of run 1 has 4 characters."
        )

    async def test_a_display_counts_with_its_words(self, caller: Caller) -> None:
        await caller.run("run_code", code=f"print('a')\n{figure()}\nprint('b')")
        result = await caller.call("get_output", run_id="1", offset=0)
        texts = [block.text for block in result.content if isinstance(block, TextContent)]
        assert [type(block) for block in result.content] == [
            TextContent, TextContent, ImageContent, TextContent, TextContent,
        ]  # fmt: skip
        whole = "".join(f"{text}\n" if text.startswith("[image") else text for text in texts[:-1])
        assert (result.meta or {})[META]["length"] == len(whole)
        assert await read(caller, "run://1/text") == whole

    @both_eras
    async def test_of_an_ended_run_it_gives_the_result_again(self, caller: Caller) -> None:
        first = await caller.call("run_code", code="print('a')\n1/0", stdin="x")
        again = await caller.call("get_output", run_id="1")
        assert again == first
        assert again.is_error

    @both_eras
    async def test_an_image_by_its_number(self, caller: Caller) -> None:
        await caller.run("run_code", code=figure(30, 20) + figure(40, 10))
        result = await caller.call("get_output", run_id="1", image=2)
        label, image, _ = result.content
        assert isinstance(label, TextContent)
        assert isinstance(image, ImageContent)
        assert label.text.startswith("[image 2: PNG 40 × 10, ")
        assert base64.b64decode(image.data) == png(40, 10)
        said = await caller.refusal("get_output", run_id="1", image=3)
        assert said == "Run 1 has no image 3; it has images 1 to 2."
        assert "no image 0" in await caller.refusal("get_output", run_id="1", image=0)

    async def test_without_images_it_says_so(self, caller: Caller) -> None:
        await caller.run("run_code", code="1")
        said = await caller.refusal("get_output", run_id="1", image=1)
        assert said == "Run 1 has no image 1; it has none."


class TestTheBackground:
    @both_eras
    async def test_it_returns_at_once_and_runs_on(self, caller: Caller) -> None:
        result = await caller.call("run_code", code="input()\nx = 5\nx", background=True, stdin="a")
        first, last = (b.text for b in result.content if isinstance(b, TextContent))
        assert first == (
            'Run 1 has begun in session default. get_output(run_id="1", wait=20) tells how it '
            'gets on; stop_run(run_id="1") ends it.'
        )
        assert last == "[running · session default · run 1]"
        assert (result.meta or {})[META]["status"] == "running"
        assert not result.is_error
        while True:
            text, facts = await page(caller, run_id="1", wait=20)
            if facts["status"] != "running":
                break
        assert (text, facts["status"], facts["exit_code"]) == ("5\n", "ok", 0)

    async def test_news_are_told_once_and_as_soon_as_there_are_some(
        self, caller: Caller, registry: Registry
    ) -> None:
        code = "import os, time\nfor name in 'abc':\n    print(name, flush=True)\n" + (
            "    while not os.path.exists(name): time.sleep(0.005)\n"
        )
        await caller.call("run_code", code=code, background=True)
        folder = (await caller.call("list_files")).content
        assert folder
        for name in "abc":
            text, facts = await page(caller, run_id="1", wait=20)
            assert (text, facts["status"]) == (f"{name}\n", "running")
            await caller.text("write_file", file_name=name, content="")
        run = registry.find_run("", "1")
        await run.result()
        assert (await page(caller, run_id="1", wait=20))[0] == "a\nb\nc\n"

    async def test_without_news_it_returns_after_the_wait(self, quick: Caller) -> None:
        await quick.call("run_code", code="wait", background=True)
        text, facts = await page(quick, run_id="1", wait=0.05)
        assert (text, facts["status"]) == ("(No news)", "running")

    async def test_a_line_under_way_is_shown_as_such(self, caller: Caller) -> None:
        code = "import time\nprint('half a', end='', flush=True)\nwhile True: time.sleep(0.01)"
        await caller.call("run_code", code=code, background=True)
        while True:
            text, _ = await page(caller, run_id="1")
            if text != "(No news)":
                break
        assert text == "[unfinished line] half a"
        assert "has ended" in await caller.text("stop_run", run_id="1")
        assert (await page(caller, run_id="1"))[1]["status"] == "interrupted"

    async def test_a_waiting_one_shows_its_place(self, quick: Caller) -> None:
        await quick.call("run_code", code="wait", background=True)
        await quick.call("run_code", code="1", background=True)
        result = await quick.call("run_code", code="2", background=True)
        first, last = (b.text for b in result.content if isinstance(b, TextContent))
        assert first.startswith("Run 3 waits behind 2 runs of session default. ")
        assert last == "[waiting, place 3 · session default · run 3]"
        assert "2 waiting" in await quick.text("list_sessions")
        result = await quick.call("get_output", run_id="2")
        assert isinstance(result.content[-1], TextContent)
        assert result.content[-1].text == "[waiting, place 2 · session default · run 2]"

    @both_eras
    async def test_bad_input_touches_no_run(self, quick: Caller, registry: Registry) -> None:
        await quick.call("run_code", code="wait", background=True)
        for bad in ({"offset": -1}, {"image": 1}, {"wait": 51}, {"wait": -1}):
            await quick.refusal("get_output", run_id="1", **bad)
        assert (await page(quick, run_id="1"))[1]["status"] == "running"

    @both_eras
    async def test_one_that_could_not_start_says_why(self, quick: Caller, backend: Any) -> None:
        backend.failures.append("The kernel did not come up.")
        await quick.call("run_code", code="1", background=True)
        said = await quick.refusal("get_output", run_id="1", wait=20)
        assert said == "The kernel did not come up."

    @both_eras
    async def test_a_client_that_goes_away_leaves_it_running(
        self, settings: Settings, fakes: Registry, backend: Any, mode: Mode
    ) -> None:
        server = build_server(settings, fakes)
        async with Client(server, mode=mode) as client:
            await client.call_tool("run_code", {"code": "wait", "background": True})
            # Somebody who waits for it and goes is no reason to end it either.
            waiting = asyncio.create_task(
                client.call_tool("get_output", {"run_id": "1", "wait": 20})
            )
            await until(lambda: fakes.find("", "default").count)
        await asyncio.gather(waiting, return_exceptions=True)
        assert fakes.find("", "default").state is SessionState.BUSY
        kernel: FakeKernel = backend.kernels[0]
        kernel.succeed("there")
        async with Client(server, mode=mode) as client:
            text, facts = await page(Caller(client), run_id="1", wait=20)
        assert (text, facts["status"]) == ("there", "ok")


class TestResources:
    @both_eras
    async def test_the_text_of_a_run(self, caller: Caller) -> None:
        await caller.run("run_code", code=LINES)
        assert await read(caller, "run://1/text") == ALL
        assert await read(caller, "run://1/text?offset=40000") == ALL[40000:]

    async def test_a_long_one_in_parts(self, caller: Caller) -> None:
        await caller.run("run_code", code="print('x' * 900_000)")
        first = await read(caller, "run://1/text")
        assert first.startswith("x" * 800_000)
        assert first.endswith("[100,001 characters more: run://1/text?offset=800000]")
        assert await read(caller, "run://1/text?offset=800000") == "x" * 100_000 + "\n"

    @both_eras
    async def test_a_display_in_its_richest_form(self, caller: Caller) -> None:
        code = (
            "from IPython.display import display\n"
            "display({'text/plain': 'p', 'text/html': '<b>h</b>'}, raw=True)\n" + figure()
        )
        result = await caller.call("run_code", code=code)
        links = [str(block.uri) for block in result.content if block.type == "resource_link"]
        assert links == ["run://1/outputs/1"]
        (html,) = await caller.client.read_resource(links[0])
        assert isinstance(html, TextResourceContents)
        assert html.mime_type == "text/html"
        assert "<b>h</b>" in html.text
        (image,) = await caller.client.read_resource("run://1/outputs/2")
        assert isinstance(image, BlobResourceContents)
        assert image.mime_type == "image/png"
        assert base64.b64decode(image.blob) == png(30, 20)

    async def test_the_runs_of_a_session(self, caller: Caller) -> None:
        for code in ("1", "1/0"):
            await caller.call("run_code", code=code, session="a b/c")
        runs = json.loads(await read(caller, "session://a%20b/c/runs"))
        assert [(run["run_id"], run["title"], run["status"]) for run in runs] == [
            ("1", "1", "ok"),
            ("2", "1/0", "error"),
        ]
        assert runs[0]["text"] == "run://1/text"

    async def test_the_session_as_a_notebook(self, caller: Caller) -> None:
        await caller.run("run_code", code="x = 1\nx")
        notebook = json.loads(await read(caller, "session://default/notebook"))
        (cell,) = notebook["cells"]
        assert "".join(cell["source"]) == "x = 1\nx"

    @both_eras
    async def test_what_is_not_there_is_said_in_a_sentence(self, caller: Caller) -> None:
        await caller.run("run_code", code="1")
        for uri, words in {
            "run://9/text": "There is no run '9'",
            "run://1/text?offset=99": "offset is 99; run 1 has 2 characters.",
            "run://1/text?offset=-1": "offset is -1",
            "run://1/outputs/9": "Run 1 has no output 9; it has 1 displays.",
            "session://none/runs": "There is no session 'none'",
            "session://none/notebook": "There is no session 'none'",
        }.items():
            with pytest.raises(MCPError) as caught:
                await caller.client.read_resource(uri)
            assert words in str(caught.value), uri

    @both_eras
    async def test_those_of_others_do_not_exist(self, caller: Caller, registry: Registry) -> None:
        from kernels.execution import CodeRequest

        await registry.submit("ann", "hers", CodeRequest("1"), 10).result()
        assert "There is no run '1'" in await caller.refusal("get_output", run_id="1")
        for uri in ("run://1/text", "run://1/outputs/1", "session://hers/notebook"):
            with pytest.raises(MCPError, match="There is no"):
                await caller.client.read_resource(uri)


async def test_output_that_had_to_go_is_named_so(caller: Caller, registry: Registry) -> None:
    await caller.run("run_code", code="print('a')")
    registry.find_run("", "1").recording.drop()
    gone = "The output of this run is no longer kept"
    for arguments in ({}, {"offset": 0}):
        assert gone in await caller.refusal("get_output", run_id="1", **arguments)
    with pytest.raises(MCPError, match=gone):
        await caller.client.read_resource("run://1/text")
    runs = json.loads(await read(caller, "session://default/runs"))
    assert [run["status"] for run in runs] == ["ok"]
