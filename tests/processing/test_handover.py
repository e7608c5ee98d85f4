"""Arrays lent to other processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from kras_plugins.processing import handover as handover_module
from kras_plugins.processing.handover import Handover, Lent

ARRAYS = [
    np.arange(7 * 5 * 3, dtype=np.uint8).reshape(7, 5, 3),
    np.linspace(0, 1, 35, dtype=np.float32).reshape(7, 5)[:, ::-1],
    np.zeros((0, 4), np.float64),
    np.array(3, np.int16),
]


def doubled(lent: Lent) -> list[np.ndarray]:
    arrays = lent.arrays()
    for array in arrays:
        array *= 2  # the receiver's own
    return arrays


def test_another_process_sees_each_time_what_is_lent_and_may_write_to_it():
    """Also where another memory has the name of one that is gone, or one has grown."""
    large = [np.arange(100_000, dtype=np.int32)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for _ in range(3):
            with Handover() as handover:
                for arrays in (ARRAYS, [a + 1 for a in ARRAYS], large):
                    with handover.lend(arrays) as lent:
                        assert len(pickle.dumps(lent)) < 1000 + 10 * sum(a.nbytes for a in arrays)
                        found = pool.submit(doubled, lent).result()
                    for ours, theirs in zip(arrays, found, strict=True):
                        assert theirs.dtype == ours.dtype and theirs.shape == ours.shape
                        np.testing.assert_array_equal(theirs, ours * 2)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="shared memory without a name is Linux'")
def test_memory_is_used_again_grows_and_is_given_back():
    def held() -> int:
        return sum("kras-tile" in os.readlink(f) for f in Path("/proc/self/fd").iterdir() if f.is_symlink())

    before = held()
    with Handover() as handover:
        for size in (10, 100_000, 10):
            with handover.lend([np.full(size, size)]) as first, handover.lend([np.full(5, 7)]) as second:
                assert first.arrays()[0].sum() == size * size
                assert second.arrays()[0].sum() == 35
                assert len(pickle.dumps(first)) < 500
        # A piece has a descriptor and its mapping another; so has what the receiver, here the same process, keeps.
        assert held() <= before + 6
    handover_module._known.clear()
    gc.collect()
    assert held() == before


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="shared memory without a name is Linux'")
def test_a_receiver_keeps_few_pieces():
    with Handover() as handover, ExitStack() as stack:
        for i in range(2 * handover_module._KEPT):
            lent = stack.enter_context(handover.lend([np.full(5, i)]))
            assert lent.arrays()[0].tolist() == [i] * 5 and len(handover_module._known) <= handover_module._KEPT
    handover_module._known.clear()


def test_arrays_are_sent_themselves_where_there_is_no_such_memory(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    with Handover() as handover, handover.lend(ARRAYS) as lent:
        for ours, theirs in zip(ARRAYS, pickle.loads(pickle.dumps(lent)).arrays(), strict=True):  # noqa: S301
            np.testing.assert_array_equal(theirs, ours)
