"""Checkpoints as a page is told of them, and what it can have done with them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kernels.limits import Limits
from server.audit import Audit
from server.settings import Settings
from tests.conftest import until
from tests.server.page.conftest import House, house_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="checkpoints are for Linux alone")

#: Worth a checkpoint, because it has taken its time.
WORTH = "import time\ntime.sleep(0.5)\nx = [1, 2, 3]"
DIES = "import os; os.kill(os.getpid(), 9)"


async def test_a_session_tells_its_checkpoint_as_soon_as_there_is_one(house: House) -> None:
    browser = house.browser()
    async with browser.watching() as page:
        run = await house.result(WORTH + "\nlog = open('a.log', 'w')")
        await page.until(lambda: page.sessions.get("a", {}).get("checkpoint"))
        checkpoint = page.sessions["a"]["checkpoint"]
        assert checkpoint["run_id"] == run.id and checkpoint["age_s"] >= 0
        assert "files open for writing (a.log)" in checkpoint["warnings"]
        assert page.sessions["a"]["no_checkpoint"] == []
        # What it costs is measured a little later.
        await page.until(lambda: page.sessions["a"]["checkpoint"]["memory_mb"])


async def test_that_it_is_too_early_is_no_news_and_a_refusal_is(house: House) -> None:
    browser = house.browser()
    async with browser.watching() as page:
        await house.result("1 / 0")
        await page.until(lambda: page.sessions.get("a", {}).get("runs") == 1)
        session = page.sessions["a"]
        assert (session["checkpoint"], session["no_checkpoint"]) == (None, [])
        code = "threading.Thread(target=time.sleep, args=(600,), name='t', daemon=True).start()"
        await house.result(f"import threading, time\n{code}\ntime.sleep(0.5)")
        refused = ["threads are running (t)"]
        await page.until(lambda: page.sessions["a"]["no_checkpoint"] == refused)


async def test_a_run_tells_what_was_restored(house: House) -> None:
    browser = house.browser()
    async with browser.watching() as page:
        run = await house.result(WORTH)
        await page.until(lambda: page.sessions.get("a", {}).get("checkpoint"))
        dead = await house.result(DIES)
        last = await page.end_of(dead.id)
        assert (last["kept"], last["restored_to"]) == (True, run.id)
        assert f"variables are back to what they were after run {run.id}; " in last["words"]
        fine = await house.result("x")
        assert (await page.end_of(fine.id))["restored_to"] is None


async def test_a_session_is_taken_back(house: House) -> None:
    run = await house.result(WORTH)
    await until(lambda: house.registry.find("", "a").checkpoint)
    await house.result("x.clear(); 1 / 0")
    words = (await house.browser().do(do="rewind", session="a"))["words"]
    assert words.startswith(f"Session 'a' is back to what it was after run {run.id}, ")
    again = await house.result("print(x)")
    text = await house.browser().get(f"/page/runs/{again.id}/text")
    assert text["text"] == "[1, 2, 3]\n"


async def test_a_branch_appears_and_has_a_history_of_its_own(house: House) -> None:
    run = await house.result("x = 1")
    browser = house.browser()
    async with browser.watching() as page:
        done = await browser.do(do="branch", session="a", new_session="b c")
        assert done["session"] == "b c"
        assert done["words"].startswith(
            f"Session 'b c' has the variables of session 'a' after run {run.id}. "
        )
        await page.until(lambda: "b c" in page.sessions)
        assert page.sessions["b c"]["checkpoint"]["run_id"] == run.id
        assert (await browser.get("/page/history", session="b c"))["runs"] == []
        notebook = await browser.get("/page/notebook", session="b c")
        (cell,) = notebook["cells"]
        assert "Branched from session 'a' after run" in "".join(cell["source"])


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (404, {"do": "rewind", "session": "nobody"}),
        (404, {"do": "branch", "session": "nobody", "new_session": "b"}),
        (409, {"do": "rewind", "session": "a"}),
        (409, {"do": "branch", "session": "a", "new_session": "a"}),
        (400, {"do": "branch", "session": "a", "new_session": "<b>"}),
        (400, {"do": "branch", "session": "a", "new_session": ""}),
        (400, {"do": "branch", "session": "a"}),
        (400, {"do": "branch", "session": "a", "new_session": "x" * 2_000}),
    ],
)
async def test_what_cannot_be_done_is_refused_in_one_sentence(
    house: House, status: int, asked: dict[str, object]
) -> None:
    await house.result("1 / 0")
    words = (await house.browser().do(status, **asked))["error"]
    assert words.endswith(".") and "\n" not in words
    assert [each.name for each in house.registry.sessions("")] == ["a"]


async def test_nobody_controls_what_is_anothers(guarded: House) -> None:
    run = guarded.submit("1", owner="anna")
    await run.result()
    bert, nobody = await guarded.logged_in("bert"), guarded.browser()
    for asked in (
        {"do": "rewind", "session": "a"},
        {"do": "branch", "session": "a", "new_session": "b"},
    ):
        assert (await bert.do(404, **asked))["error"].startswith("There is no session 'a'.")
        await nobody.do(401, **asked)
    anna = await guarded.logged_in("anna")
    await anna.do(do="branch", session="a", new_session="b")
    assert [each.name for each in guarded.registry.sessions("anna")] == ["a", "b"]
    assert guarded.registry.sessions("bert") == []


async def test_controls_are_recorded(
    projects: Path, limits: Limits, settings: Settings, tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    audit = Audit(log)
    async with house_of(projects, limits, settings, audits=[audit]) as house:
        await house.result("1")
        await house.browser().do(do="branch", session="a", new_session="b")
        await house.browser().do(do="rewind", session="b")
    audit.close()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [
        (line["control"], line["session"], line.get("new"), line["status"])
        for line in lines
        if "control" in line
    ] == [("branch", "a", "b", "ok"), ("rewind", "b", None, "ok")]
