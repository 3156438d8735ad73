"""When a checkpoint is worth it."""

from __future__ import annotations

import itertools

import pytest

from kernels.checkpointing import Worth, is_too_dear


class TestWorth:
    def test_nothing_is_due_before_anything_has_run(self) -> None:
        assert not Worth().is_due

    @pytest.mark.parametrize(("seconds", "due"), [(0.01, False), (0.19, False), (0.21, True)])
    def test_a_run_that_took_long_is_worth_it(self, seconds: float, due: bool) -> None:
        """Twenty times what a checkpoint costs: a twentieth of the time at most goes into them."""
        assert Worth().after_run(seconds, 0).is_due is due

    def test_what_it_costs_in_this_session_counts(self) -> None:
        assert not Worth().after_checkpoint(0.5).after_run(9, 0).is_due
        assert Worth().after_checkpoint(0.5).after_run(11, 0).is_due

    def test_short_runs_add_up(self) -> None:
        worth = Worth().after_checkpoint(0.02)
        for _ in range(2):
            worth = worth.after_run(0.001, 0)
            assert not worth.is_due
        assert worth.after_run(0.001, 0).is_due

    def test_so_does_the_state_that_they_make(self) -> None:
        assert not Worth().after_run(0.001, 7_000_000).is_due
        assert Worth().after_run(0.001, 7_000_000).after_run(0.001, 2_000_000).is_due

    def test_memory_that_is_given_back_does_not_count_against_it(self) -> None:
        assert Worth().after_run(0, 9_000_000).after_run(0, -9_000_000).is_due

    def test_after_one_it_begins_anew(self) -> None:
        worth = Worth().after_run(100, 10**9)
        assert worth.is_due
        assert not worth.after_checkpoint(0.01).is_due
        assert not worth.after_checkpoint(0.01).after_run(0.001, 0).is_due

    def test_what_runs_while_it_is_taken_counts_for_the_next(self) -> None:
        asked = Worth().after_run(1, 0)
        assert not asked.after_checkpoint(0.01, asked).is_due
        assert asked.after_run(100, 0).after_checkpoint(0.01, asked).is_due

    def test_what_is_due_for_the_time_of_runs_is_taken_at_once(self) -> None:
        """What is due for their number or growth, when nothing has come for a moment."""
        assert Worth().after_run(1, 0).quiet == 0
        assert Worth().after_run(0.001, 10**9).quiet > 0

    def test_what_is_refused_again_and_again_is_tried_less_often(self) -> None:
        """But never given up: the thread may have ended, or the child."""
        worth, tried = Worth(), []
        for run in range(60):
            worth = worth.after_run(10, 0)
            if worth.is_due:
                tried.append(run)
                worth = worth.after_refusal()
        gaps = [later - earlier for earlier, later in itertools.pairwise(tried)]
        assert gaps[:2] == [1, 1]
        assert gaps == sorted(gaps)
        assert max(gaps) <= 16
        assert worth.after_checkpoint(0.01).after_run(10, 0).is_due


@pytest.mark.parametrize(
    ("private", "left", "dear"),
    [(0, 0, False), (10, 90, False), (30, 70, True), (10**9, 10**11, False)],
)
def test_one_that_takes_too_much_of_the_memory_is_given_up(
    private: int, left: int, dear: bool
) -> None:
    assert is_too_dear(private, left) is dear
