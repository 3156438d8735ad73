"""What a program shows is data: nothing of it runs in the page, reaches the controls, the cookie or
another host, or moves the page elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from fastmcp import Client

from tests.e2e.http_process import HttpProcess
from tests.page import gallery
from tests.page.canary import Canary
from tests.page.conftest import TOKENS, Watch, begin, look, run, watching

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

FRAMES = "figure.frame > iframe"
#: When everything that was to load has, and scripts have had their turn.
TURNS = """() => new Promise(async (yes) => {
  await Promise.all([...document.images].map((one) => one.decode().catch(() => {})));
  for (let turn = 0; turn < 5; turn++) await new Promise(requestAnimationFrame);
  yes();
})"""


@pytest_asyncio.fixture(loop_scope="session")
async def safe(page: Page, watch: Watch, canary: Canary) -> AsyncIterator[Page]:
    """A page that is where it was at the end, and in which nothing fired."""
    yield page
    await page.evaluate(TURNS)
    assert await page.evaluate("[globalThis.fired ?? null, ({}).fired ?? null]") == [None, None]
    assert page.url.partition("#")[0] == f"{watch.home}/"
    assert await page.locator("#session-list").count() == 1
    assert watch.windows == [page]
    assert canary.heard == []
    assert [each for each in watch.asked if each.startswith(f"POST {watch.home}")] == []
    state = await (await watch.context.request.get(f"{watch.home}/page/state")).json()
    assert "forged" not in [session["name"] for session in state["sessions"]]


def display(mime: str, data: object, metadata: object = None) -> str:
    """Code that shows this."""
    return (
        "from IPython.display import display as show\n"
        f"show({{{mime!r}: {data!r}, 'text/plain': 'plain'}}, raw=True, metadata={metadata!r})"
    )


async def test_the_canary_and_the_watch_are_awake(
    browser: Browser, server: HttpProcess, canary: Canary
) -> None:
    """What the other tests rely on: they notice what fires where nothing forbids it."""
    async with watching(browser, server.url) as watch:
        page = await watch.open()
        other = await watch.context.new_page()
        await other.goto(f"{canary.url}/x")
        fire = gallery.filled("FIRE", canary.url, server.url)
        await other.set_content(f'<img src=x onerror="{fire}">')
        await other.wait_for_function("globalThis.fired")
        await page.evaluate("1")
        assert watch.dialogs == ["fired"]
        assert f"{canary.url}/x" in watch.elsewhere
        assert any(b"GET /x" in each for each in canary.heard)
        with pytest.raises(AssertionError):
            watch.quiet()


async def test_a_frame_that_tries_everything(
    safe: Page, client: Client[Any], watch: Watch, canary: Canary
) -> None:
    """It runs, in an origin of its own, and gets nothing."""
    html = gallery.filled(gallery.FRAME, canary.url, watch.home)
    await run(client, display("text/html", html), "frame")
    downloads: list[Any] = []
    safe.on("download", lambda each: downloads.append(each))
    card = await look(safe, "frame")
    height = "() => document.querySelector('figure.frame > iframe').offsetHeight"
    frame = card.frame_locator(FRAMES)
    await frame.locator("body[data-done]").wait_for(state="attached")
    assert await frame.locator("#got").inner_text() == ""
    assert await safe.evaluate(height) <= 1000
    assert downloads == []
    assert safe.url.endswith("#session-frame")
    box = await safe.locator(FRAMES).evaluate("(one) => [one.sandbox.value, one.src, one.srcdoc]")
    assert box[0] == "allow-scripts" and box[1].startswith(watch.home) and box[2] == ""


async def test_frames_that_leave(
    safe: Page, client: Client[Any], watch: Watch, canary: Canary
) -> None:
    """They may be gone then, but are nowhere else."""
    for name, leaving in gallery.LEAVING.items():
        html = f"<html><body><p>leaving {name}</p>" + gallery.filled(
            leaving, canary.url, watch.home
        )
        await run(client, display("text/html", html), f"leaving {name.replace(chr(39), '')}")
    # What was forbidden was asked for, as the browser tells it, and went nowhere.
    for name in gallery.LEAVING:
        session = f"leaving {name.replace(chr(39), '')}"
        async with safe.expect_request(lambda request: request.url.endswith("/frame")):
            await safe.goto(f"{watch.home}/#session-{quote(session)}")
        await safe.wait_for_load_state("load")
        await safe.evaluate(TURNS)
        for frame in safe.frames[1:]:
            assert not frame.url or frame.url.startswith((watch.home, "about:", "chrome-error:")), (
                frame.url
            )
        assert canary.heard == [], name


@pytest.mark.parametrize("mime", ["image/svg+xml", "text/markdown", "text/latex", "text/plain"])
async def test_markup(
    safe: Page, client: Client[Any], watch: Watch, canary: Canary, mime: str
) -> None:
    """It is rendered without what is not markup; SVG is an image."""
    sources = {
        "image/svg+xml": [gallery.SVG],
        "text/markdown": [gallery.MARKDOWN],
        "text/latex": [f"${each}$" for each in gallery.LATEX] + gallery.LATEX,
        "text/plain": [gallery.TEXT],
    }
    session = mime.replace("+", " ")
    shows = [
        display(mime, gallery.filled(each, canary.url, watch.home)).replace("'plain'", "'p'")
        if mime != "text/plain"
        else f"class A:\n def __repr__(self): return {gallery.filled(each, canary.url, '')!r}\nA()"
        for each in sources[mime]
    ]
    await run(client, "\n".join(shows), session)
    card = await look(safe, session)
    for figure in await card.locator("figure").all():
        await figure.scroll_into_view_if_needed()
        await figure.locator("figcaption").wait_for()
    await no_active_content(safe)
    if mime == "image/svg+xml":
        picture = card.locator("figure img")
        size = await picture.evaluate("(one) => one.decode().then(() => one.naturalWidth)")
        assert size == 80
    if mime == "text/markdown":
        await card.locator("figure").get_by_text("markdown-end").wait_for()
        link = card.locator("a[href='http://plain.example/x']")
        assert {"noopener", "noreferrer"} <= set(str(await link.get_attribute("rel")).split())


async def no_active_content(page: Page) -> None:
    """Nothing in the page's document that could act, whatever kept it from acting now."""
    found = await page.evaluate(
        """() => [...document.body.querySelectorAll("*")].flatMap((one) => {
          const bad = [];
          if (/^(script|object|embed|base|meta|link|style|portal|frame|use|animate|set)$/i
              .test(one.localName)) bad.push(one.localName);
          if (one.localName === "iframe" && !one.matches("figure.frame > iframe"))
            bad.push("iframe");
          for (const { name, value } of one.attributes) {
            if (/^on/i.test(name) || name === "srcdoc" || name === "formaction") bad.push(name);
            if (/^(href|src|action|xlink:href)$/i.test(name)
                && !/^(https?:|mailto:|#|[/]page[/]|data:image[/](png|jpeg|gif|webp))/i.test(value))
              bad.push(`${name}=${value}`);
            if (one.localName === "img" && name === "src" && /^https?:/i.test(value))
              bad.push(value);
          }
          return bad;
        })"""
    )
    assert found == []


