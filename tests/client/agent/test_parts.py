"""The parts that need no server: the choice of a model, saved conversations, limits, diffs, and
what a terminal is shown."""

from __future__ import annotations

import asyncio
import base64
import logging
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_ai.messages import ModelRequest, UserPromptPart
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.usage import RunUsage

from client.agent import command, values
from client.agent.diffs import diff, whole
from client.agent.display import shortened, title, visible
from client.agent.errors import AgentError
from client.agent.history import History
from client.agent.limits import Clock, Limits, used
from client.agent.models import build, choose
from client.agent.pictures import inline
from client.agent.values import read, state_folder
from client.cli import main
from tests.conftest import ROOT

KEYS = {"OPENAI_API_KEY": "o", "ANTHROPIC_API_KEY": "a", "GEMINI_API_KEY": "g"}


@pytest.fixture(autouse=True)
def logging_on() -> Iterator[None]:
    """The command turns logging off, for its own process."""
    yield
    logging.disable(logging.NOTSET)


class TestStart:
    def test_other_commands_load_nothing_of_it(self) -> None:
        """So they start as fast as without it."""
        code = "import sys, client.cli; print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        tops = {name.partition(".")[0] for name in done.stdout.split()}
        assert "client" in tops
        assert not tops & {"pydantic_ai", "pydantic", "openai", "anthropic", "google", "fastmcp"}

    def test_without_the_extra_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(command, "find_spec", lambda name: None)
        assert main(["ask", "hello"]) == 2
        assert capsys.readouterr().err == (
            "rmi-agent: The agent needs packages that are not installed; `./setup.sh --llm` "
            "installs them, or `pip install -e '.[llm]'` in the checkout.\n"
        )

    @pytest.mark.parametrize("wrong", ["0", "-1", "x", "nan"])
    def test_a_limit_is_a_number_above_0(self, wrong: str) -> None:
        for name in ("turns", "runs", "tokens", "seconds", "cost"):
            with pytest.raises(SystemExit) as error:
                main(["ask", f"--max-{name}={wrong}", "hello"])
            assert error.value.code == 2


class TestChoice:
    def test_by_name_with_the_providers_own_key(self) -> None:
        for name, key in (("openai:m", "o"), ("anthropic:m", "a"), ("google:m", "g")):
            choice = choose(KEYS, name)
            assert (choice.name, choice.key) == (name, key)
        assert choose({"GOOGLE_API_KEY": "x"}, "gemini:m").name == "google:m"

    def test_else_by_the_setting_else_by_the_key_that_is_there(self) -> None:
        assert choose({**KEYS, "RMI_MODEL": "openai:m"}, None).name == "openai:m"
        for variable, provider in zip(KEYS, ("openai", "anthropic", "google"), strict=True):
            assert choose({variable: "x"}, None).provider == provider

    def test_openai_answers_over_responses_and_others_over_chat_completions(self) -> None:
        """A name says which, so that a conversation is gone on with as it was."""
        assert isinstance(build(choose(KEYS, "openai:m")), OpenAIResponsesModel)
        for url in (None, "http://127.0.0.1:11434/v1"):
            for name in ("openai:m", "openai-chat:m", "openai-responses:m"):
                choice = choose(KEYS, name, url)
                assert choose(KEYS, choice.name, url) == choice
        local = choose({}, "openai:llama", "http://127.0.0.1:11434/v1")
        assert isinstance(build(local), OpenAIChatModel)

    @pytest.mark.parametrize(
        ("name", "url", "sentence"),
        [
            ("gpt", None, "'gpt' is no model; name one as openai:MODEL, "),
            ("mistral:m", None, "'mistral:m' is no model; "),
            ("openai:", None, "'openai:' is no model; "),
            ("openai:m", None, "There is no key for OpenAI: set OPENAI_API_KEY "),
            ("google:m", None, "There is no key for Google: set GEMINI_API_KEY "),
            ("openai:m", "localhost", "--base-url (or OPENAI_BASE_URL) is no address "),
            ("openai:m", "http://x:99999", "--base-url (or OPENAI_BASE_URL) is no address "),
        ],
    )
    def test_what_is_wrong_is_a_sentence(self, name: str, url: str | None, sentence: str) -> None:
        with pytest.raises(AgentError) as error:
            choose({}, name, url)
        assert str(error.value).startswith(sentence)

    def test_a_key_with_a_line_break_is_refused_without_being_told(self) -> None:
        with pytest.raises(AgentError, match=r"^OPENAI_API_KEY has a space") as error:
            choose({"OPENAI_API_KEY": "sk\nrest"}, "openai:m")
        assert "rest" not in str(error.value)
        assert "sk" not in repr(choose({"OPENAI_API_KEY": "sk"}, "openai:m")).lower()[20:]


