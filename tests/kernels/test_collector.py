"""Messages of one execution become its outputs: scripted, without a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kernels import collector as collector_module
from kernels.collector import Collector
from kernels.kernel import Channel, Message
from kernels.outputs import Display, Error, Omitted, Text

MINE = "mine"


def iopub(type: str, parent: str = MINE, **content: Any) -> Message:
    return Message("iopub", type, parent, content)


def out(text: str, name: str = "stdout", parent: str = MINE) -> Message:
    return iopub("stream", parent, name=name, text=text)


def display(text: str, ident: str = "", type: str = "display_data") -> Message:
    transient = {"display_id": ident} if ident else {}
    return iopub(type, data={"text/plain": text}, metadata={}, transient=transient)


def shown(text: str) -> Display:
    return Display({"text/plain": text}, {})


def reply(**content: Any) -> Message:
    return Message("shell", "execute_reply", MINE, content)


IDLE = iopub("status", execution_state="idle")
BUSY = iopub("status", execution_state="busy")
REPLY = reply(status="ok", execution_count=3)


def fed(*messages: Message) -> Collector:
    collector = Collector(MINE)
    for message in messages:
        collector.feed(message)
    return collector


class TestTheEnd:
    """An execution is over when its reply and its idle are both in."""

    def test_reply_then_idle(self) -> None:
        collector = fed(BUSY, REPLY)
        assert not collector.finished
        collector.feed(IDLE)
        assert collector.finished

    def test_idle_then_reply(self) -> None:
        collector = fed(BUSY, IDLE)
        assert not collector.finished
        collector.feed(REPLY)
        assert collector.finished

    def test_output_after_the_reply_and_after_idle_is_taken(self) -> None:
        collector = fed(REPLY, out("a"), IDLE, out("b"))
        assert collector.outputs() == (Text("stdout", "ab"),)

    def test_a_malformed_reply_ends_it_too(self) -> None:
        collector = fed(Message("shell", "execute_reply", MINE, ["no", "mapping"]), IDLE)  # type: ignore[arg-type]
        assert collector.finished
        assert collector.reply == {}

    def test_replies_to_other_requests_do_not(self) -> None:
        collector = fed(Message("shell", "kernel_info_reply", MINE, {}), IDLE)
        assert not collector.finished
        collector.feed(Message("shell", "execute_reply", "other", {}))
        assert not collector.finished


class TestForeignMessages:
    @pytest.mark.parametrize("parent", ["other", ""])
    def test_they_are_refused_and_change_nothing(self, parent: str) -> None:
        collector = Collector(MINE)
        for type in ("stream", "status", "error", "display_data", "clear_output", "shutdown"):
            assert not collector.feed(iopub(type, parent, name="stdout", text="x"))
        assert collector.outputs() == ()
        assert not collector.idle
        assert collector.characters == 0

    def test_ours_are_accepted_even_when_they_say_nothing_to_us(self) -> None:
        assert Collector(MINE).feed(iopub("comm_open", comm_id="1"))


class TestExecutionCount:
    def test_it_comes_from_the_input_or_the_reply(self) -> None:
        assert fed(iopub("execute_input", code="1", execution_count=7)).execution_count == 7
        assert fed(REPLY).execution_count == 3

    def test_of_two_counts_the_replys_is_right(self) -> None:
        """Which comes first is chance; an empty cell's differ."""
        given = iopub("execute_input", code="", execution_count=4)
        assert fed(given, REPLY).execution_count == fed(REPLY, given).execution_count == 3

    @pytest.mark.parametrize("count", [0, None, "4", -1])
    def test_what_is_no_count_is_none(self, count: object) -> None:
        assert fed(reply(status="ok", execution_count=count)).execution_count is None


class TestOrder:
    def test_streams_displays_and_errors_stand_as_they_came(self) -> None:
        collector = fed(
            out("a\n"),
            out("b\n", "stderr"),
            display("d"),
            out("c\n"),
            iopub("error", ename="E", evalue="v", traceback=["Traceback", "E: v"]),
            display("r", type="execute_result"),
        )
        error = Error("E", "v", "Traceback\nE: v")
        assert collector.outputs() == (
            Text("stdout", "a\n"),
            Text("stderr", "b\n"),
            shown("d"),
            Text("stdout", "c\n"),
            error,
            Display({"text/plain": "r"}, {}, is_result=True),
        )
        assert collector.error == error

    def test_an_unknown_stream_is_stdout(self) -> None:
        assert fed(out("x", "log")).outputs() == (Text("stdout", "x"),)


