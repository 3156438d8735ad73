"""What a page reads of sessions and runs: its owner's, exactly, and in bounded pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kernels.execution import FileRequest
from server.app import version
from tests.conftest import until
from tests.server.page.conftest import House

IMAGE = (
    "import base64\nfrom IPython.display import Image, HTML, SVG, display\n"
    "display(Image(base64.b64decode('"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    "')))\n"
    'display(SVG(\'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>\'))\n'
    "display(HTML('<b onclick=\"x()\">bold</b>'))\n"
)


async def test_a_fresh_server_has_nothing_to_show(house: House) -> None:
    state = await house.browser().get("/page/state")
    assert state["sessions"] == [] and state["runs"] == []
    assert state["login"] is False and state["me"] is None and state["version"] == version()


async def test_the_state_has_sessions_and_the_newest_runs_first(house: House) -> None:
    one = await house.result("1")
    two = await house.result("2", session="b")
    state = await house.browser().get("/page/state")
    assert [run["id"] for run in state["runs"]] == [two.id, one.id]
    assert [session["name"] for session in state["sessions"]] == ["a", "b"]
    (session, _) = state["sessions"]
    assert session["state"] == "idle" and session["runs"] == 1 and session["age"] > 0
    assert session["python"]


async def test_a_script_is_told_with_its_file_and_its_error(house: House, projects: Path) -> None:
    path = projects / "deep" / "s.py"
    path.parent.mkdir()
    path.write_text("x = 1\n1/0\n")
    request = FileRequest(path, path.read_bytes(), ("--fast",))
    run = house.registry.submit("", "a", request, 60)
    await run.result()
    facts = await house.browser().get(f"/page/runs/{run.id}")
    assert facts["run"]["kind"] == "script" and facts["run"]["file"] == "deep/s.py"
    assert facts["run"]["title"] == "s.py --fast"
    assert facts["run"]["error"]["name"] == "ZeroDivisionError"
    assert facts["run"]["error"]["line"] == 2 and facts["run"]["exit_code"] == 1
    assert facts["source"]["lines"] >= 2 and "parts" not in facts


@pytest.mark.parametrize(
    "code",
    [
        "print('before')\ndef f():\n    1/0\nf()",
        "print('before')\ntry:\n    1/0\nfinally:\n    {}['k']",
    ],
)
async def test_a_traceback_is_shown_in_its_place(house: House, code: str) -> None:
    """Those that led to it are part of it, and nothing that was printed before."""
    run = await house.result(code)
    browser = house.browser()
    facts = await browser.get(f"/page/runs/{run.id}")
    found, text = facts["traceback"], (await browser.get(f"/page/runs/{run.id}/text"))["text"]
    part = text[found["at"] : found["end"]]
    assert "before" not in part and part.count("Traceback (most") == text.count("Traceback (most")
    assert part.rstrip().splitlines()[-1].startswith(facts["run"]["error"]["name"])
    assert 'class="line failing"' in found["html"] and 'class="line error"' in found["html"]
    fine = await house.result("1")
    assert (await browser.get(f"/page/runs/{fine.id}"))["traceback"] is None


async def test_an_error_of_syntax_is_shown_in_its_place(house: House) -> None:
    run = await house.result("x = (\n")
    facts = await house.browser().get(f"/page/runs/{run.id}")
    assert facts["run"]["error"]["name"] == "SyntaxError"
    assert "SyntaxError" in facts["traceback"]["html"]


async def test_code_is_data_in_the_page(house: House) -> None:
    run = await house.result("x = '<script>alert(1)</script>'")
    facts = await house.browser().get(f"/page/runs/{run.id}")
    assert "<script" not in facts["source"]["html"] and "script" in facts["source"]["html"]


async def test_a_text_is_read_from_any_character_on(house: House) -> None:
    run = await house.result("print('ä€😀' * 3)")
    browser = house.browser()
    part = await browser.get(f"/page/runs/{run.id}/text", at=2, most=3)
    assert part == {"at": 2, "text": "😀ä€", "length": 10, "clears": 0}
    beyond = await browser.get(f"/page/runs/{run.id}/text", at=99)
    assert beyond["text"] == ""


async def test_a_text_is_saved_whole(house: House) -> None:
    run = await house.result("print('x' * 999_999)")
    answer = await house.browser().client.get(f"/page/runs/{run.id}/text?download=1")
    assert answer.text == "x" * 999_999 + "\n"
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_what_cannot_be_utf_8_is_shown_escaped(house: House) -> None:
    run = await house.result("x = 'a\\udc80b'; print(x); print('\\0\\u2028</script>'); x")
    browser = house.browser()
    part = await browser.get(f"/page/runs/{run.id}/text")
    assert "\0\u2028</script>" in part["text"]
    assert (await browser.get(f"/page/runs/{run.id}"))["run"]["outputs"] == 1
    await browser.get(f"/page/runs/{run.id}/outputs/1")


async def test_outputs_are_shown_by_their_kind_and_saved_as_files(house: House) -> None:
    run = await house.result(IMAGE + "42")
    browser = house.browser()
    facts = [await browser.get(f"/page/runs/{run.id}/outputs/{n}") for n in (1, 2, 3, 4)]
    assert [each["kind"] for each in facts[:3]] == ["image", "svg", "frame"]
    assert [each["n"] for each in facts] == [1, 2, 3, 4] and "42" in facts[3]["html"]
    image = await browser.client.get(facts[0]["url"])
    assert image.headers["content-type"] == "image/png" and image.content[:4] == b"\x89PNG"
    svg = await browser.client.get(facts[1]["url"])
    assert svg.headers["content-type"].startswith("image/svg+xml")
    assert "sandbox" in svg.headers["content-security-policy"]
    frame = await browser.client.get(facts[2]["url"])
    assert b"bold" in frame.content
    assert "sandbox" in frame.headers["content-security-policy"]
    for each, ending in zip(facts, ("png", "svg", "html", "txt"), strict=True):
        saved = await browser.client.get(each["file"])
        assert f".{ending}" in saved.headers["content-disposition"]
        assert saved.headers["content-disposition"].startswith("attachment")
    assert (await browser.client.get(f"/page/runs/{run.id}/outputs/4/image")).status_code == 404


async def test_the_history_of_a_session_is_paged_and_searched(house: House) -> None:
    ids = [(await house.result(f"n = {n}\nprint('Zebra {n}')")).id for n in range(4)]
    failed = await house.result("1/0")
    await house.result("'elsewhere'", session="x/runs")
    browser = house.browser()

    async def history(session: str = "a", **query: object) -> Any:
        return await browser.get("/page/history", session=session, **query)

    async def found(**query: object) -> list[str]:
        return [run["id"] for run in (await history(**query))["runs"]]

    assert await found() == [failed.id, *ids[::-1]]
    assert await found(before=ids[2]) == [ids[1], ids[0]]
    assert await found(find="zebra 2") == [ids[2]]
    assert await found(find="ZERODIVISION") == [failed.id]
    assert await found(find="nowhere") == []
    other = await history("x/runs")
    assert len(other["runs"]) == 1 and other["more"] is False
    await house.registry.close("", "a")
    assert await found(before=ids[1]) == [ids[0]]


async def test_a_session_is_saved_as_a_notebook(house: House) -> None:
    await house.result("print('in it')", session="a b/c")
    answer = await house.browser().client.get("/page/notebook?session=a%20b%2Fc")
    notebook = json.loads(answer.text)
    assert notebook["nbformat"] == 4 and "in it" in answer.text
    assert 'filename="a b_c.ipynb"' in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    "path",
    [
        "/page/runs/999",
        "/page/runs/999/text",
        "/page/runs/x%22y/outputs/1",
        "/page/runs/1/outputs/7",
        "/page/runs/1/outputs/7/file",
        "/page/runs/1/outputs/0/image",
        "/page/history?session=nobody",
        "/page/notebook?session=nobody",
        "/page/nothing",
        "/page/static/nothing.js",
        "/page/static/..%2Fapi.py",
    ],
)
async def test_what_is_not_there_is_said_in_one_sentence(house: House, path: str) -> None:
    await house.result("1")
    answer = await house.browser().client.get(path)
    assert answer.status_code == 404
    words = answer.json()["error"]
    assert words.endswith(".") and "\n" not in words and "Traceback" not in words


@pytest.mark.parametrize("name", ["..", ".", "a/..", "../..", "a /b"])
async def test_any_name_of_a_session_is_reached(house: House, name: str) -> None:
    """Also those that are ways through folders in a path."""
    run = await house.result("print('in it')", session=name)
    browser = house.browser()
    found = await browser.get("/page/history", session=name)
    assert [each["id"] for each in found["runs"]] == [run.id]
    answer = await browser.client.get("/page/notebook", params={"session": name})
    assert "in it" in answer.text and ".ipynb" in answer.headers["content-disposition"]


@pytest.mark.parametrize("path", ["history", "notebook", "history?session=", "notebook?session="])
async def test_a_request_without_a_session_is_refused(house: House, path: str) -> None:
    answer = await house.browser().client.get(f"/page/{path}")
    assert answer.status_code == 400 and "names no session" in answer.json()["error"]


@pytest.mark.parametrize("query", ["at=-1", "at=x", "most=1.5", "at=²"])
async def test_a_number_that_is_none_is_refused(house: House, query: str) -> None:
    run = await house.result("1")
    answer = await house.browser().client.get(f"/page/runs/{run.id}/text?{query}")
    assert answer.status_code == 400 and answer.json()["error"].endswith(".")


async def test_output_that_is_no_longer_kept_is_said_to_be_gone(house: House) -> None:
    run = await house.result("print(1)\n2")
    run.recording.drop()
    browser = house.browser()
    assert (await browser.get(f"/page/runs/{run.id}"))["run"]["gone"] is True
    assert "no longer kept" in (await browser.get(f"/page/runs/{run.id}/text", 410))["error"]
    await browser.get(f"/page/runs/{run.id}/outputs/1", 410)


async def test_who_has_not_logged_in_reads_nothing(guarded: House) -> None:
    run = await guarded.result("print('secret')", owner="anna")
    browser = guarded.browser()
    for path in (
        "/page/state",
        "/page/events",
        f"/page/runs/{run.id}",
        f"/page/runs/{run.id}/text",
        f"/page/runs/{run.id}/outputs/1/file",
        "/page/history?session=a",
        "/page/notebook?session=a",
    ):
        assert "secret" not in json.dumps(await browser.get(path, 401))
    assert (await browser.client.get("/")).status_code == 200


async def test_what_is_anothers_is_as_if_it_were_not(guarded: House) -> None:
    run = await guarded.result("print('secret')\n2", owner="anna")
    bert = await guarded.logged_in("bert")
    state = await bert.get("/page/state")
    assert state["me"] == "bert" and state["runs"] == [] and state["sessions"] == []
    for path in (
        f"/page/runs/{run.id}",
        f"/page/runs/{run.id}/text",
        f"/page/runs/{run.id}/outputs/1",
        f"/page/runs/{run.id}/outputs/1/file",
        "/page/history?session=a",
        "/page/notebook?session=a",
    ):
        assert "secret" not in json.dumps(await bert.get(path, 404))
    anna = await guarded.logged_in("anna")
    assert [each["id"] for each in (await anna.get("/page/state"))["runs"]] == [run.id]


async def test_streams_of_an_owner_end_when_they_are_told_to(guarded: House) -> None:
    """As when a token is revoked."""
    anna = await guarded.logged_in("anna")
    async with anna.watching() as page:
        feed = guarded.feeds.of("anna")
        await until(lambda: feed.pages == 1)
        guarded.feeds.close("anna")
        with pytest.raises(AssertionError, match="ended"):
            await page.next()
    await until(lambda: feed.pages == 0)


async def test_the_programs_own_files_are_compressed_and_nothing_else_is(house: House) -> None:
    await house.result("print('x' * 5000)")
    client = house.browser().client
    for path in ("/", "/page/static/main.js", "/page/static/code.css"):
        answer = await client.get(path)
        assert answer.headers["content-encoding"] == "gzip" and answer.status_code == 200
    for path in ("/page/state", "/page/runs/1/text"):
        assert "content-encoding" not in (await client.get(path)).headers
