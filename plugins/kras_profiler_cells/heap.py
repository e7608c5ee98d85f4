"""A priority queue of whole numbers in an array: a binary heap, as in the standard library's heapq."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kras_profiler_cells.compiled import compiled

if TYPE_CHECKING:
    from kras_profiler_cells.runs import Index


@compiled("void(int64[::1], int64, int64)")
def push(heap: Index, n: int, key: int) -> None:
    """Add a key to the first `n` of `heap`, which has room for one more."""
    at = n
    while at > 0:
        parent = (at - 1) // 2
        if heap[parent] <= key:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = key


@compiled("int64(int64[::1], int64)")
def pop(heap: Index, n: int) -> int:
    """Take the smallest of the first `n` keys of `heap`: n - 1 are left."""
    smallest: int = heap[0]
    key, last = heap[n - 1], n - 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= last:
            break
        if child + 1 < last:
            child += heap[child + 1] < heap[child]
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = key
    return smallest
