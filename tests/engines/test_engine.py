"""The engine of this process, and what two machines must have in common."""

from __future__ import annotations

import threading

import pytest

from kras_plugins.engines.engine import Here
from kras_plugins.errors import BackendError, KrasError, SlideError


def test_outcomes_come_in_order_and_errors_of_tasks_are_outcomes() -> None:
    def halved(bench: int, item: int) -> int:
        if item % 2:
            raise SlideError(f"{item} is odd")
        return item // bench

    found = list(Here(2, at_once=2).map(halved, range(5)))
    assert [(i, one if isinstance(one, int) else one.message) for i, one in found] == [
        (0, 0), (1, "1 is odd"), (2, 1), (3, "3 is odd"), (4, 2),
    ]  # fmt: skip


def test_a_bug_in_a_task_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Here(0).map(lambda bench, item: item // bench, [1]))


def test_so_many_tasks_run_at_once_and_no_more() -> None:
    both = threading.Barrier(2, timeout=30)
    most, now, lock = 0, 0, threading.Lock()

    def meet(_bench: None, item: int) -> None:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        both.wait()
        with lock:
            now -= 1

    list(Here(None, at_once=2).map(meet, range(6)))
    assert most == 2


def test_errors_keep_kind_message_and_hint_on_their_way() -> None:
    worker = pytest.importorskip("kras_plugins.engines.worker", reason="no distributed")
    for error in (SlideError("a", "b"), BackendError("c"), type("Own", (SlideError,), {})("d", "e")):
        back = worker.error_from(worker.error_facts(error))
        assert type(back) is (SlideError if isinstance(error, SlideError) else BackendError)
        assert (back.message, back.hint) == (error.message, error.hint)
    assert isinstance(worker.error_from(worker.error_facts(KrasError("f"))), KrasError)


def test_differences_name_what_differs_on_both_sides() -> None:
    worker = pytest.importorskip("kras_plugins.engines.worker", reason="no distributed")
    here = {"python": "3.11", "version of": {"numpy": "2.1", "scipy": "1"}, "engine": "openvino cpu"}
    assert worker.differences(here, {**here}) == ""
    there = {"python": "3.11", "version of": {"numpy": "2.2"}, "engine": "openvino cpu"}
    assert worker.differences(here, there) == (
        "version of numpy is 2.2 there, 2.1 here; version of scipy is absent there, 1 here"
    )
