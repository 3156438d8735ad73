"""What a page can have done: as a client of MCP could, to its owner's sessions alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from kernels.limits import Limits
from server.audit import Audit
from server.settings import Settings
from tests.conftest import until
from tests.server.page.conftest import CONTROL, House, house_of


async def test_a_line_of_code_runs_like_any_other_run(house: House) -> None:
    """It is watched by its id, and sees the session's variables."""
    await house.result("x = 20")
    browser = house.browser()
    async with browser.watching() as page:
        done = await browser.do(do="run", session="a", code="print(x + 1)")
        last = await page.end_of(done["run"])
        assert page.texts[done["run"]] == "21\n" and last["session"] == "a"
        assert last["who"] == "this page" and last["kind"] == "code"


async def test_a_run_of_the_page_may_ask_and_is_answered(house: House) -> None:
    browser = house.browser()
    async with browser.watching() as page:
        code = "print(input('Name? '))\ntry:\n    input()\nexcept EOFError:\n    print('refused')"
        run = (await browser.do(do="run", session="a", code=code))["run"]
        await page.until(lambda: (page.runs.get(run) or {}).get("question"))
        assert page.runs[run]["question"]["prompt"] == "Name? "
        await browser.do(do="answer", run=run, serial=1, text="Ömer")
        await page.until(lambda: (page.runs[run]["question"] or {}).get("serial") == 2)
        stale = await browser.do(409, do="answer", run=run, serial=1, text="again")
        assert "not open" in stale["error"]
        await browser.do(do="answer", run=run, serial=2, text=None)
        last = await page.end_of(run)
        assert last["status"] == "ok"
        assert "Ömer\n" in page.texts[run] and page.texts[run].endswith("refused\n")


async def test_a_run_is_stopped(house: House) -> None:
    browser = house.browser()
    async with browser.watching() as page:
        run = house.submit("import time\ntime.sleep(60)")
        await page.until(lambda: page.runs.get(run.id, {}).get("state") == "running")
        assert run.id in (await browser.do(do="stop", run=run.id))["words"]
        last = await page.end_of(run.id)
        assert last["status"] == "interrupted" and last["words"]
    assert "ended already" in (await browser.do(do="stop", run=run.id))["words"]


async def test_a_waiting_run_is_stopped_before_it_begins(house: House) -> None:
    browser = house.browser()
    async with browser.watching() as page:
        first, second = house.submit("input()", ask=True), house.submit("print('never')")
        await page.until(lambda: (page.runs.get(first.id) or {}).get("question"))
        assert page.runs[second.id]["state"] == "waiting"
        await browser.do(do="stop", run=second.id)
        first.answer(1, "")
        last = await page.end_of(second.id)
        assert last["status"] == "interrupted" and "stopped before it began" in last["words"]
        assert second.id not in page.texts and last["began"] is None


async def test_a_session_is_restarted(house: House) -> None:
    await house.result("x = 1\nimport atexit\natexit.register(print, 'bye')")
    browser = house.browser()
    async with browser.watching() as page:
        words = (await browser.do(do="restart", session="a"))["words"]
        assert "restarted" in words and "bye" in words
        await page.until(lambda: page.sessions.get("a", {}).get("state") == "cold")
        again = await house.result("x")
        assert again.summary is not None and again.summary.failed


async def test_a_session_is_closed_and_its_run_with_it(house: House) -> None:
    browser = house.browser()
    async with browser.watching() as page:
        run = house.submit("import time\ntime.sleep(60)")
        await page.until(lambda: page.runs.get(run.id, {}).get("state") == "running")
        assert "closed" in (await browser.do(do="close", session="a"))["words"]
        last = await page.end_of(run.id)
        assert last["status"] == "interrupted" and last["kept"] is False
        await page.until(lambda: page.closed == ["a"])


