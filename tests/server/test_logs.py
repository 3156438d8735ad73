"""Logs on standard error: one line for each record, whatever it holds, and no credentials."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.logs import Logfmt, blotted, set_up
from tests.conftest import ROOT

_NAMES = (
    "", "rmi", "server", "kernels", "notebooks", "fastmcp", "mcp", "uvicorn", "uvicorn.error",
    "uvicorn.access", "rmi.test",
)  # fmt: skip
FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^\s"]+)(?: |$)')


@pytest.fixture
def undone() -> Iterator[None]:
    """All loggers as they were, afterwards."""
    loggers = [logging.getLogger(name) for name in _NAMES]
    before = [(each.handlers[:], each.level, each.propagate, each.disabled) for each in loggers]
    try:
        yield
    finally:
        for logger, (handlers, level, propagate, disabled) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate, logger.disabled = handlers, propagate, disabled
            logger.setLevel(level)


@pytest.fixture
def lines(undone: None) -> io.StringIO:
    """What is logged from `debug` on."""
    stream = io.StringIO()
    set_up("debug", stream)
    return stream


def fields(line: str) -> dict[str, str]:
    """The fields of a line, which is nothing but fields."""
    found: dict[str, str] = {}
    end = 0
    for match in FIELD.finditer(line):
        assert match.start() == end, line
        assert match[1] not in found, line
        end, found[match[1]] = match.end(), match[2]
    assert end == len(line), line
    return found


def record(message: str, *args: object, name: str = "rmi.test", **more: object) -> str:
    made = logging.getLogger(name).makeRecord(
        name, logging.INFO, "file", 1, message, args, None, extra=more
    )
    return Logfmt().format(made)


class TestALine:
    def test_it_has_time_level_logger_message_and_facts(self, lines: io.StringIO) -> None:
        log = logging.getLogger("rmi.test")
        log.warning("The %s is up", "server", extra={"facts": {"port": 8000, "why": "no reason"}})
        (line,) = lines.getvalue().splitlines()
        found = fields(line)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
        assert found == {
            "level": "warning",
            "logger": "rmi.test",
            "msg": '"The server is up"',
            "port": "8000",
            "why": '"no reason"',
        }

    @given(st.text(), st.text(), st.dictionaries(st.text(max_size=60), st.text()))
    def test_no_text_makes_a_second_line_or_field(
        self, message: str, name: str, facts: dict[str, str]
    ) -> None:
        line = record(message.replace("%", "%%"), name=name or "x", facts=facts)
        assert line.isprintable()
        for match in FIELD.finditer(line):
            assert match[1] in ("time", "level", "logger", "msg") or match[1] in {
                re.sub(r"\W+", "_", key, flags=re.ASCII)[:40] + end
                for key in facts
                for end in ("", "_")
            } | {"_"}
        assert sum(len(match[0]) for match in FIELD.finditer(line)) == len(line)

    def test_a_forged_line_stays_in_its_value(self) -> None:
        forged = 'x" level=error msg="fired\r\ntime=2020 level=error\x1b[2J\u2028\x85\u202e'
        line = record("said %s", forged, facts={"header": forged})
        found = fields(line)
        assert found["level"] == "info"
        assert line.isprintable()
        assert r"\nlevel" not in found["header"]
        assert r"\r\ntime=2020" in found["header"]

    def test_facts_cannot_take_the_places_of_others(self) -> None:
        found = fields(record("m", facts={"level": "error", "msg": "other", "a b\n": 1}))
        assert (found["level"], found["msg"]) == ("info", "m")
        assert (found["level_"], found["msg_"], found["a_b_"]) == ("error", "other", "1")

    def test_a_long_value_is_cut(self) -> None:
        assert len(record("x" * 1_000_000)) < 3000
        assert len(record("m", facts={"a": "é" * 1_000_000})) < 3000

    def test_words_of_any_language_are_readable(self) -> None:
        assert 'msg="Zürich – 東京"' in record("Zürich – 東京")

    def test_arguments_that_do_not_fit(self) -> None:
        assert "%d of" in fields(record("%d of %d", "a"))["msg"]

    def test_a_traceback_is_one_field(self, lines: io.StringIO) -> None:
        try:
            raise ValueError("first\nsecond level=error")
        except ValueError:
            logging.getLogger("rmi.test").exception("It failed")
        (line,) = lines.getvalue().splitlines()
        found = fields(line)
        assert found["level"] == "error"
        assert "Traceback" in found["error"]
        assert r"first\nsecond level=error" in found["error"]

    def test_of_a_long_traceback_the_end_is_kept(self, lines: io.StringIO) -> None:
        def deep(left: int) -> None:
            if not left:
                raise ValueError("x" * 20_000 + "the end")
            deep(left - 1)

        try:
            deep(50)
        except ValueError:
            logging.getLogger("rmi.test").exception("It failed")
        (line,) = lines.getvalue().splitlines()
        assert "the end" in line
        assert len(line) < 9000


class TestCredentials:
    @pytest.mark.parametrize(
        "text",
        [
            "Authorization: Bearer S3cret-t0ken",
            "authorization: bearer S3cret-t0ken",
            "Authorization:S3cret-t0ken",
            "Authorization: Basic S3cret-t0ken==",
            "Proxy-Authorization: Digest S3cret-t0ken",
            "{'authorization': 'Bearer S3cret-t0ken'}",
            "[(b'host', b'x'), (b'authorization', b'Bearer S3cret-t0ken')]",
            '{"Authorization": "Token S3cret-t0ken"}',
            "GET /mcp?token=S3cret-t0ken HTTP/1.1",
            "GET /mcp?a=1&access_token=S3cret-t0ken&b=2",
            "POST /cb?code=S3cret-t0ken&state=S3cret-t0ken",
            "client_secret=S3cret-t0ken",
            "api_key=S3cret-t0ken apikey=S3cret-t0ken",
            '{"access_token": "S3cret-t0ken", "refresh_token": "S3cret-t0ken"}',
            "ngrok config authtoken=S3cret-t0ken",
            "it says Bearer   S3cret-t0ken and more",
        ],
    )
    def test_they_are_blotted_out(self, text: str) -> None:
        assert "S3cret-t0ken" in text
        assert "S3cret" not in blotted(text)
        assert "S3cret" not in record(text)
        assert "S3cret" not in record("%s", text)
        assert "S3cret" not in record("m", facts={"a": text})

    def test_in_a_traceback_too(self, lines: io.StringIO) -> None:
        try:
            raise ValueError("Authorization: Bearer S3cret-t0ken")
        except ValueError:
            logging.getLogger("mcp.server").exception("It failed")
        assert "ValueError" in lines.getvalue()
        assert "S3cret" not in lines.getvalue()

    @pytest.mark.parametrize("length", [1980, 1990, 1999, 2000, 3970, 3990, 3999, 4000])
    def test_where_a_text_is_cut_too(self, length: int) -> None:
        text = "x" * (length - 8) + " Bearer " + "S3cret" * 500
        assert "S3cret" not in record(text)

    @pytest.mark.parametrize("over", [15_900, 15_990, 15_999, 16_000, 16_010])
    def test_where_a_traceback_is_cut_too(self, over: int, lines: io.StringIO) -> None:
        try:
            raise ValueError("Bearer " + "S3cret" * 20 + " " + "x" * over)
        except ValueError:
            logging.getLogger("rmi.test").exception("It failed")
        assert "S3cret" not in lines.getvalue()

    def test_other_words_stay(self) -> None:
        words = "The authorization of the client failed; its token has expired. code=3 exit"
        assert blotted(words) == words

    def test_a_long_word_takes_no_time(self) -> None:
        text = "token" * 200_000 + "_" * 200_000
        assert len(record(text)) < 3000


class TestLoggers:
    def test_those_of_others_write_the_same_lines(self, undone: None) -> None:
        import fastmcp.utilities.logging

        fastmcp.utilities.logging.configure_logging("INFO")
        stream = io.StringIO()
        set_up("info", stream)
        for name in ("rmi.x", "server.task", "fastmcp.server", "mcp.server", "uvicorn.error"):
            logging.getLogger(name).info("hello")
        found = [fields(line)["logger"] for line in stream.getvalue().splitlines()]
        assert found == ["rmi.x", "server.task", "fastmcp.server", "mcp.server", "uvicorn.error"]

    def test_libraries_are_heard_from_warnings_on(self, lines: io.StringIO) -> None:
        logging.getLogger("some.library").info("hello")
        logging.getLogger("some.library").warning("careful")
        assert [fields(line)["msg"] for line in lines.getvalue().splitlines()] == ["careful"]

    def test_the_access_log_is_silent(self, lines: io.StringIO) -> None:
        logging.getLogger("uvicorn.access").error("GET /mcp?x")
        assert lines.getvalue() == ""

    def test_what_programs_are_given_is_not_shown_by_debug(self, lines: io.StringIO) -> None:
        logging.getLogger("mcp.server.lowlevel").debug("print('secret')")
        logging.getLogger("rmi.x").debug("mine")
        assert [fields(line)["msg"] for line in lines.getvalue().splitlines()] == ["mine"]

    @pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
    def test_the_level_is_kept(self, level: str, undone: None) -> None:
        stream = io.StringIO()
        set_up(level, stream)
        for each in ("debug", "info", "warning", "error"):
            getattr(logging.getLogger("rmi.x"), each)(each)
        levels = ["debug", "info", "warning", "error"]
        found = [fields(line)["level"] for line in stream.getvalue().splitlines()]
        assert found == levels[levels.index(level) :]

    def test_set_up_twice_each_record_is_one_line(self, undone: None) -> None:
        stream = io.StringIO()
        set_up("info", stream)
        set_up("info", stream)
        logging.getLogger("rmi.x").info("hello")
        assert len(stream.getvalue().splitlines()) == 1

    def test_a_stream_that_is_closed_fails_nobody(self, undone: None) -> None:
        stream = io.StringIO()
        set_up("info", stream)
        stream.close()
        logging.getLogger("rmi.x").info("hello")

    def test_by_default_it_is_standard_error_in_any_locale(self) -> None:
        code = (
            "import logging, server.logs; server.logs.set_up('info'); "
            "logging.getLogger('rmi').info('caf\\u00e9 \\ud800 ' + '\\u6771')"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            capture_output=True,
            timeout=60,
        )
        assert done.stdout == b""
        (line,) = done.stderr.decode("ascii").splitlines()
        assert "level=info" in line
        assert json.dumps("\ud800")[1:-1] in line
