"""Slots of backend local: whoever finishes first, each caller gets its own results, and no slot is lost."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from delayed_slots import BATCH, SPEC, DelayedSlot, oracle, tiles

from kras_backend_local.replicas import dealt
from kras_backend_local.slots import Slots
from kras_plugins.errors import BackendError

Arrived = queue.SimpleQueue[DelayedSlot]


@pytest.fixture
def arrived() -> Arrived:
    return queue.SimpleQueue()


@pytest.fixture
def three(arrived: Arrived) -> list[DelayedSlot]:
    return [DelayedSlot(f"card {i}", arrived) for i in range(3)]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(12) as threads:
        yield threads


def ask(pool: ThreadPoolExecutor, infer: Slots, given: np.ndarray) -> Future[np.ndarray]:
    return pool.submit(lambda: infer({"tiles": given})["features"])


@contextmanager
def finishing(arrived: Arrived, seed: int = 0) -> Iterator[None]:
    """A device that takes what has arrived in a random order."""
    stop = threading.Event()

    def work() -> None:
        order, waiting = random.Random(seed), []
        while not stop.is_set() or waiting:
            try:
                waiting.append(arrived.get(timeout=0.01))
                while True:
                    waiting.append(arrived.get_nowait())
            except queue.Empty:
                pass
            if waiting:
                waiting.pop(order.randrange(len(waiting))).finish()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_batches_that_finish_in_another_order_reach_those_who_asked(
    arrived: Arrived, three: list[DelayedSlot], pool: ThreadPoolExecutor
) -> None:
    infer = Slots(three, SPEC, BATCH)
    given = [tiles(BATCH, seed) for seed in range(3)]
    asked = [ask(pool, infer, g) for g in given]
    under_way = [arrived.get(timeout=60) for _ in range(3)]
    for slot in reversed(under_way):
        slot.finish()
    for future, g in zip(asked, given, strict=True):
        np.testing.assert_array_equal(future.result(60), oracle(g))
    assert set(under_way) == set(three)


def test_a_slot_without_memory_fails_its_own_caller_and_serves_the_next(
    arrived: Arrived, three: list[DelayedSlot], pool: ThreadPoolExecutor
) -> None:
    three[1].short = True
    infer = Slots(three, SPEC, BATCH)
    given = [tiles(BATCH, seed) for seed in range(3)]
    asked = [ask(pool, infer, g) for g in given]
    for slot in [arrived.get(timeout=60) for _ in range(3)]:
        slot.finish()
    failures = [(f.exception(60), g) for f, g in zip(asked, given, strict=True)]
    (error,) = [e for e, _ in failures if e is not None]
    assert isinstance(error, BackendError)
    assert (
        "card 1 does not have enough memory for batches of 3" in error.message and "backend.local.batch" in error.hint
    )
    for future, (failed, g) in zip(asked, failures, strict=True):
        if failed is None:
            np.testing.assert_array_equal(future.result(), oracle(g))

    three[1].short = False
    again = [ask(pool, infer, g) for g in given]
    used = [arrived.get(timeout=60) for _ in range(3)]  # all three are at work at once: none was lost
    assert set(used) == set(three)
    for slot in used:
        slot.finish()
    for future, g in zip(again, given, strict=True):
        np.testing.assert_array_equal(future.result(60), oracle(g))


def test_a_slot_that_failed_is_given_on_only_when_what_it_queued_is_done(
    arrived: Arrived, pool: ThreadPoolExecutor
) -> None:
    slot = DelayedSlot("card", arrived)
    slot.short = True
    infer = Slots([slot], SPEC, BATCH)
    first = ask(pool, infer, tiles(1, 0))
    draining = arrived.get(timeout=60)  # the copy in is under way: the failing caller marks and awaits its end
    assert not first.done()
    second = ask(pool, infer, tiles(2, 1))
    slot.short = False
    draining.finish()
    arrived.get(timeout=60).finish()
    assert isinstance(first.exception(60), BackendError)
    np.testing.assert_array_equal(second.result(60), oracle(tiles(2, 1)))


def test_short_batches_are_filled_with_zeros_also_where_another_batch_was_before(
    arrived: Arrived, pool: ThreadPoolExecutor
) -> None:
    slot = DelayedSlot("card", arrived)
    infer = Slots([slot], SPEC, BATCH)
    with finishing(arrived):
        infer({"tiles": tiles(BATCH, 0)})
        got = infer({"tiles": tiles(1, 1)})["features"]
    assert got.shape == (1, 2)
    np.testing.assert_array_equal(slot.seen[1][:1], tiles(1, 1))
    assert not slot.seen[1][1:].any()


def test_results_are_the_callers_own_before_the_slot_is_given_on(arrived: Arrived) -> None:
    slot = DelayedSlot("card", arrived)
    infer = Slots([slot], SPEC, BATCH)
    with finishing(arrived):
        first = infer({"tiles": tiles(2, 0)})["features"]
        assert not np.shares_memory(first, slot.outputs["features"])
        infer({"tiles": tiles(2, 1)})
    np.testing.assert_array_equal(first, oracle(tiles(2, 0)))


def test_many_threads_on_several_cards_each_get_their_own_results_in_their_order(
    arrived: Arrived, pool: ThreadPoolExecutor
) -> None:
    cards = [[DelayedSlot(f"card {c}", arrived) for _ in range(2)] for c in range(3)]
    infer = Slots(dealt(cards), SPEC, BATCH)
    given = [tiles(1 + seed % BATCH, seed) for seed in range(150)]
    with finishing(arrived, seed=1):
        got = list(pool.map(lambda g: infer({"tiles": g})["features"], given))
    for g, features in zip(given, got, strict=True):
        np.testing.assert_array_equal(features, oracle(g))
    assert all(slot.seen for card in cards for slot in card)


def test_slots_of_several_cards_are_dealt_in_turn() -> None:
    cards = [[DelayedSlot(f"{c}{i}", queue.SimpleQueue()) for i in "ab"] for c in range(3)]
    assert [slot.device for slot in dealt(cards)] == ["0a", "1a", "2a", "0b", "1b", "2b"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tiles": tiles(4, 0)}, "a batch of 4, at most 3 fit"),
        ({"tiles": tiles(1, 0)[:0]}, "a batch of 0"),
        ({"tiles": tiles(1, 0)[:, :1, :1]}, r"'tiles' is uint8\[1, 1, 1, 3\], expected is uint8\[batch, 4, 4, 3\]"),
        ({"tiles": tiles(1, 0).astype(np.float64)}, "is float64"),
        ({"others": tiles(1, 0)}, "'tiles' is none"),
    ],
)
def test_what_is_no_batch_of_the_model_is_refused_and_takes_no_slot(
    arrived: Arrived, given: dict[str, np.ndarray], message: str
) -> None:
    infer = Slots([DelayedSlot("card", arrived)], SPEC, BATCH)
    with pytest.raises(BackendError, match=message):
        infer(given)
    with finishing(arrived):
        np.testing.assert_array_equal(infer({"tiles": tiles(1, 0)})["features"], oracle(tiles(1, 0)))
