"""A page's stream ends when its login does, also while there are news all the time."""

from __future__ import annotations

import asyncio

import pytest

from server.page import feed, stream
from server.page.stream import Stream
from tests.conftest import until
from tests.server.page.conftest import CONTROL, House


class Client:
    """One that stays, and what it was sent."""

    def __init__(self) -> None:
        self.sent = b""
        self.ended = False

    async def receive(self) -> dict[str, object]:
        return await asyncio.get_running_loop().create_future()

    async def send(self, message: dict[str, object]) -> None:
        if message["type"] == "http.response.body":
            body = message["body"]
            assert isinstance(body, bytes)
            self.sent += body
            self.ended = not message["more_body"]


async def test_who_is_not_welcome_any_more_is_told_nothing_after_some_seconds(
    house: House,
) -> None:
    """It is asked now and then, not for every event; what it would be sent then is not."""
    source, client = house.feeds.of(""), Client()
    now, welcome, asked = 0.0, True, 0

    def is_welcome() -> bool:
        nonlocal asked
        asked += 1
        return welcome

    news = Stream(source, source.mark, is_welcome, lambda: now)
    async with asyncio.timeout(30):
        task = asyncio.create_task(news({"type": "http"}, client.receive, client.send))
        await house.result("print('first')")
        await until(lambda: b"first\\n" in client.sent)
        assert asked == 0
        now = stream._ASKING
        await house.result("print('second')")
        await until(lambda: b"second\\n" in client.sent)
        assert asked == 1
        welcome = False
        await house.result("print('third')")
        await until(lambda: b"third\\n" in client.sent)
        assert asked == 1
        now += stream._ASKING
        await house.result("print('fourth')")
        await task
    assert client.ended and asked == 2 and b"fourth\\n" not in client.sent
    assert source.pages == 0


async def test_who_logs_out_is_told_nothing_more(
    guarded: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """News of a program that goes on printing do not keep the stream, also where there is never a
    moment without any."""
    monkeypatch.setattr(stream, "_ASKING", 0.0)
    monkeypatch.setattr(feed, "_BEAT", 3600.0)
    anna = await guarded.logged_in("anna")
    code = "import time\nwhile True:\n    print('x', flush=True)\n    time.sleep(0.02)"
    async with anna.watching() as page:
        run = guarded.submit(code, owner="anna")
        await page.until(lambda: page.texts.get(run.id, "").count("x") > 3)
        answer = await anna.client.post("/page/logout", json={}, headers=CONTROL)
        assert answer.status_code == 204
        with pytest.raises(AssertionError, match="ended"):
            await page.until(lambda: False)
    await until(lambda: guarded.feeds.of("anna").pages == 0)
    run.stop()
    await run.result()