GARBAGE: list[tuple[str, object]] = [
    ("stream", {}),
    ("stream", {"name": "stdout"}),
    ("stream", {"name": "stdout", "text": None}),
    ("stream", {"name": None, "text": 3}),
    ("stream", []),
    ("display_data", {}),
    ("display_data", {"data": None}),
    ("display_data", {"data": 3}),
    ("display_data", {"data": {"text/plain": "x"}, "transient": 5}),
    ("display_data", {"data": {"x": {1, 2}}}),
    ("execute_result", {"data": "text"}),
    ("update_display_data", {"transient": {"display_id": "d"}, "data": None}),
    ("error", {}),
    ("error", {"ename": "E", "evalue": "v", "traceback": [1, 2]}),
    ("error", {"ename": "E", "evalue": "v", "traceback": 7}),
    ("status", {}),
    ("status", "idle"),
    ("execute_input", {}),
    ("clear_output", None),
    ("", {}),
    ("no such type", {"execution_state": "idle"}),
]


@pytest.mark.parametrize(("type", "content"), GARBAGE)
@pytest.mark.parametrize("channel", ["iopub", "shell", "control", "stdin"])
def test_garbage_is_passed_over(channel: Channel, type: str, content: Mapping[str, Any]) -> None:
    """Nothing raises, nothing of it is shown, and what follows is collected as ever."""
    collector = fed(out("a"), Message(channel, type, MINE, content), out("b"), REPLY, IDLE)
    texts = [o.text for o in collector.outputs() if isinstance(o, Text)]
    assert "".join(texts) == "ab"
    assert collector.finished
    assert not any(isinstance(o, Error) for o in collector.outputs())


class TestClearOutput:
    def test_at_once(self) -> None:
        collector = fed(out("a"), display("d"), iopub("clear_output", wait=False))
        assert collector.outputs() == ()
        collector.feed(out("b"))
        assert collector.outputs() == (Text("stdout", "b"),)

    @pytest.mark.parametrize(
        "new", [out("b"), display("b"), iopub("error", ename="E", evalue="", traceback=[])]
    )
    def test_with_wait_it_stays_until_something_new_comes(self, new: Message) -> None:
        collector = fed(out("a"), iopub("clear_output", wait=True))
        assert collector.outputs() == (Text("stdout", "a"),)
        collector.feed(new)
        assert len(collector.outputs()) == 1
        assert Text("stdout", "a") not in collector.outputs()
        collector.feed(out("c"))
        assert Text("stdout", "c") in collector.outputs() or Text("stdout", "bc") in (
            collector.outputs()
        )

    def test_wait_at_the_end_clears_nothing(self) -> None:
        assert fed(out("a"), iopub("clear_output", wait=True), REPLY, IDLE).outputs() == (
            Text("stdout", "a"),
        )

    def test_a_display_that_was_cleared_is_not_updated(self) -> None:
        collector = fed(display("1", "d"), iopub("clear_output", wait=False))
        collector.feed(display("2", "d", "update_display_data"))
        assert collector.outputs() == (shown("2"),)


class TestDisplayIds:
    def test_an_update_replaces_in_place(self) -> None:
        collector = fed(display("1", "d"), out("after"), display("2", "d", "update_display_data"))
        assert collector.outputs() == (shown("2"), Text("stdout", "after"))

    def test_all_displays_of_one_id_are_updated(self) -> None:
        collector = fed(display("1", "d"), display("x", "other"), display("2", "d"))
        assert collector.outputs() == (shown("2"), shown("x"), shown("2"))
        collector.feed(display("3", "d", "update_display_data"))
        assert collector.outputs() == (shown("3"), shown("x"), shown("3"))

    def test_a_result_stays_a_result(self) -> None:
        collector = fed(display("1", "d", "execute_result"))
        collector.feed(display("2", "d", "update_display_data"))
        assert collector.outputs() == (Display({"text/plain": "2"}, {}, is_result=True),)

    def test_an_update_of_an_earlier_runs_display_is_shown_as_new(self) -> None:
        collector = fed(
            display("1", "earlier", "update_display_data"),
            out("x"),
            display("2", "earlier", "update_display_data"),
        )
        assert collector.outputs() == (shown("2"), Text("stdout", "x"))

    def test_outputs_that_were_taken_do_not_change_afterwards(self) -> None:
        collector = fed(display("1", "d"))
        before = collector.outputs()
        collector.feed(display("2", "d", "update_display_data"))
        assert before == (shown("1"),)


