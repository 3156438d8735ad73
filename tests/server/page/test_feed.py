"""What a page is told while it is open: everything, once, soon, and of its owner alone."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path

from server.environments import Environments
from server.files import Projects
from server.notebook_work import NotebookWork
from server.settings import Settings
from tests.conftest import until
from tests.server.page.conftest import House


async def test_output_is_told_while_the_run_goes_on(house: House) -> None:
    """Text comes in order and whole, and before the run ends."""
    browser = house.browser()
    async with browser.watching() as page:
        run = house.submit("print('one', flush=True)\ninput()\nprint('two')", ask=True)
        await page.until(lambda: page.texts.get(run.id) == "one\n")
        await page.until(lambda: page.runs[run.id]["question"])
        assert page.runs[run.id]["state"] == "running"
        run.answer(1, "")
        last = await page.end_of(run.id)
        assert page.texts[run.id].startswith("one\n")
        assert page.texts[run.id].endswith("two\n")
        assert last["length"] == len(page.texts[run.id])
        assert last["status"] == "ok" and last["exit_code"] == 0 and last["seconds"] > 0
        assert last["kind"] == "code" and last["kept"] is True
        assert page.gaps == []


async def test_a_line_that_is_written_over_is_told_as_the_line_that_it_is_now(
    house: House,
) -> None:
    """Progress bars are one line, and no text until it is ended."""
    code = (
        "import sys\nfor n in range(101):\n    sys.stdout.write(f'\\r{n} %')\nsys.stdout.flush()\n"
    )
    browser = house.browser()
    async with browser.watching() as page:
        run = house.submit(code + "input()\nprint()", ask=True)
        await page.until(lambda: page.runs.get(run.id, {}).get("line", "").startswith("100 %"))
        assert page.texts.get(run.id, "") == ""
        run.answer(1, "")
        last = await page.end_of(run.id)
        assert last["line"] == "" and "100 %" in page.texts[run.id]


async def test_a_session_is_told_when_it_begins_rests_and_is_closed(house: House) -> None:
    browser = house.browser()
    async with browser.watching() as page:
        run = house.submit("input()", ask=True)
        await page.until(lambda: page.sessions.get("a", {}).get("state") == "busy")
        house.submit("1")
        await page.until(lambda: page.sessions["a"]["waiting"] == 1)
        await page.until(lambda: page.runs.get(run.id, {}).get("question"))
        run.answer(1, "")
        await page.until(lambda: page.sessions["a"]["state"] == "idle")
        assert page.sessions["a"]["runs"] == 2 and page.sessions["a"]["waiting"] == 0
        await house.registry.close("", "a")
        await page.until(lambda: page.closed == ["a"])


async def test_the_memory_of_a_session_is_told(house: House) -> None:
    browser = house.browser()
    async with browser.watching() as page:
        await house.result("1")
        await page.until(lambda: page.sessions.get("a", {}).get("memory"))
        assert page.sessions["a"]["memory"] > 10_000_000


async def test_a_page_that_comes_again_misses_nothing(house: House) -> None:
    """Its browser says which event it had last, and the news go on there: what was told to others
    meanwhile, and what nobody was told."""
    browser, other = house.browser(), house.browser()
    async with browser.watching() as page:
        run = house.submit("for n in range(3):\n    input(f'{n}\\n')\nprint('end')", ask=True)
        await page.until(lambda: page.runs.get(run.id, {}).get("question"))
        assert page.runs[run.id]["question"]["serial"] == 1
        mark, events = page.mark, len(page.events)
    async with other.watching() as onlooker:
        run.answer(1, "")
        await onlooker.until(
            lambda: (onlooker.runs.get(run.id, {}).get("question") or {}).get("serial") == 2
        )
    run.answer(2, "")
    await until(lambda: run.question is not None and run.question.serial == 3)
    run.answer(3, "")
    await run.result()
    async with browser.watching("another-1", last=mark) as again:
        again.texts = page.texts
        await again.end_of(run.id)
        text = (await browser.get(f"/page/runs/{run.id}/text"))["text"]
        assert again.texts[run.id] == text
        assert text.endswith("end\n") and not again.gaps
        assert not any(event.get("reset") for event in again.events)
        serials = [
            (each["question"] or {}).get("serial")
            for event in again.events
            for each in event["runs"]
        ]
        assert events and 2 in serials
        # The first question may be told of once more with something that is new.
        assert not any(event in page.events for event in again.events)


async def test_a_mark_that_is_not_known_begins_anew(house: House) -> None:
    """The page is told to ask for all again, and hears what comes then."""
    browser = house.browser()
    for mark in ("", "x", "x-5", "-", "1-99999999999999999999999"):
        async with browser.watching(mark) as page:
            assert await page.next() == {"reset": True}
            run = house.submit("print(1)")
            await page.end_of(run.id)
            assert page.texts[run.id] == "1\n"


async def test_output_that_is_too_much_is_not_pushed(house: House) -> None:
    """Only how much there is, and the page asks for what it shows; no event is large."""
    browser = house.browser()
    async with browser.watching() as page:
        run = house.submit("for n in range(200):\n    print('x' * 99_999)")
        last = await page.end_of(run.id)
        assert last["length"] == 20_000_000
        told = sum(len(item["text"]) for event in page.events for item in event["text"])
        assert told < 2_000_000
        assert all(len(item["text"]) <= 65_536 for event in page.events for item in event["text"])
        part = await browser.get(f"/page/runs/{run.id}/text", at=19_900_000, most=200_000)
        assert part["at"] == 19_900_000 and part["text"] == ("x" * 99_999 + "\n")
        assert part["length"] == 20_000_000


async def test_what_a_program_clears_is_told_as_cleared(house: House) -> None:
    code = (
        "from IPython.display import clear_output, display\n"
        "print('old', flush=True); display(1)\ninput('?')\nclear_output()\nprint('new')\n"
    )
    browser = house.browser()
    async with browser.watching() as page:
        run = house.submit(code, ask=True)
        await page.until(lambda: (page.runs.get(run.id) or {}).get("question"))
        await page.until(lambda: page.outputs)
        assert page.texts[run.id].startswith("old\n") and page.runs[run.id]["clears"] == 0
        run.answer(1, "")
        last = await page.end_of(run.id)
        assert page.cleared == [{"run": run.id, "clears": 1, "at": 0, "outputs": 0}]
        assert page.texts[run.id].endswith("new\n") and "old" not in page.texts[run.id]
        assert last["clears"] == 1 and last["outputs"] == 0


async def test_displays_are_told_with_their_places_and_again_when_they_change(
    house: House,
) -> None:
    code = (
        "from IPython.display import display\nprint('before')\n"
        "shown = display('first', display_id=True)\nprint('after', flush=True)\ninput()\n"
        "shown.update('second')\n"
    )
    browser = house.browser()
    async with browser.watching() as page:
        run = house.submit(code, ask=True)
        await page.until(lambda: (page.runs.get(run.id) or {}).get("question"))
        assert page.outputs == [(run.id, 1, 7)]
        run.answer(1, "")
        await page.end_of(run.id)
        assert page.outputs[1:] and set(page.outputs) == {(run.id, 1, 7)}


async def test_a_question_is_told_and_taken_back(house: House) -> None:
    browser = house.browser()
    async with browser.watching() as page:
        run = house.submit("import getpass\ngetpass.getpass('Word: ')", ask=True)
        await page.until(lambda: (page.runs.get(run.id) or {}).get("question"))
        question = page.runs[run.id]["question"]
        assert question == {"serial": 1, "prompt": "Word: ", "password": True}
        run.stop()
        last = await page.end_of(run.id)
        assert last["question"] is None and last["status"] == "interrupted"


async def test_only_the_owner_is_told(guarded: House) -> None:
    anna, bert = await guarded.logged_in("anna"), await guarded.logged_in("bert")
    async with anna.watching() as hers, bert.watching() as his:
        mine = guarded.submit("print('secret')", owner="anna")
        await hers.end_of(mine.id)
        other = guarded.submit("print('open')", owner="bert")
        await his.end_of(other.id)
        assert set(hers.runs) == {mine.id} and set(his.runs) == {other.id}
        assert "secret" not in str(his.events) and "open" not in str(hers.events)


async def test_ten_pages_are_told_from_one_look(house: House) -> None:
    """Each event is made once, whoever reads it, and all read the same."""
    browsers = [house.browser() for _ in range(10)]
    mark = (await browsers[0].get("/page/state"))["mark"]

    async def follow(number: int) -> list[dict[str, object]]:
        async with browsers[number].watching(mark) as page:
            await page.end_of("1")
            return page.events

    following = [asyncio.create_task(follow(number)) for number in range(10)]
    await until(lambda: house.feeds.of("").pages == 10)
    house.submit("print('x')")
    first, *others = await asyncio.gather(*following)
    assert all(each == first for each in others)


async def test_nothing_is_done_when_no_page_is_open(house: House) -> None:
    """The last page that goes takes the work with it."""
    browser = house.browser()
    async with browser.watching() as page:
        run = house.submit("1")
        await page.end_of(run.id)
    feed = house.feeds.of("")
    await until(lambda: feed.pages == 0)

    def working() -> bool:
        return any(task.get_name() == "feed of the page" for task in asyncio.all_tasks())

    await until(lambda: not working())
    mark = feed.mark
    await house.result("print(2)")
    assert feed.mark == mark and not working()


async def test_who_reads_slowly_is_told_to_begin_anew(house: House) -> None:
    """What is kept for it is bounded."""
    feed = house.feeds.of("")
    reader = feed.enter(feed.mark)
    assert feed.take(reader) == b""
    text = b"x" * 1_000_000
    for _ in range(10):
        feed._publish(text)
    assert sum(len(piece) for piece in feed._events) <= 4_000_000
    assert b'{"reset":true}' in feed.take(reader)
    assert feed.take(reader) == b""
    feed._publish(b"y")
    assert b"data: y\n" in feed.take(reader)
    feed.leave(reader)
    gc.collect()


async def test_the_cells_of_a_notebook_are_told_as_they_are_done(
    house: House, projects: Path, settings: Settings
) -> None:
    """With what each has shown; none of its output is told twice."""
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": source, "outputs": []}
        for n, source in enumerate(("print('one')", "import time\ntime.sleep(0.5)\n'two'", "1/0"))
    ]
    for cell in cells:
        cell["execution_count"] = None  # type: ignore[assignment]
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    (projects / "n.ipynb").write_text(json.dumps(notebook))
    work = NotebookWork(Projects(projects), house.registry, Environments(settings), "")
    ready = work.prepare("n.ipynb", None, None, None, False, None, "", False)
    browser = house.browser()
    async with browser.watching() as page:
        run = house.registry.submit("", ready.session, ready.run, 60)
        await page.until(lambda: (page.runs.get(run.id, {}).get("doing") or {}).get("done", 0) > 1)
        facts = await browser.get(f"/page/runs/{run.id}")
        assert [part["state"] for part in facts["parts"]] == ["ok", "running", "waiting"]
        assert facts["run"]["doing"]["total"] == 3
        last = await page.end_of(run.id)
        assert last["kind"] == "notebook" and last["file"] == "n.ipynb"
        assert last["error"]["name"] == "ZeroDivisionError" and last["status"] == "error"
        facts = await browser.get(f"/page/runs/{run.id}")
        parts = facts["parts"]
        assert [part["state"] for part in parts] == ["ok", "ok", "error"]
        assert [part["label"] for part in parts] == ["cell 0 · c0", "cell 1 · c1", "cell 2 · c2"]
        text = (await browser.get(f"/page/runs/{run.id}/text"))["text"]
        assert "one\n" in text[parts[0]["at"] : parts[0]["end"]]
        assert parts[1]["outputs"] == [1, 2] and parts[2]["outputs"] == [2, 2]
        assert page.texts[run.id] == text and not page.gaps and not page.cleared
