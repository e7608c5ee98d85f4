"""What every engine can do, and the engine of this process: tasks one after another, or a few at a time."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from kras_plugins.errors import KrasError
from kras_plugins.slides.stream import ordered_map

Bench = TypeVar("Bench")
Opened = TypeVar("Opened", covariant=True)
Given = TypeVar("Given")

Item: TypeAlias = "Mapping[str, Any]"
"""What one task works on, as JSON values: ids, paths and store keys; no pixels, no arrays."""

Outcomes: TypeAlias = "Generator[tuple[int, Any]]"
"""The number of an item with what its task returned, or with the KrasError that it raised."""


class Engine(Protocol[Opened]):
    """Runs independent tasks. A bench is what they share: plug-ins, models, a store, worker processes."""

    def map(
        self, perform: Callable[[Opened, Item], Any], items: Sequence[Item], costs: Sequence[float] = ()
    ) -> Outcomes:
        """`perform(bench, item)` for each item, outcomes as they finish; close the generator to end early.

        `perform`: a module-level function, since other processes must find it. `costs`: of the items, relative; if
        several workers share the tasks, the largest go first. A task that raises a KrasError is not tried again; a task
        whose worker was lost is, as often as the engine allows. Raises BackendError if no task can run.
        """


class Here(Generic[Bench]):
    """The engine of this process: `at_once` tasks in threads, outcomes in the order of the items."""

    def __init__(self, bench: Bench, at_once: int = 1) -> None:
        self._bench = bench
        self._at_once = at_once

    def map(
        self, perform: Callable[[Bench, Given], Any], items: Sequence[Given], costs: Sequence[float] = ()
    ) -> Outcomes:
        """See `Engine.map`. Nothing is sent, so items may be anything; nothing is shared, so `costs` do not matter."""

        def one(item: Given) -> Any:
            try:
                return perform(self._bench, item)
            except KrasError as e:
                _forget_frames(e)
                return e

        with ThreadPoolExecutor(self._at_once, thread_name_prefix="kras-task") as pool:
            yield from enumerate(ordered_map(pool, one, items, ahead=self._at_once))


def _forget_frames(error: BaseException | None) -> None:
    """Drop the local variables (masks, tiles) that the tracebacks of an error and of its causes keep alive."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__
