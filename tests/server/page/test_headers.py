"""What the page demands of requests, and forbids browsers to do with its answers."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from server.page.headers import DATA_POLICY, FRAME_POLICY, PAGE_POLICY, Headers

JSON = {"content-type": "application/json", "x-rmi-page": "1"}
OUTPUT = "/page/runs/r1/outputs/0"


async def anything(request: Request) -> Response:
    """Answers with the type that the query names."""
    return Response(b"x", media_type=request.query_params.get("type", "text/plain"))


@pytest.fixture
def client() -> TestClient:
    app = Starlette(routes=[Route("/{path:path}", anything, methods=["GET", "POST", "DELETE"])])
    return TestClient(Headers(app), base_url="http://127.0.0.1:8000")


def policy(answer: Any) -> dict[str, set[str]]:
    parts = answer.headers["content-security-policy"].split(";")
    return {name: set(values) for name, *values in (part.split() for part in parts)}


class TestAnswers:
    def test_the_page_runs_its_own_files_alone(self, client: TestClient) -> None:
        found = policy(client.get("/"))
        assert found.pop("frame-ancestors") == {"'none'"}
        assert found["default-src"] == found["base-uri"] == found["form-action"] == {"'none'"}
        assert found["script-src"] == found["style-src"] == found["frame-src"] == {"'self'"}
        assert found.pop("require-trusted-types-for") == {"'script'"}
        assert found.pop("trusted-types") == {"page"}
        everything = set().union(*found.values())
        assert everything == {"'none'", "'self'", "data:"}
        assert client.get("/page/static/a.js").headers["content-security-policy"] == PAGE_POLICY

    def test_a_frame_is_of_no_origin_and_reaches_nothing(self, client: TestClient) -> None:
        answer = client.get(f"{OUTPUT}/frame?type=text/html")
        assert answer.headers["content-security-policy"] == FRAME_POLICY
        found = policy(answer)
        assert found["sandbox"] == {"allow-scripts"}
        assert found["default-src"] == found["connect-src"] == found["form-action"] == {"'none'"}
        assert found["frame-ancestors"] == {"'self'"}
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"

    @pytest.mark.parametrize(
        "path",
        [
            "/page/state",
            f"{OUTPUT}/image",
            f"{OUTPUT}/file",
            "/page/sessions/frame",
            "/page/sessions/x/frame",
            "/page/nothing",
            "/page/static",
            "/page/",
        ],
    )
    def test_everything_else_is_data(self, client: TestClient, path: str) -> None:
        answer = client.get(path, params={"type": "image/svg+xml"})
        assert answer.headers["content-security-policy"] == DATA_POLICY
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"

    @pytest.mark.parametrize("kind", ["text/javascript", "application/JavaScript", "text/css"])
    def test_data_are_never_code(self, client: TestClient, kind: str) -> None:
        """The page may load scripts from this origin, but no output as a script."""
        answer = client.get(f"{OUTPUT}/file", params={"type": kind})
        assert answer.headers["content-type"] == "application/octet-stream"
        own = client.get("/page/static/a", params={"type": kind})
        assert own.headers["content-type"].startswith(kind)

    @pytest.mark.parametrize("path", ["/", "/page/static/a.js", "/page/state", f"{OUTPUT}/frame"])
    def test_on_every_answer(self, client: TestClient, path: str) -> None:
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["connection-allowlist"] == "(response-origin)"
        assert "camera=()" in headers["permissions-policy"]

    def test_the_refusals_have_them_too(self, client: TestClient) -> None:
        answer = client.get("/page/state", headers={"sec-fetch-site": "cross-site"})
        assert answer.status_code == 403
        assert answer.headers["content-security-policy"] == DATA_POLICY

    def test_the_page_s_own_files_are_asked_for_again(self, client: TestClient) -> None:
        assert client.get("/page/static/a.js").headers["cache-control"] == "no-cache"


class TestControls:
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"origin": "http://127.0.0.1:8000"},
            {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"},
            {"origin": "https://public.example", "host": "public.example"},
            {"origin": "https://public.example:443", "host": "public.example"},
            {"content-type": "application/json; charset=utf-8"},
            # A proxy that has another name for the server; the browser knows better.
            {"origin": "https://public.example", "sec-fetch-site": "same-origin"},
        ],
    )
    def test_from_the_page(self, client: TestClient, headers: dict[str, str]) -> None:
        assert client.post("/page/do", content=b"{}", headers=JSON | headers).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "http://127.0.0.1:8001"},
            {"origin": "http://127.0.0.1"},
            {"origin": "http://localhost:8000"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": ""},
            {"origin": "file://"},
            {"origin": "http://[::1"},
            {"origin": "http://127.0.0.1:99999"},
            {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "none"},
            {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-site"},
        ],
    )
    def test_from_elsewhere(self, client: TestClient, headers: dict[str, str]) -> None:
        """Pages of other ports of this machine are elsewhere."""
        answer = client.post("/page/do", content=b"{}", headers=JSON | headers)
        assert answer.status_code == 403 and "page of this server" in answer.json()["error"]

    @pytest.mark.parametrize(
        "headers",
        [
            {"content-type": "application/json"},
            {"content-type": "application/json", "x-rmi-page": "0"},
            {"x-rmi-page": "1"},
            {"content-type": "text/plain", "x-rmi-page": "1"},
            {"content-type": "application/x-www-form-urlencoded", "x-rmi-page": "1"},
            {"content-type": "multipart/form-data; boundary=x", "x-rmi-page": "1"},
        ],
    )
    def test_as_a_form_sends_them(self, client: TestClient, headers: dict[str, str]) -> None:
        """What a page may send elsewhere without being allowed to is not taken."""
        answer = client.post("/page/login", content=b"{}", headers=headers)
        assert answer.status_code == 403 and "X-Rmi-Page" in answer.json()["error"]

    def test_other_methods_are_controls_too(self, client: TestClient) -> None:
        assert client.delete("/page/do").status_code == 403


class TestData:
    @pytest.mark.parametrize("site", ["same-origin", "none", None])
    def test_to_the_page_and_who_types_the_address(
        self, client: TestClient, site: str | None
    ) -> None:
        headers = {"sec-fetch-site": site} if site else {}
        assert client.get("/page/state", headers=headers).status_code == 200

    @pytest.mark.parametrize("site", ["same-site", "cross-site", ""])
    def test_not_to_other_pages(self, client: TestClient, site: str) -> None:
        for path in ("/page/state", f"{OUTPUT}/image", f"{OUTPUT}/frame", "/page/events"):
            assert client.get(path, headers={"sec-fetch-site": site}).status_code == 403

    def test_links_to_the_page_work_everywhere(self, client: TestClient) -> None:
        headers = {"sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}
        assert client.get("/", headers=headers).status_code == 200

    @pytest.mark.parametrize(
        "use", ["script", "style", "worker", "serviceworker", "iframe", "object", "embed", "font"]
    )
    def test_data_are_no_part_of_a_page(self, client: TestClient, use: str) -> None:
        headers = {"sec-fetch-site": "same-origin", "sec-fetch-dest": use}
        assert client.get(f"{OUTPUT}/file", headers=headers).status_code == 403
        assert client.get("/page/static/a.js", headers=headers).status_code == 200

    def test_frames_are_in_frames_alone(self, client: TestClient) -> None:
        """In a window of its own no page would forbid it to go elsewhere."""
        site = {"sec-fetch-site": "same-origin"}
        for use, status in (("iframe", 200), ("document", 403), ("empty", 403), ("object", 403)):
            answer = client.get(f"{OUTPUT}/frame", headers=site | {"sec-fetch-dest": use})
            assert answer.status_code == status