class TestValues:
    def test_keys_are_taken_out_of_the_environment(self) -> None:
        environ = {**KEYS, "GOOGLE_API_KEY": "g", "OTHER": "1"}
        found = read(environ)
        assert environ == {"OTHER": "1"}
        assert found["OPENAI_API_KEY"] == "o"

    def test_an_installed_package_reads_the_env_file_of_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / ".env").write_text("OPENAI_API_KEY=from-file\nRMI_MODEL=openai:m\n")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(values, "_ROOT", tmp_path / "nowhere")
        assert read({})["OPENAI_API_KEY"] == "from-file"
        assert read({"OPENAI_API_KEY": "set"})["OPENAI_API_KEY"] == "set"

    def test_where_conversations_are(self, tmp_path: Path) -> None:
        assert state_folder({"RMI_STATE_DIR": str(tmp_path)}) == tmp_path / "conversations"
        assert state_folder({}).name == "conversations"


class TestHistory:
    def test_what_is_saved_is_loaded_and_is_private(self, tmp_path: Path) -> None:
        history = History(tmp_path / "state" / "conversations")
        one = history.new("agent")
        one.model, one.address, one.title = "openai:m", "http://x/v1", "hello"
        one.messages = [ModelRequest(parts=[UserPromptPart("hello")])]
        history.save(one)
        assert history.load(one.name) == one == history.load("last")
        assert [saved.title for saved in history.list()] == ["hello"]
        folder = tmp_path / "state" / "conversations"
        (file,) = folder.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_a_save_that_fails_leaves_what_was_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        history = History(tmp_path / "conversations")
        one = history.new("agent")
        history.save(one)

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", fail)
        one.title = "changed"
        with pytest.raises(AgentError, match=r"cannot be saved .* No space left on device"):
            history.save(one)
        assert history.load(one.name).title == ""
        assert len(list((tmp_path / "conversations").iterdir())) == 1

    def test_only_one_goes_on_with_it(self, tmp_path: Path) -> None:
        history = History(tmp_path / "conversations")
        with history.held("one"), pytest.raises(AgentError, match="Somebody else goes on"):
            history.held("one").__enter__()
        with history.held("one"):
            pass
        assert list((tmp_path / "conversations").iterdir()) == []

    @pytest.mark.parametrize("name", ["../x", "", "a/b", ".x"])
    def test_a_name_is_no_path(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(AgentError, match="no name of a conversation"):
            History(tmp_path).load(name)

    def test_what_is_missing_or_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(AgentError, match="No conversation is saved"):
            History(tmp_path).load("last")
        with pytest.raises(AgentError, match="There is no conversation 'x'"):
            History(tmp_path).load("x")
        (tmp_path / "x.jsonl").write_text('{"version": 1}\nnonsense')
        with pytest.raises(AgentError, match="is no conversation that can be read"):
            History(tmp_path).load("x")
        (tmp_path / "y.jsonl").write_text("nonsense")
        assert [saved.name for saved in History(tmp_path).list()] == ["x"]

    def test_a_folder_that_others_may_read_is_not_used(self, tmp_path: Path) -> None:
        folder = tmp_path / "conversations"
        folder.mkdir()
        folder.chmod(0o755)
        with pytest.raises(AgentError, match="is not yours alone"):
            History(folder).save(History(folder).new("agent"))


class TestLimits:
    async def test_the_clock_stands_still_while_somebody_is_asked(self) -> None:
        clock = Clock(0.2)
        with clock.paused(), clock.paused():
            await asyncio.to_thread(threading.Event().wait, 0.3)
            assert 0 < clock.left <= 0.2
        await clock.run_out()
        assert clock.left <= 0

    def test_the_line_of_facts(self) -> None:
        usage = RunUsage(input_tokens=1234, output_tokens=5, requests=2)
        line = used(usage, 1, 2.34, "openai:m")
        assert line == (
            "[2.3 s · 1 run · 1,234 tokens read, 5 written · its price is not known · openai:m]"
        )
        assert "at least 1,234 tokens" in used(
            RunUsage(input_tokens=1234, unmeasured_requests=1), 0, 1, "m"
        )

    def test_nothing_is_limited_before_something_is_used(self) -> None:
        Limits(cost=0.01).check(RunUsage(), "m")


class TestDiffs:
    async def read_of(self, *pages: str) -> str | None:
        left = list(pages)

        async def read(_: str, offset: int) -> str | None:
            return left.pop(0)

        return await whole(read, "f")

    async def test_a_file_is_put_together_from_its_pages(self) -> None:
        assert await self.read_of("a\nb\n") == "a\nb\n"
        pages = "a\nb\n[lines 1 to 2 of 3]", "c\n[lines 3 to 3 of 3]"
        assert await self.read_of(*pages) == "a\nb\nc\n"
        cut = "a\nbb\n[lines 1 to 2 of 2; the last one is cut]", "bbbb\n[lines 2 to 2 of 2]"
        assert await self.read_of(*cut) == "a\nbbbb\n"
        assert await self.read_of("[f has 0 lines; none of them after line 0]") == ""

    async def test_what_only_looks_like_a_page_is_the_file(self) -> None:
        text = "a\n[lines 4 to 7 of 9]"
        assert await self.read_of(text) == text

    async def test_a_line_that_is_too_long_is_not_compared(self) -> None:
        assert await self.read_of("aaaa\n[lines 1 to 1 of 1; the last one is cut]") is None

    def test_a_diff(self) -> None:
        assert diff("f", None, "a\n") == ["--- /dev/null", "+++ f", "@@ -0,0 +1 @@", "+a"]
        assert diff("f", "a\n", "a")[-3:] == ["-a", "+a", "\\ No newline at end of file"]
        assert diff("f", "a\n", "a\n") == []


class TestShown:
    def test_nothing_that_a_terminal_would_obey(self) -> None:
        assert visible("a\tb\n\x1b[2J\u202e\r") == "a\tb\n\\x1b[2J\\u202e\\r"

    def test_the_first_lines_and_of_what_failed_the_last_ones(self) -> None:
        text = "\n".join(map(str, range(30))) + "\n"
        assert shortened(text) == [*map(str, range(6)), "… 24 more lines"]
        assert shortened(text, 2) == [*map(str, range(6)), "… 22 more lines", "28", "29"]
        assert shortened("") == [] and shortened("a\n") == ["a"]

    def test_a_call_in_a_few_words(self) -> None:
        arguments = {"file_name": "a.py", "args": ["-x", 1], "session": "agent"}
        assert title("run_python", arguments) == "run_python a.py -x 1"

    def test_images_in_the_forms_of_the_terminals(self) -> None:
        data = bytes(range(256)) * 20
        shown = inline(data, "image/png", {"TERM": "xterm-kitty"})
        pieces = [part.split(";", 1)[1] for part in shown.split("\x1b_G")[1:]]
        text = "".join(piece.partition("\x1b")[0] for piece in pieces)
        assert base64.b64decode(text) == data
        assert inline(data, "image/jpeg", {"TERM": "xterm-kitty"}) == ""
        assert base64.b64encode(data).decode() in inline(data, "x", {"TERM_PROGRAM": "WezTerm"})
        assert inline(data, "image/png", {"TERM": "xterm", "TERM_PROGRAM": "Apple"}) == ""
        assert inline(data, "image/png", {"TERM": "xterm-kitty", "TMUX": "1"}) == ""
