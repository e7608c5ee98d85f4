"""Which task is started next, and what a lost or a slow worker changes."""

from __future__ import annotations

from kras_plugins.engines.deal import LATE_SECONDS, Deal


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_largest_task_is_first_and_equal_ones_keep_their_order() -> None:
    deal = Deal([1.0, 3.0, 2.0, 3.0], lost=0)
    assert [deal.take() for _ in range(5)] == [1, 3, 2, 0, None]
    assert [Deal([0.0] * 3, lost=0).take()] == [0]


def test_what_a_lost_worker_had_is_begun_again_so_often_and_then_given_up() -> None:
    deal = Deal([5.0, 1.0], lost=2)
    for times in (1, 2, 3):
        assert deal.take() == 0
        deal.began("a", 0, "w")
        assert deal.lost("a") == ((0, 3) if times == 3 else None)
    assert deal.take() == 1
    deal.began("b", 1, "w")
    assert deal.ended("b") == (1, [])
    assert deal.over


def test_a_late_task_is_copied_once_and_whichever_ends_first_counts() -> None:
    clock = Clock()
    deal = Deal([100.0, 100.0, 50.0], lost=0, clock=clock)
    for token in "abc":
        deal.began(token, deal.take(), token)
    clock.now = LATE_SECONDS + 1
    assert deal.take(copies=True) is None  # nothing is done yet: what is late is unknown
    deal.ended("a")  # 0.31 s for a unit of cost
    assert deal.take(copies=True) is None
    clock.now = 40.0  # more than twice what the small one predicts
    assert deal.take() is None
    assert deal.take(copies=True) == 2
    deal.began("copy", 2, "a")
    assert deal.take(copies=True) is None
    assert deal.lost("c") is None  # its copy is running, so nothing waits
    assert not deal.waits
    assert deal.ended("copy") == (2, [])
    clock.now = 1_000.0
    assert deal.take(copies=True) == 1
    deal.began("other", 1, "a")
    assert deal.ended("b") == (1, ["other"])
    assert deal.over


def test_quick_tasks_and_those_of_unknown_cost_are_never_copied() -> None:
    clock = Clock()
    deal = Deal([1.0, 1.0, 0.0], lost=0, clock=clock)
    for token in "abc":
        deal.began(token, deal.take(), token)
    clock.now = 0.001
    deal.ended("a")
    clock.now = LATE_SECONDS
    assert deal.take(copies=True) is None
    clock.now = 1e6
    assert deal.take(copies=True) == 1
    deal.began("copy", 1, "a")
    assert deal.take(copies=True) is None
