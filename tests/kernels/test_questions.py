"""What a program asks through `input` and `getpass`, on real kernels, and the time it takes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kernels.execution import CodeRequest, Ending, Execution, FileRequest, Request
from kernels.kernel import Channel, Kernel, Message
from kernels.launching import kernel_environment
from kernels.outputs import Error, Text
from kernels.questions import Question
from kernels.textlog import Log
from kernels.verdict import End, asked_for_input, judge, outcome_of
from tests.conftest import RESUMED_TOO, backend_of, until
from tests.kernels.fake_kernel import FakeKernel

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Far longer than any of these tests takes.
LONG = 30.0
#: Short, where a time has to pass.
SHORT = 0.02

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=RESUMED_TOO)
async def kernel(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Kernel]:
    """The kernel of all tests here, so each one also finds what the others have left."""
    folder = tmp_path_factory.mktemp("cwd").resolve()
    backend = backend_of(request.param, folder, kernel_environment())
    try:
        yield await backend.start()
    finally:
        await backend.close()


class Talk:
    """A program that runs, and whoever answers it."""

    def __init__(
        self, kernel: Kernel, request: Request, timeout: float = LONG, longest: float = LONG
    ) -> None:
        self.execution = Execution(kernel, request, Log(1000, 1000))
        self.questions = self.execution.questions
        self.follow = asyncio.ensure_future(self.execution.follow(timeout, LONG, longest))
        self._seen = 0

    async def question(self) -> Question:
        """The next question; it must come."""
        async with asyncio.timeout(LONG):
            question = await self.questions.after(self._seen)
        assert question is not None, self.shown()
        self._seen = question.serial
        return question

    async def answer(self, text: str | None) -> Question:
        """Answer the next question; returns it."""
        question = await self.question()
        assert self.questions.answer(question.serial, text)
        return question

    async def end(self) -> Done:
        """The end of it, without another question."""
        async with asyncio.timeout(LONG):
            assert await self.questions.after(self._seen) is None
            ending = await self.follow
        assert self.questions.open is None
        collector = self.execution.collector
        outcome = outcome_of(collector.reply, collector.error)
        return Done(ending, self.execution.obeyed, self.shown(), self.shown("stdout"), outcome)

    def shown(self, stream: str | None = None) -> str:
        """All text so far, or that of one stream."""
        text = ""
        for output in self.execution.collector.outputs():
            if isinstance(output, Text) and stream in (None, output.stream):
                text += output.text
            elif isinstance(output, Error) and stream is None:
                text += output.traceback
        return text


@dataclass(frozen=True)
class Done:
    """How a program ended: all its text, and that on stdout."""

    ending: Ending
    obeyed: bool
    text: str
    stdout: str
    outcome: Mapping[str, Any]

    @property
    def sentence(self) -> str:
        """What its result says besides its output."""
        return judge(End(self.ending, self.obeyed, self.outcome), LONG, False).explanation


Start = Callable[..., Talk]


@pytest.fixture(params=["code", "file"])
def start(request: pytest.FixtureRequest, kernel: Kernel, tmp_path: Path) -> Start:
    """`start(source, stdin="", ask=True)`: run it, as a cell and as a file."""

    def started(source: str, stdin: str = "", ask: bool = True, **times: float) -> Talk:
        if request.param == "code":
            return Talk(kernel, CodeRequest(source, stdin, ask), **times)
        path = tmp_path / "asks.py"
        path.write_text(source, "utf-8")
        return Talk(kernel, FileRequest(path, path.read_bytes(), (), stdin, ask), **times)

    return started


class TestInput:
    async def test_the_answer_is_the_line_and_the_transcript_is_a_terminals(
        self, start: Start
    ) -> None:
        talk = start("name = input('Name? ')\nage = input('Age? ')\nprint(name, age)")
        assert await talk.answer("Ada") == Question(1, "Name? ")
        assert await talk.answer("36") == Question(2, "Age? ")
        done = await talk.end()
        assert done.text == done.stdout == "Name? Ada\nAge? 36\nAda 36\n"
        assert done.outcome["exit_code"] == 0

    async def test_what_is_left_of_stdin_comes_first(self, start: Start) -> None:
        talk = start("print([input('a '), input('b '), input('c ')])", stdin="one\ntwo")
        assert (await talk.answer("three")).prompt == "c "
        # Given lines are not shown, as with python on a pipe.
        assert (await talk.end()).text == "a b c three\n['one', 'two', 'three']\n"

    @pytest.mark.parametrize(
        ("argument", "prompt"),
        [
            ("", ""),
            ("'ö \\x1b[1m?\\n> '", "ö \x1b[1m?\n> "),
            ("42", "42"),
            ("'x' * 3000", "x" * 2000),
        ],
    )
    async def test_the_question_is_the_prompt(
        self, start: Start, argument: str, prompt: str
    ) -> None:
        talk = start(f"input({argument})")
        assert (await talk.answer("")).prompt == prompt
        await talk.end()

    @pytest.mark.parametrize(
        ("answer", "line"),
        [
            ("Zoë ☃ 😀", "Zoë ☃ 😀"),
            ("", ""),
            ("  ", "  "),
            ("line\n", "line"),
            ("line\r\n", "line"),
            ("\n", ""),
            ("\0", "\0"),
            ("\ud800", "?"),
        ],
    )
    async def test_an_answer_is_one_line(self, start: Start, answer: str, line: str) -> None:
        talk = start("print(ascii(input()))")
        await talk.answer(answer)
        assert (await talk.end()).stdout == f"{line}\n{line!a}\n"

    async def test_further_lines_of_an_answer_are_for_the_next_inputs(self, start: Start) -> None:
        """As if pasted at a terminal, which shows them at once."""
        talk = start("print([input(f'{i} ') for i in range(4)])")
        await talk.answer("a\n\nc")
        await talk.answer("d")
        assert (await talk.end()).stdout == "0 a\n\nc\n1 2 3 d\n['a', '', 'c', 'd']\n"
        # And for those of this run only.
        talk = start("print(input())")
        await talk.answer("e\nf")
        await talk.end()
        talk = start("print(input())")
        await talk.answer("g")
        assert (await talk.end()).stdout == "g\ng\n"

    @pytest.mark.parametrize("answer", [None, "\x04"], ids=["refused", "Ctrl-D"])
    async def test_a_refusal_is_the_end_of_stdin(self, start: Start, answer: str | None) -> None:
        """With the traceback that python prints, and the sentence that names `stdin`."""
        talk = start("input('Name? ')")
        await talk.answer(answer)
        done = await talk.end()
        assert done.stdout == "Name? "
        assert done.text.endswith("EOFError: EOF when reading a line\n")
        assert "asking.py" not in done.text
        assert done.outcome["error"]["line"] == 1
        assert done.outcome["wanted_input"] == "Name? "
        assert "('Name? ')" in done.sentence

    async def test_a_program_may_catch_it_and_ask_again(self, start: Start) -> None:
        talk = start(
            "try: input('a ')\nexcept EOFError as e: print(repr(e), e.__context__)\n"
            "print(input('b '))"
        )
        await talk.answer(None)
        await talk.answer("x")
        done = await talk.end()
        assert done.stdout == "a EOFError('EOF when reading a line') None\nb x\nx\n"
        assert done.sentence == ""

    @pytest.mark.parametrize(
        "read",
        ["sys.stdin.readline()", "sys.stdin.read()", "list(sys.stdin)", "sys.stdin.buffer.read()"],
    )
    async def test_only_input_asks(self, start: Start, read: str) -> None:
        talk = start(f"import sys\nsys.stdin.fileno()\nprint({read})\nprint({read})", stdin="x")
        assert (await talk.end()).outcome["exit_code"] == 0

    async def test_not_when_the_program_reads_something_else(self, start: Start) -> None:
        talk = start("import io, sys\nsys.stdin = io.StringIO('x')\nprint(input())\ninput()")
        done = await talk.end()
        assert done.stdout == "x\n"
        assert done.outcome["error"]["name"] == "EOFError"

    async def test_the_answer_is_no_output_of_the_program(self, start: Start) -> None:
        """Like the echo of a terminal it is not where the program sends its own. What that is,
        the question does not know."""
        talk = start(
            "import contextlib, io\n"
            "with contextlib.redirect_stdout(io.StringIO()) as out: input('Name? ')\n"
            "print([out.getvalue()])"
        )
        assert (await talk.answer("Ada")).prompt == ""
        assert (await talk.end()).stdout == "Ada\n['Name? ']\n"

    async def test_the_order_with_what_is_written_to_descriptors(self, start: Start) -> None:
        talk = start("import os\nos.write(1, b'1 ')\ninput('2 ')\nos.write(1, b'3\\n')")
        await talk.answer("x")
        assert (await talk.end()).stdout.startswith("1 2 x\n3\n")

    async def test_it_is_pythons_own(self, start: Start) -> None:
        """So it asks, too, where a module has kept it before; and nothing of ours is in the way
        of those who look at what is called."""
        await start("import builtins\nkept = builtins.input", ask=False).end()
        talk = start("print(kept is input, type(input).__name__, kept('x '))")
        await talk.answer("1")
        assert (await talk.end()).stdout == "x 1\nTrue builtin_function_or_method 1\n"
        done = await start("kept('x ')", ask=False).end()
        assert done.outcome["error"]["name"] == "EOFError"

    async def test_another_view_of_stdin(self, start: Start) -> None:
        """As programs make it to choose the encoding."""
        talk = start(
            "import io, sys\n"
            "sys.stdin = io.TextIOWrapper(sys.stdin.buffer, encoding='utf-8')\n"
            "print([input('a '), input('b ')])",
            stdin="ö\n",
        )
        assert (await talk.answer("ß")).prompt == "b "
        assert (await talk.end()).stdout == "a b ß\n['ö', 'ß']\n"

    async def test_a_long_answer(self, start: Start) -> None:
        talk = start("print(len(input()))")
        await talk.answer("x" * 100_000)
        assert (await talk.end()).stdout.endswith("\n100000\n")

    async def test_after_all_was_read_it_is_asked(self, start: Start) -> None:
        """What `read` has taken, a last line without an end included, is not waited for."""
        talk = start("import sys\nprint([input(), sys.stdin.read(), input()])", stdin="a\nb")
        await talk.answer("c")
        assert (await talk.end()).stdout == "c\n['a', 'b', 'c']\n"
        talk = start("import sys\nprint(len(input()), len(sys.stdin.read()))")
        await talk.answer("x\n" + "y" * 20_000)
        assert (await talk.end()).stdout.endswith("\n1 20001\n")

    async def test_what_is_left_of_an_answer_is_for_whoever_reads(self, start: Start) -> None:
        talk = start("import sys\nprint([input(), sys.stdin.readline(), sys.stdin.readline()])")
        await talk.answer("a\nb")
        assert (await talk.end()).stdout == "a\nb\n['a', 'b\\n', '']\n"

    async def test_one_that_the_session_has_set_stays(self, kernel: Kernel) -> None:
        own = "import builtins\nplain = input\nbuiltins.input = lambda *a: 'own'"
        await Talk(kernel, CodeRequest(own, ask=False)).end()
        asked = Talk(kernel, CodeRequest("print(input())\nbuiltins.input = plain", ask=True))
        assert (await asked.end()).stdout == "own\n"

    async def test_a_debugger_can_be_used(self, start: Start) -> None:
        talk = start("x = 6\nimport pdb; pdb.set_trace()\ny = x * 7\nprint(y)")
        assert (await talk.answer("p x + 1")).prompt == "(Pdb) "
        await talk.answer("c")
        done = await talk.end()
        assert "(Pdb) p x + 1\n7\n" in done.stdout
        assert done.stdout.endswith("42\n")


class TestGetpass:
    async def test_the_answer_is_secret_and_not_shown(self, start: Start) -> None:
        talk = start("import getpass\nsecret = getpass.getpass('PIN: ')\nprint(len(secret))")
        assert await talk.answer("s3cret\n") == Question(1, "PIN: ", password=True)
        assert (await talk.end()).text == "PIN: \n6\n"

    async def test_one_that_was_imported_by_name_asks_too(self, start: Start) -> None:
        await start("from getpass import getpass as ask_secret", ask=False).end()
        talk = start("print(ask_secret())")
        assert await talk.answer("x") == Question(1, "Password: ", password=True)
        assert (await talk.end()).stdout == "x\n"

    async def test_what_is_left_of_stdin_comes_first(self, start: Start) -> None:
        talk = start("from getpass import getpass\nprint([getpass(), getpass()])", stdin="one\r\n")
        await talk.answer("two")
        assert (await talk.end()).stdout == "['one\\r', 'two']\n"

    async def test_a_refusal(self, start: Start) -> None:
        talk = start("import getpass\ngetpass.getpass()")
        await talk.answer(None)
        done = await talk.end()
        assert done.outcome["wanted_input"] == "Password: "
        assert "EOFError" in done.text
        assert "asking.py" not in done.text

    async def test_further_lines_are_dropped(self, start: Start) -> None:
        """They would be shown by the next `input`."""
        talk = start("import getpass\nprint([getpass.getpass(), input()])")
        await talk.answer("secret\nmore")
        await talk.answer("shown")
        assert (await talk.end()).stdout == "shown\n['secret', 'shown']\n"


class TestInterrupts:
    async def test_a_stop_while_it_waits(self, start: Start) -> None:
        talk = start("kept = 1\ninput('Name? ')")
        await talk.question()
        talk.execution.stop()
        done = await talk.end()
        assert done.ending is Ending.STOPPED
        assert done.obeyed
        assert done.outcome["exit_code"] == 130
        assert "KeyboardInterrupt" in done.text
        assert "asking.py" not in done.text
        assert (await start("print(kept)").end()).stdout == "1\n"

    async def test_what_it_asks_then_is_refused(self, start: Start) -> None:
        talk = start(
            "try: input('a ')\nexcept KeyboardInterrupt: print('stopped')\n"
            "try: input('b ')\nexcept EOFError: print('refused')"
        )
        await talk.question()
        talk.execution.stop()
        done = await talk.end()
        assert (done.ending, done.obeyed) == (Ending.STOPPED, True)
        assert done.stdout == "a stopped\nb refused\n"

    async def test_a_stop_while_the_program_waits_for_a_thread_that_asks(
        self, start: Start, tmp_path: Path
    ) -> None:
        """One reads at a time, as in every program; nobody hangs."""
        go = tmp_path / "go"
        talk = start(
            "import os, threading\n"
            "threading.Thread(target=input, args=('thread ',), daemon=True).start()\n"
            f"while not os.path.exists({str(go)!r}): pass\n"
            "input('main ')"
        )
        await talk.question()
        go.touch()
        await until(lambda: "main " in talk.shown())
        talk.execution.stop()
        done = await talk.end()
        assert (done.ending, done.obeyed) == (Ending.STOPPED, True)
        assert "KeyboardInterrupt" in done.text

    async def test_a_late_answer_does_nothing(self, start: Start) -> None:
        talk = start("try: input()\nexcept KeyboardInterrupt: print('stopped')")
        question = await talk.question()
        talk.execution.stop()
        await talk.end()
        assert not talk.questions.answer(question.serial, "late")
        talk = start("print(input())")
        await talk.answer("in time")
        assert "late" not in (await talk.end()).stdout

    @posix
    async def test_a_program_that_gives_up_withdraws_its_question(
        self, start: Start, tmp_path: Path
    ) -> None:
        """The clock goes on, and a late answer is not taken for one to the next question."""
        go = tmp_path / "go"
        talk = start(
            "import signal\n"
            "def give_up(*args): raise TimeoutError('too late')\n"
            "signal.signal(signal.SIGALRM, give_up)\n"
            "signal.setitimer(signal.ITIMER_REAL, 0.3)\n"
            "try: input('a ')\nexcept TimeoutError as e: print(e)\n"
            "import os\n"
            f"while not os.path.exists({str(go)!r}): pass\n"
            "print(input('b '))"
        )
        first = await talk.question()
        await until(lambda: talk.questions.open is None)
        assert not talk.questions.answer(first.serial, "late")
        go.touch()
        await talk.answer("x")
        assert (await talk.end()).stdout == "a too late\nb x\nx\n"


class TestTheClock:
    async def test_it_stands_still_while_a_question_is_open(self, start: Start) -> None:
        timeout = 2.0
        talk = start("print(input())", timeout=timeout)
        await talk.question()
        await until(lambda: talk.questions.waited > timeout + 0.2)
        assert talk.questions.answer(1, "x")
        done = await talk.end()
        assert done.ending is Ending.DONE
        assert done.stdout == "x\nx\n"

    async def test_it_goes_on_after_the_answer(self, start: Start) -> None:
        talk = start("input()\nwhile True: pass", timeout=1.0)
        await talk.question()
        await until(lambda: talk.questions.waited > 1.2)
        assert talk.questions.answer(1, "x")
        done = await talk.end()
        assert (done.ending, done.obeyed) == (Ending.TIMEOUT, True)

    async def test_the_longest_time_holds_all_the_same(self, start: Start) -> None:
        talk = start("input()", timeout=0.9, longest=1.0)
        await talk.question()
        done = await talk.end()
        assert (done.ending, done.obeyed) == (Ending.TIMEOUT, True)
        assert "KeyboardInterrupt" in done.text


class TestOthersThanTheProgram:
    @posix
    @pytest.mark.filterwarnings("ignore")
    async def test_a_forked_child_does_not_ask(self, start: Start) -> None:
        talk = start(
            "import os, warnings\nwarnings.simplefilter('ignore')\n"
            "if os.fork() == 0:\n"
            "    try: input('child ')\n"
            "    except EOFError as e: print(e, flush=True)\n"
            "    os._exit(0)\n"
            "os.wait()\nprint(input('parent '))"
        )
        assert (await talk.answer("x")).prompt == "parent "
        assert (await talk.end()).stdout == "child EOF when reading a line\nparent x\nx\n"

    async def test_a_process_does_not_ask(self, start: Start) -> None:
        talk = start(
            "import subprocess, sys\n"
            "subprocess.run([sys.executable, '-c', 'input()'], stderr=subprocess.DEVNULL)\n"
            "print(input('parent '))"
        )
        assert (await talk.answer("x")).prompt == "parent "
        await talk.end()

    async def test_threads_ask_one_after_the_other(self, start: Start) -> None:
        talk = start(
            "import threading\ngot = {}\n"
            "def ask(i): got[i] = input(f'{i} ')\n"
            "threads = [threading.Thread(target=ask, args=(i,)) for i in range(3)]\n"
            "for t in threads: t.start()\nfor t in threads: t.join()\n"
            "print(sorted(got.items()))"
        )
        asked = []
        for _ in range(3):
            question = await talk.question()
            asked.append(question.prompt)
            assert talk.questions.answer(question.serial, question.prompt.strip() * 2)
        assert sorted(asked) == ["0 ", "1 ", "2 "]
        assert (await talk.end()).stdout.endswith("[(0, '00'), (1, '11'), (2, '22')]\n")

    async def test_a_thread_of_asyncio(self, start: Start) -> None:
        talk = start(
            "import asyncio\nasync def main(): print(await asyncio.to_thread(input, 'a '))\n"
            "asyncio.run(main())"
        )
        assert (await talk.answer("x")).prompt == "a "
        assert (await talk.end()).outcome["exit_code"] == 0

    async def test_a_question_ends_with_its_run(self, start: Start, tmp_path: Path) -> None:
        """A thread that the program does not wait for meets the end of stdin."""
        go = tmp_path / "go"
        talk = start(
            "import threading, time\nends = []\n"
            "def ask():\n    try: input()\n    except EOFError: ends.append('EOF')\n"
            "asker = threading.Thread(target=ask, daemon=True)\nasker.start()\n"
            "import os\n"
            f"while not os.path.exists({str(go)!r}): time.sleep(0.01)"
        )
        await talk.question()
        go.touch()
        await talk.end()
        talk = start("asker.join()\nprint(ends, input())")
        await talk.answer("x")
        assert (await talk.end()).stdout == "x\n['EOF'] x\n"

    async def test_a_thread_of_an_earlier_run_has_nobody_to_ask(self, start: Start) -> None:
        await start(
            "import threading\ngo, ends = threading.Event(), []\n"
            "def ask():\n    go.wait()\n    try: input('old ')\n"
            "    except EOFError: ends.append('EOF')\n"
            "asker = threading.Thread(target=ask, daemon=True)\nasker.start()"
        ).end()
        talk = start("go.set()\nasker.join()\nprint(ends, input('new '))")
        assert (await talk.answer("x")).prompt == "new "
        assert (await talk.end()).stdout == "new x\n['EOF'] x\n"


class TestRunsThatMayNotAsk:
    @pytest.mark.parametrize(
        "source", ["input('Na\\x1b[1mme? ')", "print(input()); input('Name? ')"]
    )
    async def test_the_end_of_stdin_comes_with_a_sentence(self, start: Start, source: str) -> None:
        done = await start(source, stdin="" if source[0] == "i" else "x", ask=False).end()
        assert done.text.endswith("EOFError: EOF when reading a line\n")
        assert done.sentence == (
            "The program asked for input ('Name? ') and its stdin was at its end; "
            "give the answers in `stdin`, one line each."
        )

    async def test_without_a_prompt(self, start: Start) -> None:
        done = await start("print('before: ', end='')\ninput()", ask=False).end()
        assert done.outcome["wanted_input"] == ""
        assert done.sentence.startswith("The program asked for input and its stdin")

    async def test_a_long_prompt_is_clipped(self, start: Start) -> None:
        done = await start("input('ö' * 500)", ask=False).end()
        assert done.outcome["wanted_input"] == "ö" * 200

    async def test_getpass(self, start: Start) -> None:
        done = await start("import getpass\ngetpass.getpass('PIN: ')", ask=False).end()
        assert "('PIN: ')" in done.sentence

    @pytest.mark.parametrize(
        "source",
        [
            "input()",
            "try: input()\nexcept EOFError: pass\n1 / 0",
            "import sys\nsys.stdin.read()\nimport pickle\npickle.loads(b'')",
            "import sys\nsys.stdin.fileno()\nsys.stdin.read()\nraise EOFError",
            "import sys\nsys.exit(1)",
        ],
    )
    async def test_no_sentence_otherwise(self, start: Start, source: str) -> None:
        stdin = "x" if source == "input()" else ""
        done = await start(source, stdin=stdin, ask=False).end()
        assert "wanted_input" not in done.outcome
        assert done.sentence == ""

    async def test_nothing_of_it_is_left_for_the_next_run(self, start: Start) -> None:
        await start("input('old ')", ask=False).end()
        done = await start("raise EOFError('EOF when reading a line')", ask=False).end()
        assert "wanted_input" not in done.outcome

    async def test_the_sentence_for_what_a_kernel_may_reply(self) -> None:
        assert asked_for_input({}) == asked_for_input({"wanted_input": 1}) == ""
        assert "(" not in asked_for_input({"wanted_input": " "})


class AskingKernel(FakeKernel):
    """Keeps what it is answered, and says `then` after each answer."""

    def __init__(self, then: Callable[[FakeKernel], None] = lambda kernel: None) -> None:
        super().__init__(lambda kernel: self.ask("a ", 7))
        self.answers: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = []
        self._then = then

    def send(
        self,
        channel: Channel,
        type: str,
        content: Mapping[str, Any],
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        if channel != "stdin":
            return super().send(channel, type, content, metadata)
        assert type == "input_reply"
        self.answers.append((content, metadata or {}))
        asyncio.get_running_loop().call_soon(self._then, self)
        return "reply"

    def ask(self, prompt: str, number: int, type: str = "input_request", parent: str = "") -> None:
        content = {"prompt": prompt, "password": False}
        metadata = {"rmi": {"question": number}}
        self.on_message(Message("stdin", type, parent or self.request, content, metadata=metadata))


def ask(kernel: Kernel, **times: float) -> Talk:
    return Talk(kernel, CodeRequest("input()", ask=True), **times)


class TestMessages:
    """On a scripted kernel."""

    async def test_the_request_allows_it_only_when_somebody_can_be_asked(self) -> None:
        for asks in (True, False):
            kernel = FakeKernel(FakeKernel.succeed)
            await Talk(kernel, CodeRequest("x", ask=asks)).end()
            assert kernel.content["allow_stdin"] is asks
            assert kernel.metadata["rmi"].get("ask", False) is asks

    async def test_an_answer_names_its_question(self) -> None:
        kernel = AskingKernel(FakeKernel.succeed)
        talk = ask(kernel)
        await talk.answer("x")
        await talk.end()
        assert kernel.answers == [({"value": "x"}, {"rmi": {"question": 7}})]

    async def test_a_refusal_is_what_every_kernel_takes_for_the_end(self) -> None:
        kernel = AskingKernel(FakeKernel.succeed)
        talk = ask(kernel)
        await talk.answer(None)
        await talk.end()
        assert kernel.answers[0][0] == {"value": "\x04"}

    async def test_only_an_open_question_is_answered(self) -> None:
        kernel = AskingKernel()
        talk = ask(kernel)
        first = await talk.question()
        kernel.ask("b ", 8)
        second = await talk.question()
        assert (first.serial, second.serial) == (1, 2)
        assert not talk.questions.answer(1, "late")
        assert talk.questions.answer(2, "x")
        assert not talk.questions.answer(2, "again")
        kernel.succeed()
        await talk.end()
        assert not talk.questions.answer(2, "after the end")
        assert kernel.answers == [({"value": "x"}, {"rmi": {"question": 8}})]

    async def test_a_question_may_be_withdrawn(self) -> None:
        kernel = AskingKernel()
        talk = ask(kernel)
        await talk.question()
        kernel.ask("", 6, "input_withdrawn")
        assert talk.questions.open, "another one was meant"
        kernel.ask("", 7, "input_withdrawn")
        assert talk.questions.open is None
        kernel.succeed()
        await talk.end()

    async def test_questions_of_other_requests_are_passed_over(self) -> None:
        kernel = AskingKernel(FakeKernel.succeed)
        talk = ask(kernel)
        await talk.question()
        kernel.ask("b ", 8, parent="another")
        assert talk.questions.open == Question(1, "a ")
        kernel.succeed()
        await talk.end()

    async def test_whoever_waits_is_told_of_the_end(self) -> None:
        kernel = AskingKernel()
        talk = ask(kernel)
        await talk.question()
        waiting = [asyncio.ensure_future(talk.questions.after(n)) for n in (1, 1, 0)]
        assert await waiting[2] == Question(1, "a ")
        kernel.succeed()
        assert await asyncio.gather(*waiting[:2]) == [None, None]
        await talk.end()

    async def test_the_time_of_a_question_does_not_count(self) -> None:
        kernel = AskingKernel(FakeKernel.succeed)
        talk = ask(kernel, timeout=SHORT)
        await talk.question()
        await until(lambda: talk.questions.waited > 2 * SHORT)
        assert talk.questions.answer(1, "x")
        assert (await talk.end()).ending is Ending.DONE
        assert kernel.interrupts == 0

    async def test_a_question_that_comes_after_the_interrupt_is_refused(self) -> None:
        kernel = AskingKernel(FakeKernel.fail)
        kernel.obey = lambda k: kernel.ask("b ", 8)
        talk = ask(kernel, timeout=SHORT, longest=2 * SHORT)
        await talk.question()
        assert (await talk.end()).ending is Ending.TIMEOUT
        assert kernel.answers == [({"value": "\x04"}, {"rmi": {"question": 8}})]

    @pytest.mark.parametrize("content", [None, [], {}, {"prompt": None, "password": "x"}])
    async def test_malformed_questions_do_no_harm(self, content: Any) -> None:
        kernel = AskingKernel()
        talk = ask(kernel)
        await talk.question()
        kernel.on_message(Message("stdin", "input_request", kernel.request, content))
        kernel.on_message(Message("stdin", "nonsense", kernel.request, content))
        kernel.succeed()
        async with asyncio.timeout(LONG):
            assert await talk.follow is Ending.DONE