@pytest.mark.parametrize(
    ("status", "asked"),
    [
        (404, {"do": "stop", "run": "99"}),
        (404, {"do": "restart", "session": "nobody"}),
        (404, {"do": "close", "session": "nobody"}),
        (404, {"do": "answer", "run": "99", "serial": 1, "text": ""}),
        (400, {"do": "run", "session": "<b>", "code": "1"}),
        (400, {"do": "run", "session": "a", "code": " "}),
        (400, {"do": "run", "session": "a", "code": 1}),
        (400, {"do": "run", "session": "a", "code": "\udc80"}),
        (400, {"do": "dance"}),
        (400, {}),
    ],
)
async def test_what_cannot_be_done_is_refused_in_one_sentence(
    house: House, status: int, asked: dict[str, object]
) -> None:
    words = (await house.browser().do(status, **asked))["error"]
    assert words.endswith(".") and "\n" not in words
    assert house.registry.sessions("") == []


async def test_controls_are_taken_from_the_page_alone(house: House) -> None:
    """As JSON, with its header, from its own origin."""
    client, asked = house.browser().client, {"do": "run", "session": "a", "code": "1"}
    refused = [
        await client.post("/page/do", json=asked),
        await client.post("/page/do", data={"do": "run"}, headers=CONTROL),
        await client.post("/page/do", json=asked, headers={**CONTROL, "origin": "http://evil"}),
        await client.post(
            "/page/do", json=asked, headers={**CONTROL, "sec-fetch-site": "cross-site"}
        ),
    ]
    assert [answer.status_code for answer in refused] == [403] * 4
    assert (await client.get("/page/do")).status_code == 405
    bad = await client.post(
        "/page/do", content=b"[1]", headers={**CONTROL, "content-type": "application/json"}
    )
    assert bad.status_code == 400
    large = await client.post("/page/do", json={"code": "x" * 3_000_000}, headers=CONTROL)
    assert large.status_code == 413
    assert house.registry.sessions("") == []


async def test_nobody_controls_what_is_anothers(guarded: House) -> None:
    run = guarded.submit("input()", owner="anna", ask=True)
    await until(lambda: run.question is not None)
    bert, nobody = await guarded.logged_in("bert"), guarded.browser()
    for asked in (
        {"do": "stop", "run": run.id},
        {"do": "answer", "run": run.id, "serial": 1, "text": "x"},
        {"do": "restart", "session": "a"},
        {"do": "close", "session": "a"},
    ):
        await bert.do(404, **asked)
        await nobody.do(401, **asked)
    assert run.question is not None and not run.done.done()
    anna = await guarded.logged_in("anna")
    await anna.do(do="answer", run=run.id, serial=1, text="")
    await run.result()


async def test_controls_are_recorded(
    projects: Path, limits: Limits, settings: Settings, tmp_path: Path
) -> None:
    """As calls are: who, what, which session and run, the code's hash, and what came of it."""
    log = tmp_path / "audit.jsonl"
    audit = Audit(log)
    async with house_of(projects, limits, settings, audits=[audit]) as house:
        browser = house.browser()
        async with browser.watching() as page:
            run = (await browser.do(do="run", session="a", code="print('a secret')"))["run"]
            await page.end_of(run)
        await browser.do(409, do="answer", run=run, serial=1, text="another secret")
        await browser.do(400, do="dance")
        await browser.do(do="close", session="a")
    audit.close()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all(line["transport"] == "page" and line["who"] == "" for line in lines)
    calls = [
        (line["control"], line["status"], line.get("session"))
        for line in lines
        if line["event"] == "call"
    ]
    assert calls == [
        ("run", "ok", "a"),
        ("answer", "error", None),
        ("dance", "error", None),
        ("close", "ok", "a"),
    ]
    first = lines[0]
    assert first["run"] == run
    assert first["sha256"] == hashlib.sha256(b"print('a secret')").hexdigest()
    (end,) = [line for line in lines if line["event"] == "end"]
    assert (end["run"], end["status"]) == (run, "ok")
    assert "secret" not in log.read_text()


async def test_controls_are_limited(projects: Path, limits: Limits, settings: Settings) -> None:
    async with house_of(projects, limits, settings, calls=60) as house:
        browser = house.browser()
        for _ in range(10):
            await browser.do(404, do="restart", session="none")
        refused = await browser.do(429, do="restart", session="none")
        assert refused["error"] == "Too many controls: at most 60 a minute. Wait 1 s."