async def test_text_errors_and_titles(
    safe: Page, client: Client[Any], watch: Watch, canary: Canary
) -> None:
    """Output, ANSI, code, names and values of errors, tracebacks, names of files."""
    names = [gallery.filled(each, canary.url, watch.home) for each in gallery.NAMES]
    text = gallery.filled(gallery.TEXT, canary.url, watch.home)
    for number, name in enumerate(names):
        code = (
            f"# {name}\nimport sys\nprint({text!r})\nprint({name!r}, file=sys.stderr)\n"
            f"exec(compile('raise type({name!r}, (Exception,), dict())({name!r})', "
            f"{name!r}, 'exec'))"
        )
        await run(client, code, f"text {number}")
        card = await look(safe, f"text {number}")
        await card.locator("p.error").wait_for()
        await no_active_content(safe)
    # Names of sessions that are none are refused, and are not shown.
    for name in names[:3]:
        assert "session" in await run(client, "1", name)
    await no_active_content(safe)


async def test_names_of_files(
    safe: Page, server: HttpProcess, client: Client[Any], canary: Canary
) -> None:
    """Of scripts and notebooks, as titles and in tracebacks."""
    name = "<img src=x onerror=alert(1)>'\"&.py"
    (server.projects / name).write_text("1/0", encoding="utf-8")
    answer = await client.call_tool_mcp("run_python", {"file_name": name, "session": "files"})
    shown = await look(safe, "files")
    await shown.get_by_text("ZeroDivisionError").first.wait_for()
    assert await safe.get_by_text("onerror=alert(1)").count() > 0, answer
    await no_active_content(safe)


