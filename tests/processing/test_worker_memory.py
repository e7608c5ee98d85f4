"""Worker processes take the memory of one tile for the next."""

from __future__ import annotations

import platform

import numpy as np
import pytest

from kras_plugins.processing.execution import workers
from kras_plugins.store import Store


def pages_taken(rounds: int) -> int:
    """Memory pages that the system gave for arrays of 20 MB in all, allocated again in each round after the second."""
    import resource

    before = 0
    for i in range(rounds):
        if i == 2:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        arrays = [np.ones(1_000_000, np.uint8) for _ in range(20)]
        del arrays
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory by rules of their own")
def test_a_worker_keeps_the_memory_it_freed(tmp_path):
    with workers(Store(tmp_path), 1) as work:
        assert work.decode_pool.run("test", pages_taken, 10) < 500