class TestBounds:
    def test_text_has_a_head_and_a_tail(self) -> None:
        collector = fed(*[out(f"{number:06}\n") for number in range(100_000)])
        head, gap, tail = collector.outputs()
        assert isinstance(head, Text)
        assert isinstance(gap, Omitted)
        assert isinstance(tail, Text)
        assert head.text.startswith("000000\n")
        assert tail.text.endswith("099999\n")
        assert len(head.text) == collector_module.KEPT
        assert len(tail.text) == collector_module.KEPT
        assert gap.characters == 700_000 - len(head.text) - len(tail.text)
        assert collector.characters == 700_000

    def test_displays_beyond_the_limit_are_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collector_module, "DISPLAY_BYTES", 12_500)
        collector = fed(*[display("x" * 4000) for _ in range(5)], out("end"))
        assert collector.outputs() == (
            shown("x" * 4000),
            shown("x" * 4000),
            Omitted(displays=3),
            Text("stdout", "end"),
        )

    def test_many_small_displays_are_bounded_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collector_module, "DISPLAY_BYTES", 100_000)
        assert len(fed(*[display("") for _ in range(1000)]).outputs()) == 51

    def test_json_counts_as_what_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collector_module, "DISPLAY_BYTES", 12_500)
        big = iopub("display_data", data={"application/json": ["x" * 20_000]}, metadata={})
        assert fed(big).outputs() == (Omitted(displays=1),)

    def test_updates_take_the_place_of_what_they_replace(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An animation of a thousand frames is as large as its last one."""
        monkeypatch.setattr(collector_module, "DISPLAY_BYTES", 12_500)
        frames = [display(f"{n:05}" * 1000, "d", "update_display_data") for n in range(1000)]
        assert fed(display("", "d"), *frames).outputs() == (shown("00999" * 1000),)

    def test_an_update_that_is_too_large_leaves_what_was_there(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(collector_module, "DISPLAY_BYTES", 12_500)
        collector = fed(display("a", "d"), display("x" * 20_000, "d", "update_display_data"))
        assert collector.outputs() == (shown("a"), Omitted(displays=1))

    def test_clearing_makes_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collector_module, "DISPLAY_BYTES", 12_500)
        frame = [iopub("clear_output", wait=True), display("x" * 6000)]
        assert fed(*frame * 100).outputs() == (shown("x" * 6000),)

    def test_a_huge_error_keeps_its_start_and_its_end(self) -> None:
        text = "Traceback\n" + "x" * 1_000_000 + "\nthe end"
        collector = fed(iopub("error", ename="E", evalue=text, traceback=[text]))
        (error,) = collector.outputs()
        assert isinstance(error, Error)
        for part in (error.traceback, error.value):
            assert len(part) < 110_000
            assert part.startswith("Traceback\n")
            assert part.endswith("the end")
            assert "left out" in part


class TestNews:
    """The text since the last look, for progress."""

    def test_each_piece_is_given_once(self) -> None:
        collector = fed(out("a\nb\n"), out("c\n", "stderr"))
        assert collector.take_news() == "a\nb\nc\n"
        assert collector.take_news() == ""
        collector.feed(out("d"))
        assert collector.take_news() == "d"
        assert collector.outputs() == (
            Text("stdout", "a\nb\n"), Text("stderr", "c\n"), Text("stdout", "d"),
        )  # fmt: skip

    def test_of_much_the_end_is_given(self) -> None:
        collector = fed(out("x\n" * 50_000 + "end\n"))
        news = collector.take_news()
        assert len(news) < 2100
        assert news.endswith("x\nend\n")
        assert "left out" in news

    def test_of_a_progress_bar_its_last_state(self) -> None:
        assert fed(out(" 1%"), out("\r 2%"), out("\r 3%")).take_news() == " 3%"