@pytest.mark.parametrize(
    "name", ["__proto__", "constructor", "hasOwnProperty", "..", ".", "a/../b", "/", "a/notebook"]
)
async def test_names_of_sessions(safe: Page, client: Client[Any], name: str) -> None:
    """All that may be one: shown, chosen, and linked to."""
    await run(client, "print('it is here')", name)
    card = await look(safe, name)
    await card.get_by_text("it is here", exact=True).first.wait_for()
    await safe.get_by_role("heading", name=name, exact=True, level=1).wait_for()
    await safe.reload()
    await safe.get_by_role("heading", name=name, exact=True, level=1).wait_for()


async def test_types_and_metadata(
    safe: Page, client: Client[Any], watch: Watch, canary: Canary
) -> None:
    """Of displays: programs choose them, too."""
    image = gallery.filled(gallery.IMAGE, canary.url, watch.home)
    shows = [
        display(image, image),
        display("application/javascript", gallery.filled("FIRE", canary.url, watch.home)),
        display("text/css", f"@import url({canary.url}/css)"),
        display("image/png", image),
        display("image/png", f"{canary.url}/png"),
        display("image/svg+xml", f"{canary.url}/svg"),
        display("application/pdf", "JVBERi0="),
        display("text/x-" + image, "x"),
        display("application/vnd.jupyter.widget-view+json", {"model_id": image}),
        display("application/json", {image: image}),
        display(
            "image/png",
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5"
            "ErkJggg==",
            {"image/png": {"width": f'1" {image}', "height": "1;x:url(CANARY)", "alt": image}},
        ),
        f"from IPython.display import display as show\nshow({{}}, raw=True, "
        f"display_id={image!r}, metadata={{{image!r}: 1}})",
    ]
    await run(client, "\n".join(shows), "types")
    card = await look(safe, "types")
    for figure in await card.locator("figure").all():
        await figure.scroll_into_view_if_needed()
        await figure.locator("figcaption, .trouble").first.wait_for()
    await no_active_content(safe)


async def test_questions_and_progress(
    safe: Page, server: HttpProcess, watch: Watch, canary: Canary
) -> None:
    """What a program asks, and how far it says it is."""
    image = gallery.filled(gallery.IMAGE, canary.url, watch.home)
    code = f"print('\\r' + {image!r} + ' 50%|####| 1/2', end='')\ninput({image!r})"
    seen = asyncio.Event()

    async def answer(*_: Any) -> dict[str, str]:
        await seen.wait()
        return {"value": "an answer"}

    async with server.client("newer", elicitation_handler=answer) as client:
        call = begin(client, code, "asks")
        card = await look(safe, "asks")
        await card.get_by_role("button", name="Refuse").wait_for()
        assert image in await card.locator(".question").inner_text()
        await no_active_content(safe)
        seen.set()
        await call


