"""What a result says of how a run ended: pure decisions, and the words for them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from kernels.execution import Ending
from kernels.kernel import Exit
from kernels.outputs import Error
from kernels.result import RunResult, Status, crash_trace, explain_exit
from kernels.verdict import End, judge, outcome_of

FINE: Mapping[str, Any] = {"exit_code": 0, "error": None}
INTERRUPTED: Mapping[str, Any] = {"exit_code": 130, "error": {"name": "KeyboardInterrupt"}}
GONE = "session restarted: its variables are gone"
KEPT = "the session's variables are kept"

TRACE = """\
Fatal Python error: Segmentation fault

Thread 0x00007f (most recent call first):
  File "/lib/python3.11/threading.py", line 1 in wait

Current thread 0x00007f6 (most recent call first):
  File "/lib/python3.11/ctypes/__init__.py", line 519 in string_at
  File "/projects/dies.py", line 3 in <module>
  File "/x/kernels/guest/script.py", line 10 in run
  File "/lib/ipykernel/kernelapp.py", line 1 in start

Extension modules: zmq (total: 1)
  File "no more"
"""


def end(ending: Ending, **facts: Any) -> End:
    facts = {"obeyed": True, "outcome": FINE, **facts}
    return End(ending, **facts)


class TestTheVerdict:
    @pytest.mark.parametrize(
        ("code", "status"), [(0, Status.OK), (1, Status.ERROR), (3, Status.ERROR)]
    )
    def test_a_run_that_ended_itself(self, code: int, status: Status) -> None:
        verdict = judge(end(Ending.DONE, outcome={"exit_code": code}), 30, False)
        assert (verdict.status, verdict.exit_code) == (status, code)
        assert not verdict.lost
        assert verdict.notes == ()
        assert verdict.explanation == ""

    def test_a_death(self) -> None:
        exit = Exit(signal=11, trace=TRACE)
        verdict = judge(end(Ending.DIED, outcome={}, exit=exit), 30, False)
        assert verdict.status is Status.DIED
        assert verdict.exit_code is None
        assert verdict.lost
        assert verdict.notes == (GONE,)
        assert "segmentation fault" in verdict.explanation
        assert "dies.py" in verdict.explanation

    def test_a_death_by_its_own_exit(self) -> None:
        verdict = judge(end(Ending.DIED, outcome={}, exit=Exit(code=5)), 30, False)
        assert verdict.exit_code == 5
        assert "exit code 5" in verdict.explanation

    def test_a_death_of_which_nothing_is_known(self) -> None:
        verdict = judge(end(Ending.DIED, outcome={}), 30, False)
        assert (verdict.status, verdict.exit_code, verdict.lost) == (Status.DIED, None, True)
        assert verdict.explanation == "The kernel ended."

    def test_a_timeout_under_the_policy_restart(self) -> None:
        verdict = judge(end(Ending.TIMEOUT, outcome=INTERRUPTED), 2.5, False)
        assert verdict.status is Status.TIMEOUT
        assert verdict.exit_code is None
        assert verdict.lost
        assert verdict.notes == ("timed out after 2.5 s", GONE)
        assert verdict.explanation == ""

    def test_a_timeout_under_the_policy_interrupt(self) -> None:
        verdict = judge(end(Ending.TIMEOUT, outcome=INTERRUPTED), 30, True)
        assert verdict.status is Status.TIMEOUT
        assert verdict.exit_code is None
        assert not verdict.lost
        assert verdict.notes == ("timed out after 30 s", KEPT)

    @pytest.mark.parametrize("keep", [False, True])
    def test_a_timeout_that_was_not_obeyed(self, keep: bool) -> None:
        facts = {"obeyed": False, "outcome": {}, "stack": TRACE}
        verdict = judge(end(Ending.TIMEOUT, **facts), 30, keep)
        assert verdict.lost
        assert verdict.notes == ("timed out after 30 s", GONE)
        assert verdict.explanation.startswith("It did not obey the interrupt.\n")
        assert 'File "/projects/dies.py", line 3' in verdict.explanation

    @pytest.mark.parametrize("keep", [False, True])
    def test_a_stop_keeps_the_variables_whatever_the_policy(self, keep: bool) -> None:
        verdict = judge(end(Ending.STOPPED, outcome=INTERRUPTED), 30, keep)
        assert verdict.status is Status.INTERRUPTED
        assert verdict.exit_code == 130
        assert not verdict.lost
        assert verdict.notes == ("stopped", KEPT)

    def test_a_program_that_ends_itself_on_a_stop_has_its_own_code(self) -> None:
        assert judge(end(Ending.STOPPED, outcome={"exit_code": 7}), 30, False).exit_code == 7

    def test_a_stop_that_was_not_obeyed(self) -> None:
        verdict = judge(end(Ending.STOPPED, obeyed=False, outcome={}), 30, True)
        assert verdict.status is Status.INTERRUPTED
        assert (verdict.exit_code, verdict.lost) == (None, True)
        assert verdict.notes == ("stopped", GONE)

    def test_an_interrupt_that_ended_the_process(self) -> None:
        facts = {"obeyed": False, "outcome": {}, "exit": Exit(signal=2)}
        verdict = judge(end(Ending.TIMEOUT, **facts), 30, True)
        assert verdict.status is Status.TIMEOUT
        assert verdict.lost
        assert verdict.explanation == "The kernel was ended by SIGINT."

    @pytest.mark.parametrize("how", ["closed", "restarted"])
    @pytest.mark.parametrize("ending", list(Ending))
    def test_the_end_of_the_session_takes_the_variables(self, ending: Ending, how: str) -> None:
        verdict = judge(end(ending, session_ends=how), 30, True)
        assert verdict.lost
        assert verdict.notes[-1] == f"session {how}: its variables are gone"
        assert KEPT not in verdict.notes

    def test_words_and_flag_never_differ(self) -> None:
        """That the variables are gone is said when it is so, and only then."""
        for ending, obeyed, keep, how, exit in itertools.product(
            Ending, (True, False), (True, False), ("", "closed", "restarted"), (None, Exit(1))
        ):
            facts = {"obeyed": obeyed, "exit": exit, "session_ends": how}
            verdict = judge(end(ending, **facts), 30, keep)
            assert any("gone" in note for note in verdict.notes) == verdict.lost
            assert not (KEPT in verdict.notes and verdict.lost)


class TestTheOutcome:
    def test_our_guest_says_it(self) -> None:
        error = Error("E", "v", "")
        told = {"exit_code": 3, "error": None}
        assert outcome_of({"status": "ok", "rmi": told}, error) == told

    def test_no_reply_no_outcome(self) -> None:
        assert outcome_of(None, Error("E", "v", "")) == {}

    def test_another_kernel_that_is_fine(self) -> None:
        assert outcome_of({"status": "ok"}, None) == {"exit_code": 0, "error": None}

    @pytest.mark.parametrize("reply", [{"status": "ok"}, {"status": "error", "ename": "NoneType"}])
    def test_a_published_error_is_trusted_more_than_the_reply(self, reply: dict[str, Any]) -> None:
        outcome = outcome_of(reply, Error("ValueError", "v", ""))
        assert outcome["exit_code"] == 1
        assert outcome["error"] == {"name": "ValueError", "value": "v", "line": None, "file": None}

    def test_an_error_that_only_the_reply_tells(self) -> None:
        outcome = outcome_of({"status": "error", "ename": "E", "evalue": "v"}, None)
        assert (outcome["exit_code"], outcome["error"]["name"]) == (1, "E")

    @pytest.mark.parametrize("reply", [{}, {"rmi": None}, {"rmi": 5}, {"status": "aborted"}])
    def test_a_reply_that_says_nothing_is_a_failure(self, reply: dict[str, Any]) -> None:
        assert outcome_of(reply, None)["exit_code"] == 1


class TestTheWords:
    @pytest.mark.parametrize(
        ("exit", "words"),
        [
            (Exit(code=0), "exit code 0"),
            (Exit(code=3), "exit code 3"),
            (Exit(signal=9), "killed from outside (SIGKILL)"),
            (Exit(signal=9, out_of_memory=True), "out of memory"),
            (Exit(signal=11), "segmentation fault"),
            (Exit(signal=6), "aborted"),
            (Exit(signal=15), "ended by SIGTERM"),
            (Exit(signal=63), "ended by signal 63"),
            (Exit(), "The kernel ended."),
        ],
    )
    def test_a_death_is_one_sentence(self, exit: Exit, words: str) -> None:
        sentence = explain_exit(exit)
        assert words in sentence
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert "\n" not in sentence

    def test_a_trace_has_the_users_frames_only(self) -> None:
        assert crash_trace(TRACE).splitlines() == [
            "Fatal Python error: Segmentation fault",
            "Most recent call first:",
            '  File "/lib/python3.11/ctypes/__init__.py", line 519 in string_at',
            '  File "/projects/dies.py", line 3 in <module>',
        ]

    def test_no_trace_no_words(self) -> None:
        assert crash_trace("") == ""
        assert crash_trace("noise\n") == ""


@pytest.mark.parametrize("status", list(Status))
def test_only_ok_is_no_failure(status: Status) -> None:
    assert RunResult("1", "s", status).failed == (status is not Status.OK)