async def test_outputs_by_their_addresses(
    safe: Page, client: Client[Any], watch: Watch, canary: Canary
) -> None:
    """In a window of its own a frame is refused, and a file is saved, not shown."""
    html = gallery.filled("<title>opened</title><script>FIRE</script>", canary.url, watch.home)
    await run(client, display("text/html", html), "addresses")
    await run(client, display("image/svg+xml", gallery.filled(gallery.SVG, canary.url, "")), "svg")
    card = await look(safe, "addresses")
    frame = str(await card.locator(FRAMES).get_attribute("src"))
    other = await watch.context.new_page()
    answer = await other.goto(watch.home + frame)
    assert answer is not None and answer.status == 403
    assert await other.title() != "opened"
    link = card.get_by_role("link", name="Download")
    async with safe.expect_download() as saved:
        await link.click()
    content = await asyncio.to_thread(Path(await (await saved.value).path()).read_text)
    assert "<title>opened</title>" in content
    async with other.expect_download() as typed:
        with pytest.raises(Exception, match="Download is starting"):
            await other.goto(watch.home + str(await link.get_attribute("href")))
    await typed.value
    card = await look(safe, "svg")
    await card.locator("figure img").wait_for()
    await other.goto(watch.home + str(await card.locator("figure img").get_attribute("src")))
    await other.screenshot()
    assert await other.evaluate("globalThis.fired ?? null") is None
    assert await other.evaluate("self.origin") == "null"
    await other.close()
    watch.windows.remove(other)


async def test_the_page_itself_obeys_its_policy(safe: Page, watch: Watch, canary: Canary) -> None:
    """Had markup got into it all the same, it would do nothing."""
    html = json.dumps(
        gallery.filled(
            "IMAGE<iframe src='CANARY/i'></iframe><iframe srcdoc='<script>FIRE</script>'></iframe>"
            "<img src='CANARY/leak'><link rel=stylesheet href='CANARY/l'><style>@import"
            " 'CANARY/s';p{color:red}</style><p id=styled style='color:red'>x</p><object"
            " data='CANARY/o'></object><form id=f action='CANARY/f'></form><a id=l"
            " href='javascript:FIRE'>x</a><meta http-equiv=refresh content='0;url=CANARY/m'>",
            canary.url,
            watch.home,
        )
    )
    await safe.evaluate(
        f"""() => {{
          document.body.append(document.createElement("div"));
          const holder = document.body.lastChild;
          let plain = "let in";
          try {{ holder.innerHTML = {html}; }} catch (error) {{ plain = error.name; }}
          globalThis.plain = plain;
          try {{
            trustedTypes.createPolicy("other", {{createHTML: (x) => x}});
            globalThis.plain = "made";
          }} catch {{}}
        }}"""
    )
    assert await safe.evaluate("globalThis.plain") == "TypeError"
    parsed = f"""async () => {{
      const {{ trusted }} = await import("/page/static/dom.js");
      const holder = document.body.lastChild;
      holder.append(trusted({html}));
      try {{ holder.querySelector("#f").submit(); }} catch {{}}
      try {{ holder.querySelector("#l").click(); }} catch {{}}
      const color = getComputedStyle(holder.querySelector("#styled")).color;
      holder.querySelectorAll("meta, iframe").forEach((one) => one.remove());
      return color;
    }}"""
    assert await safe.evaluate(parsed) != "rgb(255, 0, 0)"
    tried = """async (to) => {
      const got = [];
      try { await fetch(to); got.push("fetch"); } catch {}
      try { new Function("1"); got.push("function"); } catch {}
      try { await import(to + "/m.js"); got.push("import"); } catch {}
      return got;
    }"""
    # Playwright's own evaluation may do what the page's scripts may not, but not fetch.
    assert "fetch" not in await safe.evaluate(tried, canary.url)
    watch.troubles.clear()


async def test_a_page_of_another_port(
    browser: Browser, guarded: HttpProcess, canary: Canary
) -> None:
    """It is same-site, so the cookie goes with what it sends; it gets and does nothing all the
    same."""
    async with watching(browser, guarded.url) as watch:
        login = await watch.context.request.post(
            f"{guarded.url}/page/login",
            headers={"x-rmi-page": "1"},
            data={"token": TOKENS["alice"]},
        )
        assert login.status == 204
        canary.page = gallery.filled(gallery.OTHER, canary.url, guarded.url).encode()
        page = await watch.context.new_page()
        await page.goto(f"{canary.url}/")
        await page.locator("body[data-done]").wait_for(state="attached")
        assert await page.locator("#got").inner_text() == ""
        state = await watch.context.request.get(f"{guarded.url}/page/state")
        assert state.status == 200, "it is still logged in"
        assert (await state.json())["sessions"] == []
        assert watch.dialogs == []
